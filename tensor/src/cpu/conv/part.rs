//! Convolution by the gathered micro-kernel: the forward pass, the input's gradient, and by the same
//! product the other way around the weight's gradient.
//!
//! With lanes for channels, the rows of a tile are pixels and its columns are output channels: the
//! weight is packed once, the image is read where it lies, and a finished block is turned into planes
//! while it is in cache. With lanes for pixels, the rows of a tile are output channels and its
//! columns are neighbouring pixels: for groups of few channels, and for short sums, whose turning
//! would cost more than they do.

use std::ops::Range;

use super::super::gemm::{self, Gathered, Source, Start, Strided, Table, with_buffer};
use super::super::matmul::Product;
use super::super::parallel::{Shared, chunks};
use super::super::pool::Scratch;
use super::super::simd::{self, Isa, Kernel, dispatch};
use super::frame::Frame;
use super::rows::Rows;

/// Multiply-adds of a task.
const TASK: usize = 1 << 19;
/// Pixels of a block that is turned at a time.
const BLOCK: usize = 112;
/// Longest run of depth: its part of the weight stays in the second-level cache.
const DEPTH: usize = 512;

/// The pixels of a result that use the same taps: all of them, or for the gradient of a convolution
/// with a stride those at the same place between its steps.
pub(super) struct Part {
    /// Rows and columns of these pixels.
    pub grid: [usize; 2],
    /// The first one in the result's plane, and the distance to the next row and column.
    pub first: usize,
    pub down: usize,
    pub across: usize,
    /// Where each pixel's taps start in a frame.
    pub pixels: Vec<usize>,
    /// Distance of each tap, channel by channel.
    pub taps: Vec<usize>,
    /// Which taps of the kernel these are.
    pub kernel: Vec<usize>,
}

/// The weight of a product: `lanes` channels of the result for `depth` channels of the image, in
/// each group.
#[derive(Clone, Copy)]
pub(super) struct Weight<'a, T> {
    pub values: &'a [T],
    pub groups: usize,
    pub lanes: usize,
    pub depth: usize,
    /// Elements of the kernel.
    pub taps: usize,
    pub lane_stride: usize,
    pub depth_stride: usize,
}

impl<T: Product> Weight<'_, T> {
    fn group_stride(&self) -> usize {
        self.lanes * self.depth * self.taps
    }

    /// Some steps of some lanes of a group, side by side: `[steps, width]`.
    fn pack(
        &self,
        part: &Part,
        group: usize,
        lanes: Range<usize>,
        steps: Range<usize>,
        width: usize,
        out: &mut [T],
    ) {
        let values = &self.values[group * self.group_stride()..][..self.group_stride()];
        if part.kernel.len() == self.taps && self.depth_stride == self.taps {
            // SAFETY: lines of a group, which are as long as there are steps.
            let rows = unsafe { Strided::new(values.as_ptr(), self.lane_stride as isize, 1) };
            return rows.pack(lanes, steps, width, out);
        }
        for (step, line) in steps.zip(out.chunks_exact_mut(width)) {
            let (depth, tap) = (step / part.kernel.len(), part.kernel[step % part.kernel.len()]);
            let (line, beyond) = line.split_at_mut(lanes.len());
            let start = lanes.start * self.lane_stride + depth * self.depth_stride + tap;
            let from = values[start..].iter().step_by(self.lane_stride);
            line.iter_mut().zip(from).for_each(|(out, &w)| *out = w);
            beyond.fill(T::ZERO);
        }
    }

    /// In panels of `width` lanes: `[groups, panels, steps, width]`.
    fn panels(&self, part: &Part, width: usize) -> Scratch<T> {
        let (panels, steps) = (self.lanes.div_ceil(width), part.taps.len());
        let size = steps * width;
        let mut packed = Scratch::<T>::new(self.groups * panels * size);
        let out = Shared::new(&mut packed);
        chunks(self.groups * panels, ((1 << 14) / size.max(1)).max(1), |range| {
            for panel in range {
                let first = panel % panels * width;
                let lanes = first..self.lanes.min(first + width);
                // SAFETY: panels do not overlap.
                let out = unsafe { out.part(panel * size..(panel + 1) * size) };
                self.pack(part, panel / panels, lanes, 0..steps, width, out);
            }
        });
        packed
    }

    /// Lane after lane: `[groups, lanes, depth, taps]`.
    pub fn lines(&self, part: &Part) -> Scratch<T> {
        let mut lines = Scratch::<T>::new(self.groups * self.lanes * part.taps.len());
        let mut out = lines.iter_mut();
        for group in 0..self.groups {
            for lane in 0..self.lanes {
                for depth in 0..self.depth {
                    let start = group * self.group_stride()
                        + lane * self.lane_stride
                        + depth * self.depth_stride;
                    for (&tap, out) in part.kernel.iter().zip(&mut out) {
                        *out = self.values[start + tap];
                    }
                }
            }
        }
        lines
    }
}

