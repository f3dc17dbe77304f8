//! Losses of distances between embeddings.

use kiln_tensor::{Int, Tensor, linalg};

use super::{Reduction, require, same_shape, shapes_fit};
use crate::{Config, Module};

/// What a [`CosineEmbeddingLoss`] is made of.
#[derive(Config, Debug)]
pub struct CosineEmbeddingLossConfig {
    /// The cosine that unlike pairs may have.
    #[config(default = 0.0)]
    pub margin: f64,
}

impl CosineEmbeddingLossConfig {
    /// Makes the loss.
    pub fn init(&self) -> CosineEmbeddingLoss {
        CosineEmbeddingLoss { margin: self.margin }
    }
}

/// Pairs of vectors that are alike (1) or not (-1): what their cosine lacks to one, and what it
/// exceeds the margin by. `torch.nn.CosineEmbeddingLoss`.
#[derive(Clone, Copy, Debug, Default, Module)]
pub struct CosineEmbeddingLoss {
    /// The cosine that unlike pairs may have.
    pub margin: f64,
}

impl CosineEmbeddingLoss {
    /// A margin of 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// The mean loss. `x1` and `x2` `[n, d]`, `target` `[n]` of 1 and -1. Panics if the shapes do
    /// not fit.
    #[track_caller]
    pub fn forward(
        &self,
        x1: impl AsRef<Tensor<2>>,
        x2: impl AsRef<Tensor<2>>,
        target: impl AsRef<Tensor<1, Int>>,
    ) -> Tensor<1> {
        self.forward_with_reduction(x1, x2, target, Reduction::Mean)
    }

    /// The loss of all pairs.
    #[track_caller]
    pub fn forward_with_reduction(
        &self,
        x1: impl AsRef<Tensor<2>>,
        x2: impl AsRef<Tensor<2>>,
        target: impl AsRef<Tensor<1, Int>>,
        reduction: Reduction,
    ) -> Tensor<1> {
        reduction.apply(self.forward_no_reduction(x1, x2, target))
    }

    /// The loss of each pair, `[n]`.
    #[track_caller]
    pub fn forward_no_reduction(
        &self,
        x1: impl AsRef<Tensor<2>>,
        x2: impl AsRef<Tensor<2>>,
        target: impl AsRef<Tensor<1, Int>>,
    ) -> Tensor<1> {
        const OP: &str = "cosine_embedding_loss";
        let (x1, x2, target) = (x1.as_ref(), x2.as_ref(), target.as_ref());
        same_shape(OP, x1, x2);
        let n = x1.dims()[0];
        let rule = "expected a target for each pair";
        shapes_fit(OP, target.dims() == [n], &[x1.shape(), target.shape()], rule);
        let sum = |x: Tensor<2>| x.sum_dim(1).reshape([n]);
        // PyTorch's bound, under squares: vectors of zeros have cosine zero.
        let [square1, square2] = [x1, x2].map(|x| sum(x.square()).add_scalar(1e-12));
        let cosine = sum(x1.mul(x2)).div(square1.mul(square2).sqrt());
        let unlike = cosine.sub_scalar(self.margin).clamp_min(0);
        let alike = cosine.neg().add_scalar(1);
        let none = cosine.zeros_like();
        let losses = none.mask_where(target.equal_elem(-1), unlike);
        losses.mask_where(target.equal_elem(1), alike)
    }
}

/// What a [`TripletMarginLoss`] is made of.
#[derive(Config, Debug)]
pub struct TripletMarginLossConfig {
    /// By how much the negative should be farther away.
    #[config(default = 1.0)]
    pub margin: f64,
    /// The exponent of the norm that is the distance.
    #[config(default = 2.0)]
    pub p: f64,
    /// Whether the negative should also be that far from the positive (Balntas et al. 2016).
    #[config(default = false)]
    pub swap: bool,
    /// Added to each difference.
    #[config(default = 1e-6)]
    pub eps: f64,
}

impl TripletMarginLossConfig {
    /// Makes the loss. Panics unless the margin is positive.
    #[track_caller]
    pub fn init(&self) -> TripletMarginLoss {
        let Self { margin, p, swap, eps } = *self;
        let rule = || format!("the margin must be positive, found {margin}");
        require("triplet_margin_loss", margin > 0.0, rule);
        TripletMarginLoss { margin, p, swap, eps }
    }
}

/// What the negative lacks to be farther from the anchor than the positive by a margin (Schroff et
/// al. 2015): `torch.nn.TripletMarginLoss`.
#[derive(Clone, Copy, Debug, Module)]
pub struct TripletMarginLoss {
    /// By how much the negative should be farther away.
    pub margin: f64,
    /// The exponent of the norm that is the distance.
    pub p: f64,
    /// Whether the negative should also be that far from the positive.
    pub swap: bool,
    /// Added to each difference.
    pub eps: f64,
}

impl TripletMarginLoss {
    /// The loss of all triplets. All tensors are `[n, d]`. Panics if the shapes differ.
    #[track_caller]
    pub fn forward(
        &self,
        anchor: impl AsRef<Tensor<2>>,
        positive: impl AsRef<Tensor<2>>,
        negative: impl AsRef<Tensor<2>>,
        reduction: Reduction,
    ) -> Tensor<1> {
        reduction.apply(self.forward_no_reduction(anchor, positive, negative))
    }

    /// The loss of each triplet, `[n]`.
    #[track_caller]
    pub fn forward_no_reduction(
        &self,
        anchor: impl AsRef<Tensor<2>>,
        positive: impl AsRef<Tensor<2>>,
        negative: impl AsRef<Tensor<2>>,
    ) -> Tensor<1> {
        let distance =
            |a: &Tensor<2>, b: &Tensor<2>| linalg::pairwise_distance(a, b, self.p, self.eps);
        self.forward_with_distance(anchor, positive, negative, distance)
    }

    /// The loss of each triplet, `[n]`, by another distance of `[n, d]` and `[n, d]`:
    /// `torch.nn.TripletMarginWithDistanceLoss`.
    #[track_caller]
    pub fn forward_with_distance(
        &self,
        anchor: impl AsRef<Tensor<2>>,
        positive: impl AsRef<Tensor<2>>,
        negative: impl AsRef<Tensor<2>>,
        distance: impl Fn(&Tensor<2>, &Tensor<2>) -> Tensor<1>,
    ) -> Tensor<1> {
        let (anchor, positive, negative) = (anchor.as_ref(), positive.as_ref(), negative.as_ref());
        same_shape("triplet_margin_loss", anchor, positive);
        same_shape("triplet_margin_loss", anchor, negative);
        let near = distance(anchor, positive);
        let mut far = distance(anchor, negative);
        if self.swap {
            far = far.min_pair(distance(positive, negative));
        }
        near.sub(far).add_scalar(self.margin).clamp_min(0)
    }
}
