//! The micro-kernel of convolutions: a product of matrices that lie in an image unmade.
//!
//! An element of an operand is where two offsets from tables add up to, so the patches of an image,
//! the pixels of a row or the taps of a kernel are operands as they are: nothing is packed, and one
//! kernel serves any stride, dilation and border. The scalar loads of offsets hide behind the
//! multiply-adds, of which a step has ten times as many.

#[cfg(target_arch = "x86_64")]
use super::super::simd::{Avx2, Avx512};
use super::super::simd::{Baseline, Level};
use super::registers::Registers;
use std::sync::atomic::{Ordering, compiler_fence};

/// A tile of `C = start + A B`: element `(r, step)` of A is `a[a_rows[r] + a_steps[step]]`, and the
/// columns of B at `step` are `b[b_steps[step]..]`.
pub(crate) struct Gathered<'a, T> {
    pub a: *const T,
    pub a_rows: &'a [usize],
    pub a_steps: &'a [usize],
    pub b: *const T,
    /// As many as `a_steps`.
    pub b_steps: &'a [usize],
    /// The tile of C; columns are contiguous.
    pub c: *mut T,
    /// From one row of C to the next.
    pub c_stride: usize,
    /// Columns of the tile.
    pub columns: usize,
    pub start: Start<'a, T>,
}

/// What the products are added to.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a, T> {
    Zero,
    /// What C holds, in the end.
    Sum,
    /// A number for each row.
    Rows(&'a [T]),
}

/// A compiled kernel for some rows and vectors of columns.
type Tile<T> = unsafe fn(&Gathered<T>);

/// The kernels of an element type and instruction set.
pub(crate) struct Table<T: 'static> {
    /// Elements in a vector.
    pub lanes: usize,
    /// By vectors of columns (1 or 2) and rows.
    tiles: [&'static [Tile<T>]; 2],
}

impl<T> Table<T> {
    /// Rows of the tallest tile.
    pub fn rows(&self) -> usize {
        self.tiles[0].len()
    }

    /// Columns of the widest tile.
    pub fn columns(&self) -> usize {
        2 * self.lanes
    }

    /// Computes a tile, of at most [`Table::rows`] by [`Table::columns`].
    ///
    /// # Safety
    /// The processor has the instruction set of the table, and the pointers of the job are valid
    /// for all elements that its offsets and sizes reach.
    #[inline]
    pub unsafe fn run(&self, job: &Gathered<T>) {
        debug_assert!(job.columns > 0 && job.columns <= self.columns());
        assert!(job.a_steps.len() == job.b_steps.len());
        let tile = self.tiles[(job.columns > self.lanes) as usize][job.a_rows.len() - 1];
        // SAFETY: passed on to the caller; the kernel has the rows and columns of the job.
        unsafe { tile(job) }
    }
}

/// The kernel itself; see [`Table::run`] for what it requires.
#[allow(clippy::needless_range_loop, reason = "the same index for registers and addresses")]
#[inline(always)]
unsafe fn tile<T, I, const R: usize, const V: usize>(job: &Gathered<T>)
where
    T: Copy + Default,
    I: Registers<T>,
{
    // SAFETY: the caller promises valid pointers. All reads and writes are at (row < R, column <
    // columns, step < steps): the last vector is masked.
    unsafe {
        let tail = I::first(job.columns - (V - 1) * I::LANES);
        let zero = I::splat(T::default());
        let mut sums = [[zero; V]; R];
        if let Start::Rows(rows) = job.start {
            for r in 0..R {
                sums[r] = [I::splat(*rows.get_unchecked(r)); V];
            }
        }
        for r in 0..R {
            for v in 0..V {
                prefetch(job.c.wrapping_add(r * job.c_stride + v * I::LANES));
            }
        }
        let rows: &[usize; R] = &*job.a_rows.as_ptr().cast();
        let (a_start, b_start) = (job.a, job.b);
        for (a_step, b_step) in job.a_steps.iter().zip(job.b_steps) {
            let (a, b) = (a_start.add(*a_step), b_start.add(*b_step));
            let mut line = [zero; V];
            for v in 0..V - 1 {
                line[v] = I::load(b.add(v * I::LANES));
            }
            line[V - 1] = I::load_part(tail, b.add((V - 1) * I::LANES));
            for r in 0..R {
                let x = I::splat(*a.add(rows[r]));
                for v in 0..V {
                    sums[r][v] = I::mul_add(x, line[v], sums[r][v]);
                }
                // Without it the compiler loads all rows first, and has no registers left for sums.
                compiler_fence(Ordering::AcqRel);
            }
        }
        let add = matches!(job.start, Start::Sum);
        for r in 0..R {
            let row = job.c.add(r * job.c_stride);
            for v in 0..V - 1 {
                let at = row.add(v * I::LANES);
                let sum = if add { I::add(I::load(at), sums[r][v]) } else { sums[r][v] };
                I::store(at, sum);
            }
            let (at, sum) = (row.add((V - 1) * I::LANES), sums[r][V - 1]);
            let sum = if add { I::add(I::load_part(tail, at), sum) } else { sum };
            I::store_part(tail, at, sum);
        }
    }
}

/// Asks for memory that will be written.
#[inline(always)]
fn prefetch<T>(address: *mut T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which is ignored where it is wrong.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_ET0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Compiles [`tile`] for one instruction set and element type, at each of the listed heights.
macro_rules! table {
    ($name:ident, $t:ty, $isa:ty, $($feature:literal)?, [$($rows:literal)*]) => {
        static $name: Table<$t> = {
            $(#[target_feature(enable = $feature)])?
            unsafe fn kernel<const R: usize, const V: usize>(job: &Gathered<$t>) {
                // SAFETY: passed on to the caller, who has the same duties.
                unsafe { tile::<$t, $isa, R, V>(job) }
            }
            Table {
                lanes: <$isa as Registers<$t>>::LANES,
                tiles: [&[$(kernel::<$rows, 1>),*], &[$(kernel::<$rows, 2>),*]],
            }
        };
    };
}

// As many rows as the kernels in `kernel.rs`.
#[cfg(target_arch = "x86_64")]
table!(AVX512_F32, f32, Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma",
    [1 2 3 4 5 6 7 8 9 10 11 12 13 14]);
#[cfg(target_arch = "x86_64")]
table!(AVX512_F64, f64, Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma",
    [1 2 3 4 5 6 7 8 9 10 11 12 13 14]);
#[cfg(target_arch = "x86_64")]
table!(AVX2_F32, f32, Avx2, "avx2,fma", [1 2 3 4 5 6]);
#[cfg(target_arch = "x86_64")]
table!(AVX2_F64, f64, Avx2, "avx2,fma", [1 2 3 4 5 6]);
#[cfg(not(target_arch = "aarch64"))]
table!(BASELINE_F32, f32, Baseline, , [1 2 3 4]);
#[cfg(not(target_arch = "aarch64"))]
table!(BASELINE_F64, f64, Baseline, , [1 2 3 4]);
#[cfg(target_arch = "aarch64")]
table!(BASELINE_F32, f32, Baseline, , [1 2 3 4 5 6 7 8 9 10 11 12]);
#[cfg(target_arch = "aarch64")]
table!(BASELINE_F64, f64, Baseline, , [1 2 3 4 5 6 7 8 9 10 11 12]);

/// The kernels of `f32` at `level`, which this processor must have.
#[inline]
pub(super) fn table_f32(level: Level) -> &'static Table<f32> {
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

/// As [`table_f32`].
#[inline]
pub(super) fn table_f64(level: Level) -> &'static Table<f64> {
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
