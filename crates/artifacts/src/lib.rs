//! Shards, updates, checkpoints and models, as verified bytes.
