//! Instance normalisation.

use kiln_autograd::no_grad;
use kiln_tensor::{AnyTensor, Device, Error, Int, Tensor, module};

use super::batch::blend;
use super::group::lines;
use crate::layers::layer_of_any_rank;
use crate::{Buffer, Config, Mode, Module, Param};

/// What an [`InstanceNorm`] is made of.
#[derive(Config, Debug)]
pub struct InstanceNormConfig {
    /// Channels of the input.
    pub num_features: usize,
    /// Added to the variance.
    #[config(default = 1e-5)]
    pub epsilon: f64,
    /// Share of a batch's statistics in the running ones.
    #[config(default = 0.1)]
    pub momentum: f64,
    /// With or without weight and bias; without unless set, as in PyTorch.
    #[config(default = false)]
    pub affine: bool,
    /// With or without running statistics, which evaluation uses; without unless set.
    #[config(default = false)]
    pub track_running_stats: bool,
}

/// The name for sequences, see [`InstanceNormConfig`].
pub type InstanceNorm1dConfig = InstanceNormConfig;
/// The name for images, see [`InstanceNormConfig`].
pub type InstanceNorm2dConfig = InstanceNormConfig;
/// The name for volumes, see [`InstanceNormConfig`].
pub type InstanceNorm3dConfig = InstanceNormConfig;

impl InstanceNormConfig {
    /// Makes the layer.
    pub fn init(&self, device: &Device) -> InstanceNorm {
        let (shape, stats) = ([self.num_features], self.track_running_stats);
        InstanceNorm {
            weight: self.affine.then(|| Tensor::ones(shape, device).into()),
            bias: self.affine.then(|| Tensor::zeros(shape, device).into()),
            running_mean: stats.then(|| Buffer::new(Tensor::zeros(shape, device))),
            running_var: stats.then(|| Buffer::new(Tensor::ones(shape, device))),
            num_batches_tracked: stats.then(|| Buffer::new(Tensor::zeros([], device))),
            num_features: self.num_features,
            epsilon: self.epsilon,
            momentum: self.momentum,
            mode: Mode::default(),
        }
    }
}

/// `torch.nn.InstanceNorm1d`, `InstanceNorm2d` and `InstanceNorm3d` (Ulyanov et al. 2016): every
/// channel of every image is standardised. `[n, c, ..]` of any rank to the same shape.
#[derive(Clone, Debug, Module)]
pub struct InstanceNorm {
    /// `[c]`
    pub weight: Option<Param<Tensor<1>>>,
    /// `[c]`
    pub bias: Option<Param<Tensor<1>>>,
    /// `[c]`
    pub running_mean: Option<Buffer<Tensor<1>>>,
    /// `[c]`, unbiased as in PyTorch.
    pub running_var: Option<Buffer<Tensor<1>>>,
    /// Zero: PyTorch saves this number too, and does not count.
    pub num_batches_tracked: Option<Buffer<Tensor<0, Int>>>,
    /// Channels of the input.
    pub num_features: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// Share of a batch's statistics in the running ones.
    pub momentum: f64,
    mode: Mode,
}

/// The name for sequences, see [`InstanceNorm`].
pub type InstanceNorm1d = InstanceNorm;
/// The name for images, see [`InstanceNorm`].
pub type InstanceNorm2d = InstanceNorm;
/// The name for volumes, see [`InstanceNorm`].
pub type InstanceNorm3d = InstanceNorm;

impl InstanceNorm {
    #[track_caller]
    fn apply(&self, x: &AnyTensor) -> AnyTensor {
        let lines = lines("instance_norm", x);
        let [_, channels, len] = lines.dims();
        if channels != self.num_features {
            let rule = format!("expected [n, {}, ..]", self.num_features);
            kiln_tensor::fail(Error::Shape { op: "instance_norm", shapes: vec![x.shape()], rule });
        }
        if self.mode.is_training() && len == 1 {
            let rule = "a channel needs more than one element in training".into();
            kiln_tensor::fail(Error::Shape { op: "instance_norm", shapes: vec![x.shape()], rule });
        }
        let [weight, bias] = [&self.weight, &self.bias].map(|param| param.as_deref().cloned());
        let y = match self.running_mean.as_ref().zip(self.running_var.as_ref()) {
            Some((mean, var)) if !self.mode.is_training() => {
                let (mean, var) = (mean.get(), var.get());
                let weight = weight.unwrap_or_else(|| mean.ones_like());
                let bias = bias.unwrap_or_else(|| mean.zeros_like());
                module::batch_norm(lines, weight, bias, mean, var, self.epsilon)
            }
            running => {
                if let Some((mean, var)) = running {
                    no_grad(|| self.update_statistics(&lines, mean, var));
                }
                module::instance_norm(lines, weight, bias, self.epsilon)
            }
        };
        y.as_any().reshape(x.shape())
    }

    /// The means over the images of what each image has.
    fn update_statistics(
        &self,
        lines: &Tensor<3>,
        mean: &Buffer<Tensor<1>>,
        var: &Buffer<Tensor<1>>,
    ) {
        let over_images = |x: Tensor<3>| x.mean_dim(0).reshape([self.num_features]);
        blend(mean, over_images(lines.mean_dim(2)), self.momentum);
        blend(var, over_images(lines.var(2)), self.momentum);
    }
}

layer_of_any_rank!(InstanceNorm);
