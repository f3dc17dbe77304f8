//! The running softmax (Milakov & Gimelshein, "Online normalizer calculation for softmax", 2018).
//!
//! Scores lie with the queries of a strip side by side, `[keys, STRIP]`: every query is a lane of
//! its own, and maxima and sums run down the keys.

use super::super::float::Float;
use super::super::fold::{max, sum};
use super::super::simd::{Isa, Kernel, dispatch};

/// Queries of a strip.
pub(super) const STRIP: usize = 32;

/// What the softmax carries from tile to tile, for each query of a strip.
#[derive(Clone, Copy)]
pub(super) struct State<T> {
    /// The largest score so far.
    max: [T; STRIP],
    /// The sum of the weights relative to it.
    sum: [T; STRIP],
}

impl<T: Float> State<T> {
    pub fn new() -> Self {
        Self { max: [T::LOWEST; STRIP], sum: [T::ZERO; STRIP] }
    }
}

/// A step of the running softmax: scores become weights relative to the largest score so far.
pub(super) struct Step<'a, T> {
    pub scores: &'a mut [[T; STRIP]],
    pub softcap: Option<T>,
    pub bias: Option<&'a [[T; STRIP]]>,
    /// How many queries before the first one that sees the first key; one more for each key.
    pub hidden: Option<i64>,
    pub state: &'a mut State<T>,
    /// The sums of the values so far, `[queries, e]`.
    pub y: &'a mut [T],
    pub e: usize,
}

impl<T: Float> Kernel for Step<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Step { scores, softcap, bias, hidden, state, y, e } = self;
        if let Some(cap) = softcap {
            let steep = T::ONE / cap;
            for row in scores.iter_mut() {
                for x in row {
                    *x = (*x * steep).tanh::<I>() * cap;
                }
            }
        }
        if let Some(bias) = bias {
            for (row, bias) in scores.iter_mut().zip(bias) {
                for i in 0..STRIP {
                    row[i] += bias[i];
                }
            }
        }
        if let Some(hidden) = hidden {
            let first = (-hidden).clamp(0, scores.len() as i64) as usize;
            for (key, row) in scores.iter_mut().enumerate().skip(first) {
                let count = (hidden + key as i64).min(STRIP as i64) as usize;
                row[..count].fill(T::LOWEST);
            }
        }
        let mut max = state.max;
        for row in scores.iter() {
            for i in 0..STRIP {
                // A NaN may come or go here; the exponential carries it on.
                max[i] = if max[i] > row[i] { max[i] } else { row[i] };
            }
        }
        let mut base = max;
        for base in &mut base {
            // The difference of two infinities is not a number.
            *base = if *base == T::LOWEST { T::ZERO } else { *base };
        }
        let mut sum = [T::ZERO; STRIP];
        for row in scores.iter_mut() {
            for i in 0..STRIP {
                row[i] = (row[i] - base[i]).exp::<I>();
                sum[i] += row[i];
            }
        }
        let mut fade = [T::ZERO; STRIP];
        for i in 0..STRIP {
            fade[i] = (state.max[i] - base[i]).exp::<I>();
            state.sum[i] = state.sum[i].fused::<I>(fade[i], sum[i]);
        }
        state.max = max;
        if e > 0 {
            for (y, &fade) in y.chunks_exact_mut(e).zip(&fade) {
                if fade != T::ONE {
                    y.iter_mut().for_each(|y| *y = *y * fade);
                }
            }
        }
    }
}

/// The end of the running softmax: divides by the sums.
pub(super) struct Finish<'a, T> {
    pub state: &'a State<T>,
    /// `[queries, e]`
    pub y: &'a mut [T],
    pub e: usize,
    /// The logarithms of the sums of exponentials, `[queries]`.
    pub log_sum: &'a mut [T],
}

impl<T: Float> Kernel for Finish<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Finish { state: State { max, sum }, y, e, log_sum } = self;
        let (mut log, mut scale) = ([T::ZERO; STRIP], [T::ZERO; STRIP]);
        for i in 0..STRIP {
            log[i] = max[i] + sum[i].ln::<I>();
            // A query that saw nothing has a sum of zero.
            scale[i] = if sum[i] == T::ZERO { T::ONE } else { T::ONE / sum[i] };
        }
        log_sum.copy_from_slice(&log[..log_sum.len()]);
        if e > 0 {
            for (y, &scale) in y.chunks_exact_mut(e).zip(&scale) {
                y.iter_mut().for_each(|y| *y = *y * scale);
            }
        }
    }
}

/// The softmax of the scores of one query; returns the logarithm of the sum of exponentials.
pub(super) struct Row<'a, T> {
    pub scores: &'a mut [T],
    pub softcap: Option<T>,
    pub bias: Option<&'a [T]>,
}

impl<T: Float> Kernel for Row<'_, T> {
    type Output = T;
    #[inline(always)]
    fn run<I: Isa>(self) -> T {
        let Row { scores, softcap, bias } = self;
        if let Some(cap) = softcap {
            let steep = T::ONE / cap;
            scores.iter_mut().for_each(|x| *x = (*x * steep).tanh::<I>() * cap);
        }
        if let Some(bias) = bias {
            scores.iter_mut().zip(bias).for_each(|(x, &bias)| *x += bias);
        }
        let max = max(scores);
        // The difference of two infinities is not a number.
        let base = if max == T::LOWEST { T::ZERO } else { max };
        scores.iter_mut().for_each(|x| *x = (*x - base).exp::<I>());
        let sum = sum(scores, |x| x);
        if sum != T::ZERO {
            let scale = T::ONE / sum;
            scores.iter_mut().for_each(|x| *x = *x * scale);
        }
        max + sum.ln::<I>()
    }
}

/// Multiplies each of `x` by `factor`.
pub(super) fn scale<T: Float>(x: &mut [T], factor: T) {
    struct Scale<'a, T>(&'a mut [T], T);
    impl<T: Float> Kernel for Scale<'_, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            self.0.iter_mut().for_each(|x| *x = *x * self.1);
        }
    }
    dispatch(Scale(x, factor));
}
