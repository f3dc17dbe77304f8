//! Random numbers whose law differs from element to element.

use super::{Keeps, Meta, Metas, Operation, check, one};
use crate::{DType, Result};

/// The law of [`Sample`], whose parameter is the element of the input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SampleKind {
    /// Gamma with this concentration and rate 1 (Marsaglia & Tsang 2000).
    Gamma,
    /// The logarithm of such a number, which does not underflow at small concentrations.
    LogGamma,
    /// Poisson with this rate.
    Poisson,
    /// Normal with this mean, given that it lies in `low..=high` (Robert 1995).
    TruncatedNormal {
        /// The standard deviation before the cut.
        std: f64,
        /// The least number.
        low: f64,
        /// The largest number.
        high: f64,
    },
}

/// One random number for each element, which is the parameter of its law.
///
/// Element `i` in row-major order is a function of its parameter, `seed`, `offset` and `i` alone,
/// however often a method of rejection has to try. A parameter outside of the law's domain gives
/// NaN.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The law.
    pub kind: SampleKind,
    /// The seed of the generator.
    pub seed: u64,
    /// The generator's position: each element takes one block of four numbers.
    pub offset: u64,
}

/// `samples` indices for each slice of weights along the last axis, with probabilities in
/// proportion to the weights.
///
/// Sample `s` of row `r` is a function of the weights, `seed`, `offset`, `r` and `s` alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Multinomial {
    /// How many indices are drawn from each slice.
    pub samples: usize,
    /// Whether an index may be drawn again.
    pub replacement: bool,
    /// The seed of the generator.
    pub seed: u64,
    /// The generator's position, in blocks of four numbers.
    pub offset: u64,
}

impl Operation for Sample {
    fn name(&self) -> &'static str {
        "sample"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [x] = check::arity(self.name(), inputs)?;
        check::floats(self.name(), inputs)?;
        if let SampleKind::TruncatedNormal { std, low, high } = self.kind
            && !(std > 0.0 && std.is_finite() && low < high)
        {
            return Err(check::argument(self.name(), format!("{:?} is not a law", self.kind)));
        }
        Ok(one(*x))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::NOTHING
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::float_in;
        for kind in [SampleKind::Gamma, SampleKind::LogGamma, SampleKind::Poisson] {
            for shape in [vec![7], vec![3, 5], vec![0, 2], vec![2, 1031]] {
                let sample = Sample { kind, seed: 5, offset: 2 };
                samples.rough(sample, [float_in(shape, 0.25, 20.0)]);
            }
        }
        let kind = SampleKind::TruncatedNormal { std: 0.5, low: -1.0, high: 0.25 };
        samples.rough(Sample { kind, seed: 6, offset: 0 }, [float_in([5, 7], -3.0, 3.0)]);
    }
}

impl Operation for Multinomial {
    fn name(&self) -> &'static str {
        "multinomial"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [weights] = check::arity(self.name(), inputs)?;
        check::floats(self.name(), inputs)?;
        let Some(&categories) = weights.shape.last() else {
            return Err(check::shape_error(self.name(), inputs, "weights need at least one axis"));
        };
        if self.samples == 0 {
            return Err(check::argument(self.name(), "at least one sample must be drawn"));
        }
        if categories == 0 || (!self.replacement && categories < self.samples) {
            let rule = format!("{} samples can not be drawn from {categories}", self.samples);
            return Err(check::shape_error(self.name(), inputs, rule));
        }
        let last = weights.shape.rank() - 1;
        Ok(one(Meta::new(weights.shape.with(last, self.samples), DType::I64)))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::NOTHING
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::float_in;
        for (shape, count) in [(vec![7], 5), (vec![3, 5], 4), (vec![0, 2], 1), (vec![2, 1031], 99)]
        {
            for replacement in [true, false] {
                let op = Multinomial { samples: count, replacement, seed: 5, offset: 2 };
                samples.rough(op, [float_in(shape.clone(), 0.1, 1.0)]);
            }
        }
    }
}
