//! Half types to and from `f32`, a run at a time.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::simd::{Isa, Kernel, dispatch};

#[inline(always)]
pub(super) fn widen(x: bf16) -> f32 {
    f32::from_bits(u32::from(x.to_bits()) << 16)
}

#[inline(always)]
pub(super) fn narrow(x: f32) -> bf16 {
    let bits = x.to_bits();
    // To the nearest, halves to even; a carry goes into the exponent, as it must.
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let quiet_nan = bits >> 16 | 0x40;
    let is_nan = bits & 0x7fff_ffff > 0x7f80_0000;
    bf16::from_bits(if is_nan { quiet_nan } else { rounded } as u16)
}

struct WidenBf16<'a>(&'a [bf16], &'a mut [f32]);

impl Kernel for WidenBf16<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        for (y, &x) in self.1.iter_mut().zip(self.0) {
            *y = widen(x);
        }
    }
}

struct NarrowBf16<'a>(&'a [f32], &'a mut [bf16]);

impl Kernel for NarrowBf16<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        for (y, &x) in self.1.iter_mut().zip(self.0) {
            *y = narrow(x);
        }
    }
}

/// Widens a run as long as `y`.
#[inline]
pub(super) fn widen_bf16(x: &[bf16], y: &mut [f32]) {
    dispatch(WidenBf16(x, y));
}

/// Rounds a run to the nearest, halves to even.
#[inline]
pub(super) fn narrow_bf16(x: &[f32], y: &mut [bf16]) {
    dispatch(NarrowBf16(x, y));
}

/// As [`widen_bf16`].
#[inline]
pub(super) fn widen_f16(x: &[f16], y: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if super::simd::level() == super::simd::Level::Avx512 {
        // SAFETY: the processor has AVX-512.
        return unsafe { avx512::widen_f16(x, y) };
    }
    // Elsewhere by the instructions that the processor has, if it has any.
    x.convert_to_f32_slice(y);
}

/// As [`narrow_bf16`].
#[inline]
pub(super) fn narrow_f16(x: &[f32], y: &mut [f16]) {
    #[cfg(target_arch = "x86_64")]
    if super::simd::level() == super::simd::Level::Avx512 {
        // SAFETY: the processor has AVX-512.
        return unsafe { avx512::narrow_f16(x, y) };
    }
    y.convert_from_f32_slice(x);
}

#[cfg(target_arch = "x86_64")]
pub(super) mod avx512 {
    use core::arch::x86_64::*;

    use half::f16;

    pub(in crate::cpu) const LANES: usize = 16;

    #[target_feature(enable = "avx512f")]
    pub(super) fn widen_f16(x: &[f16], y: &mut [f32]) {
        let ((x, x_tail), (y, y_tail)) = (x.as_chunks::<LANES>(), y.as_chunks_mut::<LANES>());
        for (x, y) in x.iter().zip(y) {
            *y = widen(x);
        }
        let mut last = [f16::ZERO; LANES];
        last[..x_tail.len()].copy_from_slice(x_tail);
        y_tail.copy_from_slice(&widen(&last)[..y_tail.len()]);
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn narrow_f16(x: &[f32], y: &mut [f16]) {
        let ((x, x_tail), (y, y_tail)) = (x.as_chunks::<LANES>(), y.as_chunks_mut::<LANES>());
        for (x, y) in x.iter().zip(y) {
            *y = narrow(x);
        }
        let mut last = [0.0; LANES];
        last[..x_tail.len()].copy_from_slice(x_tail);
        y_tail.copy_from_slice(&narrow(&last)[..y_tail.len()]);
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(in crate::cpu) fn widen(x: &[f16; LANES]) -> [f32; LANES] {
        let mut y = [0.0; LANES];
        // SAFETY: both are arrays of 16 numbers.
        unsafe {
            let wide = _mm512_cvtph_ps(_mm256_loadu_si256(x.as_ptr().cast()));
            _mm512_storeu_ps(y.as_mut_ptr(), wide);
        }
        y
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(in crate::cpu) fn narrow(x: &[f32; LANES]) -> [f16; LANES] {
        let mut y = [f16::ZERO; LANES];
        // SAFETY: as above.
        unsafe {
            let wide = _mm512_loadu_ps(x.as_ptr());
            let half = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(wide);
            _mm256_storeu_si256(y.as_mut_ptr().cast(), half);
        }
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every 37th number, and those around the middle between two halves.
    fn numbers() -> Vec<f32> {
        let all = (0..=u32::MAX).step_by(37 * 1021);
        let middles = (0..=u16::MAX).flat_map(|half| {
            let bits = (u32::from(half) << 16) | 0x8000;
            let f16_middle = f16::from_bits(half).to_f32().to_bits() ^ (1 << 12);
            [bits - 1, bits, bits + 1, f16_middle - 1, f16_middle, f16_middle + 1]
        });
        all.chain(middles).map(f32::from_bits).collect()
    }

    #[test]
    fn every_half_is_widened_exactly() {
        let bits: Vec<u16> = (0..=u16::MAX).collect();
        for skipped in [0, 3] {
            let x: Vec<_> = bits[skipped..].iter().map(|&bits| bf16::from_bits(bits)).collect();
            let mut y = vec![0.0; x.len()];
            widen_bf16(&x, &mut y);
            assert!(
                x.iter().zip(&y).all(|(x, y)| x.to_f32().to_bits() == y.to_bits() || x.is_nan())
            );
            assert!(x.iter().zip(&y).all(|(x, y)| x.is_nan() == y.is_nan()));
            let x: Vec<_> = bits[skipped..].iter().map(|&bits| f16::from_bits(bits)).collect();
            widen_f16(&x, &mut y);
            assert!(
                x.iter().zip(&y).all(|(x, y)| x.to_f32().to_bits() == y.to_bits() || x.is_nan())
            );
            assert!(x.iter().zip(&y).all(|(x, y)| x.is_nan() == y.is_nan()));
        }
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest_half() {
        let x = numbers();
        for skipped in [0, 5] {
            let x = &x[skipped..];
            let mut y = vec![bf16::ZERO; x.len()];
            narrow_bf16(x, &mut y);
            for (&x, y) in x.iter().zip(&y) {
                assert_eq!(y.to_bits(), bf16::from_f32(x).to_bits(), "{x:e} to bf16");
            }
            let mut y = vec![f16::ZERO; x.len()];
            narrow_f16(x, &mut y);
            for (&x, y) in x.iter().zip(&y) {
                let right = f16::from_f32(x);
                let same = y.to_bits() == right.to_bits() || y.is_nan() && right.is_nan();
                assert!(same, "{x:e} to f16");
            }
        }
    }
}
