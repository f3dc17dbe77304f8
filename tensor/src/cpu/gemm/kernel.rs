//! Micro-kernels: one tile of C, held in registers over a whole block of depth.
//!
//! A tile is `R` rows by `V` vector registers of columns. Each step of depth reads `V` vectors of
//! the right operand and one number for each row of the left one, so the `R * V` multiply-adds of
//! a step need only `R + V` loads; every register that is not an operand is a running sum, which
//! is what keeps the multipliers busy (Goto & van de Geijn, "Anatomy of High-Performance Matrix
//! Multiplication", 2008).
//!
//! The same code is compiled for every height up to the tallest, so a matrix is cut into strips of
//! nearly equal height and no lane is ever spent on rows that do not exist.

#[cfg(target_arch = "x86_64")]
use super::super::simd::{Avx2, Avx512};
use super::super::simd::{Baseline, Level};
#[cfg(target_arch = "x86_64")]
use super::registers::Avx512Bf16;
use super::registers::Registers;
use super::vector::{self, Lines};

/// What a micro-kernel works on. Strides are in elements.
pub(crate) struct Job<T> {
    /// Products to sum for every element of C.
    pub depth: usize,
    /// Left operand, at the first row of the tile.
    pub a: *const T,
    /// From one row of it to the next; ignored by kernels made for contiguous rows (`1`).
    pub a_line: isize,
    /// From one step of depth to the next.
    pub a_depth: isize,
    /// Right operand, at the first column of the tile; columns are contiguous.
    pub b: *const T,
    /// From one step of depth to the next.
    pub b_depth: isize,
    /// The tile of C; columns are contiguous.
    pub c: *mut T,
    /// From one row of C to the next.
    pub c_stride: usize,
    /// Columns of the tile: more than `V - 1` vectors, at most `V`.
    pub columns: usize,
    /// Whether the sums are added to what C holds or replace it.
    pub add: bool,
}

/// A compiled micro-kernel.
///
/// # Safety
/// The processor has the instruction set that the kernel was compiled for, and the job's pointers
/// are valid for every element that its strides, `depth`, `columns` and the kernel's rows reach.
pub(crate) type Tile<T> = unsafe fn(&Job<T>);

