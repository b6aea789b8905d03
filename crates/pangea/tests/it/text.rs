//! A text as a data set, and models that go on with it.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::scene::{SHORT_JOB, Scene, changed};
use crate::shell::{Told, pangea};

const GRAMMAR: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../examples/text/grammar.txt"
);

const JOB: &str = "\
name: words
model: { kind: gpt, blocks: 1, width: 32, heads: 2 }
dataset: { name: words, partition: { kind: iid, clients: 2 } }
local: { epochs: 1, optimizer: { kind: adamw, learning_rate: 0.005 } }
rounds: 2
publish_as: words
";

/// A house that knows the digits, and a folder of a person who works with it.
struct Desk {
    scene: Scene,
    folder: tempfile::TempDir,
}

impl Desk {
    async fn open() -> Self {
        Self {
            scene: Box::pin(Scene::with_digits(2)).await,
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// A desk with a data set of words, and a model that was trained on them.
    async fn with_words() -> Self {
        let desk = Self::open().await;
        desk.json(&[&import(GRAMMAR)[..], &["--name", "words"]].concat())
            .await;
        desk.train(JOB).await;
        desk
    }

    async fn run(&self, arguments: &[&str]) -> Told {
        pangea(&[arguments, &["--server", &self.scene.server()]].concat()).await
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let json = [arguments, &["--output", "json"]].concat();
        self.run(&json).await.json()
    }

    async fn refusal(&self, arguments: &[&str]) -> String {
        self.run(arguments).await.refusal()
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let file = self.folder.path().join(name);
        std::fs::write(&file, bytes).expect("a file");
        file
    }

    async fn train(&self, job: &str) -> Value {
        let job = self.file("job.yaml", job.as_bytes());
        let submitted = self.json(&["submit", text(&job), "--watch"]).await;
        assert_eq!(submitted["run"]["state"], "completed", "{submitted}");
        submitted
    }

    /// What submitting a job comes to, which is what validating it comes to.
    async fn refused_job(&self, job: &str) -> String {
        let job = self.file("job.yaml", job.as_bytes());
        let submitted = self.refusal(&["submit", text(&job)]).await;
        assert_eq!(self.refusal(&["validate", text(&job)]).await, submitted);
        submitted.replace(text(&job), "job.yaml")
    }

    async fn generate(&self, more: &[&str]) -> String {
        let generate = ["generate", "words", "--prompt", "the cat", "--length", "40"];
        self.run(&[&generate[..], more].concat()).await.text()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

fn import(file: &str) -> [&str; 6] {
    ["dataset", "import", file, "--text", "--context", "24"]
}

/// The mean loss, in nats, of whoever knows how frequent each character is and nothing else.
fn entropy(text: &str) -> f64 {
    let mut counts: HashMap<char, f64> = HashMap::new();
    for character in text.chars() {
        *counts.entry(character).or_default() += 1.0;
    }
    let all: f64 = counts.values().sum();
    counts.values().map(|n| -n / all * (n / all).ln()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_imported_learnt_and_gone_on_with() {
    let desk = Desk::open().await;
    let import = [&import(GRAMMAR)[..], &["--name", "words"]].concat();
    let told = desk.run(&import).await.text();
    let whole = std::fs::read_to_string(GRAMMAR).expect("the example");
    let windows = (whole.len() - 1) / 24;
    assert_eq!(
        told,
        "imported words: 2,163 training rows, 541 test rows, 24 characters in each, 26 different \
         characters\n"
    );
    assert_eq!(windows, 2_163 + 541);
    let vocabulary: BTreeSet<char> = whole.chars().collect();
    let vocabulary: String = vocabulary.into_iter().collect();
    let shown = desk.json(&["dataset", "show", "words"]).await;
    assert_eq!(shown["dataset"]["vocabulary"], vocabulary.as_str());
    assert_eq!(shown["dataset"]["features"], 24);
    let listed = desk.json(&["dataset", "list"]).await;
    assert_eq!(listed[0]["vocabulary"], Value::Null, "the digits");
    let person = desk.run(&["dataset", "show", "words"]).await.text();
    // A line feed in quotes, and no line of its own.
    assert!(person.contains("\n\"\\n\" "), "{person}");

    let run = desk.train(JOB).await;
    let loss = run["run"]["loss"].as_f64().expect("a loss");
    assert!(loss < entropy(&whole), "{loss}");
    let models = desk.json(&["models"]).await;
    assert_eq!(models[0]["vocabulary"], vocabulary.as_str());

    let said = desk.generate(&["--seed", "3"]).await;
    let said = said.strip_suffix('\n').expect("a line");
    let known = |text: &str| text.chars().all(|c| vocabulary.contains(c));
    assert!(known(said), "{said:?}");
    // The last character may be a line feed, and then there is no other one.
    assert!(matches!(said.chars().count(), 39 | 40), "{said:?}");
    assert_eq!(
        desk.generate(&["--seed", "3"]).await.trim_end_matches('\n'),
        said
    );
    assert_ne!(
        desk.generate(&["--seed", "4"]).await.trim_end_matches('\n'),
        said
    );
    let coldest = desk.generate(&["--temperature", "0", "--seed", "3"]).await;
    assert_eq!(desk.generate(&["--temperature", "0"]).await, coldest);

    // Far beyond the context, from one character.
    let generate = ["generate", "words@1", "--prompt", "a", "--length", "300"];
    let answer = desk.json(&generate).await;
    assert_eq!(
        (&answer["model"]["name"], &answer["model"]["version"]),
        (&"words".into(), &1.into())
    );
    assert_eq!(
        (&answer["prompt"], &answer["seed"]),
        (&"a".into(), &0.into())
    );
    let said = answer["text"].as_str().expect("a text");
    assert_eq!(said.chars().count(), 300);
    assert!(known(said), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_cannot_be_is_refused_before_it_begins() {
    let desk = Desk::with_words().await;
    desk.train(&changed(
        SHORT_JOB,
        &[("rounds: 4", "rounds: 1\npublish_as: plain")],
    ))
    .await;
    let refusal = async |model: &str, prompt: &str, more: &[&str]| {
        let generate = ["generate", model, "--prompt", prompt];
        desk.refusal(&[&generate[..], more].concat()).await
    };
    assert_eq!(
        refusal("words", "the Cat", &[]).await,
        "error: prompt: has 'C' as character 5, which is not in the model's vocabulary of 26: \
         \"\\n .abcdefghiklmnopqrstuvwy\" (INVALID_MESSAGE)\n"
    );
    assert_eq!(
        refusal("words", "", &[]).await,
        "error: prompt: is empty; must have at least one character (INVALID_MESSAGE)\n"
    );
    for (given, shown) in [("-1", "-1"), ("nan", "NaN"), ("inf", "inf")] {
        assert_eq!(
            refusal("words", "the", &["--temperature", given]).await,
            format!(
                "error: temperature: is {shown}; must be a finite number from 0 (INVALID_MESSAGE)\n"
            )
        );
    }
    for length in ["0", "65537"] {
        assert_eq!(
            refusal("words", "the", &["--length", length]).await,
            format!("error: length: is {length}; must be from 1 to 65536 (INVALID_MESSAGE)\n")
        );
    }
    assert_eq!(
        refusal("plain", "the", &[]).await,
        "error: model plain@1 has no vocabulary, as it was not trained on a text; import one with \
         `pangea dataset import FILE --text --context N`, and train a model of kind gpt on it \
         (NO_VOCABULARY)\n"
    );
    assert_eq!(
        refusal("words@2", "the", &[]).await,
        "error: model words@2 does not exist; `pangea models` lists those there are \
         (MODEL_NOT_FOUND)\n"
    );

    // One that reads tokens, and a whole row of them alone.
    let layers = "{ kind: layers, layers: [{ kind: embedding, vocabulary: 26, width: 2, context: 24 \
                  }, { kind: flatten }, { kind: linear, inputs: 48, outputs: 26 }] }";
    let whole = changed(
        JOB,
        &[
            ("{ kind: gpt, blocks: 1, width: 32, heads: 2 }", layers),
            ("rounds: 2", "rounds: 1"),
            ("publish_as: words", "publish_as: whole"),
        ],
    );
    desk.train(&whole).await;
    assert_eq!(
        refusal("whole", "the", &[]).await,
        "error: model whole@1 yields the character after a whole row alone, and none for a prompt \
         that is shorter; train one of kind gpt (NOT_CAUSAL)\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_text_is_refused_and_registers_nothing() {
    let desk = Desk::open().await;
    for (bytes, told) in [
        (
            &b"ab\xffcd"[..],
            "the byte at offset 2, 0xff, is not UTF-8 text; save the file as UTF-8",
        ),
        (b"", "the file is empty; a text is expected"),
        (
            b"aaaa",
            "the text holds only 'a'; at least 2 different characters are needed",
        ),
        (
            b"too short for it",
            "the text has 16 characters; a context of 24 takes at least 25, a window and the \
             character after it",
        ),
    ] {
        let file = desk.file("letter.txt", bytes);
        assert_eq!(
            desk.refusal(&import(text(&file))).await,
            format!("error: letter.txt: {told} (INVALID_TEXT)\n")
        );
    }
    let file = desk.file("letter.txt", b"long enough for one window and no more");
    assert_eq!(
        desk.refusal(&import(text(&file))).await,
        "error: test_fraction: a test fraction of 0.2 leaves no test rows among 1; make it larger, \
         or 0 for none (INVALID_MESSAGE)\n"
    );
    let none = ["dataset", "import", text(&file), "--text", "--context", "0"];
    assert_eq!(
        desk.refusal(&none).await,
        "error: text.context: letter.txt: a context of 0 is not accepted; it must be from 1 to \
         1000000 (INVALID_MESSAGE)\n"
    );
    // What contradicts itself does not leave the command line.
    for flags in [
        &["--text"][..],
        &["--context", "8"],
        &["--text", "--context", "8", "--label", "x"],
        &["--text", "--context", "8", "--scaling", "none"],
        &[],
    ] {
        let import = [&["dataset", "import", text(&file)], flags].concat();
        assert_eq!(desk.run(&import).await.status, 2, "{flags:?}");
    }
    assert_eq!(desk.scene.client.datasets().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_does_not_fit_a_text_is_refused_by_submit_and_validate_alike() {
    let desk = Desk::with_words().await;
    let gpt = "{ kind: gpt, blocks: 1, width: 32, heads: 2 }";
    assert_eq!(
        desk.refused_job(&changed(JOB, &[(gpt, "{ kind: softmax_regression }")]))
            .await,
        "error: model: does not fit a text of context 24 and 26 characters: the rows are tokens, \
         which the model does not read; its first layer must be an embedding, as in a model of \
         kind gpt (INVALID_JOB)\n"
    );
    let layers = "{ kind: layers, layers: [{ kind: embedding, vocabulary: 26, width: 4, context: 32 \
                  }, { kind: tied_head }] }";
    assert_eq!(
        desk.refused_job(&changed(JOB, &[(gpt, layers)])).await,
        "error: model: does not fit a text of context 24 and 26 characters: the rows have \
         24 tokens, and the model's context is 32; choose a model whose context is 24, or import \
         the text with `--context 32` (INVALID_JOB)\n"
    );
    let large = "{ kind: gpt, blocks: 80, width: 4096 }";
    assert_eq!(
        desk.refused_job(&changed(JOB, &[(gpt, large)])).await,
        "error: job.yaml: model: the model has at least 16110407680 parameters, which take 61 GiB; \
         at most 2147483648 are trained; make its layers narrower\n"
    );

    // A published model goes on with the same characters alone.
    let published = "{ kind: published, name: words }";
    let further = changed(JOB, &[(gpt, published), ("rounds: 2", "rounds: 1")]);
    desk.train(&further).await;
    let other = std::fs::read_to_string(GRAMMAR).expect("the example");
    let other = desk.file("other.txt", other.replace('.', "!").as_bytes());
    desk.json(&import(text(&other))).await;
    let told = desk
        .refused_job(&changed(
            &further,
            &[("name: words, part", "name: other, part")],
        ))
        .await;
    assert_eq!(
        told,
        "error: model: words@2 and data set \"other\" are not of the same characters: the model \
         alone knows \".\", the data set alone has \"!\" (INVALID_JOB)\n"
    );

    // And with sequences of its context.
    let longer = ["--context", "48", "--name", "longer"];
    desk.json(&[&["dataset", "import", GRAMMAR, "--text"], &longer[..]].concat())
        .await;
    let told = desk
        .refused_job(&changed(
            &further,
            &[("name: words, part", "name: longer, part")],
        ))
        .await;
    assert_eq!(
        told,
        "error: model: words@2 does not fit a text of context 48 and 26 characters: the rows have \
         48 tokens, and the model's context is 24; choose a model whose context is 48, or import \
         the text with `--context 24` (INVALID_JOB)\n"
    );
}
