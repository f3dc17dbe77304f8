//! One number of each of many tensors: what tells of all gradients together.

use super::{Axes, Keeps, Meta, Metas, Operation, ReduceKind, check, one};
use crate::{AnyTensor, Outputs, Result};

/// What is added up over the elements of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// Their squares.
    Squares,
    /// One for each that is NaN or infinite.
    NotFinite,
}

/// One sum for each input, over all of its elements.
///
/// Inputs: one or more tensors of one float dtype, of any shapes. Result: `[inputs]`, of that dtype
/// or, for half types, f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Totals {
    /// What is added up.
    pub total: Total,
}

impl Operation for Totals {
    fn name(&self) -> &'static str {
        match self.total {
            Total::Squares => "square_totals",
            Total::NotFinite => "not_finite_totals",
        }
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let Some(first) = inputs.first() else {
            return Err(check::argument(self.name(), "at least one tensor is needed"));
        };
        check::floats(self.name(), inputs)?;
        Ok(one(Meta::new([inputs.len()], check::statistics_dtype(first.dtype))))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::NOTHING
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        2 * inputs.iter().map(|meta| meta.len() as u64).sum::<u64>()
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<Outputs> {
        let sum = |x: &&AnyTensor| {
            let dtype = check::statistics_dtype(x.dtype());
            let terms = match self.total {
                Total::Squares => x.cast(dtype).square(),
                Total::NotFinite => x.is_finite().equal_scalar(false).cast(dtype),
            };
            terms.reduce(ReduceKind::Sum, Axes::all(x.rank())).reshape([1])
        };
        let sums: Vec<AnyTensor> = inputs.iter().map(sum).collect();
        Some(Outputs::from_buf([AnyTensor::cat(&sums.iter().collect::<Vec<_>>(), 0)]))
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::float;
        for total in [Total::Squares, Total::NotFinite] {
            samples.rough(Totals { total }, [float([3, 5])]);
            samples.rough(Totals { total }, [float([]), float([0, 4]), float([7, 31]), float([1])]);
            samples.rough(Totals { total }, [float([70, 1031]), float([2, 3, 4])]);
        }
    }
}
