//! The workers that have a session, and what is known of them.

mod engines;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use federation::{RunId, Timestamp, WorkerId};
use proto::v1::orchestrator_message::{Cancel, Drain, Kind};
use proto::v1::worker_message::{Hello, Progress};
use proto::v1::{OrchestratorMessage, Worker, WorkerState};
use seams::bell::{Bell, Hearer};
use tokio::sync::mpsc;

/// Workers that are remembered after their session ended.
const REMEMBERED_MAX: usize = 1000;

/// A worker that is silent for longer than this many heartbeats is suspect.
const SILENT_HEARTBEATS: u32 = 3;

/// How long a worker is missed whose session ended without its having been told to end. Long
/// enough to notice; a fleet that was made smaller is not missed for ever.
const MISSED_FOR: Duration = Duration::from_secs(60 * 60);

/// How many workers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// With a session, and heard of within three heartbeats.
    pub heard: usize,
    /// Of these, those that were not told to end.
    pub active: usize,
    /// With a session or missed, without those that were told to end.
    pub registered: usize,
}

/// Everyone who works here.
#[derive(Debug)]
pub struct Fleet {
    heartbeat: Duration,
    members: Mutex<BTreeMap<WorkerId, Member>>,
    sessions: Bell,
}

#[derive(Debug)]
struct Member {
    hello: Hello,
    // None once the session has ended.
    outbox: Option<mpsc::Sender<OrchestratorMessage>>,
    session: u64,
    connected_at: Timestamp,
    heard_at: Timestamp,
    draining: bool,
    tasks: BTreeMap<String, Progress>,
    accepted: u64,
    refused: u64,
    failed: u64,
}

/// One session of one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionId {
    worker: WorkerId,
    session: u64,
}

impl SessionId {
    /// Whose it is.
    #[must_use]
    pub fn worker(&self) -> &WorkerId {
        &self.worker
    }
}

/// How a task of a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its update counts.
    Accepted,
    /// Its update counts, and was counted before.
    Repeated,
    /// Its update does not.
    Refused,
    /// There is no update.
    Failed,
}

impl Fleet {
    /// Nobody yet.
    #[must_use]
    pub fn new(heartbeat: Duration) -> Self {
        Self {
            heartbeat,
            members: Mutex::default(),
            sessions: Bell::default(),
        }
    }

    /// How often workers should be heard of.
    #[must_use]
    pub fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// A worker's session begins; an earlier one of the same name is over.
    pub fn join(
        &self,
        hello: Hello,
        outbox: mpsc::Sender<OrchestratorMessage>,
        now: Timestamp,
    ) -> SessionId {
        let worker = WorkerId(hello.worker.clone());
        let mut members = self.members();
        let known = members.remove(&worker);
        let session = known.as_ref().map_or(1, |member| member.session + 1);
        let (accepted, refused, failed) = known.map_or((0, 0, 0), |member| {
            (member.accepted, member.refused, member.failed)
        });
        forget_oldest(&mut members);
        let member = Member {
            hello,
            outbox: Some(outbox),
            session,
            connected_at: now,
            heard_at: now,
            draining: false,
            tasks: BTreeMap::new(),
            accepted,
            refused,
            failed,
        };
        members.insert(worker.clone(), member);
        drop(members);
        self.sessions.ring();
        SessionId { worker, session }
    }

    /// A worker's session is over.
    pub fn leave(&self, id: &SessionId) {
        self.with(id, |member| {
            member.outbox = None;
            member.tasks.clear();
        });
        self.sessions.ring();
    }

    /// A worker says what it is working on: these tasks and no others.
    pub fn heard(&self, id: &SessionId, tasks: &[String], now: Timestamp) {
        self.with(id, |member| {
            member.heard_at = now;
            member.tasks.retain(|task, _| tasks.contains(task));
        });
    }

    /// A worker says how far it is with a task.
    pub fn progressed(&self, id: &SessionId, progress: Progress, now: Timestamp) {
        self.with(id, |member| {
            member.heard_at = now;
            // A worker that names more tasks than it has slots has forgotten to say that some ended.
            if member.tasks.len() >= member.hello.slots as usize {
                member.tasks.retain(|task, _| *task == progress.task);
            }
            member.tasks.insert(progress.task.clone(), progress);
        });
    }

