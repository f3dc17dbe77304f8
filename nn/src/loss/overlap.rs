//! Losses of the overlap of a predicted and a true region, for segmentation.

use kiln_tensor::{Kind, Tensor};

use super::{Reduction, require, same_shape, shapes_fit};
use crate::{Config, Module};

/// What a [`TverskyLoss`] is made of.
#[derive(Config, Debug)]
pub struct TverskyLossConfig {
    /// What a false positive costs.
    #[config(default = 0.5)]
    pub alpha: f64,
    /// What a false negative costs.
    #[config(default = 0.5)]
    pub beta: f64,
    /// Added above and below, so that two empty regions overlap.
    #[config(default = 1.0)]
    pub smooth: f64,
}

impl TverskyLossConfig {
    /// Makes the loss. Panics if a number is negative.
    #[track_caller]
    pub fn init(&self) -> TverskyLoss {
        let Self { alpha, beta, smooth } = *self;
        let rule =
            || format!("alpha, beta, smooth must not be negative: {alpha}, {beta}, {smooth}");
        require("tversky_loss", alpha >= 0.0 && beta >= 0.0 && smooth >= 0.0, rule);
        TverskyLoss { alpha, beta, smooth }
    }
}

/// What the Tversky index `(tp + smooth) / (tp + alpha fp + beta fn + smooth)` lacks to one, of soft
/// counts of pixels (Salehi et al. 2017).
#[derive(Clone, Copy, Debug, Module)]
pub struct TverskyLoss {
    /// What a false positive costs.
    pub alpha: f64,
    /// What a false negative costs.
    pub beta: f64,
    /// Added above and below.
    pub smooth: f64,
}

impl TverskyLoss {
    /// The loss of all regions. `probs` and `target` `[n, classes, ..]`; a region is one class of one
    /// item. Panics if the shapes differ.
    #[track_caller]
    pub fn forward<const D: usize, K: Kind>(
        &self,
        probs: impl AsRef<Tensor<D>>,
        target: impl AsRef<Tensor<D, K>>,
        reduction: Reduction,
    ) -> Tensor<1> {
        reduction.apply(self.forward_no_reduction(probs, target))
    }

    /// The loss of each region, `[n, classes]`.
    #[track_caller]
    pub fn forward_no_reduction<const D: usize, K: Kind>(
        &self,
        probs: impl AsRef<Tensor<D>>,
        target: impl AsRef<Tensor<D, K>>,
    ) -> Tensor<2> {
        let (probs, target) = (probs.as_ref(), target.as_ref());
        same_shape("overlap loss", probs, target);
        let shape = probs.shape();
        shapes_fit("overlap loss", D >= 2, &[shape], "expected [n, classes, ..]");
        let regions = [shape[0], shape[1], shape[2..].iter().product()];
        let target = Tensor::<D>::from_any(target.as_any().cast(probs.dtype())).reshape(regions);
        let probs = probs.reshape(regions);
        let count = |x: &Tensor<3>| x.sum_dim(2).reshape([regions[0], regions[1]]);
        let hits = count(&probs.mul(&target));
        let extra = count(&probs).sub(&hits).mul_scalar(self.alpha);
        let missed = count(&target).sub(&hits).mul_scalar(self.beta);
        let above = hits.add_scalar(self.smooth);
        let below = above.add(extra).add(missed);
        above.div(below).neg().add_scalar(1)
    }
}

/// What a [`DiceLoss`] is made of.
#[derive(Config, Debug)]
pub struct DiceLossConfig {
    /// Added above and below, so that two empty regions overlap.
    #[config(default = 1.0)]
    pub smooth: f64,
}

impl DiceLossConfig {
    /// Makes the loss. Panics if `smooth` is negative.
    #[track_caller]
    pub fn init(&self) -> DiceLoss {
        let smooth = self.smooth;
        let rule = || format!("smooth must not be negative, found {smooth}");
        require("dice_loss", smooth >= 0.0, rule);
        DiceLoss { smooth }
    }
}

/// What the Dice coefficient `(2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth)` lacks to one, of
/// probabilities `p` and targets `t` (Milletari et al. 2016, with plain sums below as in Sudre et al.
/// 2017).
///
/// ```
/// use kiln_nn::{DiceLossConfig, Reduction};
/// use kiln_tensor::Tensor;
/// let loss = DiceLossConfig::new().init();
/// let x = Tensor::<3>::from([[[1.0, 1.0, 0.0, 0.0]]]);
/// assert_eq!(loss.forward(&x, &x, Reduction::Mean).into_scalar::<f32>(), 0.0);
/// ```
#[derive(Clone, Copy, Debug, Module)]
pub struct DiceLoss {
    /// Added above and below.
    pub smooth: f64,
}

impl DiceLoss {
    /// The loss of all regions. `probs` and `target` `[n, classes, ..]`; a region is one class of one
    /// item. Panics if the shapes differ.
    #[track_caller]
    pub fn forward<const D: usize, K: Kind>(
        &self,
        probs: impl AsRef<Tensor<D>>,
        target: impl AsRef<Tensor<D, K>>,
        reduction: Reduction,
    ) -> Tensor<1> {
        reduction.apply(self.forward_no_reduction(probs, target))
    }

    /// The loss of each region, `[n, classes]`.
    #[track_caller]
    pub fn forward_no_reduction<const D: usize, K: Kind>(
        &self,
        probs: impl AsRef<Tensor<D>>,
        target: impl AsRef<Tensor<D, K>>,
    ) -> Tensor<2> {
        // Both sides of the fraction of Dice, halved.
        let half = TverskyLoss { alpha: 0.5, beta: 0.5, smooth: self.smooth / 2.0 };
        half.forward_no_reduction(probs, target)
    }
}
