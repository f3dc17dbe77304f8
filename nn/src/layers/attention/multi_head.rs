//! Attention with several heads, as PyTorch has it.

use kiln_tensor::{Bool, Device, Tensor, module};

use super::cache::KvCache;
use super::dot::{Heads, require_heads};
use super::mask::AttentionMasks;
use crate::{Config, Initializer, Linear, Mode, Module, Param};

/// What a [`MultiHeadAttention`] is made of.
#[derive(Config, Debug)]
pub struct MultiHeadAttentionConfig {
    /// Features of queries and results.
    pub d_model: usize,
    /// The number of heads, which share the features.
    pub n_heads: usize,
    /// Probability that a weight is dropped in training.
    #[config(default = 0.0)]
    pub dropout: f64,
    /// With or without biases.
    #[config(default = true)]
    pub bias: bool,
    /// Features of the keys, if they differ from those of the queries.
    pub kdim: Option<usize>,
    /// Features of the values, if they differ from those of the queries.
    pub vdim: Option<usize>,
    /// First values of all weights. Not set, they are PyTorch's: Xavier-uniform for the input
    /// projections, those of a [`Linear`] for the output. Biases start at zero.
    pub initializer: Option<Initializer>,
}

impl MultiHeadAttentionConfig {
    /// Makes the layer. Panics if the features do not divide by the heads.
    #[track_caller]
    pub fn init(&self, device: &Device) -> MultiHeadAttention {
        let Self { d_model, n_heads, dropout, bias, .. } = *self;
        require_heads("multi_head_attention", d_model, n_heads);
        let (kdim, vdim) = (self.kdim.unwrap_or(d_model), self.vdim.unwrap_or(d_model));
        let init = self.initializer.unwrap_or(Initializer::XavierUniform { gain: 1.0 });
        let weight = |outputs: usize, inputs: usize, when: bool| {
            when.then(|| init.init::<2>([outputs, inputs], device).into())
        };
        let zeros = |size: usize| bias.then(|| Tensor::zeros([size], device).into());
        let one = kdim == d_model && vdim == d_model;
        let out_init = self.initializer.unwrap_or(Initializer::layer_default());
        MultiHeadAttention {
            in_proj_weight: weight(3 * d_model, d_model, one),
            q_proj_weight: weight(d_model, d_model, !one),
            k_proj_weight: weight(d_model, kdim, !one),
            v_proj_weight: weight(d_model, vdim, !one),
            in_proj_bias: zeros(3 * d_model),
            out_proj: Linear {
                weight: out_init.init::<2>([d_model, d_model], device).into(),
                bias: zeros(d_model),
                lora: None,
            },
            n_heads,
            dropout,
            mode: Mode::default(),
        }
    }
}

/// `torch.nn.MultiheadAttention` with `batch_first=True` (Vaswani et al. 2017). `bias_k` and
/// `add_zero_attn` are not there.
///
/// ```
/// use kiln_nn::{MhaInput, MultiHeadAttentionConfig};
/// use kiln_tensor::{Device, Tensor};
/// let layer = MultiHeadAttentionConfig::new(8, 2).init(&Device::cpu());
/// let x = Tensor::<3>::ones([3, 5, 8], &Device::cpu());
/// let output = layer.forward(MhaInput::self_attn(&x).causal().need_weights());
/// assert_eq!(output.context.dims(), [3, 5, 8]);
/// assert_eq!(output.weights.unwrap().dims(), [3, 2, 5, 5]);
/// ```
#[derive(Clone, Debug, Module)]
pub struct MultiHeadAttention {
    /// `[3 d, d]`: of queries, keys and values, if all have `d` features.
    pub in_proj_weight: Option<Param<Tensor<2>>>,
    /// `[d, d]`, if not in one.
    pub q_proj_weight: Option<Param<Tensor<2>>>,
    /// `[d, kdim]`, if not in one.
    pub k_proj_weight: Option<Param<Tensor<2>>>,
    /// `[d, vdim]`, if not in one.
    pub v_proj_weight: Option<Param<Tensor<2>>>,
    /// `[3 d]`
    pub in_proj_bias: Option<Param<Tensor<1>>>,
    /// From the heads to the result.
    pub out_proj: Linear,
    /// The number of heads.
    pub n_heads: usize,
    /// Probability that a weight is dropped in training.
    pub dropout: f64,
    mode: Mode,
}

