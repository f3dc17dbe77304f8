//! Laws that no fixed number of uniform numbers gives: one position draws as often as it must.

use super::{philox_blocks, uniform_f64};
use crate::op::SampleKind;

/// The uniform numbers of one position.
struct Stream {
    seed: u64,
    counter: u64,
    lane: u32,
    /// The second number of the last block, if it was not taken yet.
    spare: Option<f64>,
}

impl Stream {
    /// The next number in `(0, 1)`.
    fn uniform(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let words = philox_blocks::<1>(self.seed, self.counter, self.lane).map(|[word]| word);
        self.lane = self.lane.wrapping_add(1);
        // Half a step away from zero.
        let open = |high, low| uniform_f64(high, low) + 0.5 / (1u64 << 53) as f64;
        self.spare = Some(open(words[2], words[3]));
        open(words[0], words[1])
    }

    /// A normal number (Box & Muller 1958; the second of the pair is not used).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.uniform()).cos()
    }
}

/// The number at position `counter`; NaN if `parameter` is none of the law.
pub(crate) fn sample(kind: SampleKind, seed: u64, counter: u64, parameter: f64) -> f64 {
    let mut stream = Stream { seed, counter, lane: 0, spare: None };
    match kind {
        SampleKind::Gamma => log_gamma(&mut stream, parameter).exp(),
        SampleKind::LogGamma => log_gamma(&mut stream, parameter),
        SampleKind::Poisson => poisson(&mut stream, parameter),
        SampleKind::TruncatedNormal { std, low, high } => {
            let (a, b) = ((low - parameter) / std, (high - parameter) / std);
            (parameter + std * truncated(&mut stream, a, b)).clamp(low, high)
        }
    }
}

/// The logarithm of a gamma number (Marsaglia & Tsang 2000).
fn log_gamma(stream: &mut Stream, concentration: f64) -> f64 {
    if !(concentration >= 0.0 && concentration.is_finite()) {
        return f64::NAN;
    }
    if concentration < 1.0 {
        // Of one more, times `u^(1 / concentration)`.
        let more = stream.uniform().ln() / concentration;
        return more + log_gamma(stream, concentration + 1.0);
    }
    let d = concentration - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = stream.normal();
        let v = (1.0 + c * x).powi(3);
        let log = stream.uniform().ln();
        if v > 0.0 && log < 0.5 * x * x + d - d * v + d * v.ln() {
            return (d * v).ln();
        }
    }
}

/// A Poisson number: counted for small rates, by transformed rejection for others (Hörmann 1993).
fn poisson(stream: &mut Stream, rate: f64) -> f64 {
    if !(rate >= 0.0 && rate.is_finite()) {
        return f64::NAN;
    }
    if rate < 10.0 {
        // Arrivals before time one.
        let (limit, mut product, mut count) = ((-rate).exp(), stream.uniform(), 0.0);
        while product > limit {
            product *= stream.uniform();
            count += 1.0;
        }
        return count;
    }
    let b = 0.931 + 2.53 * rate.sqrt();
    let a = -0.059 + 0.02483 * b;
    let inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
    let squeeze = 0.9277 - 3.6224 / (b - 2.0);
    loop {
        let (u, v) = (stream.uniform() - 0.5, stream.uniform());
        let us = 0.5 - u.abs();
        let k = ((2.0 * a / us + b) * u + rate + 0.43).floor();
        if us >= 0.07 && v <= squeeze {
            return k;
        }
        if k < 0.0 || (us < 0.013 && v > us) {
            continue;
        }
        let height = v * inverse_alpha / (a / (us * us) + b);
        if height.ln() <= k * rate.ln() - rate - log_factorial(k) {
            return k;
        }
    }
}

/// `ln(k!)`: by Stirling's series, which is exact to 1e-12 from ten on.
fn log_factorial(k: f64) -> f64 {
    if k < 10.0 {
        return (2..=k as u32).map(|i| f64::from(i).ln()).sum();
    }
    let x = k + 1.0;
    let series = (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1260.0 * x * x)) / (x * x)) / x;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series
}

/// A standard normal number in `a..=b` (Robert 1995), with `a < b`.
fn truncated(stream: &mut Stream, a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    if b < 0.0 {
        return -truncated(stream, -b, -a);
    }
    if a <= 0.0 {
        let wide = b - a > (2.0 * std::f64::consts::PI).sqrt();
        loop {
            // Normal numbers that miss, or uniform ones that are too likely, are drawn again.
            let x = if wide { stream.normal() } else { a + (b - a) * stream.uniform() };
            if (a..=b).contains(&x) && (wide || stream.uniform() < (-0.5 * x * x).exp()) {
                return x;
            }
        }
    }
    // In the tail: exponential numbers, or uniform ones where the cut leaves little of it.
    let rate = 0.5 * (a + (a * a + 4.0).sqrt());
    let narrow = (b - a) * rate < 1.0;
    loop {
        let (x, log) = if narrow {
            let x = a + (b - a) * stream.uniform();
            (x, 0.5 * (a - x) * (a + x))
        } else {
            let x = a - stream.uniform().ln() / rate;
            (x, -0.5 * (x - rate) * (x - rate))
        };
        if x <= b && stream.uniform().ln() < log {
            return x;
        }
    }
}
