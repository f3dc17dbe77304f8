//! Random numbers and dropout: element `i` is a function of seed, position and `i`.

use super::access::{Compute, Dense, Sink, float_type};
use super::parallel::{CHUNK, Shared, chunks};
use super::simd::{Isa, Kernel, dispatch};
use crate::op::{Distribution, Dropout, Random};
use crate::random::{philox_blocks, uniform_f32, uniform_f64};
use crate::{AnyTensor, DType, Element};

/// Blocks of random words that are computed side by side: one register of AVX-512.
const SIDE: usize = 16;

/// The words of [`SIDE`] blocks from `counter` on, block after block.
struct Words {
    seed: u64,
    counter: u64,
}

impl Kernel for Words {
    type Output = [u32; 4 * SIDE];
    #[inline(always)]
    fn run<I: Isa>(self) -> Self::Output {
        let words = philox_blocks::<SIDE>(self.seed, self.counter);
        std::array::from_fn(|i| words[i % 4][i / 4])
    }
}

/// Four numbers in single precision from one block.
fn block_f32(law: Distribution, words: [u32; 4]) -> [f32; 4] {
    let uniform = words.map(uniform_f32);
    match law {
        Distribution::Default => uniform,
        Distribution::Bernoulli(p) => uniform.map(|u| ((u as f64) < p) as u8 as f32),
        Distribution::Uniform(low, high) => uniform.map(|u| {
            // Rounding may reach the upper bound, which is excluded.
            let x = (low + (high - low) * u as f64) as f32;
            if x >= high as f32 && high > low { (high as f32).next_down() } else { x }
        }),
        Distribution::Normal(mean, std) => {
            let [a, b, c, d] = uniform.map(f64::from);
            let ([x, y], [z, w]) = (box_muller(a, b), box_muller(c, d));
            [x, y, z, w].map(|x| (mean + std * x) as f32)
        }
    }
}

/// Two numbers in double precision from one block.
fn block_f64(law: Distribution, [a, b, c, d]: [u32; 4]) -> [f64; 2] {
    let uniform = [uniform_f64(a, b), uniform_f64(c, d)];
    match law {
        Distribution::Default => uniform,
        Distribution::Bernoulli(p) => uniform.map(|u| (u < p) as u8 as f64),
        Distribution::Uniform(low, high) => uniform.map(|u| {
            let x = low + (high - low) * u;
            if x >= high && high > low { high.next_down() } else { x }
        }),
        Distribution::Normal(mean, std) => {
            box_muller(uniform[0], uniform[1]).map(|x| mean + std * x)
        }
    }
}

/// Two independent normal numbers from two uniform ones (Box & Muller 1958).
fn box_muller(u: f64, v: f64) -> [f64; 2] {
    // 1 - u lies in (0, 1], where the logarithm is finite.
    let radius = (-2.0 * (1.0 - u).ln()).sqrt();
    let (sin, cos) = (2.0 * std::f64::consts::PI * v).sin_cos();
    [radius * cos, radius * sin]
}

/// Fills `y`: a block of four words gives four numbers, or two of f64.
pub(super) fn random(op: &Random, y: &AnyTensor) {
    fn fill<T: Compute, const N: usize>(
        op: &Random,
        y: &AnyTensor,
        block: impl Fn([u32; 4]) -> [T; N] + Sync,
    ) {
        let per_tile = 256 / N;
        let len = y.num_elements();
        chunks(len.div_ceil(N), CHUNK / 8, |blocks| {
            let mut tile = [T::default(); 256];
            for first in blocks.clone().step_by(per_tile) {
                let count = per_tile.min(blocks.end - first);
                for (i, numbers) in tile.chunks_mut(N * SIDE).take(count.div_ceil(SIDE)).enumerate()
                {
                    let counter = op.offset.wrapping_add((first + i * SIDE) as u64);
                    let words = dispatch(Words { seed: op.seed, counter });
                    for (numbers, words) in numbers.chunks_exact_mut(N).zip(words.as_chunks().0) {
                        numbers.copy_from_slice(&block(*words));
                    }
                }
                let numbers = (count * N).min(len - first * N);
                // SAFETY: `y` is a new output, and the blocks write disjoint parts of it.
                unsafe { T::write(&tile[..numbers], y, first * N) };
            }
        });
    }
    let law = op.distribution;
    match y.dtype() {
        DType::F64 => fill(op, y, |words| block_f64(law, words)),
        dtype if dtype.is_int() || dtype == DType::Bool => {
            fill(op, y, |words| block_f32(law, words).map(|x| x.floor().to_i64()))
        }
        _ => fill(op, y, |words| block_f32(law, words)),
    }
}

/// Keeps each element with probability `1 - p`, by the numbers that [`random`] would draw in f32.
pub(super) fn dropout(op: &Dropout, x: &AnyTensor, y: &AnyTensor) {
    float_type!(x.dtype(), T => {
        let x = Dense::<T>::new(x);
        // SAFETY: `y` is the only output, and new.
        let mut y = unsafe { Sink::<T>::new(y) };
        let out = Shared::new(&mut y);
        let (keep, scale) = (1.0 - op.p, T::from_f64(1.0 / (1.0 - op.p)));
        chunks(x.len().div_ceil(4), CHUNK / 8, |blocks| {
            let range = blocks.start * 4..x.len().min(blocks.end * 4);
            // SAFETY: the ranges are disjoint.
            let y = unsafe { out.part(range.clone()) };
            let groups = y.chunks_mut(4 * SIDE).zip(x[range].chunks(4 * SIDE));
            for (first, (y, x)) in blocks.step_by(SIDE).zip(groups) {
                let words = dispatch(Words { seed: op.seed, counter: op.offset.wrapping_add(first as u64) });
                for ((y, &x), word) in y.iter_mut().zip(x).zip(words) {
                    *y = if (uniform_f32(word) as f64) < keep { x * scale } else { 0.0 };
                }
            }
        });
    })
}
