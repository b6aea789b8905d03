//! Which tasks are visible and which are hidden until when: plain data, time as an argument.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroUsize;
use std::time::Duration;

use clock::Timestamp;

use crate::{Delivery, Depth, LeaseHandle, QueueError, TaskMessage};

/// The present, on both of a clock's scales.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// What leases run on.
    pub(super) elapsed: Duration,
    /// What is written into deliveries.
    pub(super) moment: Timestamp,
}

/// Counts tasks in the order in which they were sent.
type Number = u64;

/// Each task is in `visible` or in `hidden`, and `tasks` says in which.
#[derive(Debug)]
pub(super) struct State {
    capacity: usize,
    /// Part of every handle, so that one from a process that died names nothing here.
    born: Timestamp,
    sent: Number,
    tasks: BTreeMap<Number, Task>,
    visible: VecDeque<Number>,
    hidden: BTreeSet<(Duration, Number)>,
}

#[derive(Debug)]
struct Task {
    message: TaskMessage,
    sent: Now,
    /// How often it was delivered.
    deliveries: u32,
    place: Place,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Visible,
    /// Given back, and not yet to be seen.
    Delayed,
    Leased {
        until: Duration,
    },
}

impl State {
    pub(super) fn new(capacity: usize, born: Timestamp) -> Self {
        Self {
            capacity,
            born,
            sent: 0,
            tasks: BTreeMap::new(),
            visible: VecDeque::new(),
            hidden: BTreeSet::new(),
        }
    }

    pub(super) fn send(&mut self, messages: Vec<TaskMessage>, now: Now) -> Result<(), QueueError> {
        if messages.len() > self.capacity - self.tasks.len() {
            return Err(QueueError::Full {
                capacity: self.capacity,
            });
        }
        for message in messages {
            let task = Task {
                message,
                sent: now,
                deliveries: 0,
                place: Place::Visible,
            };
            self.tasks.insert(self.sent, task);
            self.visible.push_back(self.sent);
            self.sent += 1;
        }
        Ok(())
    }

    /// Leases up to `max` visible tasks; also says when the next hidden one returns.
    pub(super) fn take(
        &mut self,
        max: NonZeroUsize,
        lease_ttl: Duration,
        now: Now,
    ) -> (Vec<Delivery>, Option<Duration>) {
        self.settle(now);
        let count = self.visible.len().min(max.get());
        let numbers: Vec<Number> = self.visible.drain(..count).collect();
        let until = now.elapsed.saturating_add(lease_ttl);
        let mut deliveries = Vec::with_capacity(count);
        for number in numbers {
            if let Some(task) = self.tasks.get_mut(&number) {
                task.place = Place::Leased { until };
                task.deliveries += 1;
                self.hidden.insert((until, number));
                deliveries.push(Delivery {
                    body: task.message.body.clone(),
                    attributes: task.message.attributes.clone(),
                    handle: handle(self.born, number, task.deliveries),
                    epoch: task.deliveries,
                    sent_at: task.sent.moment,
                });
            }
        }
        (deliveries, self.hidden.first().map(|(due, _)| *due))
    }

    /// Moves the end of a living lease.
    pub(super) fn hide(
        &mut self,
        handle: &LeaseHandle,
        lease_ttl: Duration,
        now: Now,
    ) -> Result<(), QueueError> {
        let until = now.elapsed.saturating_add(lease_ttl);
        self.end_lease(handle, now, |state, number| {
            state.hidden.insert((until, number));
            Place::Leased { until }
        })
    }

    pub(super) fn give_back(
        &mut self,
        handle: &LeaseHandle,
        delay: Duration,
        now: Now,
    ) -> Result<(), QueueError> {
        self.end_lease(handle, now, |state, number| {
            state
                .hidden
                .insert((now.elapsed.saturating_add(delay), number));
            Place::Delayed
        })
    }

    pub(super) fn remove(&mut self, handle: &LeaseHandle, now: Now) -> Result<(), QueueError> {
        let (number, until) = self.leased(handle, now)?;
        self.hidden.remove(&(until, number));
        self.tasks.remove(&number);
        Ok(())
    }

    pub(super) fn depth(&mut self, now: Now) -> Depth {
        self.settle(now);
        Depth {
            visible: self.visible.len() as u64,
            leased: self.hidden.len() as u64,
            oldest_age: self
                .tasks
                .first_key_value()
                .map(|(_, task)| now.elapsed.saturating_sub(task.sent.elapsed)),
        }
    }

    /// Makes visible what was hidden until now or earlier, the earliest first.
    fn settle(&mut self, now: Now) {
        while let Some(&(due, number)) = self.hidden.first()
            && due <= now.elapsed
        {
            self.hidden.pop_first();
            if let Some(task) = self.tasks.get_mut(&number) {
                task.place = Place::Visible;
                self.visible.push_back(number);
            }
        }
    }

    /// Ends a living lease and puts the task where `next` says.
    fn end_lease(
        &mut self,
        handle: &LeaseHandle,
        now: Now,
        next: impl FnOnce(&mut Self, Number) -> Place,
    ) -> Result<(), QueueError> {
        let (number, until) = self.leased(handle, now)?;
        self.hidden.remove(&(until, number));
        let place = next(self, number);
        if let Some(task) = self.tasks.get_mut(&number) {
            task.place = place;
        }
        Ok(())
    }

    /// The task under the living lease that `given` names, and when that lease ends.
    fn leased(&mut self, given: &LeaseHandle, now: Now) -> Result<(Number, Duration), QueueError> {
        self.settle(now);
        let lost = || QueueError::LeaseLost {
            handle: given.clone(),
        };
        let number = number(given).ok_or_else(lost)?;
        let task = self.tasks.get(&number).ok_or_else(lost)?;
        match task.place {
            Place::Leased { until } if *given == handle(self.born, number, task.deliveries) => {
                Ok((number, until))
            }
            _ => Err(lost()),
        }
    }
}

/// A handle reads `<birth of the queue>-<number of the task>-<number of the delivery>`.
fn handle(born: Timestamp, number: Number, delivery: u32) -> LeaseHandle {
    LeaseHandle(format!("{}-{number}-{delivery}", born.0))
}

fn number(handle: &LeaseHandle) -> Option<Number> {
    handle.0.split('-').nth(1)?.parse().ok()
}
