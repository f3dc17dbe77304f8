//! Products with a vector: every element of the matrix is used once, so they are bound by how fast
//! it can be read. Nothing is packed; the matrix is read in the order in which it lies in memory.

use super::Real;
use super::pack::{Direct, with_buffer};
use super::product::Product;
use super::registers::Registers;
use crate::cpu::parallel;
use std::ops::Range;

/// Lines of the matrix, or steps of its depth, that are read side by side: enough running sums to
/// hide the latency of a multiply-add, few enough streams for the prefetchers of the processor.
const STREAMS: usize = 8;
/// The same for what is left of them.
const FEWER: usize = 4;
/// Bytes of results that stay in the first-level cache while the depth passes by: as long a run of
/// neighbours as possible, which memory likes (1 x 4096 over 4096 gains 25 % from 4 to 16 KiB).
const RESULTS: usize = 16 << 10;
/// Lines of the shortest run that a task takes, for the same reason.
const RUN: usize = 1024;
/// Vectors that the matrix is read for one after the other, rather than packed for all.
const FEW: usize = 4;
/// Shortest depth for more than one vector: each scalar product ends with a sum across a register.
const LONG: usize = 64;
/// Elements of the matrix that are worth another thread: 100 us from memory, 20 us from the cache.
const TASK: usize = 1 << 18;

/// A product of a matrix and a few vectors.
pub(crate) struct Lines<T> {
    /// The matrix, at the first line.
    pub matrix: Direct<T>,
    /// Lines of it: results.
    pub lines: usize,
    /// Elements of a vector.
    pub depth: usize,
    /// The vectors, each contiguous.
    pub vectors: Direct<T>,
    /// How many there are.
    pub count: usize,
    /// Where results go: all of the first vector, then all of the next.
    pub out: *mut T,
}

/// A compiled kernel for such products.
///
/// # Safety
/// The processor has the instruction set, and all of the matrix, the vectors and the results are
/// valid.
pub(crate) type Kernel<T> = unsafe fn(&Lines<T>);

/// Scalar products: for matrices whose depth is contiguous. See [`Kernel`] for what it requires.
#[inline(always)]
pub(super) unsafe fn dots<T: Real, I: Registers<T>>(of: &Lines<T>) {
    let mut line = 0;
    while line < of.lines {
        let some = match of.lines - line {
            STREAMS.. => STREAMS,
            FEWER.. => FEWER,
            _ => 1,
        };
        // All vectors in turn meet a few lines that are still in cache.
        for v in 0..of.count {
            // SAFETY: passed on to the caller; the lines are within the matrix.
            unsafe {
                match some {
                    STREAMS => dot::<T, I, STREAMS>(of, v, line),
                    FEWER => dot::<T, I, FEWER>(of, v, line),
                    _ => dot::<T, I, 1>(of, v, line),
                }
            }
        }
        line += some;
    }
}

/// The scalar products of `N` lines from `line` on with vector `v`. A line's sum is formed in the
/// same order whatever `N` is, so it does not matter with which others it is computed.
///
/// # Safety
/// As for [`dots`], and there are that many lines.
#[allow(clippy::needless_range_loop, reason = "the same index for registers and addresses")]
#[inline(always)]
unsafe fn dot<T: Real, I: Registers<T>, const N: usize>(of: &Lines<T>, v: usize, line: usize) {
    // SAFETY: reads are within the `depth` of the vector and of the lines, the last ones masked.
    unsafe {
        let mut sums = [I::splat(T::default()); N];
        let vector = of.vectors.at(v, 0);
        let whole = of.depth / I::LANES * I::LANES;
        for k in (0..whole).step_by(I::LANES) {
            let x = I::load(vector.add(k));
            for i in 0..N {
                sums[i] = I::mul_add(x, I::load(of.matrix.at(line + i, k)), sums[i]);
            }
        }
        if whole < of.depth {
            let rest = I::first(of.depth - whole);
            let x = I::load_part(rest, vector.add(whole));
            for i in 0..N {
                let y = I::load_part(rest, of.matrix.at(line + i, whole));
                sums[i] = I::mul_add(x, y, sums[i]);
            }
        }
        for i in 0..N {
            *of.out.add(v * of.lines + line + i) = I::sum(sums[i]);
        }
    }
}

/// Sums of lines scaled by the elements of the vector: for matrices whose lines lie side by side.
/// See [`Kernel`] for what it requires.
#[inline(always)]
pub(super) unsafe fn scaled<T: Real, I: Registers<T>>(of: &Lines<T>) {
    let mut k = 0;
    while k < of.depth {
        let some = if of.depth - k >= STREAMS { STREAMS } else { 1 };
        for v in 0..of.count {
            // SAFETY: passed on to the caller; these steps are within the matrix.
            unsafe {
                match some {
                    STREAMS => scale::<T, I, STREAMS>(of, v, k),
                    _ => scale::<T, I, 1>(of, v, k),
                }
            }
        }
        k += some;
    }
}

