//! A house that cannot start says why, and leaves everything as it was.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use clock::SystemClock;
use orchestrator::Orchestrator;
use pangea::house::House;
use proto::transport::{Address, Pipe};
use seams::Seams;
use telemetry::Telemetry;

use crate::scene::{A_MINUTE, SHORT_JOB, Scene, job, plan, unwatched, within};
use crate::shell::pangea;

/// A port that somebody has.
fn taken() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

fn told(address: SocketAddr, key: &str) -> String {
    let cause = TcpListener::bind(address).expect_err("a taken port");
    format!(
        "cannot listen on {address}: {cause}; set {key} to another address, or stop what has it"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orchestrators_port_that_somebody_has_is_named_with_its_key() {
    let (_holder, address) = taken();
    for key in ["grpc.listen", "http.listen"] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = orchestrator::Config {
            data_dir: dir.path().to_owned(),
            ..Default::default()
        };
        config.grpc.listen.set_port(0);
        config.http.listen.set_port(0);
        if key == "grpc.listen" {
            config.grpc.listen = address;
        } else {
            config.http.listen = address;
        }
        let wiring = orchestrator::Wiring {
            telemetry: Telemetry::quiet(orchestrator::app::SERVICE).unwrap(),
            clock: Arc::new(SystemClock::default()),
            compute: Address::Pipe(Pipe::default()),
            pipe: None,
            queue: None,
            seams: Seams::default(),
        };
        let refusal = Orchestrator::start(config, wiring).await.unwrap_err();
        assert_eq!(refusal.to_string(), told(address, key));
        Scene::open(dir, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compute_cores_port_that_somebody_has_is_named_with_its_key() {
    let (_holder, address) = taken();
    let mut config = compute_core::Config::default();
    config.grpc.listen = address;
    let wiring = compute_core::Wiring {
        telemetry: Telemetry::quiet(compute_core::app::SERVICE).unwrap(),
        pipe: None,
        clock: Arc::new(SystemClock::default()),
        seams: Seams::default(),
    };
    let refusal = compute_core::ComputeCore::start(config, wiring).await;
    assert_eq!(
        refusal.unwrap_err().to_string(),
        told(address, "grpc.listen")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_cannot_be_written_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let data_dir = file.path().join("data");
    let beginning = format!(
        "data directory {} cannot be written to: ",
        data_dir.display()
    );
    let end = "; set data_dir to one that can";

    let refusal = House::start(plan(&data_dir, 1), unwatched())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refusal.starts_with(&beginning) && refusal.ends_with(end),
        "{refusal}"
    );
    let data_dir = data_dir.to_str().unwrap();
    let refusal = pangea(&["demo", "--data-dir", data_dir]).await.refusal();
    assert!(
        refusal.starts_with(&format!("error: {beginning}")),
        "{refusal}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_house_in_the_same_data_directory_is_refused() {
    let scene = Scene::with_digits(1).await;
    let data_dir = scene.dir.path().to_str().unwrap();
    let told = format!(
        "data directory {data_dir} is in use by another orchestrator; stop it, or set data_dir to \
         another one"
    );
    let refusal = within(
        A_MINUTE,
        House::start(plan(scene.dir.path(), 1), unwatched()),
    )
    .await;
    assert_eq!(refusal.unwrap_err().to_string(), told);
    let refusal = pangea(&["demo", "--data-dir", data_dir]).await.refusal();
    assert_eq!(refusal, format!("error: {told}\n"));

    // The first one has not noticed.
    scene
        .undisturbed(&job(SHORT_JOB, &[("rounds: 4", "rounds: 1")]))
        .await;
}
