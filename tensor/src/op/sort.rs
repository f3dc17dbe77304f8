//! Order along one axis: sorting, and picking entries by their rank.

use smallvec::SmallVec;

use super::{Keeps, Meta, Metas, Operation, check};
use crate::{DType, Result};

/// The entries of one axis in rising or falling order, all of them or those of some ranks:
/// `torch.sort`, `torch.topk` and `torch.kthvalue`.
///
/// `x`: `[.., n, ..]`. Results: the sorted values and, as i64, where each was. Equal entries keep
/// their order; NaN is larger than every number, and zeros of either sign are equal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sort {
    /// The axis that is sorted.
    pub axis: usize,
    /// The largest entry first.
    pub descending: bool,
    /// Only these ranks: the first, and how many; `None` is all. What lies outside is not sorted,
    /// which is much quicker.
    pub ranks: Option<(usize, usize)>,
}

impl Operation for Sort {
    fn name(&self) -> &'static str {
        if self.ranks.is_some() { "topk" } else { "sort" }
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [x] = check::arity(self.name(), inputs)?;
        check::axis(self.name(), x, self.axis)?;
        let n = x.shape[self.axis];
        let (start, len) = self.ranks.unwrap_or((0, n));
        if start.checked_add(len).is_none_or(|end| end > n) {
            let rule = match (start, len) {
                (start, 1) => format!("axis {} has no entry of rank {start}", self.axis),
                (0, k) => format!("axis {} has no {k} entries", self.axis),
                _ => format!("axis {} has no {len} entries from rank {start}", self.axis),
            };
            return Err(check::shape_error(self.name(), inputs, rule));
        }
        let shape = x.shape.with(self.axis, len);
        Ok(SmallVec::from_slice(&[Meta::new(shape, x.dtype), Meta::new(shape, DType::I64)]))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps { inputs: 0, outputs: 0b10 }
    }

    /// Comparisons.
    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        let n = inputs[0].shape[self.axis].max(2);
        let each = if self.ranks.is_some() { 2 } else { n.ilog2() };
        inputs[0].len() as u64 * each as u64
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{bool, float, int};
        for descending in [false, true] {
            let sort = |axis, ranks| Sort { axis, descending, ranks };
            for axis in 0..3 {
                samples.case(sort(axis, None), [float([3, 4, 5])]);
                samples.case(sort(axis, Some((0, 2))), [float([3, 4, 5])]);
                samples.case(sort(axis, Some((2, 1))), [float([3, 4, 5])]);
            }
            samples.rough(sort(0, None), [int([40, 2], -4, 4)]);
            samples.rough(sort(1, Some((3, 9))), [int([2, 40], -4, 4)]);
            samples.rough(sort(1, None), [bool([2, 9])]);
            samples.rough(sort(1, None), [float([3, 0])]);
            samples.rough(sort(0, Some((0, 0))), [float([3, 2])]);
            samples.rough(sort(0, None), [float([2000])]);
            samples.rough(sort(0, Some((700, 300))), [float([2000])]);
        }
    }
}
