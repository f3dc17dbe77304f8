//! New values in some places of a tensor: a view of it, or places named by indices.

use super::{Keeps, Meta, Metas, Operation, View, check, one};
use crate::layout::Layout;
use crate::{DType, Result, Shape};

/// `x` with the elements that `view` shows replaced.
///
/// Inputs: `x`, and `values` of the view's shape and the dtype of `x`. Result: as `x`; in its memory
/// if that is given away. A view that shows an element twice can not be assigned to.
#[derive(Clone, Debug, PartialEq)]
pub struct Assign {
    /// The part of `x` that is replaced.
    pub view: View,
}

impl Operation for Assign {
    fn name(&self) -> &'static str {
        "assign"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [x, values] = check::arity(self.name(), inputs)?;
        check::same_dtype(self.name(), inputs)?;
        if matches!(self.view, View::Expand(_) | View::Unfold { .. }) {
            let rule = format!("{:?} may show an element twice", self.view);
            return Err(check::argument(self.name(), rule));
        }
        let part = self.view.layout(&Layout::contiguous(x.shape))?;
        if values.shape != *part.shape() {
            let rule = format!("the part to assign to has shape {}", part.shape());
            return Err(check::shape_error(self.name(), inputs, rule));
        }
        Ok(one(*x))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::NOTHING
    }

    fn flops(&self, _: &[Meta], _: &[Meta]) -> u64 {
        0
    }

    /// In the memory of `x`, if that is given away.
    fn bytes(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        2 * inputs[1].bytes() as u64
    }

    fn elementwise(&self) -> bool {
        true
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{bool, float, int};
        use crate::AxisSlice;
        let slice = |axis, start, len, step| AxisSlice { axis, start, len, step };
        let part = |slices: &[AxisSlice]| View::Slice(slices.iter().copied().collect());
        let assign = |view| Assign { view };
        samples.case(assign(part(&[slice(1, 3, 2, -2)])), [float([2, 5]), float([2, 2])]);
        let two = part(&[slice(0, 1, 2, 1), slice(2, 0, 2, 3)]);
        samples.case(assign(two), [float([3, 2, 5]), float([2, 2, 2])]);
        samples.case(assign(part(&[slice(0, 2, 0, 1)])), [float([4, 3]), float([0, 3])]);
        samples.case(assign(View::Diagonal(0, 2)), [float([3, 2, 4]), float([2, 3])]);
        samples.rough(assign(part(&[slice(0, 1, 3, 2)])), [int([7], -9, 9), int([3], -9, 9)]);
        samples.rough(assign(part(&[slice(0, 6, 7, -1)])), [bool([7]), bool([7])]);
    }
}

/// How a new value meets the old one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IndexingUpdateOp {
    /// The new value; of several for one place the last.
    #[default]
    Assign,
    /// The sum of the old and all new values; for bools whether any is true.
    Add,
    /// The product of the old and all new values.
    Mul,
    /// The least of the old and all new values.
    Min,
    /// The largest of the old and all new values.
    Max,
}

impl IndexingUpdateOp {
    /// Every way.
    pub const ALL: [Self; 5] = [Self::Assign, Self::Add, Self::Mul, Self::Min, Self::Max];
}

/// `x` with values put in the places that indices name: `torch.scatter` and `scatter_reduce`. Values
/// for one place follow each other in rising order of their position along `axis`, so the result
/// does not depend on the number of threads.
///
/// Inputs: `x` `[.., n, ..]`; `indices` of the same rank, in `0..n`, with no other extent larger than
/// that of `x`; `values` of the shape of `indices` and the dtype of `x`. Result: as `x`; in its
/// memory if that is given away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scatter {
    /// The axis that is indexed.
    pub axis: usize,
    /// How a new value meets the old one.
    pub update: IndexingUpdateOp,
}

