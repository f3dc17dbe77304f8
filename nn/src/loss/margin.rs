//! Losses that vanish once the right answer is ahead by a margin.

use kiln_tensor::{Device, Int, Kind, Tensor, activation};

use super::{Reduction, class_weights, require, same_shape, shapes_fit, weights};
use crate::{Buffer, Config, Module};

/// What a [`HingeEmbeddingLoss`] is made of.
#[derive(Config, Debug)]
pub struct HingeEmbeddingLossConfig {
    /// The distance that unlike pairs should have.
    #[config(default = 1.0)]
    pub margin: f64,
}

impl HingeEmbeddingLossConfig {
    /// Makes the loss.
    pub fn init(&self) -> HingeEmbeddingLoss {
        HingeEmbeddingLoss { margin: self.margin }
    }
}

/// Distances `x` of pairs that are alike (1) or not (-1): `x`, and what `x` lacks to the margin.
/// `torch.nn.HingeEmbeddingLoss`.
#[derive(Clone, Copy, Debug, Module)]
pub struct HingeEmbeddingLoss {
    /// The distance that unlike pairs should have.
    pub margin: f64,
}

impl HingeEmbeddingLoss {
    /// The loss of all elements; targets are 1 or -1. Panics if the shapes differ.
    #[track_caller]
    pub fn forward<const D: usize, K: Kind>(
        &self,
        x: impl AsRef<Tensor<D>>,
        target: impl AsRef<Tensor<D, K>>,
        reduction: Reduction,
    ) -> Tensor<1> {
        reduction.apply(self.forward_no_reduction(x, target))
    }

    /// The loss of each element. Panics if the shapes differ.
    #[track_caller]
    pub fn forward_no_reduction<const D: usize, K: Kind>(
        &self,
        x: impl AsRef<Tensor<D>>,
        target: impl AsRef<Tensor<D, K>>,
    ) -> Tensor<D> {
        let (x, target) = (x.as_ref(), target.as_ref());
        same_shape("hinge_embedding_loss", x, target);
        let short = x.neg().add_scalar(self.margin).clamp_min(0);
        let (alike, unlike) = (target.equal_elem(1), target.equal_elem(-1));
        // As in PyTorch, a target that is neither has both losses.
        short.mask_fill(alike, 0.0).add(x.mask_fill(unlike, 0.0))
    }
}

/// What a [`MarginRankingLoss`] is made of.
#[derive(Config, Debug)]
pub struct MarginRankingLossConfig {
    /// By how much the higher rank should be ahead.
    #[config(default = 0.0)]
    pub margin: f64,
}

impl MarginRankingLossConfig {
    /// Makes the loss.
    pub fn init(&self) -> MarginRankingLoss {
        MarginRankingLoss { margin: self.margin }
    }
}

/// What the first of two values lacks to be above the second (target 1) or below it (-1):
/// `max(0, margin - target (first - second))`, `torch.nn.MarginRankingLoss`.
#[derive(Clone, Copy, Debug, Module)]
pub struct MarginRankingLoss {
    /// By how much the higher rank should be ahead.
    pub margin: f64,
}

impl MarginRankingLoss {
    /// The loss of all elements. Panics if the shapes differ.
    #[track_caller]
    pub fn forward<const D: usize, K: Kind>(
        &self,
        first: impl AsRef<Tensor<D>>,
        second: impl AsRef<Tensor<D>>,
        target: impl AsRef<Tensor<D, K>>,
        reduction: Reduction,
    ) -> Tensor<1> {
        reduction.apply(self.forward_no_reduction(first, second, target))
    }

    /// The loss of each element. Panics if the shapes differ.
    #[track_caller]
    pub fn forward_no_reduction<const D: usize, K: Kind>(
        &self,
        first: impl AsRef<Tensor<D>>,
        second: impl AsRef<Tensor<D>>,
        target: impl AsRef<Tensor<D, K>>,
    ) -> Tensor<D> {
        let (first, target) = (first.as_ref(), target.as_ref());
        same_shape("margin_ranking_loss", first, second.as_ref());
        same_shape("margin_ranking_loss", first, target);
        let target = Tensor::<D>::from_any(target.as_any().cast(first.dtype()));
        let ahead = first.sub(second).mul(target);
        ahead.neg().add_scalar(self.margin).clamp_min(0)
    }
}

