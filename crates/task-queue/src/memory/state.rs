//! Which tasks are visible and which are hidden until when: plain data, time as an argument.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use clock::Timestamp;

use crate::{Delivery, Depth, LeaseHandle, MAX_DELIVERIES, QueueError, TaskMessage};

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

/// Each task is in `visible`, `dead` or `hidden`, and `tasks` says in which.
#[derive(Debug)]
pub(super) struct State {
    capacity: usize,
    pub(super) max_deliveries: NonZeroU32,
    /// Part of every handle, so that one from a process that died names nothing here.
    born: Timestamp,
    sent: Number,
    tasks: BTreeMap<Number, Task>,
    visible: VecDeque<Number>,
    hidden: BTreeSet<(Duration, Number)>,
    /// Dead tasks under no lease.
    dead: VecDeque<Number>,
    /// All dead tasks, under a lease or not.
    died: usize,
}

#[derive(Debug)]
struct Task {
    message: TaskMessage,
    sent: Now,
    /// How often it was delivered, before it died and after.
    deliveries: u32,
    is_dead: bool,
    place: Place,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// For whoever asks next: for the living or for the dead.
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
            max_deliveries: MAX_DELIVERIES,
            born,
            sent: 0,
            tasks: BTreeMap::new(),
            visible: VecDeque::new(),
            hidden: BTreeSet::new(),
            dead: VecDeque::new(),
            died: 0,
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
                is_dead: false,
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
        let deliveries = self.lease(numbers, lease_ttl, now);
        (deliveries, self.hidden.first().map(|(due, _)| *due))
    }

    /// Leases up to `max` dead tasks.
    pub(super) fn take_dead(
        &mut self,
        max: NonZeroUsize,
        lease_ttl: Duration,
        now: Now,
    ) -> Vec<Delivery> {
        self.settle(now);
        let count = self.dead.len().min(max.get());
        let numbers: Vec<Number> = self.dead.drain(..count).collect();
        self.lease(numbers, lease_ttl, now)
    }

    fn lease(&mut self, numbers: Vec<Number>, lease_ttl: Duration, now: Now) -> Vec<Delivery> {
        let until = now.elapsed.saturating_add(lease_ttl);
        let mut deliveries = Vec::with_capacity(numbers.len());
        for number in numbers {
            if let Some(task) = self.tasks.get_mut(&number) {
                task.place = Place::Leased { until };
                task.deliveries = task.deliveries.saturating_add(1);
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
        deliveries
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
        if self.tasks.remove(&number).is_some_and(|task| task.is_dead) {
            self.died -= 1;
        }
        Ok(())
    }

    pub(super) fn depth(&mut self, now: Now) -> Depth {
        self.settle(now);
        let dead_and_leased = self.died - self.dead.len();
        let mut living = self.tasks.values().filter(|task| !task.is_dead);
        Depth {
            visible: self.visible.len() as u64,
            leased: (self.hidden.len() - dead_and_leased) as u64,
            dead: self.died as u64,
            oldest_age: living
                .next()
                .map(|task| now.elapsed.saturating_sub(task.sent.elapsed)),
        }
    }

    /// Makes visible what was hidden until now or earlier, the earliest first, and tells the dead
    /// from the living.
    fn settle(&mut self, now: Now) {
        while let Some(&(due, number)) = self.hidden.first()
            && due <= now.elapsed
        {
            self.hidden.pop_first();
            if let Some(task) = self.tasks.get_mut(&number) {
                task.place = Place::Visible;
                if task.deliveries < self.max_deliveries.get() {
                    self.visible.push_back(number);
                    continue;
                }
                self.dead.push_back(number);
                if !task.is_dead {
                    task.is_dead = true;
                    self.died += 1;
                }
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
