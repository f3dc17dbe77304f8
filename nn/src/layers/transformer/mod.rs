//! Transformers (Vaswani et al. 2017), with PyTorch's names and numbers.

mod decoder;
mod encoder;
mod feed_forward;
mod whole;

pub use decoder::{
    TransformerDecoder, TransformerDecoderAutoregressiveCache, TransformerDecoderConfig,
    TransformerDecoderInput, TransformerDecoderLayer, TransformerDecoderLayerCache,
};
pub use encoder::{
    TransformerEncoder, TransformerEncoderAutoregressiveCache, TransformerEncoderConfig,
    TransformerEncoderInput, TransformerEncoderLayer,
};
pub use feed_forward::{FeedForwardActivation, SwiGluFeedForward, SwiGluFeedForwardConfig};
pub use whole::{Transformer, TransformerConfig, TransformerMasks};

use kiln_tensor::{Bool, Device, Error, Tensor, fail};

use super::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use crate::Initializer;

/// A linear layer whose weight, but not bias, has other first values if they are given.
fn linear(size: [usize; 2], init: Option<Initializer>, device: &Device) -> Linear {
    let mut layer = LinearConfig::new(size[0], size[1]).init(device);
    if let Some(init) = init {
        layer.weight = init.init::<2>([size[1], size[0]], device).into();
    }
    layer
}

fn norm(d_model: usize, epsilon: f64, device: &Device) -> LayerNorm {
    LayerNormConfig::new([d_model]).with_epsilon(epsilon).init(device)
}

/// The tokens of `x` `[n, t, d]` that come after the `done` first ones, and their rows of a mask.
#[track_caller]
fn next_tokens(x: &Tensor<3>, mask: &mut Option<Tensor<3, Bool>>, done: usize) -> Tensor<3> {
    let t = x.dims()[1];
    if t <= done {
        let rule = format!("expected more than the {done} tokens that the cache holds, found {t}");
        fail(Error::Argument { op: "forward_autoregressive_inference", rule });
    }
    *mask = mask.take().map(|mask| mask.narrow(1, done, t - done));
    x.narrow(1, done, t - done)
}

/// Adds results to those so far, `[n, t, d]`, and returns all.
#[track_caller]
fn append(so_far: &mut Option<Tensor<3>>, next: Tensor<3>) -> Tensor<3> {
    let all = match so_far.take() {
        Some(before) => Tensor::cat([before, next], 1),
        None => next,
    };
    so_far.insert(all).clone()
}
