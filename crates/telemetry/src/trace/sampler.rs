//! Which traces are kept.

use std::str::FromStr;

use thiserror::Error;

use super::context::{TraceContext, TraceId};

/// Decides once for a whole trace, where it begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// Whether a service that continues a trace decides as the one did that began it.
    follows_parent: bool,
    /// Traces whose id's low half is below this are kept.
    below: u128,
}

/// A sampler that there is not.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidSampler {
    /// No such name.
    #[error(
        "sampler {name:?} is not known; must be always_on, always_off, traceidratio, \
         parentbased_always_on, parentbased_always_off or parentbased_traceidratio"
    )]
    Name {
        /// What was given.
        name: String,
    },
    /// The ratio is none.
    #[error("sampling ratio {ratio:?} is not one; must be a number from 0 to 1")]
    Ratio {
        /// What was given.
        ratio: String,
    },
}

impl Sampler {
    /// Keeps nothing that begins here; goes on with what others keep.
    #[must_use]
    pub fn none() -> Self {
        Self::ratio(0.0)
    }

    /// Keeps everything that begins here.
    #[must_use]
    pub fn all() -> Self {
        Self::ratio(1.0)
    }

    /// Keeps this share of what begins here, 0 to 1.
    #[must_use]
    pub fn ratio(share: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the share is clamped; 2^64 fits"
        )]
        let below = (share.clamp(0.0, 1.0) * 2_f64.powi(64)) as u128;
        Self {
            follows_parent: true,
            below,
        }
    }

    /// The sampler of `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.
    ///
    /// # Errors
    ///
    /// [`InvalidSampler`] says what would be one.
    pub fn named(name: &str, argument: Option<&str>) -> Result<Self, InvalidSampler> {
        let (kind, follows_parent) = match name.strip_prefix("parentbased_") {
            Some(kind) => (kind, true),
            None => (name, false),
        };
        let share = match kind {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => ratio(argument.unwrap_or("1"))?,
            _ => return Err(InvalidSampler::Name { name: name.into() }),
        };
        Ok(Self {
            follows_parent,
            ..Self::ratio(share)
        })
    }

    /// Whether `trace` is kept here.
    #[must_use]
    pub fn keeps(&self, trace: TraceId, parent: Option<&TraceContext>) -> bool {
        match parent {
            Some(parent) if self.follows_parent => parent.sampled,
            _ => u128::from(trace.low()) < self.below,
        }
    }
}

fn ratio(text: &str) -> Result<f64, InvalidSampler> {
    let ratio = f64::from_str(text.trim()).ok();
    ratio
        .filter(|ratio| (0.0..=1.0).contains(ratio))
        .ok_or_else(|| InvalidSampler::Ratio { ratio: text.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(sampled: bool) -> TraceContext {
        TraceContext {
            trace: TraceId::random(),
            span: super::super::SpanId::random(),
            sampled,
            state: None,
        }
    }

    #[test]
    fn a_ratio_keeps_its_share() {
        let sampler = Sampler::named("traceidratio", Some("0.25")).unwrap();
        let kept = (0..4_000).filter(|_| sampler.keeps(TraceId::random(), None));
        let kept = kept.count();
        assert!((880..1_120).contains(&kept), "{kept} of 4000");
    }

    #[test]
    fn who_follows_the_parent_does_so_whatever_the_ratio() {
        for name in ["parentbased_always_on", "parentbased_always_off"] {
            let sampler = Sampler::named(name, None).unwrap();
            for sampled in [true, false] {
                let parent = parent(sampled);
                assert_eq!(sampler.keeps(parent.trace, Some(&parent)), sampled);
            }
        }
        let alone = Sampler::named("always_off", None).unwrap();
        let parent = parent(true);
        assert!(!alone.keeps(parent.trace, Some(&parent)));
        assert!(Sampler::all().keeps(TraceId::random(), None));
        assert!(!Sampler::none().keeps(TraceId::random(), None));
    }

    #[test]
    fn what_is_no_sampler_is_refused_with_what_would_be() {
        let error = Sampler::named("sometimes", None).unwrap_err().to_string();
        assert!(error.contains("parentbased_traceidratio"), "{error}");
        for ratio in ["2", "-1", "NaN", "half", ""] {
            let error = Sampler::named("traceidratio", Some(ratio)).unwrap_err();
            assert!(error.to_string().contains("from 0 to 1"), "{error}");
        }
    }
}
