//! Convolution and its two gradients.
//!
//! Each is one of a few products, chosen by shapes alone. Kernels of 3 x 3 with stride 1 take a
//! quarter of the multiplications in [`winograd`], for images of few channels in [`shallow`]; kernels
//! of one pixel are a matrix product of the image as it lies; all others gather their operands from
//! the image with a border of zeros ([`part`]), so patches are never made.

mod frame;
mod part;
mod rows;
mod shallow;
mod transform;
mod winograd;

use super::access::{Dense, Sink, float_type};
use super::float::Float;
use super::gemm::{Epilogue, Strided, Threads, gemm};
use super::matmul::Product;
use super::parallel::{Shared, chunks};
use super::pool::Scratch;
use crate::AnyTensor;
use crate::op::{Conv2d, Conv2dInputGrad, Conv2dOptions, Conv2dWeightGrad};
use frame::Frame;
use part::{Images, Part, Weight, WeightSums};
use winograd::Winograd;

/// Multiply-adds from which one image is divided among threads, rather than the batch.
const LARGE: usize = 1 << 24;
/// Multiply-adds of a task; images of less share one.
const TASK: usize = 1 << 17;

/// One number per output channel, which is a row of the product.
struct Bias<'a, T>(&'a [T]);

impl<T: Product> Epilogue<T> for Bias<'_, T> {
    fn apply(&self, row: usize, _column: usize, run: &mut [T]) {
        run.iter_mut().for_each(|y| *y += self.0[row]);
    }
}

/// Whether a convolution is a matrix product of the image as it lies.
fn is_product(options: &Conv2dOptions, kernel: [usize; 2]) -> bool {
    kernel == [1, 1] && options.stride == [1, 1] && options.padding == [0, 0]
}

/// Whether [`winograd`] computes it.
fn is_winograd(options: &Conv2dOptions, kernel: [usize; 2]) -> bool {
    kernel == [3, 3] && options.stride == [1, 1] && options.dilation == [1, 1]
}

/// `y = w x + bias` for each image and group, where `w` is `[lanes, depth]` with these strides.
fn pixelwise<T: Product>(of: &Images<T>, y: Shared<T>) {
    let Weight { values, groups, lanes, depth, .. } = of.weight;
    let strides = (of.weight.lane_stride as isize, of.weight.depth_stride as isize);
    let (count, size) = (of.images * groups, lanes * depth * of.plane);
    let work = |item: usize, threads| {
        let group = item % groups;
        let bias = of.bias.map(|bias| Bias(&bias[group * lanes..]));
        let epilogue = bias.as_ref().map(|bias| bias as &dyn Epilogue<T>);
        let x = &of.x[item * depth * of.plane..][..depth * of.plane];
        let w = &values[group * lanes * depth..][..lanes * depth];
        // SAFETY: both are matrices of these sizes, and every item writes channels of its own.
        unsafe {
            let x = Strided::new(x.as_ptr(), 1, of.plane as isize);
            let w = Strided::new(w.as_ptr(), strides.0, strides.1);
            let start = item * lanes * of.plane;
            let y = y.part(start..start + lanes * of.plane).as_mut_ptr();
            gemm(lanes, of.plane, depth, &w, &x, y, of.plane, false, epilogue, threads);
        }
    };
    if size >= LARGE {
        (0..count).for_each(|item| work(item, Threads::Pool));
    } else {
        chunks(count, (TASK / size.max(1)).max(1), |range| {
            range.for_each(|item| work(item, Threads::One));
        });
    }
}

/// Every tap of channels in a frame, channel by channel, and which of the kernel it is.
fn taps(
    channels: usize,
    frame: &Frame,
    kernel: [usize; 2],
    place: impl Fn([usize; 2]) -> Option<[usize; 2]>,
) -> (Vec<usize>, Vec<usize>) {
    let [kh, kw] = kernel;
    let all = (0..kh * kw).map(|tap| (tap, place([tap / kw, tap % kw])));
    let used: Vec<_> = all.filter_map(|(tap, place)| Some((tap, place?))).collect();
    let offsets = (0..channels).flat_map(|channel| {
        used.iter().map(move |(_, [row, column])| channel * frame.plane() + frame.at(*row, *column))
    });
    (offsets.collect(), used.iter().map(|(tap, _)| *tap).collect())
}

