//! Transformers: a block of an encoder, and a small language model.

use kiln::nn::{
    AttentionMasks, FeedForwardActivation, LearnedPositionalEncoding,
    LearnedPositionalEncodingConfig, TransformerEncoder, TransformerEncoderConfig,
    TransformerEncoderInput, TransformerEncoderLayer,
};
use kiln::prelude::*;
use serde::{Deserialize, Serialize};

/// Normalisation first, GELU, no dropout.
fn config(width: usize, heads: usize, layers: usize) -> TransformerEncoderConfig {
    TransformerEncoderConfig::new(width, 4 * width, heads, layers)
        .with_dropout(0.0)
        .with_norm_first(true)
        .with_activation(FeedForwardActivation::Gelu)
        .with_final_norm(true)
}

/// A block of 384 features in 12 heads, with 1536 between its linear layers.
#[derive(Clone, Debug, Module)]
pub struct Block(TransformerEncoderLayer);

impl Block {
    /// Every token sees every other.
    pub fn new(device: &Device) -> Self {
        Self(config(384, 12, 1).init_layer(device))
    }

    /// `[n, tokens, 384]` to the same shape.
    pub fn forward(&self, x: &Tensor<3>) -> Tensor<3> {
        self.0.forward(x, &AttentionMasks::default())
    }
}

/// GPT-2: a table of tokens, one of positions, blocks, a head that is the first table. At first
/// small, with 256 tokens, 128 positions, and 6 blocks of 192 features in 6 heads.
#[derive(Clone, Debug, Module)]
pub struct Gpt {
    wte: Embedding,
    wpe: LearnedPositionalEncoding,
    blocks: TransformerEncoder,
}

/// The sizes of a [`Gpt`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GptSize {
    pub tokens: usize,
    pub positions: usize,
    pub width: usize,
    pub heads: usize,
    pub blocks: usize,
}

impl Gpt {
    /// With random parameters.
    pub fn new(device: &Device) -> Self {
        let size = GptSize { tokens: 256, positions: 128, width: 192, heads: 6, blocks: 6 };
        Self::of(&size, FeedForwardActivation::Gelu, device)
    }

    /// Of other sizes.
    pub fn of(size: &GptSize, activation: FeedForwardActivation, device: &Device) -> Self {
        let &GptSize { tokens, positions, width, heads, blocks } = size;
        let small = Initializer::Normal { mean: 0.0, std: 0.02 };
        Self {
            wte: EmbeddingConfig::new(tokens, width).with_initializer(small).init(device),
            wpe: LearnedPositionalEncodingConfig::new(positions, width).init(device),
            blocks: config(width, heads, blocks).with_activation(activation).init(device),
        }
    }

    /// Logits of the next tokens: `[n, t]` to `[n, t, tokens]`.
    pub fn forward(&self, tokens: &Tensor<2, Int>) -> Tensor<3> {
        let x = self.wpe.forward(&self.wte.forward::<2, 3>(tokens));
        let x = self.blocks.forward(TransformerEncoderInput::new(&x).causal());
        module::linear_activation(&x, &self.wte.weight, None, None)
    }
}

/// Random tokens for [`Gpt`], `[8, 128]`.
pub fn tokens() -> Tensor<2, Int> {
    Tensor::random([8, 128], Distribution::Uniform(0.0, 256.0), &Device::cpu())
}

/// Training steps of [`Gpt`]: cross-entropy over all positions, AdamW.
pub fn train_gpt() -> impl FnMut() {
    let mut model = Gpt::new(&Device::cpu());
    let mut optim = AdamWConfig::new(3e-4).init();
    let (x, y) = (tokens(), tokens().reshape([8 * 128]));
    move || {
        let logits = model.forward(&x).reshape([8 * 128, 256]);
        let grads = CrossEntropyLoss::new().forward(&logits, &y).backward();
        optim.step(&mut model, grads);
    }
}
