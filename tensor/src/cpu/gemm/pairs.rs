//! Products of bf16 numbers two steps of depth at a time.
//!
//! The instruction `vdpbf16ps` adds `a0 b0 + a1 b1` to each f32 lane, where a lane of its operands
//! holds two bf16 numbers: twice the work of an f32 multiply-add. So two neighbouring steps of
//! depth are packed as one element of 32 bits, and all that lies around the micro-kernel handles
//! those as it does f32, over half of the depth. Subnormal numbers count as zero.

use super::super::simd::{Isa, Kernel, dispatch};
use super::Threads;
use super::kernel::Tiles;
use super::pack::{Direct, Source, Strided};
use super::product::Product;
use half::bf16;
use std::ops::Range;

/// The micro-kernels, if this processor has the instruction.
fn tiles() -> Option<&'static Tiles<f32>> {
    #[cfg(target_arch = "x86_64")]
    {
        use crate::cpu::simd::{Level, level};
        if level() == Level::Avx512 && is_x86_feature_detected!("avx512bf16") {
            return Some(&super::kernel::AVX512_BF16);
        }
    }
    None
}

/// Computes a product whose operands are both stored as bf16. Whether it was done: not without the
/// instruction, and not for products with a vector, which wait for memory however they multiply.
///
/// # Safety
/// As for [`Product::run`].
pub(super) unsafe fn run(product: &Product<'_, f32>, threads: Threads) -> bool {
    let Some((a, b)) = product.a.halves().zip(product.b.halves()) else { return false };
    let k = product.k;
    let Some(tiles) = tiles().filter(|_| product.m > 1 && product.n > 1 && k > 1) else {
        return false;
    };
    // SAFETY: the makers of the operands vouch for all elements of the product.
    let (words_a, words_b) = unsafe { (words(a, k), words(b, k)) };
    let (pairs_a, pairs_b) = (Pairs { at: a, depth: k }, Pairs { at: b, depth: k });
    let a: &dyn Source<f32> = words_a.as_ref().map_or(&pairs_a as _, |words| words as _);
    let b: &dyn Source<f32> = words_b.as_ref().map_or(&pairs_b as _, |words| words as _);
    // SAFETY: passed on to the caller; the processor has the instruction set of `tiles`.
    unsafe { Product { tiles, k: k.div_ceil(2), a, b, ..*product }.run(threads) };
    true
}

/// An operand of `depth` steps whose pairs each lie in memory as a word of its own: then they are
/// read and packed as f32 is.
///
/// # Safety
/// All elements of the operand can be read.
unsafe fn words<'a>(at: Direct<bf16>, depth: usize) -> Option<Strided<'a, f32>> {
    let Direct { start, line_stride, depth_stride } = at;
    let start = start.cast::<f32>();
    let pairs = depth_stride == 1 && line_stride % 2 == 0 && depth.is_multiple_of(2);
    // SAFETY: passed on to the caller; any bits are an f32.
    (pairs && start.is_aligned()).then(|| unsafe { Strided::new(start, line_stride / 2, 1) })
}

/// An operand whose pairs of neighbouring steps of depth are packed as the bits of an `f32`.
struct Pairs {
    at: Direct<bf16>,
    /// Steps of depth. If it is odd, a zero follows the last one.
    depth: usize,
}

impl Source<f32> for Pairs {
    fn pack(&self, lines: Range<usize>, depth: Range<usize>, width: usize, out: &mut [f32]) {
        let panels = lines.len().div_ceil(width);
        assert_eq!(out.len(), panels * width * depth.len(), "panels of another size");
        dispatch(PackPairs { from: self.at, steps: self.depth, lines, depth, width, out });
    }
}

/// [`Source::pack`] of [`Pairs`].
struct PackPairs<'a> {
    from: Direct<bf16>,
    /// Steps of depth of the whole operand.
    steps: usize,
    lines: Range<usize>,
    /// In pairs.
    depth: Range<usize>,
    width: usize,
    out: &'a mut [f32],
}

