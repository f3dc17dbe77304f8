//! Losses that are negative logarithms of a likelihood, and the divergence of two distributions.

use std::f64::consts::TAU;

use kiln_tensor::module::{CrossEntropyOptions, nll_loss};
use kiln_tensor::{Device, Int, Tensor, loss};

use super::{Reduction, class_weights, require, same_shape, shapes_fit, weights};
use crate::{Buffer, Config, Module};

/// What a [`NllLoss`] is made of.
#[derive(Config, Debug)]
pub struct NllLossConfig {
    /// A weight for each class.
    pub weights: Option<Vec<f64>>,
    /// A target whose items do not count.
    #[config(default = -100)]
    pub ignore_index: i64,
}

impl NllLossConfig {
    /// Makes the loss.
    pub fn init(&self, device: &Device) -> NllLoss {
        NllLoss { weights: weights(&self.weights, device), ignore_index: self.ignore_index }
    }
}

/// The negative logarithm of the probability of the target: `torch.nn.NLLLoss`. The mean is weighted.
#[derive(Clone, Debug, Module)]
pub struct NllLoss {
    /// A weight for each class, `[classes]`.
    pub weights: Option<Buffer<Tensor<1>>>,
    /// A target whose items do not count.
    pub ignore_index: i64,
}

impl NllLoss {
    /// The loss of all items. `log_probs` `[n, classes, ..]`, `targets` `[n, ..]`. Panics if a
    /// target is out of range.
    #[track_caller]
    pub fn forward<const D: usize, const DT: usize>(
        &self,
        log_probs: impl AsRef<Tensor<D>>,
        targets: impl AsRef<Tensor<DT, Int>>,
        reduction: Reduction,
    ) -> Tensor<1> {
        self.apply(log_probs.as_ref(), targets.as_ref(), reduction)
    }

    /// The loss of each item, in the shape of `targets`.
    #[track_caller]
    pub fn forward_no_reduction<const D: usize, const DT: usize>(
        &self,
        log_probs: impl AsRef<Tensor<D>>,
        targets: impl AsRef<Tensor<DT, Int>>,
    ) -> Tensor<DT> {
        let targets = targets.as_ref();
        self.apply(log_probs.as_ref(), targets, Reduction::None).reshape(targets.dims())
    }

    #[track_caller]
    fn apply<const D: usize, const DT: usize>(
        &self,
        log_probs: &Tensor<D>,
        targets: &Tensor<DT, Int>,
        reduction: Reduction,
    ) -> Tensor<1> {
        let (shape, target) = (log_probs.shape(), targets.shape());
        let fit = D >= 2 && shape[..1] == target[..1] && shape[2..] == target[1..];
        shapes_fit("nll_loss", fit, &[shape, target], "expected [n, classes, ..] and [n, ..]");
        let classes = shape[1];
        let weigh = |weights| class_weights("nll_loss", weights, classes, log_probs.dtype());
        let options = CrossEntropyOptions {
            weight: self.weights.as_ref().map(weigh),
            ignore_index: Some(self.ignore_index),
            label_smoothing: 0.0,
            reduction,
        };
        let items = targets.num_elements();
        let rows = log_probs.movedim(1, -1).reshape([items, classes]);
        nll_loss(rows, targets.reshape([items]), options)
    }
}

/// What a [`PoissonNllLoss`] is made of.
#[derive(Config, Debug)]
pub struct PoissonNllLossConfig {
    /// Whether predictions are logarithms of rates.
    #[config(default = true)]
    pub log_input: bool,
    /// Whether the logarithm of the factorial of the target is added, by Stirling's formula.
    #[config(default = false)]
    pub full: bool,
    /// Added to rates, so that their logarithm is finite.
    #[config(default = 1e-8)]
    pub eps: f64,
}

impl PoissonNllLossConfig {
    /// Makes the loss. Panics unless `eps` is positive.
    #[track_caller]
    pub fn init(&self) -> PoissonNllLoss {
        let eps = self.eps;
        require("poisson_nll_loss", eps > 0.0, || format!("eps must be positive, found {eps}"));
        PoissonNllLoss { log_input: self.log_input, full: self.full, eps }
    }
}

/// Counts under a Poisson distribution of the predicted rate: `torch.nn.PoissonNLLLoss`.
#[derive(Clone, Copy, Debug, Module)]
pub struct PoissonNllLoss {
    /// Whether predictions are logarithms of rates.
    pub log_input: bool,
    /// Whether the logarithm of the factorial of the target is added.
    pub full: bool,
    /// Added to rates, so that their logarithm is finite.
    pub eps: f64,
}

impl PoissonNllLoss {
    /// The loss of all elements. Panics if the shapes differ.
    #[track_caller]
    pub fn forward<const D: usize>(
        &self,
        prediction: impl AsRef<Tensor<D>>,
        target: impl AsRef<Tensor<D>>,
        reduction: Reduction,
    ) -> Tensor<1> {
        reduction.apply(self.forward_no_reduction(prediction, target))
    }

