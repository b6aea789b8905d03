//! What the compute-cores of workers have, and whether that is enough for a run.

use federation::KernelClass;
use federation::run::RunState;
use proto::v1::worker_message::Capabilities;

use super::{Fleet, Member, SessionId};

/// Of a worker that has said nothing of its compute-core.
static UNKNOWN: Capabilities = Capabilities {
    kernel_classes: Vec::new(),
    memory_bytes: 0,
};

impl Fleet {
    /// A worker says what its compute-core has.
    pub fn told_engine(&self, id: &SessionId, engine: Capabilities) {
        self.with(id, |member| member.hello.engine = Some(engine));
        self.sessions.ring();
    }

    /// Whether anybody is there to train a run, which may be pinned to a class of kernels: the state
    /// that the run is in, and why.
    #[must_use]
    pub fn readiness(&self, pin: Option<KernelClass>) -> (RunState, String) {
        let can = |member: &Member| match pin {
            None => true,
            Some(class) => {
                let mut own = member.engine().kernel_classes.iter();
                own.any(|name| name == class.as_str())
            }
        };
        let members = self.members();
        let mut connected = members.values().filter(|member| member.outbox.is_some());
        match (connected.any(can), pin) {
            (true, _) => (RunState::Running, "workers are connected".to_owned()),
            (false, None) => (
                RunState::WaitingForWorkers,
                "no worker is connected".to_owned(),
            ),
            (false, Some(class)) => (
                RunState::WaitingForWorkers,
                format!("no worker with kernels of class {class} is connected"),
            ),
        }
    }

    /// Bytes of memory of the connected worker that has most; nothing where one has not said, or
    /// nobody is connected.
    #[must_use]
    pub fn most_memory(&self) -> Option<u64> {
        let members = self.members();
        let connected = members.values().filter(|member| member.outbox.is_some());
        let memory = connected.map(|member| match member.engine().memory_bytes {
            0 => u64::MAX,
            bytes => bytes,
        });
        memory.max().filter(|most| *most != u64::MAX)
    }
}

impl Member {
    /// What its compute-core has, as far as it has said.
    pub(super) fn engine(&self) -> &Capabilities {
        self.hello.engine.as_ref().unwrap_or(&UNKNOWN)
    }
}
