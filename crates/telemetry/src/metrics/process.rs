//! What the process takes from its machine: processors, memory, files.
//!
//! The names and meanings are those of every Prometheus client. The `prometheus` crate could
//! produce them too, but cuts processor time to whole seconds, so that a rate over a minute sees a
//! processor that is 5 % busy as 3.3 % or 6.7 %.
//!
//! Where services share a process, one of them shows it.

use std::sync::{Mutex, PoisonError};

use prometheus::Counter;

use super::heap;
use super::{Error, Gauge, IntGauge, Registry};

crate::metrics! {
    /// What the process takes.
    pub struct Process {
        /// Processor time in user and kernel mode together, in seconds.
        pub cpu: Counter = "process_cpu_seconds_total", rows: "S2-7";
        /// Processor time in user mode, in seconds.
        pub cpu_user: Counter = "process_cpu_user_seconds_total", rows: "S3-33";
        /// Processor time in kernel mode, in seconds.
        pub cpu_system: Counter = "process_cpu_system_seconds_total", rows: "S3-33";
        /// Memory of the process that is in RAM.
        pub resident: IntGauge = "process_resident_memory_bytes", aka: ["memory_usage_bytes"],
            rows: "S1-11 S2-7 S3-34";
        /// Addresses that the process reserved, most of them without memory behind them.
        pub virtual_memory: IntGauge = "process_virtual_memory_bytes";
        /// Open file descriptors.
        pub open_files: IntGauge = "process_open_fds";
        /// Most file descriptors that may be open.
        pub max_files: IntGauge = "process_max_fds";
        /// Threads of the operating system.
        pub threads: IntGauge = "process_threads";
        /// When the process began, in seconds since 1970.
        pub start: Gauge = "process_start_time_seconds";
    }
}

/// Shows the process in `registry`, up to date at every scrape. Where the system does not tell
/// about processes as Linux does, only the heap is there.
///
/// # Errors
///
/// [`Error`] when a name is taken.
pub fn register(registry: &Registry) -> Result<(), Error> {
    heap::register(registry)?;
    if Usage::now().is_none() {
        return Ok(());
    }
    // One scrape at a time: two that counted the same second would both add it.
    let process = Mutex::new(Process::register(registry)?);
    registry.on_scrape(move || {
        let process = process.lock().unwrap_or_else(PoisonError::into_inner);
        // A look that fails leaves the numbers of the one before.
        if let Some(usage) = Usage::now() {
            process.show(&usage);
        }
    });
    Ok(())
}

/// What the system tells. Times in seconds, memory in bytes.
#[derive(Debug)]
struct Usage {
    user: f64,
    system: f64,
    started: f64,
    resident: u64,
    virtual_memory: u64,
    threads: i64,
    open_files: usize,
    max_files: Option<u64>,
}

impl Process {
    fn show(&self, usage: &Usage) {
        raise(&self.cpu, usage.user + usage.system);
        raise(&self.cpu_user, usage.user);
        raise(&self.cpu_system, usage.system);
        self.start.set(usage.started);
        self.threads.set(usage.threads);
        set(&self.resident, usage.resident);
        set(&self.virtual_memory, usage.virtual_memory);
        set(&self.open_files, usage.open_files);
        // None is no limit.
        set(&self.max_files, usage.max_files.unwrap_or(u64::MAX));
    }
}

/// To where another counter stands.
pub(super) fn raise(counter: &Counter, to: f64) {
    let more = to - counter.get();
    if more > 0.0 {
        counter.inc_by(more);
    }
}

pub(super) fn set(gauge: &IntGauge, value: impl TryInto<i64>) {
    gauge.set(value.try_into().unwrap_or(i64::MAX));
}

impl Usage {
    #[cfg(target_os = "linux")]
    fn now() -> Option<Self> {
        use procfs::WithCurrentSystemInfo;
        use procfs::process::{LimitValue, Process};

        let process = Process::myself().ok()?;
        let stat = process.stat().ok()?;
        let limits = process.limits().ok()?;
        let booted = procfs::boot_time_secs().ok()?;
        Some(Self {
            user: seconds(stat.utime),
            system: seconds(stat.stime),
            started: seconds(booted * procfs::ticks_per_second() + stat.starttime),
            resident: stat.rss_bytes().get(),
            virtual_memory: stat.vsize,
            threads: stat.num_threads,
            open_files: process.fd_count().ok()?,
            max_files: match limits.max_open_files.soft_limit {
                LimitValue::Value(most) => Some(most),
                LimitValue::Unlimited => None,
            },
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn now() -> Option<Self> {
        None
    }
}

/// The kernel counts time in ticks, of which it says how many there are.
#[cfg(target_os = "linux")]
#[expect(
    clippy::cast_precision_loss,
    reason = "a second in 285,000 years of ticks"
)]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / procfs::ticks_per_second() as f64
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::exposition::text;

    /// The number of a series without labels.
    fn number(text: &str, name: &str) -> f64 {
        let number = text.lines().find_map(|line| {
            let (series, number) = line.split_once(' ')?;
            (series == name).then(|| number.parse().unwrap())
        });
        number.unwrap_or_else(|| panic!("{name} is not in {text}"))
    }

    fn scraped() -> (Registry, String) {
        let registry = Registry::new("kitchen").unwrap();
        register(&registry).unwrap();
        let text = text(&registry.snapshot()).unwrap();
        (registry, text)
    }

    #[test]
    fn a_process_shows_what_it_takes() {
        let (_registry, text) = scraped();
        let resident = number(&text, "process_resident_memory_bytes");
        assert!((1e6..1e9).contains(&resident), "{resident}");
        assert!(number(&text, "process_virtual_memory_bytes") >= resident);
        let (open, max) = (
            number(&text, "process_open_fds"),
            number(&text, "process_max_fds"),
        );
        assert!((3.0..=max).contains(&open), "{open} of {max}");
        assert!(number(&text, "process_threads") >= 1.0);
        assert!((number(&text, "memory_usage_bytes") - resident).abs() < f64::EPSILON);
    }

    #[test]
    fn a_process_began_before_now() {
        let (_registry, text) = scraped();
        #[expect(clippy::disallowed_methods, reason = "what the kernel compares with")]
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let age = now - number(&text, "process_start_time_seconds");
        // The kernel knows its boot to a second.
        assert!((-2.0..3600.0).contains(&age), "{age}");
    }

    #[test]
    fn processor_time_is_that_of_user_and_kernel_mode() {
        let (registry, _) = scraped();
        let spent = || {
            let text = text(&registry.snapshot()).unwrap();
            let number = |name| number(&text, name);
            let (user, system) = (
                number("process_cpu_user_seconds_total"),
                number("process_cpu_system_seconds_total"),
            );
            assert!((number("process_cpu_seconds_total") - user - system).abs() < 1e-9);
            user + system
        };
        let before = spent();
        // Ten ticks, each of which needs work to be counted.
        while spent() < before + 0.1 {
            std::hint::black_box((0..100_000_u64).sum::<u64>());
        }
    }

    #[test]
    fn a_counter_is_never_taken_back() {
        let counter = Counter::new("spent", "Spent.").unwrap();
        raise(&counter, 2.5);
        raise(&counter, 2.25);
        assert!((counter.get() - 2.5).abs() < f64::EPSILON);
        raise(&counter, 3.0);
        assert!((counter.get() - 3.0).abs() < f64::EPSILON);
    }
}
