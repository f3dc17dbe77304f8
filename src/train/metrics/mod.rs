//! Numbers that say how good a model is, over all batches of an epoch.
//!
//! A [`Metric`] counts while the batches stream by, so that batches of any sizes give what the whole
//! set at once would give; an average of the batches' own metrics would not.

mod auroc;
mod classes;
mod loss;
mod regression;
mod set;

pub use auroc::Auroc;
pub use classes::{Accuracy, Average, ClassMetric, TopK};
pub use loss::Perplexity;
pub use regression::Regression;
pub use set::Metrics;
pub(super) use set::{MetricMaker, Values};

use std::any::Any;

use kiln_tensor::{Error, Result};

use super::Step;

/// The target of an example that no metric of classes counts, as
/// [`CrossEntropyLoss`](crate::nn::CrossEntropyLoss) does not by default.
pub const IGNORED: i64 = -100;

/// Which values of a metric are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Small ones: an error.
    Min,
    /// Large ones: an accuracy.
    Max,
}

impl Goal {
    /// Whether `value` is better than `other` by more than `margin`. NaN is never better.
    pub fn is_better(self, value: f64, other: f64, margin: f64) -> bool {
        match self {
            Goal::Min => value < other - margin,
            Goal::Max => value > other + margin,
        }
    }

    /// What everything but NaN is better than.
    pub fn worst(self) -> f64 {
        match self {
            Goal::Min => f64::INFINITY,
            Goal::Max => f64::NEG_INFINITY,
        }
    }
}

/// A number that is computed from all batches of an epoch. Give one to
/// [`Trainer::metric`](super::Trainer::metric); your own is written in the same way:
///
/// ```
/// use kiln::Result;
/// use kiln::train::{Goal, Metric, Step};
///
/// /// The largest loss of a batch.
/// #[derive(Clone, Default)]
/// struct WorstBatch(Option<f64>);
///
/// impl Metric for WorstBatch {
///     fn name(&self) -> String {
///         "worst batch".into()
///     }
///     fn goal(&self) -> Goal {
///         Goal::Min
///     }
///     fn update(&mut self, step: &Step) -> Result<()> {
///         self.0 = Some(self.0.unwrap_or(f64::MIN).max(step.loss()));
///         Ok(())
///     }
///     fn value(&self) -> Option<f64> {
///         self.0
///     }
///     fn state(&self) -> Vec<f64> {
///         self.0.into_iter().collect()
///     }
///     fn load_state(&mut self, state: &[f64]) -> Result<()> {
///         self.0 = state.first().copied();
///         Ok(())
///     }
/// }
/// ```
pub trait Metric: Any {
    /// The name in tables, logs and settings: `accuracy`.
    fn name(&self) -> String;

    /// Which values are better.
    fn goal(&self) -> Goal {
        Goal::Max
    }

    /// Takes a batch in. An error if its outputs are not what the metric takes.
    fn update(&mut self, step: &Step) -> Result<()>;

    /// The number for all batches so far; NaN where there is nothing to tell it from, `None` if the
    /// metric has more to say than one number.
    fn value(&self) -> Option<f64>;

    /// All that was counted, for a checkpoint in the middle of an epoch.
    fn state(&self) -> Vec<f64>;

    /// Takes back what [`Metric::state`] gave; an error if it is not of such a metric.
    fn load_state(&mut self, state: &[f64]) -> Result<()>;
}

/// The counts of a state of `N` numbers.
fn state_of<const N: usize>(metric: &dyn Metric, state: &[f64]) -> Result<[f64; N]> {
    state.try_into().map_err(|_| {
        let rule = format!("the state of `{}` has {} numbers, not {N}", metric.name(), state.len());
        Error::Argument { op: "metric", rule }
    })
}
