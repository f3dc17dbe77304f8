//! Pooling, an image plane at a time.

use std::ops::Range;

use super::access::{Compute, Dense, Sink, float_type, indices};
use super::float::Float;
use super::parallel::{Shared, rows};
use crate::op::{AvgPool2d, AvgPool2dBackward, MaxPool2d, MaxPool2dBackward, Pool2dOptions};
use crate::{AnyTensor, Element, Result};

/// The part of an axis of `extent` pixels that window `index` covers; a dilated one takes every
/// `dilation`-th pixel of it.
#[inline(always)]
fn window(options: &Pool2dOptions, axis: usize, index: usize, extent: usize) -> Range<usize> {
    let (start, padding) = (index * options.stride[axis], options.padding[axis]);
    let end = (start + options.span(axis)).saturating_sub(padding);
    let first = match padding.checked_sub(start) {
        // What lies in the border is skipped in whole steps.
        Some(outside) => outside.next_multiple_of(options.dilation[axis]) - outside,
        None => start - padding,
    };
    first..end.min(extent)
}

pub(super) fn max_pool2d(op: &MaxPool2d, x: &AnyTensor, outputs: &[AnyTensor]) {
    let [_, _, h, w] = x.shape().dims();
    let [n, c, oh, ow] = outputs[0].shape().dims();
    float_type!(x.dtype(), T => {
        let x = Dense::<T>::new(x);
        // SAFETY: each output is new and used once.
        let mut y = unsafe { Sink::<T>::new(&outputs[0]) };
        let y = Shared::new(&mut y);
        rows(n * c, h * w * 2, |planes| {
            let mut index = vec![0; ow];
            for plane in planes {
                let image = &x[plane * h * w..(plane + 1) * h * w];
                for i in 0..oh {
                    let start = (plane * oh + i) * ow;
                    // SAFETY: planes do not overlap.
                    let out = unsafe { y.part(start..start + ow) };
                    let rows = window(&op.options, 0, i, h);
                    for (j, (out, index)) in out.iter_mut().zip(&mut index).enumerate() {
                        let columns = window(&op.options, 1, j, w);
                        let steps = op.options.dilation;
                        (*out, *index) = largest(image, w, rows.clone(), columns, steps);
                    }
                    // SAFETY: as above.
                    unsafe { i64::write(&index, &outputs[1], start) };
                }
            }
        });
    })
}

/// The largest pixel of a window and its index; the first of equal ones, NaN before all.
#[inline(always)]
#[allow(clippy::eq_op)]
fn largest<T: Float>(
    image: &[T],
    w: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    [down, across]: [usize; 2],
) -> (T, i64) {
    // A dilated window may have no pixel at all: then it has the value of the border.
    let mut best = (T::LOWEST, (rows.start * w + columns.start).min(image.len() - 1) as i64);
    let mut look = |i: usize, j: usize| {
        let x = image[i * w + j];
        if x > best.0 || x != x {
            best = (x, (i * w + j) as i64);
        }
    };
    if [down, across] == [1, 1] {
        rows.for_each(|i| columns.clone().for_each(|j| look(i, j)));
    } else {
        rows.step_by(down).for_each(|i| columns.clone().step_by(across).for_each(|j| look(i, j)));
    }
    best
}

pub(super) fn max_pool2d_backward(
    op: &MaxPool2dBackward,
    [dy, index]: [&AnyTensor; 2],
    dx: &AnyTensor,
) -> Result<()> {
    let pixels = op.size[0] * op.size[1];
    let index = indices("max_pool2d_backward", index, pixels)?;
    let [n, c, oh, ow] = dy.shape().dims();
    float_type!(dx.dtype(), T => {
        let dy = Dense::<T>::new(dy);
        // SAFETY: `dx` is the only output, and new.
        let mut dx = unsafe { Sink::<T>::new(dx) };
        let dx = Shared::new(&mut dx);
        rows(n * c, pixels, |planes| {
            for plane in planes {
                // SAFETY: planes do not overlap.
                let dx = unsafe { dx.part(plane * pixels..(plane + 1) * pixels) };
                dx.fill(T::ZERO);
                let part = plane * oh * ow..(plane + 1) * oh * ow;
                for (&i, &dy) in index[part.clone()].iter().zip(&dy[part]) {
                    dx[i] += dy;
                }
            }
        });
    });
    Ok(())
}

/// One over the number of elements that a window's mean is taken of.
#[inline(always)]
fn share<T: Element>(pool: &AvgPool2d, [i, j]: [usize; 2], [h, w]: [usize; 2]) -> T {
    let Pool2dOptions { kernel, stride, padding, .. } = pool.options;
    let extent = |axis: usize, index: usize, size: usize| {
        if pool.count_include_pad {
            // The window may hang over the padded border too; what lies beyond does not count.
            kernel[axis].min(size + 2 * padding[axis] - index * stride[axis])
        } else {
            window(&pool.options, axis, index, size).len()
        }
    };
    T::from_f64(1.0 / (extent(0, i, h) * extent(1, j, w)) as f64)
}

pub(super) fn avg_pool2d(op: &AvgPool2d, x: &AnyTensor, y: &AnyTensor) {
    let [_, _, h, w] = x.shape().dims();
    let [n, c, oh, ow] = y.shape().dims();
    float_type!(x.dtype(), T => {
        let x = Dense::<T>::new(x);
        // SAFETY: `y` is the only output, and new.
        let mut y = unsafe { Sink::<T>::new(y) };
        let y = Shared::new(&mut y);
        rows(n * c, h * w * 2, |planes| {
            for plane in planes {
                let image = &x[plane * h * w..(plane + 1) * h * w];
                // SAFETY: planes do not overlap.
                let out = unsafe { y.part(plane * oh * ow..(plane + 1) * oh * ow) };
                for (at, out) in out.iter_mut().enumerate() {
                    let [i, j] = [at / ow, at % ow];
                    let mut total = T::ZERO;
                    for row in window(&op.options, 0, i, h) {
                        for &x in &image[row * w..][window(&op.options, 1, j, w)] {
                            total += x;
                        }
                    }
                    *out = total * share::<T>(op, [i, j], [h, w]);
                }
            }
        });
    })
}

pub(super) fn avg_pool2d_backward(op: &AvgPool2dBackward, dy: &AnyTensor, dx: &AnyTensor) {
    let [h, w] = op.size;
    let [n, c, oh, ow] = dy.shape().dims();
    float_type!(dx.dtype(), T => {
        let dy = Dense::<T>::new(dy);
        // SAFETY: `dx` is the only output, and new.
        let mut dx = unsafe { Sink::<T>::new(dx) };
        let dx = Shared::new(&mut dx);
        rows(n * c, h * w * 2, |planes| {
            for plane in planes {
                // SAFETY: planes do not overlap.
                let dx = unsafe { dx.part(plane * h * w..(plane + 1) * h * w) };
                dx.fill(T::ZERO);
                let dy = &dy[plane * oh * ow..(plane + 1) * oh * ow];
                for (at, &dy) in dy.iter().enumerate() {
                    let [i, j] = [at / ow, at % ow];
                    let each = dy * share::<T>(&op.pool, [i, j], op.size);
                    for row in window(&op.pool.options, 0, i, h) {
                        for dx in &mut dx[row * w..][window(&op.pool.options, 1, j, w)] {
                            *dx += each;
                        }
                    }
                }
            }
        });
    })
}