/// Adds `N` steps of depth from `k` on to the results of vector `v`, which start at zero.
///
/// # Safety
/// As for [`scaled`], and there are that many steps.
#[inline(always)]
unsafe fn scale<T: Real, I: Registers<T>, const N: usize>(of: &Lines<T>, v: usize, k: usize) {
    // SAFETY: reads and writes are within the lines and steps, the last ones masked.
    unsafe {
        let x: [I::Vector; N] = core::array::from_fn(|i| I::splat(*of.vectors.at(v, k + i)));
        let from: [*const T; N] = core::array::from_fn(|i| of.matrix.at(0, k + i));
        let (out, lines) = (of.out.add(v * of.lines), of.lines);
        let whole = lines / I::LANES * I::LANES;
        for line in (0..whole).step_by(I::LANES) {
            let mut sum = if k == 0 { I::splat(T::default()) } else { I::load(out.add(line)) };
            for i in 0..N {
                sum = I::mul_add(x[i], I::load(from[i].add(line)), sum);
            }
            I::store(out.add(line), sum);
        }
        if whole < lines {
            let rest = I::first(lines - whole);
            let out = out.add(whole);
            let mut sum = if k == 0 { I::splat(T::default()) } else { I::load_part(rest, out) };
            for i in 0..N {
                sum = I::mul_add(x[i], I::load_part(rest, from[i].add(whole)), sum);
            }
            I::store_part(rest, out, sum);
        }
    }
}

impl<T: Real> Product<'_, T> {
    /// Computes the product if one operand is a vector, or just a few, and the other one a matrix
    /// in memory that can be read as it lies there; returns whether it did.
    ///
    /// # Safety
    /// As for [`Product::run`].
    pub(super) unsafe fn vector(&self, parallel: bool) -> bool {
        let rows = self.m <= self.n;
        let (lines, count) = if rows { (self.n, self.m) } else { (self.m, self.n) };
        let (matrix, vectors) = if rows { (self.b, self.a) } else { (self.a, self.b) };
        let Some(matrix) = matrix.direct().filter(|_| count <= FEW) else { return false };
        let (kernel, least) = if matrix.depth_stride == 1 && (count == 1 || self.k >= LONG) {
            (self.tiles.dots, STREAMS)
        } else if matrix.line_stride == 1 && count == 1 {
            // Long runs of each line's neighbours, as memory likes them.
            (self.tiles.scaled, RUN)
        } else {
            return false;
        };
        let task = if parallel { (TASK / self.k).max(least) } else { usize::MAX };
        let go = |vectors: Direct<T>| {
            // SAFETY: passed on to the caller.
            unsafe { self.lines(kernel, matrix, vectors, 0..lines, rows, count, task) };
        };
        match vectors.direct() {
            Some(vectors) if vectors.depth_stride == 1 => go(vectors),
            _ => with_buffer(count * self.k, |panels| {
                vectors.pack(0..count, 0..self.k, 1, panels);
                let line_stride = self.k as isize;
                go(Direct { start: panels.as_ptr(), line_stride, depth_stride: 1 });
            }),
        }
        true
    }

    /// Computes the results of some lines of the matrix, in tasks of at most `task` lines.
    ///
    /// # Safety
    /// As for [`Product::run`]; nothing else accesses these elements of C.
    #[allow(clippy::too_many_arguments)]
    unsafe fn lines(
        &self,
        kernel: Kernel<T>,
        matrix: Direct<T>,
        vectors: Direct<T>,
        lines: Range<usize>,
        rows: bool,
        count: usize,
        task: usize,
    ) {
        // Whole cache lines of C for each task.
        let task = task.max(1).saturating_add(31) & !31;
        if lines.len() > task {
            parallel::chunks(lines.len(), task, |part| {
                let part = lines.start + part.start..lines.start + part.end;
                // SAFETY: passed on to the caller; no two tasks have a line in common.
                unsafe { self.lines(kernel, matrix, vectors, part, rows, count, usize::MAX) };
            });
            return;
        }
        let most = (RESULTS / size_of::<T>()).min(lines.len());
        with_buffer(most * count, |out| {
            for first in lines.clone().step_by(most) {
                let lines = most.min(lines.end - first);
                let from = Direct { start: matrix.at(first, 0), ..matrix };
                let (depth, out) = (self.k, &mut out[..lines * count]);
                let start = out.as_mut_ptr();
                // SAFETY: the lines are in the matrix, and `vectors` has `count` of the depth.
                unsafe {
                    kernel(&Lines { matrix: from, lines, depth, vectors, count, out: start });
                }
                for (v, sums) in out.chunks_exact(lines).enumerate() {
                    let (row, column) = if rows { (v, first) } else { (first, v) };
                    // SAFETY: passed on to the caller, who gave these elements of C.
                    unsafe { self.finish(row, column, sums, rows) };
                }
            }
        });
    }

    /// Brings finished sums into C, along a row or down a column.
    ///
    /// # Safety
    /// As for [`Product::lines`], and these elements are in C.
    unsafe fn finish(&self, row: usize, column: usize, sums: &[T], along: bool) {
        let run = if along { sums.len() } else { 1 };
        for (i, sums) in sums.chunks_exact(run).enumerate() {
            let row = row + i;
            // SAFETY: passed on to the caller.
            let c = unsafe {
                let start = self.c.add(row * self.c_stride + column);
                std::slice::from_raw_parts_mut(start, run)
            };
            if self.accumulate {
                c.iter_mut().zip(sums).for_each(|(c, &sum)| *c = *c + sum);
            } else {
                c.copy_from_slice(sums);
            }
            if let Some(epilogue) = self.epilogue {
                epilogue.apply(row, column, c);
            }
        }
    }
}
