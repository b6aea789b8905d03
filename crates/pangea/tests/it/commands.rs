//! Pause, resume and cancel; watching a run in parts.

use client::v1;
use client::v1::event::Kind;

use crate::scene::{SHORT_JOB, Scene, Watching, change_to, commit_of, count, job};

/// A moment in the life of a round.
#[derive(Debug, Clone, Copy)]
enum Moment {
    FirstUpdate,
    LastUpdate,
    Commit,
}

impl Watching {
    async fn until_moment(&mut self, moment: Moment, round: u32) {
        let updates = match moment {
            Moment::FirstUpdate => 1,
            Moment::LastUpdate => 4,
            Moment::Commit => {
                self.until(commit_of(round)).await;
                return;
            }
        };
        for _ in 0..updates {
            let accepted =
                |kind: &Kind| matches!(kind, Kind::UpdateAccepted(update) if update.round == round);
            self.until(accepted).await;
        }
    }
}

/// What happened after the first event that is `such`.
fn after(events: &[v1::Event], such: impl Fn(&Kind) -> bool) -> &[v1::Event] {
    let is_such = |event: &v1::Event| event.kind.as_ref().is_some_and(&such);
    let at = events.iter().position(is_such).expect("such an event");
    &events[at + 1..]
}

/// What only a run in work does.
fn is_work(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::RoundOpened(_) | Kind::RoundCommitted(_) | Kind::ModelPublished(_)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_run_commits_no_round_until_it_is_resumed() {
    let scene = Scene::with_digits(2).await;
    let undisturbed = scene.undisturbed(&job(SHORT_JOB, &[])).await;
    for moment in [Moment::FirstUpdate, Moment::LastUpdate, Moment::Commit] {
        let run = scene.submit(&job(SHORT_JOB, &[])).await;
        let mut watching = scene.watch(&run, 0);
        watching.until_moment(moment, 2).await;
        let paused = scene.client.pause(&run).await.unwrap();
        assert_eq!(paused.state(), v1::RunState::Paused);
        // Long enough for a commit: another run goes through all its rounds meanwhile.
        scene.undisturbed(&job(SHORT_JOB, &[])).await;
        let resumed = scene.client.resume(&run).await.unwrap();
        assert_eq!(
            resumed.rounds_committed, paused.rounds_committed,
            "{moment:?}"
        );

        let events = watching.rest().await;
        let (paused, resumed) = (v1::RunState::Paused, v1::RunState::Admitted);
        let held = after(&events, change_to(paused));
        let until_resumed = held.len() - after(held, change_to(resumed)).len();
        assert_eq!(count(&held[..until_resumed], is_work), 0, "{moment:?}");
        assert_eq!(scene.digest(&run).await, undisturbed, "{moment:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_ends_where_it_is_and_says_so() {
    let scene = Scene::with_digits(2).await;
    for moment in [Moment::FirstUpdate, Moment::LastUpdate, Moment::Commit] {
        let run = scene
            .submit(&job(SHORT_JOB, &[("rounds: 4", "rounds: 50")]))
            .await;
        let mut watching = scene.watch(&run, 0);
        watching.until_moment(moment, 2).await;
        let cancelled = scene.client.cancel(&run).await.unwrap();
        assert_eq!(cancelled.state(), v1::RunState::Cancelled);
        assert_eq!(cancelled.reason, "cancelled by a user");
        watching.rest().await;
        scene.undisturbed(&job(SHORT_JOB, &[])).await;

        let later = scene.client.run(&run).await.unwrap();
        assert_eq!(
            later.rounds_committed, cancelled.rounds_committed,
            "{moment:?}"
        );
        let events = scene.watch(&run, 0).rest().await;
        let rest = after(&events, change_to(v1::RunState::Cancelled));
        assert_eq!(count(rest, is_work), 0, "{moment:?}");
        let again = scene.client.cancel(&run).await.unwrap();
        assert_eq!(
            again.finished_at_ms, cancelled.finished_at_ms,
            "the same answer again"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cancelled_at_its_end_publishes_no_model() {
    let scene = Scene::with_digits(2).await;
    let job = job(SHORT_JOB, &[("rounds: 4", "rounds: 1\npublish_as: short")]);
    let is_publication = |kind: &Kind| matches!(kind, Kind::ModelPublished(_));
    let is_commit = commit_of(1);
    let ends: [&dyn Fn(&Kind) -> bool; 2] = [&is_commit, &is_publication];
    for end in ends.into_iter().cycle().take(6) {
        let run = scene.submit(&job).await;
        scene.watch(&run, 0).until(end).await;
        let cancelled = scene.client.cancel(&run).await;
        let ended = scene.ended(&run).await;
        // Whoever came first decides, and decides both.
        assert_eq!(cancelled.is_ok(), ended.state() == v1::RunState::Cancelled);
        assert_eq!(cancelled.is_ok(), ended.model.is_none(), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_has_ended_takes_no_commands() {
    let scene = Scene::with_digits(1).await;
    let run = scene
        .train(&job(SHORT_JOB, &[("rounds: 4", "rounds: 1")]))
        .await
        .run;
    let refusals = [
        scene.client.cancel(&run).await,
        scene.client.pause(&run).await,
        scene.client.resume(&run).await,
    ];
    let told = refusals.map(|refusal| refusal.unwrap_err().to_string());
    let expected = [
        "a run that is completed cannot be cancelled (NOT_ALLOWED)",
        "a run that is completed cannot be paused (NOT_ALLOWED)",
        "a run that is completed cannot be resumed; only a paused run can (NOT_ALLOWED)",
    ];
    assert_eq!(told, expected);
    assert_eq!(
        scene.client.run(&run).await.unwrap().state(),
        v1::RunState::Completed
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_from_its_cursor_without_gap_or_repeat() {
    let scene = Scene::with_digits(2).await;
    let run = scene.submit(&job(SHORT_JOB, &[])).await;
    let mut first = scene.watch(&run, 0);
    first.until(commit_of(2)).await;
    let mut second = scene.watch(&run, first.cursor());
    second.until(commit_of(3)).await;
    let third = scene.watch(&run, second.cursor()).rest().await;
    let in_parts = [first.seen, second.seen, third].concat();

    let whole = scene.watch(&run, 0).rest().await;
    assert_eq!(in_parts, whole);
    assert!(
        whole
            .iter()
            .map(|event| event.sequence)
            .eq(1..=whole.len() as u64)
    );
    for cursor in 1..=whole.len() {
        let rest = scene.watch(&run, cursor as u64).rest().await;
        assert_eq!(rest, whole[cursor..], "after {cursor}");
    }
}
