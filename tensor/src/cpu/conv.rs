//! Convolution as a matrix product whose right operand is never made: the patches of the image are
//! packed tile by tile where the product needs them.
//!
//! With the weight as `[out, k]`, `k = (channel, row, column)` of the kernel, and the patches as
//! `[k, pixels]`, the forward pass is `weight patches` for each image; the weight's gradient is
//! `dy patches^T` summed over images; and the input's gradient is again such a product, of the
//! turned weight and the patches of `dy`, spread out by the stride.

use std::ops::Range;

use super::access::{Dense, Sink, float_type};
use super::float::Float;
use super::gemm::{Epilogue, Source, Strided, Threads, gemm};
use super::matmul::Product;
use super::parallel::{Shared, chunks};
use super::pool::Scratch;
use crate::AnyTensor;
use crate::op::{Conv2d, Conv2dInputGrad, Conv2dWeightGrad};

/// Multiply-adds from which one image is divided among threads, rather than the batch.
const LARGE: usize = 1 << 24;
/// Multiply-adds of a task; images of less share one.
const TASK: usize = 1 << 17;

/// The patches of one image: for tap `k = (c, p, q)` and pixel `(i, j)` of the result, the element
/// at row `(i * stride + p * dilation - padding) / spread` of channel `c`, and likewise for the
/// column; zero where that is outside of the image or no whole number.
#[derive(Clone, Copy)]
struct Patches<'a, T> {
    /// `[c, height, width]`
    image: &'a [T],
    size: [usize; 2],
    /// Width of the result.
    columns: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [isize; 2],
    dilation: [usize; 2],
    /// Distance at which the image's pixels are set before the kernel moves over it.
    spread: [usize; 2],
}

impl<T: Product> Patches<'_, T> {
    /// Where `index` of the result and `tap` of the kernel meet along `axis`.
    #[inline(always)]
    fn source(&self, axis: usize, index: usize, tap: usize) -> Option<usize> {
        let moved = (index * self.stride[axis] + tap * self.dilation[axis]) as isize;
        let at = usize::try_from(moved - self.padding[axis]).ok()?;
        let spread = self.spread[axis];
        if spread == 1 {
            return (at < self.size[axis]).then_some(at);
        }
        (at % spread == 0 && at / spread < self.size[axis]).then_some(at / spread)
    }

    /// Tap `k` for the pixels of row `i` from column `j` on.
    #[inline(always)]
    fn row(&self, [c, p, q]: [usize; 3], i: usize, j: usize, out: &mut [T]) {
        let Some(row) = self.source(0, i, p) else { return out.fill(T::ZERO) };
        let [height, width] = self.size;
        let line = &self.image[(c * height + row) * width..][..width];
        if self.stride[1] == 1 && self.spread[1] == 1 {
            // A run of the image, with zeros where it hangs over.
            let first = j as isize + (q * self.dilation[1]) as isize - self.padding[1];
            let before = usize::try_from(-first).unwrap_or(0).min(out.len());
            let start = usize::try_from(first).unwrap_or(0).min(width);
            let inside = (out.len() - before).min(width - start);
            out[..before].fill(T::ZERO);
            out[before..before + inside].copy_from_slice(&line[start..start + inside]);
            out[before + inside..].fill(T::ZERO);
        } else {
            for (lane, out) in out.iter_mut().enumerate() {
                *out = self.source(1, j + lane, q).map_or(T::ZERO, |column| line[column]);
            }
        }
    }

    /// Tap `k` for consecutive pixels of the result.
    #[inline(always)]
    fn pixels(&self, tap: [usize; 3], pixels: Range<usize>, out: &mut [T]) {
        let (mut i, mut j) = (pixels.start / self.columns, pixels.start % self.columns);
        let mut rest = out;
        while !rest.is_empty() {
            let run = rest.len().min(self.columns - j);
            let (out, next) = rest.split_at_mut(run);
            self.row(tap, i, j, out);
            (rest, i, j) = (next, i + 1, 0);
        }
    }

    #[inline(always)]
    fn tap(&self, k: usize) -> [usize; 3] {
        let [height, width] = self.kernel;
        [k / (height * width), k / width % height, k % width]
    }

    #[inline(always)]
    fn next_tap(&self, [c, p, q]: [usize; 3]) -> [usize; 3] {
        if q + 1 < self.kernel[1] {
            [c, p, q + 1]
        } else if p + 1 < self.kernel[0] {
            [c, p + 1, 0]
        } else {
            [c + 1, 0, 0]
        }
    }
}

