//! What generation promises: a prefix is read as such, a seed gives one text, and what was learnt
//! is said again.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use compute_core::engine::{
    Examples, GenerateError, Generator, Sampling, Trainer, initial_parameters, predict,
};
use federation::local::{LocalDuration, LocalTraining, Optimizer, Schedule};
use federation::model::{Architecture, ModelSpec};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

const CONTEXT: usize = 12;
const VOCABULARY: usize = 7;

const GREEDY: Sampling = Sampling {
    temperature: 0.0,
    seed: 0,
};

fn gpt() -> Architecture {
    let spec = ModelSpec::Gpt {
        blocks: 2,
        width: 24,
        heads: 3,
    };
    spec.architecture(CONTEXT, VOCABULARY).unwrap()
}

fn drawn(
    architecture: &Architecture,
    parameters: &[f32],
    prompt: &[u32],
    sampling: Sampling,
    count: usize,
) -> Vec<u32> {
    let mut generator = Generator::new(architecture, parameters, prompt, sampling).unwrap();
    (0..count).map(|_| generator.draw().unwrap()).collect()
}

/// Far enough from where models start for every token to matter.
fn rough_parameters(architecture: &Architecture) -> Vec<f32> {
    let mut parameters = initial_parameters(architecture, 3);
    parameters.iter_mut().for_each(|p| *p *= 3.0);
    parameters
}

/// A window of tokens that have no order.
fn window(shift: usize) -> Vec<u32> {
    let token = |place: usize| (place * place + 3 * place + shift) % VOCABULARY;
    let number = |place| u32::try_from(token(place)).unwrap();
    (0..CONTEXT).map(number).collect()
}

/// The probabilities of the next token after each position of a row.
fn probabilities(architecture: &Architecture, parameters: &[f32], row: &[u32]) -> Vec<Vec<f32>> {
    let row: Vec<f32> = row.iter().map(|token| *token as f32).collect();
    let all = predict(architecture, parameters, &row, NonZeroUsize::MIN).unwrap();
    all.chunks(VOCABULARY).map(<[f32]>::to_vec).collect()
}

fn largest(values: &[f32]) -> u32 {
    let best = (0..values.len()).max_by(|a, b| values[*a].total_cmp(&values[*b]));
    u32::try_from(best.unwrap()).unwrap()
}

#[test]
fn what_follows_a_prefix_is_what_a_full_window_says_at_that_position() {
    let architecture = gpt();
    let parameters = rough_parameters(&architecture);
    let row = window(0);
    let full = probabilities(&architecture, &parameters, &row);
    let mut said = Vec::new();
    for len in 1..=CONTEXT {
        // Other tokens after the prefix change no bit of what stands in it.
        let others = [&row[..len], &window(5)[len..]].concat();
        let other = probabilities(&architecture, &parameters, &others);
        assert_eq!(other[..len], full[..len], "prefix of {len}");
        let next = drawn(&architecture, &parameters, &row[..len], GREEDY, 1);
        assert_eq!(next, [largest(&full[len - 1])], "prefix of {len}");
        said.extend(next);
    }
    said.dedup();
    assert!(said.len() > 2, "the model tells prefixes apart: {said:?}");
}

#[test]
fn a_prompt_beyond_the_context_is_read_at_its_end() {
    let architecture = gpt();
    let parameters = rough_parameters(&architecture);
    let long = [window(1), window(4)].concat();
    let last = &long[long.len() - CONTEXT..];
    let sampling = Sampling {
        temperature: 1.0,
        seed: 4,
    };
    let from = |prompt| drawn(&architecture, &parameters, prompt, sampling, 30);
    assert_eq!(from(&long), from(last));
    assert_ne!(from(&long), from(&long[..CONTEXT]));
}

#[test]
fn a_full_window_slides_by_each_token() {
    let architecture = gpt();
    let parameters = rough_parameters(&architecture);
    for shift in 0..VOCABULARY {
        let mut text = window(shift);
        let at_once = drawn(&architecture, &parameters, &text, GREEDY, CONTEXT);
        for token in at_once {
            let last = &text[text.len() - CONTEXT..];
            assert_eq!(drawn(&architecture, &parameters, last, GREEDY, 1), [token]);
            text.push(token);
        }
    }
}

