//! Activations along an axis: gates and softmax.

use kiln_tensor::op::{Softmax as SoftmaxOp, UnaryKind};
use kiln_tensor::{AnyTensor, Device, OrFail, Tensor, resolve_axis};

use super::{layer, layer_of_any_rank};
use crate::{Config, Initializer, Layer, Linear, LinearConfig, Module};

macro_rules! along_axis {
    ($($(#[$doc:meta])* $name:ident, $op:literal = |$x:ident, $axis:ident| $value:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Module)]
        pub struct $name {
            /// The axis; a negative one counts from the end.
            #[module(skip)]
            pub dim: isize,
        }

        impl $name {
            /// Along axis `dim`; a negative one counts from the end.
            pub fn new(dim: isize) -> Self {
                Self { dim }
            }

            #[track_caller]
            fn apply(&self, $x: &AnyTensor) -> AnyTensor {
                let $axis = resolve_axis($op, self.dim, $x.rank()).or_fail();
                $value
            }
        }

        layer_of_any_rank!($name);
    )*};
}

along_axis! {
    /// `torch.nn.Softmax`: `e^x / sum(e^x)` along an axis.
    Softmax, "softmax" = |x, axis| x.softmax(axis);
    /// `torch.nn.LogSoftmax`: the logarithm of the softmax, accurate where that underflows.
    LogSoftmax, "log_softmax" = |x, axis| x.apply(SoftmaxOp { axis, log: true }, &[]);
    /// `torch.nn.Softmin`: the softmax of `-x`.
    Softmin, "softmin" = |x, axis| x.neg().softmax(axis);
    /// `torch.nn.GLU`: the first half along an axis times the sigmoid of the second (Dauphin et
    /// al. 2016). Panics if the extent is odd.
    Glu, "glu" = |x, axis| x.glu(axis);
}

/// `torch.nn.Softmax2d`: softmax over the channels of `[n, c, h, w]`.
#[derive(Clone, Debug, Default, Module)]
pub struct Softmax2d;

impl Softmax2d {
    /// The layer, which has nothing to set.
    pub fn new() -> Self {
        Self
    }

    /// To the same shape.
    #[track_caller]
    pub fn forward(&self, x: &Tensor<4>) -> Tensor<4> {
        Tensor::from_any(x.as_any().softmax(1))
    }
}

layer!(Softmax2d);

macro_rules! gated_linear {
    ($($(#[$doc:meta])* $name:ident $config:ident: $kind:ident;)*) => {$(
        #[doc = concat!("What a [`", stringify!($name), "`] is made of.")]
        #[derive(Config, Debug)]
        pub struct $config {
            /// Features of the input.
            pub d_input: usize,
            /// Features of the output.
            pub d_output: usize,
            /// With or without biases.
            #[config(default = false)]
            pub bias: bool,
            /// Other first values than PyTorch's linear layers have.
            #[config(default = Initializer::layer_default())]
            pub initializer: Initializer,
        }

        impl $config {
            /// Makes the layer.
            pub fn init(&self, device: &Device) -> $name {
                let linear = LinearConfig::new(self.d_input, self.d_output)
                    .with_bias(self.bias)
                    .with_initializer(self.initializer.clone());
                $name { linear_inner: linear.init(device), linear_outer: linear.init(device) }
            }
        }

        $(#[$doc])*
        #[derive(Clone, Debug, Module)]
        pub struct $name {
            /// The layer before the activation.
            pub linear_inner: Linear,
            /// The layer that it is multiplied by.
            pub linear_outer: Linear,
        }

        impl $name {
            #[track_caller]
            fn apply(&self, x: &AnyTensor) -> AnyTensor {
                let gate = self.linear_inner.forward_any(x).unary(UnaryKind::$kind);
                gate.mul(&self.linear_outer.forward_any(x))
            }
        }

        layer_of_any_rank!($name);
    )*};
}

gated_linear! {
    /// `silu(linear_inner(x)) * linear_outer(x)` (Shazeer 2020). `[.., d_input]` to
    /// `[.., d_output]`.
    SwiGlu SwiGluConfig: Silu;
    /// `gelu(linear_inner(x)) * linear_outer(x)` (Shazeer 2020). `[.., d_input]` to
    /// `[.., d_output]`.
    GeGlu GeGluConfig: Gelu;
}
