//! Gated recurrent units.

use kiln_tensor::op::RecurrentCell;
use kiln_tensor::{Device, Int, Tensor};

use super::{Options, Stack, Weights, transparent, zeros};
use crate::{Config, Initializer};

/// What a [`Gru`] is made of.
#[derive(Config, Debug)]
pub struct GruConfig {
    /// Features of the input.
    pub d_input: usize,
    /// Features of the state.
    pub d_hidden: usize,
    /// With or without biases.
    pub bias: bool,
    /// Layers on top of each other.
    #[config(default = 1)]
    pub num_layers: usize,
    /// Whether each layer also goes through the sequence from its end; the features of both
    /// directions are joined.
    #[config(default = false)]
    pub bidirectional: bool,
    /// Probability of zero between layers, in training.
    #[config(default = 0.0)]
    pub dropout: f64,
    /// Whether inputs and outputs are `[batch, time, ..]` instead of `[time, batch, ..]`.
    #[config(default = true)]
    pub batch_first: bool,
    /// Whether to go through the sequence from its end.
    #[config(default = false)]
    pub reverse: bool,
    /// Other first values than PyTorch's, which are uniform within `1 / sqrt(d_hidden)`.
    #[config(default = Initializer::layer_default())]
    pub initializer: Initializer,
}

impl GruConfig {
    /// Makes the layer. Panics if there are no layers or no features.
    #[track_caller]
    pub fn init(&self, device: &Device) -> Gru {
        let options = Options {
            cell: RecurrentCell::Gru,
            sizes: [self.d_input, self.d_hidden],
            proj: 0,
            bias: self.bias,
            layers: self.num_layers,
            bidirectional: self.bidirectional,
            reverse: self.reverse,
            dropout: self.dropout,
            batch_first: self.batch_first,
            initializer: &self.initializer,
        };
        Gru { stack: Stack::new(options, device) }
    }
}

/// `torch.nn.GRU` (Cho et al. 2014) with its parameters: the reset gate comes after the product.
///
/// ```
/// use kiln_nn::GruConfig;
/// use kiln_tensor::{Device, Tensor};
/// let gru = GruConfig::new(3, 5, true).with_bidirectional(true).init(&Device::cpu());
/// let (y, last) = gru.forward(&Tensor::<3>::zeros([4, 7, 3], &Device::cpu()), None);
/// assert_eq!((y.dims(), last.dims()), ([4, 7, 10], [2, 4, 5]));
/// ```
#[derive(Clone, Debug)]
pub struct Gru {
    stack: Stack,
}

impl Gru {
    /// `x` `[batch, time, in]`, or `[time, batch, in]` if not batch first; the first state
    /// `[layers x directions, batch, h]` is zero if none is given. Results: `h` of the last layer
    /// at all steps, both directions joined, and the last state. Panics if the shapes do not fit.
    #[track_caller]
    pub fn forward(&self, x: &Tensor<3>, state: Option<Tensor<3>>) -> (Tensor<3>, Tensor<3>) {
        self.run(x, state, None)
    }

    /// As [`Gru::forward`] of sequences of different lengths `[batch]`, as PyTorch computes packed
    /// sequences: beyond the length of a row its output is zero and its state stays.
    #[track_caller]
    pub fn forward_lengths(
        &self,
        x: &Tensor<3>,
        state: Option<Tensor<3>>,
        lengths: &Tensor<1, Int>,
    ) -> (Tensor<3>, Tensor<3>) {
        self.run(x, state, Some(lengths))
    }

    #[track_caller]
    fn run(
        &self,
        x: &Tensor<3>,
        state: Option<Tensor<3>>,
        lengths: Option<&Tensor<1, Int>>,
    ) -> (Tensor<3>, Tensor<3>) {
        let (y, mut last) = self.stack.run(x, state.map(|h| vec![h.into_any()]), lengths);
        (y, last.pop().expect("a GRU has a state"))
    }
}

/// What a [`GruCell`] is made of.
#[derive(Config, Debug)]
pub struct GruCellConfig {
    /// Features of the input.
    pub d_input: usize,
    /// Features of the state.
    pub d_hidden: usize,
    /// With or without biases.
    pub bias: bool,
    /// Other first values than PyTorch's, which are uniform within `1 / sqrt(d_hidden)`.
    #[config(default = Initializer::layer_default())]
    pub initializer: Initializer,
}

impl GruCellConfig {
    /// Makes the cell.
    pub fn init(&self, device: &Device) -> GruCell {
        let sizes = [self.d_input, self.d_hidden, 0];
        let init = &self.initializer;
        GruCell { weights: Weights::init(RecurrentCell::Gru, sizes, self.bias, init, device) }
    }
}

/// `torch.nn.GRUCell`: one step of a GRU.
#[derive(Clone, Debug)]
pub struct GruCell {
    weights: Weights,
}

impl GruCell {
    /// `x` `[batch, in]`; the state before, `[batch, h]`, is zero if none is given. Result: the
    /// state after.
    #[track_caller]
    pub fn forward(&self, x: &Tensor<2>, state: Option<Tensor<2>>) -> Tensor<2> {
        let zero = || zeros([x.dims()[0], self.weights.hidden()], x.as_any());
        let state = state.map_or_else(zero, Tensor::into_any);
        self.weights.step(RecurrentCell::Gru, x, &[state]).pop().expect("a GRU has a state")
    }
}

transparent!(Gru.stack, GruCell.weights);
