//! What the program itself asked for in memory, and the allocator that knows it.

use tikv_jemalloc_ctl::{epoch, stats, thread};

use super::process::set;
use super::{Error, IntGauge, Registry};

/// The allocator of the services. Only a binary can install it, since its tests may want another:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: telemetry::metrics::heap::Allocator = telemetry::metrics::heap::Allocator;
/// ```
pub use tikv_jemallocator::Jemalloc as Allocator;

crate::metrics! {
    /// What the program asked for.
    pub struct Heap {
        /// Memory that the program has allocated and not given back.
        pub allocated: IntGauge = "process_heap_bytes", rows: "S3-35";
    }
}

/// Shows the heap in `registry`, where [`Allocator`] is the one that serves this program.
pub(super) fn register(registry: &Registry) -> Result<(), Error> {
    if !is_ours() {
        return Ok(());
    }
    let heap = Heap::register(registry)?;
    registry.on_scrape(move || {
        // The numbers stand still until told to move on. What cannot be read stays as it was.
        if epoch::advance().is_ok()
            && let Ok(allocated) = stats::allocated::read()
        {
            set(&heap.allocated, allocated);
        }
    });
    Ok(())
}

/// Whether an allocation reaches the allocator that we would ask about it.
fn is_ours() -> bool {
    let Ok(allocated) = thread::allocatedp::read() else {
        return false;
    };
    let before = allocated.get();
    drop(std::hint::black_box(Box::new(0_u64)));
    allocated.get() > before
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::exposition::text;

    #[test]
    fn a_heap_that_another_allocator_keeps_is_not_shown() {
        let registry = Registry::new("kitchen").unwrap();
        register(&registry).unwrap();
        let text = text(&registry.snapshot()).unwrap();
        assert!(!text.contains("process_heap_bytes"), "{text}");
    }
}
