//! Normalisation over groups of channels.

use kiln_tensor::{AnyTensor, Device, Error, Tensor, module};

use crate::layers::layer_of_any_rank;
use crate::{Config, Module, Param};

/// `x` `[n, c, ..]` as `[n, c, l]`.
#[track_caller]
pub(super) fn lines(op: &'static str, x: &AnyTensor) -> Tensor<3> {
    let shape = x.shape();
    let [n, c, ..] = shape[..] else {
        let rule = "expected [n, c, ..]".into();
        kiln_tensor::fail(Error::Shape { op, shapes: vec![shape], rule })
    };
    Tensor::from_any(x.reshape([n, c, shape[2..].iter().product()]))
}

/// What a [`GroupNorm`] is made of.
#[derive(Config, Debug)]
pub struct GroupNormConfig {
    /// Groups of neighbouring channels.
    pub num_groups: usize,
    /// Channels of the input.
    pub num_channels: usize,
    /// Added to the variance.
    #[config(default = 1e-5)]
    pub epsilon: f64,
    /// With or without weight and bias.
    #[config(default = true)]
    pub affine: bool,
}

impl GroupNormConfig {
    /// Makes the layer. Panics if the groups do not divide the channels.
    #[track_caller]
    pub fn init(&self, device: &Device) -> GroupNorm {
        let Self { num_groups, num_channels, epsilon, affine } = *self;
        if num_groups == 0 || num_channels % num_groups != 0 {
            let rule = format!("{num_groups} groups do not divide {num_channels} channels");
            kiln_tensor::fail(Error::Argument { op: "group_norm", rule });
        }
        GroupNorm {
            weight: affine.then(|| Tensor::ones([num_channels], device).into()),
            bias: affine.then(|| Tensor::zeros([num_channels], device).into()),
            num_groups,
            num_channels,
            epsilon,
        }
    }
}

/// `torch.nn.GroupNorm` (Wu & He 2018): every group of neighbouring channels of every image is
/// standardised. `[n, c, ..]` to the same shape.
#[derive(Clone, Debug, Module)]
pub struct GroupNorm {
    /// `[c]`
    pub weight: Option<Param<Tensor<1>>>,
    /// `[c]`
    pub bias: Option<Param<Tensor<1>>>,
    /// Groups of neighbouring channels.
    pub num_groups: usize,
    /// Channels of the input.
    pub num_channels: usize,
    /// Added to the variance.
    pub epsilon: f64,
}

impl GroupNorm {
    #[track_caller]
    fn apply(&self, x: &AnyTensor) -> AnyTensor {
        let lines = lines("group_norm", x);
        if lines.dims()[1] != self.num_channels {
            let rule = format!("expected [n, {}, ..]", self.num_channels);
            kiln_tensor::fail(Error::Shape { op: "group_norm", shapes: vec![x.shape()], rule });
        }
        let [weight, bias] = [&self.weight, &self.bias].map(|param| param.as_deref().cloned());
        let y = module::group_norm(lines, weight, bias, self.num_groups, self.epsilon);
        y.as_any().reshape(x.shape())
    }
}

layer_of_any_rank!(GroupNorm);

/// What a [`LocalResponseNorm`] is made of.
#[derive(Config, Debug)]
pub struct LocalResponseNormConfig {
    /// Neighbouring channels that count.
    pub size: usize,
    /// Factor of their mean square.
    #[config(default = 1e-4)]
    pub alpha: f64,
    /// Exponent.
    #[config(default = 0.75)]
    pub beta: f64,
    /// Added to the mean square.
    #[config(default = 1.0)]
    pub k: f64,
}

impl LocalResponseNormConfig {
    /// Makes the layer. Panics if `size` is zero.
    #[track_caller]
    pub fn init(&self) -> LocalResponseNorm {
        let Self { size, alpha, beta, k } = *self;
        if size == 0 {
            let rule = "the size must not be zero".into();
            kiln_tensor::fail(Error::Argument { op: "local_response_norm", rule });
        }
        LocalResponseNorm { size, alpha, beta, k }
    }
}

/// `torch.nn.LocalResponseNorm` (Krizhevsky et al. 2012): each element is divided by
/// `(k + alpha mean(x^2))^beta` over `size` neighbouring channels. `[n, c, ..]` to the same shape.
#[derive(Clone, Debug, Module)]
pub struct LocalResponseNorm {
    /// Neighbouring channels that count.
    pub size: usize,
    /// Factor of their mean square.
    pub alpha: f64,
    /// Exponent.
    pub beta: f64,
    /// Added to the mean square.
    pub k: f64,
}

impl LocalResponseNorm {
    #[track_caller]
    fn apply(&self, x: &AnyTensor) -> AnyTensor {
        let Self { size, alpha, beta, k } = *self;
        let y = module::local_response_norm(lines("local_response_norm", x), size, alpha, beta, k);
        y.as_any().reshape(x.shape())
    }
}

layer_of_any_rank!(LocalResponseNorm);
