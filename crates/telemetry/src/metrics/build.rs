//! What is running.

use prometheus::{IntGauge, Opts};

use super::family::{Family, Kind, Label};

/// The version of this build; all crates of the workspace share it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that was built, where the builder said so.
const REVISION: Option<&str> = option_env!("PANGEA_REVISION");

/// In the catalogue.
pub(super) const FAMILY: Family = Family {
    name: "pangea_build_info",
    kind: Kind::Gauge,
    help: "Always 1; the labels say what is running.",
    labels: &[
        Label {
            name: "service",
            values: &[],
        },
        Label {
            name: "version",
            values: &[VERSION],
        },
        Label {
            name: "revision",
            values: &[],
        },
    ],
    buckets: &[],
    aliases: &[],
    rows: "",
    field: "",
    crate_name: env!("CARGO_PKG_NAME"),
};

pub(super) fn info(service: &str) -> prometheus::Result<IntGauge> {
    let options = Opts::new(FAMILY.name, FAMILY.help)
        .const_label("service", service)
        .const_label("version", VERSION)
        .const_label("revision", REVISION.unwrap_or("unknown"));
    let info = IntGauge::with_opts(options)?;
    info.set(1);
    Ok(info)
}
