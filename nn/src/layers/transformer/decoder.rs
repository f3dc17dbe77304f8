//! Blocks of self-attention and of attention to what an encoder gave.

use kiln_tensor::{Bool, Device, Tensor};

use super::feed_forward::{FeedForwardActivation, feed_forward};
use super::{append, linear, next_tokens, norm};
use crate::{
    AttentionMasks, Config, Dropout, DropoutConfig, Initializer, KvCache, LayerNorm, Linear,
    MhaInput, Module, MultiHeadAttention, MultiHeadAttentionConfig,
};

/// What a [`TransformerDecoder`] is made of.
#[derive(Config, Debug)]
pub struct TransformerDecoderConfig {
    /// Features of a token.
    pub d_model: usize,
    /// Features between the two linear layers of a block.
    pub d_ff: usize,
    /// Heads of attention.
    pub n_heads: usize,
    /// The number of blocks.
    pub n_layers: usize,
    /// Probability of dropout.
    #[config(default = 0.1)]
    pub dropout: f64,
    /// Whether each part of a block normalises what enters it, rather than what leaves it.
    #[config(default = false)]
    pub norm_first: bool,
    /// After the first linear layer.
    #[config(default = FeedForwardActivation::Relu)]
    pub activation: FeedForwardActivation,
    /// Added to the variance in normalisation.
    #[config(default = 1e-5)]
    pub layer_norm_eps: f64,
    /// Whether the result is normalised once more, as models with `norm_first` want it.
    #[config(default = false)]
    pub final_norm: bool,
    /// First values of all weights; PyTorch's if not set.
    pub initializer: Option<Initializer>,
}

impl TransformerDecoderConfig {
    /// Makes the blocks. Panics if the features do not divide by the heads. Unlike PyTorch's, they
    /// do not all start with the same values.
    #[track_caller]
    pub fn init(&self, device: &Device) -> TransformerDecoder {
        let norm = norm(self.d_model, self.layer_norm_eps, device);
        TransformerDecoder {
            layers: (0..self.n_layers).map(|_| self.init_layer(device)).collect(),
            norm: self.final_norm.then_some(norm),
        }
    }

    /// Makes a single block.
    #[track_caller]
    pub fn init_layer(&self, device: &Device) -> TransformerDecoderLayer {
        let Self { d_model, d_ff, n_heads, dropout, initializer, .. } = *self;
        let norm = || norm(d_model, self.layer_norm_eps, device);
        let attention = || {
            let config = MultiHeadAttentionConfig::new(d_model, n_heads).with_dropout(dropout);
            config.with_initializer(initializer).init(device)
        };
        TransformerDecoderLayer {
            self_attn: attention(),
            multihead_attn: attention(),
            linear1: linear([d_model, d_ff], initializer, device),
            dropout: DropoutConfig::new(dropout).init(),
            linear2: linear([d_ff, d_model], initializer, device),
            norm1: norm(),
            norm2: norm(),
            norm3: norm(),
            activation: self.activation,
            norm_first: self.norm_first,
        }
    }
}

/// `torch.nn.TransformerDecoder` with `batch_first=True`.
///
/// ```
/// use kiln_nn::{TransformerDecoderConfig, TransformerDecoderInput};
/// use kiln_tensor::{Device, Tensor};
/// let model = TransformerDecoderConfig::new(8, 32, 2, 3).init(&Device::cpu());
/// let target = Tensor::<3>::ones([2, 5, 8], &Device::cpu());
/// let memory = Tensor::<3>::ones([2, 7, 8], &Device::cpu());
/// let input = TransformerDecoderInput::new(&target, &memory).causal();
/// assert_eq!(model.forward(input).dims(), [2, 5, 8]);
/// ```
#[derive(Clone, Debug, Module)]
pub struct TransformerDecoder {
    /// The blocks.
    pub layers: Vec<TransformerDecoderLayer>,
    /// Of the result.
    pub norm: Option<LayerNorm>,
}

