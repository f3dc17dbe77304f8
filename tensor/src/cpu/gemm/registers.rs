//! Vector registers of each instruction set, for the kernels that are written with them.

#[cfg(target_arch = "x86_64")]
use super::super::simd::{Avx2, Avx512};
use super::super::simd::{Baseline, Isa};
#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::*;

/// Vector registers of `T` in an instruction set.
///
/// # Safety
/// All methods require a processor with the instruction set; loads and stores require `at` to be
/// valid for the lanes that they touch, with no requirement on alignment.
pub(crate) trait Registers<T>: Isa {
    type Vector: Copy;
    /// The first few lanes of a vector.
    type Mask: Copy;
    const LANES: usize;
    unsafe fn first(lanes: usize) -> Self::Mask;
    unsafe fn splat(value: T) -> Self::Vector;
    unsafe fn load(at: *const T) -> Self::Vector;
    /// Reads only the lanes in `mask`, the others are zero.
    unsafe fn load_part(mask: Self::Mask, at: *const T) -> Self::Vector;
    unsafe fn store(at: *mut T, value: Self::Vector);
    /// Writes only the lanes in `mask`.
    unsafe fn store_part(mask: Self::Mask, at: *mut T, value: Self::Vector);
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// All lanes, in a fixed order.
    unsafe fn sum(value: Self::Vector) -> T;
    /// Asks for the cache line of `at`, which need not be valid.
    unsafe fn prefetch(at: *const T);
}

/// A loop written with registers, to be compiled for every instruction set: as
/// [`Kernel`](super::super::simd::Kernel) is for plain loops, with the same duties.
pub(crate) trait RegisterKernel<T> {
    /// The loop.
    ///
    /// # Safety
    /// The processor has the instruction set.
    unsafe fn run<I: Registers<T>>(self);
}

/// Runs `kernel` compiled for `level`, which this processor must have.
macro_rules! dispatch {
    ($t:ty, $kernel:expr, $level:expr) => {{
        #[cfg(target_arch = "x86_64")]
        {
            use crate::cpu::simd::{Avx2, Avx512};
            #[target_feature(enable = "avx2,fma")]
            fn avx2<K: RegisterKernel<$t>>(kernel: K) {
                // SAFETY: this function has the features.
                unsafe { kernel.run::<Avx2>() }
            }
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512<K: RegisterKernel<$t>>(kernel: K) {
                // SAFETY: as above.
                unsafe { kernel.run::<Avx512>() }
            }
            match $level {
                // SAFETY: the level is one of this processor.
                Level::Avx512 => return unsafe { avx512($kernel) },
                // SAFETY: as above.
                Level::Avx2 => return unsafe { avx2($kernel) },
                Level::Baseline => {}
            }
        }
        let _ = $level;
        // SAFETY: every processor has the baseline.
        unsafe { $kernel.run::<crate::cpu::simd::Baseline>() }
    }};
}
pub(super) use dispatch;

/// The sum of all lanes, as a tree of halves.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
#[inline]
fn sum_f32(x: __m256) -> f32 {
    let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
}

/// As [`sum_f32`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
#[inline]
fn sum_f64(x: __m256d) -> f64 {
    let x = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd::<1>(x));
    _mm_cvtsd_f64(_mm_add_sd(x, _mm_unpackhi_pd(x, x)))
}

/// Registers of 16 pairs of bf16, whose products are added to 16 numbers of f32.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Avx512Bf16;

#[cfg(target_arch = "x86_64")]
impl Isa for Avx512Bf16 {
    const F32_LANES: usize = Avx512::F32_LANES;
    #[inline(always)]
    fn mul_add_f32(a: f32, b: f32, c: f32) -> f32 {
        Avx512::mul_add_f32(a, b, c)
    }
    #[inline(always)]
    fn mul_add_f64(a: f64, b: f64, c: f64) -> f64 {
        Avx512::mul_add_f64(a, b, c)
    }
}

/// The sum of `c` and of both products of each pair of `a` with that of `b`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
fn multiply_pairs(a: __m512, b: __m512, c: __m512) -> __m512 {
    // SAFETY: both types are 512 bits without invalid patterns.
    let [a, b] = unsafe { std::mem::transmute::<[__m512; 2], [__m512bh; 2]>([a, b]) };
    _mm512_dpbf16_ps(c, a, b)
}

