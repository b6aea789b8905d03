//! Chores of the workspace: `cargo xtask <chore>`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a chore's findings are its output"
)]

mod alerts;
mod arrows;
mod dashboards;
mod proto;
mod sizes;
mod slo;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of the workspace.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Hold alerts, their tests, their runbooks and their routes together.
    Alerts,
    /// Copy the rules and Alertmanager's configuration with everything in them so many times as
    /// fast, to see real faults become alerts.
    AlertsFaster {
        /// How many times.
        factor: NonZeroU32,
        /// The folder for the copies.
        out: PathBuf,
    },
    /// Hold the crates' dependencies against the table in ARCHITECTURE.md.
    Arrows,
    /// Write Grafana's dashboards from their descriptions in grafana/panels.
    Dashboards {
        /// Write nothing; fail when a committed dashboard is not what its description makes.
        #[arg(long, conflicts_with = "against")]
        check: bool,
        /// Write nothing; execute every query and variable against the Prometheus at this address,
        /// and fail when one yields nothing or what is not a number.
        #[arg(long, value_name = "URL")]
        against: Option<String>,
        /// A job that this Prometheus does not scrape; what only it shows must be absent.
        #[arg(long, value_name = "JOB", requires = "against")]
        without: Vec<String>,
    },
    /// Generate the Rust code of proto/pangea/v1.
    Proto {
        /// Write nothing; fail when the committed code is not what the protos generate.
        #[arg(long)]
        check: bool,
    },
    /// Find files that are too long, or that are named after no subject.
    Sizes,
    /// Make the rules of service levels from infra/prometheus/slo.yaml.
    Slo {
        /// Write nothing; fail when the committed rules are not those of the levels.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    match run(&Cli::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: &Chore) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match chore {
        Chore::Alerts => alerts::run(&root),
        Chore::AlertsFaster { factor, out } => alerts::write_faster(&root, *factor, out),
        Chore::Arrows => arrows::run(&root),
        Chore::Dashboards {
            against: Some(url),
            without,
            ..
        } => dashboards::execute(&root, url, without),
        Chore::Dashboards { check: true, .. } => dashboards::check(&root),
        Chore::Dashboards { .. } => dashboards::write(&root),
        Chore::Proto { check: false } => proto::write(&root),
        Chore::Proto { check: true } => proto::check(&root),
        Chore::Sizes => sizes::run(&root),
        Chore::Slo { check: false } => slo::write(&root),
        Chore::Slo { check: true } => slo::check(&root),
    }
}
