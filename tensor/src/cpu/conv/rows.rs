//! Tiles with lanes for pixels: their rows are output channels, their columns neighbouring pixels of
//! a row of the result.

use std::ops::Range;

use super::super::gemm::{Gathered, Start, Table, with_buffer};
use super::super::matmul::Product;
use super::super::parallel::Shared;
use super::super::pool::Scratch;
use super::part::{Images, Part, Weight, offsets};

/// Rows of a result with lanes for pixels, and what they have in common.
pub(super) struct Rows<'a, T: 'static> {
    of: &'a Images<'a, T>,
    table: &'static Table<T>,
    part: &'a Part,
    /// `[groups, lanes, steps]`
    weight: Scratch<T>,
    /// Channels of a tile, and where the weight of each starts.
    lines: Vec<usize>,
    steps: Vec<usize>,
    /// What sums start from: `[groups, lanes]`.
    bias: Vec<T>,
    /// The tiles of a row of a group: channels and columns. Found once: a tile is computed in the
    /// time of a few hundred additions.
    tiles: Vec<(Range<usize>, Range<usize>)>,
}

impl<'a, T: Product> Rows<'a, T> {
    pub fn new(of: &'a Images<'a, T>, table: &'static Table<T>, part: &'a Part) -> Self {
        let Weight { groups, lanes, .. } = of.weight;
        let strip = lanes.div_ceil(lanes.div_ceil(table.rows()));
        let bias = of.bias.map_or_else(|| vec![T::ZERO; groups * lanes], <[T]>::to_vec);
        let (lines, steps) = (offsets(strip, part.taps.len()), offsets(part.taps.len(), 1));
        let columns = part.grid[1];
        let tiles = (0..lanes).step_by(strip).flat_map(|lane| {
            let lanes = lane..lanes.min(lane + strip);
            (0..columns)
                .step_by(table.columns())
                .map(move |column| (lanes.clone(), column..columns.min(column + table.columns())))
        });
        let tiles = tiles.collect();
        Self { of, table, part, weight: of.weight.lines(part), lines, steps, bias, tiles }
    }

    /// Computes a row of the result for all channels of a group.
    ///
    /// # Safety
    /// Nothing else accesses these elements of `y`.
    pub unsafe fn run(&self, x: &[T], image: usize, group: usize, row: usize, y: Shared<T>) {
        let (part, plane, lanes) = (self.part, self.of.plane, self.of.weight.lanes);
        let (steps, columns) = (self.steps.len(), part.grid[1]);
        let weight = &self.weight[group * lanes * steps..][..lanes * steps];
        let bias = &self.bias[group * lanes..][..lanes];
        let pixels = &part.pixels[row * columns..][..columns];
        let first =
            (image * self.of.weight.groups + group) * lanes * plane + part.first + row * part.down;
        let side_by_side = part.across == 1;
        with_buffer(if side_by_side { 0 } else { self.lines.len() * columns }, |scattered| {
            for (channels, run) in &self.tiles {
                let (c, c_stride) = if side_by_side {
                    let start = first + channels.start * plane + run.start;
                    // SAFETY: passed on to the caller; the first row of the tile.
                    (unsafe { y.part(start..start + run.len()) }.as_mut_ptr(), plane)
                } else {
                    (scattered[run.start..].as_mut_ptr(), columns)
                };
                // SAFETY: taps and pixels lie inside of the frame, the weights of these channels
                // inside of the group's, and the tile inside of planes that are the caller's.
                unsafe {
                    self.table.run(&Gathered {
                        a: weight[channels.start * steps..].as_ptr(),
                        a_rows: &self.lines[..channels.len()],
                        a_steps: &self.steps,
                        b: x.as_ptr().add(pixels[run.start]),
                        b_steps: &part.taps,
                        c,
                        c_stride,
                        columns: run.len(),
                        start: Start::Rows(&bias[channels.clone()]),
                    });
                }
                if side_by_side || run.end < columns {
                    continue;
                }
                for (channel, sums) in channels.clone().zip(scattered.chunks_exact(columns)) {
                    for (column, &sum) in sums.iter().enumerate() {
                        // SAFETY: passed on to the caller.
                        unsafe { y.set(first + channel * plane + column * part.across, sum) };
                    }
                }
            }
        });
    }
}
