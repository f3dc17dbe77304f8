//! The network: GPT-2 (Radford et al. 2019) in small, with the parameter names of nanoGPT.

use kiln::prelude::*;
use kiln::tensor::op::Activation;

/// The sizes of a [`Gpt`].
#[derive(Config, Debug, PartialEq)]
pub struct GptConfig {
    /// Different tokens.
    pub vocab_size: usize,
    /// The most tokens that the network looks at.
    pub block_size: usize,
    /// Blocks on top of each other.
    pub n_layer: usize,
    /// Attention heads of a block, which share its features.
    pub n_head: usize,
    /// Features of a token.
    pub n_embd: usize,
}

/// A language model: for each token of a text, logits of the one that comes next.
///
/// The last layer, `lm_head`, has the weights of the first one, `wte`.
#[derive(Module, Clone, Debug)]
#[module(tied("lm_head.weight", to = "transformer.wte.weight"))]
pub struct Gpt {
    transformer: Transformer,
    #[module(skip)]
    pub config: GptConfig,
}

#[derive(Module, Clone, Debug)]
struct Transformer {
    wte: Embedding,
    wpe: Embedding,
    h: Vec<Block>,
    ln_f: LayerNorm,
}

#[derive(Module, Clone, Debug)]
struct Block {
    ln_1: LayerNorm,
    attn: CausalSelfAttention,
    ln_2: LayerNorm,
    mlp: Mlp,
}

#[derive(Module, Clone, Debug)]
struct CausalSelfAttention {
    /// Queries, keys and values in one product.
    c_attn: Linear,
    c_proj: Linear,
    n_head: usize,
}

#[derive(Module, Clone, Debug)]
struct Mlp {
    c_fc: Linear,
    c_proj: Linear,
}

impl GptConfig {
    /// Whether there can be such a network.
    pub fn is_valid(&self) -> bool {
        let Self { vocab_size, block_size, n_layer, n_head, n_embd } = *self;
        [vocab_size, block_size, n_layer, n_head, n_embd].iter().all(|&size| size > 0)
            && n_embd.is_multiple_of(n_head)
    }

    /// How many numbers the tables and matrices hold, of sizes that may be absurd.
    pub fn num_weights(&self) -> f64 {
        let Self { vocab_size, block_size, n_layer, n_embd, .. } = *self;
        let [v, t, l, d] = [vocab_size, block_size, n_layer, n_embd].map(|size| size as f64);
        d * (v + t + 12.0 * l * d)
    }

    /// A network with random parameters. Panics if the features do not divide by the heads.
    pub fn init(&self, device: &Device) -> Gpt {
        assert!(self.is_valid(), "sizes must not be zero, and n_embd divide by n_head: {self:?}");
        let d = self.n_embd;
        let normal = |std| Initializer::Normal { mean: 0.0, std };
        let table = |n| EmbeddingConfig::new(n, d).with_initializer(normal(0.02)).init(device);
        let norm = || LayerNormConfig::new(d).init(device);
        let linear = |inputs, outputs, std| Linear {
            weight: normal(std).init::<2>([outputs, inputs], device).into(),
            bias: Some(Tensor::zeros([outputs], device).into()),
            lora: None,
        };
        // What a block adds to its input starts the smaller the more blocks there are.
        let small = 0.02 / (2.0 * self.n_layer as f64).sqrt();
        let block = |_| Block {
            ln_1: norm(),
            attn: CausalSelfAttention {
                c_attn: linear(d, 3 * d, 0.02),
                c_proj: linear(d, d, small),
                n_head: self.n_head,
            },
            ln_2: norm(),
            mlp: Mlp { c_fc: linear(d, 4 * d, 0.02), c_proj: linear(4 * d, d, small) },
        };
        let h = (0..self.n_layer).map(block).collect();
        let (wte, wpe) = (table(self.vocab_size), table(self.block_size));
        Gpt { transformer: Transformer { wte, wpe, h, ln_f: norm() }, config: self.clone() }
    }
}

