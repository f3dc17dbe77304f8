//! What a recurrent layer computes between two products: gates and states of some rows.
//!
//! The entries of a row are taken a few at a time in arrays of fixed size, which become registers:
//! so many slices at once are more than the compiler will check for overlap.

use crate::cpu::float::Float;
use crate::cpu::simd::{Isa, Kernel};
use crate::op::RecurrentCell;

const LANES: usize = 16;
type Lanes<T> = [T; LANES];

/// Entries from `at` of part `i` of a row in parts of `h`; zeros beyond the part.
#[inline(always)]
fn load<T: Float>(row: &[T], i: usize, h: usize, at: usize) -> Lanes<T> {
    let part = &row[i * h..(i + 1) * h];
    if let Some(lanes) = part[at..].first_chunk() {
        return *lanes;
    }
    let mut lanes = [T::ZERO; LANES];
    lanes[..h - at].copy_from_slice(&part[at..]);
    lanes
}

/// The converse of [`load`].
#[inline(always)]
fn store<T: Float>(row: &mut [T], i: usize, h: usize, at: usize, lanes: &Lanes<T>) {
    let part = &mut row[i * h..(i + 1) * h];
    match part[at..].first_chunk_mut() {
        Some(to) => *to = *lanes,
        None => part[at..].copy_from_slice(&lanes[..h - at]),
    }
}

// Functions rather than closures, which are not always inlined, and then are compiled for the
// baseline.

/// Part `i` of two rows, added.
#[inline(always)]
fn add<T: Float>(a: &[T], b: &[T], i: usize, h: usize, at: usize) -> Lanes<T> {
    let (mut a, b) = (load(a, i, h, at), load(b, i, h, at));
    for l in 0..LANES {
        a[l] += b[l];
    }
    a
}

/// What enters gate `i`: `x + (u + bias)`.
#[inline(always)]
fn sum<T: Float>(x: &[T], u: &[T], bias: &[T], i: usize, h: usize, at: usize) -> Lanes<T> {
    let (x, mut u) = (load(x, i, h, at), add(u, bias, i, h, at));
    for l in 0..LANES {
        u[l] += x[l];
    }
    u
}

/// One step of some rows.
pub(super) struct Step<'a, T> {
    pub cell: RecurrentCell,
    pub h: usize,
    /// Whether a row takes the step.
    pub active: &'a dyn Fn(usize) -> bool,
    /// `[gates h]`
    pub bias: &'a [T],
    /// `[rows, gates h]`, from the input.
    pub x: &'a [T],
    /// `[rows, gates h]`, from the state.
    pub u: &'a [T],
    /// `[rows, h]`, replaced.
    pub state: &'a mut [T],
    /// `[rows, h]`, replaced; only of an LSTM.
    pub c: &'a mut [T],
    /// `[rows, h]`
    pub y: &'a mut [T],
    /// `[rows, kept h]`
    pub gates: &'a mut [T],
    /// `[rows, h]`, only of an LSTM.
    pub cells: &'a mut [T],
}