/// The micro-kernels of one element type and instruction set.
pub(crate) struct Tiles<T: 'static> {
    /// Elements in a vector.
    pub lanes: usize,
    /// By vectors of columns (1 or 2), whether rows of the left operand are contiguous, and rows.
    table: [[&'static [Tile<T>]; 2]; 2],
    /// Scalar products of lines with a vector.
    pub dots: vector::Kernel<T>,
    /// Sums of lines scaled by a vector.
    pub scaled: vector::Kernel<T>,
}

impl<T> Tiles<T> {
    /// Rows of the tallest tile.
    #[inline]
    pub fn rows(&self) -> usize {
        self.table[0][0].len()
    }

    /// Columns of the widest tile.
    #[inline]
    pub fn columns(&self) -> usize {
        2 * self.lanes
    }

    /// The kernel for `rows` by `columns`.
    #[inline]
    pub fn tile(&self, rows: usize, columns: usize, contiguous: bool) -> Tile<T> {
        self.table[(columns > self.lanes) as usize][contiguous as usize][rows - 1]
    }
}

/// The micro-kernel itself; see [`Tile`] for what it requires.
#[allow(clippy::needless_range_loop, reason = "the same index for registers and addresses")]
#[inline(always)]
unsafe fn tile<T, I, const R: usize, const V: usize, const CONTIGUOUS: bool>(job: &Job<T>)
where
    T: Copy + Default,
    I: Registers<T>,
{
    // SAFETY: the caller of a `Tile` promises the instruction set and valid pointers. All reads
    // and writes are at (row < R, column < columns, step < depth): the last vector is masked.
    unsafe {
        let tail = I::first(job.columns - (V - 1) * I::LANES);
        let (c, c_stride) = (job.c, job.c_stride);
        // C arrives from memory while the products are summed.
        for r in 0..R {
            let row = c.wrapping_add(r * c_stride);
            I::prefetch(row);
            I::prefetch(row.wrapping_add(job.columns - 1));
        }
        let mut sums = [[I::splat(T::default()); V]; R];
        let (mut a, mut b) = (job.a, job.b);
        let (a_line, a_depth, b_depth) = (job.a_line, job.a_depth, job.b_depth);
        for _ in 0..job.depth {
            let mut line = [I::splat(T::default()); V];
            for v in 0..V - 1 {
                line[v] = I::load(b.add(v * I::LANES));
            }
            line[V - 1] = I::load_part(tail, b.wrapping_add((V - 1) * I::LANES));
            for r in 0..R {
                let step = if CONTIGUOUS { r as isize } else { r as isize * a_line };
                let x = I::splat(*a.offset(step));
                for v in 0..V {
                    sums[r][v] = I::mul_add(x, line[v], sums[r][v]);
                }
            }
            // Wrapping: the step after the last one may lie outside of the operand.
            a = a.wrapping_offset(a_depth);
            b = b.wrapping_offset(b_depth);
        }
        for r in 0..R {
            let row = c.add(r * c_stride);
            for v in 0..V - 1 {
                let at = row.add(v * I::LANES);
                let old = if job.add { I::add(I::load(at), sums[r][v]) } else { sums[r][v] };
                I::store(at, old);
            }
            let (at, sum) = (row.add((V - 1) * I::LANES), sums[r][V - 1]);
            let sum = if job.add { I::add(I::load_part(tail, at), sum) } else { sum };
            I::store_part(tail, at, sum);
        }
    }
}

/// Compiles [`tile`] for one instruction set and element type, at each of the listed heights.
macro_rules! tiles {
    ($name:ident, $t:ty, $isa:ty, $($feature:literal)?, [$($rows:literal)*]) => {
        pub(super) static $name: Tiles<$t> = {
            $(#[target_feature(enable = $feature)])?
            unsafe fn kernel<const R: usize, const V: usize, const C: bool>(job: &Job<$t>) {
                // SAFETY: passed on to the caller, who has the same duties.
                unsafe { tile::<$t, $isa, R, V, C>(job) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn dots(of: &Lines<$t>) {
                // SAFETY: passed on to the caller, who has the same duties.
                unsafe { vector::dots::<$t, $isa>(of) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn scaled(of: &Lines<$t>) {
                // SAFETY: as above.
                unsafe { vector::scaled::<$t, $isa>(of) }
            }
            Tiles {
                dots,
                scaled,
                lanes: <$isa as Registers<$t>>::LANES,
                table: [
                    [&[$(kernel::<$rows, 1, false>),*], &[$(kernel::<$rows, 1, true>),*]],
                    [&[$(kernel::<$rows, 2, false>),*], &[$(kernel::<$rows, 2, true>),*]],
                ],
            }
        };
    };
}

// 28 of the 32 registers are sums, 2 hold the line of B and 2 the numbers of A.
#[cfg(target_arch = "x86_64")]
tiles!(AVX512_F32, f32, Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma",
    [1 2 3 4 5 6 7 8 9 10 11 12 13 14]);
#[cfg(target_arch = "x86_64")]
tiles!(AVX512_BF16, f32, Avx512Bf16,
    "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma",
    [1 2 3 4 5 6 7 8 9 10 11 12 13 14]);
#[cfg(target_arch = "x86_64")]
tiles!(AVX512_F64, f64, Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma",
    [1 2 3 4 5 6 7 8 9 10 11 12 13 14]);
// 12 of 16.
#[cfg(target_arch = "x86_64")]
tiles!(AVX2_F32, f32, Avx2, "avx2,fma", [1 2 3 4 5 6]);
#[cfg(target_arch = "x86_64")]
tiles!(AVX2_F64, f64, Avx2, "avx2,fma", [1 2 3 4 5 6]);
// 8 of 16 on SSE2, which needs a register more for each product; NEON has 32.
#[cfg(not(target_arch = "aarch64"))]
tiles!(BASELINE_F32, f32, Baseline, , [1 2 3 4]);
#[cfg(not(target_arch = "aarch64"))]
tiles!(BASELINE_F64, f64, Baseline, , [1 2 3 4]);
#[cfg(target_arch = "aarch64")]
tiles!(BASELINE_F32, f32, Baseline, , [1 2 3 4 5 6 7 8 9 10 11 12]);
#[cfg(target_arch = "aarch64")]
tiles!(BASELINE_F64, f64, Baseline, , [1 2 3 4 5 6 7 8 9 10 11 12]);

/// The micro-kernels of `f32` at `level`, which this processor must have.
#[inline]
pub(super) fn tiles_f32(level: Level) -> &'static Tiles<f32> {
    match level {
        Level::Baseline => &BASELINE_F32,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => &AVX2_F32,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => &AVX512_F32,
        #[cfg(not(target_arch = "x86_64"))]
        _ => &BASELINE_F32,
    }
}

/// As [`tiles_f32`].
#[inline]
pub(super) fn tiles_f64(level: Level) -> &'static Tiles<f64> {
    match level {
        Level::Baseline => &BASELINE_F64,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => &AVX2_F64,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => &AVX512_F64,
        #[cfg(not(target_arch = "x86_64"))]
        _ => &BASELINE_F64,
    }
}
