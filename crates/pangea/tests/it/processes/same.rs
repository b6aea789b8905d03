//! One process or many, the same bytes.

use super::fleet::{Carrier, Fleet, Shape};
use super::training::{ROUNDS, Training, undisturbed};

async fn trains_the_same(workers: usize, carrier: Carrier) {
    let fleet = Fleet::start(Shape {
        workers,
        carrier,
        ..Shape::default()
    })
    .await;
    let trace = Training::begin(fleet.client(), ROUNDS).await.finish().await;
    assert_eq!(trace, *undisturbed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_process_trains_what_one_process_does() {
    trains_the_same(1, Carrier::Tcp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_worker_processes_train_what_one_process_does() {
    trains_the_same(2, Carrier::Tcp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_worker_processes_train_what_one_process_does() {
    trains_the_same(5, Carrier::Tcp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_meet_at_unix_sockets_train_what_one_process_does() {
    trains_the_same(2, Carrier::UnixSockets).await;
}
