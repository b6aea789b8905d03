//! Which updates count: once, from the cohort, for the open round, to the right parameters.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::round::{Phase, Round};
use crate::{Digest, KernelClass, TaskId};

/// What a worker says about an update.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The work it belongs to.
    pub task: TaskId,
    /// The parameters it is a delta to.
    pub base: Digest,
    /// Of the delta's bytes.
    pub digest: Digest,
    /// Size of the delta.
    pub bytes: u64,
    /// Loss terms behind it.
    pub num_examples: u64,
    /// Mean training loss.
    pub mean_loss: f64,
    /// The class of the kernels that trained it, as far as that was said.
    pub kernel_class: Option<KernelClass>,
}

/// Why an update does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Refusal {
    /// The run does not take updates now.
    RunNotRunning,
    /// The round is closed.
    Late {
        /// The round that the run is in.
        current: u32,
    },
    /// The client was not asked.
    NotInCohort,
    /// The client's update is there already.
    Duplicate,
    /// The update is a delta to other parameters.
    WrongBase {
        /// What it should be a delta to.
        expected: Digest,
    },
    /// The update has not the size of the model.
    WrongSize {
        /// In bytes.
        expected: u64,
        /// In bytes.
        actual: u64,
    },
    /// The update was not trained with the kernels that the run is pinned to.
    WrongKernels {
        /// Their class.
        expected: KernelClass,
    },
    /// There is nothing behind the update.
    NoExamples,
    /// The update claims more examples than the client has.
    TooManyExamples {
        /// Rows of the client's shard.
        rows: u64,
        /// As claimed.
        claimed: u64,
    },
    /// The update, or its loss, holds NaN or infinity.
    NotFinite {
        /// What is not finite.
        what: String,
    },
    /// The object is missing, truncated or changed.
    Damaged {
        /// What is wrong with it.
        problem: String,
    },
}

impl Refusal {
    /// One word, for tables and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::RunNotRunning => "run_not_running",
            Self::Late { .. } => "late",
            Self::NotInCohort => "not_in_cohort",
            Self::Duplicate => "duplicate",
            Self::WrongBase { .. } => "wrong_base",
            Self::WrongSize { .. } => "wrong_size",
            Self::WrongKernels { .. } => "wrong_kernels",
            Self::NoExamples => "no_examples",
            Self::TooManyExamples { .. } => "too_many_examples",
            Self::NotFinite { .. } => "not_finite",
            Self::Damaged { .. } => "damaged",
        }
    }

    /// What follows for the client's work.
    #[must_use]
    pub fn consequence(&self) -> Consequence {
        match self {
            Self::RunNotRunning | Self::Late { .. } | Self::NotInCohort | Self::Duplicate => {
                Consequence::None
            }
            // The same data from the same parameters diverges in the same way again.
            Self::NotFinite { .. } | Self::NoExamples => Consequence::GiveUp,
            Self::WrongBase { .. }
            | Self::WrongSize { .. }
            | Self::WrongKernels { .. }
            | Self::TooManyExamples { .. }
            | Self::Damaged { .. } => Consequence::Retry,
        }
    }
}

/// What a refusal means for the work behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// The report was superfluous.
    None,
    /// The work is done again.
    Retry,
    /// The client is given up for the round.
    GiveUp,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RunNotRunning => f.write_str("the run does not take updates now"),
            Self::Late { current } => {
                write!(f, "the round is closed; the run is in round {current}")
            }
            Self::NotInCohort => f.write_str("the client is not in the round's cohort"),
            Self::Duplicate => f.write_str("the client's update has been accepted already"),
            Self::WrongBase { expected } => {
                write!(f, "the update must be a delta to the parameters {expected}")
            }
            Self::WrongSize { expected, actual } => {
                write!(f, "the update has {actual} bytes; the model has {expected}")
            }
            Self::WrongKernels { expected } => {
                write!(
                    f,
                    "the update must be trained with kernels of class {expected}"
                )
            }
            Self::NoExamples => f.write_str("there are no examples behind the update"),
            Self::TooManyExamples { rows, claimed } => {
                write!(
                    f,
                    "the update claims {claimed} examples; the client has {rows} rows"
                )
            }
            Self::NotFinite { what } => write!(f, "{what} is not finite; training diverged"),
            Self::Damaged { problem } => write!(f, "the update cannot be read: {problem}"),
        }
    }
}

/// Largest training loss that is believed; a greater one has diverged. Sums of such losses over all
/// the rows there can be stay finite.
const LOSS_MAX: f64 = 1e30;

