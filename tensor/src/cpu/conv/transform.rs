//! The transforms of Winograd's F(4 x 4, 3 x 3).
//!
//! The points are 0, `+-sqrt(1/2)`, `+-sqrt(2)` and infinity. With the integers 0, `+-1`, `+-2` that
//! Lavin & Gray use, the matrices have entries from 1/24 to 8, and an error that is 6 times that of
//! summing the taps one by one in f32; with these points it is 1.5 times as large (both measured on
//! random images of 8 to 256 channels). A product of two points of one pair being 1, they cost no
//! more.

// Rows and columns of a tile are indexed alike.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use super::super::gemm::{RegisterKernel, Registers};
use super::super::matmul::Product;

/// Channels that are transformed at a time, side by side.
pub(super) const BLOCK: usize = 16;
/// Points of a tile.
pub(super) const POINTS: usize = 36;

/// The inner points `A` and `B`, of which the negatives are points too.
const A: f64 = std::f64::consts::FRAC_1_SQRT_2;
const B: f64 = std::f64::consts::SQRT_2;

/// `value` in each lane.
///
/// # Safety
/// The processor has the instruction set of `I`.
#[inline(always)]
unsafe fn constant<T: Product, I: Registers<T>>(value: f64) -> I::Vector {
    // SAFETY: passed on to the caller, who has the instruction set.
    unsafe { I::splat(T::from_f64(value)) }
}

/// 6 pixels at 6 points.
///
/// # Safety
/// The processor has the instruction set of `I`.
#[inline(always)]
unsafe fn input<T: Product, I: Registers<T>>(d: [I::Vector; 6]) -> [I::Vector; 6] {
    // SAFETY: passed on to the caller, who has the instruction set.
    unsafe {
        let number = |value| constant::<T, I>(value);
        let even_a = I::mul_add(d[2], number(-2.0), d[4]);
        let odd_a = I::mul_add(d[1], number(-2.0), d[3]);
        let even_b = I::mul_add(d[2], number(-0.5), d[4]);
        let odd_b = I::mul_add(d[1], number(-0.5), d[3]);
        [
            I::mul_add(d[2], number(-2.5), I::add(d[0], d[4])),
            I::mul_add(odd_a, number(A), even_a),
            I::mul_add(odd_a, number(-A), even_a),
            I::mul_add(odd_b, number(B), even_b),
            I::mul_add(odd_b, number(-B), even_b),
            I::mul_add(d[3], number(-2.5), I::add(d[1], d[5])),
        ]
    }
}

/// 3 taps at 6 points.
///
/// # Safety
/// The processor has the instruction set of `I`.
#[inline(always)]
unsafe fn weight<T: Product, I: Registers<T>>(g: [I::Vector; 3]) -> [I::Vector; 6] {
    // SAFETY: passed on to the caller, who has the instruction set.
    unsafe {
        let number = |value| constant::<T, I>(value);
        let zero = number(0.0);
        let third = |x| I::mul_add(x, number(-1.0 / 1.5), zero);
        let sixth = |x| I::mul_add(x, number(1.0 / 6.0), zero);
        let even_a = third(I::mul_add(g[2], number(0.5), g[0]));
        let even_b = sixth(I::mul_add(g[2], number(2.0), g[0]));
        [
            g[0],
            I::mul_add(g[1], number(-A / 1.5), even_a),
            I::mul_add(g[1], number(A / 1.5), even_a),
            I::mul_add(g[1], number(B / 6.0), even_b),
            I::mul_add(g[1], number(-B / 6.0), even_b),
            g[2],
        ]
    }
}

/// 4 results from products at 6 points.
///
/// # Safety
/// The processor has the instruction set of `I`.
#[inline(always)]
unsafe fn output<T: Product, I: Registers<T>>(m: [I::Vector; 6]) -> [I::Vector; 4] {
    // SAFETY: passed on to the caller, who has the instruction set.
    unsafe {
        let number = |value| constant::<T, I>(value);
        let less = |x, y| I::mul_add(y, number(-1.0), x);
        let (sum_a, sum_b) = (I::add(m[1], m[2]), I::add(m[3], m[4]));
        let (odd_a, odd_b) = (less(m[1], m[2]), less(m[3], m[4]));
        let twice_b = I::add(sum_b, sum_b);
        let far = I::mul_add(odd_b, number(2.0 * B), m[5]);
        [
            I::add(I::add(m[0], sum_a), sum_b),
            I::mul_add(odd_a, number(A), I::mul_add(odd_b, number(B), number(0.0))),
            I::mul_add(sum_a, number(0.5), twice_b),
            I::mul_add(odd_a, number(A / 2.0), far),
        ]
    }
}

