//! Reductions over axes. The reduced axes stay with extent 1.

use super::{Keeps, Meta, Metas, Operation, check, one};
use crate::{DType, Result, Shape};

/// A set of axes, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Axes(u8);

impl Axes {
    /// Only `axis`.
    #[inline]
    pub const fn single(axis: usize) -> Self {
        Axes(1 << axis)
    }

    /// All axes of a tensor of `rank`.
    #[inline]
    pub const fn all(rank: usize) -> Self {
        Axes(((1u16 << rank) - 1) as u8)
    }

    /// Whether `axis` is in the set.
    #[inline]
    pub const fn contains(self, axis: usize) -> bool {
        self.0 >> axis & 1 == 1
    }

    /// Whether every axis is below `rank`.
    #[inline]
    const fn within(self, rank: usize) -> bool {
        (self.0 as u16) < (1 << rank)
    }

    /// `shape` with the axes of the set at extent 1.
    #[inline]
    pub fn reduce(self, mut shape: Shape) -> Shape {
        for axis in 0..shape.rank() {
            if self.contains(axis) {
                shape[axis] = 1;
            }
        }
        shape
    }
}

impl FromIterator<usize> for Axes {
    fn from_iter<I: IntoIterator<Item = usize>>(axes: I) -> Self {
        Axes(axes.into_iter().fold(0, |bits, axis| bits | 1 << axis))
    }
}

/// Combines all elements along some axes.
///
/// `x`: `[..]`. Result: same dtype, reduced axes at extent 1. Half types are summed in f32; f32 is
/// summed over a fixed tree of blocks, so the error grows with the logarithm of the length and the
/// result does not depend on the number of threads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reduce {
    /// How elements are combined.
    pub kind: ReduceKind,
    /// The axes that are reduced.
    pub axes: Axes,
}

/// How [`Reduce`] combines elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ReduceKind {
    Sum,
    Mean,
    Prod,
    /// NaN if any element is NaN. An empty axis is an error.
    Max,
    /// NaN if any element is NaN. An empty axis is an error.
    Min,
    /// Whether any element is true.
    Any,
    /// Whether all elements are true.
    All,
}

impl ReduceKind {
    /// Every kind, for tables and tests.
    pub const ALL: [ReduceKind; 7] = {
        use ReduceKind::*;
        [Sum, Mean, Prod, Max, Min, Any, All]
    };
}

fn refuse_empty(op: &'static str, x: &Meta, axes: Axes) -> Result<()> {
    let empty = (0..x.shape.rank()).any(|axis| axes.contains(axis) && x.shape[axis] == 0);
    if empty {
        return Err(check::shape_error(op, &[*x], "an axis without entries has no extremum"));
    }
    Ok(())
}

impl Operation for Reduce {
    fn name(&self) -> &'static str {
        match self.kind {
            ReduceKind::Sum => "sum",
            ReduceKind::Mean => "mean",
            ReduceKind::Prod => "prod",
            ReduceKind::Max => "max",
            ReduceKind::Min => "min",
            ReduceKind::Any => "any",
            ReduceKind::All => "all",
        }
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [x] = check::arity(self.name(), inputs)?;
        if !self.axes.within(x.shape.rank()) {
            let rule = format!("{:?} is not a set of its axes", self.axes);
            return Err(check::shape_error(self.name(), inputs, rule));
        }
        let logical = matches!(self.kind, ReduceKind::Any | ReduceKind::All);
        if logical != (x.dtype == DType::Bool) {
            let rule = "any and all are for bools, the others for numbers";
            return Err(check::dtype_error(self.name(), inputs, rule));
        }
        if x.dtype.is_complex() && matches!(self.kind, ReduceKind::Max | ReduceKind::Min) {
            return Err(check::dtype_error(self.name(), inputs, "complex numbers have no order"));
        }
        if matches!(self.kind, ReduceKind::Max | ReduceKind::Min) {
            refuse_empty(self.name(), x, self.axes)?;
        }
        Ok(one(Meta { shape: self.axes.reduce(x.shape), dtype: x.dtype }))
    }

    fn keeps(&self, _: u32) -> Keeps {
        match self.kind {
            ReduceKind::Sum | ReduceKind::Mean => Keeps::NOTHING,
            ReduceKind::Prod => Keeps::INPUT,
            ReduceKind::Max | ReduceKind::Min => Keeps { inputs: 1, outputs: 1 },
            ReduceKind::Any | ReduceKind::All => Keeps::NOTHING,
        }
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        inputs[0].len() as u64
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{bool, complex, complex_in, float, int};
        for kind in ReduceKind::ALL {
            if matches!(kind, ReduceKind::Any | ReduceKind::All) {
                samples.rough(Reduce { kind, axes: Axes::single(1) }, [bool([4, 3])]);
                samples.rough(Reduce { kind, axes: Axes::all(2) }, [bool([4, 0])]);
                continue;
            }
            for axes in [Axes::single(0), Axes::single(1), Axes::single(2), Axes::all(3)] {
                samples.case(Reduce { kind, axes }, [float([3, 4, 5])]);
            }
            samples.case(Reduce { kind, axes: [0, 2].into_iter().collect() }, [float([3, 4, 5])]);
            samples.rough(Reduce { kind, axes: Axes::single(1) }, [int([3, 4], 1, 9)]);
        }
        for kind in [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Prod] {
            for axes in [Axes::single(0), Axes::single(2), Axes::all(3)] {
                samples.case(Reduce { kind, axes }, [complex_in([3, 2, 4], 0.4, 1.0)]);
            }
            samples.rough(Reduce { kind, axes: Axes::single(1) }, [complex([2, 0])]);
        }
        samples.rough(Reduce { kind: ReduceKind::Sum, axes: Axes::all(2) }, [complex([67, 1031])]);
        for kind in [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max] {
            for axes in [Axes::single(0), Axes::single(1), Axes::all(2)] {
                samples.rough(Reduce { kind, axes }, [float([67, 1031])]);
            }
        }
        samples.case(Reduce { kind: ReduceKind::Sum, axes: Axes::single(0) }, [float([0, 4])]);
        samples.case(Reduce { kind: ReduceKind::Sum, axes: Axes::all(0) }, [float([])]);
    }
}

/// The index of the first extremum along one axis; NaN counts as the extremum, as in PyTorch.
///
/// `x`: `[.., n, ..]`, numbers. Result: i64, the axis at extent 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ArgReduce {
    /// The largest element, else the smallest.
    pub max: bool,
    /// The axis that is searched.
    pub axis: usize,
}

impl Operation for ArgReduce {
    fn name(&self) -> &'static str {
        if self.max { "argmax" } else { "argmin" }
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [x] = check::arity(self.name(), inputs)?;
        check::axis(self.name(), x, self.axis)?;
        if x.dtype == DType::Bool || x.dtype.is_complex() {
            let rule = "bools and complex numbers have no order";
            return Err(check::dtype_error(self.name(), inputs, rule));
        }
        refuse_empty(self.name(), x, Axes::single(self.axis))?;
        Ok(one(Meta::new(x.shape.with(self.axis, 1), DType::I64)))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::NOTHING
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        inputs[0].len() as u64
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{float, int};
        for max in [true, false] {
            for axis in 0..3 {
                samples.rough(ArgReduce { max, axis }, [float([3, 4, 5])]);
            }
            samples.rough(ArgReduce { max, axis: 0 }, [int([30, 2], 0, 4)]);
            samples.rough(ArgReduce { max, axis: 1 }, [float([2, 1031])]);
        }
    }
}
