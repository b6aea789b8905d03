use futures::TryStreamExt;
use proto::transport::Pipe;
use proto::v1::event::{RoundOpened, RunStateChanged};

use super::*;
use crate::Address;
use crate::server::{Script, Server};

const RUN: &str = "0199f0c2-6a1e-7cc0-8000-2f5d9a1b3c4d";

fn quick() -> Patience {
    Patience {
        first_wait: Duration::from_millis(1),
        longest_wait: Duration::from_millis(5),
        silence: Duration::from_millis(100),
    }
}

fn event(sequence: u64, kind: Kind) -> v1::Event {
    v1::Event {
        run: RUN.into(),
        sequence,
        time_ms: 0,
        kind: Some(kind),
    }
}

fn round(sequence: u64) -> v1::Event {
    event(sequence, Kind::RoundOpened(RoundOpened::default()))
}

fn end(sequence: u64) -> v1::Event {
    let state = v1::RunState::Completed.into();
    let reason = String::new();
    event(
        sequence,
        Kind::RunStateChanged(RunStateChanged { state, reason }),
    )
}

type Answer = Vec<Result<v1::Event, Status>>;

fn ends<const N: usize>(events: [v1::Event; N]) -> Answer {
    events.into_iter().map(Ok).collect()
}

fn breaks<const N: usize>(events: [v1::Event; N]) -> Answer {
    let broken = Err(Status::unavailable("shutting down"));
    events.into_iter().map(Ok).chain([broken]).collect()
}

fn run(state: v1::RunState) -> v1::Run {
    v1::Run {
        run: RUN.into(),
        state: state.into(),
        ..v1::Run::default()
    }
}

fn server(state: v1::RunState, watches: impl IntoIterator<Item = Answer>) -> Server {
    Server::new(Script {
        watches: watches.into_iter().collect(),
        runs: vec![run(state)],
        ..Script::default()
    })
}

async fn sequences(client: &Client, cursor: u64) -> Result<Vec<u64>, ClientError> {
    let events = client.watch(RUN, cursor, quick());
    events.map_ok(|event| event.sequence).try_collect().await
}

#[tokio::test]
async fn a_watch_resumes_from_its_cursor_without_gap_or_repeat() {
    let streams = [
        breaks([round(1), round(2)]),
        breaks([]),
        // A server that repeats itself is not believed.
        ends([round(2), round(3), end(4)]),
    ];
    let server = server(v1::RunState::Completed, streams);
    let seen = sequences(&server.jobs(), 0).await.unwrap();
    assert_eq!(seen, [1, 2, 3, 4]);
    assert_eq!(server.script(|script| script.cursors.clone()), [0, 2, 2]);
}

#[tokio::test]
async fn a_stream_that_ends_before_its_run_is_asked_for_the_rest() {
    let streams = [ends([round(1)]), ends([round(2), end(3)])];
    let server = server(v1::RunState::Running, streams);
    assert_eq!(sequences(&server.jobs(), 0).await.unwrap(), [1, 2, 3]);
}

#[tokio::test]
async fn a_watch_from_the_last_event_ends() {
    let server = server(v1::RunState::Failed, [vec![], vec![]]);
    let seen = sequences(&server.jobs(), 9).await.unwrap();
    assert_eq!(seen, [0; 0]);
}

#[tokio::test]
async fn a_missing_event_is_an_error_and_not_a_gap() {
    let server = server(v1::RunState::Running, [ends([round(1), round(3)])]);
    let error = sequences(&server.jobs(), 0).await.unwrap_err();
    let missing = matches!(
        error,
        ClientError::EventsMissing {
            cursor: 1,
            next: 3,
            ..
        }
    );
    assert!(missing, "{error}");
}

#[tokio::test]
async fn a_watch_waits_for_a_server_that_starts() {
    let server = server(v1::RunState::Running, [ends([round(1), end(2)])]);
    let pipe = Pipe::default();
    let client = Client::connect(&Address::Pipe(pipe.clone()));
    let start = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        server.listen_for_jobs(&pipe);
    };
    let (seen, ()) = tokio::join!(sequences(&client, 0), start);
    assert_eq!(seen.unwrap(), [1, 2]);
}

#[tokio::test]
async fn a_watch_outlives_its_server() {
    let pipe = Pipe::default();
    let first = server(v1::RunState::Running, [ends([round(1), round(2)])]);
    first.script(|script| script.watches_last = true);
    // In a runtime of its own, so that its connections end with it.
    let process = tokio::runtime::Runtime::new().unwrap();
    {
        let _inside = process.enter();
        first.listen_for_jobs(&pipe);
    }

    let client = Client::connect(&Address::Pipe(pipe.clone()));
    let mut events = std::pin::pin!(client.watch(RUN, 0, quick()));
    for sequence in [1, 2] {
        assert_eq!(events.try_next().await.unwrap().unwrap().sequence, sequence);
    }

    process.shutdown_background();
    let second = server(v1::RunState::Running, [ends([round(3), end(4)])]);
    second.listen_for_jobs(&pipe);
    let rest: Vec<_> = events
        .map_ok(|event| event.sequence)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(rest, [3, 4]);
}

#[tokio::test]
async fn a_watch_without_contact_gives_up_and_says_where() {
    let server = server(v1::RunState::Running, [breaks([round(1)])]);
    let error = sequences(&server.jobs(), 0).await.unwrap_err();
    let told = error.to_string();
    assert!(
        told.starts_with(&format!("gave up watching run {RUN} after event 1: ")),
        "{told}"
    );
    assert!(told.ends_with("no stream is left"), "{told}");

    let client = Client::connect(&Address::Pipe(Pipe::default()));
    let told = sequences(&client, 0).await.unwrap_err().to_string();
    assert!(told.contains("nobody answers at this process"), "{told}");
}

#[tokio::test]
async fn an_error_that_lasts_is_told_at_once() {
    let refused = Err(Status::not_found("run x is not known"));
    let server = server(v1::RunState::Running, [vec![refused]]);
    let error = sequences(&server.jobs(), 0).await.unwrap_err();
    assert_eq!(error.to_string(), "run x is not known");
}
