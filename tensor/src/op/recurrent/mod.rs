//! Recurrent layers over a whole sequence.

mod parts;
mod steps;

pub use parts::{RecurrentBackwardParts, RecurrentParts};

use smallvec::{SmallVec, smallvec};

use super::{Keeps, Meta, Metas, Operation, check};
use crate::{AnyTensor, Result};

/// What a recurrent layer computes in each step, from what the input gives its gates, `x`, and what
/// the last state gives them, `u = w_hh h + bias`. Gates and their order are those of PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecurrentCell {
    /// `i, f, g, o = x + u` through sigmoid, sigmoid, tanh, sigmoid; `c' = f c + i g` and
    /// `h' = o tanh(c')` (Hochreiter & Schmidhuber 1997, Gers et al. 2000).
    Lstm,
    /// `r` and `z` are the sigmoid of `x + u`, `n = tanh(x + r u)`, `h' = (1 - z) n + z h`
    /// (Cho et al. 2014).
    Gru,
    /// `h' = tanh(x + u)` (Elman 1990).
    Tanh,
    /// `h' = relu(x + u)`.
    Relu,
}

impl RecurrentCell {
    /// Gates: rows of a weight for each entry of the state.
    pub fn gates(self) -> usize {
        match self {
            RecurrentCell::Lstm => 4,
            RecurrentCell::Gru => 3,
            RecurrentCell::Tanh | RecurrentCell::Relu => 1,
        }
    }

    /// Values that are kept for backward, for each entry of the state: the gates, and for a GRU
    /// also `u` of `n`. The others need no more than the state itself.
    pub fn kept(self) -> usize {
        match self {
            RecurrentCell::Lstm | RecurrentCell::Gru => 4,
            RecurrentCell::Tanh | RecurrentCell::Relu => 0,
        }
    }

    /// Whether the state has cells beside `h`.
    pub fn has_cells(self) -> bool {
        self == RecurrentCell::Lstm
    }
}

/// One layer of a recurrent network in one direction, over a whole sequence: `torch.lstm`, `gru`,
/// `rnn_tanh` and `rnn_relu` after the product with the inputs.
///
/// Inputs: `x` `[time, batch, gates h]`, the inputs times their weight, with their bias; `w_hh`
/// `[gates h, h]`; the first state `h0` `[batch, h]`, for an LSTM also `c0` alike; the bias
/// `[gates h]` and the lengths `[batch]` if there are any. Results: `h` of all steps
/// `[time, batch, h]` and the last `h` `[batch, h]`, for an LSTM also the last `c`; then what
/// backward needs: the gates `[time, batch, 4 h]` of an LSTM or GRU, and `c` of all steps of an
/// LSTM.
///
/// Steps beyond the length of a row leave its state as it is, and give zeros. In reverse a row
/// starts at its last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recurrent {
    /// What each step computes.
    pub cell: RecurrentCell,
    /// Whether the last step comes first.
    pub reverse: bool,
    /// Whether the product with the state has a bias.
    pub bias: bool,
    /// Whether rows have lengths.
    pub lengths: bool,
}

impl Recurrent {
    /// `[time, batch, h]`, if the shapes fit.
    fn check(
        &self,
        op: &'static str,
        inputs: &[Meta],
        x: &Meta,
        rest: &[&Meta],
    ) -> Result<[usize; 3]> {
        let (gates, [w, h0, ..]) = (self.cell.gates(), rest) else { unreachable!() };
        if x.shape.rank() != 3 || w.shape.rank() != 2 || w.shape[0] != gates * w.shape[1] {
            let rule = format!("expected x [time, batch, {gates} h] and w_hh [{gates} h, h]");
            return Err(check::shape_error(op, inputs, rule));
        }
        let ([time, batch, wide], h) = (x.shape.dims(), w.shape[1]);
        if wide != gates * h || *h0.shape != [batch, h] {
            let rule =
                format!("expected x [time, batch, {gates} h] and states [batch, h], h is {h}");
            return Err(check::shape_error(op, inputs, rule));
        }
        Ok([time, batch, h])
    }
}