    /// A worker's task ended.
    pub fn ended(&self, id: &SessionId, task: &str, ended: Ended, now: Timestamp) {
        self.with(id, |member| {
            member.heard_at = now;
            member.tasks.remove(task);
            match ended {
                Ended::Accepted => member.accepted += 1,
                Ended::Repeated => {}
                Ended::Refused => member.refused += 1,
                Ended::Failed => member.failed += 1,
            }
        });
    }

    /// Whether anybody has a session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connected() == 0
    }

    /// How many have a session.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.members()
            .values()
            .filter(|member| member.outbox.is_some())
            .count()
    }

    /// Counts the workers as of `now`.
    #[must_use]
    pub fn census(&self, now: Timestamp) -> Census {
        let patience = self.patience();
        let mut census = Census::default();
        for member in self.members().values() {
            let silent = now.since(member.heard_at);
            let is_heard = member.outbox.is_some() && silent <= patience;
            let is_known = member.outbox.is_some() || silent <= MISSED_FOR;
            census.heard += usize::from(is_heard);
            census.active += usize::from(is_heard && !member.draining);
            census.registered += usize::from(is_known && !member.draining);
        }
        census
    }

    fn patience(&self) -> Duration {
        self.heartbeat * SILENT_HEARTBEATS
    }

    /// Rings whenever a session begins or ends.
    #[must_use]
    pub fn sessions(&self) -> Hearer {
        self.sessions.hearer()
    }

    /// Tells everybody that work on `run` is of no use any more.
    pub fn cancel(&self, run: RunId) {
        let cancel = Kind::Cancel(Cancel {
            run: run.to_string(),
        });
        for member in self.members().values() {
            if let Some(outbox) = &member.outbox {
                // A worker that does not read misses advice and nothing else.
                drop(outbox.try_send(OrchestratorMessage {
                    kind: Some(cancel.clone()),
                }));
            }
        }
    }

    /// Tells one worker to finish what it has and end. Says whether it has a session.
    #[must_use]
    pub fn drain(&self, worker: &WorkerId) -> bool {
        let mut members = self.members();
        let Some(member) = members.get_mut(worker) else {
            return false;
        };
        let Some(outbox) = &member.outbox else {
            return false;
        };
        let drain = OrchestratorMessage {
            kind: Some(Kind::Drain(Drain {})),
        };
        member.draining = outbox.try_send(drain).is_ok();
        member.draining
    }

    /// Everybody who is or was here, by name.
    #[must_use]
    pub fn list(&self, now: Timestamp) -> Vec<Worker> {
        let patience = self.patience();
        let row = |(id, member): (&WorkerId, &Member)| {
            let state = match &member.outbox {
                None => WorkerState::Lost,
                Some(_) if member.draining => WorkerState::Draining,
                Some(_) if now.since(member.heard_at) > patience => WorkerState::Suspect,
                Some(_) => WorkerState::Healthy,
            };
            Worker {
                worker: id.0.clone(),
                state: state.into(),
                slots: member.hello.slots,
                version: member.hello.version.clone(),
                host: member.hello.host.clone(),
                connected_at_ms: member.connected_at.0,
                last_heard_ms: member.heard_at.0,
                tasks: member.tasks.values().cloned().collect(),
                updates_accepted: member.accepted,
                updates_refused: member.refused,
                tasks_failed: member.failed,
                kernel_classes: member.engine().kernel_classes.clone(),
                memory_bytes: member.engine().memory_bytes,
            }
        };
        self.members().iter().map(row).collect()
    }

    fn with(&self, id: &SessionId, change: impl FnOnce(&mut Member)) {
        let mut members = self.members();
        let member = members
            .get_mut(&id.worker)
            .filter(|member| member.session == id.session);
        if let Some(member) = member {
            change(member);
        }
    }

    fn members(&self) -> MutexGuard<'_, BTreeMap<WorkerId, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_oldest(members: &mut BTreeMap<WorkerId, Member>) {
    if members.len() < REMEMBERED_MAX {
        return;
    }
    let gone = members.iter().filter(|(_, member)| member.outbox.is_none());
    let oldest = gone
        .min_by_key(|(_, member)| member.heard_at)
        .map(|(id, _)| id.clone());
    if let Some(oldest) = oldest {
        members.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(worker: &str) -> Hello {
        Hello {
            worker: worker.to_owned(),
            slots: 1,
            ..Hello::default()
        }
    }

    fn fleet() -> Fleet {
        Fleet::new(Duration::from_secs(1))
    }

    fn outbox() -> mpsc::Sender<OrchestratorMessage> {
        mpsc::channel(1).0
    }

    fn progress(task: &str) -> Progress {
        Progress {
            task: task.to_owned(),
            step: 1,
            steps_total: 2,
            loss: 0.5,
        }
    }

    #[test]
    fn a_worker_works_on_what_its_last_heartbeat_said() {
        let fleet = fleet();
        let id = fleet.join(hello("a"), outbox(), Timestamp(0));
        let tasks = || fleet.list(Timestamp(0))[0].tasks.clone();
        fleet.progressed(&id, progress("t"), Timestamp(0));
        fleet.heard(&id, &["t".to_owned()], Timestamp(0));
        assert_eq!(tasks(), [progress("t")]);
        fleet.progressed(&id, progress("u"), Timestamp(0));
        assert_eq!(tasks(), [progress("u")], "it has one slot");
        fleet.heard(&id, &[], Timestamp(0));
        assert_eq!(tasks(), []);
    }

    #[test]
    fn a_silent_worker_becomes_suspect_and_one_that_left_is_lost() {
        let fleet = fleet();
        let id = fleet.join(hello("a"), outbox(), Timestamp(0));
        assert_eq!(
            fleet.list(Timestamp(3_000))[0].state(),
            WorkerState::Healthy
        );
        assert_eq!(
            fleet.list(Timestamp(3_001))[0].state(),
            WorkerState::Suspect
        );
        fleet.heard(&id, &[], Timestamp(3_001));
        assert_eq!(
            fleet.list(Timestamp(3_001))[0].state(),
            WorkerState::Healthy
        );
        fleet.leave(&id);
        assert_eq!(fleet.list(Timestamp(3_001))[0].state(), WorkerState::Lost);
        assert!(fleet.is_empty());
    }

    #[test]
    fn a_worker_that_vanished_is_missed_for_an_hour_and_one_that_was_told_to_end_is_not() {
        let fleet = fleet();
        let [a, b, c] = ["a", "b", "c"].map(|name| fleet.join(hello(name), outbox(), Timestamp(0)));
        // As if it had been told, which takes somebody who listens.
        fleet.with(&c, |member| member.draining = true);
        let census = |now| {
            let census = fleet.census(Timestamp(now));
            (census.heard, census.active, census.registered)
        };
        assert_eq!(census(3_000), (3, 2, 2));
        fleet.heard(&a, &[], Timestamp(3_001));
        assert_eq!(census(3_001), (1, 1, 2), "two are silent");
        fleet.leave(&b);
        fleet.leave(&c);
        assert_eq!(census(3_600_000), (0, 0, 2));
        assert_eq!(census(3_600_001), (0, 0, 1), "nobody misses it any more");
    }

    #[test]
    fn the_end_of_an_old_session_does_not_end_the_new_one() {
        let fleet = fleet();
        let old = fleet.join(hello("a"), outbox(), Timestamp(0));
        let _new = fleet.join(hello("a"), outbox(), Timestamp(1));
        fleet.leave(&old);
        assert_eq!(fleet.connected(), 1);
    }

    #[test]
    fn only_a_connected_worker_can_be_drained() {
        let fleet = fleet();
        let (outbox, mut told) = mpsc::channel(1);
        let id = fleet.join(hello("a"), outbox, Timestamp(0));
        assert!(fleet.drain(id.worker()));
        assert!(matches!(
            told.try_recv().unwrap().kind,
            Some(Kind::Drain(_))
        ));
        assert_eq!(fleet.list(Timestamp(0))[0].state(), WorkerState::Draining);
        fleet.leave(&id);
        assert!(!fleet.drain(id.worker()));
        assert!(!fleet.drain(&WorkerId("b".to_owned())));
    }

    #[test]
    fn a_worker_keeps_its_counts_over_sessions() {
        let fleet = fleet();
        let old = fleet.join(hello("a"), outbox(), Timestamp(0));
        fleet.progressed(&old, progress("t"), Timestamp(1));
        fleet.ended(&old, "t", Ended::Accepted, Timestamp(2));
        fleet.join(hello("a"), outbox(), Timestamp(3));
        let row = &fleet.list(Timestamp(3))[0];
        assert_eq!((row.updates_accepted, row.tasks.len()), (1, 0));
    }
}
