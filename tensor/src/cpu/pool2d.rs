//! Pooling, an image plane at a time.

use std::ops::Range;

use super::access::{Dense, Sink, float_type, indices, pointer};
use super::float::Float;
use super::parallel::{Shared, rows};
use super::simd::{Isa, Kernel, dispatch};
use crate::op::{AvgPool2d, AvgPool2dBackward, MaxPool2d, MaxPool2dBackward, Pool2dOptions};
use crate::{AnyTensor, DType, Element, Result};

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

/// Results that are computed together.
const RUN: usize = 16;

/// A row of an image with the border of the pooling, which never wins: pixels a stride apart lie
/// side by side, so the pixels that one tap of the window takes are a run.
struct Line<T> {
    stride: usize,
    padding: usize,
    /// `[stride, length]`
    phases: Vec<T>,
    length: usize,
    /// For each tap of the window, where its run starts, and its first column (which may lie in the
    /// border).
    taps: Vec<(usize, i32)>,
}

impl<T: Float> Line<T> {
    fn new(options: &Pool2dOptions, w: usize, results: usize) -> Self {
        let (stride, padding) = (options.stride[1], options.padding[1]);
        let results = results.next_multiple_of(RUN);
        let length = (results + options.span(1) / stride + 1).max((w + padding) / stride + 1);
        let tap = |tap| {
            let moved = tap * options.dilation[1];
            (moved % stride * length + moved / stride, moved as i32 - padding as i32)
        };
        let taps = (0..options.kernel[1]).map(tap).collect();
        Self { stride, padding, phases: vec![T::LOWEST; stride * length], length, taps }
    }

    /// Takes in a row.
    #[inline(always)]
    fn fill(&mut self, row: &[T]) {
        let (stride, padding) = (self.stride, self.padding);
        let start = |column: usize| {
            let at = column + padding;
            at % stride * self.length + at / stride
        };
        match stride {
            1 => self.phases[padding..][..row.len()].copy_from_slice(row),
            2 => {
                let half = row.len() / 2;
                let (even, odd) = (start(0), start(1));
                let mut done = 0;
                while done + 8 <= half {
                    let pairs: &[T; 16] = row[2 * done..][..16].try_into().expect("16 pixels");
                    let (mut first, mut second) = ([T::ZERO; 8], [T::ZERO; 8]);
                    for i in 0..8 {
                        first[i] = pairs[2 * i];
                        second[i] = pairs[2 * i + 1];
                    }
                    self.phases[even + done..][..8].copy_from_slice(&first);
                    self.phases[odd + done..][..8].copy_from_slice(&second);
                    done += 8;
                }
                for (column, &x) in row.iter().enumerate().skip(2 * done) {
                    let phase = if column % 2 == 0 { even } else { odd };
                    self.phases[phase + column / 2] = x;
                }
            }
            _ => {
                for column in 0..stride.min(row.len()) {
                    let columns = row[column..].iter().step_by(stride);
                    let phase = self.phases[start(column)..].iter_mut();
                    phase.zip(columns).for_each(|(to, &x)| *to = x);
                }
            }
        }
    }
}

/// A row of maxima and where they were.
struct Largest<'a, T> {
    image: &'a [T],
    w: usize,
    /// The window's rows of the image.
    rows: std::iter::StepBy<Range<usize>>,
    line: &'a mut Line<T>,
    /// A multiple of [`RUN`]; the indices start with those of each window's first pixel.
    y: &'a mut [T],
    index: &'a mut [i32],
}

impl<T: Float> Kernel for Largest<'_, T> {
    type Output = ();
    #[inline(always)]
    #[allow(clippy::eq_op)]
    fn run<I: Isa>(self) {
        let Largest { image, w, rows, line, y, index } = self;
        // A dilated window may have no pixel at all: then it has the value of the border.
        y.fill(T::LOWEST);
        let stride = line.stride as i32;
        for row in rows {
            line.fill(&image[row * w..][..w]);
            for &(start, column) in &line.taps {
                let first = (row * w) as i32 + column;
                let x = line.phases[start..].chunks_exact(RUN);
                let results = y.chunks_exact_mut(RUN).zip(index.chunks_exact_mut(RUN));
                for (run, ((y, index), x)) in results.zip(x).enumerate() {
                    let first = first + (run * RUN) as i32 * stride;
                    let y: &mut [T; RUN] = y.try_into().expect("a run");
                    let index: &mut [i32; RUN] = index.try_into().expect("a run");
                    let x: &[T; RUN] = x.try_into().expect("a run");
                    for j in 0..RUN {
                        let take = x[j] > y[j] || x[j] != x[j];
                        y[j] = if take { x[j] } else { y[j] };
                        index[j] = if take { first + j as i32 * stride } else { index[j] };
                    }
                }
            }
        }
    }
}

