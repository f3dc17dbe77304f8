//! Losses of items that belong to several classes.

use kiln_tensor::{Device, IndexingUpdateOp, Int, Kind, Tensor, loss};

use super::{Reduction, class_weights, same_shape, weights};
use crate::{Buffer, Config, Module};

/// What the score of each right class lacks to be ahead of each wrong one by 1, divided by the number
/// of classes: `torch.nn.MultiLabelMarginLoss`.
#[derive(Clone, Copy, Debug, Default, Module)]
pub struct MultiLabelMarginLoss;

impl MultiLabelMarginLoss {
    /// There is nothing to set.
    pub fn new() -> Self {
        Self
    }

    /// The loss of all rows. `x` `[n, classes]`; each row of `target` `[n, classes]` starts with the
    /// right classes and ends with -1, behind which nothing is read. Panics if a target is out of
    /// range.
    #[track_caller]
    pub fn forward(
        &self,
        x: impl AsRef<Tensor<2>>,
        target: impl AsRef<Tensor<2, Int>>,
        reduction: Reduction,
    ) -> Tensor<1> {
        reduction.apply(self.forward_no_reduction(x, target))
    }

    /// The loss of each row, `[n]`.
    #[track_caller]
    pub fn forward_no_reduction(
        &self,
        x: impl AsRef<Tensor<2>>,
        target: impl AsRef<Tensor<2, Int>>,
    ) -> Tensor<1> {
        let (x, target) = (x.as_ref(), target.as_ref());
        same_shape("multi_label_margin_loss", x, target);
        let [n, classes] = x.dims();
        // 1 up to the first -1, then 0.
        let read = target.greater_equal_elem(0).int().cumprod(1);
        let right = target.mul(&read);
        let read = Tensor::<2>::from_any(read.as_any().cast(x.dtype()));
        let wrong = x.ones_like().scatter(1, &right, read.neg(), IndexingUpdateOp::Add);
        let wrong = wrong.clamp_min(0);
        // [n, right, wrong]
        let ahead = x.gather(1, &right).reshape([n, classes, 1]).sub(x.reshape([n, 1, classes]));
        let pairs = read.reshape([n, classes, 1]).mul(wrong.reshape([n, 1, classes]));
        let missing = ahead.neg().add_scalar(1).clamp_min(0).mul(pairs);
        missing.sum_dims(&[1, 2]).reshape([n]).div_scalar(classes.max(1) as f64)
    }
}

/// What a [`MultiLabelSoftMarginLoss`] is made of.
#[derive(Config, Debug)]
pub struct MultiLabelSoftMarginLossConfig {
    /// A weight for each class.
    pub weights: Option<Vec<f64>>,
}

impl MultiLabelSoftMarginLossConfig {
    /// Makes the loss.
    pub fn init(&self, device: &Device) -> MultiLabelSoftMarginLoss {
        MultiLabelSoftMarginLoss { weights: weights(&self.weights, device) }
    }
}

/// The mean over the classes of the binary cross-entropy of logits:
/// `torch.nn.MultiLabelSoftMarginLoss`.
#[derive(Clone, Debug, Module)]
pub struct MultiLabelSoftMarginLoss {
    /// A weight for each class, `[classes]`.
    pub weights: Option<Buffer<Tensor<1>>>,
}

impl MultiLabelSoftMarginLoss {
    /// The loss of all rows. `x` and `target` `[n, classes]`, of zeros and ones. Panics if the shapes
    /// differ.
    #[track_caller]
    pub fn forward<K: Kind>(
        &self,
        x: impl AsRef<Tensor<2>>,
        target: impl AsRef<Tensor<2, K>>,
        reduction: Reduction,
    ) -> Tensor<1> {
        reduction.apply(self.forward_no_reduction(x, target))
    }

    /// The loss of each row, `[n]`.
    #[track_caller]
    pub fn forward_no_reduction<K: Kind>(
        &self,
        x: impl AsRef<Tensor<2>>,
        target: impl AsRef<Tensor<2, K>>,
    ) -> Tensor<1> {
        const OP: &str = "multi_label_soft_margin_loss";
        let (x, target) = (x.as_ref(), target.as_ref());
        same_shape(OP, x, target);
        let [n, classes] = x.dims();
        let target = Tensor::<2>::from_any(target.as_any().cast(x.dtype()));
        let mut losses = loss::bce_with_logits(x, target);
        if let Some(weights) = &self.weights {
            let weights = class_weights(OP, weights, classes, x.dtype());
            losses = losses.mul(weights.reshape([1, classes]));
        }
        losses.mean_dim(1).reshape([n])
    }
}
