//! Attention with fewer keys than queries.

use kiln_tensor::{Device, Error, Tensor, fail};

use super::cache::KvCache;
use super::dot::{Heads, require_heads, split};
use super::multi_head::{MhaInput, MhaOutput, Source};
use crate::{Config, Linear, LinearConfig, Mode, Module, RotaryEncoding};

/// What a [`GroupedQueryAttention`] is made of.
#[derive(Config, Debug)]
pub struct GroupedQueryAttentionConfig {
    /// Features of inputs and results.
    pub d_model: usize,
    /// Heads of the queries.
    pub n_heads: usize,
    /// Heads of keys and values; each serves `n_heads / n_kv_heads` heads of the queries.
    pub n_kv_heads: usize,
    /// Features of a head, if not `d_model / n_heads`.
    pub head_dim: Option<usize>,
    /// Probability that a weight is dropped in training.
    #[config(default = 0.0)]
    pub dropout: f64,
    /// With or without biases of the input projections, as in Qwen 2.
    #[config(default = false)]
    pub bias: bool,
}

impl GroupedQueryAttentionConfig {
    /// Makes the layer. Panics if the heads do not divide.
    #[track_caller]
    pub fn init(&self, device: &Device) -> GroupedQueryAttention {
        const OP: &str = "grouped_query_attention";
        let Self { d_model, n_heads, n_kv_heads, head_dim, dropout, bias } = *self;
        if n_kv_heads == 0 || n_heads % n_kv_heads != 0 {
            let rule = format!("{n_heads} heads do not divide into {n_kv_heads} groups");
            fail(Error::Argument { op: OP, rule });
        }
        let size = head_dim.unwrap_or_else(|| {
            require_heads(OP, d_model, n_heads);
            d_model / n_heads
        });
        let linear =
            |inputs, outputs, bias| LinearConfig::new(inputs, outputs).with_bias(bias).init(device);
        GroupedQueryAttention {
            q_proj: linear(d_model, n_heads * size, bias),
            k_proj: linear(d_model, n_kv_heads * size, bias),
            v_proj: linear(d_model, n_kv_heads * size, bias),
            o_proj: linear(n_heads * size, d_model, false),
            n_heads,
            n_kv_heads,
            dropout,
            mode: Mode::default(),
        }
    }
}

/// Attention whose keys and values serve several heads each (Ainslie et al. 2023), with the names
/// of Llama in Hugging Face; with one key head it is multi-query attention (Shazeer 2019).
///
/// ```
/// use kiln_nn::{GroupedQueryAttentionConfig, KvCache, MhaInput, RotaryEncodingConfig};
/// use kiln_tensor::{Device, Tensor};
/// let device = Device::cpu();
/// let layer = GroupedQueryAttentionConfig::new(16, 4, 2).init(&device);
/// let rotary = RotaryEncodingConfig::new(32, 4).init(&device);
/// let (x, mut cache) = (Tensor::<3>::ones([1, 3, 16], &device), KvCache::new());
/// let output = layer.forward_next(MhaInput::self_attn(&x), Some(&rotary), &mut cache);
/// assert_eq!((output.context.dims(), cache.len()), ([1, 3, 16], 3));
/// ```
#[derive(Clone, Debug, Module)]
pub struct GroupedQueryAttention {
    /// `d_model` to `n_heads` heads.
    pub q_proj: Linear,
    /// `d_model` to `n_kv_heads` heads.
    pub k_proj: Linear,
    /// `d_model` to `n_kv_heads` heads.
    pub v_proj: Linear,
    /// `n_heads` heads to `d_model`.
    pub o_proj: Linear,
    /// Heads of the queries.
    pub n_heads: usize,
    /// Heads of keys and values.
    pub n_kv_heads: usize,
    /// Probability that a weight is dropped in training.
    pub dropout: f64,
    mode: Mode,
}

impl GroupedQueryAttention {
    /// Queries and keys are turned by `rotary`, if there is one. Panics if shapes do not fit.
    #[track_caller]
    pub fn forward(&self, input: MhaInput, rotary: Option<&RotaryEncoding>) -> MhaOutput {
        self.mix(&self.heads(&input, rotary, 0), &input)
    }

    /// As [`GroupedQueryAttention::forward`] for the next tokens of a sequence, with the keys and
    /// values of those before in `cache`: each token sees itself and those before it. Masks have
    /// the new queries and all keys. Panics unless it is self-attention.
    #[track_caller]
    pub fn forward_next(
        &self,
        mut input: MhaInput,
        rotary: Option<&RotaryEncoding>,
        cache: &mut KvCache,
    ) -> MhaOutput {
        if !matches!(input.source, Source::Query) {
            let rule = "a cache is for self-attention, `MhaInput::self_attn`".into();
            fail(Error::Argument { op: "grouped_query_attention", rule });
        }
        input.masks.causal = true;
        let Heads { query, key, value } = self.heads(&input, rotary, cache.len());
        let (key, value) = cache.append(&key, &value);
        self.mix(&Heads { query, key, value }, &input)
    }

    #[track_caller]
    fn heads(&self, input: &MhaInput, rotary: Option<&RotaryEncoding>, start: usize) -> Heads {
        let (key, value) = input.key_value();
        let turn =
            |x: Tensor<4>| rotary.map_or_else(|| x.clone(), |rotary| rotary.apply(&x, start));
        Heads {
            query: turn(split(&self.q_proj.forward(&input.query), self.n_heads)),
            key: turn(split(&self.k_proj.forward(key), self.n_kv_heads)),
            value: split(&self.v_proj.forward(value), self.n_kv_heads),
        }
    }

    #[track_caller]
    fn mix(&self, heads: &Heads, input: &MhaInput) -> MhaOutput {
        let dropout = if self.mode.is_training() { self.dropout } else { 0.0 };
        let (mixed, weights) = heads.mix_for(input, dropout);
        MhaOutput { context: self.o_proj.forward(&mixed), weights }
    }
}
