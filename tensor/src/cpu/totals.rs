//! Sums over all elements of each of many tensors.

use super::access::{Dense, Sink, float_type};
use super::float::Float;
use super::fold::sum;
use super::parallel::{CHUNK, Shared, chunks};
use super::reduce::BLOCK;
use super::simd::{Isa, Kernel, dispatch};
use crate::op::{Total, Totals};
use crate::{AnyTensor, Element};

/// The sum of a part of a tensor: blocks in the precision of the tensor, their sums in f64.
struct Part<'a, T> {
    total: Total,
    x: &'a [T],
}

impl<T: Float> Kernel for Part<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<I: Isa>(self) -> f64 {
        let blocks = self.x.chunks(BLOCK);
        match self.total {
            Total::Squares => blocks.map(|x| -> f64 { sum(x, |x| x * x).into() }).sum(),
            Total::NotFinite => blocks.map(|x| -> f64 { sum(x, not_finite).into() }).sum(),
        }
    }
}

#[inline(always)]
#[allow(clippy::eq_op)]
fn not_finite<T: Float>(x: T) -> T {
    // NaN and infinity less themselves are NaN.
    if x - x == T::ZERO { T::ZERO } else { T::ONE }
}

pub(super) fn totals(op: &Totals, inputs: &[&AnyTensor], y: &AnyTensor) {
    let total = op.total;
    float_type!(y.dtype(), T => {
        // SAFETY: the output is new and used once.
        let mut y = unsafe { Sink::<T>::new(y) };
        for (x, y) in inputs.iter().zip(y.iter_mut()) {
            let x = Dense::<T>::new(x);
            let sum = if x.len() <= CHUNK {
                dispatch(Part { total, x: &x })
            } else {
                let mut parts = vec![0.0; x.len().div_ceil(CHUNK)];
                let shared = Shared::new(&mut parts);
                chunks(x.len(), CHUNK, |range| {
                    let (number, x) = (range.start / CHUNK, &x[range]);
                    // SAFETY: each part has a number of its own.
                    unsafe { shared.set(number, dispatch(Part { total, x })) };
                });
                parts.iter().sum()
            };
            *y = T::from_f64(sum);
        }
    })
}
