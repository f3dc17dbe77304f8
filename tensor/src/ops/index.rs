//! Assignment to parts, and picking by indices of several axes.

use smallvec::SmallVec;

use crate::apply::apply_assign;
use crate::error::OrFail;
use crate::op::{Assign, IndexingUpdateOp, Meta, RavelIndex, Scatter, View};
use crate::{AnyTensor, AxisSlice, Error, Result, Shape};

impl AnyTensor {
    /// This tensor with the elements that `view` shows replaced by `values`.
    #[track_caller]
    pub fn assign(&self, view: View, values: &Self) -> Self {
        self.apply(Assign { view }, &[values])
    }

    /// As [`AnyTensor::assign`], in the place of this tensor; in its memory where nobody shares it.
    #[track_caller]
    pub fn assign_inplace(&mut self, view: View, values: &Self) {
        apply_assign(&Assign { view }.into(), self, &[values]).or_fail();
    }

    /// This tensor with `values` put where `indices` along `axis` say.
    #[track_caller]
    pub fn scatter(
        &self,
        axis: usize,
        indices: &Self,
        values: &Self,
        update: IndexingUpdateOp,
    ) -> Self {
        self.apply(Scatter { axis, update }, &[indices, values])
    }

    /// A vector of indices as one index for each element of `shape`, which has as many entries
    /// along `axis`.
    pub(crate) fn indices_along(&self, axis: usize, shape: &Shape) -> Self {
        let mut column = Shape::new(vec![1; shape.rank()]);
        column[axis] = self.num_elements();
        self.reshape(column).expand(shape.with(axis, self.num_elements()))
    }

    /// The parts of this tensor that the indices of its first axes in the last axis of `indices`
    /// name: `[.., k]` gives `[.., rest]`.
    #[track_caller]
    pub(crate) fn gather_nd(&self, indices: &Self) -> Self {
        let nd = Nd::new("gather_nd", self, indices).or_fail();
        let picked = self.reshape(nd.flat).select(0, &nd.index);
        picked.reshape(nd.values)
    }

    /// This tensor with `values` put into the parts that `indices` name, as in
    /// [`AnyTensor::gather_nd`].
    #[track_caller]
    pub(crate) fn scatter_nd(
        &self,
        indices: &Self,
        values: &Self,
        update: IndexingUpdateOp,
    ) -> Self {
        let nd = Nd::new("scatter_nd", self, indices).or_fail();
        if values.shape() != nd.values {
            let shapes = vec![self.shape(), indices.shape(), values.shape()];
            let rule = format!("values of shape {} are needed", nd.values);
            crate::fail(Error::Shape { op: "scatter_nd", shapes, rule });
        }
        let rows = nd.flat.with(0, nd.index.num_elements());
        let index = nd.index.indices_along(0, &rows);
        let result = self.reshape(nd.flat).scatter(0, &index, &values.reshape(rows), update);
        result.reshape(self.shape())
    }

    /// Padded with `value`: `pads[axis]` entries before and after.
    #[track_caller]
    pub(crate) fn pad_constant(&self, pads: &[(usize, usize)], value: crate::Scalar) -> Self {
        let (mut shape, mut part) = (self.shape(), SmallVec::new());
        for (axis, &(before, after)) in pads.iter().enumerate() {
            let len = shape[axis];
            part.push(AxisSlice { axis, start: before, len, step: 1 });
            shape = padded(&shape, axis, before, after).or_fail();
        }
        let full = Self::full(Meta::new(shape, self.dtype()), value, self.device());
        full.apply_owned(Assign { view: View::Slice(part) }, &[self])
    }
}

/// `shape` with more entries before and after those of `axis`.
pub(crate) fn padded(shape: &Shape, axis: usize, before: usize, after: usize) -> Result<Shape> {
    let extent = shape[axis].saturating_add(before).saturating_add(after);
    Shape::try_new(&shape.with(axis, extent))
}

/// Indices of the first axes of a tensor as indices of one axis.
struct Nd {
    /// One index for each part.
    index: AnyTensor,
    /// The tensor with the indexed axes as one: `[parts, ..]`.
    flat: Shape,
    /// The shape of the parts that are picked.
    values: Shape,
}

impl Nd {
    fn new(op: &'static str, x: &AnyTensor, indices: &AnyTensor) -> Result<Self> {
        let (shape, batch) = (x.shape(), indices.shape());
        let depth = batch.last().copied().unwrap_or(0);
        if batch.rank() == 0 || depth > shape.rank() {
            let rule = "the last axis of the indices holds at most one index for each axis".into();
            return Err(Error::Shape { op, shapes: vec![shape, batch], rule });
        }
        let (indexed, rest) = shape.split_at(depth);
        let join = |first: &[usize]| Shape::try_new(&[first, rest].concat());
        let index = indices.apply(RavelIndex { shape: Shape::try_new(indexed)? }, &[]);
        Ok(Self {
            index: index.reshape([index.num_elements()]),
            flat: join(&[indexed.iter().product()])?,
            values: join(&batch[..batch.rank() - 1])?,
        })
    }
}
