//! How near two tensors are.

use kiln_tensor::{Tensor, linalg};

use crate::{Config, Module};

/// What a [`CosineSimilarity`] is made of.
#[derive(Config, Debug)]
pub struct CosineSimilarityConfig {
    /// The axis of the vectors; a negative one counts from the end.
    #[config(default = 1)]
    pub dim: isize,
    /// Lengths count as this at least.
    #[config(default = 1e-8)]
    pub eps: f64,
}

impl CosineSimilarityConfig {
    /// Makes the layer.
    pub fn init(&self) -> CosineSimilarity {
        CosineSimilarity { dim: self.dim, eps: self.eps }
    }
}

/// `torch.nn.CosineSimilarity`: the cosine of the angle between vectors along an axis.
#[derive(Clone, Debug, Module)]
pub struct CosineSimilarity {
    /// The axis of the vectors.
    #[module(skip)]
    pub dim: isize,
    /// Lengths count as this at least.
    pub eps: f64,
}

impl CosineSimilarity {
    /// Two tensors of one shape to that shape without the axis. `D2` is `D - 1`.
    #[track_caller]
    pub fn forward<const D: usize, const D2: usize>(
        &self,
        x1: &Tensor<D>,
        x2: &Tensor<D>,
    ) -> Tensor<D2> {
        linalg::cosine_similarity(x1, x2, self.dim, Some(self.eps)).squeeze_dim(self.dim)
    }
}

/// What a [`PairwiseDistance`] is made of.
#[derive(Config, Debug)]
pub struct PairwiseDistanceConfig {
    /// The exponent of the norm.
    #[config(default = 2.0)]
    pub p: f64,
    /// Added to each difference.
    #[config(default = 1e-6)]
    pub eps: f64,
}

impl PairwiseDistanceConfig {
    /// Makes the layer.
    pub fn init(&self) -> PairwiseDistance {
        PairwiseDistance { p: self.p, eps: self.eps }
    }
}

/// `torch.nn.PairwiseDistance`: the norm of `x1 - x2 + eps` along the last axis.
#[derive(Clone, Debug, Module)]
pub struct PairwiseDistance {
    /// The exponent of the norm.
    pub p: f64,
    /// Added to each difference.
    pub eps: f64,
}

impl PairwiseDistance {
    /// Two tensors of one shape to that shape without the last axis. `D2` is `D - 1`.
    #[track_caller]
    pub fn forward<const D: usize, const D2: usize>(
        &self,
        x1: &Tensor<D>,
        x2: &Tensor<D>,
    ) -> Tensor<D2> {
        linalg::pairwise_distance(x1, x2, self.p, self.eps)
    }
}
