//! How processes ask the system for memory.

use super::fleet::{Fleet, Shape};
use super::service::Service;

#[tokio::test(flavor = "multi_thread")]
async fn compute_core_asks_for_huge_pages_and_nobody_else_does() {
    let fleet = Fleet::start(Shape::default()).await;
    assert!(asks_for_huge_pages(&fleet.compute));
    for service in fleet.workers.iter().chain([&fleet.orchestrator]) {
        assert!(!asks_for_huge_pages(service));
    }
}

/// Whether any stretch of its memory is flagged so.
fn asks_for_huge_pages(service: &Service) -> bool {
    let path = format!("/proc/{}/smaps", service.id());
    let stretches = std::fs::read_to_string(path).expect("Linux tells of a process's memory");
    let mut flags = stretches
        .lines()
        .filter_map(|line| line.strip_prefix("VmFlags:"));
    flags.any(|flags| flags.split_whitespace().any(|flag| flag == "hg"))
}