/// What a [`MultiMarginLoss`] is made of.
#[derive(Config, Debug)]
pub struct MultiMarginLossConfig {
    /// By how much the right class should be ahead.
    #[config(default = 1.0)]
    pub margin: f64,
    /// The power of what is missing, 1 or 2.
    #[config(default = 1)]
    pub p: i32,
    /// A weight for each class, as the right one.
    pub weights: Option<Vec<f64>>,
}

impl MultiMarginLossConfig {
    /// Makes the loss. Panics unless `p` is 1 or 2.
    #[track_caller]
    pub fn init(&self) -> MultiMarginLoss {
        self.init_on(&Device::default())
    }

    /// Makes the loss with its weights on `device`. Panics unless `p` is 1 or 2.
    #[track_caller]
    pub fn init_on(&self, device: &Device) -> MultiMarginLoss {
        let Self { margin, p, .. } = *self;
        require("multi_margin_loss", [1, 2].contains(&p), || format!("p is 1 or 2, found {p}"));
        MultiMarginLoss { margin, p, weights: weights(&self.weights, device) }
    }
}

/// What the score of the right class lacks to be ahead of each other one, to the power of `p`,
/// divided by the number of classes: `torch.nn.MultiMarginLoss`.
#[derive(Clone, Debug, Module)]
pub struct MultiMarginLoss {
    /// By how much the right class should be ahead.
    pub margin: f64,
    /// The power of what is missing, 1 or 2.
    pub p: i32,
    /// A weight for each class, `[classes]`.
    pub weights: Option<Buffer<Tensor<1>>>,
}

impl MultiMarginLoss {
    /// The loss of all rows. `x` `[n, classes]`, `target` `[n]`. Panics if a target is out of range.
    #[track_caller]
    pub fn forward(
        &self,
        x: impl AsRef<Tensor<2>>,
        target: impl AsRef<Tensor<1, Int>>,
        reduction: Reduction,
    ) -> Tensor<1> {
        reduction.apply(self.forward_no_reduction(x, target))
    }

    /// The loss of each row, `[n]`.
    #[track_caller]
    pub fn forward_no_reduction(
        &self,
        x: impl AsRef<Tensor<2>>,
        target: impl AsRef<Tensor<1, Int>>,
    ) -> Tensor<1> {
        let (x, target) = (x.as_ref(), target.as_ref());
        let [n, classes] = x.dims();
        let shapes = [x.shape(), target.shape()];
        let rule = "expected [n, classes] and [n]";
        shapes_fit("multi_margin_loss", target.dims() == [n], &shapes, rule);
        let right = target.reshape([n, 1]);
        let missing = x.sub(x.gather(1, &right)).add_scalar(self.margin).clamp_min(0);
        let missing = if self.p == 2 { missing.square() } else { missing };
        // The right class need not be ahead of itself.
        let zeros = Tensor::zeros([n, 1], (&x.device(), x.dtype()));
        let missing = missing.scatter(1, &right, zeros, kiln_tensor::IndexingUpdateOp::Assign);
        let losses = missing.sum_dim(1).reshape([n]).div_scalar(classes as f64);
        match &self.weights {
            Some(weights) => {
                let weights = class_weights("multi_margin_loss", weights, classes, x.dtype());
                losses.mul(weights.select(0, target))
            }
            None => losses,
        }
    }
}

/// `log(1 + exp(-target x))` of targets 1 and -1: `torch.nn.SoftMarginLoss`.
#[derive(Clone, Copy, Debug, Default, Module)]
pub struct SoftMarginLoss;

impl SoftMarginLoss {
    /// There is nothing to set.
    pub fn new() -> Self {
        Self
    }

    /// The loss of all elements. Panics if the shapes differ.
    #[track_caller]
    pub fn forward<const D: usize, K: Kind>(
        &self,
        x: impl AsRef<Tensor<D>>,
        target: impl AsRef<Tensor<D, K>>,
        reduction: Reduction,
    ) -> Tensor<1> {
        reduction.apply(self.forward_no_reduction(x, target))
    }

    /// The loss of each element. Panics if the shapes differ.
    #[track_caller]
    pub fn forward_no_reduction<const D: usize, K: Kind>(
        &self,
        x: impl AsRef<Tensor<D>>,
        target: impl AsRef<Tensor<D, K>>,
    ) -> Tensor<D> {
        let (x, target) = (x.as_ref(), target.as_ref());
        same_shape("soft_margin_loss", x, target);
        let target = Tensor::<D>::from_any(target.as_any().cast(x.dtype()));
        activation::softplus(x.mul(target).neg(), 1.0)
    }
}
