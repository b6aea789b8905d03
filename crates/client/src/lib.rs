//! The library for users of the orchestrator.
