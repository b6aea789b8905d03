//! Which leases this process holds, and until when.
//!
//! SQS does not say whether a lease still holds: it takes an acknowledgement with a handle that is
//! stale, and throws it away. So handles of a process are refused here once their lease has ended,
//! or once the process got the task again. For the handles of another process, SQS decides.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::LEASE_MAX;
use crate::LeaseHandle;

/// Leases held before those that have run out are looked for; afterwards, twice as many as live.
const SWEEP_FROM: usize = 256;

/// One of the two queues that a task can be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Tasks,
    Dead,
}

/// What a handle stands for.
#[derive(Debug)]
pub(super) struct Held<'a> {
    pub(super) place: Place,
    /// Names the task, in every delivery.
    pub(super) task: &'a str,
    /// Names the delivery, for SQS.
    pub(super) receipt: &'a str,
    /// For how long the lease may still be extended.
    pub(super) extendable: Duration,
}

/// The leases of one process.
pub(super) struct Leases {
    /// Part of every handle, so that one of another process is known as such.
    process: u64,
    living: Mutex<Living>,
}

struct Living {
    /// By the id of the task's message, which stays the same when it dies.
    leases: HashMap<String, Lease>,
    sweep_at: usize,
}

struct Lease {
    receipt: String,
    until: Instant,
    /// When SQS ends it, however often it is extended.
    last: Instant,
}

impl Leases {
    pub(super) fn new() -> Self {
        Self {
            process: RandomState::new().hash_one(0_u8),
            living: Mutex::new(Living {
                leases: HashMap::new(),
                sweep_at: SWEEP_FROM,
            }),
        }
    }

    /// Notes a lease that began when the answer of SQS came, or before: what is refused here has
    /// ended there too.
    pub(super) fn grant(
        &self,
        place: Place,
        task: &str,
        receipt: &str,
        lease_ttl: Duration,
        now: Instant,
    ) -> LeaseHandle {
        let lease = Lease {
            receipt: receipt.to_owned(),
            until: now + lease_ttl.min(LEASE_MAX),
            last: now + LEASE_MAX,
        };
        let mut living = self.living();
        if living.leases.len() >= living.sweep_at {
            living.leases.retain(|_, lease| now < lease.until);
            living.sweep_at = SWEEP_FROM.max(2 * living.leases.len());
        }
        living.leases.insert(task.to_owned(), lease);
        let place = match place {
            Place::Tasks => "tasks",
            Place::Dead => "dead",
        };
        let process = self.process;
        LeaseHandle(format!("{place}.{process:016x}.{task}.{receipt}"))
    }

    /// What the handle stands for, if it may still name a living lease.
    pub(super) fn find<'a>(&self, handle: &'a LeaseHandle, now: Instant) -> Option<Held<'a>> {
        let mut parts = handle.0.splitn(4, '.');
        let place = match parts.next()? {
            "tasks" => Place::Tasks,
            "dead" => Place::Dead,
            _ => return None,
        };
        let process = u64::from_str_radix(parts.next()?, 16).ok()?;
        let (task, receipt) = (parts.next()?, parts.next()?);
        let extendable = if process == self.process {
            let living = self.living();
            let lease = living.leases.get(task)?;
            if lease.receipt != receipt || lease.until <= now {
                return None;
            }
            lease.last.saturating_duration_since(now)
        } else {
            LEASE_MAX
        };
        Some(Held {
            place,
            task,
            receipt,
            extendable,
        })
    }

    /// Notes that a lease now ends `lease_ttl` from now.
    pub(super) fn extend(&self, held: &Held<'_>, lease_ttl: Duration, now: Instant) {
        if let Some(lease) = self.living().leases.get_mut(held.task)
            && lease.receipt == held.receipt
        {
            lease.until = (now + lease_ttl.min(LEASE_MAX)).min(lease.last);
        }
    }

    /// Forgets a lease that has ended, but not a later one of the same task.
    pub(super) fn end(&self, held: &Held<'_>) {
        let mut living = self.living();
        if living
            .leases
            .get(held.task)
            .is_some_and(|lease| lease.receipt == held.receipt)
        {
            living.leases.remove(held.task);
        }
    }

    fn living(&self) -> MutexGuard<'_, Living> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let living = self.living().leases.len();
        f.debug_struct("Leases").field("living", &living).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_lease_lives_until_its_end_and_no_longer() {
        let (leases, mut now) = (Leases::new(), Instant::now());
        let handle = leases.grant(Place::Tasks, "t", "r.1", MINUTE, now);
        let held = leases.find(&handle, now).unwrap();
        assert_eq!(
            (held.place, held.task, held.receipt),
            (Place::Tasks, "t", "r.1")
        );
        now += MINUTE - Duration::from_secs(1);
        leases.extend(&held, MINUTE, now);
        now += MINUTE - Duration::from_secs(1);
        assert!(leases.find(&handle, now).is_some());
        now += Duration::from_secs(1);
        assert!(leases.find(&handle, now).is_none());
    }

    #[test]
    fn no_lease_lives_longer_than_sqs_allows() {
        let (leases, mut now) = (Leases::new(), Instant::now());
        let handle = leases.grant(Place::Tasks, "t", "r", LEASE_MAX * 2, now);
        now += LEASE_MAX - MINUTE;
        let held = leases.find(&handle, now).unwrap();
        assert_eq!(held.extendable, MINUTE);
        leases.extend(&held, 2 * MINUTE, now);
        now += MINUTE;
        assert!(leases.find(&handle, now).is_none());
    }

    #[test]
    fn a_later_lease_of_the_same_task_ends_an_earlier_one_and_is_not_ended_by_it() {
        let (leases, mut now) = (Leases::new(), Instant::now());
        let early = leases.grant(Place::Tasks, "t", "1", MINUTE, now);
        let held = leases.find(&early, now).unwrap();
        let late = leases.grant(Place::Dead, "t", "2", MINUTE, now);
        assert!(leases.find(&early, now).is_none());
        leases.extend(&held, 3 * MINUTE, now);
        leases.end(&held);
        assert_eq!(leases.find(&late, now).unwrap().place, Place::Dead);
        now += 2 * MINUTE;
        assert!(leases.find(&late, now).is_none());
    }

    #[test]
    fn a_handle_of_another_process_is_for_sqs_to_judge() {
        let now = Instant::now();
        let handle = Leases::new().grant(Place::Dead, "t", "r", MINUTE, now);
        let leases = Leases::new();
        assert_eq!(leases.find(&handle, now).unwrap().receipt, "r");
        for wrong in ["", "tasks", "tasks.0.t", "other.0.t.r", "tasks.x.t.r"] {
            assert!(leases.find(&LeaseHandle(wrong.to_owned()), now).is_none());
        }
    }

    #[test]
    fn abandoned_leases_are_forgotten() {
        let (leases, mut now) = (Leases::new(), Instant::now());
        let kept = leases.grant(Place::Tasks, "kept", "r", LEASE_MAX, now);
        for number in 0..10 * SWEEP_FROM {
            leases.grant(Place::Tasks, &number.to_string(), "r", MINUTE, now);
            now += Duration::from_secs(1);
        }
        assert!(leases.living().leases.len() <= SWEEP_FROM);
        assert!(leases.find(&kept, now).is_some());
    }
}