#[test]
fn a_seed_gives_one_text_and_another_seed_another() {
    let architecture = gpt();
    let parameters = initial_parameters(&architecture, 3);
    let with = |temperature, seed| {
        let sampling = Sampling { temperature, seed };
        drawn(&architecture, &parameters, &[1, 2], sampling, 60)
    };
    assert_eq!(with(1.0, 7), with(1.0, 7));
    assert_ne!(with(1.0, 7), with(1.0, 8));
    assert_eq!(with(0.0, 7), with(0.0, 8));
    // Where nothing was learnt, every token comes up.
    let mut hot = with(1.0, 7);
    hot.sort_unstable();
    hot.dedup();
    assert_eq!(hot, (0..7).collect::<Vec<u32>>());
}

#[test]
fn the_colder_the_surer() {
    let architecture = gpt();
    let parameters = rough_parameters(&architecture);
    let greedy = drawn(&architecture, &parameters, &[1, 2, 3], GREEDY, 40);
    let like_greedy = |temperature| {
        let sampling = Sampling {
            temperature,
            seed: 2,
        };
        let said = drawn(&architecture, &parameters, &[1, 2, 3], sampling, 40);
        said == greedy
    };
    assert!(like_greedy(f64::MIN_POSITIVE));
    assert!(like_greedy(1e-6));
    assert!(!like_greedy(1.0));
    assert!(!like_greedy(f64::MAX));
}

/// Counts up to six and begins again.
fn counting(first: usize, len: usize) -> Vec<u32> {
    (first..first + len)
        .map(|number| u32::try_from(number % VOCABULARY).unwrap())
        .collect()
}

#[test]
fn a_rhythm_that_was_learnt_is_said_beyond_the_context() {
    let architecture = gpt();
    let rows: Vec<Vec<u32>> = (0..VOCABULARY)
        .map(|first| counting(first, CONTEXT))
        .collect();
    let features: Vec<f32> = rows.concat().iter().map(|token| *token as f32).collect();
    let labels: Vec<u32> = (0..VOCABULARY)
        .map(|first| counting(first + CONTEXT, 1)[0])
        .collect();
    let examples = Examples::new(&architecture, &features, &labels).unwrap();
    let training = LocalTraining {
        duration: LocalDuration::Epochs(150),
        batch_size: 7,
        schedule: Schedule::Constant,
        clip_norm: Some(1.0),
        optimizer: Optimizer::AdamW {
            learning_rate: 3e-3,
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
            weight_decay: 0.0,
        },
    };
    let mut parameters = initial_parameters(&architecture, 1);
    let report = Trainer::new(&architecture, &training, VOCABULARY, NonZeroUsize::MIN)
        .unwrap()
        .train(&mut parameters, &examples, 5, &mut |_| {
            ControlFlow::Continue(())
        });
    report.unwrap();
    // From a single token on, and far beyond a full window.
    for prompt in [vec![4], counting(2, 5), counting(1, 3 * CONTEXT)] {
        let next = prompt[prompt.len() - 1] as usize + 1;
        let said = drawn(&architecture, &parameters, &prompt, GREEDY, 4 * CONTEXT);
        assert_eq!(said, counting(next, 4 * CONTEXT));
    }
}

#[test]
fn what_cannot_be_gone_on_from_is_refused_with_its_numbers() {
    let architecture = gpt();
    let parameters = initial_parameters(&architecture, 1);
    let refusal = |prompt: &[u32], temperature| {
        let sampling = Sampling {
            temperature,
            seed: 0,
        };
        let made = Generator::new(&architecture, &parameters, prompt, sampling);
        made.unwrap_err().to_string()
    };
    assert_eq!(
        refusal(&[], 1.0),
        "the prompt is empty; at least one token is needed"
    );
    assert_eq!(
        refusal(&[1, 7], 1.0),
        "the prompt has 7 at position 1; the model knows the tokens from 0 to 6"
    );
    for (temperature, shown) in [(-0.5, "-0.5"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        assert_eq!(
            refusal(&[1], temperature),
            format!("the temperature is {shown}; must be a finite number from 0")
        );
    }
    let made = Generator::new(&architecture, &parameters[1..], &[1], GREEDY);
    let told = made.unwrap_err().to_string();
    assert!(told.contains("parameters"), "{told}");

    let other = ModelSpec::SoftmaxRegression.architecture(3, 2).unwrap();
    let made = Generator::new(&other, &[0.0; 8], &[1], GREEDY);
    assert_eq!(made.unwrap_err(), GenerateError::NotCausal);
}

#[test]
fn a_model_that_diverged_says_nothing() {
    let architecture = gpt();
    let parameters = vec![f32::NAN; architecture.num_parameters()];
    let mut generator = Generator::new(&architecture, &parameters, &[1], GREEDY).unwrap();
    assert_eq!(generator.draw(), Err(GenerateError::NotFinite));
}
