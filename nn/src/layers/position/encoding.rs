//! Positions that are added to what the tokens mean.

use kiln_tensor::{Device, Error, Tensor, TensorData, fail};

use crate::{Config, Initializer, Module, Param};

/// What a [`PositionalEncoding`] is made of.
#[derive(Config, Debug)]
pub struct PositionalEncodingConfig {
    /// Features of a token, an even number.
    pub d_model: usize,
    /// Tokens of the longest sequence.
    #[config(default = 5_000)]
    pub max_sequence_size: usize,
    /// The longest wave takes this many tokens times two pi.
    #[config(default = 10_000)]
    pub max_timescale: usize,
}

impl PositionalEncodingConfig {
    /// Makes the layer. Panics if `d_model` is odd.
    #[track_caller]
    pub fn init(&self, device: &Device) -> PositionalEncoding {
        let Self { d_model, max_sequence_size, max_timescale } = *self;
        let sinusoids = generate_sinusoids(max_sequence_size, d_model, max_timescale, device);
        PositionalEncoding { sinusoids }
    }
}

/// Adds waves of different lengths, which are neither trained nor saved (Vaswani et al. 2017).
///
/// ```
/// use kiln_nn::PositionalEncodingConfig;
/// use kiln_tensor::{Device, Tensor};
/// let layer = PositionalEncodingConfig::new(4).init(&Device::cpu());
/// let y = layer.forward(&Tensor::zeros([1, 1, 4], &Device::cpu()));
/// assert_eq!(y.into_data().to_vec::<f32>()?, [0.0, 1.0, 0.0, 1.0]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct PositionalEncoding {
    /// `[max, d]`
    #[module(skip)]
    pub sinusoids: Tensor<2>,
}

impl PositionalEncoding {
    /// `[n, t, d]` to the same shape. Panics if there are more tokens than positions.
    #[track_caller]
    pub fn forward(&self, x: &Tensor<3>) -> Tensor<3> {
        self.forward_from(x, 0)
    }

    /// [`PositionalEncoding::forward`] of tokens from position `start` on.
    #[track_caller]
    pub fn forward_from(&self, x: &Tensor<3>, start: usize) -> Tensor<3> {
        // Model and input can have moved to another device or dtype.
        let table = self.sinusoids.to_device(&x.device()).cast(x.dtype());
        add_rows("positional_encoding", x, &table, start)
    }
}

/// `[length, d_model]`: `sin(p / max_timescale^(2 i / d_model))` in the even places and the cosine
/// behind it, for position `p`.
#[track_caller]
pub fn generate_sinusoids(
    length: usize,
    d_model: usize,
    max_timescale: usize,
    device: &Device,
) -> Tensor<2> {
    if !d_model.is_multiple_of(2) {
        let rule = format!("sines and cosines need an even number of features, found {d_model}");
        fail(Error::Argument { op: "generate_sinusoids", rule });
    }
    let wave = |index: usize| {
        let (position, feature) = (index / d_model, index % d_model);
        let exponent = (feature - feature % 2) as f64 / d_model as f64;
        let angle = position as f64 * (max_timescale as f64).powf(-exponent);
        if feature % 2 == 0 { angle.sin() } else { angle.cos() }
    };
    let values: Vec<f64> = (0..length * d_model).map(wave).collect();
    Tensor::from_data(TensorData::new(values, [length, d_model]), device)
}

/// What a [`LearnedPositionalEncoding`] is made of.
#[derive(Config, Debug)]
pub struct LearnedPositionalEncodingConfig {
    /// Tokens of the longest sequence.
    pub max_sequence_size: usize,
    /// Features of a token.
    pub d_model: usize,
    /// First values; those of GPT-2 if not set.
    #[config(default = Initializer::Normal { mean: 0.0, std: 0.02 })]
    pub initializer: Initializer,
}

impl LearnedPositionalEncodingConfig {
    /// Makes the layer.
    pub fn init(&self, device: &Device) -> LearnedPositionalEncoding {
        let shape = [self.max_sequence_size, self.d_model];
        LearnedPositionalEncoding { weight: self.initializer.init::<2>(shape, device).into() }
    }
}

/// Adds a trained vector for each position, as in GPT-2 and BERT: a `torch.nn.Embedding` of the
/// positions, with its names.
#[derive(Clone, Debug, Module)]
pub struct LearnedPositionalEncoding {
    /// `[max, d]`
    pub weight: Param<Tensor<2>>,
}

impl LearnedPositionalEncoding {
    /// `[n, t, d]` to the same shape. Panics if there are more tokens than positions.
    #[track_caller]
    pub fn forward(&self, x: &Tensor<3>) -> Tensor<3> {
        self.forward_from(x, 0)
    }

    /// [`LearnedPositionalEncoding::forward`] of tokens from position `start` on.
    #[track_caller]
    pub fn forward_from(&self, x: &Tensor<3>, start: usize) -> Tensor<3> {
        add_rows("learned_positional_encoding", x, &self.weight, start)
    }
}

/// `x` `[n, t, d]` plus the rows of `table` `[max, d]` from `start` on.
#[track_caller]
fn add_rows(op: &'static str, x: &Tensor<3>, table: &Tensor<2>, start: usize) -> Tensor<3> {
    let ([_, t, d], [max, features]) = (x.dims(), table.dims());
    if d != features || start + t > max {
        let rule = format!("expected [n, t, {features}] with at most {max} tokens from {start} on");
        fail(Error::Shape { op, shapes: vec![x.shape(), table.shape()], rule });
    }
    x.add(table.narrow(0, start, t).unsqueeze::<3>())
}
