//! Dropout (Srivastava et al. 2014).

use smallvec::smallvec;

use super::{Cast, Distribution, Keeps, Meta, Metas, Operation, Random, check, one};
use crate::{AnyTensor, Result};

/// Sets each element to zero with probability `p` and divides the others by `1 - p`.
///
/// The mask is a function of `seed` and `offset`, so it is never stored: the gradient is this same
/// operation applied to the output's gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropout {
    /// Probability of zero, in `0.0..1.0`.
    pub p: f64,
    /// The seed of the generator.
    pub seed: u64,
    /// The generator's position, in blocks of four numbers.
    pub offset: u64,
}

impl Operation for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [x] = check::arity(self.name(), inputs)?;
        check::floats(self.name(), inputs)?;
        if !(0.0..1.0).contains(&self.p) {
            let rule = format!("the probability must be in 0..1, found {}", self.p);
            return Err(check::argument(self.name(), rule));
        }
        Ok(one(*x))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::NOTHING
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<smallvec::SmallVec<[AnyTensor; 1]>> {
        let x = inputs[0];
        let random = Random {
            distribution: Distribution::Bernoulli(1.0 - self.p),
            seed: self.seed,
            offset: self.offset,
            meta: Meta::new(x.shape(), crate::DType::F32),
        };
        let keep = AnyTensor::create(random, x.device());
        let keep = keep.apply(Cast { dtype: x.dtype() }, &[]);
        Some(smallvec![x.mul(&keep).mul_scalar(1.0 / (1.0 - self.p))])
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::float;
        for shape in [vec![7], vec![3, 5], vec![0, 2], vec![2, 2051]] {
            samples.case(Dropout { p: 0.3, seed: 5, offset: 2 }, [float(shape)]);
        }
    }
}