/// `metas` have these shapes and the dtype of the first.
fn expect(op: &'static str, inputs: &[Meta], metas: &[(Option<&Meta>, &[usize])]) -> Result<()> {
    for (meta, shape) in metas {
        if let Some(meta) = meta {
            if *meta.shape != **shape {
                let rule = format!("expected {shape:?} in place of {:?}", meta.shape);
                return Err(check::shape_error(op, inputs, rule));
            }
            if meta.dtype != inputs[0].dtype {
                let rule = "weights, states and gradients must have one dtype";
                return Err(check::dtype_error(op, inputs, rule));
            }
        }
    }
    Ok(())
}

fn check_lengths(
    op: &'static str,
    inputs: &[Meta],
    lengths: Option<&Meta>,
    batch: usize,
) -> Result<()> {
    let Some(lengths) = lengths else { return Ok(()) };
    check::indices(op, lengths)?;
    if *lengths.shape != [batch] {
        return Err(check::shape_error(op, inputs, format!("expected {batch} lengths")));
    }
    Ok(())
}

impl Operation for Recurrent {
    fn name(&self) -> &'static str {
        match self.cell {
            RecurrentCell::Lstm => "lstm",
            RecurrentCell::Gru => "gru",
            RecurrentCell::Tanh => "rnn_tanh",
            RecurrentCell::Relu => "rnn_relu",
        }
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let op = self.name();
        check::count(op, inputs, self.inputs())?;
        let all: SmallVec<[&Meta; 6]> = inputs.iter().collect();
        let p = self.parts(&all);
        check::floats(op, &inputs[..1])?;
        let [time, batch, h] = self.check(op, inputs, p.x, &[p.w, p.h0])?;
        let (state, wide) = ([batch, h], [self.cell.gates() * h]);
        let floats: [(_, &[usize]); 4] =
            [(Some(p.w), &p.w.shape[..]), (Some(p.h0), &state), (p.c0, &state), (p.bias, &wide)];
        expect(op, inputs, &floats)?;
        check_lengths(op, inputs, p.lengths, batch)?;
        let of = |shape: &[usize]| Meta::new(shape, p.x.dtype);
        let mut outputs: Metas = smallvec![of(&[time, batch, h]), of(&state)];
        outputs.extend(self.cell.has_cells().then(|| of(&state)));
        let kept = self.cell.kept();
        outputs.extend((kept > 0).then(|| of(&[time, batch, kept * h])));
        outputs.extend(self.cell.has_cells().then(|| of(&[time, batch, h])));
        Ok(outputs)
    }

    fn keeps(&self, _: u32) -> Keeps {
        // The inputs of the gates are for second derivatives, which take the smaller operations.
        let outputs = match self.cell {
            RecurrentCell::Lstm => 0b11001,
            RecurrentCell::Gru => 0b101,
            RecurrentCell::Tanh | RecurrentCell::Relu => 1,
        };
        Keeps { inputs: u32::MAX, outputs }
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        let (rows, h) = (inputs[0].len() as u64, inputs[1].shape[1] as u64);
        rows * (2 * h + 12)
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        Some(steps::forward(self, &self.parts(inputs)))
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{float, float_in, int};
        for (op, [time, batch, h]) in sampled() {
            let (wide, state) = (op.cell.gates() * h, float([batch, h]));
            // A large weight would magnify the roundings of one step in the next, as no layer does.
            let w = if batch > 10 { float_in([wide, h], -0.3, 0.3) } else { float([wide, h]) };
            let mut inputs = vec![float([time, batch, wide]), w, state];
            inputs.extend(op.cell.has_cells().then_some(state));
            inputs.extend(op.bias.then(|| float([wide])));
            inputs.extend(op.lengths.then(|| int([batch], 0, time as i64 + 1)));
            // The gradient of a ReLU jumps, and one of the steps may come near.
            if op.cell == RecurrentCell::Relu || batch > 10 {
                samples.rough(op, inputs);
            } else {
                samples.case(op, inputs);
            }
        }
    }
}

