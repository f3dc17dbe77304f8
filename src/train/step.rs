//! What a model makes of one batch.

use kiln_tensor::{AnyTensor, Error, Kind, Result, Shape, Tensor};

/// The loss of a batch, and what metrics need beside it: what the closure gives that a
/// [`Trainer`](super::Trainer) trains and validates with.
///
/// ```
/// use kiln::prelude::*;
/// use kiln::train::Step;
/// let (logits, labels) = (Tensor::<2>::from([[2.0, 0.0]]), Tensor::<1, Int>::from([0]));
/// let loss = CrossEntropyLoss::new().forward(&logits, &labels);
/// let step = Step::new(&loss).with_output(&logits, &labels);
/// assert_eq!(step.weight(), 1.0);
/// ```
#[derive(Clone, Debug)]
pub struct Step {
    pub(super) loss: Tensor<1>,
    output: Option<(AnyTensor, AnyTensor)>,
    weight: Option<f64>,
    values: Vec<(String, f64)>,
}

impl Step {
    /// A step with this loss, a mean over the examples of the batch.
    pub fn new(loss: impl AsRef<Tensor<1>>) -> Self {
        Self { loss: loss.as_ref().clone(), output: None, weight: None, values: Vec::new() }
    }

    /// What the model gave and what it should have given. Each metric says which shapes it takes;
    /// the examples are counted along the first axis of `target`.
    pub fn with_output<const D: usize, K: Kind, const E: usize, L: Kind>(
        mut self,
        output: impl AsRef<Tensor<D, K>>,
        target: impl AsRef<Tensor<E, L>>,
    ) -> Self {
        let (output, target) = (output.as_ref().as_any(), target.as_ref().as_any());
        self.output = Some((output.detach(), target.detach()));
        self
    }

    /// Over how much the loss is a mean, where that is not the number of examples: the tokens that
    /// are no padding, for a language model. Batches count by their weight in the mean loss of an
    /// epoch and in accumulated gradients.
    pub fn with_weight(mut self, weight: f64) -> Self {
        self.weight = Some(weight);
        self
    }

    /// One more number to be shown and logged, such as a part of the loss; a mean as the loss is.
    pub fn with_value(mut self, name: impl Into<String>, value: f64) -> Self {
        self.values.push((name.into(), value));
        self
    }

    /// The loss, to call `backward` on in a loop of your own.
    pub fn loss_tensor(&self) -> &Tensor<1> {
        &self.loss
    }

    /// The loss as a number.
    pub fn loss(&self) -> f64 {
        self.loss.item()
    }

    /// How much the batch counts: [`Step::with_weight`], else [`Step::items`].
    pub fn weight(&self) -> f64 {
        self.weight.unwrap_or(self.items() as f64)
    }

    /// The examples of the batch; 1 where nothing tells their number.
    pub fn items(&self) -> usize {
        let target = self.output.as_ref().map(|(_, target)| target.shape());
        target.and_then(|shape: Shape| shape.first().copied()).unwrap_or(1)
    }

    /// What the model gave, and what it should have given; an error that names `metric`, which asks
    /// for it, if the step lacks it.
    pub fn output(&self, metric: &str) -> Result<(&AnyTensor, &AnyTensor)> {
        self.output.as_ref().map(|(output, target)| (output, target)).ok_or_else(|| {
            let rule = format!(
                "`{metric}` needs what the model gave; return \
                 `Step::new(&loss).with_output(&output, &target)`"
            );
            Error::Argument { op: "metric", rule }
        })
    }

    /// The numbers of [`Step::with_value`].
    pub fn values(&self) -> impl Iterator<Item = (&str, f64)> {
        self.values.iter().map(|(name, value)| (name.as_str(), *value))
    }
}