/// What [`MultiHeadAttention`] is given.
#[derive(Clone, Debug)]
pub struct MhaInput {
    pub(super) query: Tensor<3>,
    pub(super) source: Source,
    pub(super) masks: AttentionMasks,
    pub(super) need_weights: bool,
}

/// Where keys and values come from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// From what the queries come from.
    Query,
    /// Both from one tensor.
    Memory(Tensor<3>),
    /// Each from its own.
    Apart { key: Tensor<3>, value: Tensor<3> },
}

impl MhaInput {
    /// Every token of `x` `[n, t, d]` looks at the others.
    pub fn self_attn(x: impl AsRef<Tensor<3>>) -> Self {
        Self::from_source(x, Source::Query)
    }

    /// Every token of `query` `[n, q, d]` looks at those of `memory` `[n, k, d]`.
    pub fn cross_attn(query: impl AsRef<Tensor<3>>, memory: impl AsRef<Tensor<3>>) -> Self {
        Self::from_source(query, Source::Memory(memory.as_ref().clone()))
    }

    /// `query` `[n, q, d]`, `key` `[n, k, kdim]`, `value` `[n, k, vdim]`. Where two of them are one
    /// tensor, [`MhaInput::self_attn`] and [`MhaInput::cross_attn`] project it in one product.
    pub fn new(
        query: impl AsRef<Tensor<3>>,
        key: impl AsRef<Tensor<3>>,
        value: impl AsRef<Tensor<3>>,
    ) -> Self {
        let (key, value) = (key.as_ref().clone(), value.as_ref().clone());
        Self::from_source(query, Source::Apart { key, value })
    }

    fn from_source(query: impl AsRef<Tensor<3>>, source: Source) -> Self {
        let masks = AttentionMasks::default();
        Self { query: query.as_ref().clone(), source, masks, need_weights: false }
    }

    /// Hides the keys where `mask` `[n, k]` is true.
    pub fn mask_pad(mut self, mask: impl AsRef<Tensor<2, Bool>>) -> Self {
        self.masks.pad = Some(mask.as_ref().clone());
        self
    }

    /// Hides a key from a query where `mask` `[n or 1, q, k]` is true.
    pub fn mask_attn(mut self, mask: impl AsRef<Tensor<3, Bool>>) -> Self {
        self.masks.attn = Some(mask.as_ref().clone());
        self
    }

    /// Adds `bias` `[n or 1, heads or 1, q or 1, k]` to the scores.
    pub fn attn_bias(mut self, bias: impl AsRef<Tensor<4>>) -> Self {
        self.masks.bias = Some(bias.as_ref().clone());
        self
    }

    /// Hides from each query the keys after its own position.
    pub fn causal(mut self) -> Self {
        self.masks.causal = true;
        self
    }

    /// All masks at once.
    pub fn masks(mut self, masks: &AttentionMasks) -> Self {
        self.masks = masks.clone();
        self
    }

    /// What keys and values come from.
    pub(super) fn key_value(&self) -> (&Tensor<3>, &Tensor<3>) {
        match &self.source {
            Source::Query => (&self.query, &self.query),
            Source::Memory(memory) => (memory, memory),
            Source::Apart { key, value } => (key, value),
        }
    }

    /// Also gives the weights, which are otherwise never stored.
    pub fn need_weights(mut self) -> Self {
        self.need_weights = true;
        self
    }
}

/// What [`MultiHeadAttention`] gives.
#[derive(Clone, Debug)]
pub struct MhaOutput {
    /// The result, `[n, q, d]`.
    pub context: Tensor<3>,
    /// How much each query takes of each key, `[n, heads, q, k]`, where it was asked for; after
    /// dropout, as in PyTorch.
    pub weights: Option<Tensor<4>>,
}

