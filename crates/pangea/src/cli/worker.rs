//! `pangea workers` and `pangea drain`.

use clap::Args;

use super::Session;
use crate::human::{ago, bytes, count};
use crate::json;
use crate::table::Side::{Left, Right};
use crate::table::Table;

pub(super) async fn list(session: &mut Session) -> anyhow::Result<()> {
    let workers = session.client().workers().await?;
    let mut table = Table::new([
        ("WORKER", Left),
        ("STATE", Left),
        ("SLOTS", Right),
        ("TASKS", Right),
        ("ACCEPTED", Right),
        ("REFUSED", Right),
        ("FAILED", Right),
        ("HEARD", Left),
        ("KERNELS", Left),
        ("MEMORY", Right),
        ("HOST", Left),
        ("VERSION", Left),
    ]);
    for worker in &workers {
        table.row([
            worker.worker.clone(),
            json::worker_state(worker.state()).to_owned(),
            worker.slots.to_string(),
            worker.tasks.len().to_string(),
            count(worker.updates_accepted),
            count(worker.updates_refused),
            count(worker.tasks_failed),
            ago(session.now, worker.last_heard_ms),
            worker.kernel_classes.first().cloned().unwrap_or_default(),
            match worker.memory_bytes {
                0 => String::new(),
                known => bytes(known),
            },
            worker.host.clone(),
            worker.version.clone(),
        ]);
    }
    let shapes: Vec<_> = workers.iter().map(json::Worker::from).collect();
    session.output.show(table, &shapes)?;
    Ok(())
}

#[derive(Debug, Args)]
pub(super) struct Drain {
    /// The worker, as `pangea workers` calls it
    worker: String,
}

impl Drain {
    pub(super) async fn run(self, session: &mut Session) -> anyhow::Result<()> {
        let worker = session.client().drain(&self.worker).await?;
        let text = format!("{} finishes what it has, then ends", worker.worker);
        session.output.show(text, &json::Worker::from(&worker))?;
        Ok(())
    }
}
