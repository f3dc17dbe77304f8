//! Random numbers and dropout: element `i` is a function of seed, position and `i`.

use super::access::{Compute, Dense, Sink, float_type};
use super::math::Math;
use super::parallel::{CHUNK, Shared, chunks};
use super::simd::{Baseline, Isa, Kernel, dispatch};
use crate::op::{Distribution, Dropout, Multinomial, Random, Sample};
use crate::random::{philox_blocks, uniform_f32, uniform_f64};
use crate::{AnyTensor, DType, Element, Error, Result};

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
        let words = philox_blocks::<SIDE>(self.seed, self.counter, 0);
        std::array::from_fn(|i| words[i % 4][i / 4])
    }
}

/// The numbers of [`SIDE`] blocks in single precision, as vectors: four from each block.
struct Singles {
    seed: u64,
    counter: u64,
    law: Distribution,
}

impl Kernel for Singles {
    type Output = [f32; 4 * SIDE];
    #[inline(always)]
    fn run<I: Isa>(self) -> Self::Output {
        let words = philox_blocks::<SIDE>(self.seed, self.counter, 0);
        let mut x = words.map(|words| words.map(uniform_f32));
        match self.law {
            Distribution::Default => {}
            Distribution::Bernoulli(p) => {
                x = x.map(|x| x.map(|u| ((u as f64) < p) as u8 as f32));
            }
            Distribution::Uniform(low, high) => {
                // Rounding may reach the upper bound, which is excluded.
                let last = if high > low { (high as f32).next_down() } else { high as f32 };
                let scaled = |u: f32| (low + (high - low) * u as f64) as f32;
                x = x.map(|x| x.map(|u| if scaled(u) > last { last } else { scaled(u) }));
            }
            Distribution::Normal(mean, std) => {
                for first in [0, 2] {
                    for i in 0..SIDE {
                        // As `box_muller`, with half a turn less to keep the angle small. Without
                        // fused instructions, whatever `I` has, so that every processor draws the
                        // same bits.
                        let radius = (-2.0 * Math::ln::<Baseline>(1.0 - x[first][i])).sqrt();
                        let angle = std::f32::consts::TAU * (x[first + 1][i] - 0.5);
                        let scaled = |x: f32| (mean - std * (radius * x) as f64) as f32;
                        x[first][i] = scaled(Math::cos::<Baseline>(angle));
                        x[first + 1][i] = scaled(Math::sin::<Baseline>(angle));
                    }
                }
            }
        }
        std::array::from_fn(|i| x[i % 4][i / 4])
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

/// Fills `y`: a block of four words gives four numbers, or two of double precision.
pub(super) fn random(op: &Random, y: &AnyTensor) {
    let (seed, law) = (op.seed, op.law());
    let singles = |counter| dispatch(Singles { seed, counter, law });
    match y.dtype() {
        DType::F64 => fill(op, y, doubles(seed, law, |x| x)),
        dtype if dtype.is_int() => fill(op, y, doubles(seed, law, |x| x.floor() as i64)),
        DType::Bool => fill(op, y, |counter, numbers: &mut [i64]| {
            numbers.iter_mut().zip(singles(counter)).for_each(|(y, x)| *y = (x != 0.0) as i64);
        }),
        _ => fill(op, y, |counter, numbers: &mut [f32]| {
            numbers.copy_from_slice(&singles(counter)[..numbers.len()]);
        }),
    }
}

/// Fills two numbers of double precision for each block from a counter on.
fn doubles<T>(
    seed: u64,
    law: Distribution,
    narrow: impl Fn(f64) -> T + Sync,
) -> impl Fn(u64, &mut [T]) + Sync {
    move |counter, numbers| {
        let words = dispatch(Words { seed, counter });
        for (numbers, words) in numbers.chunks_mut(2).zip(words.as_chunks().0) {
            numbers.iter_mut().zip(block_f64(law, *words)).for_each(|(y, x)| *y = narrow(x));
        }
    }
}

/// Fills `y` by `group`, which is given a counter and the place for the numbers of up to [`SIDE`]
/// blocks from there on.
fn fill<T: Compute>(op: &Random, y: &AnyTensor, group: impl Fn(u64, &mut [T]) + Sync) {
    let (len, per_block) = (y.num_elements(), Random::per_block(y.dtype()));
    chunks(len.div_ceil(per_block), CHUNK / 8, |blocks| {
        let mut tile = [T::default(); 4 * SIDE];
        for first in blocks.clone().step_by(SIDE) {
            let (start, end) = (first * per_block, blocks.end.min(first + SIDE) * per_block);
            let numbers = &mut tile[..end.min(len) - start];
            group(op.offset.wrapping_add(first as u64), numbers);
            // SAFETY: `y` is a new output, and the blocks write disjoint parts of it.
            unsafe { T::write(numbers, y, start) };
        }
    });
}

/// One number for each element of `x`, which is the parameter of its law.
pub(super) fn sample(op: &Sample, x: &AnyTensor, y: &AnyTensor) {
    float_type!(x.dtype(), T => {
        let x = Dense::<T>::new(x);
        // SAFETY: `y` is the only output, and new.
        let mut y = unsafe { Sink::<T>::new(y) };
        let out = Shared::new(&mut y);
        chunks(x.len(), CHUNK / 64, |range| {
            // SAFETY: the ranges are disjoint.
            let y = unsafe { out.part(range.clone()) };
            for (i, y) in range.zip(y) {
                let counter = op.offset.wrapping_add(i as u64);
                *y = T::from_f64(crate::random::sample(op.kind, op.seed, counter, x[i].to_f64()));
            }
        });
    })
}

/// Indices for each row of weights.
pub(super) fn multinomial(op: &Multinomial, x: &AnyTensor, y: &AnyTensor) -> Result<()> {
    let categories = *x.shape_ref().last().expect("infer checked the rank");
    let rows = x.num_elements() / categories;
    // SAFETY: `y` is the only output, and new.
    let mut y = unsafe { Sink::<i64>::new(y) };
    let out = Shared::new(&mut y);
    let failed = std::sync::Mutex::new(None);
    float_type!(x.dtype(), T => {
        let x = Dense::<T>::new(x); // [rows, categories]
        super::parallel::rows(rows, 16 * (categories + op.samples), |range| {
            let mut work = Vec::new();
            for row in range {
                let weights = x[row * categories..][..categories].iter().map(|w| w.to_f64());
                // SAFETY: the rows are disjoint.
                let y = unsafe { out.part(row * op.samples..(row + 1) * op.samples) };
                let drawn = if op.replacement {
                    with_replacement(op, row, weights, &mut work, y)
                } else {
                    without_replacement(op, row, weights, y)
                };
                if let Err(error) = drawn {
                    *failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
                }
            }
        });
    });
    failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).map_or(Ok(()), Err)
}

/// The number in `[0, 1)` at block `i` of the operation.
fn uniform_at(op: &Multinomial, i: usize) -> f64 {
    let words = crate::random::philox(op.seed, op.offset.wrapping_add(i as u64));
    uniform_f64(words[0], words[1])
}

fn check_weight(weight: f64) -> Result<f64> {
    if weight >= 0.0 && weight.is_finite() {
        return Ok(weight);
    }
    let rule = format!("weights must be finite and not negative, found {weight}");
    Err(Error::Argument { op: "multinomial", rule })
}

/// Where a uniform number falls among the running sums of the weights.
fn with_replacement(
    op: &Multinomial,
    row: usize,
    weights: impl Iterator<Item = f64>,
    sums: &mut Vec<f64>,
    y: &mut [i64],
) -> Result<()> {
    let mut total = 0.0;
    sums.clear();
    for weight in weights {
        total += check_weight(weight)?;
        sums.push(total);
    }
    if !(total > 0.0 && total.is_finite()) {
        let rule = format!("the sum of the weights must be positive and finite, found {total}");
        return Err(Error::Argument { op: "multinomial", rule });
    }
    for (s, y) in y.iter_mut().enumerate() {
        let at = uniform_at(op, row * op.samples + s) * total;
        // Rounding may reach the total: then it is the last category with a weight.
        let last = sums.partition_point(|&sum| sum < total);
        *y = sums.partition_point(|&sum| sum <= at).min(last) as i64;
    }
    Ok(())
}

/// Each category arrives after an exponential time with its weight as the rate; the first ones are
/// drawn (Efraimidis & Spirakis 2006).
fn without_replacement(
    op: &Multinomial,
    row: usize,
    weights: impl ExactSizeIterator<Item = f64>,
    y: &mut [i64],
) -> Result<()> {
    let categories = weights.len();
    let mut times = Vec::with_capacity(categories);
    for (c, weight) in weights.enumerate() {
        if check_weight(weight)? > 0.0 {
            let time = -(1.0 - uniform_at(op, row * categories + c)).ln() / weight;
            times.push((time, c));
        }
    }
    if times.len() < y.len() {
        let rule =
            format!("{} samples can not be drawn from {} weights above zero", y.len(), times.len());
        return Err(Error::Argument { op: "multinomial", rule });
    }
    let first = y.len();
    if first < times.len() {
        times.select_nth_unstable_by(first, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    }
    times[..first].sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    y.iter_mut().zip(times).for_each(|(y, (_, c))| *y = c as i64);
    Ok(())
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
