//! Registries, and what they look like to Prometheus.

use prometheus::process_collector::ProcessCollector;
use prometheus::{IntGauge, Opts, Registry, TextEncoder};

/// What the answer of a metrics endpoint is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The version of this build; all crates of the workspace share it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A registry for `service`, with its build information and the metrics of the process.
///
/// # Errors
///
/// What Prometheus says to a name that it does not take.
pub fn registry(service: &str) -> prometheus::Result<Registry> {
    let registry = guest_registry(service)?;
    registry.register(Box::new(ProcessCollector::for_self()))?;
    Ok(registry)
}

/// A registry for a service that shares its process with another one, which has the metrics of the
/// process already.
///
/// # Errors
///
/// What Prometheus says to a name that it does not take.
pub fn guest_registry(service: &str) -> prometheus::Result<Registry> {
    let registry = Registry::new();
    let build = Opts::new(
        "pangea_build_info",
        "Always 1; the labels say what is running.",
    )
    .const_label("version", VERSION)
    .const_label("service", service);
    let build = IntGauge::with_opts(build)?;
    build.set(1);
    registry.register(Box::new(build))?;
    Ok(registry)
}

/// All metrics of a registry in Prometheus' text format.
///
/// # Errors
///
/// What Prometheus says to metrics that contradict each other.
pub fn encode(registry: &Registry) -> prometheus::Result<String> {
    TextEncoder::new().encode_to_string(&registry.gather())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_says_what_is_running() {
        let text = encode(&guest_registry("orchestrator").unwrap()).unwrap();
        let line = format!("pangea_build_info{{service=\"orchestrator\",version=\"{VERSION}\"}} 1");
        assert!(text.lines().any(|own| own == line), "{text}");
        assert!(!text.contains("process_"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_process_is_measured_once() {
        let text = encode(&registry("orchestrator").unwrap()).unwrap();
        for name in ["process_cpu_seconds_total", "process_resident_memory_bytes"] {
            assert_eq!(text.matches(&format!("# TYPE {name} ")).count(), 1);
        }
    }
}
