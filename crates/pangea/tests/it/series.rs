//! What strangers say does not become series: a house that hears ten thousand paths, calls and names
//! of workers shows about as much as before.

use std::future::poll_fn;
use std::net::SocketAddr;

use futures::{StreamExt, stream};
use proto::v1::WorkerMessage;
use proto::v1::worker_message::{Hello, Kind};
use proto::v1::workers_client::WorkersClient;
use telemetry::metrics::exposition;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::Request;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::scene::{A_MINUTE, Scene, within};

/// Different things that strangers say, of each kind.
const STRANGERS: usize = 10_000;

/// Strangers who speak at one time.
const AT_ONCE: usize = 64;

/// Series that a house may show. Most are those of workers by name, which are a few hundred at
/// most.
const SERIES_MAX: usize = 5_000;

/// All series of a house, as a reader counts them.
fn series(scene: &Scene) -> usize {
    let registries = scene.house.registries().values();
    registries
        .map(|registry| {
            let text = exposition::text(&registry.snapshot()).expect("text");
            text.lines().filter(|line| !line.starts_with('#')).count()
        })
        .sum()
}

/// Asks an endpoint for paths that it does not have, all over one connection.
async fn ask_for_nothing(http: SocketAddr) {
    let stream = TcpStream::connect(http).await.expect("a connection");
    let (mut answers, mut questions) = stream.into_split();
    let asking = tokio::spawn(async move {
        for number in 0..STRANGERS {
            let is_last = number + 1 == STRANGERS;
            let connection = if is_last { "close" } else { "keep-alive" };
            let question =
                format!("GET /{number} HTTP/1.1\r\nhost: x\r\nconnection: {connection}\r\n\r\n");
            questions
                .write_all(question.as_bytes())
                .await
                .expect("a question");
        }
        // A server takes the end of questions for the end of interest in answers.
        questions
    });
    let mut text = String::new();
    answers.read_to_string(&mut text).await.expect("answers");
    drop(asking.await.expect("questions"));
    assert_eq!(text.matches("HTTP/1.1 404").count(), STRANGERS);
}

/// Calls methods that a server does not have.
async fn call_nobody(channel: &Channel) {
    let calls = stream::iter(0..STRANGERS).for_each_concurrent(AT_ONCE, async |number| {
        let path = format!("http://house/pangea.v1.Stranger/Call{number}");
        let request = Request::post(path).header("content-type", "application/grpc");
        let request = request.body(Body::empty()).expect("a request");
        let mut channel = channel.clone();
        poll_fn(|cx| channel.poll_ready(cx))
            .await
            .expect("a connection");
        let answer = channel.call(request).await.expect("an answer");
        let status = Status::from_header_map(answer.headers()).expect("a status");
        assert_eq!(status.code(), Code::Unimplemented);
    });
    calls.await;
}

/// Comes as a worker, is welcomed, and goes.
async fn say_hello(channel: &Channel, number: usize) {
    let hello = WorkerMessage {
        kind: Some(Kind::Hello(Hello {
            worker: format!("stranger-{number}"),
            slots: 1,
            ..Hello::default()
        })),
    };
    let session = stream::iter([hello]).chain(stream::pending());
    let mut workers = WorkersClient::new(channel.clone());
    let answers = workers.session(session).await.expect("a session");
    let welcome = answers.into_inner().message().await.expect("an answer");
    assert!(welcome.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_paths_calls_and_workers_stay_within_the_budget_of_series() {
    let scene = Scene::with_digits(1).await;
    for place in scene.house.places() {
        within(A_MINUTE, ask_for_nothing(place.http)).await;
    }
    let server = format!("http://{}", scene.server());
    let server = Endpoint::from_shared(server).expect("an address");
    let channel = server.connect().await.expect("a connection");
    within(A_MINUTE, call_nobody(&channel)).await;
    let workers = stream::iter(0..STRANGERS)
        .for_each_concurrent(AT_ONCE, |number| say_hello(&channel, number));
    within(A_MINUTE, workers).await;
    let shown = series(&scene);
    assert!(shown < SERIES_MAX, "{shown} series");
    scene.close().await;
}
