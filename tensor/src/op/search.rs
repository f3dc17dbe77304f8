//! Positions of elements: where a tensor is not zero, and where values belong in a sorted one.

use super::{Keeps, Meta, Metas, Operation, check, one};
use crate::{DType, Result};

/// The positions of all elements that are not zero (or are true), in row-major order:
/// `torch.nonzero`.
///
/// `x`: `[..]` of `D` axes. Result: i64 `[count, D]`.
///
/// How many there are depends on the values, but a shape rule never looks at values. So operations
/// of this sort run in two steps: a reduction counts, the number is read back, and it becomes a
/// field of the operation that fills. A recorded graph holds that number; run on other values, of
/// which another number are not zero, the operation ends with an error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nonzero {
    /// How many elements are not zero.
    pub count: usize,
}

impl Operation for Nonzero {
    fn name(&self) -> &'static str {
        "nonzero"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [x] = check::arity(self.name(), inputs)?;
        if self.count > x.len() {
            let rule = format!("it has no {} elements", self.count);
            return Err(check::shape_error(self.name(), inputs, rule));
        }
        Ok(one(Meta::new([self.count, x.shape.rank()], DType::I64)))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::NOTHING
    }

    fn flops(&self, _: &[Meta], _: &[Meta]) -> u64 {
        0
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{float_in, int};
        samples.rough(Nonzero { count: 12 }, [int([3, 4], 1, 3)]);
        samples.rough(Nonzero { count: 0 }, [int([3, 4], 0, 1)]);
        samples.rough(Nonzero { count: 24 }, [float_in([2, 3, 4], 0.5, 2.0)]);
        samples.rough(Nonzero { count: 1 }, [float_in([], 0.5, 2.0)]);
        samples.rough(Nonzero { count: 0 }, [float_in([0, 2], 0.5, 2.0)]);
    }
}

/// Where each value would have to be inserted to keep a sorted axis sorted: `torch.searchsorted`.
///
/// Inputs of one dtype: `sorted`, `[n]` for all values or `[.., n]`; `values` `[.., m]` with the
/// same leading axes. Result: i64, the shape of `values`, in `0..=n`; NaN belongs at the end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchSorted {
    /// Behind equal entries, else before them.
    pub right: bool,
}

impl Operation for SearchSorted {
    fn name(&self) -> &'static str {
        "searchsorted"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [sorted, values] = check::arity(self.name(), inputs)?;
        check::same_dtype(self.name(), inputs)?;
        let rank = sorted.shape.rank();
        let fits = rank == 1
            || rank == values.shape.rank()
                && rank > 0
                && sorted.shape[..rank - 1] == values.shape[..rank - 1];
        if !fits {
            let rule = "the sorted tensor must have one axis, or all but its last axis in common";
            return Err(check::shape_error(self.name(), inputs, rule));
        }
        Ok(one(Meta::new(values.shape, DType::I64)))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::NOTHING
    }

    /// Comparisons.
    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        let n = inputs[0].shape.last().copied().unwrap_or(1).max(2);
        inputs[1].len() as u64 * n.ilog2() as u64
    }

    /// The axes are constant or have one entry: a sorted axis, whatever the numbers are.
    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{float, int};
        for right in [false, true] {
            samples.rough(SearchSorted { right }, [float([1]), float([3, 4])]);
            samples.rough(SearchSorted { right }, [float([3, 1]), float([3, 4])]);
            samples.rough(SearchSorted { right }, [int([3, 5], 2, 3), int([3, 4], 0, 5)]);
            samples.rough(SearchSorted { right }, [int([0], 0, 5), int([4], 0, 5)]);
        }
    }
}
