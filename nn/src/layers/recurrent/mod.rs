//! Recurrent layers: what LSTM, GRU and plain ones have in common.

mod gru;
mod lstm;
mod projected;
mod rnn;

use kiln_tensor::op::{Meta, Recurrent, RecurrentCell};
use kiln_tensor::{AnyTensor, Device, Error, Int, Outputs, Shape, Tensor, fail, module};

pub use gru::{Gru, GruCell, GruCellConfig, GruConfig};
pub use lstm::{Lstm, LstmCell, LstmCellConfig, LstmConfig, LstmState};
pub use rnn::{Rnn, RnnCell, RnnCellConfig, RnnConfig, RnnNonlinearity, RnnState};

use super::{Dropout, DropoutConfig};
use crate::{Initializer, Layer, Module, Param, Path, Visitor, VisitorMut};

/// The parameters of one layer in one direction. A weight has the rows of one gate after the other.
#[derive(Clone, Debug, Module)]
struct Weights {
    /// `[gates h, in]`
    weight_ih: Param<Tensor<2>>,
    /// `[gates h, h]`
    weight_hh: Param<Tensor<2>>,
    /// `[gates h]`
    bias_ih: Option<Param<Tensor<1>>>,
    /// `[gates h]`
    bias_hh: Option<Param<Tensor<1>>>,
    /// `[proj, h]`, of an LSTM with a projection; then it takes `proj` features in the place of `h`.
    weight_hr: Option<Param<Tensor<2>>>,
}

impl Weights {
    /// All start uniform within `1 / sqrt(h)`, unless the initializer says otherwise. Without a
    /// projection, `proj` is zero.
    fn init(
        cell: RecurrentCell,
        [inputs, h, proj]: [usize; 3],
        bias: bool,
        initializer: &Initializer,
        device: &Device,
    ) -> Self {
        let wide = cell.gates() * h;
        let matrix = |shape| initializer.init_with_fan::<2>(shape, h, h, device).into();
        let vector = || initializer.init_with_fan::<1>([wide], h, h, device).into();
        Self {
            weight_ih: matrix([wide, inputs]),
            weight_hh: matrix([wide, if proj > 0 { proj } else { h }]),
            bias_ih: bias.then(vector),
            bias_hh: bias.then(vector),
            weight_hr: (proj > 0).then(|| matrix([proj, h])),
        }
    }

    /// Features of the state `h`.
    fn hidden(&self) -> usize {
        self.weight_hh.dims()[1]
    }

    /// Features of the state `c`.
    fn memory(&self) -> usize {
        self.weight_hh.dims()[0] / RecurrentCell::Lstm.gates()
    }

    /// The layer over `x` `[time, batch, in]`. Results: those of [`Recurrent`].
    #[track_caller]
    fn run(
        &self,
        (cell, reverse): (RecurrentCell, bool),
        x: &AnyTensor,
        states: &[AnyTensor],
        lengths: Option<&AnyTensor>,
    ) -> Outputs {
        let biases = self.bias_ih.as_ref().zip(self.bias_hh.as_ref());
        // Only the reset gate of a GRU comes between the two biases.
        let together = biases
            .filter(|_| cell != RecurrentCell::Gru)
            .map(|(ih, hh)| ih.as_any().add(hh.as_any()));
        let ih = together.as_ref().or(self.bias_ih.as_ref().map(|bias| bias.as_any()));
        let gates = module::linear_any(x, self.weight_ih.as_any(), ih, None);
        if let Some(projection) = &self.weight_hr {
            return self.run_projected(projection.as_any(), reverse, &gates, states, lengths);
        }
        let hh = self.bias_hh.as_ref().filter(|_| together.is_none()).map(|bias| bias.as_any());
        let mut inputs = vec![self.weight_hh.as_any()];
        inputs.extend(states);
        inputs.extend(hh);
        inputs.extend(lengths);
        let op = Recurrent { cell, reverse, bias: hh.is_some(), lengths: lengths.is_some() };
        gates.apply_all(op, &inputs)
    }

