//! Winograd's filtering for images of few channels, as the first layer of a network has them.
//!
//! Products of so little depth take less time than to write them and to read them again. So what a
//! tile gives at all points stays in registers: summed over the channels, then transformed to
//! pixels.

use std::ops::Range;

use super::super::gemm::{RegisterKernel, Registers, with_buffer};
use super::super::matmul::Product;
use super::super::parallel::{Shared, chunks};
use super::super::pool::Scratch;
use super::part::Weight;
use super::transform::{BLOCK, POINTS, Products, separate, tile_input, tile_output};
use super::winograd::{Winograd, tiles};

/// Multiply-adds of a task.
const TASK: usize = 1 << 17;
/// Numbers of the tiles that are computed together at one point: `[tiles, depth]`.
const WIDE: usize = 64;
/// From one point to the next, apart in the sets of the first-level cache. A constant, so that the
/// points are offsets of one address; that measured no faster than a number of the layer.
const V_POINT: usize = WIDE + 16;
/// Tiles whose pixels are written together: as many as they have rows, which are cache lines.
const RUN: usize = 4;

/// The most tiles that are computed together.
fn most(depth: usize) -> usize {
    WIDE / depth / RUN * RUN
}

impl<T: Product> Winograd<'_, T> {
    /// Tasks of some rows of tiles each, for images of few channels.
    pub(super) fn by_rows(&self, group: usize, rows: usize, y: Shared<T>) {
        let Weight { lanes, depth, .. } = self.weight;
        let (blocks, u_line) = (lanes.div_ceil(BLOCK), POINTS * BLOCK);
        // [blocks, depth, points, BLOCK]
        let mut weight = Scratch::<T>::new(blocks * depth * u_line);
        for (block, u) in weight.chunks_exact_mut(depth * u_line).enumerate() {
            let (lanes, u) = (block * BLOCK..lanes.min((block + 1) * BLOCK), u.as_mut_ptr());
            // SAFETY: the block has room for these channels.
            unsafe { self.transform_weight(group, lanes, 0..depth, u, u_line, BLOCK) };
        }
        let across = tiles(self.grid)[1];
        // Every fourth pixel of a row, one more for the last tile, and room for a whole vector.
        let phase = ((across + 1) * depth + BLOCK).next_multiple_of(BLOCK);
        let space = 6 * 4 * phase + POINTS * V_POINT + 16 * most(depth) * BLOCK;
        let row = across * blocks * depth * u_line;
        chunks(rows, (TASK / row).max(1), |rows| {
            with_buffer(space, |buffer| {
                let weight = &weight[..];
                T::vectorised(Rows { of: self, group, rows, weight, phase, buffer, y });
            });
        });
    }
}

/// Some rows of tiles, of all images one after the other.
struct Rows<'a, T> {
    of: &'a Winograd<'a, T>,
    group: usize,
    rows: Range<usize>,
    /// `[blocks, depth, points, BLOCK]`
    weight: &'a [T],
    /// Numbers of every fourth pixel of a row: `[across + 1, depth]`, and some more.
    phase: usize,
    buffer: &'a mut [T],
    y: Shared<T>,
}

