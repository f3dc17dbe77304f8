//! Matrix products.
//!
//! The loops around the micro-kernel follow Goto & van de Geijn ("Anatomy of High-Performance
//! Matrix Multiplication", 2008) and BLIS (Van Zee & van de Geijn, 2015): the right operand is
//! packed once and shared, a block of the left one is packed into the second-level cache of the
//! core that uses it, and a panel of the right operand stays close while it meets every strip of
//! that block.
//!
//! Two things differ. Operands come from a [`Source`], so a convolution packs straight from its
//! image, and small matrices are read in place. And depth is cut into blocks by its length alone:
//! an element of C is always the sum of the same blocks in the same order, each a chain of
//! multiply-adds from its first product to its last. Its bits therefore depend neither on the
//! number of threads, nor on how C was divided among them, nor on what was packed. (Products with a
//! vector have an order of their own, of which the same is true.)

mod gathered;
mod kernel;
mod pack;
mod pairs;
mod product;
mod registers;
#[cfg(test)]
mod tests;
mod vector;

use super::simd::{self, Isa, Level};
pub(crate) use gathered::{Gathered, Start, Table};
pub(crate) use kernel::{Job, Tiles};
pub(crate) use pack::{Source, Strided, with_buffer};
pub(crate) use product::Product;
pub(crate) use registers::{RegisterKernel, Registers};
use std::ops::Add;

/// Element type that products are computed in.
pub(crate) trait Real: pack::Stored<Self> + Add<Output = Self> {
    /// The kernels of an instruction set, which the processor must have when they are called.
    fn tiles(level: Level) -> &'static Tiles<Self>;
    /// Runs a loop written with registers, compiled for the best instruction set of this processor.
    fn vectorised<K: RegisterKernel<Self>>(kernel: K);
    /// Computes a product by kernels for its operands as they are stored, if there are such; whether
    /// it did.
    ///
    /// # Safety
    /// As for [`gemm`].
    unsafe fn as_stored(product: &Product<'_, Self>, threads: Threads) -> bool {
        let _ = (product, threads);
        false
    }
    /// The kernels of gathered products, as [`Real::tiles`].
    fn gathered(level: Level) -> &'static Table<Self>;
    /// `block` transposed.
    fn transpose<I: Isa, const B: usize>(block: [[Self; B]; B]) -> [[Self; B]; B];
    /// Copies 16 lines of 16 numbers, `from_line` apart, as their columns, `to_line` apart, if the
    /// instruction set has a quick way. Whether it did.
    ///
    /// # Safety
    /// The lines can be read and the columns written.
    #[inline(always)]
    unsafe fn turn<I: Isa>(
        from: *const Self,
        from_line: usize,
        to: *mut Self,
        to_line: usize,
    ) -> bool {
        let _ = (from, from_line, to, to_line);
        false
    }
}

impl Real for f32 {
    #[inline]
    fn tiles(level: Level) -> &'static Tiles<f32> {
        kernel::tiles_f32(level)
    }
    fn vectorised<K: RegisterKernel<f32>>(kernel: K) {
        registers::dispatch!(f32, kernel, simd::level())
    }
    #[inline]
    unsafe fn as_stored(product: &Product<'_, f32>, threads: Threads) -> bool {
        // SAFETY: passed on to the caller.
        unsafe { pairs::run(product, threads) }
    }
    #[inline]
    fn gathered(level: Level) -> &'static Table<f32> {
        gathered::table_f32(level)
    }
    #[inline(always)]
    fn transpose<I: Isa, const B: usize>(block: [[f32; B]; B]) -> [[f32; B]; B] {
        pack::transpose_f32::<I, B>(block)
    }
    #[inline(always)]
    unsafe fn turn<I: Isa>(
        from: *const f32,
        from_line: usize,
        to: *mut f32,
        to_line: usize,
    ) -> bool {
        // SAFETY: passed on to the caller.
        unsafe { pack::turn_f32::<I>(from, from_line, to, to_line) }
    }
}

impl Real for f64 {
    #[inline]
    fn tiles(level: Level) -> &'static Tiles<f64> {
        kernel::tiles_f64(level)
    }
    fn vectorised<K: RegisterKernel<f64>>(kernel: K) {
        registers::dispatch!(f64, kernel, simd::level())
    }
    #[inline]
    fn gathered(level: Level) -> &'static Table<f64> {
        gathered::table_f64(level)
    }
    #[inline(always)]
    fn transpose<I: Isa, const B: usize>(block: [[f64; B]; B]) -> [[f64; B]; B] {
        pack::transpose_f64::<I, B>(block)
    }
}

/// What is applied to finished elements of C while they are in cache.
pub(crate) trait Epilogue<T>: Sync {
    /// Called with a run of one row, exactly once for every element, after the whole depth has
    /// been summed.
    fn apply(&self, row: usize, column: usize, run: &mut [T]);
}

/// An epilogue that leaves C as it is.
impl<T> Epilogue<T> for () {
    #[inline]
    fn apply(&self, _: usize, _: usize, _: &mut [T]) {}
}

/// Who computes a product; the result has the same bits in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The calling thread.
    One,
    /// All threads, for products that are large enough to gain from it.
    Pool,
}

/// `C = epilogue(A B)`, or `C = epilogue(C + A B)` if `accumulate`: C has `m` rows and `n`
/// contiguous columns, `c_stride` elements lie between its rows.
///
/// # Safety
/// `c` is valid for reads and writes of all rows, which do not overlap, and nothing else accesses
/// them during the call, `a` and `b` in particular.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn gemm<T: Real>(
    m: usize,
    n: usize,
    k: usize,
    a: &dyn Source<T>,
    b: &dyn Source<T>,
    c: *mut T,
    c_stride: usize,
    accumulate: bool,
    epilogue: Option<&dyn Epilogue<T>>,
    threads: Threads,
) {
    let tiles = T::tiles(simd::level());
    let product = Product { tiles, m, n, k, a, b, c, c_stride, accumulate, epilogue };
    // SAFETY: passed on to the caller; the level is that of this processor.
    unsafe {
        if !T::as_stored(&product, threads) {
            product.run(threads)
        }
    }
}
