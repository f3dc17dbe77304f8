//! Plain recurrent layers.

use kiln_tensor::op::RecurrentCell;
use kiln_tensor::{Device, Int, Tensor};

use super::{Options, Stack, Weights, transparent, zeros};
use crate::{Config, Initializer};

/// What the state of an [`Rnn`] goes through in each step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum RnnNonlinearity {
    /// The hyperbolic tangent.
    #[default]
    Tanh,
    /// `max(x, 0)`
    Relu,
}

impl RnnNonlinearity {
    fn cell(self) -> RecurrentCell {
        match self {
            RnnNonlinearity::Tanh => RecurrentCell::Tanh,
            RnnNonlinearity::Relu => RecurrentCell::Relu,
        }
    }
}

/// What an [`Rnn`] is made of.
#[derive(Config, Debug)]
pub struct RnnConfig {
    /// Features of the input.
    pub d_input: usize,
    /// Features of the state.
    pub d_hidden: usize,
    /// With or without biases.
    pub bias: bool,
    /// What the state goes through in each step.
    #[config(default = RnnNonlinearity::Tanh)]
    pub nonlinearity: RnnNonlinearity,
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

impl RnnConfig {
    /// Makes the layer. Panics if there are no layers or no features.
    #[track_caller]
    pub fn init(&self, device: &Device) -> Rnn {
        let options = Options {
            cell: self.nonlinearity.cell(),
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
        Rnn { stack: Stack::new(options, device) }
    }
}

/// The state of an [`Rnn`], `[layers x directions, batch, h]`.
#[derive(Clone, Debug)]
pub struct RnnState {
    /// `h`
    pub hidden: Tensor<3>,
}

impl RnnState {
    /// A state of these values.
    pub fn new(hidden: Tensor<3>) -> Self {
        Self { hidden }
    }
}

/// `torch.nn.RNN` (Elman 1990) with its parameters: `h' = tanh(x w_ih^T + h w_hh^T + biases)`.
///
/// ```
/// use kiln_nn::RnnConfig;
/// use kiln_tensor::{Device, Tensor};
/// let rnn = RnnConfig::new(3, 5, true).init(&Device::cpu());
/// let (y, state) = rnn.forward(&Tensor::<3>::zeros([4, 7, 3], &Device::cpu()), None);
/// assert_eq!((y.dims(), state.hidden.dims()), ([4, 7, 5], [1, 4, 5]));
/// ```
#[derive(Clone, Debug)]
pub struct Rnn {
    stack: Stack,
}

impl Rnn {
    /// `x` `[batch, time, in]`, or `[time, batch, in]` if not batch first; the first state is zero
    /// if none is given. Results: `h` of the last layer at all steps, both directions joined, and
    /// the last states of all layers. Panics if the shapes do not fit.
    #[track_caller]
    pub fn forward(&self, x: &Tensor<3>, state: Option<RnnState>) -> (Tensor<3>, RnnState) {
        self.run(x, state, None)
    }

    /// As [`Rnn::forward`] of sequences of different lengths `[batch]`, as PyTorch computes packed
    /// sequences: beyond the length of a row its output is zero and its state stays.
    #[track_caller]
    pub fn forward_lengths(
        &self,
        x: &Tensor<3>,
        state: Option<RnnState>,
        lengths: &Tensor<1, Int>,
    ) -> (Tensor<3>, RnnState) {
        self.run(x, state, Some(lengths))
    }

    #[track_caller]
    fn run(
        &self,
        x: &Tensor<3>,
        state: Option<RnnState>,
        lengths: Option<&Tensor<1, Int>>,
    ) -> (Tensor<3>, RnnState) {
        let state = state.map(|state| vec![state.hidden.into_any()]);
        let (y, mut last) = self.stack.run(x, state, lengths);
        (y, RnnState { hidden: last.pop().expect("an RNN has a state") })
    }
}

/// What an [`RnnCell`] is made of.
#[derive(Config, Debug)]
pub struct RnnCellConfig {
    /// Features of the input.
    pub d_input: usize,
    /// Features of the state.
    pub d_hidden: usize,
    /// With or without biases.
    pub bias: bool,
    /// What the state goes through.
    #[config(default = RnnNonlinearity::Tanh)]
    pub nonlinearity: RnnNonlinearity,
    /// Other first values than PyTorch's, which are uniform within `1 / sqrt(d_hidden)`.
    #[config(default = Initializer::layer_default())]
    pub initializer: Initializer,
}

impl RnnCellConfig {
    /// Makes the cell.
    pub fn init(&self, device: &Device) -> RnnCell {
        let (cell, sizes) = (self.nonlinearity.cell(), [self.d_input, self.d_hidden, 0]);
        RnnCell { weights: Weights::init(cell, sizes, self.bias, &self.initializer, device), cell }
    }
}

/// `torch.nn.RNNCell`: one step of a plain recurrent layer.
#[derive(Clone, Debug)]
pub struct RnnCell {
    weights: Weights,
    cell: RecurrentCell,
}

impl RnnCell {
    /// `x` `[batch, in]`; the state before, `[batch, h]`, is zero if none is given. Result: the
    /// state after.
    #[track_caller]
    pub fn forward(&self, x: &Tensor<2>, state: Option<Tensor<2>>) -> Tensor<2> {
        let zero = || zeros([x.dims()[0], self.weights.hidden()], x.as_any());
        let state = state.map_or_else(zero, Tensor::into_any);
        self.weights.step(self.cell, x, &[state]).pop().expect("an RNN has a state")
    }
}

transparent!(Rnn.stack, RnnCell.weights);
