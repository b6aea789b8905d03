//! What must be so after each commit, whatever went wrong before.
//!
//! - No update counts twice: a client has at most one accepted receipt in a round, and belongs to the
//!   round's cohort.
//! - No round is committed without its quorum.
//! - The manifest of the last committed round leads to a model that is there in its length.
//! - Every accepted update of a committed round is in exactly that round's version, with its weight.
//! - Rounds are committed one after the other, and what was committed stays so.
//! - Events are told without a gap, and each committed round once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use artifacts::Key;
use client::v1;
use federation::RunId;
use federation::round::Phase;
use orchestrator::checkpoint::Manifest;
use orchestrator::metrics::store::Store as StoreMetrics;
use orchestrator::store::{Place, Receipt, RoundRow, RunRow, Store};
use telemetry::metrics::Registry;
use tokio::runtime::{Builder, Runtime};

use crate::Broken;

/// Looks at the data directory of an orchestrator, beside it.
pub(crate) struct Invariants {
    runtime: Runtime,
    data_dir: PathBuf,
    store: Store,
    committed: BTreeMap<RunId, u32>,
}

impl Invariants {
    pub(crate) fn new(data_dir: &Path) -> Result<Self, Broken> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Broken::start)?;
        let registry = Registry::new("invariants").map_err(Broken::start)?;
        let metrics = StoreMetrics::register(&registry).map_err(Broken::start)?;
        let place = Place::Sqlite(data_dir.join("runs.sqlite"));
        let store = runtime.block_on(Store::open(&place, metrics));
        Ok(Self {
            runtime,
            data_dir: data_dir.to_owned(),
            store: store.map_err(Broken::start)?,
            committed: BTreeMap::new(),
        })
    }

    /// Looks at every run.
    pub(crate) fn look(&mut self) -> Result<(), Broken> {
        for row in self.read(self.store.runs(None, u32::MAX))? {
            self.look_at_run(&row)?;
        }
        Ok(())
    }

    fn look_at_run(&mut self, row: &RunRow) -> Result<(), Broken> {
        let run = row.run;
        let rounds = self.read(self.store.rounds(run, 0, u32::MAX))?;
        let committed: Vec<_> = rounds
            .iter()
            .filter(|round| round.phase == Phase::Committed)
            .collect();
        let before = self.committed.insert(run, row.rounds_committed);
        holds(
            before.unwrap_or_default() <= row.rounds_committed,
            format_args!(
                "run {run} had {before:?} rounds and has {}",
                row.rounds_committed
            ),
        )?;
        holds(
            committed.len() == row.rounds_committed as usize,
            format_args!(
                "run {run} counts {} committed rounds and has {}",
                row.rounds_committed,
                committed.len()
            ),
        )?;
        self.look_at_model(run, row.rounds_committed)?;
        // What was committed before the last look was looked at then.
        let since = before.unwrap_or_default();
        for round in rounds.iter().filter(|round| round.number >= since) {
            let receipts = self.read(self.store.receipts(run, round.number))?;
            self.look_at_round(run, round, &receipts)?;
        }
        Ok(())
    }

    fn look_at_round(
        &self,
        run: RunId,
        round: &RoundRow,
        receipts: &[Receipt],
    ) -> Result<(), Broken> {
        let accepted: Vec<_> = receipts.iter().filter(|receipt| receipt.accepted).collect();
        let clients: BTreeSet<_> = accepted.iter().map(|receipt| receipt.client).collect();
        let number = round.number;
        holds(
            clients.len() == accepted.len(),
            format_args!("run {run} round {number} counts an update twice: {accepted:?}"),
        )?;
        holds(
            clients.iter().all(|client| round.cohort.contains(client)),
            format_args!("run {run} round {number} counts an update that it did not ask for"),
        )?;
        if round.phase != Phase::Committed {
            return Ok(());
        }
        holds(
            accepted.len() >= round.quorum as usize,
            format_args!(
                "run {run} round {number} was committed without its quorum of {}: {accepted:?}",
                round.quorum
            ),
        )?;
        let manifest = self.manifest(run, number)?;
        let listed: Vec<_> = manifest
            .updates
            .iter()
            .map(|update| (update.client, update.digest, update.weight.to_bits()))
            .collect();
        let mut counted: Vec<_> = accepted
            .iter()
            .map(|receipt| (receipt.client, receipt.digest, receipt.weight.to_bits()))
            .collect();
        counted.sort_unstable();
        holds(
            listed == counted,
            format_args!(
                "run {run} round {number} counted {counted:?}, and its version lists {listed:?}"
            ),
        )
    }

    fn look_at_model(&self, run: RunId, round: u32) -> Result<(), Broken> {
        if round == 0 {
            // The first round trains while the initial model is being written.
            return Ok(());
        }
        let manifest = self.manifest(run, round)?;
        let parameters = &manifest.model.parameters;
        let model = fs::metadata(self.path(&parameters.key));
        let needed = parameters.offset + parameters.len;
        holds(
            model.as_ref().is_ok_and(|model| model.len() == needed),
            format_args!(
                "the model of run {run} round {round} is {model:?} where {needed} bytes were to be"
            ),
        )
    }

    fn manifest(&self, run: RunId, round: u32) -> Result<Manifest, Broken> {
        let key = Key::checkpoint_manifest(run, round);
        let text = fs::read_to_string(self.path(&key));
        let text = text.map_err(|error| Broken::because(format_args!("{key}: {error}")))?;
        serde_json::from_str(&text).map_err(|error| Broken::because(format_args!("{key}: {error}")))
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.data_dir.join("artifacts").join(key.as_str())
    }

    /// Looks at what is left when every run has ended; gives the digest of each one's last model.
    pub(crate) fn end(
        &self,
        runs: &[v1::Run],
        events: &BTreeMap<String, Vec<v1::Event>>,
    ) -> Result<Vec<Option<String>>, Broken> {
        for (job, events) in events {
            let told = events.iter().map(|event| event.sequence);
            holds(
                told.eq(1..=events.len() as u64),
                format_args!("the events of {job} have a gap"),
            )?;
        }
        runs.iter().map(|run| self.last_model(run)).collect()
    }

    fn last_model(&self, run: &v1::Run) -> Result<Option<String>, Broken> {
        let id: RunId = run.run.parse().map_err(Broken::because)?;
        let rounds = self.read(self.store.rounds(id, 0, u32::MAX))?;
        let committed = rounds.iter().rfind(|round| round.phase == Phase::Committed);
        let Some(last) = committed else {
            return Ok(None);
        };
        Ok(Some(
            self.manifest(id, last.number)?.model.digest.to_string(),
        ))
    }

    fn read<T, E: std::fmt::Display>(
        &self,
        reading: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Broken> {
        self.runtime.block_on(reading).map_err(Broken::because)
    }
}

fn holds(so: bool, otherwise: std::fmt::Arguments<'_>) -> Result<(), Broken> {
    if so {
        return Ok(());
    }
    Err(Broken::because(otherwise))
}
