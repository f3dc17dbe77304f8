//! Entries picked by index, their gradients, and concatenation.

use smallvec::SmallVec;

use super::{Keeps, Meta, Metas, Operation, check, one};
use crate::Result;

/// Whole entries of one axis, picked by index: `torch.index_select`, and with `axis` 0 an
/// embedding.
///
/// Inputs: `x` `[.., n, ..]`, `indices` `[k]` in `0..n`. Result: `[.., k, ..]`. An index out of
/// range is an error when the operation runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Select {
    /// The axis that is indexed.
    pub axis: usize,
}

impl Operation for Select {
    fn name(&self) -> &'static str {
        "select"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [x, indices] = check::arity(self.name(), inputs)?;
        check::axis(self.name(), x, self.axis)?;
        check::indices(self.name(), indices)?;
        check::rank(self.name(), indices, 1, "[k]")?;
        Ok(one(Meta::new(x.shape.with(self.axis, indices.shape[0]), x.dtype)))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps { inputs: 0b10, outputs: 0 }
    }

    fn flops(&self, _: &[Meta], _: &[Meta]) -> u64 {
        0
    }

    /// Of the input, what is picked.
    fn bytes(&self, inputs: &[Meta], outputs: &[Meta]) -> u64 {
        (inputs[1].bytes() + 2 * outputs[0].bytes()) as u64
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{bool, float, int};
        samples.case(Select { axis: 0 }, [float([5, 3]), int([7], 0, 5)]);
        samples.case(Select { axis: 1 }, [float([2, 4, 3]), int([2], 0, 4)]);
        samples.case(Select { axis: 2 }, [float([2, 4, 3]), int([0], 0, 3)]);
        samples.rough(Select { axis: 1 }, [int([2, 4], -9, 9), int([5], 0, 4)]);
        samples.rough(Select { axis: 0 }, [bool([4]), int([5], 0, 4)]);
    }
}

/// The gradient of [`Select`]: zeros, to which each entry of the input is added at its index.
/// Entries are added in rising order of their place in `indices`.
///
/// Inputs: `dy` `[.., k, ..]`, `indices` `[k]`. Result: `[.., extent, ..]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SelectBackward {
    /// The axis that was indexed.
    pub axis: usize,
    /// Its extent.
    pub extent: usize,
}

impl Operation for SelectBackward {
    fn name(&self) -> &'static str {
        "select_backward"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [dy, indices] = check::arity(self.name(), inputs)?;
        check::axis(self.name(), dy, self.axis)?;
        check::indices(self.name(), indices)?;
        check::rank(self.name(), indices, 1, "[k]")?;
        if dy.shape[self.axis] != indices.shape[0] {
            let rule = format!("axis {} needs an index for each entry", self.axis);
            return Err(check::shape_error(self.name(), inputs, rule));
        }
        Ok(one(Meta::new(dy.shape.with(self.axis, self.extent), dy.dtype)))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps { inputs: 0b10, outputs: 0 }
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{float, int};
        let case = |axis, extent| SelectBackward { axis, extent };
        samples.case(case(0, 5), [float([7, 3]), int([7], 0, 5)]);
        samples.case(case(1, 4), [float([2, 9, 3]), int([9], 0, 4)]);
        samples.case(case(0, 4), [float([0, 3]), int([0], 0, 4)]);
    }
}

/// One element per index along an axis: `torch.gather`.
///
/// Inputs: `x` `[.., n, ..]`, `indices` of the same rank, in `0..n`, with no other extent larger
/// than that of `x`. Result: the shape of `indices`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gather {
    /// The axis that is indexed.
    pub axis: usize,
}

pub(super) fn check_gather(
    op: &'static str,
    shape: &[usize],
    axis: usize,
    inputs: &[Meta],
) -> Result<()> {
    let indices = &inputs[1];
    check::indices(op, indices)?;
    let fits = shape.len() == indices.shape.rank()
        && (0..shape.len()).all(|i| i == axis || indices.shape[i] <= shape[i]);
    if !fits {
        let rule =
            format!("the indices must have the same rank and fit inside of all but axis {axis}");
        return Err(check::shape_error(op, inputs, rule));
    }
    Ok(())
}