/// `torch.nn.TransformerDecoderLayer` with `batch_first=True`.
#[derive(Clone, Debug, Module)]
pub struct TransformerDecoderLayer {
    /// Between the tokens.
    pub self_attn: MultiHeadAttention,
    /// From the tokens to those of the encoder.
    pub multihead_attn: MultiHeadAttention,
    /// `d_model` to `d_ff`
    pub linear1: Linear,
    /// Between the linear layers, and before each sum with the residual.
    pub dropout: Dropout,
    /// `d_ff` to `d_model`
    pub linear2: Linear,
    /// Of self-attention.
    pub norm1: LayerNorm,
    /// Of attention to the encoder.
    pub norm2: LayerNorm,
    /// Of the linear layers.
    pub norm3: LayerNorm,
    /// After the first linear layer.
    #[module(skip)]
    pub activation: FeedForwardActivation,
    /// Whether the parts normalise what enters them, rather than what leaves them.
    pub norm_first: bool,
}

/// What a [`TransformerDecoder`] is given.
#[derive(Clone, Debug)]
pub struct TransformerDecoderInput {
    target: Tensor<3>,
    target_masks: AttentionMasks,
    memory: Tensor<3>,
    memory_masks: AttentionMasks,
}

impl TransformerDecoderInput {
    /// Tokens `target` `[n, t, d]`, and `memory` `[n, k, d]` from an encoder.
    pub fn new(target: impl AsRef<Tensor<3>>, memory: impl AsRef<Tensor<3>>) -> Self {
        Self {
            target: target.as_ref().clone(),
            target_masks: AttentionMasks::default(),
            memory: memory.as_ref().clone(),
            memory_masks: AttentionMasks::default(),
        }
    }

    /// Hides the tokens of the memory where `mask` `[n, k]` is true: `memory_key_padding_mask`.
    pub fn memory_mask_pad(mut self, mask: impl AsRef<Tensor<2, Bool>>) -> Self {
        self.memory_masks.pad = Some(mask.as_ref().clone());
        self
    }

    /// Hides from a token those of the memory where `mask` `[n or 1, t, k]` is true: `memory_mask`.
    pub fn memory_mask_attn(mut self, mask: impl AsRef<Tensor<3, Bool>>) -> Self {
        self.memory_masks.attn = Some(mask.as_ref().clone());
        self
    }

    /// Hides the tokens where `mask` `[n, t]` is true: `tgt_key_padding_mask`.
    pub fn target_mask_pad(mut self, mask: impl AsRef<Tensor<2, Bool>>) -> Self {
        self.target_masks.pad = Some(mask.as_ref().clone());
        self
    }

    /// Hides from a token those where `mask` `[n or 1, t, t]` is true: `tgt_mask`.
    pub fn target_mask_attn(mut self, mask: impl AsRef<Tensor<3, Bool>>) -> Self {
        self.target_masks.attn = Some(mask.as_ref().clone());
        self
    }

    /// Hides from each token those after it: `tgt_is_causal`.
    pub fn causal(mut self) -> Self {
        self.target_masks.causal = true;
        self
    }

    /// All masks at once: those of the tokens among themselves, and those of the memory.
    pub fn masks(mut self, target: &AttentionMasks, memory: &AttentionMasks) -> Self {
        (self.target_masks, self.memory_masks) = (target.clone(), memory.clone());
        self
    }

    fn self_attn(&self, x: &Tensor<3>) -> MhaInput {
        MhaInput::self_attn(x).masks(&self.target_masks)
    }

    fn cross_attn(&self, x: &Tensor<3>) -> MhaInput {
        MhaInput::cross_attn(x, &self.memory).masks(&self.memory_masks)
    }
}

impl TransformerDecoderLayer {
    /// The target `[n, t, d]` after this block.
    #[track_caller]
    pub fn forward(&self, input: &TransformerDecoderInput) -> Tensor<3> {
        let own = |x: &Tensor<3>| self.self_attn.forward(input.self_attn(x)).context;
        let cross = |x: &Tensor<3>| self.multihead_attn.forward(input.cross_attn(x)).context;
        self.parts(&input.target, own, cross)
    }