impl Kernel for PackPairs<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { from, steps, lines, depth, width, out } = self;
        let panels = out.chunks_exact_mut(width * depth.len());
        for (line, panel) in lines.clone().step_by(width).zip(panels) {
            let count = width.min(lines.end - line);
            for (pair, out) in depth.clone().zip(panel.chunks_exact_mut(width)) {
                let (values, zeros) = out.split_at_mut(count);
                if !zeros.is_empty() {
                    zeros.fill(0.0);
                }
                let (first, second) = (2 * pair, 2 * pair + 1);
                if from.line_stride == 1 && second < steps {
                    // SAFETY: whoever made the operand promised that its elements can be read, and
                    // `count` lines from `line` on lie within it.
                    let row =
                        |k: usize| unsafe { std::slice::from_raw_parts(from.at(line, k), count) };
                    words_of(row(first), row(second), values);
                } else {
                    for (i, value) in values.iter_mut().enumerate() {
                        // SAFETY: as above; a step beyond the last one is not read.
                        *value = unsafe {
                            let second = (second < steps).then(|| *from.at(line + i, second));
                            word(*from.at(line + i, first), second.unwrap_or(bf16::ZERO))
                        };
                    }
                }
            }
        }
    }
}

/// The words of two steps of depth. By sixteens of known length: a product of 256 x 256 x 256 takes
/// 97 us with it, and 107 with a loop over slices of any length.
#[inline(always)]
fn words_of(first: &[bf16], second: &[bf16], out: &mut [f32]) {
    let ((a, a_rest), (b, b_rest)) = (first.as_chunks::<16>(), second.as_chunks::<16>());
    let (whole, rest) = out.as_chunks_mut::<16>();
    for ((out, a), b) in whole.iter_mut().zip(a).zip(b) {
        *out = std::array::from_fn(|i| word(a[i], b[i]));
    }
    for ((out, &a), &b) in rest.iter_mut().zip(a_rest).zip(b_rest) {
        *out = word(a, b);
    }
}

/// Two numbers as the bits of one, the first in the lower half.
#[inline(always)]
fn word(first: bf16, second: bf16) -> f32 {
    f32::from_bits(first.to_bits() as u32 | (second.to_bits() as u32) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers with few bits, in an order that repeats nowhere within a test.
    fn numbers(len: usize, seed: usize) -> Vec<bf16> {
        (0..len).map(|i| bf16::from_f32(((i * 7919 + seed) % 61) as f32 / 16.0 - 1.9)).collect()
    }

    #[test]
    fn products_of_pairs_are_those_of_single_numbers() {
        if tiles().is_none() {
            eprintln!("skipped: this processor has no AVX512-BF16");
            return;
        }
        let sizes =
            [(2, 2, 2), (3, 5, 7), (15, 33, 64), (29, 31, 130), (200, 70, 1031), (64, 300, 96)];
        for (m, n, k) in sizes {
            // Rows or columns contiguous, from an even or an odd offset, with an even or odd stride.
            for (a_depth_first, b_depth_first, skip, pad) in [
                (true, false, 0, 0),
                (true, true, 0, 0),
                (false, false, 0, 0),
                (false, true, 1, 0),
                (true, true, 1, 1),
                (true, false, 1, 2),
            ] {
                let strides = |depth_first: bool, lines: usize| {
                    if depth_first { (k + pad, 1) } else { (1, lines + pad) }
                };
                let ((a_line, a_depth), (b_line, b_depth)) =
                    (strides(a_depth_first, m), strides(b_depth_first, n));
                let a = numbers(skip + (m + pad) * (k + pad), 3);
                let b = numbers(skip + (n + pad) * (k + pad), 11);
                let mut c = vec![f32::NAN; m * n];
                let strided = |x: &[bf16], line: usize, depth: usize| {
                    // SAFETY: every line and step lies within `x`, which outlives the product.
                    unsafe { Strided::new(x[skip..].as_ptr(), line as isize, depth as isize) }
                };
                let (left, right) = (strided(&a, a_line, a_depth), strided(&b, b_line, b_depth));
                let product = Product {
                    tiles: crate::cpu::gemm::kernel::tiles_f32(crate::cpu::simd::level()),
                    m,
                    n,
                    k,
                    a: &left,
                    b: &right,
                    c: c.as_mut_ptr(),
                    c_stride: n,
                    accumulate: false,
                    epilogue: None,
                };
                // SAFETY: `c` has `m` rows of `n`.
                assert!(unsafe { run(&product, Threads::Pool) });
                for (at, &c) in c.iter().enumerate() {
                    let (i, j) = (at / n, at % n);
                    let product = |p: usize| {
                        let x = a[skip + i * a_line + p * a_depth].to_f64();
                        x * b[skip + j * b_line + p * b_depth].to_f64()
                    };
                    let (sum, size) = (0..k)
                        .map(product)
                        .fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()));
                    let error = (c as f64 - sum).abs();
                    assert!(error <= 1e-6 * size, "{m} {n} {k}: {c} is not {sum}");
                }
            }
        }
    }
}
