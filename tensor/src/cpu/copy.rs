//! Moving elements: copies of views, concatenation, the gradient of views.

use super::access::{Compute, Dense, Sink, pointer};
use super::parallel::{CHUNK, Shared, chunks};
use super::simd::dispatch;
use super::tile::element_type;
use super::transpose::{BLOCK, Transpose};
use crate::layout::Layout;
use crate::op::{Cat, Unview};
use crate::{AnyTensor, DType, Element, Scalar};

/// Copies `x` to the contiguous `y` of the same dtype, if there is a faster way than by tiles:
/// whole runs of bytes, or a transposition by blocks.
pub(super) fn copy(x: &AnyTensor, y: &AnyTensor) -> bool {
    if x.dtype() != y.dtype() {
        return false;
    }
    if x.layout().is_contiguous() {
        let size = x.dtype().size();
        let source = x.buffer().address() + x.layout().offset() * size;
        let target = y.buffer().address();
        chunks(y.num_elements() * size, CHUNK * 4, |range| {
            let (from, to) = (source + range.start, target + range.start);
            // SAFETY: both cover as many bytes, they do not overlap, and the ranges are disjoint.
            unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, range.len()) }
        });
        return true;
    }
    match x.dtype().size() {
        1 => transpose::<u8>(x, y),
        2 => transpose::<u16>(x, y),
        4 => transpose::<u32>(x, y),
        8 => transpose::<u64>(x, y),
        _ => transpose::<u128>(x, y),
    }
}

/// Copies a batch of transposed matrices, `[.., rows, columns]` with rows at stride 1.
fn transpose<T: Copy>(x: &AnyTensor, y: &AnyTensor) -> bool {
    let layout = x.layout().collapse();
    let Some((batch, &[rows, columns])) = layout.shape().split_last_chunk() else { return false };
    let Some((batch_strides, &[1, column_stride])) = layout.strides().split_last_chunk() else {
        return false;
    };
    if rows < 4 || columns < 4 {
        return false;
    }
    let outer = Layout::strided(batch, batch_strides, layout.offset());
    let (row_blocks, count) = (rows.div_ceil(BLOCK), batch.iter().product::<usize>());
    let (source, target) = (pointer::<T>(x) as usize, pointer::<T>(y) as usize);
    let per_chunk = (CHUNK / (BLOCK * columns)).max(1);
    chunks(count * row_blocks, per_chunk, |range| {
        for item in range {
            let (matrix, block) = (item / row_blocks, item % row_blocks);
            let source = (source as *const T).wrapping_add(outer.position(matrix));
            let target = (target as *mut T).wrapping_add(matrix * rows * columns);
            let first = block * BLOCK;
            // Every item writes rows of its own.
            dispatch(Transpose {
                from: source.wrapping_add(first),
                from_stride: column_stride,
                to: target.wrapping_add(first * columns),
                to_stride: columns,
                rows: BLOCK.min(rows - first),
                columns,
            });
        }
    });
    true
}

/// Concatenation: each input is a block of rows of the output seen as `[outer, axis * inner]`.
pub(super) fn cat(op: &Cat, inputs: &[&AnyTensor], y: &AnyTensor) {
    let row: usize = y.shape()[op.axis..].iter().product();
    let mut start = 0;
    for x in inputs {
        let width: usize = x.shape()[op.axis..].iter().product();
        if width > 0 {
            element_type!(y.dtype(), T => {
                let x = Dense::<T>::new(x);
                for (i, part) in x.chunks_exact(width).enumerate() {
                    // SAFETY: the rows of all inputs tile the output.
                    unsafe { T::write(part, y, i * row + start) };
                }
            });
        }
        start += width;
    }
}

/// Adds each element of `x` where the view of the zeroed `y` reads it.
pub(super) fn unview(op: &Unview, x: &AnyTensor, y: &AnyTensor) {
    let view = op.view.layout(&Layout::contiguous(op.shape)).expect("infer checked it").collapse();
    element_type!(y.dtype(), T => {
        let x = Dense::<T>::new(x);
        // SAFETY: `y` is the only output, and new.
        let mut y = unsafe { Sink::<T>::new(y) };
        zero(&mut y);
        add_at(&x, &view, &mut y);
    })
}

fn add_at<T: Compute + std::ops::AddAssign>(x: &[T], view: &Layout, y: &mut [T]) {
    let Some(last) = view.rank().checked_sub(1) else {
        if let [x] = x {
            y[view.offset()] += *x;
        }
        return;
    };
    let (extent, stride) = (view.shape()[last], view.strides()[last]);
    if x.is_empty() {
        return;
    }
    for (row, values) in x.chunks_exact(extent).enumerate() {
        let start = view.position(row * extent);
        if stride == 1 {
            for (y, &x) in y[start..start + extent].iter_mut().zip(values) {
                *y += x;
            }
        } else {
            for (i, &x) in values.iter().enumerate() {
                y[(start as isize + i as isize * stride) as usize] += x;
            }
        }
    }
}

/// Fills a slice with zeros.
pub(super) fn zero<T: Compute>(y: &mut [T]) {
    let n = y.len();
    let y = Shared::new(y);
    // SAFETY: the ranges are disjoint.
    chunks(n, CHUNK, |range| unsafe { y.part(range) }.fill(T::default()));
}

/// Fills an output with one number.
pub(super) fn fill(op: &crate::op::Fill, y: &AnyTensor) {
    // Bools are computed as integers, which would cut a fraction to zero.
    let value = match y.dtype() {
        DType::Bool => Scalar::Bool(op.value.to_complex().norm() != 0.0),
        _ => op.value,
    };
    element_type!(y.dtype(), T => {
        let value = match value {
            Scalar::Float(x) => x.cast(),
            Scalar::Int(x) => x.cast(),
            Scalar::Bool(x) => x.cast(),
            Scalar::Complex(x) => x.cast::<T>(),
        };
        let tile = [value; 1024];
        chunks(y.num_elements(), CHUNK, |range| {
            for start in range.clone().step_by(tile.len()) {
                let len = tile.len().min(range.end - start);
                // SAFETY: the ranges are disjoint, and `y` is a new output.
                unsafe { T::write(&tile[..len], y, start) };
            }
        });
    })
}

/// `start + i * step` for each `i`.
pub(super) fn arange(op: &crate::op::Arange, y: &AnyTensor) {
    if y.dtype().is_float() || y.dtype().is_complex() {
        let (start, step) = (op.start.to_f64(), op.step.to_f64());
        let values: Vec<f64> = (0..op.len).map(|i| start + i as f64 * step).collect();
        // SAFETY: `y` is a new output of as many elements.
        unsafe { f64::write(&values, y, 0) };
    } else {
        let (start, step) = (op.start.to_i64(), op.step.to_i64());
        let value = |i: usize| start.wrapping_add(step.wrapping_mul(i as i64));
        let values: Vec<i64> = (0..op.len).map(value).collect();
        debug_assert_ne!(y.dtype(), DType::Bool);
        // SAFETY: `y` is a new output of as many elements.
        unsafe { i64::write(&values, y, 0) };
    }
}
