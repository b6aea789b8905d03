//! Many seeds: whatever goes wrong, the model is the one that it would be if nothing did.
//!
//! `PANGEA_PROOF=1` takes 5,000 of them. A seed that fails is tried alone with `PANGEA_SEED=N`.
#![expect(clippy::print_stdout, reason = "a measurement tells what it found")]

use std::fs;
use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use client::{JobSpec, job_file};
use simulation::{Ending, Faults, Ground, QueueFaults, Scenario, simulate};

static GROUND: LazyLock<Ground> = LazyLock::new(|| Ground::prepare(60).expect("a data set"));

/// Every client counts in every round, however long that takes.
const PATIENT: &str = "\
name: patient
model: { kind: softmax_regression }
dataset:
  name: points
  partition: { kind: iid, clients: 3 }
local:
  steps: 2
  optimizer: { kind: sgd, learning_rate: 0.5 }
rounds: 2
cohort: { quorum: 1.0, deadline: 24h }
seed: 7
";

/// Two of three clients are enough after 20 seconds, and late updates are refused.
const HASTY: (&str, &str) = ("quorum: 1.0, deadline: 24h", "quorum: 0.6, deadline: 20s");

fn job(text: &str) -> JobSpec {
    let draft = job_file::parse(text, "job.yaml").expect("a job");
    job_file::check(draft, "job.yaml").expect("a good job")
}

fn changed(text: &str, (part, replacement): (&str, &str)) -> String {
    assert!(text.contains(part), "{part:?} is not in the text");
    text.replace(part, replacement)
}

fn calm(jobs: Vec<JobSpec>) -> Scenario {
    Scenario {
        jobs,
        workers: 2,
        slots: NonZeroU32::MIN,
        queue: None,
        look_every: 1,
        faults: Faults::none(),
    }
}

/// What a seed stands for, besides its faults: one job or two at a time, the orchestrator's queue or
/// one that fails, jobs that wait for everybody or that do not.
fn scenario(seed: u64) -> Scenario {
    let patient = job(PATIENT);
    let faults = Faults::drawn(seed);
    match seed % 4 {
        0 => Scenario {
            faults,
            ..calm(vec![patient])
        },
        1 => Scenario {
            faults,
            queue: Some(QueueFaults {
                failing: 20,
                slow: 20,
                reordered: 300,
                delayed: 200,
                repeated: 200,
                lost: 50,
                longest: Duration::from_secs(90),
            }),
            ..calm(vec![patient])
        },
        2 => Scenario {
            faults,
            slots: NonZeroU32::MIN.saturating_add(1),
            ..calm(vec![patient.clone(), patient])
        },
        _ => Scenario {
            faults,
            ..calm(vec![job(&changed(PATIENT, HASTY))])
        },
    }
}

fn ending(scenario: &Scenario, seed: u64) -> Ending {
    simulate(&GROUND, scenario, seed).unwrap_or_else(|broken| panic!("{broken}"))
}

fn told(variable: &str) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a person asks for more, or for one"
    )]
    std::env::var(variable).ok()
}

/// How many, and how many where it must be proven.
fn more<T>(some: T, many: T) -> T {
    if told("PANGEA_PROOF").is_some() {
        many
    } else {
        some
    }
}

/// The model that a patient job makes if nothing goes wrong.
fn undisturbed() -> Option<String> {
    let ending = ending(&calm(vec![job(PATIENT)]), 0);
    assert_eq!(ending.runs[0].reason, "all rounds are done");
    ending.models[0].clone()
}

fn check(seed: u64, undisturbed: Option<&String>) {
    let ending = ending(&scenario(seed), seed);
    if told("PANGEA_SEED").is_some() {
        let file = std::env::temp_dir().join(format!("pangea-simulation-{seed}.log"));
        fs::write(&file, &ending.log).expect("a file");
        println!("what happened is in {}", file.display());
    }
    if seed % 4 == 3 {
        // Who was late is chance; the invariants were looked at.
        return;
    }
    for (run, model) in ending.runs.iter().zip(&ending.models) {
        assert_eq!(run.reason, "all rounds are done", "seed {seed}");
        assert_eq!(model.as_ref(), undisturbed, "seed {seed}");
    }
}

#[test]
fn whatever_goes_wrong_nothing_is_lost_and_the_model_is_the_same() {
    let undisturbed = undisturbed();
    if let Some(seed) = told("PANGEA_SEED") {
        return check(seed.parse().expect("a seed"), undisturbed.as_ref());
    }
    let seeds = more(100, 5_000);
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _core in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    check(seed, undisturbed.as_ref());
                }
            });
        }
    });
}

#[test]
fn the_same_seed_is_the_same_call_for_call() {
    for seed in 0..more(16, 400) {
        let scenario = scenario(seed);
        let (one, other) = (ending(&scenario, seed), ending(&scenario, seed));
        let differs = one.log.lines().zip(other.log.lines()).find(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(one.log, other.log, "seed {seed}");
    }
}

#[test]
fn another_seed_is_another_order() {
    let scenario = calm(vec![job(PATIENT)]);
    let (one, other) = (ending(&scenario, 1), ending(&scenario, 2));
    assert_ne!(one.log, other.log);
    assert_eq!(one.models, other.models);
}

#[test]
fn a_round_of_a_crowd_fits_into_little_memory() {
    let clients = more(100, 2_000);
    let ground = Ground::prepare(2 * clients).expect("a data set");
    let crowd = changed(PATIENT, ("clients: 3", &format!("clients: {clients}")));
    let scenario = Scenario {
        workers: 8,
        slots: NonZeroU32::MIN.saturating_add(3),
        look_every: 500,
        ..calm(vec![job(&changed(&crowd, ("rounds: 2", "rounds: 1")))])
    };
    let ending = simulate(&ground, &scenario, 1).unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!(ending.runs[0].reason, "all rounds are done");
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
    let mib = kib.map_or(0, |kib| kib.trim().parse::<u64>().expect("a number") / 1024);
    println!(
        "{clients} clients in a round: {} calls, peak {mib} MiB",
        ending.lines
    );
    assert!(mib < 1024, "{mib} MiB");
}
