//! Tensors out of nothing.

use super::{Keeps, Meta, Metas, Operation, check, one};
use crate::{DType, Error, Result, Scalar};

/// Every element the same number.
#[derive(Clone, Debug, PartialEq)]
pub struct Fill {
    /// The number.
    pub value: Scalar,
    /// The shape and dtype of the result.
    pub meta: Meta,
}

/// `start, start + step, ..` as a vector of `len` elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Arange {
    /// The first element.
    pub start: Scalar,
    /// The difference of neighbours.
    pub step: Scalar,
    /// How many.
    pub len: usize,
    /// The dtype of the result.
    pub dtype: DType,
}

/// The law of random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Distribution {
    /// Uniform on `[0, 1)`; for integers on `0..255`, for bools on both.
    #[default]
    Default,
    /// True with this probability, as 1 and 0.
    Bernoulli(f64),
    /// Uniform on `[low, high)`; integers are rounded down.
    Uniform(f64, f64),
    /// Normal with this mean and standard deviation.
    Normal(f64, f64),
}

/// Random numbers: element `i` is a function of `seed`, `offset` and `i` alone (Philox4x32-10,
/// Salmon et al. 2011), so any device and any number of threads draw the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Random {
    /// The law.
    pub distribution: Distribution,
    /// The seed of the generator.
    pub seed: u64,
    /// The generator's position, in blocks of four numbers.
    pub offset: u64,
    /// The shape and dtype of the result.
    pub meta: Meta,
}

impl Random {
    /// How many numbers a block of four 32-bit random numbers gives: integers reach as far as f64.
    pub(crate) fn per_block(dtype: DType) -> usize {
        if dtype == DType::F64 || dtype.is_int() { 2 } else { 4 }
    }

    /// The law, with that of [`Distribution::Default`] for the dtype.
    pub(crate) fn law(&self) -> Distribution {
        match self.distribution {
            Distribution::Default if self.meta.dtype.is_int() => Distribution::Uniform(0.0, 255.0),
            Distribution::Default if self.meta.dtype == DType::Bool => Distribution::Bernoulli(0.5),
            law => law,
        }
    }

    /// How many 32-bit random numbers a tensor of `meta` takes out of the stream.
    pub fn words(meta: Meta) -> usize {
        meta.len() * 4 / Self::per_block(meta.dtype)
    }
}

impl Operation for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [] = check::arity(self.name(), inputs)?;
        Ok(one(self.meta))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::NOTHING
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        for dtype in DType::ALL {
            let meta = Meta::new([2, 3], dtype);
            samples.rough(Fill { value: Scalar::Int(1), meta }, []);
        }
        let meta = Meta::new([0, 3], DType::F32);
        samples.rough(Fill { value: Scalar::Float(0.1), meta }, []);
    }
}

impl Operation for Arange {
    fn name(&self) -> &'static str {
        "arange"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [] = check::arity(self.name(), inputs)?;
        if self.dtype == DType::Bool {
            return Err(check::argument(self.name(), "bool has no sequence of numbers"));
        }
        Ok(one(Meta::new([self.len], self.dtype)))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::NOTHING
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        for dtype in &DType::ALL[1..] {
            let (start, step) = (Scalar::Int(3), Scalar::Int(2));
            samples.rough(Arange { start, step, len: 5, dtype: *dtype }, []);
        }
    }
}

impl Operation for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [] = check::arity(self.name(), inputs)?;
        let valid = match self.distribution {
            Distribution::Default => true,
            Distribution::Bernoulli(p) => (0.0..=1.0).contains(&p),
            Distribution::Uniform(low, high) => low <= high && (high - low).is_finite(),
            Distribution::Normal(mean, std) => mean.is_finite() && std.is_finite() && std >= 0.0,
        };
        if self.meta.dtype.is_complex() {
            let rule = "draw the parts of complex numbers apart";
            return Err(Error::DType {
                op: self.name(),
                dtypes: vec![self.meta.dtype],
                rule: rule.into(),
            });
        }
        if !valid {
            let rule = format!("{:?} is not a distribution", self.distribution);
            return Err(check::argument(self.name(), rule));
        }
        Ok(one(self.meta))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::NOTHING
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        let laws = [
            Distribution::Default,
            Distribution::Bernoulli(0.3),
            Distribution::Uniform(-1.0, 3.0),
            Distribution::Normal(1.0, 0.5),
        ];
        for distribution in laws {
            for (n, dtype) in [(7, DType::I64), (4099, DType::F32), (12, DType::F64)] {
                let meta = Meta::new([n], dtype);
                samples.rough(Random { distribution, seed: 7, offset: 3, meta }, []);
            }
        }
    }
}
