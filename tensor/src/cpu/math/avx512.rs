//! Functions as AVX-512 computes them best. It looks up 32 numbers at once in two registers, each
//! lane its own, in one instruction: a short polynomial for each of 32 short segments is quicker
//! than one formula for all of them.

use core::arch::x86_64::*;
use std::f32::consts::{LN_2, LOG2_E};

use super::coefficients::single::{GELU, GELU_FAR, LN2_HI, LN2_LO, POWERS};
use super::single::{NORMAL_LAST, ROUND, SIGMOID_FIRST};

/// Elements of a register.
const LANES: usize = 16;
/// Elements between two looks for arguments beyond a table.
const BLOCK: usize = 4 * LANES;
/// Added to a small number, this rounds it to a multiple of 1/8, and leaves the multiple in the low
/// bits.
const EIGHTHS: f32 = ROUND / 8.0;
const SIXTEENTHS: f32 = ROUND / 16.0;
/// Where [`GELU`] ends: half a segment after the last centre.
const GELU_END: f32 = 4.0 - 1.0 / 16.0;

/// [`Math::gelu`](super::Math::gelu) of every element.
#[target_feature(enable = "avx512f,avx512dq")]
pub(super) fn gelu(x: &[f32], y: &mut [f32]) {
    let mut table = [[_mm512_setzero_ps(); 2]; GELU.len()];
    for (row, numbers) in table.iter_mut().zip(&GELU) {
        let (halves, _) = numbers.as_chunks();
        *row = [load(&halves[0]), load(&halves[1])];
    }
    let ((blocks, rest), (y_blocks, y_rest)) = (x.as_chunks::<BLOCK>(), y.as_chunks_mut::<BLOCK>());
    for (x, y) in blocks.iter().zip(y_blocks) {
        let (x, y) = (x.as_chunks().0, y.as_chunks_mut().0);
        let mut far = 0;
        for (x, y) in x.iter().zip(&mut *y) {
            let x = load(x);
            far |= is_far(x);
            store(y, gelu_near(x, &table));
        }
        if far != 0 {
            for (x, y) in x.iter().zip(y) {
                let x = load(x);
                let far = is_far(x);
                if far != 0 {
                    let value = gelu_far(x, Powers::new());
                    // SAFETY: as many numbers as the register has lanes.
                    unsafe { _mm512_mask_storeu_ps(y.as_mut_ptr(), far, value) };
                }
            }
        }
    }
    if !rest.is_empty() {
        let (mut last, mut y_last) = ([0.0; BLOCK], [0.0; BLOCK]);
        last[..rest.len()].copy_from_slice(rest);
        gelu(&last, &mut y_last);
        y_rest.copy_from_slice(&y_last[..rest.len()]);
    }
}

/// The lanes that [`gelu_near`] gets wrong.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn is_far(x: __m512) -> __mmask16 {
    _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(_mm512_abs_ps(x), _mm512_set1_ps(GELU_END))
}

/// `max(x, 0) - a Phi(-a)` with `a = |x|`, by a table of the latter.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn gelu_near(x: __m512, table: &[[__m512; 2]; GELU.len()]) -> __m512 {
    let a = _mm512_abs_ps(x);
    let segment = _mm512_castps_si512(_mm512_add_ps(a, _mm512_set1_ps(EIGHTHS)));
    // `a` less the nearest multiple of 2^-3.
    let t = _mm512_reduce_ps::<0x30>(a);
    let pick = |row: [__m512; 2]| _mm512_permutex2var_ps(row[0], segment, row[1]);
    let [constant, slopes @ .., last] = table;
    let mut slope = pick(*last);
    for &row in slopes.iter().rev() {
        slope = _mm512_fmadd_ps(slope, t, pick(row));
    }
    // Of two zeros this is the second: that of `x`, whose sign stays.
    let positive = _mm512_max_ps(_mm512_setzero_ps(), x);
    _mm512_fnmadd_ps(slope, t, _mm512_sub_ps(positive, pick(*constant)))
}

