//! Recurrent layers over a whole sequence.
//!
//! Rows of a batch have nothing to do with each other until the gradient of the weight, so each
//! task takes some rows through all steps, without waiting for others in between. A step is one
//! product with the weight, which was brought into panels once for all steps and tasks, and one
//! pass over the gates. The gradient of the weight is one product over all steps at the end.

mod cells;

use std::ops::Range;

use self::cells::{Step, StepBackward};
use super::access::{Dense, Sink, float_type, integers};
use super::float::Float;
use super::gemm::{self, Source, Strided, Threads, gemm};
use super::parallel::{Shared, chunks};
use super::pool::Scratch;
use super::simd::dispatch;
use crate::AnyTensor;
use crate::op::{Recurrent, RecurrentBackward, RecurrentBackwardParts, RecurrentParts};

/// Rows of a task. A product of fewer is held up by reading the weight: with 16 it takes 32 KiB,
/// one panel, for each million multiply-adds.
const ROWS: usize = 16;
/// Columns of a panel: two AVX-512 vectors of f32.
const PANEL: usize = 32;
/// Multiply-adds of a whole sequence that are worth a second thread.
const PARALLEL: usize = 1 << 20;

/// A float whose matrices are operands of products.
trait Number: Float + gemm::Real {
    type Matrix<'a>: Source<Self>;

    /// # Safety
    /// As [`Strided::new`].
    unsafe fn matrix<'a>(start: &'a [Self], line: usize, depth: usize) -> Self::Matrix<'a>;
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl Number for $type {
            type Matrix<'a> = Strided<'a, $type>;

            unsafe fn matrix<'a>(start: &'a [Self], line: usize, depth: usize) -> Strided<'a, $type> {
                // SAFETY: passed on to the caller.
                unsafe { Strided::new(start.as_ptr(), line as isize, depth as isize) }
            }
        }
    )*};
}
number!(f32, f64);

/// A right operand `[depth, lines]`, brought into panels of [`PANEL`] lines.
struct Panels<T> {
    lines: usize,
    depth: usize,
    panels: Scratch<T>,
}

impl<T: Number> Panels<T> {
    /// Line `i` of the operand has its elements `depth` apart from `i * line`.
    fn new(matrix: &[T], [lines, depth]: [usize; 2], [line, step]: [usize; 2]) -> Self {
        assert!(lines * depth <= matrix.len());
        let mut panels = Scratch::new(lines.next_multiple_of(PANEL) * depth);
        // SAFETY: all lines by all of the depth are the whole matrix.
        let source = unsafe { T::matrix(matrix, line, step) };
        let out = Shared::new(&mut panels);
        let size = PANEL * depth;
        chunks(lines.div_ceil(PANEL), ((1 << 16) / size.max(1)).max(1), |range| {
            // SAFETY: the ranges are disjoint.
            let out = unsafe { out.part(range.start * size..range.end * size) };
            source.pack(range.start * PANEL..lines.min(range.end * PANEL), 0..depth, PANEL, out);
        });
        Self { lines, depth, panels }
    }

    /// `c = a b`, or `c += a b` if `add`: `a` `[rows, depth]`, `c` `[rows, lines]`.
    fn multiply(&self, a: &[T], c: &mut [T], add: bool) {
        let Self { lines, depth, .. } = *self;
        let rows = c.len() / lines;
        assert_eq!(a.len(), rows * depth);
        for (i, panel) in self.panels.chunks_exact(PANEL * depth).enumerate() {
            let columns = PANEL.min(lines - i * PANEL);
            // SAFETY: `a` has `rows` lines, the panel `PANEL`, each of `depth`; `c` is borrowed
            // exclusively and holds `rows` of `lines`.
            unsafe {
                let (a, b) = (T::matrix(a, depth, 1), T::matrix(panel, 1, PANEL));
                let c = c.as_mut_ptr().add(i * PANEL);
                gemm(rows, columns, depth, &a, &b, c, lines, add, None, Threads::One);
            }
        }
    }
}

