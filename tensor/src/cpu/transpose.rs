//! Transposition of blocks in registers.

use super::simd::{Isa, Kernel};

/// Side of a block of a transposition: its lines on both sides (64 times 64 bytes each) fit the
/// first-level cache together.
pub(super) const BLOCK: usize = 32;

/// Writes `rows` by `columns` of a matrix whose rows are `to_stride` apart from one whose columns
/// are `from_stride` apart and contiguous.
pub(super) struct Transpose<T> {
    pub from: *const T,
    pub from_stride: isize,
    pub to: *mut T,
    pub to_stride: usize,
    pub rows: usize,
    pub columns: usize,
}

impl<T: Copy> Kernel for Transpose<T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Transpose { rows, columns, .. } = self;
        let mut done = (0, 0);
        #[cfg(target_arch = "x86_64")]
        if size_of::<T>() == 4 && I::F32_LANES >= 8 {
            done = (rows / 8 * 8, columns / 8 * 8);
            // The rows of a cache line together.
            for first in (0..done.0).step_by(16) {
                for column in (0..done.1).step_by(8) {
                    for row in (first..done.0.min(first + 16)).step_by(8) {
                        // SAFETY: the block is inside of both, and an `Isa` of 8 lanes is compiled
                        // only for processors that have AVX.
                        unsafe {
                            let from = self.from.offset(column as isize * self.from_stride);
                            let to = self.to.add(row * self.to_stride + column);
                            block(
                                from.add(row).cast(),
                                self.from_stride,
                                to.cast(),
                                self.to_stride,
                            );
                        }
                    }
                }
            }
        }
        self.part::<I>(0..done.0, done.1..columns);
        self.part::<I>(done.0..rows, 0..columns);
    }
}

impl<T: Copy> Transpose<T> {
    /// Some of it one by one.
    #[inline(always)]
    fn part<I: Isa>(&self, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>) {
        for first in columns.clone().step_by(BLOCK) {
            for row in rows.clone() {
                for column in first..columns.end.min(first + BLOCK) {
                    // SAFETY: `row` and `column` are inside of both matrices.
                    unsafe {
                        let from =
                            self.from.offset(row as isize + column as isize * self.from_stride);
                        self.to.add(row * self.to_stride + column).write(from.read());
                    }
                }
            }
        }
    }
}

/// Eight by eight numbers of four bytes.
///
/// # Safety
/// Both matrices have them, and the processor has AVX.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn block(from: *const f32, from_stride: isize, to: *mut f32, to_stride: usize) {
    use core::arch::x86_64::*;
    // SAFETY: the caller's promise.
    unsafe {
        // Halves of lines i and i + 4 side by side, straight from memory; then two rounds of pairs
        // within halves.
        let half = |line: isize, start: usize| {
            let low = _mm_loadu_ps(from.offset(line * from_stride).add(start));
            let high = _mm_loadu_ps(from.offset((line + 4) * from_stride).add(start));
            _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(low), high)
        };
        for start in [0, 4] {
            let (a, b) = (half(0, start), half(1, start));
            let (c, d) = (half(2, start), half(3, start));
            let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
            let (ab2, cd2) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
            let row = |i: usize| to.add((start + i) * to_stride);
            _mm256_storeu_ps(row(0), _mm256_shuffle_ps::<0b01_00_01_00>(ab, cd));
            _mm256_storeu_ps(row(1), _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd));
            _mm256_storeu_ps(row(2), _mm256_shuffle_ps::<0b01_00_01_00>(ab2, cd2));
            _mm256_storeu_ps(row(3), _mm256_shuffle_ps::<0b11_10_11_10>(ab2, cd2));
        }
    }
}