/// As [`gelu_near`], for what [`is_far`] from zero.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn gelu_far(x: __m512, powers: Powers) -> __m512 {
    // Of a number and NaN this is the second.
    let a = _mm512_min_ps(_mm512_set1_ps(NORMAL_LAST), _mm512_abs_ps(x));
    let square = _mm512_mul_ps(a, a);
    let guess = _mm512_rcp14_ps(square);
    let twice = _mm512_fnmadd_ps(square, guess, _mm512_set1_ps(2.0));
    let factor = horner(_mm512_mul_ps(guess, twice), &GELU_FAR);

    let half = _mm512_set1_ps(-0.5);
    let mut exponent = reduce(_mm512_mul_ps(square, half));
    // The rounding error of the square would be one of `e^..` times its size.
    exponent.r = _mm512_fmadd_ps(_mm512_fmsub_ps(a, a, square), half, exponent.r);
    let product = _mm512_mul_ps(powers.mantissa(&exponent), factor);
    let small = _mm512_scalef_ps(product, exponent.n);

    let positive = _mm512_max_ps(_mm512_setzero_ps(), x);
    let sign = _mm512_and_ps(x, _mm512_set1_ps(-0.0));
    _mm512_or_ps(_mm512_sub_ps(positive, small), sign)
}

/// `x` as `n ln(2) + r` with `n` a multiple of 1/16.
struct Reduced {
    r: __m512,
    n: __m512,
    /// Its low bits are those of `16 n`.
    index: __m512i,
}

#[inline]
#[target_feature(enable = "avx512f")]
fn reduce(x: __m512) -> Reduced {
    let round = _mm512_set1_ps(SIXTEENTHS);
    let shifted = _mm512_fmadd_ps(x, _mm512_set1_ps(LOG2_E), round);
    let n = _mm512_sub_ps(shifted, round);
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN2_HI), x);
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN2_LO), r);
    Reduced { r, n, index: _mm512_castps_si512(shifted) }
}

/// The sixteen powers of two that others are multiples of.
#[derive(Clone, Copy)]
struct Powers {
    rounded: __m512,
    rests: __m512,
}

impl Powers {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new() -> Self {
        Self { rounded: load(&POWERS[0]), rests: load(&POWERS[1]) }
    }

    /// What is to be multiplied by two to the power of `n` rounded down, which is what
    /// `_mm512_scalef_ps` does.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn mantissa(self, x: &Reduced) -> __m512 {
        let power = _mm512_permutexvar_ps(x.index, self.rounded);
        let rest = _mm512_permutexvar_ps(x.index, self.rests);
        // |r| <= ln(2) / 32.
        let more = _mm512_fmadd_ps(horner(x.r, &[1.0, 0.5, 1.0 / 6.0]), x.r, rest);
        _mm512_fmadd_ps(power, more, power)
    }

    /// `e^x` for `x <= 0`, which is zero from -104.5 on; `x` must not be infinite.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn exp(self, x: __m512) -> __m512 {
        let x = reduce(x);
        _mm512_scalef_ps(self.mantissa(&x), x.n)
    }
}

/// [`Math::sigmoid`](super::Math::sigmoid) of every element.
#[target_feature(enable = "avx512f,avx512dq")]
pub(super) fn sigmoid(x: &[f32], y: &mut [f32]) {
    let (powers, one) = (Powers::new(), _mm512_set1_ps(1.0));
    map(x, y, 0.0, |x| {
        // The smaller of -|x| and a number, or NaN.
        let below = _mm512_or_ps(x, _mm512_set1_ps(-0.0));
        let small = powers.exp(_mm512_max_ps(_mm512_set1_ps(SIGMOID_FIRST), below));
        let negative = _mm512_movepi32_mask(_mm512_castps_si512(x));
        let top = _mm512_mask_mov_ps(one, negative, small);
        // A division by one step of Newton's method. What is left of `top` is taken without the
        // rounding error of `1 + small`.
        let inverse = _mm512_rcp14_ps(_mm512_add_ps(one, small));
        let guess = _mm512_mul_ps(top, inverse);
        let left = _mm512_fnmadd_ps(guess, small, _mm512_sub_ps(top, guess));
        _mm512_fmadd_ps(left, inverse, guess)
    });
}