/// A tile at all points, which are `v_point` apart, for as many channels or tiles as a vector has.
///
/// # Safety
/// The processor has the instruction set of `I`. There is a vector at each pixel, and room for one
/// at each point.
#[inline(always)]
pub(super) unsafe fn tile_input<T: Product, I: Registers<T>>(
    pixel: impl Fn(usize, usize) -> *const T,
    v: *mut T,
    v_point: usize,
) {
    // SAFETY: passed on to the caller.
    unsafe {
        let mut half = [[constant::<T, I>(0.0); 6]; 6];
        for column in 0..6 {
            let at = |row: usize| I::load(pixel(row, column));
            half[column] = input::<T, I>([at(0), at(1), at(2), at(3), at(4), at(5)]);
        }
        for row in 0..6 {
            let at = |column: usize| half[column][row];
            let points = input::<T, I>([at(0), at(1), at(2), at(3), at(4), at(5)]);
            for (column, point) in points.into_iter().enumerate() {
                I::store(v.add((row * 6 + column) * v_point), point);
            }
        }
    }
}

/// The products of a tile at all points.
pub(super) trait Products<T> {
    /// Those at the 6 points of a column.
    ///
    /// # Safety
    /// The processor has the instruction set of `I`.
    unsafe fn column<I: Registers<T>>(&self, column: usize) -> [I::Vector; 6];
}

/// The pixels of a tile, with `bias`: written to four rows, `line` apart, of pixels with channels
/// side by side.
///
/// # Safety
/// The processor has the instruction set of `I`, and there is room for a vector at each pixel.
#[inline(always)]
pub(super) unsafe fn tile_output<T: Product, I: Registers<T>>(
    m: &impl Products<T>,
    bias: I::Vector,
    to: *mut T,
    line: usize,
) {
    // SAFETY: passed on to the caller.
    unsafe {
        // Not a loop, so that all stay in registers.
        let half = [
            output::<T, I>(m.column::<I>(0)),
            output::<T, I>(m.column::<I>(1)),
            output::<T, I>(m.column::<I>(2)),
            output::<T, I>(m.column::<I>(3)),
            output::<T, I>(m.column::<I>(4)),
            output::<T, I>(m.column::<I>(5)),
        ];
        for row in 0..4 {
            let at = |column: usize| half[column][row];
            let pixels = output::<T, I>([at(0), at(1), at(2), at(3), at(4), at(5)]);
            for (column, pixel) in pixels.into_iter().enumerate() {
                I::store(to.add(row * line + column * BLOCK), I::add(pixel, bias));
            }
        }
    }
}

/// Rows of tiles of an image at all points, for up to [`BLOCK`] channels.
pub(super) struct Input<'a, T> {
    /// `[channels, height, width]`
    pub x: &'a [T],
    pub size: [usize; 2],
    pub padding: [usize; 2],
    /// Rows of tiles.
    pub rows: Range<usize>,
    /// Tiles of a row.
    pub across: usize,
    /// Six rows of pixels with channels side by side: `[6, 4 across + 2, BLOCK]`.
    pub slab: &'a mut [T],
    /// `[points, tiles, BLOCK]` with these strides.
    pub v: *mut T,
    pub v_tile: usize,
    pub v_point: usize,
}

impl<T: Product> RegisterKernel<T> for Input<'_, T> {
    #[inline(always)]
    unsafe fn run<I: Registers<T>>(self) {
        let Input { x, size, padding, rows, across, slab, v, v_tile, v_point } = self;
        let line = (4 * across + 2) * BLOCK;
        for (index, row) in rows.enumerate() {
            let done = if index > 0 { 2 } else { 0 };
            if done > 0 {
                slab.copy_within(4 * line..6 * line, 0);
            }
            for i in done..6 {
                let from = (4 * row + i).checked_sub(padding[0]).filter(|&at| at < size[0]);
                interleave::<T, I>(x, size, from, padding[1], &mut slab[i * line..][..line]);
            }
            for tile in 0..across {
                let to = v.wrapping_add((index * across + tile) * v_tile);
                for lane in (0..BLOCK).step_by(I::LANES) {
                    let from = slab[4 * tile * BLOCK + lane..].as_ptr();
                    // SAFETY: the slab has 6 x 6 pixels from there on, and the caller room for a
                    // block of channels at each point.
                    unsafe {
                        let pixel =
                            |row: usize, column: usize| from.add(row * line + column * BLOCK);
                        tile_input::<T, I>(pixel, to.add(lane), v_point);
                    }
                }
            }
        }
    }
}

