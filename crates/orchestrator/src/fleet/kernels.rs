//! Which classes of kernels workers have, and whether a run has somebody to train it.

use federation::KernelClass;
use federation::run::RunState;

use super::{Fleet, Member, SessionId};

impl Fleet {
    /// A worker's compute-core says which classes of kernels it can train with.
    pub fn told_kernels(&self, id: &SessionId, classes: Vec<String>) {
        self.with(id, |member| member.hello.kernel_classes = classes);
        self.sessions.ring();
    }

    /// Whether anybody is there to train a run, which may be pinned to a class of kernels: the state
    /// that the run is in, and why.
    #[must_use]
    pub fn readiness(&self, pin: Option<KernelClass>) -> (RunState, String) {
        let can = |member: &Member| match pin {
            None => true,
            Some(class) => {
                let mut own = member.hello.kernel_classes.iter();
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
}