    /// The loss of each element. Panics if the shapes differ.
    #[track_caller]
    pub fn forward_no_reduction<const D: usize>(
        &self,
        prediction: impl AsRef<Tensor<D>>,
        target: impl AsRef<Tensor<D>>,
    ) -> Tensor<D> {
        let (x, target) = (prediction.as_ref(), target.as_ref());
        same_shape("poisson_nll_loss", x, target);
        let loss = match self.log_input {
            true => x.exp().sub(target.mul(x)),
            false => x.sub(target.mul(x.add_scalar(self.eps).log())),
        };
        if !self.full {
            return loss;
        }
        // Stirling's formula is for counts above one, whose logarithm of a factorial is not zero.
        let few = target.lower_equal_elem(1);
        let n = target.mask_fill(&few, 1.0);
        let stirling = n.mul(n.log()).sub(&n).add(n.mul_scalar(TAU).log().mul_scalar(0.5));
        loss.add(stirling.mask_fill(&few, 0.0))
    }
}

/// What a [`GaussianNLLLoss`] is made of.
#[derive(Config, Debug)]
pub struct GaussianNLLLossConfig {
    /// The least variance.
    #[config(default = 1e-6)]
    pub eps: f64,
    /// Whether the constant `log(2 pi) / 2` is added.
    #[config(default = false)]
    pub full: bool,
}

impl GaussianNLLLossConfig {
    /// Makes the loss. Panics unless `eps` is positive.
    #[track_caller]
    pub fn init(&self) -> GaussianNLLLoss {
        let eps = self.eps;
        require("gaussian_nll_loss", eps > 0.0, || format!("eps must be positive, found {eps}"));
        GaussianNLLLoss { eps, full: self.full }
    }
}

/// Targets under normal distributions of the predicted mean and variance:
/// `torch.nn.GaussianNLLLoss`.
#[derive(Clone, Copy, Debug, Module)]
pub struct GaussianNLLLoss {
    /// The least variance.
    pub eps: f64,
    /// Whether the constant `log(2 pi) / 2` is added.
    pub full: bool,
}

impl GaussianNLLLoss {
    /// The loss of all elements. `var` has the shape of `mean` and `target`, or extent 1 in the last
    /// axis. Panics if the shapes differ otherwise, or if a variance is negative.
    #[track_caller]
    pub fn forward<const D: usize>(
        &self,
        mean: impl AsRef<Tensor<D>>,
        target: impl AsRef<Tensor<D>>,
        var: impl AsRef<Tensor<D>>,
        reduction: Reduction,
    ) -> Tensor<1> {
        reduction.apply(self.forward_no_reduction(mean, target, var))
    }

    /// The loss of each element; see [`GaussianNLLLoss::forward`].
    #[track_caller]
    pub fn forward_no_reduction<const D: usize>(
        &self,
        mean: impl AsRef<Tensor<D>>,
        target: impl AsRef<Tensor<D>>,
        var: impl AsRef<Tensor<D>>,
    ) -> Tensor<D> {
        let (mean, target, var) = (mean.as_ref(), target.as_ref(), var.as_ref());
        same_shape("gaussian_nll_loss", mean, target);
        let mut one = mean.shape();
        one.last_mut().into_iter().for_each(|last| *last = 1);
        let fit = var.shape() == mean.shape() || var.shape() == one;
        let rule = "a variance for each element, or one for each row, is needed";
        shapes_fit("gaussian_nll_loss", fit, &[mean.shape(), var.shape()], rule);
        let rule = || "a variance is negative".into();
        require("gaussian_nll_loss", !var.detach().lower_elem(0).any().into_scalar::<bool>(), rule);
        // The gradient passes through the bound, so that a variance can grow again.
        let fixed = var.detach();
        let var = var.add(fixed.clamp_min(self.eps).sub(&fixed));
        let loss = var.log().add(mean.sub(target).square().div(&var)).mul_scalar(0.5);
        if self.full { loss.add_scalar(0.5 * TAU.ln()) } else { loss }
    }
}

/// What a [`KLDivLoss`] is made of.
#[derive(Config, Debug)]
pub struct KLDivLossConfig {
    /// Whether targets are logarithms too.
    #[config(default = false)]
    pub log_target: bool,
}

impl KLDivLossConfig {
    /// Makes the loss.
    pub fn init(&self) -> KLDivLoss {
        KLDivLoss { log_target: self.log_target }
    }
}

/// The divergence of predicted logarithms of probabilities from target probabilities:
/// `torch.nn.KLDivLoss`.
#[derive(Clone, Copy, Debug, Module)]
pub struct KLDivLoss {
    /// Whether targets are logarithms too.
    pub log_target: bool,
}

impl KLDivLoss {
    /// The loss of all elements. [`Reduction::Auto`] is [`Reduction::BatchMean`], which gives the
    /// divergence; [`Reduction::Mean`] divides it by the number of classes. Panics if the shapes
    /// differ.
    #[track_caller]
    pub fn forward<const D: usize>(
        &self,
        log_probs: impl AsRef<Tensor<D>>,
        target: impl AsRef<Tensor<D>>,
        reduction: Reduction,
    ) -> Tensor<1> {
        let reduction = match reduction {
            Reduction::Auto => Reduction::BatchMean,
            reduction => reduction,
        };
        reduction.apply(self.forward_no_reduction(log_probs, target))
    }

    /// The loss of each element. Panics if the shapes differ.
    #[track_caller]
    pub fn forward_no_reduction<const D: usize>(
        &self,
        log_probs: impl AsRef<Tensor<D>>,
        target: impl AsRef<Tensor<D>>,
    ) -> Tensor<D> {
        let (log_probs, target) = (log_probs.as_ref(), target.as_ref());
        same_shape("kl_div_loss", log_probs, target);
        match self.log_target {
            true => target.exp().mul(target.sub(log_probs)),
            false => loss::kl_div(log_probs, target),
        }
    }
}
