//! Tasks to workers, at least once, under leases.