    /// [`TransformerDecoderLayer::forward`] of the next tokens; see
    /// [`MultiHeadAttention::forward_next`].
    #[track_caller]
    pub fn forward_next(
        &self,
        input: &TransformerDecoderInput,
        cache: &mut TransformerDecoderLayerCache,
    ) -> Tensor<3> {
        let TransformerDecoderLayerCache { self_attn, cross_attn } = cache;
        let own =
            |x: &Tensor<3>| self.self_attn.forward_next(input.self_attn(x), self_attn).context;
        let cross = |x: &Tensor<3>| {
            self.multihead_attn.forward_next(input.cross_attn(x), cross_attn).context
        };
        self.parts(&input.target, own, cross)
    }

    #[track_caller]
    fn parts(
        &self,
        x: &Tensor<3>,
        own: impl FnOnce(&Tensor<3>) -> Tensor<3>,
        cross: impl FnOnce(&Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        let drop = |x| self.dropout.forward(&x);
        let feed = |x: &Tensor<3>| {
            feed_forward(x, &self.linear1, self.activation, &self.dropout, &self.linear2)
        };
        if self.norm_first {
            let x = drop(own(&self.norm1.forward(x))) + x;
            let x = drop(cross(&self.norm2.forward(&x))) + x;
            drop(feed(&self.norm3.forward(&x))) + x
        } else {
            let x = self.norm1.forward(&(drop(own(x)) + x));
            let x = self.norm2.forward(&(drop(cross(&x)) + x));
            self.norm3.forward(&(drop(feed(&x)) + x))
        }
    }
}

impl TransformerDecoder {
    /// The target `[n, t, d]` after all blocks.
    #[track_caller]
    pub fn forward(&self, mut input: TransformerDecoderInput) -> Tensor<3> {
        for layer in &self.layers {
            input.target = layer.forward(&input);
        }
        self.normalise(input.target)
    }

    /// [`TransformerDecoder::forward`] of the next tokens of a sequence alone: each sees itself and
    /// those before it, whose keys and values are in `cache`, which also holds those of the memory.
    /// Masks have the new tokens as queries and all as keys.
    #[track_caller]
    pub fn forward_next(
        &self,
        mut input: TransformerDecoderInput,
        cache: &mut TransformerDecoderAutoregressiveCache,
    ) -> Tensor<3> {
        for (layer, cache) in self.layers.iter().zip(&mut cache.layers) {
            input.target = layer.forward_next(&input, cache);
        }
        self.normalise(input.target)
    }

    /// Burn's form of [`TransformerDecoder::forward_next`]: is given the whole target so far,
    /// computes what is new and returns the results of the whole target.
    #[track_caller]
    pub fn forward_autoregressive_inference(
        &self,
        mut input: TransformerDecoderInput,
        cache: &mut TransformerDecoderAutoregressiveCache,
    ) -> Tensor<3> {
        let done = cache.len();
        let t = input.target.dims()[1];
        input.target = next_tokens(&input.target, &mut input.target_masks.attn, done);
        let rows = |mask: Tensor<3, Bool>| mask.narrow(1, done, t - done);
        input.memory_masks.attn = input.memory_masks.attn.map(rows);
        let next = self.forward_next(input, cache);
        append(&mut cache.output, next)
    }

    /// A cache without tokens.
    pub fn new_autoregressive_cache(&self) -> TransformerDecoderAutoregressiveCache {
        let layers = vec![TransformerDecoderLayerCache::default(); self.layers.len()];
        TransformerDecoderAutoregressiveCache { layers, output: None }
    }

    fn normalise(&self, x: Tensor<3>) -> Tensor<3> {
        self.norm.as_ref().map_or_else(|| x.clone(), |norm| norm.forward(&x))
    }
}

/// What a [`TransformerDecoderLayer`] remembers while it generates.
#[derive(Clone, Debug, Default)]
pub struct TransformerDecoderLayerCache {
    /// Of the tokens so far.
    pub self_attn: KvCache,
    /// Of the memory.
    pub cross_attn: KvCache,
}

/// What a [`TransformerDecoder`] remembers while it generates.
#[derive(Clone, Debug)]
pub struct TransformerDecoderAutoregressiveCache {
    layers: Vec<TransformerDecoderLayerCache>,
    /// `[n, t, d]`, in Burn's form only.
    output: Option<Tensor<3>>,
}

impl TransformerDecoderAutoregressiveCache {
    /// The number of tokens of the target.
    pub fn len(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.self_attn.len())
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
