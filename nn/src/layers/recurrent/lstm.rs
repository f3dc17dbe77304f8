//! Long short-term memory.

use kiln_tensor::op::RecurrentCell;
use kiln_tensor::{AnyTensor, Device, Int, Tensor};

use super::{Options, Stack, Weights, transparent, zeros};
use crate::{Config, Initializer};

/// What an [`Lstm`] is made of.
#[derive(Config, Debug)]
pub struct LstmConfig {
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
    /// Features that the state `h` is projected to after each step, below `d_hidden`; none if zero.
    #[config(default = 0)]
    pub proj_size: usize,
    /// Other first values than PyTorch's, which are uniform within `1 / sqrt(d_hidden)`.
    #[config(default = Initializer::layer_default())]
    pub initializer: Initializer,
}

impl LstmConfig {
    /// Makes the layer. Panics if there are no layers or no features, or if `proj_size` is too large.
    #[track_caller]
    pub fn init(&self, device: &Device) -> Lstm {
        let options = Options {
            cell: RecurrentCell::Lstm,
            sizes: [self.d_input, self.d_hidden],
            proj: self.proj_size,
            bias: self.bias,
            layers: self.num_layers,
            bidirectional: self.bidirectional,
            reverse: self.reverse,
            dropout: self.dropout,
            batch_first: self.batch_first,
            initializer: &self.initializer,
        };
        Lstm { stack: Stack::new(options, device) }
    }
}

/// The state of an LSTM: `[layers x directions, batch, h]` of an [`Lstm`], `[batch, h]` of an
/// [`LstmCell`]. With `proj_size` the state `h` has as many features.
#[derive(Clone, Debug)]
pub struct LstmState<const D: usize = 3> {
    /// `c`
    pub cell: Tensor<D>,
    /// `h`
    pub hidden: Tensor<D>,
}

impl<const D: usize> LstmState<D> {
    /// A state of these values.
    pub fn new(cell: Tensor<D>, hidden: Tensor<D>) -> Self {
        Self { cell, hidden }
    }

    fn into_parts(self) -> Vec<AnyTensor> {
        vec![self.hidden.into_any(), self.cell.into_any()]
    }
}

/// `torch.nn.LSTM` (Hochreiter & Schmidhuber 1997), with its parameters, such as `weight_ih_l0` and
/// `bias_hh_l1_reverse`.
///
/// ```
/// use kiln_nn::LstmConfig;
/// use kiln_tensor::{Device, Tensor};
/// let lstm = LstmConfig::new(3, 5, true).with_num_layers(2).init(&Device::cpu());
/// let x = Tensor::<3>::zeros([4, 7, 3], &Device::cpu()); // [batch, time, features]
/// let (y, state) = lstm.forward(&x, None);
/// assert_eq!(y.dims(), [4, 7, 5]);
/// assert_eq!(state.hidden.dims(), [2, 4, 5]);
/// ```
#[derive(Clone, Debug)]
pub struct Lstm {
    stack: Stack,
}

impl Lstm {
    /// `x` `[batch, time, in]`, or `[time, batch, in]` if not batch first; the first state is zero
    /// if none is given. Results: `h` of the last layer at all steps, both directions joined, and
    /// the last states of all layers. Panics if the shapes do not fit.
    #[track_caller]
    pub fn forward(&self, x: &Tensor<3>, state: Option<LstmState>) -> (Tensor<3>, LstmState) {
        self.run(x, state, None)
    }

    /// As [`Lstm::forward`] of sequences of different lengths `[batch]`, as PyTorch computes packed
    /// sequences: beyond the length of a row its output is zero and its state stays.
    #[track_caller]
    pub fn forward_lengths(
        &self,
        x: &Tensor<3>,
        state: Option<LstmState>,
        lengths: &Tensor<1, Int>,
    ) -> (Tensor<3>, LstmState) {
        self.run(x, state, Some(lengths))
    }

    #[track_caller]
    fn run(
        &self,
        x: &Tensor<3>,
        state: Option<LstmState>,
        lengths: Option<&Tensor<1, Int>>,
    ) -> (Tensor<3>, LstmState) {
        let (y, mut last) = self.stack.run(x, state.map(LstmState::into_parts), lengths);
        let cell = last.pop().expect("an LSTM has two states");
        (y, LstmState { cell, hidden: last.pop().expect("an LSTM has two states") })
    }
}

/// What an [`LstmCell`] is made of.
#[derive(Config, Debug)]
pub struct LstmCellConfig {
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

impl LstmCellConfig {
    /// Makes the cell.
    pub fn init(&self, device: &Device) -> LstmCell {
        let sizes = [self.d_input, self.d_hidden, 0];
        let init = &self.initializer;
        LstmCell { weights: Weights::init(RecurrentCell::Lstm, sizes, self.bias, init, device) }
    }
}

/// `torch.nn.LSTMCell`: one step of an LSTM.
#[derive(Clone, Debug)]
pub struct LstmCell {
    weights: Weights,
}

impl LstmCell {
    /// `x` `[batch, in]`; the state before is zero if none is given.
    #[track_caller]
    pub fn forward(&self, x: &Tensor<2>, state: Option<LstmState<2>>) -> LstmState<2> {
        let zero = || vec![zeros([x.dims()[0], self.weights.hidden()], x.as_any()); 2];
        let states = state.map_or_else(zero, LstmState::into_parts);
        let mut new = self.weights.step(RecurrentCell::Lstm, x, &states);
        let cell = new.pop().expect("an LSTM has two states");
        LstmState { cell, hidden: new.pop().expect("an LSTM has two states") }
    }
}

transparent!(Lstm.stack, LstmCell.weights);
