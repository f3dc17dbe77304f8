//! The index of the first extremum along one axis.

use super::access::Compute;
use super::parallel::rows;
use super::reduce::{BLOCK, part};
use super::tile::number_type;
use crate::AnyTensor;
use crate::op::{ArgReduce, Axes};

pub(super) fn arg_reduce(op: &ArgReduce, x: &AnyTensor, y: &AnyTensor) {
    number_type!(x.dtype(), T => arg_rows::<T>(op, x, y))
}

/// The first extremum of each row.
fn arg_rows<T: Compute + PartialOrd>(op: &ArgReduce, x: &AnyTensor, y: &AnyTensor) {
    let axes = Axes::single(op.axis);
    let kept = part(x.layout(), axes, false).collapse();
    let reduced = part(x.layout(), axes, true);
    let n = reduced.shape()[0];
    rows(kept.shape().num_elements(), n, |range| {
        let mut buffer = [T::default(); BLOCK];
        for row in range {
            let layout = reduced.at(kept.position(row));
            let mut best: Option<(T, usize)> = None;
            for start in (0..n).step_by(BLOCK) {
                let len = BLOCK.min(n - start);
                // SAFETY: a row of the tensor's own layout.
                unsafe { T::read(x, &layout, start, &mut buffer[..len]) };
                for (i, &value) in buffer[..len].iter().enumerate() {
                    if best.is_none_or(|(best, _)| better(op.max, value, best)) {
                        best = Some((value, start + i));
                    }
                }
            }
            let (_, index) = best.expect("infer refuses empty rows");
            // SAFETY: each row writes its own element of the new output.
            unsafe { i64::write(&[index as i64], y, row) };
        }
    });
}

/// Whether `value` beats `best`: NaN beats every number and nothing beats NaN.
#[allow(clippy::eq_op)]
fn better<T: PartialOrd + Copy>(max: bool, value: T, best: T) -> bool {
    let (is_nan, best_is_nan) = (value != value, best != best);
    !best_is_nan && (is_nan || if max { value > best } else { value < best })
}