/// Every cell with every option, and a batch that is divided among threads.
#[cfg(any(test, feature = "samples"))]
fn sampled() -> Vec<(Recurrent, [usize; 3])> {
    use RecurrentCell::*;
    let mut all = Vec::new();
    for cell in [Lstm, Gru, Tanh, Relu] {
        let plain = Recurrent { cell, reverse: false, bias: false, lengths: false };
        all.push((plain, [3, 2, 2]));
        all.push((Recurrent { bias: true, lengths: true, ..plain }, [3, 3, 1]));
        all.push((Recurrent { reverse: true, lengths: true, ..plain }, [3, 3, 2]));
        all.push((plain, [0, 2, 2]));
    }
    let large = Recurrent { cell: Lstm, reverse: true, bias: true, lengths: true };
    all.push((large, [5, 41, 37]));
    all.push((Recurrent { cell: Gru, ..large }, [7, 41, 37]));
    all
}

/// The gradient of [`Recurrent`].
///
/// Inputs: `w_hh`, `h0`, `c0` of an LSTM; the results `h` of all steps, gates of an LSTM or GRU, `c`
/// of all steps of an LSTM; the gradients of `h` of all steps and of the last `h`, for an LSTM also
/// of the last `c`; the lengths if there are any. Results: the gradients of `x`, `w_hh`, `h0`, `c0`
/// of an LSTM and of the bias if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecurrentBackward {
    /// The operation that this is the gradient of.
    pub layer: Recurrent,
}

impl Operation for RecurrentBackward {
    fn name(&self) -> &'static str {
        match self.layer.cell {
            RecurrentCell::Lstm => "lstm_backward",
            RecurrentCell::Gru => "gru_backward",
            RecurrentCell::Tanh => "rnn_tanh_backward",
            RecurrentCell::Relu => "rnn_relu_backward",
        }
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let op = self.name();
        check::count(op, inputs, self.inputs())?;
        let all: SmallVec<[&Meta; 10]> = inputs.iter().collect();
        let p = self.parts(&all);
        check::floats(op, &inputs[..1])?;
        let (cell, rank) = (self.layer.cell, p.y.shape.rank());
        let wide = if rank == 3 { cell.gates() * p.y.shape[2] } else { 0 };
        let x = Meta::new(p.y.shape.with(rank.max(1) - 1, wide), p.w.dtype);
        let [time, batch, h] = self.layer.check(op, inputs, &x, &[p.w, p.h0])?;
        let (state, steps) = ([batch, h], [time, batch, h]);
        let floats: [(_, &[usize]); 8] = [
            (Some(p.h0), &state),
            (p.c0, &state),
            (Some(p.y), &steps),
            (p.gates, &[time, batch, cell.kept() * h]),
            (p.cells, &steps),
            (Some(p.dy), &steps),
            (Some(p.dh), &state),
            (p.dc, &state),
        ];
        expect(op, inputs, &floats)?;
        check_lengths(op, inputs, p.lengths, batch)?;
        let mut outputs: Metas = smallvec![x, *p.w, *p.h0];
        outputs.extend(p.c0.copied());
        outputs.extend(self.layer.bias.then(|| Meta::new([wide], p.w.dtype)));
        Ok(outputs)
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::INPUTS
    }

    fn flops(&self, inputs: &[Meta], outputs: &[Meta]) -> u64 {
        outputs[0].len() as u64 * (4 * inputs[0].shape[1] as u64 + 12)
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        Some(steps::backward(&self.layer, &self.parts(inputs)))
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{float, float_in, int};
        for (layer, [time, batch, h]) in sampled() {
            let cell = layer.cell;
            let (state, steps) = (float([batch, h]), float([time, batch, h]));
            let reach = if batch > 10 { 0.3 } else { 2.0 };
            let mut inputs = vec![float_in([cell.gates() * h, h], -reach, reach), state];
            inputs.extend(cell.has_cells().then_some(state));
            inputs.push(steps);
            let kept = float_in([time, batch, cell.kept() * h], 0.1, 0.9);
            inputs.extend((cell.kept() > 0).then_some(kept));
            inputs.extend(cell.has_cells().then_some(steps));
            inputs.extend([steps, state]);
            inputs.extend(cell.has_cells().then_some(state));
            inputs.extend(layer.lengths.then(|| int([batch], 0, time as i64 + 1)));
            if cell == RecurrentCell::Relu || batch > 10 {
                samples.rough(RecurrentBackward { layer }, inputs);
            } else {
                samples.case(RecurrentBackward { layer }, inputs);
            }
        }
    }
}