impl Operation for Scatter {
    fn name(&self) -> &'static str {
        "scatter"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [x, indices, values] = check::arity(self.name(), inputs)?;
        check::axis(self.name(), x, self.axis)?;
        super::index::check_gather(self.name(), &x.shape, self.axis, inputs)?;
        if indices.shape != values.shape {
            let rule = "the indices and the values must have one shape";
            return Err(check::shape_error(self.name(), inputs, rule));
        }
        check::same_dtype(self.name(), &[*x, *values])?;
        if x.dtype.is_complex()
            && matches!(self.update, IndexingUpdateOp::Min | IndexingUpdateOp::Max)
        {
            return Err(check::dtype_error(self.name(), &[*x], "complex numbers have no order"));
        }
        Ok(one(*x))
    }

    fn keeps(&self, tracked: u32) -> Keeps {
        use IndexingUpdateOp::*;
        match self.update {
            // The gradient of the old values needs the places, that of the new ones too.
            Assign => Keeps { inputs: 0b010, outputs: 0 },
            Add if tracked & 0b100 == 0 => Keeps::NOTHING,
            Add => Keeps { inputs: 0b010, outputs: 0 },
            Mul => Keeps { inputs: 0b111, outputs: 0 },
            Min | Max => Keeps { inputs: 0b111, outputs: 1 },
        }
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        if self.update == IndexingUpdateOp::Assign { 0 } else { inputs[2].len() as u64 }
    }

    /// In the memory of `x`, if that is given away; unless it assigns, the old values are read.
    fn bytes(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        let times = if self.update == IndexingUpdateOp::Assign { 2 } else { 3 };
        (inputs[1].bytes() + times * inputs[2].bytes()) as u64
    }

    /// Other positions of the first input are never read.
    fn elementwise(&self) -> bool {
        true
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{bool, float, int};
        for update in IndexingUpdateOp::ALL {
            let scatter = |axis| Scatter { axis, update };
            samples.case(scatter(1), [float([3, 5]), int([3, 7], 0, 5), float([3, 7])]);
            samples.case(scatter(0), [float([4, 3]), int([6, 2], 0, 4), float([6, 2])]);
            let middle = [float([2, 4, 3]), int([1, 5, 3], 0, 4), float([1, 5, 3])];
            samples.case(scatter(1), middle);
            samples.case(scatter(0), [float([4]), int([0], 0, 4), float([0])]);
            samples.rough(scatter(0), [int([4], -3, 4), int([6], 0, 4), int([6], -3, 4)]);
            samples.rough(scatter(0), [bool([4]), int([6], 0, 4), bool([6])]);
        }
    }
}

/// Indices of several axes as one index into the elements of `shape` in row-major order:
/// `numpy.ravel_multi_index`. An index out of range is an error when the operation runs.
///
/// `indices`: `[.., k]` with `k` the rank of `shape`. Result: `[..]`, i64.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RavelIndex {
    /// The axes that are indexed.
    pub shape: Shape,
}

impl Operation for RavelIndex {
    fn name(&self) -> &'static str {
        "ravel_index"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [indices] = check::arity(self.name(), inputs)?;
        check::indices(self.name(), indices)?;
        let rank = indices.shape.rank();
        if rank == 0 || indices.shape[rank - 1] != self.shape.rank() {
            let rule = format!("the last axis must hold an index for each axis of {}", self.shape);
            return Err(check::shape_error(self.name(), inputs, rule));
        }
        Ok(one(Meta::new(indices.shape.without(rank - 1), DType::I64)))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::NOTHING
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::int;
        samples.rough(RavelIndex { shape: Shape::new([3, 4]) }, [int([5, 2], 0, 3)]);
        samples.rough(RavelIndex { shape: Shape::new([2, 5, 3]) }, [int([2, 4, 3], 0, 2)]);
        samples.rough(RavelIndex { shape: Shape::new([6]) }, [int([1], 0, 6)]);
        samples.rough(RavelIndex { shape: Shape::SCALAR }, [int([3, 0], 0, 2)]);
    }
}
