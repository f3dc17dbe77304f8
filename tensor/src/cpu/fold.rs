//! Folds that vectorise, over fixed lanes and a fixed tree.

use super::float::Float;

/// Partial results of a fold: four AVX-512 registers of f32, whose additions hide the latency of
/// one. A loop over so many is vectorised, and they stay in registers; four arrays of [`BLOCK`]
/// would be unrolled first and end up as single numbers (up to 15 times slower).
const LANES: usize = 64;
/// Elements of a block of the end: one register.
const BLOCK: usize = 16;

/// Folds `f(x)` over a slice with `join`, whose neutral element is `start`.
#[inline(always)]
pub(super) fn fold<T: Copy>(
    x: &[T],
    start: T,
    f: impl Fn(T) -> T,
    join: impl Fn(T, T) -> T + Copy,
) -> T {
    fold2(x, x, start, |x, _| f(x), join)
}

/// Folds `f(x, y)` over two slices of one length with `join`, whose neutral element is `start`.
#[inline(always)]
pub(super) fn fold2<T: Copy>(
    x: &[T],
    y: &[T],
    start: T,
    f: impl Fn(T, T) -> T,
    join: impl Fn(T, T) -> T + Copy,
) -> T {
    if x.len() < BLOCK {
        return one_by_one(x, y, start, f, join);
    }
    let ((x_blocks, x), (y_blocks, y)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    let mut lanes = [start; LANES];
    for (x, y) in x_blocks.iter().zip(y_blocks) {
        for i in 0..LANES {
            lanes[i] = join(lanes[i], f(x[i], y[i]));
        }
    }
    let ((x_blocks, x), (y_blocks, y)) = (x.as_chunks::<BLOCK>(), y.as_chunks::<BLOCK>());
    let mut joined = [start; BLOCK];
    for i in 0..BLOCK {
        let (low, high) = (join(lanes[i], lanes[i + 16]), join(lanes[i + 32], lanes[i + 48]));
        joined[i] = join(low, high);
    }
    for (x, y) in x_blocks.iter().zip(y_blocks) {
        for i in 0..BLOCK {
            joined[i] = join(joined[i], f(x[i], y[i]));
        }
    }
    join(tree(joined, join), one_by_one(x, y, start, f, join))
}

/// Not a closure of [`fold2`], which might not be inlined.
#[inline(always)]
fn one_by_one<T: Copy>(
    x: &[T],
    y: &[T],
    start: T,
    f: impl Fn(T, T) -> T,
    join: impl Fn(T, T) -> T,
) -> T {
    x.iter().zip(y).fold(start, |total, (&x, &y)| join(total, f(x, y)))
}

/// Joins the lanes of a register in pairs.
#[inline(always)]
fn tree<T: Copy>(x: [T; BLOCK], join: impl Fn(T, T) -> T) -> T {
    let x: [T; 8] = std::array::from_fn(|i| join(x[i], x[i + 8]));
    let x: [T; 4] = std::array::from_fn(|i| join(x[i], x[i + 4]));
    let x: [T; 2] = std::array::from_fn(|i| join(x[i], x[i + 2]));
    join(x[0], x[1])
}

/// The sum of `f(x)`.
#[inline(always)]
pub(super) fn sum<T: Float>(x: &[T], f: impl Fn(T) -> T) -> T {
    fold(x, T::ZERO, f, |a, b| a + b)
}

/// The sum of `f(x, y)` over two slices of one length.
#[inline(always)]
pub(super) fn sum2<T: Float>(x: &[T], y: &[T], f: impl Fn(T, T) -> T) -> T {
    fold2(x, y, T::ZERO, f, |a, b| a + b)
}

/// The sum of `f(x)`, where `f(pad)` is zero. The last block is padded: for a function as long as an
/// exponential that is much quicker than one by one.
#[inline(always)]
pub(super) fn sum_padded<T: Float>(x: &[T], pad: T, f: impl Fn(T) -> T) -> T {
    let (blocks, tail) = x.as_chunks::<BLOCK>();
    let mut last = [pad; BLOCK];
    last[..tail.len()].copy_from_slice(tail);
    let mut lanes = [T::ZERO; BLOCK];
    for block in blocks.iter().chain([&last]) {
        for i in 0..BLOCK {
            lanes[i] += f(block[i]);
        }
    }
    tree(lanes, |a, b| a + b)
}

/// The largest element, passing over NaN: what shifts a row before its exponentials, which carry a
/// NaN on by themselves.
#[inline(always)]
pub(super) fn max<T: Float>(x: &[T]) -> T {
    fold(x, T::LOWEST, |x| x, T::larger)
}
