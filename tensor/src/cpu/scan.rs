//! Running totals along one axis.
//!
//! An axis is walked from its first entry to its last, for a strip of neighbouring columns at
//! once, so that memory is read in runs. Strips are shared out among threads; one long row is the
//! work of one thread, and so the same on any number of them.

use super::access::{Compute, Dense, Sink, float_type};
use super::index::around;
use super::parallel::{Shared, rows};
use super::tile::number_type;
use crate::AnyTensor;
use crate::op::{LinearRecurrence, Scan, ScanKind};

/// Columns of a strip.
const STRIP: usize = 64;

/// A number and the type its totals are carried in.
trait Total: Compute + PartialOrd {
    type Wide: Copy + Default;
    fn widen(self) -> Self::Wide;
    fn round(wide: Self::Wide) -> Self;
    fn add(a: Self::Wide, b: Self::Wide) -> Self::Wide;
    fn mul(a: Self::Wide, b: Self::Wide) -> Self::Wide;
    fn log_add_exp(a: Self::Wide, b: Self::Wide) -> Self::Wide;
}

macro_rules! total {
    ($type:ty, $wide:ty, |$a:ident, $b:ident| $add:expr, $mul:expr, $log_add_exp:expr) => {
        impl Total for $type {
            type Wide = $wide;
            #[inline(always)]
            fn widen(self) -> $wide {
                self as $wide
            }
            #[inline(always)]
            fn round(wide: $wide) -> Self {
                wide as $type
            }
            #[inline(always)]
            fn add($a: $wide, $b: $wide) -> $wide {
                $add
            }
            #[inline(always)]
            fn mul($a: $wide, $b: $wide) -> $wide {
                $mul
            }
            #[inline(always)]
            fn log_add_exp($a: $wide, $b: $wide) -> $wide {
                $log_add_exp
            }
        }
    };
}
total!(f32, f64, |a, b| a + b, a * b, log_add_exp(a, b));
total!(f64, f64, |a, b| a + b, a * b, log_add_exp(a, b));
total!(u64, u64, |a, b| a.wrapping_add(b), a.wrapping_mul(b), unreachable!("floats only: {a} {b}"));
total!(i64, i64, |a, b| a.wrapping_add(b), a.wrapping_mul(b), unreachable!("floats only: {a} {b}"));

fn log_add_exp(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    // Two equal infinities have no difference.
    if high.is_infinite() { high } else { high + (low - high).exp().ln_1p() }
}

/// Runs `work(first, width)` for each strip of `[outer, n, inner]`: the position of its first
/// element, and its columns. Entry `t` of the strip lies at `first + t * inner`.
fn strips([outer, n, inner]: [usize; 3], work: impl Fn(usize, usize) + Sync) {
    if n == 0 {
        return;
    }
    let count = inner.div_ceil(STRIP);
    rows(outer * count, n * STRIP.min(inner) * 4, |range| {
        for i in range {
            let column = i % count * STRIP;
            work(i / count * n * inner + column, STRIP.min(inner - column));
        }
    });
}

pub(super) fn scan(op: &Scan, x: &AnyTensor, outputs: &[AnyTensor]) {
    let around = around(x.shape_ref(), op.axis);
    number_type!(x.dtype(), T => {
        let x = Dense::<T>::new(x);
        match op.kind {
            ScanKind::Sum => totals(&x, &outputs[0], around, T::add),
            ScanKind::Prod => totals(&x, &outputs[0], around, T::mul),
            ScanKind::LogSumExp => totals(&x, &outputs[0], around, T::log_add_exp),
            ScanKind::Max => extrema(&x, outputs, around, |x, best| x >= best),
            ScanKind::Min => extrema(&x, outputs, around, |x, best| x <= best),
        }
    })
}

fn totals<T: Total>(
    x: &[T],
    y: &AnyTensor,
    around: [usize; 3],
    combine: impl Fn(T::Wide, T::Wide) -> T::Wide + Sync,
) {
    let [_, n, inner] = around;
    // SAFETY: `y` is the only output, and new.
    let mut y = unsafe { Sink::<T>::new(y) };
    let y = Shared::new(&mut y);
    if inner == 1 {
        // One total in a register.
        return strips(around, |first, _| {
            let (x, mut total) = (&x[first..first + n], T::Wide::default());
            // SAFETY: rows do not overlap.
            let y = unsafe { y.part(first..first + n) };
            for (t, (&x, y)) in x.iter().zip(y).enumerate() {
                total = if t == 0 { x.widen() } else { combine(total, x.widen()) };
                *y = T::round(total);
            }
        });
    }
    strips(around, |first, width| {
        let mut totals = [T::Wide::default(); STRIP];
        for t in 0..n {
            let row = first + t * inner..first + t * inner + width;
            // SAFETY: strips do not overlap.
            let y = unsafe { y.part(row.clone()) };
            for ((total, &x), y) in totals.iter_mut().zip(&x[row]).zip(y) {
                *total = if t == 0 { x.widen() } else { combine(*total, x.widen()) };
                *y = T::round(*total);
            }
        }
    });
}

#[allow(clippy::eq_op)]
fn extrema<T: Total>(
    x: &[T],
    outputs: &[AnyTensor],
    around: [usize; 3],
    wins: impl Fn(T, T) -> bool + Sync,
) {
    let [_, n, inner] = around;
    // SAFETY: the outputs are new, and each has one sink.
    let (mut values, mut indices) =
        unsafe { (Sink::<T>::new(&outputs[0]), Sink::<i64>::new(&outputs[1])) };
    let (values, indices) = (Shared::new(&mut values), Shared::new(&mut indices));
    strips(around, |first, width| {
        let mut best = [(T::default(), 0); STRIP];
        for t in 0..n {
            let row = first + t * inner..first + t * inner + width;
            // SAFETY: strips do not overlap.
            let (values, indices) =
                unsafe { (values.part(row.clone()), indices.part(row.clone())) };
            for (c, (best, &x)) in best.iter_mut().zip(&x[row]).enumerate() {
                // Not equal to itself: NaN, which beats all and is beaten by none but another one.
                if t == 0 || x != x || best.0 == best.0 && wins(x, best.0) {
                    *best = (x, t as i64);
                }
                (values[c], indices[c]) = *best;
            }
        }
    });
}

pub(super) fn recurrence(op: &LinearRecurrence, [a, b]: [&AnyTensor; 2], h: &AnyTensor) {
    let around = around(a.shape_ref(), op.axis);
    let [_, n, inner] = around;
    float_type!(h.dtype(), T => {
        let (a, b) = (Dense::<T>::new(a), Dense::<T>::new(b));
        // SAFETY: `h` is the only output, and new.
        let mut h = unsafe { Sink::<T>::new(h) };
        let h = Shared::new(&mut h);
        strips(around, |first, width| {
            let mut state = [0f64; STRIP];
            for t in 0..n {
                let row = first + t * inner..first + t * inner + width;
                // SAFETY: strips do not overlap.
                let h = unsafe { h.part(row.clone()) };
                let coefficients = a[row.clone()].iter().zip(&b[row]);
                for ((state, (&a, &b)), h) in state.iter_mut().zip(coefficients).zip(h) {
                    let b = b.widen();
                    *state = if t == 0 { b } else { T::add(T::mul(a.widen(), *state), b) };
                    *h = <T as Total>::round(*state);
                }
            }
        });
    });
}
