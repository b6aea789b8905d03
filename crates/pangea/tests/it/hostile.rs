//! Whatever bytes come in where bytes are read: an error or a value, no panic, and no more memory
//! than the bytes are worth.
//!
//! Each reader gets what it is for with bytes changed, cut off, put in and repeated, and bytes of
//! chance. `PANGEA_PROOF=1` tries a hundred times as many.

use std::fs;

use bytes::Bytes;
use client::{job_file, v1};
use federation::job::{JobDraft, JobSpec, ModelSource};
use federation::local::LocalTraining;
use federation::model::Architecture;
use federation::{ClientId, TaskId};
use orchestrator::checkpoint::Manifest;
use orchestrator::datasets::table::{KnownLabels, read_rows, read_table};
use orchestrator::datasets::text::{self, Survey};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use proto::Message;
use proto::body::Assembly;
use tikv_jemalloc_ctl::thread::allocatedp;
use training_worker::train::Task;

use crate::processes::long_form;
use crate::scene::{DIGITS, DIGITS_JOB};

/// What a reader may allocate besides a multiple of what it was given: tables that are as large for
/// one byte as for many.
const ANYWAY: u64 = 8 * 1024 * 1024;

/// How many times its size a text may come to in memory, over all that was allocated on the way.
const TIMES: u64 = 200;

const RUN: &str = "018bcfe5-6800-7000-8000-000000000001";

/// One thing that is done to good bytes.
#[derive(Debug, Clone)]
enum Harm {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index),
    Repeat(Index, Index),
}

fn harms() -> impl Strategy<Value = Vec<Harm>> {
    let harm = prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Harm::Set(at, byte)),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..12))
            .prop_map(|(at, bytes)| Harm::Insert(at, bytes)),
        any::<Index>().prop_map(Harm::Cut),
        (any::<Index>(), any::<Index>()).prop_map(|(from, at)| Harm::Repeat(from, at)),
    ];
    prop::collection::vec(harm, 0..6)
}

