//! What happens to each token by itself.

use kiln_tensor::op::Activation;
use kiln_tensor::{Device, Tensor};

use crate::{Config, Dropout, Linear, LinearConfig, Module};

/// The activation between the two linear layers of a transformer's feed-forward part.
#[derive(Config, Copy, Debug, PartialEq, Eq)]
pub enum FeedForwardActivation {
    /// `max(x, 0)`
    Relu,
    /// Exact, by the error function.
    Gelu,
    /// By the hyperbolic tangent, as in GPT-2.
    GeluTanh,
    /// `x sigmoid(x)`
    Silu,
}

impl From<FeedForwardActivation> for Activation {
    fn from(activation: FeedForwardActivation) -> Self {
        match activation {
            FeedForwardActivation::Relu => Activation::Relu,
            FeedForwardActivation::Gelu => Activation::Gelu,
            FeedForwardActivation::GeluTanh => Activation::GeluTanh,
            FeedForwardActivation::Silu => Activation::Silu,
        }
    }
}

/// `linear2(dropout(activation(linear1(x))))`
#[track_caller]
pub(super) fn feed_forward(
    x: &Tensor<3>,
    linear1: &Linear,
    activation: FeedForwardActivation,
    dropout: &Dropout,
    linear2: &Linear,
) -> Tensor<3> {
    linear2.forward(&dropout.forward(&linear1.forward_activation(x, activation.into())))
}

/// What a [`SwiGluFeedForward`] is made of.
#[derive(Config, Debug)]
pub struct SwiGluFeedForwardConfig {
    /// Features of a token.
    pub d_model: usize,
    /// Features between the layers.
    pub d_ff: usize,
    /// With or without biases.
    #[config(default = false)]
    pub bias: bool,
}

impl SwiGluFeedForwardConfig {
    /// Makes the layer.
    pub fn init(&self, device: &Device) -> SwiGluFeedForward {
        let linear =
            |inputs, outputs| LinearConfig::new(inputs, outputs).with_bias(self.bias).init(device);
        SwiGluFeedForward {
            gate_proj: linear(self.d_model, self.d_ff),
            up_proj: linear(self.d_model, self.d_ff),
            down_proj: linear(self.d_ff, self.d_model),
        }
    }
}

/// `down(silu(gate(x)) * up(x))` (Shazeer 2020), with the names of Llama in Hugging Face.
///
/// ```
/// use kiln_nn::SwiGluFeedForwardConfig;
/// use kiln_tensor::{Device, Tensor};
/// let layer = SwiGluFeedForwardConfig::new(4, 8).init(&Device::cpu());
/// assert_eq!(layer.forward(&Tensor::<3>::ones([2, 3, 4], &Device::cpu())).dims(), [2, 3, 4]);
/// ```
#[derive(Clone, Debug, Module)]
pub struct SwiGluFeedForward {
    /// `d_model` to `d_ff`: how much of each feature passes.
    pub gate_proj: Linear,
    /// `d_model` to `d_ff`
    pub up_proj: Linear,
    /// `d_ff` to `d_model`
    pub down_proj: Linear,
}

impl SwiGluFeedForward {
    /// `[.., d]` to the same shape.
    #[track_caller]
    pub fn forward<const D: usize>(&self, x: &Tensor<D>) -> Tensor<D> {
        let gate = self.gate_proj.forward_activation(x, Activation::Silu);
        self.down_proj.forward(&(gate * self.up_proj.forward(x)))
    }
}
