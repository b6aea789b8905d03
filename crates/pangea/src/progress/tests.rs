use std::sync::{Arc, Mutex};

use client::RunState;
use client::v1::event::{
    Kind, ModelPublished, RoundCommitted, RoundOpened, RunStateChanged, TaskFailed, UpdateAccepted,
    UpdateRefused,
};

use super::*;

fn event(kind: Kind) -> v1::Event {
    v1::Event {
        kind: Some(kind),
        ..v1::Event::default()
    }
}

fn state(state: v1::RunState, reason: &str) -> v1::Event {
    event(Kind::RunStateChanged(RunStateChanged {
        state: state.into(),
        reason: reason.into(),
    }))
}

fn opened() -> v1::Event {
    event(Kind::RoundOpened(RoundOpened {
        round: 3,
        cohort: 8,
        quorum: 6,
    }))
}

fn accepted() -> v1::Event {
    event(Kind::UpdateAccepted(UpdateAccepted {
        bytes: 19_240,
        ..UpdateAccepted::default()
    }))
}

fn committed() -> v1::Event {
    event(Kind::RoundCommitted(RoundCommitted {
        round: 3,
        accepted: 7,
        refused: 1,
        accuracy: Some(0.931),
        loss: 0.23121,
        update_bytes: 134_680,
        duration_ms: 420,
        ..RoundCommitted::default()
    }))
}

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that `events` give, and what they come to.
fn watched(events: &[v1::Event]) -> (String, Outcome) {
    let page = Page::default();
    let mut progress = Progress::lines(20, Box::new(page.clone()));
    for event in events {
        progress.take(event);
    }
    let outcome = progress.finish();
    let lines = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    (lines, outcome)
}

#[test]
fn without_a_terminal_a_round_is_one_line() {
    let (lines, outcome) = watched(&[opened(), accepted(), committed()]);
    assert_eq!(
        lines,
        "round 3/20: accuracy 93.1 %, loss 0.2312, 7/8 clients, 1 refused, 131.5 KiB, 0.42 s\n"
    );
    assert_eq!(outcome.last_round.unwrap().round, 3);
}

#[test]
fn who_comes_in_the_middle_sees_a_whole_line_all_the_same() {
    let (lines, _) = watched(&[committed()]);
    assert!(lines.contains(", 7/7 clients, "), "{lines}");
}

#[test]
fn trouble_is_told_with_who_and_why() {
    let failed = event(Kind::TaskFailed(TaskFailed {
        round: 3,
        client: "client-0002".into(),
        worker: "ada".into(),
        attempt: 2,
        message: "out of\u{1b}[31m memory".into(),
    }));
    let (lines, _) = watched(&[failed, state(v1::RunState::Paused, "")]);
    assert_eq!(
        lines,
        "round 3: client-0002 failed on ada in attempt 2: out of\u{fffd}[31m memory\n\
         run is paused\n"
    );
}

#[test]
fn the_outcome_is_the_last_state_with_its_reason_and_model() {
    let model = v1::ModelVersion {
        name: "digits".into(),
        version: 3,
        digest: String::new(),
    };
    let published = event(Kind::ModelPublished(ModelPublished { model: Some(model) }));
    let (lines, outcome) = watched(&[
        state(v1::RunState::Running, ""),
        published,
        state(v1::RunState::Completed, "all rounds are done"),
    ]);
    assert_eq!(
        lines,
        "run is running\npublished digits@3\nrun is completed: all rounds are done\n"
    );
    assert_eq!(outcome.state, Some(RunState::Completed));
    assert_eq!(outcome.reason, "all rounds are done");
    assert_eq!(outcome.model.as_deref(), Some("digits@3"));
}

#[test]
fn the_bar_shows_the_last_result_and_the_open_round() {
    let mut tally = Tally::new(20);
    tally.take(&opened());
    tally.take(&accepted());
    assert_eq!(tally.summary(), "clients 1/8  18.8 KiB");

    tally.take(&committed());
    tally.take(&opened());
    tally.take(&event(Kind::UpdateRefused(UpdateRefused::default())));
    assert_eq!(
        tally.summary(),
        "accuracy 93.1 %  loss 0.2312  clients 0/8  refused 1  0 B  0.42 s a round"
    );
    assert_eq!(tally.rounds_committed(), 3);
}