/// Row `from` of all channels, or zeros, with channels side by side: `[columns, BLOCK]`, of which
/// the image starts at column `left`.
#[inline(always)]
fn interleave<T: Product, I: Registers<T>>(
    x: &[T],
    [height, width]: [usize; 2],
    from: Option<usize>,
    left: usize,
    out: &mut [T],
) {
    let columns = out.len() / BLOCK;
    let (start, end) = (left.min(columns), (left + width).min(columns));
    let Some(row) = from else { return out.fill(T::ZERO) };
    out[..start * BLOCK].fill(T::ZERO);
    out[end * BLOCK..].fill(T::ZERO);
    let plane = height * width;
    let count = x.len() / plane.max(1);
    let (x, out) = (&x[row * width..], &mut out[start * BLOCK..]);
    let width = end - start;
    if size_of::<T>() == 4 {
        lines::<T, I, 8>(x, plane, count, width, out);
    } else {
        lines::<T, I, 4>(x, plane, count, width, out);
    }
}

/// Interleaves the first `width` numbers of `count` lines, `plane` apart.
#[inline(always)]
fn lines<T: Product, I: Registers<T>, const B: usize>(
    x: &[T],
    plane: usize,
    count: usize,
    width: usize,
    out: &mut [T],
) {
    if width < B {
        for (column, out) in out.chunks_exact_mut(BLOCK).take(width).enumerate() {
            for (channel, out) in out.iter_mut().enumerate() {
                *out = if channel < count { x[channel * plane + column] } else { T::ZERO };
            }
        }
        return;
    }
    for channel in (0..BLOCK).step_by(B) {
        for column in (0..width).step_by(B) {
            // The last block may repeat some columns.
            let column = column.min(width - B);
            let mut block = [[T::ZERO; B]; B];
            for (i, line) in block.iter_mut().enumerate() {
                if channel + i < count {
                    line.copy_from_slice(&x[(channel + i) * plane + column..][..B]);
                }
            }
            for (i, line) in T::transpose::<I, B>(block).iter().enumerate() {
                out[(column + i) * BLOCK + channel..][..B].copy_from_slice(line);
            }
        }
    }
}

/// Some channels of a weight at all points.
pub(super) struct Turned<'a, T> {
    /// Element `(lane, channel, tap)` is at `lane * lane_stride + channel * channel_stride + tap`.
    pub values: &'a [T],
    pub lanes: Range<usize>,
    pub lane_stride: usize,
    pub channels: Range<usize>,
    pub channel_stride: usize,
    /// Whether the kernel is turned by half a turn.
    pub turned: bool,
    /// `[points, channels, lanes]` with these strides.
    pub u: *mut T,
    pub u_line: usize,
    pub u_point: usize,
}

