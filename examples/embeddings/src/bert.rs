//! BERT (Devlin et al. 2018), with the names that its parameters have in files of Hugging Face.

use kiln::prelude::*;
use kiln::tensor::module::{AttentionModuleOptions, attention};
use kiln::tensor::op::Activation;
use kiln::{Error, Result};
use serde::Deserialize;

/// What `config.json` says, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
pub struct BertConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub max_position_embeddings: usize,
    pub type_vocab_size: usize,
    pub layer_norm_eps: f64,
    pub hidden_act: String,
    #[serde(default = "absolute")]
    pub position_embedding_type: String,
}

fn absolute() -> String {
    "absolute".into()
}

impl BertConfig {
    /// Whether this is a model that [`Bert`] computes, of the sizes that the weights have. Only
    /// then is memory taken for it.
    pub fn check(&self, weights: &StateDict) -> Result<()> {
        let error = |rule: String| Err(Error::Argument { op: "config.json", rule });
        for (what, found, expected) in [
            ("hidden_act", &self.hidden_act, "gelu"),
            ("position_embedding_type", &self.position_embedding_type, "absolute"),
        ] {
            if found != expected {
                return error(format!("{what} must be {expected:?}, found {found:?}"));
            }
        }
        let (hidden, heads) = (self.hidden_size, self.num_attention_heads);
        if heads == 0 || !hidden.is_multiple_of(heads) {
            return error(format!("hidden_size {hidden} does not divide by {heads} heads"));
        }
        for (name, rows) in [
            ("embeddings.word_embeddings.weight", self.vocab_size),
            ("embeddings.position_embeddings.weight", self.max_position_embeddings),
            ("embeddings.token_type_embeddings.weight", self.type_vocab_size),
            ("encoder.layer.0.intermediate.dense.weight", self.intermediate_size),
        ] {
            let found = weights.get(name).map(|data| data.shape());
            if found != Some([rows, hidden].into()) {
                let found = found.map_or("nothing".into(), |shape| shape.to_string());
                return error(format!("it says {name} is [{rows}, {hidden}], the file {found}"));
            }
        }
        let last = format!("encoder.layer.{}.", self.num_hidden_layers.wrapping_sub(1));
        if !weights.iter().any(|(name, _)| name.starts_with(&last)) {
            return error(format!("the file has not {} layers", self.num_hidden_layers));
        }
        Ok(())
    }
}

/// Token numbers to vectors. There is no dropout: this is the model as it is used, not trained.
#[derive(Module, Clone, Debug)]
pub struct Bert {
    embeddings: Embeddings,
    encoder: Encoder,
}

impl Bert {
    pub fn new(config: &BertConfig, device: &Device) -> Self {
        let hidden = config.hidden_size;
        let table = |rows| EmbeddingConfig::new(rows, hidden).init(device);
        Self {
            embeddings: Embeddings {
                word_embeddings: table(config.vocab_size),
                position_embeddings: table(config.max_position_embeddings),
                token_type_embeddings: table(config.type_vocab_size),
                norm: LayerNormConfig::new(hidden).with_epsilon(config.layer_norm_eps).init(device),
            },
            encoder: Encoder {
                layer: (0..config.num_hidden_layers).map(|_| Layer::new(config, device)).collect(),
            },
        }
    }

    /// `tokens` `[n, t]`, and `padding` `[n, t]`, true where a token is none. Result: `[n, t, d]`.
    pub fn forward(&self, tokens: &Tensor<2, Int>, padding: &Tensor<2, Bool>) -> Tensor<3> {
        let [n, t] = tokens.dims();
        let hidden = padding.reshape([n, 1, 1, t]); // for all heads and queries
        let x = self.embeddings.forward(tokens);
        self.encoder.layer.iter().fold(x, |x, layer| layer.forward(&x, &hidden))
    }