/// As right operand of the forward pass: lines are pixels, depth is taps.
impl<T: Product> Source<T> for Patches<'_, T> {
    fn pack(&self, lines: Range<usize>, depth: Range<usize>, width: usize, out: &mut [T]) {
        let panels = out.chunks_exact_mut(depth.len() * width);
        for (first, panel) in lines.clone().step_by(width).zip(panels) {
            let pixels = first..lines.end.min(first + width);
            let mut tap = self.tap(depth.start);
            for lane in panel.chunks_exact_mut(width) {
                let (values, beyond) = lane.split_at_mut(pixels.len());
                self.pixels(tap, pixels.clone(), values);
                beyond.fill(T::ZERO);
                tap = self.next_tap(tap);
            }
        }
    }
}

/// As right operand of the weight's gradient: lines are taps, depth is the pixels of all images.
struct PatchesByTap<'a, T> {
    /// The first image; the others follow `image_stride` elements apart.
    first: Patches<'a, T>,
    images: &'a [T],
    image_stride: usize,
    pixels: usize,
}

impl<T: Product> Source<T> for PatchesByTap<'_, T> {
    fn pack(&self, lines: Range<usize>, depth: Range<usize>, width: usize, out: &mut [T]) {
        /// Pixels at a time, on the stack.
        const RUN: usize = 128;
        let mut run = [T::ZERO; RUN];
        let panels = out.chunks_exact_mut(depth.len() * width);
        for (first, panel) in lines.clone().step_by(width).zip(panels) {
            let count = width.min(lines.end - first);
            if count < width {
                panel.fill(T::ZERO);
            }
            let mut start = depth.start;
            while start < depth.end {
                let (image, pixel) = (start / self.pixels, start % self.pixels);
                let len = RUN.min(depth.end - start).min(self.pixels - pixel);
                let patches =
                    Patches { image: &self.images[image * self.image_stride..], ..self.first };
                let mut tap = patches.tap(first);
                for lane in 0..count {
                    patches.pixels(tap, pixel..pixel + len, &mut run[..len]);
                    let at = (start - depth.start) * width + lane;
                    for (slot, &x) in panel[at..].iter_mut().step_by(width).zip(&run[..len]) {
                        *slot = x;
                    }
                    tap = patches.next_tap(tap);
                }
                start += len;
            }
        }
    }
}

/// `dy` as left operand of the weight's gradient: lines are channels, depth is the pixels of all
/// images.
struct ChannelsByPixel<'a, T> {
    /// `[images, .., pixels]`, from the first channel of the group on.
    dy: &'a [T],
    image_stride: usize,
    pixels: usize,
}

impl<T: Product> Source<T> for ChannelsByPixel<'_, T> {
    fn pack(&self, lines: Range<usize>, depth: Range<usize>, width: usize, out: &mut [T]) {
        let panels = out.chunks_exact_mut(depth.len() * width);
        for (first, panel) in lines.clone().step_by(width).zip(panels) {
            let count = width.min(lines.end - first);
            if count < width {
                panel.fill(T::ZERO);
            }
            for lane in 0..count {
                let mut start = depth.start;
                while start < depth.end {
                    let (image, pixel) = (start / self.pixels, start % self.pixels);
                    let len = (depth.end - start).min(self.pixels - pixel);
                    let from = image * self.image_stride + (first + lane) * self.pixels + pixel;
                    let at = (start - depth.start) * width + lane;
                    let slots = panel[at..].iter_mut().step_by(width);
                    slots.zip(&self.dy[from..from + len]).for_each(|(slot, &x)| *slot = x);
                    start += len;
                }
            }
        }
    }
}

