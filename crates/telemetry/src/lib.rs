//! The wiring shaft: logs, metrics encoding, the operations endpoint.
