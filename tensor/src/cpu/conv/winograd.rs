//! Convolution with kernels of 3 x 3 by Winograd's minimal filtering, F(4 x 4, 3 x 3) of Lavin &
//! Gray, "Fast Algorithms for Convolutional Neural Networks" (2015).
//!
//! A tile of 4 x 4 results needs 6 x 6 pixels. Evaluated at 6 points along each axis, tile and kernel
//! are multiplied number by number, 36 multiplications instead of 144, and summed over channels:
//! 36 matrix products of `[tiles, channels]` with `[channels, outputs]`. See `transform` for the
//! points and what they do to the rounding.
//!
//! Many tiles are cut into tasks whose numbers stay in the second-level cache, and all use one
//! transformed weight. For few tiles each task has some of the output channels instead, and their
//! weight never leaves its cache.
//!
//! A pixel that is infinite or NaN makes all of its tile NaN.

use std::ops::Range;

use super::super::gemm::{Job, Tiles, with_buffer};
use super::super::matmul::Product;
use super::super::parallel::{Shared, chunks};
use super::super::pool::Scratch;
use super::super::simd;
use super::part::Weight;
use super::transform::{BLOCK, Input, Output, POINTS, Turned};

/// Output channels of a panel.
const PANEL: usize = 32;
/// Numbers of a task's tiles at all points: half of a second-level cache of 1 MiB.
const TASK: usize = 1 << 17;
/// Most tiles that are not cut into tasks.
const FEW: usize = 64;
/// Channels of a panel whose transformed weight is made at a time: it stays in the second-level
/// cache.
const DEPTH: usize = 128;
/// Channels that are summed before they are added to the others. Chains of 128 double the error and
/// save 3 % of the time.
const CHAIN: usize = 32;
/// Fewer channels go by `shallow`, which was measured up to 7, against the taps. From 8 on the products
/// of matrices beat those.
const SHALLOW: usize = 8;
/// Keeps the points of a tile apart in the sets of the first-level cache.
const APART: usize = 16;

/// A convolution with stride 1 of `images` in `groups`.
pub(super) struct Winograd<'a, T> {
    pub x: &'a [T],
    pub images: usize,
    pub size: [usize; 2],
    pub weight: Weight<'a, T>,
    /// Whether the kernel is turned by half a turn.
    pub turned: bool,
    pub bias: Option<&'a [T]>,
    pub padding: [usize; 2],
    /// Height and width of the result.
    pub grid: [usize; 2],
}

/// Tiles along both axes.
pub(super) fn tiles(grid: [usize; 2]) -> [usize; 2] {
    grid.map(|extent| extent.div_ceil(4))
}

/// Whether this is faster than a product of the taps, by the number of multiply-adds and what else
/// takes as long (measured).
pub(super) fn pays_off(images: usize, grid: [usize; 2], depth: usize, lanes: usize) -> bool {
    let count = (images * tiles(grid).iter().product::<usize>()) as f64;
    let pixels = (images * grid[0] * grid[1]) as f64;
    let (depth, lanes) = (depth as f64, lanes as f64);
    let filled = lanes / (lanes / 16.0).ceil() / 16.0;
    if depth < SHALLOW as f64 {
        // The transform of a tile, and two loads for each product; the taps reach 0.62 of the limit.
        return count * (190.0 + 104.0 * depth) < 14.5 * pixels * depth * filled;
    }
    let transforms = 300.0 * depth * lanes + 300.0 * count * (depth + lanes);
    filled > 0.4 && 36.0 * count * depth * lanes + transforms < 9.0 * pixels * depth * lanes
}

/// Where the numbers of a task lie: `[points, tiles, depth]`, and `[points, tiles, PANEL]`.
#[derive(Clone, Copy)]
struct Space {
    depth: usize,
    v_point: usize,
    m_point: usize,
}

impl Space {
    fn new(tiles: usize, depth: usize) -> Self {
        let depth = depth.next_multiple_of(BLOCK);
        Self { depth, v_point: tiles * depth + APART, m_point: tiles * PANEL + APART }
    }
}

