//! Means of losses.

use kiln_tensor::Result;

use super::{Goal, Metric, state_of};
use crate::train::Step;

/// A mean over batches that count by their weight.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    pub fn add(&mut self, value: f64, weight: f64) {
        // A batch of nothing has a loss of NaN.
        if weight != 0.0 {
            self.sum += value * weight;
            self.weight += weight;
        }
    }

    /// NaN for a mean of nothing.
    pub fn value(&self) -> f64 {
        self.sum / self.weight
    }

    pub fn state(&self) -> [f64; 2] {
        [self.sum, self.weight]
    }

    pub fn load_state(&mut self, [sum, weight]: [f64; 2]) {
        (self.sum, self.weight) = (sum, weight);
    }
}

/// `exp` of the mean loss: of how many tokens a language model is in doubt, if its loss is the
/// cross-entropy. Where batches differ in their number of tokens, [`Step::with_weight`] tells it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Perplexity {
    loss: Mean,
}

impl Perplexity {
    /// A perplexity of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Metric for Perplexity {
    fn name(&self) -> String {
        "perplexity".into()
    }

    fn goal(&self) -> Goal {
        Goal::Min
    }

    fn update(&mut self, step: &Step) -> Result<()> {
        self.loss.add(step.loss(), step.weight());
        Ok(())
    }

    fn value(&self) -> Option<f64> {
        Some(self.loss.value().exp())
    }

    fn state(&self) -> Vec<f64> {
        self.loss.state().to_vec()
    }

    fn load_state(&mut self, state: &[f64]) -> Result<()> {
        self.loss.load_state(state_of(self, state)?);
        Ok(())
    }
}
