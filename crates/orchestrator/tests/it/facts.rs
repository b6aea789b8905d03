//! What the run store keeps, wherever it is kept.

use artifacts::BlobRef;
use federation::acceptance::Refusal;
use federation::event::{Event, RoundOutcome};
use federation::model::ModelSpec;
use federation::round::{Phase, Plan};
use federation::run::{Command, RunState};
use federation::{ClientId, Digest, KernelClass, RunId, Timestamp, WorkerId};
use orchestrator::checkpoint::ModelFile;
use orchestrator::datasets::Scaling;
use orchestrator::publish::ModelManifest;
use orchestrator::store::{NewRun, Receipt, Store, StoreError, Submission};
use uuid::Uuid;

use crate::home::{Home, at_every_home};
use crate::world::job;

pub(crate) const NOW: Timestamp = Timestamp(1_000);

pub(crate) fn run(number: u128) -> RunId {
    RunId(Uuid::from_u128(number))
}

pub(crate) fn new_run(number: u128, key: &str) -> NewRun {
    let job = job(2, 1);
    NewRun {
        run: run(number),
        idempotency_key: key.to_owned(),
        job_digest: Digest::of(job.name.as_bytes()),
        job,
        dataset_digest: Digest::of(b"d"),
        trace: None,
    }
}

/// A store with one run, whose first round is open.
pub(crate) async fn with_round(home: &Home) -> Store {
    let store = home.open().await;
    store.submit(&new_run(1, "k"), NOW).await.unwrap();
    let begun = store.move_run(run(1), RunState::Pending, RunState::Running, "", NOW);
    assert!(begun.await.unwrap());
    assert!(store.open_round(run(1), &plan()).await.unwrap());
    store
}

/// Closes round 1.
pub(crate) async fn close(store: &Store) {
    let closed = store.close_training(run(1), 1).await;
    closed.unwrap();
}

async fn commit(store: &Store) -> bool {
    store.commit_round(run(1), &outcome(), NOW).await.unwrap()
}

pub(crate) fn plan() -> Plan {
    Plan {
        number: 1,
        cohort: vec![ClientId(0), ClientId(1)],
        quorum: 2,
        base: Digest::of(b"base"),
        update_bytes: 8,
        opened_at: NOW,
        deadline: Timestamp(2_000),
    }
}

pub(crate) fn outcome() -> RoundOutcome {
    RoundOutcome {
        round: 1,
        accepted: 1,
        refused: 0,
        num_examples: 10,
        accuracy: Some(0.1 + 0.2),
        loss: 1.0 / 3.0,
        train_loss: f64::MIN_POSITIVE,
        update_bytes: 8,
        model_digest: Digest::of(b"model"),
        duration_ms: 7,
    }
}

pub(crate) fn receipt(attempt: u32) -> Receipt {
    Receipt {
        round: 1,
        client: ClientId(1),
        attempt,
        lease_epoch: 1,
        worker: WorkerId("w".to_owned()),
        num_examples: 10,
        num_steps: 5,
        kernel_class: Some(KernelClass::X86_64V3),
        weight: 10.0,
        mean_loss: 0.5,
        bytes: 8,
        digest: Digest::of(b"delta"),
        key: "runs/x/rounds/y.z.bundle".to_owned(),
        offset: 16,
        accepted: false,
        reason: String::new(),
        message: String::new(),
        received_at: NOW,
    }
}

at_every_home!(
    a_key_starts_one_run_and_belongs_to_its_job,
    of_callers_with_one_key_one_starts_the_run,
    events_of_concurrent_writers_have_no_gap,
    a_client_is_accepted_once_in_a_round_and_refused_as_often_as_it_takes,
    a_revoked_update_makes_room_for_another_one,
    a_round_is_committed_when_it_is_known_to_be_closed,
    a_run_moves_only_from_where_it_is,
    a_run_publishes_once_and_versions_of_a_name_count_up,
    what_was_stored_is_there_after_reopening,
);

pub(crate) async fn sequences(store: &Store, number: u128) -> Vec<u64> {
    let events = store.events_after(run(number), 0).await.unwrap();
    events.iter().map(|event| event.sequence).collect()
}

async fn a_key_starts_one_run_and_belongs_to_its_job(home: Home) {
    let store = home.open().await;
    let first = store.submit(&new_run(1, "k"), NOW).await.unwrap();
    assert!(matches!(first, Submission::Started(row) if row.run == run(1)));
    let again = store.submit(&new_run(2, "k"), NOW).await.unwrap();
    assert!(matches!(again, Submission::Existed(row) if row.run == run(1)));
    let other = NewRun {
        job_digest: Digest::of(b"another job"),
        ..new_run(3, "k")
    };
    let taken = store.submit(&other, NOW).await.unwrap();
    assert!(matches!(taken, Submission::Existed(row) if row.run == run(1)));
    assert_eq!(store.runs(None, 10).await.unwrap().len(), 1);
    assert_eq!(sequences(&store, 1).await, [1]);
}