/// Extents of a layer, and who takes which steps.
struct Plan<'a> {
    time: usize,
    batch: usize,
    h: usize,
    reverse: bool,
    lengths: Option<Dense<'a, i64>>,
}

impl<'a> Plan<'a> {
    fn new(op: &Recurrent, y: &AnyTensor, lengths: Option<&'a AnyTensor>) -> Self {
        let [time, batch, h] = y.shape().dims();
        Self { time, batch, h, reverse: op.reverse, lengths: lengths.map(integers) }
    }

    /// The time of the `i`-th step that is taken.
    fn step(&self, i: usize) -> usize {
        if self.reverse { self.time - 1 - i } else { i }
    }

    fn is_active(&self, row: usize, t: usize) -> bool {
        self.lengths.as_ref().is_none_or(|lengths| (t as i64) < lengths[row])
    }

    /// Where these rows of step `t` are among all, if a row takes `width`.
    fn part(&self, t: usize, rows: &Range<usize>, width: usize) -> Range<usize> {
        (t * self.batch + rows.start) * width..(t * self.batch + rows.end) * width
    }

    /// Calls `work` with rows, divided by the size of the layer alone.
    fn for_rows(&self, wide: usize, work: impl Fn(Range<usize>) + Sync) {
        let small = self.time * self.batch * self.h * wide < PARALLEL;
        let rows = if small { self.batch } else { self.batch.div_ceil(2).min(ROWS) };
        chunks(self.batch, rows.max(1), work);
    }
}

/// Some of an output that there may not be.
///
/// # Safety
/// As [`Shared::part`].
#[allow(clippy::mut_from_ref)]
unsafe fn part<T>(shared: &Option<Shared<T>>, range: Range<usize>) -> &mut [T] {
    match shared {
        // SAFETY: passed on to the caller.
        Some(shared) => unsafe { shared.part(range) },
        None => &mut [],
    }
}

/// Rows of a matrix of `width` columns.
fn rows_of<'a, T>(matrix: &'a [T], rows: &Range<usize>, width: usize) -> &'a [T] {
    &matrix[rows.start * width..rows.end * width]
}

pub(super) fn recurrent(op: &Recurrent, inputs: &[&AnyTensor], outputs: &[AnyTensor]) {
    float_type!(inputs[0].dtype(), T => forward::<T>(op, op.parts(inputs), outputs))
}

fn forward<T: Number>(op: &Recurrent, p: RecurrentParts<'_, AnyTensor>, outputs: &[AnyTensor]) {
    let plan = Plan::new(op, &outputs[0], p.lengths);
    let (cell, h) = (op.cell, plan.h);
    let (wide, kept, in_cells) = (cell.gates() * h, cell.kept() * h, p.c0.map_or(0, |_| h));
    if h == 0 {
        return;
    }
    let [x, w, h0] = [p.x, p.w, p.h0].map(Dense::<T>::new);
    let [c0, bias] = [p.c0, p.bias].map(|x| x.map(Dense::<T>::new));
    let none = Scratch::<T>::zeros(wide);
    let bias = bias.as_deref().unwrap_or(&none);
    // SAFETY: each output is new and used once.
    let mut sinks: Vec<_> = outputs.iter().map(|y| unsafe { Sink::<T>::new(y) }).collect();
    let mut sinks = sinks.iter_mut().map(|sink| Shared::new(sink));
    let mut next = |is_there: bool| if is_there { sinks.next() } else { None };
    let (y, last, last_c) = (next(true), next(true), next(cell.has_cells()));
    let (gates, cells) = (next(kept > 0), next(cell.has_cells()));
    let panels = Panels::new(&w, [wide, h], [h, 1]);
    plan.for_rows(wide, |rows| {
        let n = rows.len();
        let (mut state, mut c) = (Scratch::new(n * h), Scratch::new(n * in_cells));
        let mut u = Scratch::new(n * wide);
        state.copy_from_slice(rows_of(&h0, &rows, h));
        c.copy_from_slice(c0.as_deref().map_or(&[], |c0| rows_of(c0, &rows, h)));
        for t in (0..plan.time).map(|i| plan.step(i)) {
            panels.multiply(&state, &mut u, false);
            // SAFETY: the parts of one task at one step overlap no others.
            let [y, gates, cells] = unsafe {
                let part = |shared, width| part(shared, plan.part(t, &rows, width));
                [part(&y, h), part(&gates, kept), part(&cells, in_cells)]
            };
            dispatch(Step {
                cell,
                h,
                active: &|row| plan.is_active(rows.start + row, t),
                bias,
                x: &x[plan.part(t, &rows, wide)],
                u: &u,
                state: &mut state,
                c: &mut c,
                y,
                gates,
                cells,
            });
        }
        // SAFETY: each task has its own rows.
        unsafe {
            part(&last, rows.start * h..rows.end * h).copy_from_slice(&state);
            part(&last_c, rows.start * in_cells..rows.end * in_cells).copy_from_slice(&c);
        }
    });
}