    /// One step: `x` `[batch, in]` and states `[batch, h]` to the new states.
    #[track_caller]
    fn step(&self, cell: RecurrentCell, x: &Tensor<2>, states: &[AnyTensor]) -> Vec<Tensor<2>> {
        let x = x.unsqueeze_dim::<3>(0);
        let mut outputs = self.run((cell, false), x.as_any(), states, None).into_iter();
        outputs.next();
        outputs.take(states.len()).map(Tensor::from_any).collect()
    }
}

/// Zeros as the first state of `count` layers, `[count, batch, h]`, or of a cell, `[batch, h]`.
fn zeros(shape: impl Into<Shape>, like: &AnyTensor) -> AnyTensor {
    AnyTensor::full(Meta::new(shape, like.dtype()), 0, like.device())
}

/// What the config of each kind of layer says.
struct Options<'a> {
    cell: RecurrentCell,
    sizes: [usize; 2],
    /// Features of a projected state, or zero.
    proj: usize,
    bias: bool,
    layers: usize,
    bidirectional: bool,
    reverse: bool,
    dropout: f64,
    batch_first: bool,
    initializer: &'a Initializer,
}

/// Layers on top of each other, each in one direction or two.
#[derive(Clone, Debug)]
struct Stack {
    cell: RecurrentCell,
    /// Layer by layer, the reverse direction after the other.
    weights: Vec<Weights>,
    bidirectional: bool,
    reverse: bool,
    batch_first: bool,
    /// Between layers.
    dropout: Dropout,
}

impl Stack {
    #[track_caller]
    fn new(options: Options<'_>, device: &Device) -> Self {
        let Options { cell, sizes: [inputs, h], proj, bias, layers, bidirectional, .. } = options;
        let directions = 1 + bidirectional as usize;
        let weights = |i: usize| {
            let between = directions * if proj > 0 { proj } else { h };
            let inputs = if i < directions { inputs } else { between };
            Weights::init(cell, [inputs, h, proj], bias, options.initializer, device)
        };
        if layers == 0 || h == 0 {
            let rule = "at least one layer and one hidden feature are needed".into();
            fail(Error::Argument { op: "recurrent layer", rule });
        }
        if proj > 0 && proj >= h {
            let rule = format!("proj_size {proj} must be below the hidden features, {h}");
            fail(Error::Argument { op: "recurrent layer", rule });
        }
        Self {
            cell,
            weights: (0..layers * directions).map(weights).collect(),
            bidirectional,
            reverse: options.reverse,
            batch_first: options.batch_first,
            dropout: DropoutConfig::new(options.dropout).init(),
        }
    }

    fn directions(&self) -> usize {
        1 + self.bidirectional as usize
    }