async fn of_callers_with_one_key_one_starts_the_run(home: Home) {
    let store = home.open().await;
    let submit = |number| {
        let store = store.clone();
        tokio::spawn(async move { store.submit(&new_run(number, "k"), NOW).await.unwrap() })
    };
    let mut started = 0;
    for call in (1..=8).map(submit).collect::<Vec<_>>() {
        started += usize::from(matches!(call.await.unwrap(), Submission::Started(_)));
    }
    assert_eq!(started, 1);
}

async fn events_of_concurrent_writers_have_no_gap(home: Home) {
    let store = home.open().await;
    store.submit(&new_run(1, "k"), NOW).await.unwrap();
    // As of another process.
    let other = home.open().await;
    let tell = |number: u32| {
        let store = if number.is_multiple_of(2) {
            &store
        } else {
            &other
        }
        .clone();
        tokio::spawn(async move {
            for round in 0..10 {
                let event = Event::RoundAbandoned {
                    round,
                    reason: number.to_string(),
                };
                store.tell(run(1), NOW, &event).await.unwrap();
            }
        })
    };
    for writer in (0..8).map(tell).collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let sequences = sequences(&store, 1).await;
    assert!(sequences.iter().copied().eq(1..=81), "{sequences:?}");
}

async fn a_client_is_accepted_once_in_a_round_and_refused_as_often_as_it_takes(home: Home) {
    let store = with_round(&home).await;
    let refused = Err(Refusal::Duplicate);
    store
        .receive(run(1), &receipt(1), &refused, &[])
        .await
        .unwrap();
    store
        .receive(run(1), &receipt(1), &Ok(()), &[])
        .await
        .unwrap();
    let told = sequences(&store, 1).await.len();
    let second = store.receive(run(1), &receipt(2), &Ok(()), &[]).await;
    assert!(
        matches!(second, Err(StoreError::Statement(_))),
        "{second:?}"
    );
    assert_eq!(
        sequences(&store, 1).await.len(),
        told,
        "nothing is told of it"
    );
    store
        .receive(run(1), &receipt(2), &refused, &[])
        .await
        .unwrap();

    let accepted = store.accepted(run(1), 1).await.unwrap();
    assert_eq!(accepted.len(), 1);
    assert_eq!(accepted[0].attempt, 1);
    assert_eq!(store.receipts(run(1), 1).await.unwrap().len(), 3);
}

async fn a_revoked_update_makes_room_for_another_one(home: Home) {
    let store = with_round(&home).await;
    store
        .receive(run(1), &receipt(1), &Ok(()), &[])
        .await
        .unwrap();
    store.close_training(run(1), 1).await.unwrap();
    let damaged = Refusal::Damaged {
        problem: "rot".to_owned(),
    };
    let again = [(ClientId(1), 2)];
    let first = receipt(1);
    let revoked = store.revoke(run(1), &first, &damaged, &again, NOW);
    revoked.await.unwrap();
    let open = store.unfinished_round(run(1)).await.unwrap().unwrap();
    assert_eq!(open.phase, Phase::Training);
    assert_eq!(open.attempts.get(&ClientId(1)), Some(&2));
    store
        .receive(run(1), &receipt(2), &Ok(()), &[])
        .await
        .unwrap();
    let receipts = store.receipts(run(1), 1).await.unwrap();
    let verdicts: Vec<_> = receipts
        .iter()
        .map(|row| (row.accepted, row.reason.as_str()))
        .collect();
    assert_eq!(verdicts, [(false, "damaged"), (true, "")]);
}

async fn a_run_moves_only_from_where_it_is(home: Home) {
    let store = home.open().await;
    store.submit(&new_run(1, "k"), NOW).await.unwrap();
    let move_run = async |from, to| store.move_run(run(1), from, to, "why", NOW).await.unwrap();
    assert!(!move_run(RunState::Running, RunState::Completed).await);
    assert!(move_run(RunState::Pending, RunState::Admitted).await);
    assert!(!move_run(RunState::Pending, RunState::Admitted).await);
    assert_eq!(sequences(&store, 1).await, [1, 2]);

    let cancel = async || store.command(run(1), Command::Cancel, NOW).await.unwrap();
    let row = cancel().await.unwrap().unwrap();
    assert_eq!(
        (row.state, row.finished_at),
        (RunState::Cancelled, Some(NOW))
    );
    assert!(!move_run(RunState::Admitted, RunState::Running).await);
    assert!(cancel().await.unwrap().is_ok(), "once more is fine");
    let resumed = store.command(run(1), Command::Resume, NOW).await.unwrap();
    assert!(resumed.unwrap().is_err());
    assert_eq!(sequences(&store, 1).await, [1, 2, 3]);
}