/// Implements [`Registers`] by the named intrinsics.
#[cfg(target_arch = "x86_64")]
macro_rules! registers {
    (
        $isa:ty, $t:ty, $vector:ty, $mask:ty, $lanes:literal, $splat:ident, $load:ident,
        $store:ident, $add:ident, $mul_add:ident, |$n:ident| $first:expr,
        |$lm:ident, $lp:ident| $load_part:expr, |$sm:ident, $sp:ident, $sv:ident| $store_part:expr,
        |$x:ident| $sum:expr
    ) => {
        // SAFETY (of each block): the trait requires the instruction set and valid pointers.
        impl Registers<$t> for $isa {
            type Vector = $vector;
            type Mask = $mask;
            const LANES: usize = $lanes;
            #[inline(always)]
            #[allow(unused_unsafe, reason = "some masks are plain numbers")]
            unsafe fn first($n: usize) -> $mask {
                // SAFETY: see above.
                unsafe { $first }
            }
            #[inline(always)]
            unsafe fn splat(value: $t) -> $vector {
                // SAFETY: see above.
                unsafe { $splat(value) }
            }
            #[inline(always)]
            unsafe fn load(at: *const $t) -> $vector {
                // SAFETY: see above.
                unsafe { $load(at) }
            }
            #[inline(always)]
            unsafe fn load_part($lm: $mask, $lp: *const $t) -> $vector {
                // SAFETY: see above; masked lanes are not touched.
                unsafe { $load_part }
            }
            #[inline(always)]
            unsafe fn store(at: *mut $t, value: $vector) {
                // SAFETY: see above.
                unsafe { $store(at, value) }
            }
            #[inline(always)]
            unsafe fn store_part($sm: $mask, $sp: *mut $t, $sv: $vector) {
                // SAFETY: see above; masked lanes are not touched.
                unsafe { $store_part }
            }
            #[inline(always)]
            unsafe fn add(a: $vector, b: $vector) -> $vector {
                // SAFETY: see above.
                unsafe { $add(a, b) }
            }
            #[inline(always)]
            unsafe fn mul_add(a: $vector, b: $vector, c: $vector) -> $vector {
                // SAFETY: see above.
                unsafe { $mul_add(a, b, c) }
            }
            #[inline(always)]
            unsafe fn sum($x: $vector) -> $t {
                // SAFETY: see above.
                unsafe { $sum }
            }
            #[inline(always)]
            unsafe fn prefetch(at: *const $t) {
                // SAFETY: a prefetch of any address is harmless.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
registers!(
    Avx512,
    f32,
    __m512,
    __mmask16,
    16,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_add_ps,
    _mm512_fmadd_ps,
    |n| u16::MAX >> (16 - n),
    |m, p| _mm512_maskz_loadu_ps(m, p),
    |m, p, v| _mm512_mask_storeu_ps(p, m, v),
    |x| sum_f32(_mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x)))
);
#[cfg(target_arch = "x86_64")]
registers!(
    Avx512,
    f64,
    __m512d,
    __mmask8,
    8,
    _mm512_set1_pd,
    _mm512_loadu_pd,
    _mm512_storeu_pd,
    _mm512_add_pd,
    _mm512_fmadd_pd,
    |n| u8::MAX >> (8 - n),
    |m, p| _mm512_maskz_loadu_pd(m, p),
    |m, p, v| _mm512_mask_storeu_pd(p, m, v),
    |x| sum_f64(_mm256_add_pd(_mm512_castpd512_pd256(x), _mm512_extractf64x4_pd::<1>(x)))
);
#[cfg(target_arch = "x86_64")]
registers!(
    Avx512Bf16,
    f32,
    __m512,
    __mmask16,
    16,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_add_ps,
    multiply_pairs,
    |n| u16::MAX >> (16 - n),
    |m, p| _mm512_maskz_loadu_ps(m, p),
    |m, p, v| _mm512_mask_storeu_ps(p, m, v),
    |x| sum_f32(_mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x)))
);
// A masked store of AVX2 takes tens of cycles on some processors, so whole vectors avoid it.
#[cfg(target_arch = "x86_64")]
registers!(
    Avx2,
    f32,
    __m256,
    (__m256i, bool),
    8,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_add_ps,
    _mm256_fmadd_ps,
    |n| (
        _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)),
        n == 8
    ),
    |m, p| _mm256_maskload_ps(p, m.0),
    |m, p, v| if m.1 { _mm256_storeu_ps(p, v) } else { _mm256_maskstore_ps(p, m.0, v) },
    |x| sum_f32(x)
);
#[cfg(target_arch = "x86_64")]
registers!(
    Avx2,
    f64,
    __m256d,
    (__m256i, bool),
    4,
    _mm256_set1_pd,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    _mm256_add_pd,
    _mm256_fmadd_pd,
    |n| (_mm256_cmpgt_epi64(_mm256_set1_epi64x(n as i64), _mm256_setr_epi64x(0, 1, 2, 3)), n == 4),
    |m, p| _mm256_maskload_pd(p, m.0),
    |m, p, v| if m.1 { _mm256_storeu_pd(p, v) } else { _mm256_maskstore_pd(p, m.0, v) },
    |x| sum_f64(x)
);