impl<T: Product> Winograd<'_, T> {
    /// Writes the result.
    pub fn run(&self, y: Shared<T>) {
        let [down, across] = tiles(self.grid);
        let rows = self.images * down;
        let panels = self.weight.lanes.div_ceil(PANEL);
        for group in 0..self.weight.groups {
            if self.weight.depth < SHALLOW {
                self.by_rows(group, rows, y);
            } else if rows * across <= FEW && panels >= 4 {
                self.by_panels(group, rows, y);
            } else {
                self.by_tiles(group, rows, y);
            }
        }
    }

    /// Tasks of some tiles each, in whole rows of tiles.
    fn by_tiles(&self, group: usize, rows: usize, y: Shared<T>) {
        let Weight { lanes, depth, .. } = self.weight;
        let (across, panels) = (tiles(self.grid)[1], lanes.div_ceil(PANEL));
        let u_point = depth * PANEL + APART;
        let mut u = Scratch::<T>::new(panels * POINTS * u_point);
        let shared = Shared::new(&mut u);
        let step = DEPTH.min(depth);
        let blocks = depth.div_ceil(step);
        chunks(panels * blocks, (1 << 12) / (step * PANEL).max(1) + 1, |range| {
            for item in range {
                let (panel, block) = (item / blocks, item % blocks * step);
                let at = panel * POINTS * u_point + block * PANEL;
                let channels = block..depth.min(block + step);
                // SAFETY: every item writes channels of its own, for which the panel has room.
                unsafe {
                    let u = shared.part(at..at + 1).as_mut_ptr();
                    self.transform_weight(group, self.panel(panel), channels, u, PANEL, u_point);
                }
            }
        });
        let most = TASK / (POINTS * (depth.next_multiple_of(BLOCK) + PANEL));
        let task = (most / across).clamp(1, rows.div_ceil(16).max(1));
        chunks(rows, task, |rows| {
            let tiles = rows.len() * across;
            let space = Space::new(tiles, depth);
            with_buffer(POINTS * (space.v_point + space.m_point), |buffer| {
                let (v, m) = buffer.split_at_mut(POINTS * space.v_point);
                for first in (0..depth).step_by(BLOCK) {
                    // SAFETY: the buffer has room for these tiles and channels.
                    unsafe {
                        self.transform_input(group, rows.clone(), first, v.as_mut_ptr(), space)
                    };
                }
                for panel in 0..panels {
                    let u = &u[panel * POINTS * u_point..];
                    self.multiply(panel, tiles, 0..depth, v, u, u_point, m, space);
                    // SAFETY: every task has rows of its own.
                    unsafe { self.transform_output(group, panel, rows.clone(), m, space, y) };
                }
            });
        });
    }

    /// Tasks of one panel each, for all tiles.
    fn by_panels(&self, group: usize, rows: usize, y: Shared<T>) {
        let Weight { lanes, depth, .. } = self.weight;
        let (across, panels) = (tiles(self.grid)[1], lanes.div_ceil(PANEL));
        let tiles = rows * across;
        let space = Space::new(tiles, depth);
        let mut v = Scratch::<T>::new(POINTS * space.v_point);
        let shared = Shared::new(&mut v);
        let blocks = depth.div_ceil(BLOCK);
        chunks(rows * blocks, (TASK / 4 / (across * POINTS * BLOCK)).max(1), |range| {
            for item in range {
                let (row, first) = (item % rows, item / rows * BLOCK);
                // SAFETY: every item writes tiles and channels of its own.
                unsafe {
                    let at = row * across * space.depth;
                    let v = shared.part(at..at + 1).as_mut_ptr();
                    self.transform_input(group, row..row + 1, first, v, space);
                }
            }
        });
        let v: &[T] = &v;
        chunks(panels, 1, |range| {
            let step = DEPTH.min(depth);
            let u_point = step * PANEL + APART;
            with_buffer(POINTS * (u_point + space.m_point), |buffer| {
                let (u, m) = buffer.split_at_mut(POINTS * u_point);
                for panel in range {
                    for first in (0..depth).step_by(step) {
                        let channels = first..depth.min(first + step);
                        // SAFETY: the buffer has room for these channels.
                        unsafe {
                            let (channels, u) = (channels.clone(), u.as_mut_ptr());
                            self.transform_weight(
                                group,
                                self.panel(panel),
                                channels,
                                u,
                                PANEL,
                                u_point,
                            );
                        }
                        self.multiply(panel, tiles, channels, v, u, u_point, m, space);
                    }
                    // SAFETY: every task has channels of its own.
                    unsafe { self.transform_output(group, panel, 0..rows, m, space, y) };
                }
            });
        });
    }

    /// Some rows of tiles at all points, for a block of channels from `first` on.
    ///
    /// # Safety
    /// `v` has room for these tiles.
    unsafe fn transform_input(
        &self,
        group: usize,
        rows: Range<usize>,
        first: usize,
        v: *mut T,
        space: Space,
    ) {
        let [down, across] = tiles(self.grid);
        let plane = self.size[0] * self.size[1];
        let count = BLOCK.min(self.weight.depth - first);
        with_buffer(6 * (4 * across + 2) * BLOCK, |slab| {
            let mut row = rows.start;
            while row < rows.end {
                // Neighbouring rows of an image share pixels.
                let (image, top) = (row / down, row % down);
                let some = (rows.end - row).min(down - top);
                let channel = (image * self.weight.groups + group) * self.weight.depth + first;
                let x = &self.x[channel * plane..][..count * plane];
                let at = (row - rows.start) * across * space.depth + first;
                T::vectorised(Input {
                    x,
                    size: self.size,
                    padding: self.padding,
                    rows: top..top + some,
                    across,
                    slab: &mut *slab,
                    v: v.wrapping_add(at),
                    v_tile: space.depth,
                    v_point: space.v_point,
                });
                row += some;
            }
        });
    }

    /// The output channels of a panel.
    fn panel(&self, panel: usize) -> Range<usize> {
        panel * PANEL..self.weight.lanes.min((panel + 1) * PANEL)
    }

    /// Some of the weight at all points: `[points, channels, lanes]` with these strides.
    ///
    /// # Safety
    /// `u` has room for them.
    pub(super) unsafe fn transform_weight(
        &self,
        group: usize,
        lanes: Range<usize>,
        channels: Range<usize>,
        u: *mut T,
        u_line: usize,
        u_point: usize,
    ) {
        let of = &self.weight;
        let values = &of.values[group * of.lanes * of.depth * 9..][..of.lanes * of.depth * 9];
        T::vectorised(Turned {
            values,
            lanes,
            lane_stride: of.lane_stride,
            channels,
            channel_stride: of.depth_stride,
            turned: self.turned,
            u,
            u_line,
            u_point,
        });
    }

    /// The products at all points, over some channels; added to what the first ones gave.
    #[allow(clippy::too_many_arguments)]
    fn multiply(
        &self,
        panel: usize,
        tiles: usize,
        channels: Range<usize>,
        v: &[T],
        u: &[T],
        u_point: usize,
        m: &mut [T],
        space: Space,
    ) {
        let kernels: &Tiles<T> = T::tiles(simd::level());
        let lanes = PANEL.min(self.weight.lanes - panel * PANEL);
        let strip = tiles.div_ceil(tiles.div_ceil(kernels.rows()));
        for point in 0..POINTS {
            let v = &v[point * space.v_point + channels.start..];
            let u = &u[point * u_point..];
            let m = &mut m[point * space.m_point..][..tiles * PANEL];
            for lane in (0..lanes).step_by(kernels.columns()) {
                let columns = kernels.columns().min(lanes - lane);
                for tile in (0..tiles).step_by(strip) {
                    let rows = strip.min(tiles - tile);
                    let kernel = kernels.tile(rows, columns, false);
                    for chain in (0..channels.len()).step_by(CHAIN) {
                        let job = Job {
                            depth: CHAIN.min(channels.len() - chain),
                            a: v[tile * space.depth + chain..].as_ptr(),
                            a_line: space.depth as isize,
                            a_depth: 1,
                            b: u[chain * PANEL + lane..].as_ptr(),
                            b_depth: PANEL as isize,
                            c: m[tile * PANEL + lane..].as_mut_ptr(),
                            c_stride: PANEL,
                            columns,
                            add: channels.start + chain > 0,
                        };
                        // SAFETY: the operands have these tiles, channels and lanes, and the level
                        // is that of this processor.
                        unsafe { kernel(&job) }
                    }
                }
            }
        }
    }

    /// Some rows of tiles of a panel, from products to pixels.
    ///
    /// # Safety
    /// Nothing else accesses these pixels of `y`.
    unsafe fn transform_output(
        &self,
        group: usize,
        panel: usize,
        rows: Range<usize>,
        m: &[T],
        space: Space,
        y: Shared<T>,
    ) {
        let ([down, across], [height, width]) = (tiles(self.grid), self.grid);
        let plane = height * width;
        let lanes = self.panel(panel);
        with_buffer(16 * across * BLOCK, |slab| {
            for first in lanes.clone().step_by(BLOCK) {
                let count = BLOCK.min(lanes.end - first);
                let channel = group * self.weight.lanes + first;
                let mut bias = [T::ZERO; BLOCK];
                if let Some(values) = self.bias {
                    bias[..count].copy_from_slice(&values[channel..][..count]);
                }
                for row in rows.clone() {
                    let (image, top) = (row / down, row % down * 4);
                    let start =
                        image * self.weight.groups * self.weight.lanes * plane + channel * plane;
                    let at = (row - rows.start) * across * PANEL + first - lanes.start;
                    // SAFETY: passed on to the caller; the first of these pixels.
                    let pixels = unsafe { y.part(start + top * width..start + top * width + 1) };
                    T::vectorised(Output {
                        m: &m[at..],
                        m_tile: PANEL,
                        m_point: space.m_point,
                        across,
                        bias: &bias,
                        slab: &mut *slab,
                        y: pixels.as_mut_ptr(),
                        plane,
                        channels: count,
                        rows: 4.min(height - top),
                        width,
                    });
                }
            }
        });
    }
}