/// Products of the images in frames with a weight.
pub(super) struct Images<'a, T> {
    pub x: &'a [T],
    pub images: usize,
    pub frame: Frame,
    pub weight: Weight<'a, T>,
    /// One number per channel of the result.
    pub bias: Option<&'a [T]>,
    /// Pixels of a plane of the result.
    pub plane: usize,
}

impl<T: Product> Images<'_, T> {
    /// Writes the pixels of a part, with lanes for pixels if `by_rows`, which needs neighbours side
    /// by side in the frame.
    pub fn run(&self, part: &Part, by_rows: bool, y: Shared<T>) {
        if part.pixels.is_empty() {
            return;
        }
        let channels = self.weight.groups * self.weight.depth;
        let table = T::gathered(simd::level());
        if by_rows {
            let rows = Rows::new(self, table, part);
            self.frame.images(self.x, self.images, channels, |images, x| {
                let lines = part.grid[0];
                let count = images.len() * self.weight.groups * lines;
                let size = self.weight.lanes * part.taps.len() * part.grid[1];
                chunks(count, (TASK / size.max(1)).max(1), |range| {
                    for item in range {
                        let (plane, line) = (item / lines, item % lines);
                        let (image, group) =
                            (plane / self.weight.groups, plane % self.weight.groups);
                        let x = &x[plane * self.weight.depth * self.frame.plane()..];
                        // SAFETY: every item writes a row of its own.
                        unsafe { rows.run(x, images.start + image, group, line, y) };
                    }
                });
            });
            return;
        }
        let width = if self.weight.lanes <= table.lanes { table.lanes } else { table.columns() };
        let panels = self.weight.lanes.div_ceil(width);
        let (pixels, steps) = (part.pixels.len(), part.taps.len());
        let blocks = pixels.div_ceil(BLOCK);
        let long = pixels.div_ceil(blocks);
        // A panel that is needed once is packed by who needs it.
        let fresh = blocks * self.images == 1;
        let weight = (!fresh).then(|| self.weight.panels(part, width));
        let lines = offsets(steps.min(DEPTH), width);
        self.frame.images(self.x, self.images, channels, |images, x| {
            let count = images.len() * self.weight.groups * blocks * panels;
            chunks(count, (TASK / (long * steps * width).max(1)).max(1), |range| {
                for item in range {
                    let (block, panel) = (item / panels, item % panels);
                    let (plane, first) = (block / blocks, block % blocks * long);
                    let (image, group) = (plane / self.weight.groups, plane % self.weight.groups);
                    let pixels = first..pixels.min(first + long);
                    let size = steps * width;
                    let packed =
                        weight.as_ref().map(|all| &all[(group * panels + panel) * size..][..size]);
                    let x = &x[plane * self.weight.depth * self.frame.plane()..];
                    let lanes = panel * width..self.weight.lanes.min((panel + 1) * width);
                    let weight = &self.weight;
                    let lines = &lines;
                    let tiles =
                        Tiles { table, part, x, weight, group, lanes, packed, width, lines };
                    // SAFETY: every item writes pixels and channels of its own.
                    unsafe { self.block(&tiles, pixels, images.start + image, y) };
                }
            });
        });
    }

    /// Computes some pixels of some channels of a group, and writes them to their planes.
    ///
    /// # Safety
    /// Nothing else accesses these elements of `y`.
    unsafe fn block(&self, tiles: &Tiles<T>, pixels: Range<usize>, image: usize, y: Shared<T>) {
        let part = tiles.part;
        let count = tiles.lanes.len();
        let channel = tiles.group * self.weight.lanes + tiles.lanes.start;
        let start = (image * self.weight.groups * self.weight.lanes + channel) * self.plane;
        let bias = self.bias.map(|bias| &bias[channel..][..count]);
        // [pixels, lanes]
        with_buffer(pixels.len() * tiles.width, |sums| {
            tiles.multiply(pixels.clone(), sums);
            // SAFETY: passed on to the caller: the planes of these channels.
            let planes = |range| unsafe { y.part(range) };
            if part.across == 1 && part.down == part.grid[1] {
                // Each plane is borrowed for itself: others write between these runs.
                let to: Vec<&mut [T]> = (0..count)
                    .map(|lane| {
                        let first = start + lane * self.plane + part.first;
                        planes(first + pixels.start..first + pixels.end)
                    })
                    .collect();
                dispatch(Turn { sums, width: tiles.width, bias, to });
                return;
            }
            for lane in 0..count {
                let bias = bias.map_or(T::ZERO, |bias| bias[lane]);
                for (pixel, sums) in pixels.clone().zip(sums.chunks_exact(tiles.width)) {
                    let (i, j) = (pixel / part.grid[1], pixel % part.grid[1]);
                    let at = part.first + i * part.down + j * part.across;
                    // SAFETY: passed on to the caller.
                    unsafe { y.set(start + lane * self.plane + at, sums[lane] + bias) };
                }
            }
        });
    }
}

