//! From complex numbers to real ones.

use super::{Keeps, Meta, Metas, Operation, check, one};
use crate::Result;

/// A polar coordinate of each complex number. (Real and imaginary part are views.)
///
/// `x`: `[..]`, complex. Result: same shape, the dtype of the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polar {
    /// The absolute value, which overflows only if the result does. Its gradient at zero is zero.
    Abs,
    /// The angle in radians, in `-pi ..= pi`.
    Angle,
}

impl Operation for Polar {
    fn name(&self) -> &'static str {
        match self {
            Polar::Abs => "abs",
            Polar::Angle => "angle",
        }
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [x] = check::arity(self.name(), inputs)?;
        if !x.dtype.is_complex() {
            return Err(check::dtype_error(self.name(), inputs, "a complex tensor is needed"));
        }
        Ok(one(Meta { shape: x.shape, dtype: x.dtype.real() }))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::INPUT
    }

    fn flops(&self, _: &[Meta], outputs: &[Meta]) -> u64 {
        10 * outputs[0].len() as u64
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{complex, complex_in};
        for op in [Polar::Abs, Polar::Angle] {
            samples.case(op, [complex_in([3, 5], 0.3, 2.0)]);
            samples.rough(op, [complex([2, 0])]);
            samples.rough(op, [complex([1031])]);
        }
    }
}