/// One number per output channel, which is a row of the product.
struct Bias<'a, T>(&'a [T]);

impl<T: Product> Epilogue<T> for Bias<'_, T> {
    fn apply(&self, row: usize, _column: usize, run: &mut [T]) {
        run.iter_mut().for_each(|y| *y += self.0[row]);
    }
}

/// Runs `work(item, threads)` for `count` products of `size` multiply-adds each.
fn products(count: usize, size: usize, work: impl Fn(usize, Threads) + Sync) {
    if size >= LARGE {
        (0..count).for_each(|item| work(item, Threads::Pool));
    } else {
        chunks(count, (TASK / size.max(1)).max(1), |range| {
            range.for_each(|item| work(item, Threads::One));
        });
    }
}

/// A contiguous matrix as left operand.
fn rows_of<T>(matrix: &[T], depth: usize) -> Strided<'_, T> {
    // SAFETY: the products below read `matrix.len() / depth` lines of `depth` elements.
    unsafe { Strided::new(matrix.as_ptr(), depth as isize, 1) }
}

pub(super) fn conv2d(op: &Conv2d, inputs: &[&AnyTensor], y: &AnyTensor) {
    if y.num_elements() == 0 {
        return;
    }
    let [n, c, height, width] = inputs[0].shape().dims();
    let [out, per_group, kh, kw] = inputs[1].shape().dims();
    let [_, _, rows, columns] = y.shape().dims();
    let options = op.options;
    let (groups, depth, pixels) = (options.groups, per_group * kh * kw, rows * columns);
    let group_out = out / groups;
    float_type!(y.dtype(), T => {
        let (x, w) = (Dense::<T>::new(inputs[0]), Dense::<T>::new(inputs[1]));
        let bias = op.bias.then(|| Dense::<T>::new(inputs[2]));
        // SAFETY: `y` is the only output, and new.
        let mut y = unsafe { Sink::<T>::new(y) };
        let y = Shared::new(&mut y);
        products(n * groups, group_out * depth * pixels, |item, threads| {
            let (image, group) = (item / groups, item % groups);
            let patches = Patches {
                image: &x[(image * c + group * per_group) * height * width..],
                size: [height, width],
                columns,
                kernel: [kh, kw],
                stride: options.stride,
                padding: options.padding.map(|padding| padding as isize),
                dilation: options.dilation,
                spread: [1, 1],
            };
            let weight = rows_of(&w[group * group_out * depth..][..group_out * depth], depth);
            let bias = bias.as_ref().map(|bias| Bias(&bias[group * group_out..]));
            let epilogue = bias.as_ref().map(|bias| bias as &dyn Epilogue<T>);
            let start = (image * out + group * group_out) * pixels;
            // SAFETY: every item writes channels of its own.
            unsafe {
                let y = y.part(start..start + group_out * pixels).as_mut_ptr();
                gemm(group_out, pixels, depth, &weight, &patches, y, pixels, false, epilogue, threads);
            }
        });
    })
}