// SSE2, which every x86-64 has: it multiplies and adds in two steps, and has no masks.
#[cfg(target_arch = "x86_64")]
registers!(
    Baseline,
    f32,
    __m128,
    usize,
    4,
    _mm_set1_ps,
    _mm_loadu_ps,
    _mm_storeu_ps,
    _mm_add_ps,
    mul_add_sse_f32,
    |n| n,
    |n, p| {
        if n == 4 {
            return _mm_loadu_ps(p);
        }
        // No copy of `n` elements: that is a call, and calls save all registers of a kernel.
        let lane = |i: usize| if i < n { *p.add(i) } else { 0.0 };
        _mm_setr_ps(lane(0), lane(1), lane(2), 0.0)
    },
    |n, p, v| {
        if n == 4 {
            return _mm_storeu_ps(p, v);
        }
        let mut lanes = [0.0; 4];
        _mm_storeu_ps(lanes.as_mut_ptr(), v);
        p.copy_from_nonoverlapping(lanes.as_ptr(), n);
    },
    |x| {
        let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
    }
);
#[cfg(target_arch = "x86_64")]
registers!(
    Baseline,
    f64,
    __m128d,
    usize,
    2,
    _mm_set1_pd,
    _mm_loadu_pd,
    _mm_storeu_pd,
    _mm_add_pd,
    mul_add_sse_f64,
    |n| n,
    |n, p| if n == 2 { _mm_loadu_pd(p) } else { _mm_load_sd(p) },
    |n, p, v| if n == 2 { _mm_storeu_pd(p, v) } else { _mm_store_sd(p, v) },
    |x| _mm_cvtsd_f64(_mm_add_sd(x, _mm_unpackhi_pd(x, x)))
);

/// The product, rounded, and then the sum.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn mul_add_sse_f32(a: __m128, b: __m128, c: __m128) -> __m128 {
    // SAFETY: SSE is part of x86-64.
    unsafe { _mm_add_ps(_mm_mul_ps(a, b), c) }
}

/// As [`mul_add_sse_f32`].
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn mul_add_sse_f64(a: __m128d, b: __m128d, c: __m128d) -> __m128d {
    // SAFETY: SSE2 is part of x86-64.
    unsafe { _mm_add_pd(_mm_mul_pd(a, b), c) }
}

/// Implements [`Registers`] by arrays of 16 bytes, which become registers of NEON.
#[cfg(not(target_arch = "x86_64"))]
macro_rules! arrays {
    ($t:ty, $lanes:literal, $mul_add:ident) => {
        impl Registers<$t> for Baseline {
            type Vector = [$t; $lanes];
            type Mask = usize;
            const LANES: usize = $lanes;
            #[inline(always)]
            unsafe fn first(lanes: usize) -> usize {
                lanes
            }
            #[inline(always)]
            unsafe fn splat(value: $t) -> Self::Vector {
                [value; $lanes]
            }
            #[inline(always)]
            unsafe fn load(at: *const $t) -> Self::Vector {
                // SAFETY: valid for a vector, says the trait.
                unsafe { at.cast::<Self::Vector>().read_unaligned() }
            }
            #[inline(always)]
            unsafe fn load_part(lanes: usize, at: *const $t) -> Self::Vector {
                if lanes == $lanes {
                    // SAFETY: valid for `lanes`, says the trait: the whole vector.
                    return unsafe { Self::load(at) };
                }
                // SAFETY: valid for `lanes`, says the trait.
                core::array::from_fn(|i| if i < lanes { unsafe { *at.add(i) } } else { 0.0 })
            }
            #[inline(always)]
            unsafe fn store(at: *mut $t, value: Self::Vector) {
                // SAFETY: valid for a vector, says the trait.
                unsafe { at.cast::<Self::Vector>().write_unaligned(value) }
            }
            #[inline(always)]
            unsafe fn store_part(lanes: usize, at: *mut $t, value: Self::Vector) {
                if lanes == $lanes {
                    // SAFETY: valid for `lanes`, says the trait: the whole vector.
                    return unsafe { Self::store(at, value) };
                }
                for i in 0..lanes {
                    // SAFETY: valid for `lanes`, says the trait.
                    unsafe { *at.add(i) = value[i] }
                }
            }
            #[inline(always)]
            unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector {
                core::array::from_fn(|i| a[i] + b[i])
            }
            #[inline(always)]
            unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
                core::array::from_fn(|i| Self::$mul_add(a[i], b[i], c[i]))
            }
            #[inline(always)]
            unsafe fn sum(value: Self::Vector) -> $t {
                value.into_iter().sum()
            }
            #[inline(always)]
            unsafe fn prefetch(_: *const $t) {}
        }
    };
}

#[cfg(not(target_arch = "x86_64"))]
arrays!(f32, 4, mul_add_f32);
#[cfg(not(target_arch = "x86_64"))]
arrays!(f64, 2, mul_add_f64);