/// Judges a report by what is known without reading the update; `rows` is the size of the client's
/// shard, `pin` the class of kernels that the run is pinned to.
///
/// # Errors
///
/// The [`Refusal`], when the update must not count.
pub fn judge(
    round: &Round,
    report: &Report,
    rows: u64,
    pin: Option<KernelClass>,
) -> Result<(), Refusal> {
    if report.task.round != round.number() || round.phase() != Phase::Training {
        return Err(Refusal::Late {
            current: round.number(),
        });
    }
    if !round.cohort().contains(&report.task.client) {
        return Err(Refusal::NotInCohort);
    }
    if round.has_update(report.task.client) {
        return Err(Refusal::Duplicate);
    }
    if report.base != round.base() {
        return Err(Refusal::WrongBase {
            expected: round.base(),
        });
    }
    if report.bytes != round.update_bytes() {
        return Err(Refusal::WrongSize {
            expected: round.update_bytes(),
            actual: report.bytes,
        });
    }
    if let Some(expected) = pin.filter(|pin| report.kernel_class != Some(*pin)) {
        return Err(Refusal::WrongKernels { expected });
    }
    if report.num_examples == 0 {
        return Err(Refusal::NoExamples);
    }
    if report.num_examples > rows {
        return Err(Refusal::TooManyExamples {
            rows,
            claimed: report.num_examples,
        });
    }
    if !report.mean_loss.is_finite() || report.mean_loss.abs() > LOSS_MAX {
        return Err(Refusal::NotFinite {
            what: "the training loss".to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::round::Plan;
    use crate::{ClientId, RunId, Timestamp};

    fn open() -> Round {
        let plan = Plan {
            number: 2,
            cohort: vec![ClientId(0), ClientId(3)],
            quorum: 2,
            base: Digest::of(b"base"),
            update_bytes: 8,
            opened_at: Timestamp(0),
            deadline: Timestamp(60_000),
        };
        Round::open(plan).0
    }

    fn report(client: u32) -> Report {
        Report {
            task: TaskId {
                run: RunId(Uuid::nil()),
                round: 2,
                client: ClientId(client),
                attempt: 1,
            },
            base: Digest::of(b"base"),
            digest: Digest::of(b"delta"),
            bytes: 8,
            num_examples: 5,
            mean_loss: 0.5,
            kernel_class: None,
        }
    }

    #[test]
    fn an_update_counts_once() {
        let mut round = open();
        assert_eq!(judge(&round, &report(3), 5, None), Ok(()));
        round.receive(ClientId(3));
        assert_eq!(judge(&round, &report(3), 5, None), Err(Refusal::Duplicate));
    }

    #[test]
    fn an_update_of_another_round_is_late() {
        let mut old = report(3);
        old.task.round = 1;
        assert_eq!(
            judge(&open(), &old, 5, None),
            Err(Refusal::Late { current: 2 })
        );
    }

    #[test]
    fn an_update_after_the_close_is_late() {
        let mut round = open();
        round.receive(ClientId(0));
        round.receive(ClientId(3));
        assert_eq!(
            judge(&round, &report(3), 5, None),
            Err(Refusal::Late { current: 2 })
        );
    }

    #[test]
    fn an_update_that_contradicts_the_plan_is_refused_by_name() {
        let round = open();
        assert_eq!(
            judge(&round, &report(1), 5, None),
            Err(Refusal::NotInCohort)
        );
        let wrong_base = Report {
            base: Digest::of(b"other"),
            ..report(3)
        };
        assert_eq!(
            judge(&round, &wrong_base, 5, None).unwrap_err().reason(),
            "wrong_base"
        );
        let short = Report {
            bytes: 4,
            ..report(3)
        };
        assert_eq!(
            judge(&round, &short, 5, None).unwrap_err().reason(),
            "wrong_size"
        );
        let empty = Report {
            num_examples: 0,
            ..report(3)
        };
        assert_eq!(judge(&round, &empty, 5, None), Err(Refusal::NoExamples));
        let greedy = Report {
            num_examples: 6,
            ..report(3)
        };
        assert_eq!(
            judge(&round, &greedy, 5, None).unwrap_err().reason(),
            "too_many_examples"
        );
        let huge = Report {
            mean_loss: 1e31,
            ..report(3)
        };
        assert_eq!(
            judge(&round, &huge, 5, None).unwrap_err().reason(),
            "not_finite"
        );
        let diverged = Report {
            mean_loss: f64::NAN,
            ..report(3)
        };
        assert_eq!(
            judge(&round, &diverged, 5, None).unwrap_err().reason(),
            "not_finite"
        );
    }

    #[test]
    fn a_run_that_is_pinned_takes_updates_of_its_kernels_alone() {
        let pin = Some(KernelClass::X86_64V3);
        let trained = |kernel_class| Report {
            kernel_class,
            ..report(3)
        };
        let judged = |kernel_class| judge(&open(), &trained(kernel_class), 5, pin);
        assert_eq!(judged(pin), Ok(()));
        for other in [None, Some(KernelClass::X86_64V4)] {
            let refused = judged(other).unwrap_err();
            assert_eq!(refused.consequence(), Consequence::Retry);
            assert_eq!(
                refused.to_string(),
                "the update must be trained with kernels of class x86-64-v3"
            );
        }
    }
}