pub(super) fn max_pool2d(op: &MaxPool2d, x: &AnyTensor, outputs: &[AnyTensor]) {
    let [_, _, h, w] = x.shape().dims();
    let [n, c, oh, ow] = outputs[0].shape().dims();
    let options = &op.options;
    // SAFETY: an output is contiguous from the start of its buffer, and this one is of i32.
    let index = unsafe {
        std::slice::from_raw_parts_mut(pointer::<i32>(&outputs[1]), outputs[1].num_elements())
    };
    let index = Shared::new(index);
    let firsts: Vec<i32> = (0..ow).map(|j| window(options, 1, j, w).start as i32).collect();
    float_type!(x.dtype(), T => {
        let x = Dense::<T>::new(x);
        // SAFETY: each output is new and used once.
        let mut y = unsafe { Sink::<T>::new(&outputs[0]) };
        let y = Shared::new(&mut y);
        rows(n * c, h * w * 2, |planes| {
            let mut line = Line::new(options, w, ow);
            let mut maxima = vec![T::ZERO; ow.next_multiple_of(RUN)];
            let mut places = vec![0; maxima.len()];
            for plane in planes {
                let image = &x[plane * h * w..(plane + 1) * h * w];
                for i in 0..oh {
                    let rows = window(options, 0, i, h);
                    for (place, first) in places.iter_mut().zip(&firsts) {
                        *place = ((rows.start * w) as i32 + first).min((h * w) as i32 - 1);
                    }
                    let rows = rows.step_by(options.dilation[0]);
                    let (y_row, index_row) = (&mut maxima[..], &mut places[..]);
                    let line = &mut line;
                    dispatch(Largest { image, w, rows, line, y: y_row, index: index_row });
                    let start = (plane * oh + i) * ow;
                    // SAFETY: planes do not overlap.
                    unsafe {
                        y.part(start..start + ow).copy_from_slice(&maxima[..ow]);
                        index.part(start..start + ow).copy_from_slice(&places[..ow]);
                    }
                }
            }
        });
    })
}

pub(super) fn max_pool2d_backward(
    op: &MaxPool2dBackward,
    [dy, index]: [&AnyTensor; 2],
    dx: &AnyTensor,
) -> Result<()> {
    let pixels = op.size[0] * op.size[1];
    let index = Indices::new(index, pixels)?;
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
                match &index {
                    Indices::Narrow(index) => {
                        let pairs = index[part.clone()].iter().zip(&dy[part]);
                        pairs.for_each(|(&i, &dy)| dx[i as usize] += dy);
                    }
                    Indices::Wide(index) => {
                        let pairs = index[part.clone()].iter().zip(&dy[part]);
                        pairs.for_each(|(&i, &dy)| dx[i] += dy);
                    }
                }
            }
        });
    });
    Ok(())
}

/// Indices below the number of pixels: as [`max_pool2d`] made them, or any others.
enum Indices<'a> {
    Narrow(&'a [i32]),
    Wide(Vec<usize>),
}

impl<'a> Indices<'a> {
    fn new(tensor: &'a AnyTensor, pixels: usize) -> Result<Self> {
        if tensor.dtype() == DType::I32 && tensor.layout().is_contiguous() {
            // SAFETY: a contiguous layout covers its elements, which are of i32.
            let index = unsafe {
                let first = pointer::<i32>(tensor).add(tensor.layout().offset());
                std::slice::from_raw_parts(first, tensor.num_elements())
            };
            // As unsigned numbers, of which the negative ones are the largest.
            let largest = index.iter().fold(0, |largest, &i| (i as u32).max(largest));
            if (largest as usize) < pixels {
                return Ok(Self::Narrow(index));
            }
        }
        indices("max_pool2d_backward", tensor, pixels).map(Self::Wide)
    }
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

/// A row of means: the sums of the columns of its window's rows, then of the window's columns.
struct Mean<'a, T> {
    /// Rows of the image.
    rows: &'a [T],
    /// Sums of the columns.
    sums: &'a mut [T],
    columns: &'a [Range<usize>],
    /// One over the number of elements of each window.
    shares: &'a [T],
    y: &'a mut [T],
}

