//! The loops around the micro-kernel.

use super::kernel::{Job, Tiles};
use super::pack::{Direct, with_buffer};
use super::{Epilogue, Real, Source, Threads};
use crate::cpu::parallel::{self, Shared};
use smallvec::SmallVec;
use std::ops::Range;

/// Longest block of depth. A panel of the right operand then takes 64 KiB and comes from the
/// second-level cache, which costs less than bringing C in more often: 192 is 7 % slower at 1024^3.
pub(super) const DEPTH: usize = 512;
/// Rows of a block of the left operand: with [`DEPTH`], 336 KiB of the second-level cache.
pub(super) const ROWS: usize = 168;
/// Columns after which a finished block of C goes through the epilogue.
pub(super) const COLUMNS: usize = 256;
/// Elements of the packed right operand at a time (8 MiB in `f32`): it is shared in the last-level
/// cache.
pub(super) const SHARED: usize = 1 << 21;
/// Multiply-adds below which one thread is faster than waking another: two of rayon's needed 55 us
/// instead of 38 for 128^3, but 175 instead of 300 for 256^3. Not measured again on the team.
const PARALLEL: usize = 1 << 22;
/// Multiply-adds of the smallest task of a thread.
const TASK: usize = 1 << 20;
/// Tasks of a phase for each thread, at most, give or take a factor of 2.
const TASKS: usize = 4;
/// Rows of a task, as long as there are enough.
const TALL: usize = 64;
/// Columns of a task, as long as there are enough.
const WIDE: usize = 256;
/// Elements that are worth packing together with another thread.
const PACK: usize = 1 << 14;
/// Tiles that an element of an operand in memory may be part of without being packed.
const FEW: usize = 2;
/// Rows that are read side by side in place although they share a set of the first-level cache.
const CROWD: usize = 7;
/// Elements of a block of the left operand that the second-level cache holds as they are: packing
/// them would cost 5 % at 256^3 and 10 % at 96^3.
const SMALL_LEFT: usize = 1 << 18;
/// Elements of the right operand for which the same is true.
const SMALL_RIGHT: usize = 1 << 16;
/// Multiply-adds of a product that is over before packing the right operand pays off: 64 x 1024
/// over 288 is 7 % faster without, 128 x 4096 over 1024 is 30 % slower.
const SHORT: usize = 1 << 25;

/// A product to be computed.
pub(crate) struct Product<'a, T: 'static> {
    pub tiles: &'static Tiles<T>,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: &'a dyn Source<T>,
    pub b: &'a dyn Source<T>,
    pub c: *mut T,
    pub c_stride: usize,
    pub accumulate: bool,
    pub epilogue: Option<&'a dyn Epilogue<T>>,
}

// SAFETY: tasks on other threads write disjoint blocks of C; all else is only read.
unsafe impl<T> Sync for Product<'_, T> {}

/// Rows and columns of some blocks of C.
type Blocks = SmallVec<[(Range<usize>, Range<usize>); 16]>;

/// The right operand as the kernels read it.
#[derive(Clone, Copy)]
enum Right<T> {
    /// In place: lines are contiguous.
    Direct(Direct<T>),
    /// Each panel is packed by the task that needs it, just before it does.
    Fresh,
    /// In panels of the columns from `first` and `depth` steps from `start`.
    Packed { panels: *const T, first: usize, start: usize, depth: usize },
}

// SAFETY: kernels only read through it, and what it points to outlives the tasks.
unsafe impl<T: Sync> Sync for Right<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Send for Right<T> {}