/// `0, step, 2 step, ..`
pub(super) fn offsets(count: usize, step: usize) -> Vec<usize> {
    (0..count).map(|index| index * step).collect()
}

/// What the tiles of a block have in common.
struct Tiles<'a, T: 'static> {
    table: &'static Table<T>,
    part: &'a Part,
    x: &'a [T],
    weight: &'a Weight<'a, T>,
    group: usize,
    /// Channels of the group.
    lanes: Range<usize>,
    /// Their weight as `[steps, width]`, if it is packed already.
    packed: Option<&'a [T]>,
    width: usize,
    /// Where each step of a packed weight starts.
    lines: &'a [usize],
}

impl<T: Product> Tiles<'_, T> {
    /// The sums of some pixels, as `[pixels, width]`.
    fn multiply(&self, pixels: Range<usize>, sums: &mut [T]) {
        let (steps, width) = (self.part.taps.len(), self.width);
        let strip = pixels.len().div_ceil(pixels.len().div_ceil(self.table.rows()));
        let buffer = if self.packed.is_some() { 0 } else { steps.min(DEPTH) * width };
        with_buffer(buffer, |buffer| {
            for depth in (0..steps.max(1)).step_by(DEPTH) {
                let depth = depth..steps.min(depth + DEPTH);
                let start = if depth.start == 0 { Start::Zero } else { Start::Sum };
                let weight = match self.packed {
                    Some(packed) => &packed[depth.start * width..],
                    None => {
                        let (lanes, out) = (self.lanes.clone(), &mut buffer[..depth.len() * width]);
                        self.weight.pack(self.part, self.group, lanes, depth.clone(), width, out);
                        out
                    }
                };
                let rows = self.part.pixels[pixels.clone()].chunks(strip);
                for (rows, c) in rows.zip(sums.chunks_mut(strip * width)) {
                    // SAFETY: taps and pixels lie inside of the frame, the steps inside of the
                    // weight, and the buffer has `width` columns for each pixel.
                    unsafe {
                        self.table.run(&Gathered {
                            a: self.x.as_ptr(),
                            a_rows: rows,
                            a_steps: &self.part.taps[depth.clone()],
                            b: weight.as_ptr(),
                            b_steps: &self.lines[..depth.len()],
                            c: c.as_mut_ptr(),
                            c_stride: width,
                            columns: self.lanes.len(),
                            start,
                        });
                    }
                }
            }
        });
    }
}

/// Turns `[pixels, width]` into a run of each channel, and adds the bias.
struct Turn<'a, 'b, T> {
    sums: &'a [T],
    width: usize,
    bias: Option<&'a [T]>,
    to: Vec<&'b mut [T]>,
}

impl<T: Product> Kernel for Turn<'_, '_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        if size_of::<T>() == 4 { turn::<T, I, 8>(self) } else { turn::<T, I, 4>(self) }
    }
}

