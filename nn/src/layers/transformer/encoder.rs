//! Blocks of self-attention: encoders, and with a causal mask language models.

use kiln_tensor::{Bool, Device, Tensor};

use super::feed_forward::{FeedForwardActivation, feed_forward};
use super::{append, linear, next_tokens, norm};
use crate::{
    AttentionMasks, Config, Dropout, DropoutConfig, Initializer, KvCache, LayerNorm, Linear,
    MhaInput, Module, MultiHeadAttention, MultiHeadAttentionConfig,
};

/// What a [`TransformerEncoder`] is made of.
#[derive(Config, Debug)]
pub struct TransformerEncoderConfig {
    /// Features of a token.
    pub d_model: usize,
    /// Features between the two linear layers of a block.
    pub d_ff: usize,
    /// Heads of attention.
    pub n_heads: usize,
    /// The number of blocks.
    pub n_layers: usize,
    /// Probability of dropout, wherever no other is set.
    #[config(default = 0.1)]
    pub dropout: f64,
    /// Probability that a weight of attention is dropped.
    pub attention_dropout: Option<f64>,
    /// Probability of dropout between the two linear layers.
    pub ffn_dropout: Option<f64>,
    /// Probability of dropout before each sum with the residual.
    pub residual_dropout: Option<f64>,
    /// Whether each half of a block normalises what enters it, rather than what leaves it.
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

impl TransformerEncoderConfig {
    /// Makes the blocks. Panics if the features do not divide by the heads. Unlike PyTorch's, they
    /// do not all start with the same values.
    #[track_caller]
    pub fn init(&self, device: &Device) -> TransformerEncoder {
        let norm = norm(self.d_model, self.layer_norm_eps, device);
        TransformerEncoder {
            layers: (0..self.n_layers).map(|_| self.init_layer(device)).collect(),
            norm: self.final_norm.then_some(norm),
        }
    }

    /// Makes a single block.
    #[track_caller]
    pub fn init_layer(&self, device: &Device) -> TransformerEncoderLayer {
        let Self { d_model, d_ff, n_heads, dropout, initializer, .. } = *self;
        let drop = |own: Option<f64>| DropoutConfig::new(own.unwrap_or(dropout)).init();
        let norm = || norm(d_model, self.layer_norm_eps, device);
        TransformerEncoderLayer {
            self_attn: MultiHeadAttentionConfig::new(d_model, n_heads)
                .with_dropout(self.attention_dropout.unwrap_or(dropout))
                .with_initializer(initializer)
                .init(device),
            linear1: linear([d_model, d_ff], initializer, device),
            dropout: drop(self.ffn_dropout),
            linear2: linear([d_ff, d_model], initializer, device),
            norm1: norm(),
            norm2: norm(),
            residual_dropout: drop(self.residual_dropout),
            activation: self.activation,
            norm_first: self.norm_first,
        }
    }
}

/// `torch.nn.TransformerEncoder` with `batch_first=True`. With a causal mask it is the body of a
/// language model.
///
/// ```
/// use kiln_nn::{TransformerEncoderConfig, TransformerEncoderInput};
/// use kiln_tensor::{Device, Tensor};
/// let model = TransformerEncoderConfig::new(8, 32, 2, 3).with_norm_first(true).init(&Device::cpu());
/// let x = Tensor::<3>::ones([2, 5, 8], &Device::cpu());
/// assert_eq!(model.forward(TransformerEncoderInput::new(&x).causal()).dims(), [2, 5, 8]);
/// ```
#[derive(Clone, Debug, Module)]
pub struct TransformerEncoder {
    /// The blocks.
    pub layers: Vec<TransformerEncoderLayer>,
    /// Of the result.
    pub norm: Option<LayerNorm>,
}

/// `torch.nn.TransformerEncoderLayer` with `batch_first=True`.
#[derive(Clone, Debug, Module)]
pub struct TransformerEncoderLayer {
    /// Between the tokens.
    pub self_attn: MultiHeadAttention,
    /// `d_model` to `d_ff`
    pub linear1: Linear,
    /// Between the linear layers.
    pub dropout: Dropout,
    /// `d_ff` to `d_model`
    pub linear2: Linear,
    /// Of attention.
    pub norm1: LayerNorm,
    /// Of the linear layers.
    pub norm2: LayerNorm,
    /// Before each sum with the residual.
    pub residual_dropout: Dropout,
    /// After the first linear layer.
    #[module(skip)]
    pub activation: FeedForwardActivation,
    /// Whether the halves normalise what enters them, rather than what leaves them.
    pub norm_first: bool,
}

/// What a [`TransformerEncoder`] is given.
#[derive(Clone, Debug)]
pub struct TransformerEncoderInput {
    tensor: Tensor<3>,
    masks: AttentionMasks,
}

impl TransformerEncoderInput {
    /// Tokens `[n, t, d]`.
    pub fn new(tensor: impl AsRef<Tensor<3>>) -> Self {
        Self { tensor: tensor.as_ref().clone(), masks: AttentionMasks::default() }
    }

    /// Hides the tokens where `mask` `[n, t]` is true: `src_key_padding_mask`.
    pub fn mask_pad(mut self, mask: impl AsRef<Tensor<2, Bool>>) -> Self {
        self.masks.pad = Some(mask.as_ref().clone());
        self
    }

    /// Hides from a token those where `mask` `[n or 1, t, t]` is true: a bool `mask`.
    pub fn mask_attn(mut self, mask: impl AsRef<Tensor<3, Bool>>) -> Self {
        self.masks.attn = Some(mask.as_ref().clone());
        self
    }

