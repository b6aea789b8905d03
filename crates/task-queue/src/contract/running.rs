//! From checks to tests.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{Id, JoinSet};

use super::Harness;

/// Runs a check, if there is something to check, and ends one that hangs.
pub async fn within_a_minute<C: Future<Output = ()>>(
    harness: impl Into<Option<Harness>>,
    check: impl FnOnce(Harness) -> C,
) {
    let Some(harness) = harness.into() else {
        return;
    };
    tokio::time::timeout(Duration::from_secs(60), check(harness))
        .await
        .expect("the check is still waiting after a minute");
}

/// Checks under way, and what they are called.
#[derive(Debug, Default)]
pub struct Together {
    checks: JoinSet<()>,
    is_absent: bool,
    names: HashMap<Id, &'static str>,
}

impl Together {
    /// Whether there was nothing to check, so that it is asked for once.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.is_absent
    }

    /// Starts a check beside the others, if there is something to check.
    pub fn start<C: Future<Output = ()> + Send + 'static>(
        &mut self,
        name: &'static str,
        harness: impl Into<Option<Harness>>,
        check: impl FnOnce(Harness) -> C + Send + 'static,
    ) {
        let harness = harness.into();
        self.is_absent = harness.is_none();
        let check = within_a_minute(harness, check);
        let id = self.checks.spawn(check).id();
        self.names.insert(id, name);
    }

    /// Waits for all checks.
    ///
    /// # Panics
    ///
    /// If one has; each has said why.
    pub async fn end(mut self) {
        let mut failed = Vec::new();
        while let Some(ended) = self.checks.join_next().await {
            if let Err(error) = ended {
                failed.push(self.names[&error.id()]);
            }
        }
        assert!(failed.is_empty(), "these do not hold: {failed:?}");
    }
}

/// One `#[tokio::test]` per check; see [`contract`](crate::contract).
#[doc(hidden)]
#[macro_export]
macro_rules! __check_task_queue {
    ($make:expr) => {
        $crate::__living_tasks! { __check_each $make }
    };
}

/// One `#[tokio::test]` per check of dead tasks; see [`contract`](crate::contract).
#[doc(hidden)]
#[macro_export]
macro_rules! __check_dead_tasks {
    ($make:expr) => {
        $crate::__dead_tasks! { __check_each $make }
    };
}

/// Two tests; see [`contract`](crate::contract).
#[doc(hidden)]
#[macro_export]
macro_rules! __check_together {
    ($make:expr) => {
        #[tokio::test]
        async fn living_tasks_are_as_in_every_queue() {
            $crate::__living_tasks! { __check_at_once $make }
        }

        #[tokio::test]
        async fn dead_tasks_are_as_in_every_queue() {
            $crate::__dead_tasks! { __check_at_once $make }
        }
    };
}

/// The checks of every queue.
#[doc(hidden)]
#[macro_export]
macro_rules! __living_tasks {
    ($then:ident $make:expr) => {
        $crate::$then! { $make =>
            a_sent_task_is_delivered_once_while_leased
            an_acknowledged_task_stays_gone
            an_abandoned_task_returns
            an_extended_lease_holds
            a_task_given_back_returns_after_its_delay
            a_task_given_back_wakes_a_waiting_receiver
            a_stale_handle_is_refused
            attributes_travel
            an_empty_body_travels
            a_waiting_receiver_is_woken
            an_empty_queue_answers_after_the_wait
            concurrent_receivers_share_without_overlap
            an_abandoned_receive_loses_no_task
            a_body_at_the_limit_travels
            a_body_over_the_limit_is_refused
            the_depth_tells_visible_from_leased
        }
    };
}

/// The checks of a queue that hands out dead tasks.
#[doc(hidden)]
#[macro_export]
macro_rules! __dead_tasks {
    ($then:ident $make:expr) => {
        $crate::$then! { $make =>
            a_task_delivered_too_often_is_dead
            the_last_delivery_can_still_be_acknowledged
            a_dead_task_is_handed_out_under_a_lease
            a_dead_task_returns_among_the_dead
            the_depth_tells_the_dead
            a_dead_task_keeps_what_it_was_sent_with
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __check_each {
    ($make:expr => $($check:ident)+) => {
        $(
            #[tokio::test]
            async fn $check() {
                let harness = $make.await;
                $crate::contract::within_a_minute(harness, $crate::contract::$check).await;
            }
        )+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __check_at_once {
    ($make:expr => $($check:ident)+) => {
        let mut checks = $crate::contract::Together::default();
        $(
            if !checks.is_absent() {
                checks.start(stringify!($check), $make.await, $crate::contract::$check);
            }
        )+
        checks.end().await;
    };
}