impl Gpt {
    /// Tokens `[n, t]` to logits `[n, t, vocab_size]`.
    pub fn forward(&self, tokens: &Tensor<2, Int>) -> Tensor<3> {
        self.forward_next(tokens, None)
    }

    /// The same for tokens that follow those in the caches, of which each block has one.
    fn forward_next(&self, tokens: &Tensor<2, Int>, caches: Option<&mut [KvCache]>) -> Tensor<3> {
        let Transformer { wte, wpe, h, ln_f } = &self.transformer;
        let (start, [_, t]) = (caches.as_ref().map_or(0, |caches| caches[0].len()), tokens.dims());
        let positions = wpe.weight.narrow(0, start, t).unsqueeze_dim(0); // [1, t, d]
        let mut x = wte.forward::<2, 3>(tokens) + positions;
        let mut caches = caches.into_iter().flatten();
        for block in h {
            x = block.forward(x, caches.next());
        }
        module::linear_activation(&ln_f.forward(&x), &wte.weight, None, None)
    }

    /// Writes on after `prompt`, token by token. Each is drawn by its probability; a `temperature`
    /// below 1 prefers likely ones.
    pub fn generate(&self, prompt: &[i64], count: usize, temperature: f64) -> Vec<i64> {
        let GptConfig { block_size, n_layer, .. } = self.config;
        let device = self.transformer.wte.weight.device();
        let mut caches = vec![KvCache::with_capacity(block_size); n_layer];
        let mut text = prompt.to_vec();
        let mut new = text.len().min(block_size); // tokens that the caches lack
        no_grad(|| {
            for _ in 0..count {
                if caches[0].len() + new > block_size {
                    // Positions are used up: go on with the last half of what was seen.
                    caches.iter_mut().for_each(KvCache::clear);
                    new = block_size.div_ceil(2);
                }
                let tokens = TensorData::new(text[text.len() - new..].to_vec(), [1, new]);
                let tokens = Tensor::from_data(tokens, &device);
                let logits = self.forward_next(&tokens, Some(&mut caches));
                let last = logits.narrow(1, new - 1, 1).squeeze_dim::<2>(1); // [1, vocab_size]
                let probabilities = activation::softmax(last / temperature, 1);
                text.push(probabilities.categorical(1).item());
                new = 1;
            }
        });
        text
    }
}

impl Block {
    /// `[n, t, d]` to the same shape.
    fn forward(&self, x: Tensor<3>, cache: Option<&mut KvCache>) -> Tensor<3> {
        let x = &x + self.attn.forward(&self.ln_1.forward(&x), cache);
        &x + self.mlp.forward(&self.ln_2.forward(&x))
    }
}

impl CausalSelfAttention {
    /// Each token looks at itself and at those before it.
    fn forward(&self, x: &Tensor<3>, cache: Option<&mut KvCache>) -> Tensor<3> {
        let ([n, t, d], heads) = (x.dims(), self.n_head);
        let qkv = self.c_attn.forward(x).reshape([n, t, 3, heads, d / heads]);
        let qkv = qkv.permute([2, 0, 3, 1, 4]); // [3, n, heads, t, d / heads]
        let [query, key, value] = [0, 1, 2].map(|i| qkv.select_dim::<4>(0, i));
        let (key, value) = match cache {
            Some(cache) => cache.append(&key, &value),
            None => (key, value),
        };
        let options = module::AttentionModuleOptions { is_causal: true, ..Default::default() };
        let mixed = module::attention(query, key, value, None, None, options);
        self.c_proj.forward(&mixed.swap_dims(1, 2).reshape([n, t, d]))
    }
}

impl Mlp {
    fn forward(&self, x: &Tensor<3>) -> Tensor<3> {
        self.c_proj.forward(&self.c_fc.forward_activation(x, Activation::Gelu))
    }
}