impl<T: Float> Kernel for Step<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Step { cell, h, active, bias, .. } = self;
        let (wide, kept) = (cell.gates() * h, cell.kept() * h);
        let cell_width = self.c.len() / (self.state.len() / h);
        for row in 0..self.state.len() / h {
            let y = &mut self.y[row * h..(row + 1) * h];
            let gates = &mut self.gates[row * kept..(row + 1) * kept];
            let cells = &mut self.cells[row * cell_width..(row + 1) * cell_width];
            if !active(row) {
                [y, gates, cells].into_iter().for_each(|part| part.fill(T::ZERO));
                continue;
            }
            let x = &self.x[row * wide..(row + 1) * wide];
            let u = &self.u[row * wide..(row + 1) * wide];
            let state = &mut self.state[row * h..(row + 1) * h];
            let c = &mut self.c[row * cell_width..(row + 1) * cell_width];
            for at in (0..h).step_by(LANES) {
                let new = match cell {
                    RecurrentCell::Tanh => tanh::<T, I>(sum(x, u, bias, 0, h, at)),
                    RecurrentCell::Relu => {
                        let mut new = sum(x, u, bias, 0, h, at);
                        for new in &mut new {
                            // NaN stays.
                            *new = if *new < T::ZERO { T::ZERO } else { *new };
                        }
                        new
                    }
                    RecurrentCell::Gru => {
                        let (r, z) = (
                            sigmoid::<T, I>(sum(x, u, bias, 0, h, at)),
                            sigmoid::<T, I>(sum(x, u, bias, 1, h, at)),
                        );
                        let (u, mut n) = (add(u, bias, 2, h, at), load(x, 2, h, at));
                        let mut new = load(state, 0, h, at);
                        for l in 0..LANES {
                            n[l] += r[l] * u[l];
                        }
                        let n = tanh::<T, I>(n);
                        for l in 0..LANES {
                            new[l] = (T::ONE - z[l]) * n[l] + z[l] * new[l];
                        }
                        for (i, lanes) in [r, z, n, u].iter().enumerate() {
                            store(gates, i, h, at, lanes);
                        }
                        new
                    }
                    RecurrentCell::Lstm => {
                        let (i, f) = (
                            sigmoid::<T, I>(sum(x, u, bias, 0, h, at)),
                            sigmoid::<T, I>(sum(x, u, bias, 1, h, at)),
                        );
                        let (g, o) = (
                            tanh::<T, I>(sum(x, u, bias, 2, h, at)),
                            sigmoid::<T, I>(sum(x, u, bias, 3, h, at)),
                        );
                        let mut new = load(c, 0, h, at);
                        for l in 0..LANES {
                            new[l] = f[l] * new[l] + i[l] * g[l];
                        }
                        store(c, 0, h, at, &new);
                        store(cells, 0, h, at, &new);
                        let mut new = tanh::<T, I>(new);
                        for l in 0..LANES {
                            new[l] = o[l] * new[l];
                        }
                        for (i, lanes) in [i, f, g, o].iter().enumerate() {
                            store(gates, i, h, at, lanes);
                        }
                        new
                    }
                };
                store(state, 0, h, at, &new);
                store(y, 0, h, at, &new);
            }
        }
    }
}

#[inline(always)]
fn sigmoid<T: Float, I: Isa>(mut x: Lanes<T>) -> Lanes<T> {
    for x in &mut x {
        *x = x.sigmoid::<I>();
    }
    x
}

#[inline(always)]
fn tanh<T: Float, I: Isa>(mut x: Lanes<T>) -> Lanes<T> {
    for x in &mut x {
        *x = x.tanh::<I>();
    }
    x
}

/// The gradient of one step of some rows.
pub(super) struct StepBackward<'a, T> {
    pub cell: RecurrentCell,
    pub h: usize,
    /// Whether a row takes the step.
    pub active: &'a dyn Fn(usize) -> bool,
    /// `[rows, h]`, as all others without a shape: the result of the step.
    pub y: &'a [T],
    /// `[rows, kept h]`
    pub gates: &'a [T],
    /// Those of the step and those before it; only of an LSTM.
    pub cells: &'a [T],
    pub old_cells: &'a [T],
    /// The state before the step.
    pub old: &'a [T],
    pub dy: &'a [T],
    /// Of the state after the step; replaced by what goes to the state before it past the gates.
    pub dh: &'a mut [T],
    /// Of the cells after the step, replaced by those before it; only of an LSTM.
    pub dc: &'a mut [T],
    /// `[rows, gates h]`
    pub dx: &'a mut [T],
    /// `[rows, gates h]`, of what enters the gates from the state; only of a GRU, where it differs.
    pub du: &'a mut [T],
}