impl<T: Product> RegisterKernel<T> for Turned<'_, T> {
    #[inline(always)]
    unsafe fn run<I: Registers<T>>(self) {
        let Turned { values, lanes, lane_stride, channels, channel_stride, turned, .. } = self;
        let mut taps = [[T::ZERO; BLOCK]; 9];
        for (index, channel) in channels.enumerate() {
            for first in lanes.clone().step_by(BLOCK) {
                for lane in 0..BLOCK {
                    if first + lane >= lanes.end {
                        taps.iter_mut().for_each(|tap| tap[lane] = T::ZERO);
                        continue;
                    }
                    let at = (first + lane) * lane_stride + channel * channel_stride;
                    let kernel: &[T; 9] = values[at..at + 9].try_into().expect("9 taps");
                    for (tap, &w) in kernel.iter().enumerate() {
                        taps[if turned { 8 - tap } else { tap }][lane] = w;
                    }
                }
                let to = self.u.wrapping_add(index * self.u_line + first - lanes.start);
                for lane in (0..BLOCK).step_by(I::LANES) {
                    // SAFETY: the caller has room for a block of lanes at each point.
                    unsafe {
                        let mut half = [[constant::<T, I>(0.0); 6]; 3];
                        for column in 0..3 {
                            let at = |row: usize| I::load(taps[row * 3 + column][lane..].as_ptr());
                            half[column] = weight::<T, I>([at(0), at(1), at(2)]);
                        }
                        for row in 0..6 {
                            let at = |column: usize| half[column][row];
                            let points = weight::<T, I>([at(0), at(1), at(2)]);
                            for (column, point) in points.into_iter().enumerate() {
                                I::store(to.add((row * 6 + column) * self.u_point + lane), point);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A row of tiles from products to pixels, for up to [`BLOCK`] channels.
pub(super) struct Output<'a, T> {
    /// `[points, tiles, BLOCK]` with these strides.
    pub m: &'a [T],
    pub m_tile: usize,
    pub m_point: usize,
    /// Tiles of a row.
    pub across: usize,
    pub bias: &'a [T; BLOCK],
    /// Four rows of pixels with channels side by side: `[4, 4 across, BLOCK]`.
    pub slab: &'a mut [T],
    /// The first of the pixels: `channels` planes of `rows` lines of `width`.
    pub y: *mut T,
    pub plane: usize,
    pub channels: usize,
    pub rows: usize,
    pub width: usize,
}

/// Products that were written, the points `m_point` apart.
struct Stored<T> {
    from: *const T,
    m_point: usize,
}

impl<T> Products<T> for Stored<T> {
    #[inline(always)]
    unsafe fn column<I: Registers<T>>(&self, column: usize) -> [I::Vector; 6] {
        // SAFETY: whoever made this has a vector at each point.
        std::array::from_fn(|row| unsafe {
            I::load(self.from.add((row * 6 + column) * self.m_point))
        })
    }
}

impl<T: Product> RegisterKernel<T> for Output<'_, T> {
    #[inline(always)]
    unsafe fn run<I: Registers<T>>(self) {
        let Output { m, m_tile, m_point, across, bias, slab, y, plane, channels, rows, width } =
            self;
        let line = 4 * across * BLOCK;
        for tile in 0..across {
            for lane in (0..BLOCK).step_by(I::LANES) {
                let from = m[tile * m_tile + lane..].as_ptr();
                // SAFETY: there is a block of channels at each point, and the slab has 4 x 4 pixels
                // for each tile.
                unsafe {
                    let bias = I::load(bias[lane..].as_ptr());
                    let to = slab[4 * tile * BLOCK + lane..].as_mut_ptr();
                    tile_output::<T, I>(&Stored { from, m_point }, bias, to, line);
                }
            }
        }
        for row in 0..rows {
            let from = &slab[row * line..][..width * BLOCK];
            // SAFETY: the caller has these lines of the planes.
            unsafe { separate::<T, I>(from, channels, width, y.wrapping_add(row * width), plane) };
        }
    }
}

/// Writes `[width, BLOCK]` as lines of `width` numbers, `plane` apart.
///
/// # Safety
/// They can be written, and nothing else accesses them.
#[inline(always)]
pub(super) unsafe fn separate<T: Product, I: Registers<T>>(
    from: &[T],
    channels: usize,
    width: usize,
    to: *mut T,
    plane: usize,
) {
    // SAFETY: passed on to the caller.
    unsafe {
        if size_of::<T>() == 4 {
            separate_by::<T, I, 8>(from, channels, width, to, plane);
        } else {
            separate_by::<T, I, 4>(from, channels, width, to, plane);
        }
    }
}

/// As [`separate`], in blocks of `B` pixels and channels.
///
/// # Safety
/// They can be written, and nothing else accesses them.
#[inline(always)]
unsafe fn separate_by<T: Product, I: Registers<T>, const B: usize>(
    from: &[T],
    channels: usize,
    width: usize,
    to: *mut T,
    plane: usize,
) {
    if width < B {
        for channel in 0..channels {
            for column in 0..width {
                // SAFETY: passed on to the caller.
                unsafe { *to.add(channel * plane + column) = from[column * BLOCK + channel] };
            }
        }
        return;
    }
    let from = &from[..width * BLOCK];
    let mut column = 0;
    while column < width {
        let whole = column + BLOCK <= width && channels == BLOCK;
        let done = whole && {
            // SAFETY: as many pixels and channels; for their lines passed on to the caller.
            unsafe { T::turn::<I>(from[column * BLOCK..].as_ptr(), BLOCK, to.add(column), plane) }
        };
        if done {
            column += BLOCK;
            continue;
        }
        // The last block may repeat some columns.
        let first = column.min(width - B);
        for channel in (0..channels).step_by(B) {
            let some = B.min(channels - channel);
            // SAFETY: the block lies within the pixels and channels; for its lines passed on to
            // the caller.
            unsafe {
                let lines = turned::<T, I, B>(from.as_ptr().add(first * BLOCK + channel));
                let to = to.add(channel * plane + first);
                for (i, line) in lines[..some].iter().enumerate() {
                    to.add(i * plane).copy_from_nonoverlapping(line.as_ptr(), B);
                }
            }
        }
        column += B;
    }
}

/// `B` pixels of `B` channels, as lines of pixels.
///
/// # Safety
/// They can be read.
#[inline(always)]
unsafe fn turned<T: Product, I: Registers<T>, const B: usize>(from: *const T) -> [[T; B]; B] {
    let mut block = [[T::ZERO; B]; B];
    for (i, line) in block.iter_mut().enumerate() {
        // SAFETY: passed on to the caller.
        unsafe { line.as_mut_ptr().copy_from_nonoverlapping(from.add(i * BLOCK), B) };
    }
    T::transpose::<I, B>(block)
}
