//! The inputs of the operations by name.

use super::{Recurrent, RecurrentBackward};

/// The inputs of a [`Recurrent`].
pub(crate) struct Parts<'a, X> {
    pub x: &'a X,
    pub w: &'a X,
    pub h0: &'a X,
    pub c0: Option<&'a X>,
    pub bias: Option<&'a X>,
    pub lengths: Option<&'a X>,
}

/// The inputs of a [`RecurrentBackward`].
pub(crate) struct BackwardParts<'a, X> {
    pub w: &'a X,
    pub h0: &'a X,
    pub c0: Option<&'a X>,
    pub y: &'a X,
    pub gates: Option<&'a X>,
    pub cells: Option<&'a X>,
    pub dy: &'a X,
    pub dh: &'a X,
    pub dc: Option<&'a X>,
    pub lengths: Option<&'a X>,
}

impl Recurrent {
    pub(super) fn inputs(&self) -> usize {
        3 + self.cell.has_cells() as usize + self.bias as usize + self.lengths as usize
    }

    /// `inputs`, as many as [`Recurrent::inputs`], by name.
    pub(crate) fn parts<'a, X>(&self, inputs: &[&'a X]) -> Parts<'a, X> {
        let mut rest = inputs[3..].iter().copied();
        let mut next = |is_there: bool| if is_there { rest.next() } else { None };
        Parts {
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

    /// `inputs`, as many as [`RecurrentBackward::inputs`], by name.
    pub(crate) fn parts<'a, X>(&self, inputs: &[&'a X]) -> BackwardParts<'a, X> {
        let cell = self.layer.cell;
        let mut rest = inputs.iter().copied();
        let mut maybe = |is_there: bool| if is_there { rest.next() } else { None };
        let count = "infer has counted the inputs";
        BackwardParts {
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
