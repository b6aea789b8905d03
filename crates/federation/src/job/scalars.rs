//! Numbers and spans of time in the file. They differ from serde's own in what a refusal says:
//! "a whole number" and not "u32".

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::{Deserialize, Serializer};

/// For `deserialize_with` on a `u32` or `u64`.
pub(super) fn count<'de, D, N>(deserializer: D) -> Result<N, D::Error>
where
    D: Deserializer<'de>,
    N: TryFrom<u64>,
{
    Count::deserialize(deserializer).map(|count| count.0)
}

/// For `deserialize_with` on an `Option<u32>` or `Option<u64>`.
pub(super) fn maybe_count<'de, D, N>(deserializer: D) -> Result<Option<N>, D::Error>
where
    D: Deserializer<'de>,
    N: TryFrom<u64>,
{
    Option::<Count<N>>::deserialize(deserializer).map(|count| count.map(|count| count.0))
}

/// For `deserialize_with` on an `Option<Vec<usize>>`.
pub(super) fn maybe_counts<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<usize>>, D::Error> {
    let counts = Option::<Vec<Count<usize>>>::deserialize(deserializer)?;
    Ok(counts.map(|counts| counts.into_iter().map(|count| count.0).collect()))
}

/// For `deserialize_with` on an `f64`.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Number::deserialize(deserializer).map(|number| number.0)
}

/// For `deserialize_with` on an `Option<f64>`.
pub(super) fn maybe_number<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<f64>, D::Error> {
    Option::<Number>::deserialize(deserializer).map(|number| number.map(|number| number.0))
}

/// For `with` on a [`Duration`].
pub(super) mod span {
    use super::{Deserializer, Duration, Serializer, Span};

    pub(in super::super) fn serialize<S: Serializer>(
        span: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*span))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        deserializer.deserialize_str(Span)
    }
}

struct Count<N>(N);

impl<'de, N: TryFrom<u64>> Deserialize<'de> for Count<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(Whole(PhantomData))
    }
}

struct Whole<N>(PhantomData<N>);

impl<N: TryFrom<u64>> Visitor<'_> for Whole<N> {
    type Value = Count<N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from 0 to 2^{}-1", 8 * size_of::<N>())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Count<N>, E> {
        N::try_from(value)
            .map(Count)
            .map_err(|_too_large| E::invalid_value(Unexpected::Unsigned(value), &self))
    }
}

struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_f64(Real)
    }
}

struct Real;

impl Visitor<'_> for Real {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Number, E> {
        Ok(Number(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Number, E> {
        Ok(Number(value as f64))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Number, E> {
        Ok(Number(value as f64))
    }
}

struct Span;

impl Visitor<'_> for Span {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number with a unit of time, such as `90s` or `2m`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        humantime::parse_duration(text)
            .map_err(|_malformed| E::invalid_value(Unexpected::Str(text), &self))
    }
}
