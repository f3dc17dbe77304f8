//! Entries picked by index, and their gradients.

use super::access::{Compute, Dense, Sink, indices};
use super::copy::zero;
use super::parallel::{Shared, rows};
use super::tile::element_type;
use crate::op::{Gather, GatherBackward, Select, SelectBackward};
use crate::{AnyTensor, Result, Shape};

/// `shape` seen as `[outer, axis, inner]`.
pub(super) fn around(shape: &Shape, axis: usize) -> [usize; 3] {
    [shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product()]
}

pub(super) fn select(op: &Select, [x, index]: [&AnyTensor; 2], y: &AnyTensor) -> Result<()> {
    let [_, extent, inner] = around(x.shape_ref(), op.axis);
    let index = indices("select", index, extent)?;
    if y.num_elements() == 0 {
        return Ok(());
    }
    element_type!(x.dtype(), T => {
        let x = Dense::<T>::new(x);
        rows(y.num_elements() / inner, inner, |range| {
            for row in range {
                let (outer, k) = (row / index.len(), row % index.len());
                let start = (outer * extent + index[k]) * inner;
                // SAFETY: each row writes its own part of the new output.
                unsafe { T::write(&x[start..start + inner], y, row * inner) };
            }
        });
    });
    Ok(())
}

/// Threads share out the columns, so that entries of one index are added in order by one thread.
pub(super) fn select_backward(
    op: &SelectBackward,
    [dy, index]: [&AnyTensor; 2],
    dx: &AnyTensor,
) -> Result<()> {
    /// Columns of a task: a cache line of f32.
    const COLUMNS: usize = 16;
    let [outer, entries, inner] = around(dy.shape_ref(), op.axis);
    let index = indices("select_backward", index, op.extent)?;
    element_type!(dx.dtype(), T => {
        let dy = Dense::<T>::new(dy);
        // SAFETY: `dx` is the only output, and new.
        let mut dx = unsafe { Sink::<T>::new(dx) };
        zero(&mut dx);
        let out = Shared::new(&mut dx);
        let strips = inner.div_ceil(COLUMNS);
        rows(outer * strips, entries * COLUMNS * 2, |range| {
            // The strips of one task are neighbours: their columns are added as one run.
            let mut range = range;
            while !range.is_empty() {
                let (o, first) = (range.start / strips, range.start % strips);
                let count = (strips - first).min(range.len());
                let columns = first * COLUMNS..inner.min((first + count) * COLUMNS);
                for (k, &i) in index.iter().enumerate() {
                    let from = (o * entries + k) * inner;
                    let to = (o * op.extent + i) * inner;
                    // SAFETY: tasks differ in `o` or in columns.
                    let dx = unsafe { out.part(to + columns.start..to + columns.end) };
                    for (dx, &dy) in dx.iter_mut().zip(&dy[from + columns.start..from + columns.end]) {
                        *dx += dy;
                    }
                }
                range.start += count;
            }
        });
    });
    Ok(())
}

/// Where element `linear` of a tensor of `shape` lies in one of `source`, before `axis` counts.
fn base(shape: &Shape, source: &Shape, axis: usize, mut linear: usize) -> usize {
    let (mut position, mut stride) = (0, 1);
    for i in (0..shape.rank()).rev() {
        if i != axis {
            position += linear % shape[i] * stride;
        }
        linear /= shape[i];
        stride *= source[i];
    }
    position
}

pub(super) fn gather(op: &Gather, [x, index]: [&AnyTensor; 2], y: &AnyTensor) -> Result<()> {
    let (source, shape) = (x.shape(), y.shape());
    let [_, extent, inner] = around(&source, op.axis);
    let index = indices("gather", index, extent)?;
    element_type!(x.dtype(), T => {
        let x = Dense::<T>::new(x);
        rows(index.len(), 8, |range| {
            for i in range {
                let from = base(&shape, &source, op.axis, i) + index[i] * inner;
                // SAFETY: each element of the new output is written once.
                unsafe { T::write(&x[from..from + 1], y, i) };
            }
        });
    });
    Ok(())
}

pub(super) fn gather_backward(
    op: &GatherBackward,
    [dy, index]: [&AnyTensor; 2],
    dx: &AnyTensor,
) -> Result<()> {
    let [_, extent, inner] = around(&op.shape, op.axis);
    let shape = dy.shape();
    let index = indices("gather_backward", index, extent)?;
    element_type!(dx.dtype(), T => {
        let dy = Dense::<T>::new(dy);
        // SAFETY: `dx` is the only output, and new.
        let mut dx = unsafe { Sink::<T>::new(dx) };
        zero(&mut dx);
        for (i, &dy) in dy.iter().enumerate() {
            dx[base(&shape, &op.shape, op.axis, i) + index[i] * inner] += dy;
        }
    });
    Ok(())
}
