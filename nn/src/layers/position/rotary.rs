//! Positions as rotations.

use kiln_tensor::{Device, Error, Int, Tensor, TensorData, fail};

use crate::{Config, Module};

/// Which two features turn together.
#[derive(Config, Copy, Debug, PartialEq, Eq)]
pub enum RotaryLayout {
    /// Neighbours, `2 i` and `2 i + 1`: the paper, Burn, GPT-J, the first files of Llama.
    Interleaved,
    /// `i` and `i + d / 2`: Hugging Face's models, GPT-NeoX.
    HalfSplit,
}

/// What a [`RotaryEncoding`] is made of.
#[derive(Config, Debug)]
pub struct RotaryEncodingConfig {
    /// Tokens of the longest sequence.
    pub max_sequence_length: usize,
    /// Features of a head, an even number.
    pub d_model: usize,
    /// The slowest pair of features turns by about `1 / theta` per token; larger for longer
    /// contexts.
    #[config(default = 10_000.0)]
    pub theta: f32,
    /// Which two features turn together; files from Hugging Face want
    /// [`RotaryLayout::HalfSplit`].
    #[config(default = RotaryLayout::Interleaved)]
    pub layout: RotaryLayout,
}

impl RotaryEncodingConfig {
    /// Makes the layer. Panics if `d_model` is odd or `theta` not positive.
    #[track_caller]
    pub fn init(&self, device: &Device) -> RotaryEncoding {
        self.init_with_frequency_scaling(|frequencies| frequencies, device)
    }

    /// As [`RotaryEncodingConfig::init`] with other angles per token: `scaling` is given those of
    /// the pairs, `[d / 2]`, and returns its own, which stretches a model to longer contexts.
    #[track_caller]
    pub fn init_with_frequency_scaling(
        &self,
        scaling: impl Fn(Tensor<1>) -> Tensor<1>,
        device: &Device,
    ) -> RotaryEncoding {
        let Self { max_sequence_length, d_model, theta, layout } = *self;
        if d_model % 2 != 0 || theta <= 0.0 {
            let rule = format!("an even d_model and a positive theta, found {d_model} and {theta}");
            fail(Error::Argument { op: "rotary_encoding", rule });
        }
        let half = d_model / 2;
        let frequency = |i: usize| f64::from(theta).powf(-2.0 * i as f64 / d_model as f64);
        let frequencies: Vec<f64> = (0..half).map(frequency).collect();
        let frequencies = scaling(Tensor::from_data(TensorData::new(frequencies, [half]), device));
        let positions = Tensor::<1, Int>::arange(0..max_sequence_length as i64, device).float();
        let angles = positions.reshape([max_sequence_length, 1]) * frequencies.reshape([1, half]);
        RotaryEncoding { cos: angles.cos(), sin: angles.sin(), layout }
    }
}

/// Turns pairs of features of queries and keys by an angle that grows with the position, so that
/// their product depends on the distance alone (Su et al. 2021). Nothing is trained or saved.
///
/// ```
/// use kiln_nn::RotaryEncodingConfig;
/// use kiln_tensor::{Device, Tensor};
/// let rotary = RotaryEncodingConfig::new(16, 2).init(&Device::cpu());
/// let x = Tensor::<2>::from([[1.0, 0.0], [1.0, 0.0]]);
/// let y = rotary.forward(&x).into_data().to_vec::<f32>()?;
/// assert_eq!(y[..2], [1.0, 0.0]);
/// assert!((y[2] - 1f32.cos()).abs() < 1e-6 && (y[3] - 1f32.sin()).abs() < 1e-6);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct RotaryEncoding {
    /// `[max, d / 2]`
    #[module(skip)]
    pub cos: Tensor<2>,
    /// `[max, d / 2]`
    #[module(skip)]
    pub sin: Tensor<2>,
    #[module(skip)]
    layout: RotaryLayout,
}

impl RotaryEncoding {
    /// `[.., t, d]` to the same shape.
    #[track_caller]
    pub fn forward<const D: usize>(&self, x: &Tensor<D>) -> Tensor<D> {
        self.apply(x, 0)
    }

    /// [`RotaryEncoding::forward`] of tokens from position `start` on. Panics if there are more
    /// positions than the layer was made for.
    #[track_caller]
    pub fn apply<const D: usize>(&self, x: impl AsRef<Tensor<D>>, start: usize) -> Tensor<D> {
        let x = x.as_ref();
        let [max, half] = self.cos.dims();
        let shape = x.shape();
        let fits = D >= 2 && shape[D - 1] == 2 * half && start + shape[D - 2] <= max;
        if !fits {
            let d = 2 * half;
            let rule = format!("expected [.., t, {d}] with at most {max} tokens from {start} on");
            fail(Error::Shape { op: "rotary_encoding", shapes: vec![shape], rule });
        }
        let (t, rest) = (shape[D - 2], shape[..D - 2].iter().product::<usize>());
        // The axis of the two features of a pair.
        let (pair, pairs, table) = match self.layout {
            RotaryLayout::Interleaved => (3, [rest, t, half, 2], [1, t, half, 1]),
            RotaryLayout::HalfSplit => (2, [rest, t, 2, half], [1, t, 1, half]),
        };
        let pairs: Tensor<4> = x.reshape(pairs);
        let (a, b) = (pairs.narrow(pair, 0, 1), pairs.narrow(pair, 1, 1));
        // The model can have moved to another device or dtype.
        let table = |values: &Tensor<2>| {
            let values = values.narrow(0, start, t).reshape(table);
            values.to_device(&x.device()).cast(x.dtype())
        };
        let (cos, sin) = (table(&self.cos), table(&self.sin));
        let turned = [&a * &cos - &b * &sin, a * sin + b * cos];
        Tensor::cat(turned, pair).reshape(shape)
    }
}