/// All pixels of a convolution's result, and the frame that its image needs.
fn forward_part(
    options: &Conv2dOptions,
    channels: usize,
    size: [usize; 2],
    grid: [usize; 2],
    kernel: [usize; 2],
    by_rows: bool,
) -> (Frame, Part) {
    let Conv2dOptions { stride, padding, dilation, .. } = *options;
    let extent = [0, 1]
        .map(|axis| (grid[axis] - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1);
    let frame = Frame::new(size, padding, extent, if by_rows { stride[1] } else { 1 });
    let (taps, kernel) =
        taps(channels, &frame, kernel, |[p, q]| Some([p * dilation[0], q * dilation[1]]));
    let pixels = pixels(&frame, grid, stride);
    (frame, Part { grid, first: 0, down: grid[1], across: 1, pixels, taps, kernel })
}

/// Where the pixels of a grid start that are `stride` apart in a frame.
fn pixels(frame: &Frame, grid: [usize; 2], stride: [usize; 2]) -> Vec<usize> {
    let at = |pixel| frame.at(pixel / grid[1] * stride[0], pixel % grid[1] * stride[1]);
    (0..grid[0] * grid[1]).map(at).collect()
}

/// Whether lanes are better used for pixels than for channels.
fn by_rows(lanes: usize, steps: usize, columns: usize) -> bool {
    lanes < 8 || (steps <= 32 && columns >= 16)
}

pub(super) fn conv2d(op: &Conv2d, inputs: &[&AnyTensor], y: &AnyTensor) {
    if y.num_elements() == 0 {
        return;
    }
    let [images, _, height, width] = inputs[0].shape().dims();
    let [out, depth, kh, kw] = inputs[1].shape().dims();
    let [_, _, rows, columns] = y.shape().dims();
    let options = op.options;
    let (groups, taps, plane) = (options.groups, kh * kw, rows * columns);
    let lanes = out / groups;
    float_type!(y.dtype(), T => {
        let (x, w) = (Dense::<T>::new(inputs[0]), Dense::<T>::new(inputs[1]));
        let bias = op.bias.then(|| Dense::<T>::new(inputs[2]));
        // SAFETY: `y` is the only output, and new.
        let mut y = unsafe { Sink::<T>::new(y) };
        let y = Shared::new(&mut y);
        let (lane_stride, depth_stride) = (depth * taps, taps);
        let weight = Weight { values: &w, groups, lanes, depth, taps, lane_stride, depth_stride };
        let by_rows = by_rows(lanes, depth * taps, columns);
        let (size, grid) = ([height, width], [rows, columns]);
        let (frame, part) = forward_part(&options, depth, size, grid, [kh, kw], by_rows);
        let of = Images { x: &x, images, frame, weight, bias: bias.as_deref(), plane };
        if is_winograd(&options, [kh, kw]) && winograd::pays_off(images, grid, depth, lanes) {
            let (turned, padding, bias) = (false, options.padding, bias.as_deref());
            Winograd { x: &x, images, size, weight, turned, bias, padding, grid }.run(y);
        } else if is_product(&options, [kh, kw]) && lanes >= 8 {
            pixelwise(&of, y);
        } else {
            of.run(&part, by_rows, y);
        }
    })
}

/// The taps `place - shift` of an axis that reach pixels at `rest` between the steps of a stride.
struct Axis {
    /// Pixels of the result: the first, and how many.
    first: usize,
    count: usize,
    /// Position of the first one in `dy`, before any shift.
    start: usize,
}

impl Axis {
    fn new(size: usize, stride: usize, padding: usize, rest: usize) -> Self {
        // Pixel `y` lies at `y + padding = stride * i + rest`.
        let first = (rest + stride - padding % stride) % stride;
        let count = size.saturating_sub(first).div_ceil(stride);
        Self { first, count, start: (first + padding) / stride }
    }
}

pub(super) fn input_grad(op: &Conv2dInputGrad, [dy, w]: [&AnyTensor; 2], dx: &AnyTensor) {
    if dx.num_elements() == 0 {
        return;
    }
    let [images, out, rows, columns] = dy.shape().dims();
    let [_, lanes, kh, kw] = w.shape().dims();
    let [_, _, height, width] = dx.shape().dims();
    let Conv2dOptions { stride, padding, dilation, groups } = op.options;
    let (depth, taps_count) = (out / groups, kh * kw);
    float_type!(dx.dtype(), T => {
        let (dy, w) = (Dense::<T>::new(dy), Dense::<T>::new(w));
        // SAFETY: `dx` is the only output, and new.
        let mut dx = unsafe { Sink::<T>::new(dx) };
        let dx = Shared::new(&mut dx);
        let (lane_stride, depth_stride) = (taps_count, lanes * taps_count);
        let weight =
            Weight { values: &w, groups, lanes, depth, taps: taps_count, lane_stride, depth_stride };
        let (size, grid) = ([rows, columns], [height, width]);
        if is_winograd(&op.options, [kh, kw])
            && padding.iter().all(|&padding| padding <= 2)
            && winograd::pays_off(images, grid, depth, lanes)
        {
            let (padding, bias) = (padding.map(|padding| 2 - padding), None);
            let of = Winograd { x: &dy, images, size, weight, turned: true, bias, padding, grid };
            return of.run(dx);
        }
        // Tap `p` reaches pixel `stride * i + rest` from `dy` at `i - shift`, where
        // `shift = p * dilation / stride`, if `p * dilation` has the same rest.
        let longest = [0, 1].map(|axis| ([kh, kw][axis] - 1) * dilation[axis] / stride[axis]);
        let least = [0, 1].map(|axis| padding[axis] / stride[axis]);
        let before = [0, 1].map(|axis| longest[axis].saturating_sub(least[axis]));
        let extent = [0, 1].map(|axis| {
            before[axis] + ([height, width][axis] - 1 + padding[axis]) / stride[axis] + 1
        });
        let frame = Frame::new([rows, columns], before, extent, 1);
        let mut of = Images { x: &dy, images, frame, weight, bias: None, plane: height * width };
        if is_product(&op.options, [kh, kw]) && lanes >= 8 {
            return pixelwise(&of, dx);
        }
        for rest in 0..stride[0] * stride[1] {
            let rest = [rest / stride[1], rest % stride[1]];
            let [down, across] = [0, 1].map(|axis| {
                Axis::new([height, width][axis], stride[axis], padding[axis], rest[axis])
            });
            let (taps, kernel) = taps(depth, &frame, [kh, kw], |tap| {
                let mut place = [0; 2];
                for axis in [0, 1] {
                    let moved = tap[axis] * dilation[axis];
                    if moved % stride[axis] != rest[axis] {
                        return None;
                    }
                    place[axis] = before[axis] + least[axis] - moved / stride[axis];
                }
                Some(place)
            });
            let grid = [down.count, across.count];
            let place = |pixel: usize| {
                let row = down.start - least[0] + pixel / grid[1];
                frame.at(row, across.start - least[1] + pixel % grid[1])
            };
            let part = Part {
                grid,
                first: down.first * width + across.first,
                down: stride[0] * width,
                across: stride[1],
                pixels: (0..grid[0] * grid[1]).map(place).collect(),
                taps,
                kernel,
            };
            of.frame = frame;
            of.run(&part, by_rows(lanes, part.taps.len(), grid[1]), dx);
        }
    })
}

pub(super) fn weight_grad(op: &Conv2dWeightGrad, [x, dy]: [&AnyTensor; 2], dw: &AnyTensor) {
    /// Partial gradients of one group of channels, at most, and tasks to aim at.
    const PARTS: usize = 8;
    const TASKS: usize = 32;
    /// Taps of a task.
    const TAPS: usize = 168;
    let [n, c, height, width] = x.shape().dims();
    let [_, out, rows, columns] = dy.shape().dims();
    let [_, depth, kh, kw] = dw.shape().dims();
    if dw.num_elements() == 0 {
        return;
    }
    let groups = op.options.groups;
    let (lanes, steps, plane) = (out / groups, depth * kh * kw, rows * columns);
    float_type!(dw.dtype(), T => {
        let (x, dy) = (Dense::<T>::new(x), Dense::<T>::new(dy));
        // SAFETY: `dw` is the only output, and new.
        let mut dw = unsafe { Sink::<T>::new(dw) };
        if n == 0 || plane == 0 {
            return dw.fill(T::ZERO);
        }
        let (size, grid) = ([height, width], [rows, columns]);
        let (frame, part) = forward_part(&op.options, depth, size, grid, [kh, kw], false);
        let of = WeightSums { frame, part: &part, lanes, groups, depth, dy: &dy };
        let panel = of.width();
        let (panels, pieces) = (lanes.div_ceil(panel), steps.div_ceil(TAPS));
        // Images are cut into parts by their number and size alone; each part has its own sum.
        let tasks = groups * panels * pieces;
        let image = (lanes * steps * plane).max(1);
        let per_part = n.div_ceil(TASKS.div_ceil(tasks).min(PARTS)).max(TASK.div_ceil(image)).min(n);
        let parts = n.div_ceil(per_part);
        // [parts, groups, panels, taps, lanes]
        let sum = steps * panel;
        let mut partial = Scratch::<T>::new(parts * groups * panels * sum);
        let sums = Shared::new(&mut partial);
        frame.images(&x, n, c, |images, x| {
            let first = images.start / per_part;
            let parts = images.end.div_ceil(per_part) - first;
            let size = per_part * image / tasks;
            chunks(parts * tasks, (TASK / size.max(1)).max(1), |range| {
                for item in range {
                    let (part, task) = (first + item / tasks, item % tasks);
                    let (at, piece) = (task / pieces, task % pieces);
                    let (group, at_panel) = (at / panels, at % panels);
                    let run = images.start.max(part * per_part)
                        ..images.end.min((part + 1) * per_part);
                    let taps = piece * TAPS..steps.min((piece + 1) * TAPS);
                    let lanes = at_panel * panel..lanes.min((at_panel + 1) * panel);
                    let start = run.start == part * per_part;
                    let base = (part * groups * panels + at) * sum;
                    let range = base + taps.start * panel..base + taps.end * panel;
                    // SAFETY: every item has sums of its own.
                    let sums = unsafe { sums.part(range) };
                    of.add(x, run, images.start, group, taps, lanes, panel, start, sums);
                }
            });
        });
        let dw = Shared::new(&mut dw);
        chunks(groups * panels, (TASK / (parts * sum).max(1)).max(1), |range| {
            for at in range {
                let (group, first) = (at / panels, at % panels * panel);
                let lanes_here = first..lanes.min(first + panel);
                // SAFETY: every item has sums and rows of its own.
                let (total, rows) = unsafe {
                    let total = sums.part(at * sum..(at + 1) * sum);
                    let start = (group * lanes + first) * steps;
                    (total, dw.part(start..start + lanes_here.len() * steps))
                };
                for part in 1..parts {
                    let base = (part * groups * panels + at) * sum;
                    // SAFETY: as above.
                    let more = unsafe { sums.part(base..base + sum) };
                    total.iter_mut().zip(more).for_each(|(total, more)| *total += *more);
                }
                part::turn_rows(total, panel, rows, steps);
            }
        });
    })
}
