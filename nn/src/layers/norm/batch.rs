//! Batch normalisation.

use kiln_autograd::no_grad;
use kiln_tensor::op::{BatchNorm as Training, BatchNormEval};
use kiln_tensor::{AnyTensor, Device, Error, Int, Tensor};

use crate::layers::layer_of_any_rank;
use crate::{Buffer, Config, Mode, Module, Param};

/// What a [`BatchNorm`] is made of.
#[derive(Config, Debug)]
pub struct BatchNormConfig {
    /// Channels of the input.
    pub num_features: usize,
    /// Added to the variance.
    #[config(default = 1e-5)]
    pub epsilon: f64,
    /// Share of a batch's statistics in the running ones; with `None` all batches have the same
    /// share.
    #[config(default = Some(0.1), into)]
    pub momentum: Option<f64>,
    /// With or without weight and bias.
    #[config(default = true)]
    pub affine: bool,
    /// With or without running statistics; without, evaluation uses the batch too.
    #[config(default = true)]
    pub track_running_stats: bool,
}

/// The name for sequences, see [`BatchNormConfig`].
pub type BatchNorm1dConfig = BatchNormConfig;
/// The name for images, see [`BatchNormConfig`].
pub type BatchNorm2dConfig = BatchNormConfig;
/// The name for volumes, see [`BatchNormConfig`].
pub type BatchNorm3dConfig = BatchNormConfig;

impl BatchNormConfig {
    /// Makes the layer.
    pub fn init(&self, device: &Device) -> BatchNorm {
        let shape = [self.num_features];
        let stats = self.track_running_stats;
        BatchNorm {
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

/// `torch.nn.BatchNorm1d`, `BatchNorm2d` and `BatchNorm3d` (Ioffe & Szegedy 2015): in training
/// every channel is standardised by its batch, and running statistics are kept, which evaluation
/// uses. Tensors `[n, c, ..]` of any rank.
///
/// ```
/// use kiln_nn::{BatchNormConfig, Module};
/// use kiln_tensor::{Device, Tensor};
/// let mut layer = BatchNormConfig::new(3).init(&Device::cpu());
/// layer.forward(&Tensor::<4>::ones([8, 3, 5, 5], &Device::cpu()));
/// layer.eval();
/// let y = layer.forward(&Tensor::<2>::zeros([1, 3], &Device::cpu()));
/// assert_eq!(y.dims(), [1, 3]);
/// ```
#[derive(Clone, Debug, Module)]
pub struct BatchNorm {
    /// `[c]`
    pub weight: Option<Param<Tensor<1>>>,
    /// `[c]`
    pub bias: Option<Param<Tensor<1>>>,
    /// `[c]`
    pub running_mean: Option<Buffer<Tensor<1>>>,
    /// `[c]`, unbiased as in PyTorch.
    pub running_var: Option<Buffer<Tensor<1>>>,
    /// How many batches the statistics have seen.
    pub num_batches_tracked: Option<Buffer<Tensor<0, Int>>>,
    /// Channels of the input.
    pub num_features: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// Share of a batch's statistics in the running ones; with `None` all batches have the same
    /// share.
    #[module(skip)]
    pub momentum: Option<f64>,
    mode: Mode,
}

/// The name for sequences, see [`BatchNorm`].
pub type BatchNorm1d = BatchNorm;
/// The name for images, see [`BatchNorm`].
pub type BatchNorm2d = BatchNorm;
/// The name for volumes, see [`BatchNorm`].
pub type BatchNorm3d = BatchNorm;

impl BatchNorm {
    #[track_caller]
    fn apply(&self, x: &AnyTensor) -> AnyTensor {
        let (weight, bias) = affine(x, self.num_features, &self.weight, &self.bias);
        if !self.mode.is_training()
            && let Some((mean, var)) = self.running_mean.as_ref().zip(self.running_var.as_ref())
        {
            let op = BatchNormEval { epsilon: self.epsilon };
            return x.apply(op, &[&weight, &bias, mean.get().as_any(), var.get().as_any()]);
        }
        let outputs = x.apply_all(Training { epsilon: self.epsilon }, &[&weight, &bias]);
        if self.mode.is_training() {
            no_grad(|| self.update_statistics(x, &outputs[1], &outputs[2]));
        }
        outputs.into_iter().next().expect("an output")
    }

    fn update_statistics(&self, x: &AnyTensor, mean: &AnyTensor, rstd: &AnyTensor) {
        let Some(batches) = &self.num_batches_tracked else { return };
        batches.set(batches.get() + 1);
        let n = (x.num_elements() / x.shape()[1].max(1)) as f64;
        let [mean, rstd] = [mean, rstd].map(|x| Tensor::<1>::from_any(x.detach()));
        // The batch is standardised by the biased variance, the running one is unbiased.
        let var = (rstd.square().recip() - self.epsilon) * (n / (n - 1.0).max(1.0));
        for (buffer, batch) in [(&self.running_mean, mean), (&self.running_var, var)] {
            let Some(buffer) = buffer else { continue };
            match self.momentum {
                Some(momentum) => blend(buffer, batch, momentum),
                None => {
                    let (old, count) = (buffer.get(), batches.get().float().reshape([1]));
                    let step = (batch.cast(old.dtype()) - &old) / count.cast(old.dtype());
                    buffer.set(old + step);
                }
            }
        }
    }
}

layer_of_any_rank!(BatchNorm);

/// Moves running statistics toward those of a batch.
pub(super) fn blend(buffer: &Buffer<Tensor<1>>, batch: Tensor<1>, momentum: f64) {
    let old = buffer.get();
    let batch = batch.cast(old.dtype());
    buffer.set(&old * (1.0 - momentum) + batch * momentum);
}

/// Weight and bias, ones and zeros if there are none. Panics if `x` is not `[n, channels, ..]`.
#[track_caller]
fn affine(
    x: &AnyTensor,
    channels: usize,
    weight: &Option<Param<Tensor<1>>>,
    bias: &Option<Param<Tensor<1>>>,
) -> (AnyTensor, AnyTensor) {
    if x.shape().get(1) != Some(&channels) {
        let rule = format!("expected [n, {channels}, ..]");
        kiln_tensor::fail(Error::Shape { op: "batch_norm", shapes: vec![x.shape()], rule });
    }
    let or = |param: &Option<Param<Tensor<1>>>, value: f64| match param {
        Some(param) => param.as_any().clone(),
        None => Tensor::<1>::full([channels], value, (&x.device(), x.dtype())).into_any(),
    };
    (or(weight, 1.0), or(bias, 0.0))
}
