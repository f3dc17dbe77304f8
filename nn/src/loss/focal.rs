//! Focal losses: what is classified well already counts little (Lin et al. 2017).

use kiln_tensor::{Device, Int, Kind, Tensor, activation, loss};

use super::{Reduction, class_weights, require, same_shape, shapes_fit, weights};
use crate::{Buffer, Config, Module};

/// What a [`SigmoidFocalLoss`] is made of.
#[derive(Config, Debug)]
pub struct SigmoidFocalLossConfig {
    /// The weight of targets 1, the others having what is left to one; none is no weights.
    #[config(default = Some(0.25))]
    pub alpha: Option<f64>,
    /// How little counts what is classified well; 0 is plain cross-entropy.
    #[config(default = 2.0)]
    pub gamma: f64,
}

impl SigmoidFocalLossConfig {
    /// Makes the loss. Panics if `alpha` is not in 0..=1 or `gamma` is negative.
    #[track_caller]
    pub fn init(&self) -> SigmoidFocalLoss {
        let Self { alpha, gamma } = *self;
        let fit = (0.0..=1.0).contains(&alpha.unwrap_or(0.0)) && gamma >= 0.0;
        let rule = || format!("alpha must be in 0..=1, gamma not negative: {alpha:?}, {gamma}");
        require("sigmoid_focal_loss", fit, rule);
        SigmoidFocalLoss { alpha, gamma }
    }
}

/// Binary cross-entropy of logits times `(1 - p)^gamma`, where `p` is the probability of the target:
/// `torchvision.ops.sigmoid_focal_loss`.
#[derive(Clone, Copy, Debug, Module)]
pub struct SigmoidFocalLoss {
    /// The weight of targets 1.
    pub alpha: Option<f64>,
    /// How little counts what is classified well.
    pub gamma: f64,
}

impl SigmoidFocalLoss {
    /// The loss of all elements; targets are 0 or 1. Panics if the shapes differ.
    #[track_caller]
    pub fn forward<const D: usize, K: Kind>(
        &self,
        logits: impl AsRef<Tensor<D>>,
        targets: impl AsRef<Tensor<D, K>>,
        reduction: Reduction,
    ) -> Tensor<1> {
        reduction.apply(self.forward_no_reduction(logits, targets))
    }

    /// The loss of each element. Panics if the shapes differ.
    #[track_caller]
    pub fn forward_no_reduction<const D: usize, K: Kind>(
        &self,
        logits: impl AsRef<Tensor<D>>,
        targets: impl AsRef<Tensor<D, K>>,
    ) -> Tensor<D> {
        let (x, targets) = (logits.as_ref(), targets.as_ref());
        same_shape("sigmoid_focal_loss", x, targets);
        let yes = Tensor::<D>::from_any(targets.as_any().cast(x.dtype()));
        let no = yes.neg().add_scalar(1);
        // The probability of what is not the target, exact also where it is small.
        let miss = activation::sigmoid(x.neg()).mul(&yes).add(activation::sigmoid(x).mul(&no));
        let losses = loss::bce_with_logits(x, &yes).mul(miss.powf_scalar(self.gamma));
        match self.alpha {
            Some(alpha) => losses.mul(yes.mul_scalar(alpha).add(no.mul_scalar(1.0 - alpha))),
            None => losses,
        }
    }
}

/// What a [`FocalLoss`] is made of.
#[derive(Config, Debug)]
pub struct FocalLossConfig {
    /// A weight for each class.
    pub weights: Option<Vec<f64>>,
    /// How little counts what is classified well; 0 is plain cross-entropy.
    #[config(default = 2.0)]
    pub gamma: f64,
}

impl FocalLossConfig {
    /// Makes the loss. Panics if `gamma` is negative.
    #[track_caller]
    pub fn init(&self, device: &Device) -> FocalLoss {
        let gamma = self.gamma;
        let rule = || format!("gamma must not be negative, found {gamma}");
        require("focal_loss", gamma >= 0.0, rule);
        FocalLoss { weights: weights(&self.weights, device), gamma }
    }
}

/// Cross-entropy of logits times `(1 - p)^gamma`, where `p` is the probability of the target class.
#[derive(Clone, Debug, Module)]
pub struct FocalLoss {
    /// A weight for each class, `[classes]`.
    pub weights: Option<Buffer<Tensor<1>>>,
    /// How little counts what is classified well.
    pub gamma: f64,
}

impl FocalLoss {
    /// The loss of all rows; the mean is not weighted. `logits` `[n, classes]`, `targets` `[n]`.
    /// Panics if a target is out of range.
    #[track_caller]
    pub fn forward(
        &self,
        logits: impl AsRef<Tensor<2>>,
        targets: impl AsRef<Tensor<1, Int>>,
        reduction: Reduction,
    ) -> Tensor<1> {
        reduction.apply(self.forward_no_reduction(logits, targets))
    }

    /// The loss of each row, `[n]`.
    #[track_caller]
    pub fn forward_no_reduction(
        &self,
        logits: impl AsRef<Tensor<2>>,
        targets: impl AsRef<Tensor<1, Int>>,
    ) -> Tensor<1> {
        let (x, targets) = (logits.as_ref(), targets.as_ref());
        let [n, classes] = x.dims();
        let shapes = [x.shape(), targets.shape()];
        shapes_fit("focal_loss", targets.dims() == [n], &shapes, "expected [n, classes] and [n]");
        let log_prob =
            activation::log_softmax(x, 1).gather(1, targets.reshape([n, 1])).reshape([n]);
        let miss = log_prob.expm1().neg();
        let losses = log_prob.neg().mul(miss.powf_scalar(self.gamma));
        match &self.weights {
            Some(weights) => {
                let weights = class_weights("focal_loss", weights, classes, x.dtype());
                losses.mul(weights.select(0, targets))
            }
            None => losses,
        }
    }
}