impl<T: Float> Kernel for StepBackward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let StepBackward { cell, h, active, .. } = self;
        let (wide, kept) = (cell.gates() * h, cell.kept() * h);
        let rows = self.dh.len() / h;
        let (cell_width, du_width) = (self.dc.len() / rows, self.du.len() / rows);
        for row in 0..rows {
            let dx = &mut self.dx[row * wide..(row + 1) * wide];
            let du = &mut self.du[row * du_width..(row + 1) * du_width];
            if !active(row) {
                [dx, du].into_iter().for_each(|part| part.fill(T::ZERO));
                continue;
            }
            let states = row * h..(row + 1) * h;
            let (y, old) = (&self.y[states.clone()], &self.old[states.clone()]);
            let dy = &self.dy[states];
            let gates = &self.gates[row * kept..(row + 1) * kept];
            let in_cells = row * cell_width..(row + 1) * cell_width;
            let (cells, before) =
                (&self.cells[in_cells.clone()], &self.old_cells[in_cells.clone()]);
            let dc = &mut self.dc[in_cells];
            let dh = &mut self.dh[row * h..(row + 1) * h];
            for at in (0..h).step_by(LANES) {
                let (mut all, dy) = (load(dh, 0, h, at), load(dy, 0, h, at));
                for l in 0..LANES {
                    all[l] += dy[l];
                }
                let mut past = [T::ZERO; LANES];
                match cell {
                    RecurrentCell::Tanh | RecurrentCell::Relu => {
                        let y = load(y, 0, h, at);
                        for l in 0..LANES {
                            let positive = if y[l] > T::ZERO { T::ONE } else { T::ZERO };
                            let relu = cell == RecurrentCell::Relu;
                            let slope = if relu { positive } else { T::ONE - y[l] * y[l] };
                            all[l] = all[l] * slope;
                        }
                        store(dx, 0, h, at, &all);
                    }
                    RecurrentCell::Gru => {
                        let (r, z) = (load(gates, 0, h, at), load(gates, 1, h, at));
                        let (n, u) = (load(gates, 2, h, at), load(gates, 3, h, at));
                        let old = load(old, 0, h, at);
                        let [mut dr, mut dz, mut dn, mut dun] = [[T::ZERO; LANES]; 4];
                        for l in 0..LANES {
                            dn[l] = all[l] * (T::ONE - z[l]) * (T::ONE - n[l] * n[l]);
                            dun[l] = dn[l] * r[l];
                            dr[l] = dn[l] * u[l] * r[l] * (T::ONE - r[l]);
                            dz[l] = all[l] * (old[l] - n[l]) * z[l] * (T::ONE - z[l]);
                            past[l] = all[l] * z[l];
                        }
                        for (i, lanes) in [dr, dz, dn].iter().enumerate() {
                            store(dx, i, h, at, lanes);
                        }
                        for (i, lanes) in [dr, dz, dun].iter().enumerate() {
                            store(du, i, h, at, lanes);
                        }
                    }
                    RecurrentCell::Lstm => {
                        let (i, f) = (load(gates, 0, h, at), load(gates, 1, h, at));
                        let (g, o) = (load(gates, 2, h, at), load(gates, 3, h, at));
                        let out = tanh::<T, I>(load(cells, 0, h, at));
                        let (before, mut d) = (load(before, 0, h, at), load(dc, 0, h, at));
                        let [mut di, mut df, mut dg, mut d_o] = [[T::ZERO; LANES]; 4];
                        for l in 0..LANES {
                            d[l] += all[l] * o[l] * (T::ONE - out[l] * out[l]);
                            di[l] = d[l] * g[l] * i[l] * (T::ONE - i[l]);
                            df[l] = d[l] * before[l] * f[l] * (T::ONE - f[l]);
                            dg[l] = d[l] * i[l] * (T::ONE - g[l] * g[l]);
                            d_o[l] = all[l] * out[l] * o[l] * (T::ONE - o[l]);
                            d[l] = d[l] * f[l];
                        }
                        for (i, lanes) in [di, df, dg, d_o].iter().enumerate() {
                            store(dx, i, h, at, lanes);
                        }
                        store(dc, 0, h, at, &d);
                    }
                }
                store(dh, 0, h, at, &past);
            }
        }
    }
}
