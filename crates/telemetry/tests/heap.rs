//! The heap of a program that has our allocator.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use telemetry::metrics::exposition::text;
use telemetry::metrics::heap::Allocator;
use telemetry::metrics::{Registry, process};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn heap_bytes(registry: &Registry) -> u64 {
    let text = text(&registry.snapshot()).unwrap();
    let mut lines = text.lines();
    let number = lines.find_map(|line| line.strip_prefix("process_heap_bytes "));
    number.unwrap().parse().unwrap()
}

#[test]
fn the_heap_is_what_was_allocated_and_not_given_back() {
    const BYTES: u64 = 64 << 20;
    let registry = Registry::new("kitchen").unwrap();
    process::register(&registry).unwrap();
    let before = heap_bytes(&registry);
    let held = vec![0_u8; BYTES.try_into().unwrap()];
    let during = heap_bytes(&registry);
    assert!(during >= before + BYTES, "{before} to {during}");
    drop(held);
    let after = heap_bytes(&registry);
    assert!(after < during - BYTES / 2, "{during} to {after}");
}
