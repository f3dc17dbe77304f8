//! Cross-entropy.

use kiln_tensor::{Int, Tensor, module};

use super::Reduction;

/// `torch.nn.CrossEntropyLoss` of logits and class indices, computed in one pass.
///
/// ```
/// use kiln_nn::CrossEntropyLoss;
/// use kiln_tensor::{Int, Tensor};
/// let logits = Tensor::<2>::from([[0.0, 0.0], [0.0, 0.0]]);
/// let loss = CrossEntropyLoss::new().forward(&logits, &Tensor::<1, Int>::from([0i64, 1]));
/// assert!((loss.into_scalar::<f64>() - 2f64.ln()).abs() < 1e-6);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct CrossEntropyLoss {
    reduction: Reduction,
}

impl CrossEntropyLoss {
    /// The mean over the rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another reduction.
    pub fn with_reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// `logits` `[n, classes]`, `targets` `[n]` in `0..classes`. Panics if a target is out of range.
    #[track_caller]
    pub fn forward(&self, logits: &Tensor<2>, targets: &Tensor<1, Int>) -> Tensor<1> {
        self.reduction.apply(module::cross_entropy(logits, targets))
    }
}