fn harmed(good: &[u8], harms: &[Harm]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for harm in harms {
        let len = bytes.len() + 1;
        match harm {
            Harm::Set(at, byte) => {
                let at = at.index(len);
                if let Some(place) = bytes.get_mut(at) {
                    *place = *byte;
                }
            }
            Harm::Insert(at, more) => {
                let at = at.index(len);
                bytes.splice(at..at, more.iter().copied());
            }
            Harm::Cut(at) => bytes.truncate(at.index(len)),
            Harm::Repeat(from, at) => {
                let (from, at) = (from.index(len), at.index(len));
                let part = bytes[from..bytes.len().min(from + 64)].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

/// Has `read` read what becomes of `good`.
fn survives(good: &[u8], read: impl Fn(&[u8])) {
    let cases = if long_form() { 50_000 } else { 500 };
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(2026),
        failure_persistence: None,
        ..Config::default()
    };
    let input = prop_oneof![
        9 => harms().prop_map(|harms| harmed(good, &harms)),
        1 => prop::collection::vec(any::<u8>(), 0..512),
    ];
    let allocated = allocatedp::read().expect("the allocator's own count");
    TestRunner::new(config)
        .run(&input, |bytes| {
            let before = allocated.get();
            read(&bytes);
            let used = allocated.get() - before;
            let most = ANYWAY + TIMES * bytes.len() as u64;
            prop_assert!(used <= most, "{} bytes took {used}", bytes.len());
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

fn job() -> JobDraft {
    job_file::parse(DIGITS_JOB, "job.yaml").expect("a job")
}

fn spec() -> JobSpec {
    job_file::check(job(), "job.yaml").expect("a good job")
}

fn model() -> v1::Architecture {
    let ModelSource::Spec(model) = spec().model else {
        panic!("a new model");
    };
    v1::Architecture::from(&model.architecture(64, 10).expect("a model"))
}

fn body() -> v1::Body {
    let model = Architecture::try_from(&model()).expect("a model");
    let bytes = vec![0; model.num_parameters() * 4];
    proto::body::parameters_header(&model, &bytes)
}

fn task() -> v1::TrainTask {
    let blob = v1::BlobRef {
        key: "models/a".to_owned(),
        offset_bytes: 8,
        body: Some(body()),
    };
    v1::TrainTask {
        task: TaskId {
            run: RUN.parse().expect("a run"),
            round: 3,
            client: ClientId(2),
            attempt: 1,
        }
        .to_string(),
        model: Some(model()),
        parameters: Some(blob.clone()),
        shard: Some(blob),
        local: Some(v1::LocalTraining::from(&spec().local)),
        seed: 7,
        kernel_class: "x86-64-v3".to_owned(),
    }
}

#[test]
fn jobs_on_the_wire() {
    let good = v1::Job::from(&job()).encode_to_vec();
    survives(&good, |bytes| {
        if let Ok(job) = v1::Job::decode(bytes)
            && let Ok(draft) = JobDraft::try_from(&job)
            && let Ok(spec) = JobSpec::try_from(draft)
            && let ModelSource::Spec(model) = spec.model
        {
            drop(model.architecture(64, 10));
        }
    });
}

#[test]
fn job_files() {
    survives(DIGITS_JOB.as_bytes(), |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(draft) = job_file::parse(&text, "job.yaml") {
            drop(job_file::check(draft, "job.yaml"));
        }
    });
}

#[test]
fn tasks_in_the_queue() {
    let good = task();
    assert!(Task::try_from(good.clone()).is_ok());
    survives(&good.to_bytes(), |bytes| {
        let task = v1::TrainTask::from_bytes(Bytes::copy_from_slice(bytes));
        drop(task.map(Task::try_from));
    });
}

#[test]
fn models_and_plans_for_the_engine() {
    let good = task();
    survives(&good.model.expect("a model").encode_to_vec(), |bytes| {
        if let Ok(model) = v1::Architecture::decode(bytes)
            && let Ok(model) = Architecture::try_from(&model)
        {
            drop(proto::body::parameter_tensors(&model));
        }
    });
    survives(&good.local.expect("a plan").encode_to_vec(), |bytes| {
        let plan = v1::LocalTraining::decode(bytes);
        drop(plan.map(|plan| LocalTraining::try_from(&plan)));
    });
}

#[test]
fn bodies_that_announce_what_does_not_come() {
    survives(&body().encode_to_vec(), |bytes| {
        if let Ok(header) = v1::Body::decode(bytes)
            && let Ok(mut assembly) = Assembly::new(&header)
        {
            drop(assembly.push(bytes));
            drop(assembly.finish());
        }
    });
}

#[test]
fn headers_of_safetensors_files() {
    let model = Architecture::try_from(&model()).expect("a model");
    let good = orchestrator::checkpoint::header(&model).expect("a header");
    assert!(artifacts::tensors::read_header(&good).is_ok());
    survives(&good, |bytes| {
        drop(artifacts::tensors::read_header(bytes));
    });
}

#[test]
fn tables() {
    let digits = fs::read_to_string(DIGITS).expect("the digits");
    let few: Vec<&str> = digits.lines().take(6).collect();
    let few = few.join("\n");
    let classes = ["0".to_owned(), "1".to_owned()];
    let label = few
        .lines()
        .next()
        .and_then(|header| header.rsplit(',').next());
    let label = label.expect("a label").to_owned();
    survives(few.as_bytes(), |bytes| {
        drop(read_table(bytes, &label));
        let known = KnownLabels {
            column: &label,
            classes: &classes,
        };
        drop(read_rows(bytes, &[], Some(known)));
    });
}

#[test]
fn texts() {
    let good = "the quick brown fox — día y noche 🦀\n".repeat(4);
    survives(good.as_bytes(), |bytes| {
        if let Ok(survey) = Survey::of(bytes) {
            for context in [1, 7, 64] {
                let rows = survey.rows(context).unwrap_or(0);
                let mut read = 0;
                let each = |_: &[f32], _| read += 1;
                text::read_rows(bytes, &survey.vocabulary, context, each).expect("a text");
                assert_eq!(read, rows);
            }
        }
    });
}

#[test]
fn manifests_of_checkpoints() {
    let model = Architecture::try_from(&model()).expect("a model");
    let digest = federation::Digest::of(b"x");
    let good = serde_json::json!({
        "run": RUN,
        "round": 3,
        "job_digest": digest,
        "dataset_digest": digest,
        "architecture": model,
        "model": {
            "digest": digest,
            "len": 10,
            "parameters": { "key": "models/a", "offset": 2, "len": 8, "digest": digest },
        },
        "parent": null,
        "updates": [{ "client": ClientId(1), "digest": digest, "num_examples": 2, "weight": 2.0 }],
        "outcome": null,
    });
    let good = good.to_string();
    let read: Result<Manifest, _> = serde_json::from_str(&good);
    read.expect("a manifest");
    survives(good.as_bytes(), |bytes| {
        drop(serde_json::from_slice::<Manifest>(bytes));
    });
}
