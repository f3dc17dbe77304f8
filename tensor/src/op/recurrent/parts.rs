//! The inputs of the operations by name.

use super::{Recurrent, RecurrentBackward};

/// The inputs of a [`Recurrent`].
#[derive(Clone, Copy, Debug)]
pub struct RecurrentParts<'a, X> {
    /// The inputs times their weight, with their bias: `[time, batch, gates h]`.
    pub x: &'a X,
    /// The weight of the state, `[gates h, h]`.
    pub w: &'a X,
    /// The first state, `[batch, h]`.
    pub h0: &'a X,
    /// The first cells of an LSTM, `[batch, h]`.
    pub c0: Option<&'a X>,
    /// The bias of the product with the state, `[gates h]`.
    pub bias: Option<&'a X>,
    /// The lengths of the rows, `[batch]`.
    pub lengths: Option<&'a X>,
}

/// The inputs of a [`RecurrentBackward`].
#[derive(Clone, Copy, Debug)]
pub struct RecurrentBackwardParts<'a, X> {
    /// The weight of the state, `[gates h, h]`.
    pub w: &'a X,
    /// The first state, `[batch, h]`.
    pub h0: &'a X,
    /// The first cells of an LSTM, `[batch, h]`.
    pub c0: Option<&'a X>,
    /// `h` of all steps, `[time, batch, h]`.
    pub y: &'a X,
    /// The gates of an LSTM or GRU, `[time, batch, 4 h]`.
    pub gates: Option<&'a X>,
    /// The cells of all steps of an LSTM, `[time, batch, h]`.
    pub cells: Option<&'a X>,
    /// The gradient of `y`.
    pub dy: &'a X,
    /// The gradient of the last `h`, `[batch, h]`.
    pub dh: &'a X,
    /// The gradient of the last cells of an LSTM, `[batch, h]`.
    pub dc: Option<&'a X>,
    /// The lengths of the rows, `[batch]`.
    pub lengths: Option<&'a X>,
}

impl Recurrent {
    pub(super) fn inputs(&self) -> usize {
        3 + self.cell.has_cells() as usize + self.bias as usize + self.lengths as usize
    }

    /// `inputs` that [`Operation::infer`](super::Operation::infer) accepts, by name.
    pub fn parts<'a, X>(&self, inputs: &[&'a X]) -> RecurrentParts<'a, X> {
        let mut rest = inputs[3..].iter().copied();
        let mut next = |is_there: bool| if is_there { rest.next() } else { None };
        RecurrentParts {
            x: inputs[0],
            w: inputs[1],
            h0: inputs[2],
            c0: next(self.cell.has_cells()),
            bias: next(self.bias),
            lengths: next(self.lengths),
        }
    }
}

impl RecurrentBackward {
    pub(super) fn inputs(&self) -> usize {
        let cell = self.layer.cell;
        let kept = (cell.kept() > 0) as usize;
        5 + kept + 3 * cell.has_cells() as usize + self.layer.lengths as usize
    }

    /// `inputs` that [`Operation::infer`](super::Operation::infer) accepts, by name.
    pub fn parts<'a, X>(&self, inputs: &[&'a X]) -> RecurrentBackwardParts<'a, X> {
        let cell = self.layer.cell;
        let mut rest = inputs.iter().copied();
        let mut maybe = |is_there: bool| if is_there { rest.next() } else { None };
        let count = "infer has counted the inputs";
        RecurrentBackwardParts {
            w: maybe(true).expect(count),
            h0: maybe(true).expect(count),
            c0: maybe(cell.has_cells()),
            y: maybe(true).expect(count),
            gates: maybe(cell.kept() > 0),
            cells: maybe(cell.has_cells()),
            dy: maybe(true).expect(count),
            dh: maybe(true).expect(count),
            dc: maybe(cell.has_cells()),
            lengths: maybe(self.layer.lengths),
        }
    }
}