/// [`Math::softmax`](super::Math::softmax) of a row of at least 64 numbers.
#[target_feature(enable = "avx512f,avx512dq")]
pub(super) fn softmax(x: &[f32], y: &mut [f32]) {
    debug_assert!(x.len() >= 4 * LANES);
    let mut maxima = [_mm512_set1_ps(f32::NEG_INFINITY); 4];
    let rounds = x.as_chunks::<{ 4 * LANES }>().0;
    // What is left comes with some of the last round, which changes nothing.
    for x in rounds.iter().chain(x.last_chunk()) {
        for (max, x) in maxima.iter_mut().zip(x.as_chunks().0) {
            // Of a number and NaN this is the second.
            *max = _mm512_max_ps(load(x), *max);
        }
    }
    let [a, b, c, d] = maxima;
    let max = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_max_ps(a, b), _mm512_max_ps(c, d)));

    let (powers, max) = (load(&POWERS[0]), _mm512_set1_ps(max));
    let mut sums = _mm512_setzero_ps();
    map(x, y, f32::NEG_INFINITY, |x| {
        let below = _mm512_max_ps(_mm512_set1_ps(SIGMOID_FIRST), _mm512_sub_ps(x, max));
        let y = exp_of_difference(below, powers);
        sums = _mm512_add_ps(sums, y);
        y
    });

    let halves = [_mm512_castps512_ps256(sums), _mm512_extractf32x8_ps::<1>(sums)];
    let wide = halves.map(|half| _mm512_cvtps_pd(half));
    let sum = _mm512_reduce_add_pd(_mm512_add_pd(wide[0], wide[1]));
    let scale = 1.0 / sum as f32;
    y.iter_mut().for_each(|y| *y *= scale);
}

/// [`Powers::exp`] of a rounded difference: that has cost it more than it loses to a reduction by
/// ln(2) rounded, and to rounded powers.
#[inline]
#[target_feature(enable = "avx512f")]
fn exp_of_difference(x: __m512, powers: __m512) -> __m512 {
    let round = _mm512_set1_ps(SIXTEENTHS);
    let shifted = _mm512_fmadd_ps(x, _mm512_set1_ps(LOG2_E), round);
    let n = _mm512_sub_ps(shifted, round);
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN_2), x);
    let power = _mm512_permutexvar_ps(_mm512_castps_si512(shifted), powers);
    let more = _mm512_mul_ps(horner(r, &[1.0, 0.5, 1.0 / 6.0]), r);
    _mm512_scalef_ps(_mm512_fmadd_ps(power, more, power), n)
}

/// `y = f(x)`; the last register is filled up with `pad`.
#[inline]
#[target_feature(enable = "avx512f")]
fn map(x: &[f32], y: &mut [f32], pad: f32, mut f: impl FnMut(__m512) -> __m512) {
    let (registers, rest) = x.as_chunks();
    let (out, y_rest) = y[..x.len()].as_chunks_mut();
    for (x, y) in registers.iter().zip(out) {
        store(y, f(load(x)));
    }
    let mask = (1 << rest.len()) - 1;
    // SAFETY: as many lanes as there are numbers left.
    unsafe {
        let x = _mm512_mask_loadu_ps(_mm512_set1_ps(pad), mask, rest.as_ptr());
        _mm512_mask_storeu_ps(y_rest.as_mut_ptr(), mask, f(x));
    }
}

/// The polynomial with these coefficients.
#[inline]
#[target_feature(enable = "avx512f")]
fn horner<const N: usize>(x: __m512, coefficients: &[f32; N]) -> __m512 {
    let mut sum = _mm512_set1_ps(coefficients[N - 1]);
    for &c in coefficients[..N - 1].iter().rev() {
        sum = _mm512_fmadd_ps(sum, x, _mm512_set1_ps(c));
    }
    sum
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(x: &[f32; LANES]) -> __m512 {
    // SAFETY: as many numbers as the register has lanes.
    unsafe { _mm512_loadu_ps(x.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(y: &mut [f32; LANES], x: __m512) {
    // SAFETY: as above.
    unsafe { _mm512_storeu_ps(y.as_mut_ptr(), x) }
}