    /// One vector of length 1 per sentence, `[n, d]`: the mean of its tokens' vectors.
    pub fn embed(&self, tokens: &Tensor<2, Int>, padding: &Tensor<2, Bool>) -> Tensor<2> {
        let x = self.forward(tokens, padding);
        let counts = padding.bool_not().float().unsqueeze_dim::<3>(2); // [n, t, 1]
        let mean = (x * &counts).sum_dim(1) / counts.sum_dim(1).clamp_min(1e-9);
        kiln::tensor::linalg::vector_normalize(mean.squeeze_dim::<2>(1), 2.0, 1, 1e-12)
    }
}

#[derive(Module, Clone, Debug)]
struct Embeddings {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Embedding,
    #[module(name = "LayerNorm")]
    norm: LayerNorm,
}

impl Embeddings {
    fn forward(&self, tokens: &Tensor<2, Int>) -> Tensor<3> {
        let (t, device) = (tokens.dims()[1] as i64, tokens.device());
        let positions = Tensor::<1, Int>::arange(0..t, &device).unsqueeze_dim::<2>(0);
        // Every token is of the first sentence: there is no second one.
        let kind = Tensor::<2, Int>::zeros([1, 1], &device);
        let x: Tensor<3> = self.word_embeddings.forward(tokens);
        let x = x + self.token_type_embeddings.forward(&kind);
        self.norm.forward(&(x + self.position_embeddings.forward(&positions)))
    }
}

#[derive(Module, Clone, Debug)]
struct Encoder {
    layer: Vec<Layer>,
}

/// A block: attention between the tokens, then two linear layers for each of them.
#[derive(Module, Clone, Debug)]
struct Layer {
    attention: Attention,
    intermediate: Dense,
    output: Output,
}

#[derive(Module, Clone, Debug)]
struct Attention {
    #[module(name = "self")]
    heads: Heads,
    output: Output,
}

#[derive(Module, Clone, Debug)]
struct Heads {
    query: Linear,
    key: Linear,
    value: Linear,
    count: usize,
}

#[derive(Module, Clone, Debug)]
struct Dense {
    dense: Linear,
}

/// A linear layer, the sum with what went into the half of the block, and normalisation.
#[derive(Module, Clone, Debug)]
struct Output {
    dense: Linear,
    #[module(name = "LayerNorm")]
    norm: LayerNorm,
}

impl Layer {
    fn new(config: &BertConfig, device: &Device) -> Self {
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let linear = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
        let output = |inputs| Output {
            dense: linear(inputs, hidden),
            norm: LayerNormConfig::new(hidden).with_epsilon(config.layer_norm_eps).init(device),
        };
        let heads = Heads {
            query: linear(hidden, hidden),
            key: linear(hidden, hidden),
            value: linear(hidden, hidden),
            count: config.num_attention_heads,
        };
        Self {
            attention: Attention { heads, output: output(hidden) },
            intermediate: Dense { dense: linear(hidden, wide) },
            output: output(wide),
        }
    }

    /// `[n, t, d]` to the same shape. Keys where `hidden` `[n, 1, 1, t]` is true are not seen.
    fn forward(&self, x: &Tensor<3>, hidden: &Tensor<4, Bool>) -> Tensor<3> {
        let Attention { heads, output } = &self.attention;
        let x = output.forward(&heads.forward(x, hidden), x);
        let wide = self.intermediate.dense.forward_activation(&x, Activation::Gelu);
        self.output.forward(&wide, &x)
    }
}

impl Heads {
    fn forward(&self, x: &Tensor<3>, hidden: &Tensor<4, Bool>) -> Tensor<3> {
        let [n, t, d] = x.dims();
        let split = |x: Tensor<3>| x.reshape([n, t, self.count, d / self.count]).swap_dims(1, 2);
        let query = split(self.query.forward(x)); // [n, heads, t, d / heads]
        let key = split(self.key.forward(x));
        let value = split(self.value.forward(x));
        let options = AttentionModuleOptions::default();
        let mixed = attention(query, key, value, Some(hidden.clone()), None, options);
        mixed.swap_dims(1, 2).reshape([n, t, d])
    }
}

impl Output {
    fn forward(&self, x: &Tensor<3>, residual: &Tensor<3>) -> Tensor<3> {
        self.norm.forward(&(self.dense.forward(x) + residual))
    }
}