pub(crate) fn manifest(text: &str) -> ModelManifest {
    let digest = Digest::of(text.as_bytes());
    ModelManifest {
        architecture: ModelSpec::SoftmaxRegression.architecture(2, 3).unwrap(),
        model: ModelFile {
            digest,
            len: 44,
            parameters: BlobRef {
                key: "models/ab/abc".parse().unwrap(),
                offset: 8,
                len: 36,
                digest,
            },
        },
        features: vec!["x".to_owned(), "y".to_owned()],
        label: "label".to_owned(),
        classes: ["0", "1", "2"].map(str::to_owned).to_vec(),
        scaling: Scaling::identity(2),
        round: 1,
        accuracy: Some(0.5),
        loss: 1.5,
        job_digest: digest,
        dataset_digest: digest,
        parent: None,
        updates: Vec::new(),
        is_text: false,
    }
}

async fn a_run_publishes_once_and_versions_of_a_name_count_up(home: Home) {
    let store = home.open().await;
    for number in 1..=3 {
        let new = new_run(number, &number.to_string());
        store.submit(&new, NOW).await.unwrap();
    }
    let publish = async |name, number| {
        let model = manifest(&format!("{number}"));
        let from = store.run(run(number)).await.unwrap().unwrap().state;
        store
            .move_run(run(number), from, RunState::Running, "", NOW)
            .await
            .unwrap();
        let published = store
            .publish(name, run(number), &model, "done", NOW)
            .await
            .unwrap();
        published.map(|model| (model.name, model.version))
    };
    assert_eq!(publish("m", 1).await, Some(("m".to_owned(), 1)));
    assert_eq!(publish("m", 2).await, Some(("m".to_owned(), 2)));
    let model = manifest("2");
    let other = store.publish("m", run(1), &model, "done", NOW).await;
    let other = other.unwrap();
    assert!(other.is_none(), "a run that is over publishes no more");
    assert_eq!(publish("n", 3).await, Some(("n".to_owned(), 1)));
    let newest = store.model("m", None).await.unwrap().unwrap();
    assert_eq!((newest.version, newest.manifest), (2, manifest("2")));
    assert_eq!(
        store
            .model("m", Some(3))
            .await
            .unwrap()
            .map(|row| row.version),
        None
    );
}

/// A power cut can leave a checkpoint, and take from the store that its round was closed, or opened.
async fn a_round_is_committed_when_it_is_known_to_be_closed(home: Home) {
    let store = with_round(&home).await;
    assert!(!commit(&store).await, "reports may be missing");
    store.forget_rounds(run(1), 0).await.unwrap();
    assert!(!commit(&store).await, "nothing is known of it");
    let row = store.run(run(1)).await.unwrap().unwrap();
    assert_eq!(row.rounds_committed, 0);
    assert!(store.open_round(run(1), &plan()).await.unwrap());
    close(&store).await;
    assert!(commit(&store).await);
    assert!(commit(&store).await, "once more");
    let row = store.run(run(1)).await.unwrap().unwrap();
    assert_eq!(row.rounds_committed, 1);
}

async fn what_was_stored_is_there_after_reopening(home: Home) {
    let store = with_round(&home).await;
    let mut kept = receipt(1);
    store.receive(run(1), &kept, &Ok(()), &[]).await.unwrap();
    close(&store).await;
    assert!(commit(&store).await);
    let published = store
        .publish("m", run(1), &manifest("m"), "done", NOW)
        .await
        .unwrap()
        .expect("the run is in work");
    let before = (
        format!("{:?}", store.run(run(1)).await.unwrap()),
        store.events_after(run(1), 0).await.unwrap(),
    );
    store.close().await;

    let store = home.open().await;
    let after = (
        format!("{:?}", store.run(run(1)).await.unwrap()),
        store.events_after(run(1), 0).await.unwrap(),
    );
    assert_eq!(before, after);
    kept.accepted = true;
    assert_eq!(store.receipts(run(1), 1).await.unwrap(), [kept]);
    let rounds = store.rounds(run(1), 0, 10).await.unwrap();
    assert_eq!(rounds[0].outcome, Some(outcome()), "to the last bit");
    let model = store.model_of(run(1)).await.unwrap().unwrap();
    assert_eq!(model.manifest, published.manifest);
}