    /// Adds `bias` `[n or 1, heads or 1, t or 1, t]` to the scores: a float `mask`.
    pub fn attn_bias(mut self, bias: impl AsRef<Tensor<4>>) -> Self {
        self.masks.bias = Some(bias.as_ref().clone());
        self
    }

    /// Hides from each token those after it.
    pub fn causal(mut self) -> Self {
        self.masks.causal = true;
        self
    }
}

impl TransformerEncoderLayer {
    /// `[n, t, d]` to the same shape.
    #[track_caller]
    pub fn forward(&self, x: &Tensor<3>, masks: &AttentionMasks) -> Tensor<3> {
        let attend =
            |x: &Tensor<3>| self.self_attn.forward(MhaInput::self_attn(x).masks(masks)).context;
        self.halves(x, attend)
    }

    /// [`TransformerEncoderLayer::forward`] of the next tokens; see
    /// [`MultiHeadAttention::forward_next`].
    #[track_caller]
    pub fn forward_next(
        &self,
        x: &Tensor<3>,
        masks: &AttentionMasks,
        cache: &mut KvCache,
    ) -> Tensor<3> {
        let attend = |x: &Tensor<3>| {
            let input = MhaInput::self_attn(x).masks(masks);
            self.self_attn.forward_next(input, cache).context
        };
        self.halves(x, attend)
    }

    #[track_caller]
    fn halves(&self, x: &Tensor<3>, attend: impl FnOnce(&Tensor<3>) -> Tensor<3>) -> Tensor<3> {
        let drop = |x| self.residual_dropout.forward(&x);
        let feed = |x: &Tensor<3>| {
            feed_forward(x, &self.linear1, self.activation, &self.dropout, &self.linear2)
        };
        if self.norm_first {
            let x = drop(attend(&self.norm1.forward(x))) + x;
            drop(feed(&self.norm2.forward(&x))) + x
        } else {
            let x = self.norm1.forward(&(drop(attend(x)) + x));
            self.norm2.forward(&(drop(feed(&x)) + x))
        }
    }
}

impl TransformerEncoder {
    /// `[n, t, d]` to the same shape.
    #[track_caller]
    pub fn forward(&self, input: TransformerEncoderInput) -> Tensor<3> {
        self.forward_masked(&input.tensor, &input.masks)
    }

    #[track_caller]
    pub(super) fn forward_masked(&self, x: &Tensor<3>, masks: &AttentionMasks) -> Tensor<3> {
        self.normalise(self.layers.iter().fold(x.clone(), |x, layer| layer.forward(&x, masks)))
    }

    /// [`TransformerEncoder::forward`] of the next tokens of a sequence alone: each sees itself and
    /// those before it, whose keys and values are in `cache`. Masks have the new tokens as queries
    /// and all as keys. Results are those of a causal forward pass over the whole sequence.
    #[track_caller]
    pub fn forward_next(
        &self,
        input: TransformerEncoderInput,
        cache: &mut TransformerEncoderAutoregressiveCache,
    ) -> Tensor<3> {
        let TransformerEncoderInput { tensor, masks } = input;
        let layers = self.layers.iter().zip(&mut cache.layers);
        self.normalise(
            layers.fold(tensor, |x, (layer, cache)| layer.forward_next(&x, &masks, cache)),
        )
    }

    /// Burn's form of [`TransformerEncoder::forward_next`]: is given the whole sequence so far,
    /// computes what is new and returns the results of the whole sequence.
    #[track_caller]
    pub fn forward_autoregressive_inference(
        &self,
        mut input: TransformerEncoderInput,
        cache: &mut TransformerEncoderAutoregressiveCache,
    ) -> Tensor<3> {
        input.tensor = next_tokens(&input.tensor, &mut input.masks.attn, cache.len());
        let next = self.forward_next(input, cache);
        append(&mut cache.output, next)
    }

    /// A cache without tokens.
    pub fn new_autoregressive_cache(&self) -> TransformerEncoderAutoregressiveCache {
        self.new_cache(KvCache::new())
    }

    /// A cache with room for this many tokens, which is taken once.
    pub fn new_autoregressive_cache_with_capacity(
        &self,
        tokens: usize,
    ) -> TransformerEncoderAutoregressiveCache {
        self.new_cache(KvCache::with_capacity(tokens))
    }

    fn new_cache(&self, cache: KvCache) -> TransformerEncoderAutoregressiveCache {
        let layers = vec![cache; self.layers.len()];
        TransformerEncoderAutoregressiveCache { layers, output: None }
    }

    fn normalise(&self, x: Tensor<3>) -> Tensor<3> {
        self.norm.as_ref().map_or_else(|| x.clone(), |norm| norm.forward(&x))
    }
}

/// What a [`TransformerEncoder`] remembers while it generates.
#[derive(Clone, Debug)]
pub struct TransformerEncoderAutoregressiveCache {
    layers: Vec<KvCache>,
    /// `[n, t, d]`, in Burn's form only.
    output: Option<Tensor<3>>,
}

impl TransformerEncoderAutoregressiveCache {
    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.layers.first().map_or(0, KvCache::len)
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps the first `len` tokens; keeps all if there are fewer.
    pub fn crop(&mut self, len: usize) {
        self.layers.iter_mut().for_each(|layer| layer.crop(len));
        let output =
            self.output.take().map(|output| output.narrow(1, 0, output.dims()[1].min(len)));
        self.output = output.filter(|output| output.dims()[1] > 0);
    }
}