impl<T: Float> Kernel for Mean<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Mean { rows, sums, columns, shares, y } = self;
        sums.fill(T::ZERO);
        for row in rows.chunks_exact(sums.len()) {
            for (sum, &x) in sums.iter_mut().zip(row) {
                *sum += x;
            }
        }
        if columns.iter().all(|columns| columns.len() == 2) {
            for ((y, columns), &share) in y.iter_mut().zip(columns).zip(shares) {
                *y = (sums[columns.start] + sums[columns.start + 1]) * share;
            }
            return;
        }
        for ((y, columns), &share) in y.iter_mut().zip(columns).zip(shares) {
            let mut total = T::ZERO;
            for &sum in &sums[columns.clone()] {
                total += sum;
            }
            *y = total * share;
        }
    }
}

/// What the windows of one row of results have in common with those of another.
struct Windows<T> {
    columns: Vec<Range<usize>>,
    /// One over the number of elements of each window: `[rows, columns]`.
    shares: Vec<T>,
}

impl<T: Element> Windows<T> {
    fn new(pool: &AvgPool2d, size: [usize; 2], grid: [usize; 2]) -> Self {
        let columns = (0..grid[1]).map(|j| window(&pool.options, 1, j, size[1])).collect();
        let pixels = 0..grid[0] * grid[1];
        let shares = pixels.map(|at| share(pool, [at / grid[1], at % grid[1]], size)).collect();
        Self { columns, shares }
    }
}

pub(super) fn avg_pool2d(op: &AvgPool2d, x: &AnyTensor, y: &AnyTensor) {
    let [_, _, h, w] = x.shape().dims();
    let [n, c, oh, ow] = y.shape().dims();
    float_type!(x.dtype(), T => {
        let x = Dense::<T>::new(x);
        let windows = Windows::<T>::new(op, [h, w], [oh, ow]);
        // SAFETY: `y` is the only output, and new.
        let mut y = unsafe { Sink::<T>::new(y) };
        let y = Shared::new(&mut y);
        rows(n * c, h * w * 2, |planes| {
            let mut sums = vec![T::ZERO; w];
            for plane in planes {
                let image = &x[plane * h * w..(plane + 1) * h * w];
                // SAFETY: planes do not overlap.
                let out = unsafe { y.part(plane * oh * ow..(plane + 1) * oh * ow) };
                for (i, y) in out.chunks_exact_mut(ow).enumerate() {
                    let rows = window(&op.options, 0, i, h);
                    let rows = &image[rows.start * w..rows.end * w];
                    let shares = &windows.shares[i * ow..][..ow];
                    let (columns, sums) = (&windows.columns[..], &mut sums[..]);
                    dispatch(Mean { rows, sums, columns, shares, y });
                }
            }
        });
    })
}

/// A row of gradients, shared out over the columns of each window, then over its rows.
struct Share<'a, T> {
    dy: &'a [T],
    columns: &'a [Range<usize>],
    shares: &'a [T],
    /// What each column gets from the row.
    line: &'a mut [T],
    /// Rows of the image.
    dx: &'a mut [T],
}

impl<T: Float> Kernel for Share<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Share { dy, columns, shares, line, dx } = self;
        line.fill(T::ZERO);
        for ((&dy, columns), &share) in dy.iter().zip(columns).zip(shares) {
            let each = dy * share;
            for x in &mut line[columns.clone()] {
                *x += each;
            }
        }
        for row in dx.chunks_exact_mut(line.len()) {
            for (dx, &x) in row.iter_mut().zip(&*line) {
                *dx += x;
            }
        }
    }
}

pub(super) fn avg_pool2d_backward(op: &AvgPool2dBackward, dy: &AnyTensor, dx: &AnyTensor) {
    let [h, w] = op.size;
    let [n, c, oh, ow] = dy.shape().dims();
    float_type!(dx.dtype(), T => {
        let dy = Dense::<T>::new(dy);
        let windows = Windows::<T>::new(&op.pool, [h, w], [oh, ow]);
        // SAFETY: `dx` is the only output, and new.
        let mut dx = unsafe { Sink::<T>::new(dx) };
        let dx = Shared::new(&mut dx);
        rows(n * c, h * w * 2, |planes| {
            let mut line = vec![T::ZERO; w];
            for plane in planes {
                // SAFETY: planes do not overlap.
                let dx = unsafe { dx.part(plane * h * w..(plane + 1) * h * w) };
                dx.fill(T::ZERO);
                let dy = &dy[plane * oh * ow..(plane + 1) * oh * ow];
                for (i, dy) in dy.chunks_exact(ow).enumerate() {
                    let rows = window(&op.pool.options, 0, i, h);
                    let dx = &mut dx[rows.start * w..rows.end * w];
                    let shares = &windows.shares[i * ow..][..ow];
                    dispatch(Share { dy, columns: &windows.columns, shares, line: &mut line, dx });
                }
            }
        });
    })
}
