//! Random numbers, one by one.

use super::Array;
use crate::op::{Distribution, Multinomial, Random};
use crate::random::{philox, uniform_f32, uniform_f64};
use crate::{Error, Result};

pub(super) fn random(op: &Random, shape: &[usize]) -> Array {
    let per_block = Random::per_block(op.meta.dtype);
    let uniform = |i: usize| {
        let words = philox(op.seed, op.offset + (i / per_block) as u64);
        let k = i % per_block;
        if per_block == 2 {
            uniform_f64(words[2 * k], words[2 * k + 1])
        } else {
            uniform_f32(words[k]) as f64
        }
    };
    let value = |i: usize| match op.law() {
        Distribution::Default => uniform(i),
        Distribution::Bernoulli(p) => (uniform(i) < p) as u8 as f64,
        Distribution::Uniform(low, high) => low + (high - low) * uniform(i),
        // Neighbours share a radius: one takes the cosine, the other the sine.
        Distribution::Normal(mean, std) => {
            let first = i - i % 2;
            let radius = (-2.0 * (1.0 - uniform(first)).ln()).sqrt();
            let angle = 2.0 * std::f64::consts::PI * uniform(first + 1);
            mean + std * radius * if i == first { angle.cos() } else { angle.sin() }
        }
    };
    let whole = |x: f64| if op.meta.dtype.is_int() { x.floor() } else { x };
    let elements = shape.iter().product();
    Array { shape: shape.to_vec(), values: (0..elements).map(|i| whole(value(i))).collect() }
}

pub(super) fn multinomial(op: &Multinomial, x: &Array, shape: &[usize]) -> Result<Array> {
    let categories = *x.shape.last().expect("infer checked the rank");
    let uniform = |i: usize| {
        let words = philox(op.seed, op.offset + i as u64);
        uniform_f64(words[0], words[1])
    };
    let mut y = Array::zeros(shape);
    let rows = y.values.chunks_mut(op.samples).zip(x.values.chunks(categories)).enumerate();
    for (row, (y, weights)) in rows {
        if weights.iter().filter(|&&w| w > 0.0).count() < if op.replacement { 1 } else { y.len() } {
            return Err(Error::Argument { op: "multinomial", rule: "too few weights".into() });
        }
        if op.replacement {
            let total: f64 = weights.iter().sum();
            for (s, y) in y.iter_mut().enumerate() {
                let (at, mut sum) = (uniform(row * op.samples + s) * total, 0.0);
                let passes = |&w: &f64| {
                    sum += w;
                    sum <= at
                };
                *y = weights.iter().copied().take_while(passes).count() as f64;
            }
        } else {
            let time = |c: usize| -(1.0 - uniform(row * categories + c)).ln() / weights[c];
            let mut order: Vec<usize> = (0..categories).filter(|&c| weights[c] > 0.0).collect();
            order.sort_by(|&a, &b| time(a).total_cmp(&time(b)));
            y.iter_mut().zip(order).for_each(|(y, c)| *y = c as f64);
        }
    }
    Ok(y)
}
