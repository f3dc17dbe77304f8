//! Softmax and its gradient.
//!
//! Along the last axis a row is in cache for its three passes: maximum, exponential with its sum,
//! scaling. Along another axis the same passes run on a strip of neighbouring columns at once.

use super::access::{Dense, Sink, float_type};
use super::float::Float;
use super::fold::{max, sum, sum_padded, sum2};
use super::loss::BLOCK;
use super::parallel::{Shared, rows};
use super::simd::{Isa, Kernel, dispatch};
use crate::op::{Softmax, SoftmaxBackward};
use crate::{AnyTensor, Shape};

/// Columns of a strip: a few hundred rows of them fit the second-level cache.
const STRIP: usize = 64;
/// Elements of a row whose end may waste a part of a vector.
const LONG: usize = 128;
/// An exponential is worth about this many plain elements when work is split.
const EXP_COST: usize = 4;

/// `shape` seen as `[outer, n, inner]` around `axis`.
fn around(shape: &Shape, axis: usize) -> [usize; 3] {
    [shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product()]
}

/// Rows of `n` elements: `y = softmax(x)`. Short rows make each step together before the next, so
/// that exponentials fill whole vectors; a long one is summed while its exponentials are made.
struct Rows<'a, T> {
    log: bool,
    n: usize,
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Float> Kernel for Rows<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Rows { log, n, x, y } = self;
        if !log && n >= LONG {
            for (x, y) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
                T::softmax::<I>(x, y);
            }
            return;
        }
        for (x, y) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
            let max = max(x);
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = x - max);
            if log {
                let total = match n {
                    ..LONG => sum_padded(y, T::LOWEST, |x| x.exp_below::<I>()),
                    LONG.. => sum(y, |x| x.exp_below::<I>()),
                };
                let total = total.ln::<I>();
                y.iter_mut().for_each(|y| *y = *y - total);
            }
        }
        if !log {
            y.iter_mut().for_each(|x| *x = x.exp_below::<I>());
            for y in y.chunks_exact_mut(n) {
                let scale = T::ONE / sum(y, |y| y);
                y.iter_mut().for_each(|y| *y = *y * scale);
            }
        }
    }
}

/// A strip of columns `inner` apart: `n` rows of at most [`STRIP`] elements.
struct Strip<'a, T> {
    log: bool,
    inner: usize,
    width: usize,
    /// The strip's first element, and all after it.
    x: &'a [T],
    /// The strip of the output, whose rows lie as those of `x`.
    y: &'a Shared<T>,
    start: usize,
    n: usize,
}

impl<T: Float> Kernel for Strip<'_, T> {
    type Output = ();
    #[inline(always)]
    #[allow(clippy::eq_op)]
    fn run<I: Isa>(self) {
        let Strip { log, inner, width, x, y, start, n } = self;
        let row = |i: usize| &x[i * inner..i * inner + width];
        // SAFETY: strips do not overlap, and a row is used up before the next is taken.
        let out = |i: usize| unsafe { y.part(start + i * inner..start + i * inner + width) };
        let mut max = [T::LOWEST; STRIP];
        for i in 0..n {
            for (max, &x) in max.iter_mut().zip(row(i)) {
                *max = if *max > x || *max != *max { *max } else { x };
            }
        }
        let mut total = [T::ZERO; STRIP];
        for i in 0..n {
            for (((y, &x), &max), total) in out(i).iter_mut().zip(row(i)).zip(&max).zip(&mut total)
            {
                let e = (x - max).exp_below::<I>();
                *y = if log { x - max } else { e };
                *total += e;
            }
        }
        for total in &mut total {
            *total = if log { total.ln::<I>() } else { T::ONE / *total };
        }
        for i in 0..n {
            for (y, &total) in out(i).iter_mut().zip(&total) {
                *y = if log { *y - total } else { *y * total };
            }
        }
    }
}

pub(super) fn softmax(op: &Softmax, x: &AnyTensor, y: &AnyTensor) {
    let [outer, n, inner] = around(x.shape_ref(), op.axis);
    if x.num_elements() == 0 {
        return;
    }
    let log = op.log;
    float_type!(x.dtype(), T => {
        let x = Dense::<T>::new(x);
        // SAFETY: `y` is the only output, and new.
        let mut y = unsafe { Sink::<T>::new(y) };
        let out = Shared::new(&mut y);
        if inner == 1 {
            let block = (BLOCK / n).max(1);
            rows(outer.div_ceil(block), block * n * EXP_COST, |range| {
                for first in range.map(|i| i * block) {
                    let part = first * n..outer.min(first + block) * n;
                    // SAFETY: blocks of rows do not overlap.
                    let y = unsafe { out.part(part.clone()) };
                    dispatch(Rows { log, n, x: &x[part], y });
                }
            });
        } else {
            let strips = inner.div_ceil(STRIP);
            rows(outer * strips, n * STRIP.min(inner) * EXP_COST, |range| {
                for strip in range {
                    let column = strip % strips * STRIP;
                    let start = strip / strips * n * inner + column;
                    let width = STRIP.min(inner - column);
                    dispatch(Strip { log, inner, width, x: &x[start..], y: &out, start, n });
                }
            });
        }
    })
}

/// One slice, its elements `stride` apart from `start`.
struct Backward<'a, T> {
    log: bool,
    y: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
}

impl<T: Float> Kernel for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Backward { log, y, dy, dx } = self;
        let n = dx.len();
        let (y, dy) = (&y[..n], &dy[..n]);
        if log {
            let total = sum(dy, |dy| dy);
            for i in 0..n {
                dx[i] = dy[i] - y[i].exp::<I>() * total;
            }
        } else {
            let total = sum2(y, dy, |y, dy| y * dy);
            for i in 0..n {
                dx[i] = y[i] * (dy[i] - total);
            }
        }
    }
}

pub(super) fn softmax_backward(op: &SoftmaxBackward, [y, dy]: [&AnyTensor; 2], dx: &AnyTensor) {
    let [outer, n, inner] = around(y.shape_ref(), op.axis);
    if y.num_elements() == 0 {
        return;
    }
    let log = op.log;
    float_type!(y.dtype(), T => {
        let (y, dy) = (Dense::<T>::new(y), Dense::<T>::new(dy));
        // SAFETY: `dx` is the only output, and new.
        let mut dx = unsafe { Sink::<T>::new(dx) };
        let out = Shared::new(&mut dx);
        rows(outer * inner, n * EXP_COST, |range| {
            // Slices that are not contiguous go through these.
            let mut gathered = [vec![T::ZERO; n], vec![T::ZERO; n], vec![T::ZERO; n]];
            for slice in range {
                let start = slice / inner * n * inner + slice % inner;
                if inner == 1 {
                    let part = start..start + n;
                    // SAFETY: slices do not overlap.
                    let dx = unsafe { out.part(part.clone()) };
                    dispatch(Backward { log, y: &y[part.clone()], dy: &dy[part], dx });
                    continue;
                }
                let [ys, dys, dxs] = &mut gathered;
                for i in 0..n {
                    ys[i] = y[start + i * inner];
                    dys[i] = dy[start + i * inner];
                }
                dispatch(Backward { log, y: ys, dy: dys, dx: dxs });
                for (i, &dx) in dxs.iter().enumerate() {
                    let at = start + i * inner;
                    // SAFETY: slices do not overlap.
                    unsafe { out.set(at, dx) };
                }
            }
        });
    })
}