impl<T: Product> RegisterKernel<T> for Rows<'_, T> {
    #[inline(always)]
    unsafe fn run<I: Registers<T>>(self) {
        let Rows { of, group, rows, weight, phase, buffer, y } = self;
        let [down, across] = tiles(of.grid);
        let Weight { lanes, depth, groups, .. } = of.weight;
        let [height, width] = of.grid;
        let plane = height * width;
        let line = 4 * phase;
        let (slab, rest) = buffer.split_at_mut(6 * line);
        let (v, out) = rest.split_at_mut(POINTS * V_POINT);
        let most = most(depth);
        let out_line = 4 * most * BLOCK;
        let mut last = None;
        for row in rows {
            let (image, top) = (row / down, row % down * 4);
            // Neighbouring rows of an image share pixels.
            let done = if last.replace(image) == Some(image) { 2 } else { 0 };
            slab.copy_within((6 - done) * line.., 0);
            for i in done..6 {
                read(of, group, image, top + i, &mut slab[i * line..][..line], phase);
            }
            for left in (0..across).step_by(most) {
                let across = most.min(across - left);
                for at in (0..across * depth).step_by(I::LANES) {
                    let from = slab[left * depth + at..].as_ptr();
                    // SAFETY: all pixels of this vector of tiles and channels lie in their phases,
                    // and each point has room for it.
                    unsafe {
                        let pixel = |row: usize, column: usize| {
                            from.add(row * line + column % 4 * phase + column / 4 * depth)
                        };
                        tile_input::<T, I>(pixel, v[at..].as_mut_ptr(), V_POINT);
                    }
                }
                let width_here = (width - 4 * left).min(4 * across);
                for first in (0..lanes).step_by(BLOCK) {
                    let u = &weight[first * POINTS * depth..][..POINTS * depth * BLOCK];
                    let channels = BLOCK.min(lanes - first);
                    let channel = group * lanes + first;
                    let mut bias = [T::ZERO; BLOCK];
                    if let Some(of_lanes) = of.bias {
                        bias[..channels].copy_from_slice(&of_lanes[channel..][..channels]);
                    }
                    let start = (image * groups * lanes + channel) * plane + top * width + 4 * left;
                    for step in 0..across.next_multiple_of(RUN) + RUN {
                        for lane in (0..BLOCK).step_by(I::LANES).filter(|_| step < across) {
                            let (v, u) = (v[step * depth..].as_ptr(), u[lane..].as_ptr());
                            let to = out[4 * step * BLOCK + lane..].as_mut_ptr();
                            // SAFETY: there are 4 x 4 pixels for each tile.
                            unsafe {
                                let bias = I::load(bias[lane..].as_ptr());
                                tile_output::<T, I>(&Sums { v, u, depth }, bias, to, out_line);
                            }
                        }
                        // One of four rows of the tiles before these, which are as many: memory takes
                        // it while the next tile is computed.
                        let row = step % RUN;
                        if step < RUN || row >= height - top {
                            continue;
                        }
                        let end = width_here.min(4 * (step - row));
                        let first =
                            (4 * (step - row - RUN)).min(width_here.saturating_sub(4 * RUN));
                        let start = start + row * width + first;
                        // SAFETY: every task has rows of its own.
                        unsafe {
                            let from = &out[row * out_line + first * BLOCK..];
                            let to = y.part(start..start + 1).as_mut_ptr();
                            separate::<T, I>(from, channels, end - first, to, plane);
                        }
                    }
                }
            }
        }
    }
}

/// Products of a tile and a block of lanes, summed over the channels.
struct Sums<T> {
    /// `[points, depth]`, the points [`V_POINT`] apart.
    v: *const T,
    /// `[depth, points, BLOCK]`
    u: *const T,
    depth: usize,
}

impl<T: Product> Products<T> for Sums<T> {
    #[inline(always)]
    unsafe fn column<I: Registers<T>>(&self, column: usize) -> [I::Vector; 6] {
        // SAFETY: whoever made this has as many numbers and lines of lanes at each point.
        unsafe {
            let mut sums = [I::splat(T::ZERO); 6];
            for channel in 0..self.depth {
                for (row, sum) in sums.iter_mut().enumerate() {
                    let point = row * 6 + column;
                    let v = *self.v.add(point * V_POINT + channel);
                    let u = self.u.add((channel * POINTS + point) * BLOCK);
                    *sum = I::mul_add(I::splat(v), I::load(u), *sum);
                }
            }
            sums
        }
    }
}

/// Row `row` of the tiles' pixels: those at column `4 i + j` are in phase `j`, channels side by
/// side, with zeros around the image.
#[inline(always)]
fn read<T: Product>(
    of: &Winograd<'_, T>,
    group: usize,
    image: usize,
    row: usize,
    line: &mut [T],
    phase: usize,
) {
    let Winograd { x, size: [height, width], weight, padding, .. } = of;
    line.fill(T::ZERO);
    let Some(row) = row.checked_sub(padding[0]).filter(|row| row < height) else { return };
    let plane = height * width;
    let first = (image * weight.groups + group) * weight.depth * plane + row * width;
    for channel in 0..weight.depth {
        let from = &x[first + channel * plane..][..*width];
        for (j, line) in line.chunks_exact_mut(phase).enumerate() {
            // From the first of these columns that is in the image.
            let first = padding[1].saturating_sub(j).div_ceil(4);
            let (mut at, mut column) = (first * weight.depth + channel, 4 * first + j - padding[1]);
            while column < *width {
                line[at] = from[column];
                at += weight.depth;
                column += 4;
            }
        }
    }
}
