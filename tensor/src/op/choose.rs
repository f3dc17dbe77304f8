//! Choice between two tensors, and conversion to another dtype.

use super::{Keeps, Meta, Metas, Operation, check, one};
use crate::{DType, Result};

/// `a` where the mask is true, `b` elsewhere; all three broadcast.
///
/// Inputs: a bool mask, `a`, `b` of one dtype. Result: the broadcast shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Where;

impl Operation for Where {
    fn name(&self) -> &'static str {
        "where"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [mask, a, b] = check::arity(self.name(), inputs)?;
        check::same_dtype(self.name(), &inputs[1..])?;
        if mask.dtype != DType::Bool {
            return Err(check::dtype_error(self.name(), inputs, "the mask must be bool"));
        }
        let shape = a.shape.broadcast(&b.shape).and_then(|shape| shape.broadcast(&mask.shape));
        let Some(shape) = shape else {
            let rule = "aligned at the last axis, extents must be equal or 1";
            return Err(check::shape_error(self.name(), inputs, rule));
        };
        Ok(one(Meta { shape, dtype: a.dtype }))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::INPUT
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{bool, complex, float, int};
        samples.case(Where, [bool([3, 5]), float([3, 5]), float([3, 5])]);
        samples.case(Where, [bool([3, 1]), float([5]), float([1])]);
        samples.rough(Where, [bool([7]), int([7], -5, 5), int([7], -5, 5)]);
        samples.rough(Where, [bool([7]), bool([7]), bool([7])]);
        samples.case(Where, [bool([3, 1]), complex([5]), complex([1])]);
    }
}

/// The same numbers as another dtype, or, with the same dtype, a contiguous copy. Floats to
/// integers are cut toward zero; anything but zero is true.
///
/// `x`: `[..]` of any dtype and layout. Result: same shape, contiguous.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cast {
    /// The dtype of the result.
    pub dtype: DType,
}

impl Operation for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [x] = check::arity(self.name(), inputs)?;
        if x.dtype.is_complex() && !self.dtype.is_complex() {
            let rule =
                format!("a complex number is no {}; take `real`, `imag` or `abs`", self.dtype);
            return Err(check::dtype_error(self.name(), inputs, rule));
        }
        Ok(one(Meta { shape: x.shape, dtype: self.dtype }))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::NOTHING
    }

    fn flops(&self, _: &[Meta], _: &[Meta]) -> u64 {
        0
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{bool, complex, float, int};
        for dtype in DType::ALL {
            let op = Cast { dtype };
            samples.rough(op, [float([3, 5])]);
            samples.rough(op, [int([3, 5], 0, 100)]);
            samples.rough(op, [bool([3, 5])]);
            if dtype.is_complex() {
                samples.rough(op, [complex([3, 5])]);
            }
        }
        samples.case(Cast { dtype: DType::Complex128 }, [complex([3, 5])]);
        samples.case(Cast { dtype: DType::Complex128 }, [float([3, 5])]);
        samples.case(Cast { dtype: DType::F64 }, [float([3, 5])]);
        samples.case(Cast { dtype: DType::F64 }, [float([0, 2])]);
    }
}
