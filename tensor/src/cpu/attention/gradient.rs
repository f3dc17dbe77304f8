//! The weights of a strip of queries in the backward pass, and the gradients of their scores.
//!
//! Rows are padded to whole vectors with scores of minus infinity, whose weights are zero.

use super::super::float::Float;
use super::super::simd::{Isa, Kernel};

/// What rows are padded to: the longest vector.
const LANES: usize = 16;

/// The scores of a few queries and the keys of a tile.
pub(super) struct Strip<'a, T> {
    /// Products of queries and keys, `[queries, stride]`.
    pub scores: &'a mut [T],
    /// From one row to the next: a multiple of the longest vector.
    pub stride: usize,
    /// Columns that hold products.
    pub columns: usize,
    /// How many of them each query sees.
    pub seen: &'a [usize],
    pub softcap: Option<T>,
    /// `[queries, columns]`
    pub bias: Option<&'a [T]>,
}

impl<T: Float> Strip<'_, T> {
    /// Row `i` to whole vectors: the score of keys that are seen, else minus infinity. `slopes`
    /// receives what the softcap multiplies gradients by.
    #[inline(always)]
    fn row<I: Isa>(&mut self, i: usize, slopes: Option<&mut [T]>) -> &mut [T] {
        let padded = self.columns.next_multiple_of(LANES);
        let row = &mut self.scores[i * self.stride..][..padded];
        if let Some(cap) = self.softcap {
            let steep = T::ONE / cap;
            row.iter_mut().for_each(|x| *x = (*x * steep).tanh::<I>());
            if let Some(slopes) = slopes {
                for (slope, &x) in slopes.iter_mut().zip(&*row) {
                    *slope = T::ONE - x * x;
                }
            }
            row.iter_mut().for_each(|x| *x = *x * cap);
        }
        if let Some(bias) = self.bias {
            let bias = &bias[i * self.columns..][..self.columns];
            row.iter_mut().zip(bias).for_each(|(x, &bias)| *x += bias);
        }
        row[self.seen[i]..].fill(T::LOWEST);
        row
    }
}

/// The weights of a strip once more, and the gradients of its scores.
pub(super) struct Gradient<'a, T> {
    pub strip: Strip<'a, T>,
    /// The gradients of the weights, which become those of the products: `[queries, stride]`.
    pub dscores: &'a mut [T],
    /// Logarithms of the sums of exponentials.
    pub log_sum: &'a [T],
    pub delta: &'a [T],
    /// Columns that are set, to zero where no key is seen.
    pub filled: usize,
    /// Whether gradients are computed, not weights alone.
    pub wanted: bool,
    /// Where the gradients of the scores with bias are put: `[queries, columns]`.
    pub dbias: Option<&'a mut [T]>,
    /// Room for a row.
    pub slopes: &'a mut [T],
}

impl<T: Float> Kernel for Gradient<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Gradient { mut strip, dscores, log_sum, delta, filled, wanted, mut dbias, slopes } =
            self;
        let (stride, columns) = (strip.stride, strip.columns);
        for i in 0..strip.seen.len() {
            let capped = strip.softcap.is_some();
            let row = strip.row::<I>(i, Some(slopes));
            let base = if log_sum[i] == T::LOWEST { T::ZERO } else { log_sum[i] };
            row.iter_mut().for_each(|x| *x = (*x - base).exp::<I>());
            if wanted {
                let (dscores, delta) = (&mut dscores[i * stride..][..row.len()], delta[i]);
                for (dscore, &weight) in dscores.iter_mut().zip(&*row) {
                    *dscore = weight * (*dscore - delta);
                }
                dscores[strip.seen[i]..].fill(T::ZERO);
                if let Some(dbias) = &mut dbias {
                    dbias[i * columns..][..columns].copy_from_slice(&dscores[..columns]);
                }
                if capped {
                    dscores
                        .iter_mut()
                        .zip(&*slopes)
                        .for_each(|(dscore, &slope)| *dscore = *dscore * slope);
                }
            }
            let rest =
                i * stride + columns.next_multiple_of(LANES).min(filled)..i * stride + filled;
            strip.scores[rest.clone()].fill(T::ZERO);
            if wanted {
                dscores[rest].fill(T::ZERO);
            }
        }
    }
}