#[inline(always)]
fn turn<T: Product, I: Isa, const B: usize>(of: Turn<T>) {
    let Turn { sums, width, bias, mut to } = of;
    let count = to.len();
    let pixels = to[0].len();
    let whole = pixels / B * B;
    let lanes = count / B * B;
    for lane in (0..lanes).step_by(B) {
        let mut shift = [T::ZERO; B];
        if let Some(bias) = bias {
            shift.copy_from_slice(&bias[lane..lane + B]);
        }
        for pixel in (0..whole).step_by(B) {
            let mut block = [[T::ZERO; B]; B];
            for (i, line) in block.iter_mut().enumerate() {
                line.copy_from_slice(&sums[(pixel + i) * width + lane..][..B]);
                for (x, shift) in line.iter_mut().zip(shift) {
                    *x += shift;
                }
            }
            for (line, to) in T::transpose::<I, B>(block).iter().zip(&mut to[lane..lane + B]) {
                to[pixel..pixel + B].copy_from_slice(line);
            }
        }
    }
    for (lane, to) in to.iter_mut().enumerate() {
        let shift = bias.map_or(T::ZERO, |bias| bias[lane]);
        let done = if lane < lanes { whole } else { 0 };
        for (pixel, to) in to.iter_mut().enumerate().skip(done) {
            *to = sums[pixel * width + lane] + shift;
        }
    }
}

/// Turns `[steps, width]` into rows of `steps`, of which there may be less than `width`.
pub(super) fn turn_rows<T: Product>(sums: &[T], width: usize, rows: &mut [T], steps: usize) {
    let to = rows.chunks_exact_mut(steps).collect();
    dispatch(Turn { sums, width, bias: None, to });
}

/// Sums over the pixels of some images: for each tap and output channel, of the image at the tap
/// times the gradient of the channel.
pub(super) struct WeightSums<'a, T> {
    pub frame: Frame,
    pub part: &'a Part,
    /// Output channels of a group.
    pub lanes: usize,
    pub groups: usize,
    /// Channels of the image in a group.
    pub depth: usize,
    /// `[images, groups, lanes, pixels]`
    pub dy: &'a [T],
}

impl<T: Product> WeightSums<'_, T> {
    /// Adds to (or starts, if `start`) the sums of `taps` and `lanes` of a group over images, whose
    /// frames are in `x` and whose first one is `image`: `[taps, width]`.
    #[allow(clippy::too_many_arguments)]
    pub fn add(
        &self,
        x: &[T],
        images: Range<usize>,
        image: usize,
        group: usize,
        taps: Range<usize>,
        lanes: Range<usize>,
        width: usize,
        start: bool,
        sums: &mut [T],
    ) {
        let table = T::gathered(simd::level());
        let pixels = self.part.pixels.len();
        let strip = taps.len().div_ceil(taps.len().div_ceil(table.rows()));
        let lines = offsets(pixels.min(DEPTH), width);
        with_buffer(lines.len() * width, |panel| {
            for at in images.clone() {
                let dy = (at * self.groups + group) * self.lanes * pixels;
                let dy = &self.dy[dy..][..self.lanes * pixels];
                // SAFETY: the lines of a group, which are `pixels` long.
                let dy = unsafe { Strided::new(dy.as_ptr(), pixels as isize, 1) };
                let x =
                    &x[((at - image) * self.groups + group) * self.depth * self.frame.plane()..];
                for first in (0..pixels).step_by(DEPTH) {
                    let run = first..pixels.min(first + DEPTH);
                    let panel = &mut panel[..run.len() * width];
                    dy.pack(lanes.clone(), run.clone(), width, panel);
                    let zero = start && at == images.start && first == 0;
                    let rows = self.part.taps[taps.clone()].chunks(strip);
                    for (rows, c) in rows.zip(sums.chunks_mut(strip * width)) {
                        // SAFETY: taps and pixels lie inside of the frame; the panel has a line for
                        // each pixel of the run, and the sums `width` columns for each tap.
                        unsafe {
                            table.run(&Gathered {
                                a: x.as_ptr(),
                                a_rows: rows,
                                a_steps: &self.part.pixels[run.clone()],
                                b: panel.as_ptr(),
                                b_steps: &lines[..run.len()],
                                c: c.as_mut_ptr(),
                                c_stride: width,
                                columns: lanes.len(),
                                start: if zero { Start::Zero } else { Start::Sum },
                            });
                        }
                    }
                }
            }
        });
    }

    /// Width of a panel of output channels.
    pub fn width(&self) -> usize {
        let table = <T as gemm::Real>::gathered(simd::level());
        if self.lanes <= table.lanes { table.lanes } else { table.columns() }
    }
}