pub(super) fn input_grad(op: &Conv2dInputGrad, [dy, w]: [&AnyTensor; 2], dx: &AnyTensor) {
    if dx.num_elements() == 0 {
        return;
    }
    let [n, out, rows, columns] = dy.shape().dims();
    let [_, per_group, kh, kw] = w.shape().dims();
    let [_, c, height, width] = dx.shape().dims();
    let options = op.options;
    let (groups, taps) = (options.groups, kh * kw);
    let group_out = out / groups;
    let depth = group_out * taps;
    float_type!(dx.dtype(), T => {
        let (dy, w) = (Dense::<T>::new(dy), Dense::<T>::new(w));
        // The weight turned by half a turn, channels in and out exchanged: [groups, c, out, kh, kw]
        let mut turned = Scratch::<T>::new(w.len());
        for (at, turned) in turned.iter_mut().enumerate() {
            let (tap, o) = (at % taps, at / taps % group_out);
            let (channel, group) = (at / depth % per_group, at / (depth * per_group));
            *turned = w[((group * group_out + o) * per_group + channel) * taps + taps - 1 - tap];
        }
        // SAFETY: `dx` is the only output, and new.
        let mut dx = unsafe { Sink::<T>::new(dx) };
        let dx = Shared::new(&mut dx);
        let padding = [0, 1].map(|axis| {
            let reach = (op.options.dilation[axis] * ([kh, kw][axis] - 1)) as isize;
            reach - options.padding[axis] as isize
        });
        let pixels = height * width;
        products(n * groups, per_group * depth * pixels, |item, threads| {
            let (image, group) = (item / groups, item % groups);
            let patches = Patches {
                image: &dy[(image * out + group * group_out) * rows * columns..],
                size: [rows, columns],
                columns: width,
                kernel: [kh, kw],
                stride: [1, 1],
                padding,
                dilation: options.dilation,
                spread: options.stride,
            };
            let part = &turned[group * per_group * depth..][..per_group * depth];
            let start = (image * c + group * per_group) * pixels;
            // SAFETY: every item writes channels of its own.
            unsafe {
                let dx = dx.part(start..start + per_group * pixels).as_mut_ptr();
                let weight = rows_of(part, depth);
                gemm(per_group, pixels, depth, &weight, &patches, dx, pixels, false, None, threads);
            }
        });
    })
}

pub(super) fn weight_grad(op: &Conv2dWeightGrad, [x, dy]: [&AnyTensor; 2], dw: &AnyTensor) {
    /// Most partial gradients of one group of channels.
    const PARTS: usize = 8;
    let [n, c, height, width] = x.shape().dims();
    let [_, out, rows, columns] = dy.shape().dims();
    let [_, per_group, kh, kw] = dw.shape().dims();
    if dw.num_elements() == 0 {
        return;
    }
    let options = op.options;
    let (groups, taps, pixels) = (options.groups, per_group * kh * kw, rows * columns);
    let group_out = out / groups;
    float_type!(dw.dtype(), T => {
        let (x, dy) = (Dense::<T>::new(x), Dense::<T>::new(dy));
        // SAFETY: `dw` is the only output, and new.
        let mut dw = unsafe { Sink::<T>::new(dw) };
        // Images are cut into parts by their number and size alone; each part has its own sum.
        let (size, image_size) = (group_out * taps, group_out * taps * pixels);
        let per_part = n.div_ceil(PARTS).max(TASK.div_ceil(image_size.max(1))).min(n.max(1));
        let parts = n.div_ceil(per_part);
        // [groups, parts, out, taps]
        let mut partial = Scratch::<T>::new(groups * parts * size);
        let sums = Shared::new(&mut partial);
        products(groups * parts, image_size * per_part, |item, threads| {
            let (group, images) = (item / parts, item % parts * per_part);
            let count = per_part.min(n - images);
            let channels = &x[(images * c + group * per_group) * height * width..];
            let first = Patches {
                image: channels,
                size: [height, width],
                columns,
                kernel: [kh, kw],
                stride: options.stride,
                padding: options.padding.map(|padding| padding as isize),
                dilation: options.dilation,
                spread: [1, 1],
            };
            let image_stride = c * height * width;
            let patches = PatchesByTap { first, images: channels, image_stride, pixels };
            let dy = &dy[(images * out + group * group_out) * pixels..];
            let dy = ChannelsByPixel { dy, image_stride: out * pixels, pixels };
            // SAFETY: every item has a sum of its own.
            unsafe {
                let sum = sums.part(item * size..(item + 1) * size).as_mut_ptr();
                gemm(group_out, taps, count * pixels, &dy, &patches, sum, taps, false, None, threads);
            }
        });
        for (group, dw) in dw.chunks_exact_mut(size).enumerate() {
            dw.fill(T::ZERO);
            for part in 0..parts {
                let sum = &partial[(group * parts + part) * size..][..size];
                dw.iter_mut().zip(sum).for_each(|(dw, &sum)| *dw += sum);
            }
        }
    })
}
