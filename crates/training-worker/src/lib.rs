//! The workshop: leases tasks, trains, reports.