impl<T: Real> Product<'_, T> {
    /// Computes the product.
    ///
    /// # Safety
    /// As for [`super::gemm`], and the processor has the instruction set of `tiles`.
    pub unsafe fn run(&self, threads: Threads) {
        let (m, n, k) = (self.m, self.n, self.k);
        if m == 0 || n == 0 {
            return;
        }
        // A product with a vector waits for memory, so fewer operations are worth a thread.
        let least = if m.min(n) == 1 { PARALLEL / 4 } else { PARALLEL };
        let parallel = threads == Threads::Pool
            && m.saturating_mul(n).saturating_mul(k) >= least
            && parallel::threads() > 1;
        // SAFETY: passed on to the caller.
        unsafe { self.all(parallel) }
    }

    /// Columns of a panel of the right operand.
    #[inline]
    fn width(&self) -> usize {
        let lanes = self.tiles.lanes;
        if self.n <= lanes { lanes } else { self.tiles.columns() }
    }

    /// Length of the blocks that depth is cut into, by its length alone.
    #[inline]
    fn depth(&self) -> usize {
        self.k.div_ceil(self.k.div_ceil(DEPTH))
    }

    /// The whole product, in phases: some columns and depth of the right operand are packed, then
    /// all of C that they contribute to is computed.
    ///
    /// # Safety
    /// As for [`Product::run`].
    unsafe fn all(&self, parallel: bool) {
        let (m, n, k, width) = (self.m, self.n, self.k, self.width());
        if k == 0 {
            // SAFETY: passed on to the caller.
            return unsafe { self.empty() };
        }
        // SAFETY: passed on to the caller.
        if unsafe { self.vector(parallel) } {
            return;
        }
        let tasks = if parallel { TASKS * parallel::threads() } else { 1 };
        let task = |nk: usize| if parallel { TASK.max(m * nk / tasks) } else { usize::MAX };
        if let Some(b) = self.b.direct()
            && b.line_stride == 1
            && (m <= FEW * self.tiles.rows() || n * k <= SMALL_RIGHT || m * n * k <= SHORT)
        {
            // SAFETY: passed on to the caller.
            return unsafe { self.divide(0..m, 0..n, 0..k, Right::Direct(b), task(n * k)) };
        }
        if m <= ROWS {
            // One block of rows meets each panel just once: no need to keep it.
            // SAFETY: passed on to the caller.
            return unsafe { self.divide(0..m, 0..n, 0..k, Right::Fresh, task(n * k)) };
        }
        let columns = n.next_multiple_of(width);
        let long = match SHARED / columns {
            most if most >= k => k,
            most => (most / self.depth()).max(4) * self.depth(),
        };
        let long = long.min(k);
        let wide = (SHARED / long / width).max(1) * width;
        with_buffer(columns.min(wide) * long, |panels| {
            for first in (0..n).step_by(wide) {
                for start in (0..k).step_by(long) {
                    let columns = first..n.min(first + wide);
                    let depth = start..k.min(start + long);
                    let panels = &mut panels[..columns.len().next_multiple_of(width) * depth.len()];
                    self.pack(columns.clone(), depth.clone(), panels, parallel);
                    let panels = panels.as_ptr();
                    let b = Right::Packed { panels, first, start, depth: depth.len() };
                    let task = task(columns.len() * depth.len());
                    // SAFETY: passed on to the caller.
                    unsafe { self.divide(0..m, columns, depth, b, task) };
                }
            }
        });
    }

    /// A product without depth: a sum of nothing.
    ///
    /// # Safety
    /// As for [`Product::run`].
    unsafe fn empty(&self) {
        for row in 0..self.m {
            // SAFETY: the caller gives all of C to this call.
            let run =
                unsafe { std::slice::from_raw_parts_mut(self.c.add(row * self.c_stride), self.n) };
            if !self.accumulate {
                run.fill(T::default());
            }
            if let Some(epilogue) = self.epilogue {
                epilogue.apply(row, 0, run);
            }
        }
    }

    /// Packs some of the right operand, together with other threads if `parallel`.
    fn pack(&self, columns: Range<usize>, depth: Range<usize>, panels: &mut [T], parallel: bool) {
        let width = self.width();
        let part = if parallel { (PACK / depth.len()).next_multiple_of(width) } else { usize::MAX };
        if columns.len() <= part {
            return self.b.pack(columns, depth, width, panels);
        }
        let size = panels.len();
        let panels = Shared::new(panels);
        parallel::chunks(columns.len(), part, |piece| {
            let (from, to) =
                (piece.start * depth.len(), piece.end.next_multiple_of(width) * depth.len());
            // SAFETY: each piece has its own panels, since it starts with a whole one.
            let panels = unsafe { panels.part(from..to.min(size)) };
            let columns = columns.start + piece.start..columns.start + piece.end;
            self.b.pack(columns, depth.clone(), width, panels);
        });
    }

    /// Computes some of C over some of the depth, in tasks of at most `task` multiply-adds each.
    ///
    /// # Safety
    /// As for [`Product::run`]; nothing else accesses these rows and columns of C.
    unsafe fn divide(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        depth: Range<usize>,
        b: Right<T>,
        task: usize,
    ) {
        let mut blocks = SmallVec::new();
        self.cut(rows, columns, depth.len(), matches!(b, Right::Fresh), task, &mut blocks);
        parallel::tasks(blocks.len(), &|i| {
            let (rows, columns) = blocks[i].clone();
            // SAFETY: passed on to the caller; no two blocks share an element.
            unsafe { self.block(rows, columns, depth.clone(), b) };
        });
    }

    /// Cuts a block of C in halves until one has at most `task` multiply-adds.
    fn cut(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        depth: usize,
        fresh: bool,
        task: usize,
        blocks: &mut Blocks,
    ) {
        let (m, n) = (rows.len(), columns.len());
        // Few rows make poor use of a panel on the right, few columns of a block on the left.
        let by_rows = !fresh && (m >= 2 * TALL || (n < 2 * WIDE && m >= n));
        let half = if by_rows { m / 2 } else { (n / 2).next_multiple_of(self.width()) };
        let whole = if by_rows { half == 0 } else { half >= n || (fresh && n < WIDE) };
        if whole || m * n * depth <= task {
            blocks.push((rows, columns));
        } else if by_rows {
            let middle = rows.start + half;
            self.cut(rows.start..middle, columns.clone(), depth, fresh, task, blocks);
            self.cut(middle..rows.end, columns, depth, fresh, task, blocks);
        } else {
            let middle = columns.start + half;
            self.cut(rows.clone(), columns.start..middle, depth, fresh, task, blocks);
            self.cut(rows, middle..columns.end, depth, fresh, task, blocks);
        }
    }

    /// Computes a block of C over some of the depth, and the epilogue if the depth is the last.
    ///
    /// # Safety
    /// As for [`Product::divide`].
    unsafe fn block(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        depth: Range<usize>,
        b: Right<T>,
    ) {
        // Rows a multiple of 4 KiB apart share one set of the first-level cache, typically 8 lines.
        let crowd = |a: &Direct<T>| a.line_stride * size_of::<T>() as isize % 4096 == 0;
        let direct = self.a.direct().filter(|a| {
            let small = rows.len() * depth.len() <= SMALL_LEFT;
            columns.len() <= FEW * self.tiles.columns()
                || small && (rows.len() <= CROWD || !crowd(a))
        });
        let (step, width) = (self.depth().min(depth.len()), self.width());
        let height = rows.len().div_ceil(rows.len().div_ceil(ROWS));
        let tallest = match direct {
            Some(a) if crowd(&a) => self.tiles.rows().min(CROWD),
            _ => self.tiles.rows(),
        };
        // Strips of nearly equal height, for the whole block as for a shorter last one.
        let strip = height.div_ceil(height.div_ceil(tallest));
        let left = if direct.is_some() { 0 } else { height.next_multiple_of(strip) * step };
        let right = if matches!(b, Right::Fresh) { width * step } else { 0 };
        with_buffer(left + right, |buffer| {
            let (left, right) = buffer.split_at_mut(left);
            for row in rows.clone().step_by(height) {
                let rows = row..rows.end.min(row + height);
                for start in depth.clone().step_by(step) {
                    let depth = start..depth.end.min(start + step);
                    let a = direct.unwrap_or_else(|| {
                        let size = rows.len().next_multiple_of(strip) * depth.len();
                        self.a.pack(rows.clone(), depth.clone(), strip, &mut left[..size]);
                        Direct { start: left.as_ptr(), line_stride: 1, depth_stride: 0 }
                    });
                    let packed = direct.is_none();
                    let rows = rows.clone();
                    // SAFETY: passed on to the caller; `a` has these rows and this depth.
                    unsafe { self.tiles(rows, &columns, depth, strip, a, packed, b, right) };
                }
            }
        });
    }

    /// Computes the tiles of a block of C over one block of depth, then the epilogue if it is the
    /// last.
    ///
    /// # Safety
    /// As for [`Product::divide`]; `a` can be read at these rows and this depth, or holds exactly
    /// them in panels of `strip` rows if `packed`.
    #[allow(clippy::too_many_arguments)]
    unsafe fn tiles(
        &self,
        rows: Range<usize>,
        columns: &Range<usize>,
        depth: Range<usize>,
        strip: usize,
        a: Direct<T>,
        packed: bool,
        b: Right<T>,
        panel: &mut [T],
    ) {
        let (width, steps) = (self.width(), depth.len());
        let contiguous = a.line_stride == 1;
        let add = self.accumulate || depth.start > 0;
        let last = self.epilogue.filter(|_| depth.end == self.k);
        for first in columns.clone().step_by(COLUMNS) {
            let group = first..columns.end.min(first + COLUMNS);
            for column in group.clone().step_by(width) {
                let columns = width.min(group.end - column);
                let (b, b_depth) = match b {
                    Right::Direct(b) => (b.at(column, depth.start), b.depth_stride),
                    Right::Fresh => {
                        let panel = &mut panel[..width * steps];
                        self.b.pack(column..column + columns, depth.clone(), width, panel);
                        (panel.as_ptr(), width as isize)
                    }
                    Right::Packed { panels, first, start, depth: long } => {
                        let panel = (column - first) / width;
                        let offset = (panel * long + (depth.start - start)) * width;
                        (panels.wrapping_add(offset), width as isize)
                    }
                };
                for row in rows.clone().step_by(strip) {
                    let height = strip.min(rows.end - row);
                    let (a_start, a_depth) = if packed {
                        // Panels follow each other: `strip` rows take `strip * steps` elements.
                        (a.start.wrapping_add((row - rows.start) * steps), strip as isize)
                    } else {
                        (a.at(row, depth.start), a.depth_stride)
                    };
                    let tile = self.tiles.tile(height, columns, contiguous);
                    // SAFETY: the tile lies within C, which the caller gives to this call, and both
                    // operands have its rows or columns at this depth.
                    unsafe {
                        tile(&Job {
                            depth: steps,
                            a: a_start,
                            a_line: a.line_stride,
                            a_depth,
                            b,
                            b_depth,
                            c: self.c.add(row * self.c_stride + column),
                            c_stride: self.c_stride,
                            columns,
                            add,
                        })
                    }
                }
            }
            if let Some(epilogue) = last {
                for row in rows.clone() {
                    // SAFETY: these columns of the row lie within C, as above.
                    let run = unsafe {
                        let start = self.c.add(row * self.c_stride + group.start);
                        std::slice::from_raw_parts_mut(start, group.len())
                    };
                    epilogue.apply(row, group.start, run);
                }
            }
        }
    }
}