impl MhaOutput {
    /// The weights as PyTorch gives them by default: their mean over the heads, `[n, q, k]`.
    pub fn average_weights(&self) -> Option<Tensor<3>> {
        self.weights.as_ref().map(|weights| weights.mean_dim(1).squeeze_dim(1))
    }
}

impl MultiHeadAttention {
    /// Panics if the shapes of tensors and masks do not fit.
    #[track_caller]
    pub fn forward(&self, input: MhaInput) -> MhaOutput {
        self.mix(&self.heads(&input), &input)
    }

    /// As [`MultiHeadAttention::forward`] for the next tokens of a sequence, with the keys and
    /// values of those before in `cache`.
    ///
    /// In self-attention the new keys are added to the cache and each token sees itself and those
    /// before it, with or without [`MhaInput::causal`]. In cross-attention the first call fills
    /// the cache with the keys and values of the memory, and later calls use these. Masks have the
    /// new queries and all keys.
    #[track_caller]
    pub fn forward_next(&self, mut input: MhaInput, cache: &mut KvCache) -> MhaOutput {
        let own = matches!(input.source, Source::Query);
        input.masks.causal |= own;
        let heads = match cache.get() {
            Some((key, value)) if !own => {
                let [query] = self.project(&input.query, 0);
                Heads { query, key, value }
            }
            _ => {
                let Heads { query, key, value } = self.heads(&input);
                let (key, value) = cache.append(&key, &value);
                Heads { query, key, value }
            }
        };
        self.mix(&heads, &input)
    }

    /// Queries, keys and values in as few products as there are inputs.
    #[track_caller]
    fn heads(&self, input: &MhaInput) -> Heads {
        let x = &input.query;
        let fused = self.in_proj_weight.is_some();
        match &input.source {
            Source::Query if fused => {
                let [query, key, value] = self.project(x, 0);
                Heads { query, key, value }
            }
            Source::Memory(memory) if fused => {
                let ([query], [key, value]) = (self.project(x, 0), self.project(memory, 1));
                Heads { query, key, value }
            }
            _ => {
                let (key, value) = input.key_value();
                let ([query], [key]) = (self.project(x, 0), self.project(key, 1));
                let [value] = self.project(value, 2);
                Heads { query, key, value }
            }
        }
    }

    /// `N` neighbours of queries, keys and values from the one at `first` on, `[n, heads, t, d]`.
    #[track_caller]
    fn project<const N: usize>(&self, x: &Tensor<3>, first: usize) -> [Tensor<4>; N] {
        let d = self.out_proj.weight.dims()[0];
        let separate = [&self.q_proj_weight, &self.k_proj_weight, &self.v_proj_weight];
        let weight = match (&self.in_proj_weight, separate[first]) {
            (Some(weight), _) => rows(weight, first * d, N * d),
            (None, weight) => (**weight.as_ref().expect("weights in one or apart")).clone(),
        };
        let bias = self.in_proj_bias.as_ref().map(|bias| rows(bias, first * d, N * d));
        let y = module::linear_activation(x, &weight, bias.as_ref(), None);
        let [n, t, _] = y.dims();
        // [N, n, heads, t, d / heads]
        let y = y.reshape([n, t, N, self.n_heads, d / self.n_heads]).permute([2, 0, 3, 1, 4]);
        std::array::from_fn(|i| y.select_dim(0, i))
    }

    #[track_caller]
    fn mix(&self, heads: &Heads, input: &MhaInput) -> MhaOutput {
        let dropout = if self.mode.is_training() { self.dropout } else { 0.0 };
        let (mixed, weights) = heads.mix_for(input, dropout);
        MhaOutput { context: self.out_proj.forward(&mixed), weights }
    }
}

/// A part of the first axis; the tensor itself, which leaves nothing on the tape, if it is all.
fn rows<const D: usize>(x: &Tensor<D>, first: usize, count: usize) -> Tensor<D> {
    if x.dims()[0] == count { x.clone() } else { x.narrow(0, first, count) }
}
