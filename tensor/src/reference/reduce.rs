//! Reductions.

use super::scalar::binary;
use super::{Array, indices, map};
use crate::DType;
use crate::op::{BinaryKind, ReduceKind};

pub(super) fn reduce(kind: ReduceKind, x: &Array, shape: &[usize]) -> Array {
    let start = match kind {
        ReduceKind::Sum | ReduceKind::Mean | ReduceKind::Any => 0.0,
        ReduceKind::Prod | ReduceKind::All => 1.0,
        ReduceKind::Max => f64::NEG_INFINITY,
        ReduceKind::Min => f64::INFINITY,
    };
    let mut y = map(shape, |_| start);
    // What rounding took away from each sum (Neumaier 1974).
    let mut lost = map(shape, |_| 0.0);
    for i in indices(&x.shape) {
        let value = x.at(&i);
        let to: Vec<_> = i.iter().zip(shape).map(|(&i, &n)| i.min(n - 1)).collect();
        let total = y.at_mut(&to);
        *total = match kind {
            ReduceKind::Sum | ReduceKind::Mean => {
                let sum = *total + value;
                let (large, small) =
                    if total.abs() < value.abs() { (value, *total) } else { (*total, value) };
                if sum.is_finite() {
                    *lost.at_mut(&to) += (large - sum) + small;
                }
                sum
            }
            ReduceKind::Prod => *total * value,
            ReduceKind::Max | ReduceKind::Any => binary(BinaryKind::Max, DType::F64, *total, value),
            ReduceKind::Min | ReduceKind::All => binary(BinaryKind::Min, DType::F64, *total, value),
        };
    }
    y.values.iter_mut().zip(&lost.values).for_each(|(sum, lost)| *sum += lost);
    if kind == ReduceKind::Mean {
        let n = x.values.len() as f64 / y.values.len().max(1) as f64;
        y.values.iter_mut().for_each(|value| *value /= n);
    }
    y
}

pub(super) fn arg_reduce(max: bool, axis: usize, x: &Array, shape: &[usize]) -> Array {
    map(shape, |i| {
        let mut i = i.to_vec();
        let mut best = 0;
        for k in 1..x.shape[axis] {
            i[axis] = best;
            let old = x.at(&i);
            i[axis] = k;
            let new = x.at(&i);
            let wins = new.is_nan() || if max { new > old } else { new < old };
            if !old.is_nan() && wins {
                best = k;
            }
        }
        best as f64
    })
}
