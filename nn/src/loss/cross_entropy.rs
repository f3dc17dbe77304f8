//! Cross-entropy.

use kiln_tensor::module::CrossEntropyOptions;
use kiln_tensor::{Device, Int, Tensor, module};

use super::Reduction;
use crate::Config;

/// What a [`CrossEntropyLoss`] is made of.
#[derive(Config, Debug)]
pub struct CrossEntropyLossConfig {
    /// Targets that do not count, beside `ignore_index`.
    pub pad_tokens: Option<Vec<usize>>,
    /// A weight for each class.
    pub weights: Option<Vec<f32>>,
    /// The share of each target that is spread evenly over all classes.
    pub smoothing: Option<f32>,
    /// Whether the inputs are logits; otherwise they are probabilities.
    #[config(default = true)]
    pub logits: bool,
    /// A target that does not count.
    #[config(default = -100)]
    pub ignore_index: i64,
}

impl CrossEntropyLossConfig {
    /// Makes the loss: the mean over all targets that count.
    pub fn init(&self, device: &Device) -> CrossEntropyLoss {
        let weight = |weights: &Vec<f32>| Tensor::from_floats(&weights[..], device);
        CrossEntropyLoss {
            pad_tokens: self.pad_tokens.clone().unwrap_or_default(),
            logits: self.logits,
            options: CrossEntropyOptions {
                weight: self.weights.as_ref().map(weight),
                ignore_index: Some(self.ignore_index),
                label_smoothing: f64::from(self.smoothing.unwrap_or(0.0)),
                reduction: Reduction::Mean,
            },
        }
    }
}

/// `torch.nn.CrossEntropyLoss` of logits and class indices, computed in one pass with all its
/// options; [`CrossEntropyLossConfig`] sets them.
///
/// ```
/// use kiln_nn::CrossEntropyLoss;
/// use kiln_tensor::{Int, Tensor};
/// let logits = Tensor::<2>::from([[0.0, 0.0], [0.0, 0.0]]);
/// let loss = CrossEntropyLoss::new().forward(&logits, &Tensor::<1, Int>::from([0i64, 1]));
/// assert!((loss.into_scalar::<f64>() - 2f64.ln()).abs() < 1e-6);
/// ```
#[derive(Clone, Debug)]
pub struct CrossEntropyLoss {
    pad_tokens: Vec<usize>,
    logits: bool,
    options: CrossEntropyOptions,
}

impl Default for CrossEntropyLoss {
    fn default() -> Self {
        let options = CrossEntropyOptions::default();
        Self { pad_tokens: Vec::new(), logits: true, options }
    }
}

impl CrossEntropyLoss {
    /// The mean over the rows; target -100 does not count.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another reduction.
    pub fn with_reduction(mut self, reduction: Reduction) -> Self {
        self.options.reduction = reduction;
        self
    }

    /// `logits` `[n, classes]`, `targets` `[n]` in `0..classes`. Result: one number; not reduced,
    /// the losses of all rows. Panics if a target is out of range.
    #[track_caller]
    pub fn forward(&self, logits: &Tensor<2>, targets: &Tensor<1, Int>) -> Tensor<1> {
        self.forward_nd(logits, targets)
    }

    /// As [`CrossEntropyLoss::forward`] of logits `[n, classes, ..]` and targets `[n, ..]`, such as
    /// images of classes. Not reduced, the losses are in one row.
    #[track_caller]
    pub fn forward_nd<const D: usize, const D2: usize>(
        &self,
        logits: &Tensor<D>,
        targets: &Tensor<D2, Int>,
    ) -> Tensor<1> {
        let options = self.options(logits);
        let ignored = options.ignore_index.unwrap_or(-100);
        let mut targets = targets.clone();
        for &token in &self.pad_tokens {
            targets = targets.mask_fill(targets.equal_elem(token as i64), ignored);
        }
        if self.logits {
            return module::cross_entropy_loss(logits, targets, options);
        }
        // Far enough from zero for a finite logarithm.
        let probs = logits.clamp_min(f64::from(f32::MIN_POSITIVE).sqrt());
        module::nll_loss(probs.log(), targets, options)
    }

    /// As [`CrossEntropyLoss::forward`] of targets that are distributions over the classes, in the
    /// shape of the logits. The mean is over the rows; nothing is ignored.
    #[track_caller]
    pub fn forward_probs<const D: usize>(
        &self,
        logits: &Tensor<D>,
        targets: &Tensor<D>,
    ) -> Tensor<1> {
        module::cross_entropy_probs(logits, targets, self.options(logits))
    }

    /// The options with weights in the dtype of the logits.
    fn options<const D: usize>(&self, logits: &Tensor<D>) -> CrossEntropyOptions {
        let mut options = self.options.clone();
        options.weight = options.weight.map(|weight| weight.cast(logits.dtype()));
        options
    }
}