impl Operation for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [x, indices] = check::arity(self.name(), inputs)?;
        check::axis(self.name(), x, self.axis)?;
        check_gather(self.name(), &x.shape, self.axis, inputs)?;
        Ok(one(Meta::new(indices.shape, x.dtype)))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps { inputs: 0b10, outputs: 0 }
    }

    fn flops(&self, _: &[Meta], _: &[Meta]) -> u64 {
        0
    }

    /// Of the input, what is picked.
    fn bytes(&self, inputs: &[Meta], outputs: &[Meta]) -> u64 {
        (inputs[1].bytes() + 2 * outputs[0].bytes()) as u64
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{float, int};
        samples.case(Gather { axis: 1 }, [float([3, 5]), int([3, 2], 0, 5)]);
        samples.case(Gather { axis: 0 }, [float([3, 5]), int([7, 4], 0, 3)]);
        samples.rough(Gather { axis: 0 }, [int([4], -9, 9), int([6], 0, 4)]);
    }
}

/// The gradient of [`Gather`]: zeros of `shape`, to which each element is added at its index.
///
/// Inputs: `dy` and `indices` of one shape. Result: `shape`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GatherBackward {
    /// The axis that was indexed.
    pub axis: usize,
    /// The shape that was gathered from.
    pub shape: crate::Shape,
}

impl Operation for GatherBackward {
    fn name(&self) -> &'static str {
        "gather_backward"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [dy, indices] = check::arity(self.name(), inputs)?;
        check_gather(self.name(), &self.shape, self.axis, inputs)?;
        if dy.shape != indices.shape {
            let rule = "the gradient and the indices must have one shape";
            return Err(check::shape_error(self.name(), inputs, rule));
        }
        Ok(one(Meta::new(self.shape, dy.dtype)))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps { inputs: 0b10, outputs: 0 }
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{float, int};
        let shape = crate::Shape::new([3, 5]);
        let op = GatherBackward { axis: 1, shape };
        samples.case(op, [float([3, 7]), int([3, 7], 0, 5)]);
        samples.case(op, [float([2, 7]), int([2, 7], 0, 5)]);
    }
}

/// Tensors one after the other along an axis.
///
/// Inputs: one or more tensors of one dtype whose shapes differ only in `axis`. Result: the sum of
/// their extents there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cat {
    /// The axis along which they follow each other.
    pub axis: usize,
}

impl Operation for Cat {
    fn name(&self) -> &'static str {
        "cat"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let Some(first) = inputs.first() else {
            return Err(check::argument(self.name(), "at least one tensor is needed"));
        };
        check::axis(self.name(), first, self.axis)?;
        check::same_dtype(self.name(), inputs)?;
        let common = first.shape.with(self.axis, 0);
        let fits = |meta: &Meta| {
            meta.shape.rank() == common.rank() && meta.shape.with(self.axis, 0) == common
        };
        if !inputs.iter().all(fits) {
            let rule = format!("shapes may differ only in axis {}", self.axis);
            return Err(check::shape_error(self.name(), inputs, rule));
        }
        let extent = inputs.iter().map(|meta| meta.shape[self.axis]).sum();
        let shape = crate::Shape::try_new(&first.shape.with(self.axis, extent))?;
        Ok(one(Meta { shape, dtype: first.dtype }))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::NOTHING
    }

    fn flops(&self, _: &[Meta], _: &[Meta]) -> u64 {
        0
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{bool, float};
        samples.case(Cat { axis: 0 }, [float([2, 3]), float([1, 3])]);
        samples.case(Cat { axis: 1 }, [float([2, 3]), float([2, 0]), float([2, 2])]);
        samples.case(Cat { axis: 1 }, [float([2, 1, 4])]);
        samples.rough(Cat { axis: 0 }, [bool([3]), bool([2])]);
    }
}

/// The slices of the output of [`Cat`] that came from each input: `(start, len)` along the axis.
pub fn cat_parts(extents: impl Iterator<Item = usize>) -> SmallVec<[(usize, usize); 4]> {
    let mut start = 0;
    extents
        .map(|len| {
            start += len;
            (start - len, len)
        })
        .collect()
}
