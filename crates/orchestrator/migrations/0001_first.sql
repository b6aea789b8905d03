-- What an orchestrator must not forget. Portable SQL: TEXT, BIGINT, DOUBLE PRECISION.
-- Moments are milliseconds since the Unix epoch; digests and ids are text.

CREATE TABLE datasets (
    name        TEXT   NOT NULL PRIMARY KEY,
    digest      TEXT   NOT NULL,
    manifest    TEXT   NOT NULL,
    created_at  BIGINT NOT NULL
);

-- The shards of a partition of a data set, by the digests of both.
CREATE TABLE partitions (
    dataset_digest   TEXT NOT NULL,
    partition_digest TEXT NOT NULL,
    shards           TEXT NOT NULL,
    PRIMARY KEY (dataset_digest, partition_digest)
);

CREATE TABLE runs (
    run              TEXT   NOT NULL PRIMARY KEY,
    state            TEXT   NOT NULL,
    reason           TEXT   NOT NULL,
    job              TEXT   NOT NULL,
    job_digest       TEXT   NOT NULL,
    idempotency_key  TEXT   NOT NULL UNIQUE,
    dataset_digest   TEXT   NOT NULL,
    rounds_committed BIGINT NOT NULL,
    accuracy         DOUBLE PRECISION,
    loss             DOUBLE PRECISION,
    last_sequence    BIGINT NOT NULL,
    created_at       BIGINT NOT NULL,
    finished_at      BIGINT
);

CREATE TABLE rounds (
    run           TEXT   NOT NULL REFERENCES runs (run),
    round         BIGINT NOT NULL,
    phase         TEXT   NOT NULL,
    cohort        TEXT   NOT NULL,
    quorum        BIGINT NOT NULL,
    base          TEXT   NOT NULL,
    opened_at     BIGINT NOT NULL,
    closed_at     BIGINT,
    reason        TEXT   NOT NULL,
    outcome       TEXT,
    PRIMARY KEY (run, round)
);

-- The attempt in which each client's work was last queued.
CREATE TABLE attempts (
    run     TEXT   NOT NULL REFERENCES runs (run),
    round   BIGINT NOT NULL,
    client  BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    PRIMARY KEY (run, round, client)
);

-- Every report of an update, with its verdict.
CREATE TABLE receipts (
    run          TEXT   NOT NULL,
    round        BIGINT NOT NULL,
    client       BIGINT NOT NULL,
    position     BIGINT NOT NULL,
    attempt      BIGINT NOT NULL,
    lease_epoch  BIGINT NOT NULL,
    worker       TEXT   NOT NULL,
    num_examples BIGINT NOT NULL,
    num_steps    BIGINT NOT NULL,
    weight       DOUBLE PRECISION NOT NULL,
    mean_loss    DOUBLE PRECISION,
    bytes        BIGINT NOT NULL,
    digest       TEXT   NOT NULL,
    object_key   TEXT   NOT NULL,
    accepted     BIGINT NOT NULL,
    reason       TEXT   NOT NULL,
    message      TEXT   NOT NULL,
    received_at  BIGINT NOT NULL,
    PRIMARY KEY (run, round, client, position)
);

-- An update counts once or not at all.
CREATE UNIQUE INDEX receipts_count_once ON receipts (run, round, client) WHERE accepted = 1;

CREATE TABLE events (
    run      TEXT   NOT NULL,
    sequence BIGINT NOT NULL,
    time     BIGINT NOT NULL,
    body     TEXT   NOT NULL,
    PRIMARY KEY (run, sequence)
);

CREATE TABLE models (
    name       TEXT   NOT NULL,
    version    BIGINT NOT NULL,
    run        TEXT   NOT NULL UNIQUE,
    manifest   TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (name, version)
);
