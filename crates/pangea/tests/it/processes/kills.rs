//! Whoever is killed, and whenever: the run finishes, with the same bytes.

use std::time::Duration;

use super::endings::{deliveries, in_a_task};
use super::fleet::{Fleet, Shape};
use super::linked::Habits;
use super::training::{ROUNDS, Training, in_one_process, undisturbed};

/// How long after a commit a kill may come: about what a round takes.
const SPREAD_MILLIS: u64 = 300;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_leaves_its_task_to_the_others() {
    let (mut net, training) = in_a_task(Habits::default()).await;
    net.workers[0].kill().await;
    assert_eq!(deliveries(training).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_orchestrator_goes_on_where_it_stood() {
    let mut fleet = Fleet::start(Shape::default()).await;
    let mut training = Training::begin(fleet.client(), ROUNDS).await;
    for round in [1, 5] {
        training.until_committed(round).await;
        fleet.until_busy(0).await;
        fleet.orchestrator.kill().await;
        fleet.orchestrator.start_again().await;
    }
    assert_eq!(training.finish().await, *undisturbed().await);
    for worker in &fleet.workers {
        let warnings = worker.log().matches("WARN").count();
        assert!(warnings <= 2, "{}", worker.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_compute_core_is_given_its_inputs_again() {
    let mut fleet = Fleet::start(Shape::default()).await;
    let mut training = Training::begin(fleet.client(), ROUNDS).await;
    for round in [1, 5] {
        training.until_committed(round).await;
        fleet.until_busy(0).await;
        fleet.compute.kill().await;
        fleet.compute.start_again().await;
    }
    assert_eq!(training.finish().await, *undisturbed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_moment_change_nothing() {
    let (kills, rounds) = if long_form() { (20, 60) } else { (3, ROUNDS) };
    let mut fleet = Fleet::start(Shape::default()).await;
    let mut training = Training::begin(fleet.client(), rounds).await;
    let mut chance = Chance(7);
    for kill in 0..kills {
        training
            .until_committed(1 + kill * (rounds - 2) / kills)
            .await;
        let pause = chance.below(SPREAD_MILLIS);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let victim = match (kill + 1) % 3 {
            0 => &mut fleet.workers[usize::try_from(chance.below(2)).unwrap()],
            1 => &mut fleet.orchestrator,
            _ => &mut fleet.compute,
        };
        victim.kill().await;
        victim.start_again().await;
    }
    let expected = in_one_process(rounds).await;
    assert_eq!(training.finish().await, expected);
}

#[expect(clippy::disallowed_methods, reason = "long forms are asked for there")]
pub(crate) fn long_form() -> bool {
    std::env::var("PANGEA_PROOF").is_ok_and(|asked| asked == "1")
}

/// Numbers that are the same in each run of the test.
///
/// `SplitMix64`, <https://prng.di.unimi.it/splitmix64.c>.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
