//! Edges of buckets that more than one family shares.

/// Seconds from a request to the end of its answer. They begin at a millisecond, as most calls
/// take less than ten; 0.2, 0.5 and 2.5 are where objectives are set; 0.1 to 10 has every edge of
/// the dashboards that people bring along.
pub const ANSWER_SECONDS: [f64; 17] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.5, 3.0, 5.0, 7.0, 10.0,
];

/// Bytes of a body: from a probe's answer to a scrape of thousands of series.
pub const BODY_BYTES: [f64; 7] = [
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    131_072.0,
    1_048_576.0,
];
