//! New values in some places of a tensor.

use super::{Array, entries, indices, map};
use crate::layout::Layout;
use crate::op::{Assign, IndexingUpdateOp, RavelIndex, Scatter};
use crate::{DType, Error, Result};

pub(super) fn assign(op: &Assign, x: &Array, values: &Array) -> Result<Vec<Array>> {
    let part = op.view.layout(&Layout::contiguous(crate::Shape::new(&x.shape)))?;
    let mut y = Array { shape: x.shape.clone(), values: x.values.clone() };
    for (i, value) in values.values.iter().enumerate() {
        y.values[part.position(i)] = *value;
    }
    Ok(vec![y])
}

pub(super) fn scatter(op: &Scatter, arrays: &[Array], dtype: DType) -> Result<Vec<Array>> {
    let [x, index, values] = arrays else { unreachable!("infer checked the number") };
    let entry = entries("scatter", index, x.shape[op.axis])?;
    let mut y = Array { shape: x.shape.clone(), values: x.values.clone() };
    for (k, i) in indices(&values.shape).enumerate() {
        let mut to = i.clone();
        to[op.axis] = entry[k];
        let (old, new) = (y.at(&to), values.at(&i));
        *y.at_mut(&to) = match op.update {
            IndexingUpdateOp::Assign => new,
            IndexingUpdateOp::Add if dtype == DType::Bool => old.max(new),
            IndexingUpdateOp::Add => old + new,
            IndexingUpdateOp::Mul => old * new,
            IndexingUpdateOp::Min if old.is_nan() || new.is_nan() => f64::NAN,
            IndexingUpdateOp::Min => old.min(new),
            IndexingUpdateOp::Max if old.is_nan() || new.is_nan() => f64::NAN,
            IndexingUpdateOp::Max => old.max(new),
        };
    }
    Ok(vec![y])
}

pub(super) fn ravel_index(op: &RavelIndex, index: &Array, shape: &[usize]) -> Result<Vec<Array>> {
    let rank = op.shape.rank();
    for (i, &index) in index.values.iter().enumerate() {
        let size = op.shape[i % rank];
        if !(0.0..size as f64).contains(&index) {
            return Err(Error::Index { op: "ravel_index", index: index as i64, size });
        }
    }
    let linear = |i: &[usize]| {
        (0..rank).fold(0.0, |linear, axis| {
            let at = [i, &[axis]].concat();
            linear * op.shape[axis] as f64 + index.at(&at)
        })
    };
    Ok(vec![map(shape, linear)])
}
