//! Losses of the difference between a prediction and its target.

use kiln_tensor::{AxisIndex, Tensor, loss};

use super::{Reduction, require, same_shape};
use crate::{Config, Module};

/// The magnitude of the difference: `torch.nn.L1Loss`.
///
/// ```
/// use kiln_nn::{L1Loss, Reduction};
/// use kiln_tensor::Tensor;
/// let (x, y) = (Tensor::<1>::from([1.0, 2.0]), Tensor::<1>::from([1.0, 4.0]));
/// assert_eq!(L1Loss::new().forward(&x, &y, Reduction::Mean).into_scalar::<f32>(), 1.0);
/// ```
#[derive(Clone, Copy, Debug, Default, Module)]
pub struct L1Loss;

impl L1Loss {
    /// There is nothing to set.
    pub fn new() -> Self {
        Self
    }

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
        same_shape("l1_loss", prediction.as_ref(), target.as_ref());
        loss::l1(prediction, target)
    }
}

/// The squared difference: `torch.nn.MSELoss`.
///
/// ```
/// use kiln_nn::{MseLoss, Reduction};
/// use kiln_tensor::Tensor;
/// let (x, y) = (Tensor::<1>::from([1.0, 2.0]), Tensor::<1>::from([1.0, 4.0]));
/// assert_eq!(MseLoss::new().forward(&x, &y, Reduction::Mean).into_scalar::<f32>(), 2.0);
/// ```
#[derive(Clone, Copy, Debug, Default, Module)]
pub struct MseLoss;

impl MseLoss {
    /// There is nothing to set.
    pub fn new() -> Self {
        Self
    }

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
        same_shape("mse_loss", prediction.as_ref(), target.as_ref());
        loss::mse(prediction, target)
    }
}

/// What a [`HuberLoss`] is made of.
#[derive(Config, Debug)]
pub struct HuberLossConfig {
    /// Up to this difference the loss is a parabola, beyond it a line; PyTorch's default is 1.
    pub delta: f64,
}

impl HuberLossConfig {
    /// Makes the loss. Panics unless `delta` is positive.
    #[track_caller]
    pub fn init(&self) -> HuberLoss {
        let delta = self.delta;
        require("huber_loss", delta > 0.0, || format!("delta must be positive, found {delta}"));
        HuberLoss { delta }
    }
}

/// A parabola of the difference up to `delta`, beyond it a line of the same slope:
/// `torch.nn.HuberLoss`.
#[derive(Clone, Copy, Debug, Module)]
pub struct HuberLoss {
    /// Where the parabola becomes a line.
    pub delta: f64,
}

impl HuberLoss {
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
        same_shape("huber_loss", prediction.as_ref(), target.as_ref());
        loss::huber(prediction, target, self.delta)
    }

    /// The loss of each of these differences.
    #[track_caller]
    pub fn forward_residuals<const D: usize>(&self, residuals: impl AsRef<Tensor<D>>) -> Tensor<D> {
        let residuals = residuals.as_ref();
        loss::huber(residuals, residuals.zeros_like(), self.delta)
    }
}

/// What a [`SmoothL1Loss`] is made of.
#[derive(Config, Debug)]
pub struct SmoothL1LossConfig {
    /// Up to this difference the loss is a parabola, beyond it a line; 0 makes it an [`L1Loss`].
    #[config(default = 1.0)]
    pub beta: f64,
}

impl SmoothL1LossConfig {
    /// Makes the loss. Panics if `beta` is negative.
    #[track_caller]
    pub fn init(&self) -> SmoothL1Loss {
        let beta = self.beta;
        let rule = || format!("beta must not be negative, found {beta}");
        require("smooth_l1_loss", beta >= 0.0, rule);
        SmoothL1Loss { beta }
    }
}

/// A [`HuberLoss`] divided by its `delta`, so that the line has slope one:
/// `torch.nn.SmoothL1Loss`.
#[derive(Clone, Copy, Debug, Module)]
pub struct SmoothL1Loss {
    /// Where the parabola becomes a line.
    pub beta: f64,
}

impl SmoothL1Loss {
    /// The loss of each element. Panics if the shapes differ.
    #[track_caller]
    pub fn forward<const D: usize>(
        &self,
        prediction: impl AsRef<Tensor<D>>,
        target: impl AsRef<Tensor<D>>,
    ) -> Tensor<D> {
        same_shape("smooth_l1_loss", prediction.as_ref(), target.as_ref());
        loss::smooth_l1(prediction, target, self.beta)
    }

    /// The loss of all elements. Panics if the shapes differ.
    #[track_caller]
    pub fn forward_with_reduction<const D: usize>(
        &self,
        prediction: impl AsRef<Tensor<D>>,
        target: impl AsRef<Tensor<D>>,
        reduction: Reduction,
    ) -> Tensor<1> {
        reduction.apply(self.forward(prediction, target))
    }

    /// The mean of the losses along `dims`, which stay with extent 1.
    #[track_caller]
    pub fn forward_reduce_dims<const D: usize, I: AxisIndex + Copy>(
        &self,
        prediction: impl AsRef<Tensor<D>>,
        target: impl AsRef<Tensor<D>>,
        dims: &[I],
    ) -> Tensor<D> {
        self.forward(prediction, target).mean_dims(dims)
    }
}

/// What an [`LpLoss`] is made of.
#[derive(Config, Debug)]
pub struct LpLossConfig {
    /// The power.
    pub p: f64,
}

impl LpLossConfig {
    /// Makes the loss. Panics unless `p` is positive.
    #[track_caller]
    pub fn init(&self) -> LpLoss {
        let p = self.p;
        require("lp_loss", p > 0.0, || format!("p must be positive, found {p}"));
        LpLoss { p }
    }

    /// The magnitude of the difference.
    pub fn l1() -> LpLoss {
        LpLoss { p: 1.0 }
    }

    /// The squared difference.
    pub fn l2() -> LpLoss {
        LpLoss { p: 2.0 }
    }
}

/// The magnitude of the difference to the power of `p`, without a root.
#[derive(Clone, Copy, Debug, Module)]
pub struct LpLoss {
    /// The power.
    pub p: f64,
}

impl LpLoss {
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
        same_shape("lp_loss", prediction.as_ref(), target.as_ref());
        let difference = prediction.as_ref().sub(target);
        match self.p {
            1.0 => difference.abs(),
            2.0 => difference.square(),
            p => difference.abs().powf_scalar(p),
        }
    }

    /// The mean of the losses along `dims`, which stay with extent 1.
    #[track_caller]
    pub fn forward_reduce_dims<const D: usize, I: AxisIndex + Copy>(
        &self,
        prediction: impl AsRef<Tensor<D>>,
        target: impl AsRef<Tensor<D>>,
        dims: &[I],
    ) -> Tensor<D> {
        self.forward_no_reduction(prediction, target).mean_dims(dims)
    }
}