    /// All layers over a sequence. `states` are `[layers directions, batch, h]`: `h`, for an LSTM
    /// also `c`; zeros if there are none. Results: the states of the last layer at all steps, and
    /// the last states of all layers in the form of the first.
    #[track_caller]
    fn run(
        &self,
        x: &Tensor<3>,
        states: Option<Vec<AnyTensor>>,
        lengths: Option<&Tensor<1, Int>>,
    ) -> (Tensor<3>, Vec<Tensor<3>>) {
        let swap = |x: &AnyTensor| if self.batch_first { x.swap_axes(0, 1) } else { x.clone() };
        let mut x = swap(x.as_any());
        let batch = x.shape()[1];
        // Features of `h`, and of `c` if there is one.
        let features = [self.weights[0].hidden(), self.weights[0].memory()];
        let count = if self.cell == RecurrentCell::Lstm { 2 } else { 1 };
        let shape = |state: usize| Shape::new([self.weights.len(), batch, features[state]]);
        for (i, state) in states.iter().flatten().enumerate().take(count) {
            let expected = shape(i);
            if state.shape() != expected {
                let what = "the first state must be [layers x directions, batch, h]";
                let (rule, shapes) =
                    (format!("{what}, {expected}"), vec![x.shape(), state.shape()]);
                fail(Error::Shape { op: "recurrent layer", shapes, rule });
            }
        }
        let states =
            states.unwrap_or_else(|| (0..count).map(|state| zeros(shape(state), &x)).collect());
        let lengths = lengths.map(Tensor::as_any);
        let mut last: Vec<Vec<AnyTensor>> = vec![Vec::new(); count];
        let directions = self.directions();
        for (layer, weights) in self.weights.chunks(directions).enumerate() {
            if layer > 0 {
                x = self.dropout.forward_any(&x);
            }
            // The product with the weight wants its rows one after the other.
            x = x.contiguous();
            let mut ways = Vec::new();
            for (direction, weights) in weights.iter().enumerate() {
                let i = layer * directions + direction;
                let first = |(state, features): (&AnyTensor, usize)| {
                    state.narrow(0, i, 1).reshape([batch, features])
                };
                let states: Vec<_> = states.iter().zip(features).map(first).collect();
                let reverse = self.reverse != (direction == 1);
                let mut outputs =
                    weights.run((self.cell, reverse), &x, &states, lengths).into_iter();
                ways.extend(outputs.next());
                last.iter_mut().zip(outputs).for_each(|(last, state)| last.push(state));
            }
            x = if let [one] = &ways[..] {
                one.clone()
            } else {
                AnyTensor::cat(&ways.iter().collect::<Vec<_>>(), 2)
            };
        }
        let stack = |states: Vec<AnyTensor>| {
            let states: Vec<_> =
                states.iter().map(|state| state.reshape([1, batch, state.shape()[1]])).collect();
            Tensor::from_any(match &states[..] {
                [one] => one.clone(),
                all => AnyTensor::cat(&all.iter().collect::<Vec<_>>(), 0),
            })
        };
        (Tensor::from_any(swap(&x)), last.into_iter().map(stack).collect())
    }

    /// The name of a parameter of the `i`-th weights, as PyTorch has it.
    fn name(&self, i: usize, kind: &str) -> String {
        let (layer, direction) = (i / self.directions(), i % self.directions());
        format!("{kind}_l{layer}{}", if direction == 1 { "_reverse" } else { "" })
    }
}

impl Module for Stack {
    fn visit(&self, path: &Path<'_>, visitor: &mut dyn Visitor) {
        for (i, weights) in self.weights.iter().enumerate() {
            let name = |kind| self.name(i, kind);
            weights.weight_ih.visit(&path.child(&name("weight_ih")), visitor);
            weights.weight_hh.visit(&path.child(&name("weight_hh")), visitor);
            weights.bias_ih.visit(&path.child(&name("bias_ih")), visitor);
            weights.bias_hh.visit(&path.child(&name("bias_hh")), visitor);
            weights.weight_hr.visit(&path.child(&name("weight_hr")), visitor);
        }
        self.dropout.visit(path, visitor);
    }

    fn visit_mut(&mut self, path: &Path<'_>, visitor: &mut dyn VisitorMut) {
        for i in 0..self.weights.len() {
            let [weight_ih, weight_hh, bias_ih, bias_hh, weight_hr] =
                ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"]
                    .map(|kind| self.name(i, kind));
            let weights = &mut self.weights[i];
            weights.weight_ih.visit_mut(&path.child(&weight_ih), visitor);
            weights.weight_hh.visit_mut(&path.child(&weight_hh), visitor);
            weights.bias_ih.visit_mut(&path.child(&bias_ih), visitor);
            weights.bias_hh.visit_mut(&path.child(&bias_hh), visitor);
            weights.weight_hr.visit_mut(&path.child(&weight_hr), visitor);
        }
        self.dropout.visit_mut(path, visitor);
    }
}

/// The parameters of a layer are those of what it is made of, under the same path.
macro_rules! transparent {
    ($($layer:ident . $inner:ident),*) => {$(
        impl crate::Module for $layer {
            fn visit(&self, path: &crate::Path<'_>, visitor: &mut dyn crate::Visitor) {
                crate::Module::visit(&self.$inner, path, visitor);
            }
            fn visit_mut(&mut self, path: &crate::Path<'_>, visitor: &mut dyn crate::VisitorMut) {
                crate::Module::visit_mut(&mut self.$inner, path, visitor);
            }
        }
    )*};
}
use transparent;
