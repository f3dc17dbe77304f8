//! Folds that vectorise, over fixed lanes and a fixed tree.

use super::float::Float;

/// Partial results of a fold: a register of f32. A slice ends in this many, and a tree joins them.
pub(super) const LANES: usize = 16;
/// Partial results of a long loop: four AVX-512 registers of f32, whose additions hide the latency
/// of one. Four arrays of [`LANES`] would be unrolled and end up as single numbers (up to 15 times
/// slower).
const ROUND: usize = 64;

/// Folds `f(x)` over a slice with `join`, whose neutral element is `start`.
#[inline(always)]
pub(super) fn fold<T: Copy>(
    x: &[T],
    start: T,
    f: impl Fn(T) -> T,
    join: impl Fn(T, T) -> T + Copy,
) -> T {
    tree(lanes(x, start, f, join), join)
}

/// [`fold`] as far as its lanes.
#[inline(always)]
pub(super) fn lanes<T: Copy>(
    x: &[T],
    start: T,
    f: impl Fn(T) -> T,
    join: impl Fn(T, T) -> T + Copy,
) -> [T; LANES] {
    lanes2(x, x, start, |x, _| f(x), join)
}

/// As [`lanes`] of `f(x, y)` over two slices of one length.
#[inline(always)]
fn lanes2<T: Copy>(
    x: &[T],
    y: &[T],
    start: T,
    f: impl Fn(T, T) -> T,
    join: impl Fn(T, T) -> T + Copy,
) -> [T; LANES] {
    let mut joined = [start; LANES];
    if let (Some(x_last), Some(y_last)) = (x.last_chunk::<ROUND>(), y.last_chunk::<ROUND>()) {
        let ((x_rounds, rest), (y_rounds, _)) = (x.as_chunks::<ROUND>(), y.as_chunks::<ROUND>());
        let mut lanes = [start; ROUND];
        for (x, y) in x_rounds.iter().zip(y_rounds) {
            // A new array: one that is changed in a loop over its lanes stays in memory, and the
            // sum of 1M numbers took 180 us instead of 44. In the short loops below it is the other
            // way round.
            lanes = std::array::from_fn(|i| join(lanes[i], f(x[i], y[i])));
        }
        if !rest.is_empty() {
            // The last round once more, without what the one before had of it.
            let done = (ROUND - rest.len()) as u32;
            lanes = std::array::from_fn(|i| {
                let value = f(x_last[i], y_last[i]);
                join(lanes[i], if i as u32 >= done { value } else { start })
            });
        }
        for i in 0..LANES {
            let (low, high) = (join(lanes[i], lanes[i + 16]), join(lanes[i + 32], lanes[i + 48]));
            joined[i] = join(low, high);
        }
        return joined;
    }
    let (Some(x_last), Some(y_last)) = (x.last_chunk::<LANES>(), y.last_chunk::<LANES>()) else {
        for (lane, (&x, &y)) in joined.iter_mut().zip(x.iter().zip(y)) {
            *lane = join(*lane, f(x, y));
        }
        return joined;
    };
    let ((x_blocks, x), (y_blocks, _)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in x_blocks.iter().zip(y_blocks) {
        for i in 0..LANES {
            joined[i] = join(joined[i], f(x[i], y[i]));
        }
    }
    if !x.is_empty() {
        // As above: quicker than one by one.
        let done = LANES - x.len();
        for i in 0..LANES {
            let value = f(x_last[i], y_last[i]);
            joined[i] = join(joined[i], if i >= done { value } else { start });
        }
    }
    joined
}

/// Joins lanes in pairs.
#[inline(always)]
pub(super) fn tree<T: Copy>(x: [T; LANES], join: impl Fn(T, T) -> T) -> T {
    let x: [T; 8] = std::array::from_fn(|i| join(x[i], x[i + 8]));
    let x: [T; 4] = std::array::from_fn(|i| join(x[i], x[i + 4]));
    let x: [T; 2] = std::array::from_fn(|i| join(x[i], x[i + 2]));
    join(x[0], x[1])
}

/// The sum of lanes, in f64: the compiler makes a tree of f32 from single numbers that go through
/// memory, which for rows of 250 takes half as long again as all the rest.
#[inline(always)]
pub(super) fn total<T: Float>(lanes: [T; LANES]) -> T {
    let mut wide = [0.0; LANES];
    for i in 0..LANES {
        wide[i] = lanes[i].into();
    }
    T::from_f64(tree(wide, |a: f64, b| a + b))
}

/// The sum of `f(x)`.
#[inline(always)]
pub(super) fn sum<T: Float>(x: &[T], f: impl Fn(T) -> T) -> T {
    total(lanes(x, T::ZERO, f, |a, b| a + b))
}

/// The sum of `f(x, y)` over two slices of one length.
#[inline(always)]
pub(super) fn sum2<T: Float>(x: &[T], y: &[T], f: impl Fn(T, T) -> T) -> T {
    total(lanes2(x, y, T::ZERO, f, |a, b| a + b))
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
    total(lanes)
}

/// The largest element, passing over NaN: what shifts a row before its exponentials, which carry a
/// NaN on by themselves.
#[inline(always)]
pub(super) fn max<T: Float>(x: &[T]) -> T {
    fold(x, T::LOWEST, |x| x, T::larger)
}
