//! Folds that vectorise, over fixed lanes and a fixed tree.
//!
//! The lanes stay in registers only if every index into them is a constant, so the elements that
//! fill no whole block are folded apart.

use super::float::Float;

/// Partial results of a fold: one AVX-512 register of f32. Loops over so few are unrolled before
/// anything else, which is what brings the lanes into registers.
const LANES: usize = 16;

/// Folds `f(x)` over a slice with `join`, whose neutral element is `start`.
#[inline(always)]
pub(super) fn fold<T: Copy>(
    x: &[T],
    start: T,
    f: impl Fn(T) -> T,
    join: impl Fn(T, T) -> T + Copy,
) -> T {
    let (blocks, tail) = x.as_chunks::<LANES>();
    let rest = tail.iter().fold(start, |total, &x| join(total, f(x)));
    if blocks.is_empty() {
        return rest;
    }
    // Four chains of additions hide the latency of one.
    let (fours, ones) = blocks.as_chunks::<4>();
    let mut lanes = [[start; LANES]; 4];
    let [a, b, c, d] = &mut lanes;
    for [w, x, y, z] in fours {
        for i in 0..LANES {
            a[i] = join(a[i], f(w[i]));
        }
        for i in 0..LANES {
            b[i] = join(b[i], f(x[i]));
        }
        for i in 0..LANES {
            c[i] = join(c[i], f(y[i]));
        }
        for i in 0..LANES {
            d[i] = join(d[i], f(z[i]));
        }
    }
    for x in ones {
        for i in 0..LANES {
            a[i] = join(a[i], f(x[i]));
        }
    }
    for i in 0..LANES {
        a[i] = join(join(a[i], b[i]), join(c[i], d[i]));
    }
    join(tree(*a, join), rest)
}

/// Joins the lanes in pairs.
#[inline(always)]
fn tree<T: Copy>(x: [T; LANES], join: impl Fn(T, T) -> T) -> T {
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
    let ((x_blocks, x_tail), (y_blocks, y_tail)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    let pairs = x_tail.iter().zip(y_tail);
    let rest = pairs.fold(T::ZERO, |total, (&x, &y)| total + f(x, y));
    if x_blocks.is_empty() {
        return rest;
    }
    let mut lanes = [T::ZERO; LANES];
    for (x, y) in x_blocks.iter().zip(y_blocks) {
        for i in 0..LANES {
            lanes[i] += f(x[i], y[i]);
        }
    }
    tree(lanes, |a, b| a + b) + rest
}

/// The sum of `f(x)`, where `f(pad)` is zero. The last block is padded: for a function as long as an
/// exponential that is much quicker than one by one.
#[inline(always)]
pub(super) fn sum_padded<T: Float>(x: &[T], pad: T, f: impl Fn(T) -> T) -> T {
    let (blocks, tail) = x.as_chunks::<LANES>();
    let mut last = [pad; LANES];
    last[..tail.len()].copy_from_slice(tail);
    let mut lanes = [T::ZERO; LANES];
    for block in blocks.iter().chain([&last]) {
        for i in 0..LANES {
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
