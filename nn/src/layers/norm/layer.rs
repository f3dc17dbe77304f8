//! Layer normalisation.

use kiln_tensor::{AnyTensor, Device, Shape, Tensor, module};
use serde::{Deserialize, Serialize};

use crate::layers::layer_of_any_rank;
use crate::{Config, Module, Param};

/// The shape of the last `D` axes: an array, or a number for the last one.
pub trait NormShape<const D: usize> {
    /// As an array.
    fn norm_shape(self) -> [usize; D];
}

impl NormShape<1> for usize {
    fn norm_shape(self) -> [usize; 1] {
        [self]
    }
}

impl<const D: usize> NormShape<D> for [usize; D] {
    fn norm_shape(self) -> [usize; D] {
        self
    }
}

/// What a [`LayerNorm`] is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "Settings", try_from = "Settings")]
pub struct LayerNormConfig<const D: usize = 1> {
    /// The shape of the axes.
    pub shape: [usize; D],
    /// Added to the variance.
    pub epsilon: f64,
    /// With or without a weight.
    pub affine: bool,
    /// With or without a bias, which only stands beside a weight.
    pub bias: bool,
}

/// How a [`LayerNormConfig`] is written: serde knows no arrays of any length.
#[derive(Config, Debug)]
struct Settings {
    shape: Vec<usize>,
    #[config(default = 1e-5)]
    epsilon: f64,
    #[config(default = true)]
    affine: bool,
    #[config(default = true)]
    bias: bool,
}

impl<const D: usize> From<LayerNormConfig<D>> for Settings {
    fn from(config: LayerNormConfig<D>) -> Self {
        let LayerNormConfig { shape, epsilon, affine, bias } = config;
        Self { shape: shape.to_vec(), epsilon, affine, bias }
    }
}

impl<const D: usize> TryFrom<Settings> for LayerNormConfig<D> {
    type Error = String;

    fn try_from(settings: Settings) -> Result<Self, String> {
        let Settings { shape, epsilon, affine, bias } = settings;
        let shape = shape.try_into().map_err(|shape| format!("{shape:?} has not {D} axes"))?;
        Ok(Self { shape, epsilon, affine, bias })
    }
}

impl<const D: usize> Config for LayerNormConfig<D> {}

impl<const D: usize> LayerNormConfig<D> {
    /// Over the last axes of this shape: `512` or `[512]` for the last one.
    pub fn new(shape: impl NormShape<D>) -> Self {
        Self { shape: shape.norm_shape(), epsilon: 1e-5, affine: true, bias: true }
    }

    /// Added to the variance; 1e-5 if not set.
    pub fn with_epsilon(mut self, epsilon: f64) -> Self {
        self.epsilon = epsilon;
        self
    }

    /// With or without weight and bias: PyTorch's `elementwise_affine`.
    pub fn with_affine(mut self, affine: bool) -> Self {
        self.affine = affine;
        self
    }

    /// With or without a bias, which only stands beside a weight.
    pub fn with_bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// Makes the layer.
    pub fn init(&self, device: &Device) -> LayerNorm<D> {
        let bias = self.affine && self.bias;
        LayerNorm {
            weight: self.affine.then(|| Tensor::ones(self.shape, device).into()),
            bias: bias.then(|| Tensor::zeros(self.shape, device).into()),
            shape: self.shape.into(),
            epsilon: self.epsilon,
        }
    }
}

/// `torch.nn.LayerNorm` over the last axis, or the last `D` axes (Ba et al. 2016). Any shape that
/// ends with that of the layer, to the same shape.
///
/// ```
/// use kiln_nn::LayerNormConfig;
/// use kiln_tensor::{Device, Tensor};
/// let layer = LayerNormConfig::new(2).init(&Device::cpu());
/// let y = layer.forward(&Tensor::<2>::from([[1.0, 3.0], [40.0, 20.0]]));
/// assert_eq!(y.round().into_data().to_vec::<f32>()?, [-1.0, 1.0, 1.0, -1.0]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct LayerNorm<const D: usize = 1> {
    /// The shape of the axes.
    pub weight: Option<Param<Tensor<D>>>,
    /// The shape of the axes.
    pub bias: Option<Param<Tensor<D>>>,
    #[module(skip)]
    shape: Shape,
    /// Added to the variance.
    pub epsilon: f64,
}

impl<const D: usize> LayerNorm<D> {
    #[track_caller]
    fn apply(&self, x: &AnyTensor) -> AnyTensor {
        let weight = self.weight.as_ref().map(|weight| weight.as_any());
        let bias = match (&self.bias, weight) {
            (Some(bias), _) => Some(bias.as_any().clone()),
            (None, weight) => weight.map(|weight| weight.detach().zeros_like()),
        };
        module::layer_norm_any(x, &self.shape, weight.zip(bias.as_ref()), self.epsilon)
    }
}

layer_of_any_rank!({const N: usize} LayerNorm<N>);