pub(super) fn backward(op: &RecurrentBackward, inputs: &[&AnyTensor], outputs: &[AnyTensor]) {
    let p = op.parts(inputs);
    float_type!(inputs[0].dtype(), T => gradients::<T>(&op.layer, p, outputs))
}

fn gradients<T: Number>(
    op: &Recurrent,
    p: RecurrentBackwardParts<'_, AnyTensor>,
    outputs: &[AnyTensor],
) {
    let plan = Plan::new(op, p.y, p.lengths);
    let (cell, h) = (op.cell, plan.h);
    let (wide, kept, in_cells) = (cell.gates() * h, cell.kept() * h, p.c0.map_or(0, |_| h));
    if h == 0 {
        return;
    }
    let [w, h0, y, dy, last] = [p.w, p.h0, p.y, p.dy, p.dh].map(Dense::<T>::new);
    let [c0, gates, cells, last_c] = [p.c0, p.gates, p.cells, p.dc].map(|x| x.map(Dense::<T>::new));
    let [c0, gates, cells, last_c] =
        [&c0, &gates, &cells, &last_c].map(|x| x.as_deref().unwrap_or(&[]));
    // SAFETY: each output is new and used once.
    let mut sinks: Vec<_> = outputs.iter().map(|y| unsafe { Sink::<T>::new(y) }).collect();
    let mut sinks = sinks.iter_mut();
    let mut next = |is_there: bool| if is_there { sinks.next() } else { None };
    let count = "infer has counted the outputs";
    let (dx, dw, dh0) = (next(true).expect(count), next(true).expect(count), next(true));
    let (dh0, mut dc0, db) = (dh0.expect(count), next(cell.has_cells()), next(op.bias));
    let steps = plan.time * plan.batch;
    // In reverse, rows of different lengths start at different steps: the states before a step are
    // brought together. Otherwise they are those of the step before, all together.
    let scattered = op.reverse && op.lengths;
    let apart = if cell == crate::op::RecurrentCell::Gru { wide } else { 0 };
    let mut old = Scratch::<T>::new(if scattered { steps * h } else { 0 });
    // What a GRU sends to the weight, which is not `dx`.
    let mut du = Scratch::<T>::new(steps * apart);
    {
        let shared = [&mut **dx, &mut *old, &mut *du, &mut **dh0].map(Shared::new);
        let [dx, old, du, dh0] = &shared;
        let dc0 = dc0.as_mut().map(|dc0| Shared::new(dc0));
        let panels = Panels::new(&w, [h, wide], [1, h]);
        plan.for_rows(wide, |rows| {
            let n = rows.len();
            let (mut dh, mut dc) = (Scratch::new(n * h), Scratch::new(n * in_cells));
            let mut copied = Scratch::new(if scattered { n * in_cells } else { 0 });
            dh.copy_from_slice(rows_of(&last, &rows, h));
            dc.copy_from_slice(rows_of(last_c, &rows, in_cells));
            for i in (0..plan.time).rev() {
                let t = plan.step(i);
                let range = plan.part(t, &rows, h);
                let before = i.checked_sub(1).map(|i| plan.step(i));
                // SAFETY: the parts of one task at one step overlap no others.
                let (old, dx, du) = unsafe {
                    let part = |width| plan.part(t, &rows, width);
                    let old = old.part(if scattered { range.clone() } else { 0..0 });
                    (old, dx.part(part(wide)), du.part(part(apart)))
                };
                let (old, old_cells) = if scattered {
                    for row in 0..n {
                        let all = rows.start + row;
                        let before = before.filter(|&before| plan.is_active(all, before));
                        let copy = |to: &mut [T], steps: &[T], first: &[T], width: usize| {
                            let (from, at) = match before {
                                Some(t) => (steps, t * plan.batch + all),
                                None => (first, all),
                            };
                            let to = &mut to[row * width..(row + 1) * width];
                            to.copy_from_slice(&from[at * width..(at + 1) * width]);
                        };
                        copy(old, &y, &h0, h);
                        copy(&mut copied, cells, c0, in_cells);
                    }
                    (&*old, &*copied)
                } else if let Some(t) = before {
                    (&y[plan.part(t, &rows, h)], &cells[plan.part(t, &rows, in_cells)])
                } else {
                    (rows_of(&h0, &rows, h), rows_of(c0, &rows, in_cells))
                };
                dispatch(StepBackward {
                    cell,
                    h,
                    active: &|row| plan.is_active(rows.start + row, t),
                    y: &y[range.clone()],
                    gates: &gates[plan.part(t, &rows, kept)],
                    cells: &cells[plan.part(t, &rows, in_cells)],
                    old_cells,
                    old,
                    dy: &dy[range],
                    dh: &mut dh,
                    dc: &mut dc,
                    dx: &mut *dx,
                    du: &mut *du,
                });
                panels.multiply(if apart > 0 { du } else { dx }, &mut dh, true);
            }
            // SAFETY: each task has its own rows.
            unsafe {
                dh0.part(rows.start * h..rows.end * h).copy_from_slice(&dh);
                if let Some(dc0) = &dc0 {
                    dc0.part(rows.start * h..rows.end * h).copy_from_slice(&dc);
                }
            }
        });
    }
    let du: &[T] = if apart > 0 { &du } else { dx };
    // `dw += du^T old` over steps of both that follow each other.
    let mut weigh = |du: &[T], old: &[T], add: bool| {
        // SAFETY: the operands are `[rows, wide]` and `[rows, h]`; the output, which nothing else
        // reaches, is `[wide, h]`.
        unsafe {
            let (a, b) = (T::matrix(du, 1, wide), T::matrix(old, 1, h));
            gemm(wide, h, old.len() / h, &a, &b, dw.as_mut_ptr(), h, add, None, Threads::Pool);
        }
    };
    let first = plan.batch.min(steps);
    if scattered {
        weigh(du, &old, false);
    } else if op.reverse {
        weigh(&du[(steps - first) * wide..], &h0[..first * h], false);
        weigh(&du[..(steps - first) * wide], &y[first * h..], true);
    } else {
        weigh(&du[..first * wide], &h0[..first * h], false);
        weigh(&du[first * wide..], &y[..(steps - first) * h], true);
    }
    if let Some(db) = db {
        let ones = [T::ONE];
        // SAFETY: the operands are a row of ones and `[steps, wide]`, the output is `[wide]`.
        unsafe {
            let (a, b) = (T::matrix(&ones, 0, 0), T::matrix(du, 1, wide));
            gemm(1, wide, steps, &a, &b, db.as_mut_ptr(), wide, false, None, Threads::Pool);
        }
    }
}
