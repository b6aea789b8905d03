//! Tells a Sentry server of an error and of a panic, and prints in which trace.
//!
//! `cargo run -p telemetry --example tell_errors -- DSN SECRET`

use std::io::Write;
use std::panic::catch_unwind;
use std::time::Duration;

use anyhow::{Context, ensure};
use telemetry::logs::{Logs, Output};
use telemetry::reports::{Errors, start};
use telemetry::trace::{Sampler, Tracer};
use tracing::{error, info};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let dsn = arguments.next().context("the DSN is missing")?;
    let secret = arguments.next().context("the secret is missing")?;
    let guard = start(Errors {
        dsn,
        send_default_pii: false,
        environment: Some("example".to_owned()),
        release: "example@1".to_owned(),
        service: "example",
        secrets: vec![secret.clone()],
    })?;
    Logs {
        errors: Some(&guard),
        ..Logs::of("example", Output::Stderr)
    }
    .install()?;

    let tracer = Tracer::new("example", Sampler::none(), None);
    let place = tracer.serve("work", None).scope().context("a place")?;
    let trace = place.context().trace;
    place.run(|| {
        info!(round = 3, password = secret, "round opened");
        error!(round = 3, error = %format!("{secret} refused"), "round lost");
        // A panic that is caught is told all the same.
        catch_unwind(|| panic!("broke with {secret}")).ok();
    });
    ensure!(guard.close(Duration::from_secs(10)), "not all was sent");
    writeln!(std::io::stdout(), "{trace}")?;
    Ok(())
}
