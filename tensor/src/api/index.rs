//! Elements picked, replaced and combined by index or mask.

use crate::error::OrFail;
use crate::op::{IndexingUpdateOp, Select};
use crate::shape::{AxisIndex, resolve_axis};
use crate::tensor::{Bool, Int, Kind, Tensor};
use crate::{AnyTensor, Error, Scalar, Shape, TensorData};

impl<const D: usize, K: Kind> Tensor<D, K> {
    /// `len` entries of `axis` from `start`. No byte moves.
    #[track_caller]
    pub fn narrow(&self, axis: impl AxisIndex, start: usize, len: usize) -> Self {
        let axis = resolve_axis("narrow", axis, D).or_fail();
        Self::from_any(self.as_any().narrow(axis, start, len))
    }

    /// Whole entries of `axis`, picked by index: `torch.index_select`. Panics if an index is
    /// negative or out of range.
    #[track_caller]
    pub fn select(&self, axis: impl AxisIndex, indices: impl AsRef<Tensor<1, Int>>) -> Self {
        let axis = resolve_axis("select", axis, D).or_fail();
        self.apply(Select { axis }, &[indices.as_ref().as_any()])
    }

    /// One entry of `axis`, which is removed: `torch.select`. A negative `index` counts from the
    /// end. No byte moves.
    #[track_caller]
    pub fn select_dim<const D2: usize>(
        &self,
        axis: impl AxisIndex,
        index: impl AxisIndex,
    ) -> Tensor<D2, K> {
        let axis = resolve_axis("select_dim", axis, D).or_fail();
        let (shape, index) = (self.shape(), index.signed());
        let size = shape[axis];
        let start = if index < 0 { index.saturating_add_unsigned(size) } else { index };
        if !(0..size as isize).contains(&start) {
            crate::fail(Error::Index { op: "select_dim", index: index as i64, size });
        }
        let entry = self.as_any().narrow(axis, start as usize, 1);
        Tensor::from_any(entry.reshape(shape.without(axis)))
    }

    /// Whole entries of `axis`, picked by indices of any shape, whose axes take the place of
    /// `axis`: `numpy.take`. `DO` is `D + DI - 1`.
    ///
    /// ```
    /// use kiln_tensor::{Int, Tensor};
    /// let x = Tensor::<2>::from([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    /// let indices = Tensor::<2, Int>::from([[0, 2], [1, 0]]);
    /// assert_eq!(x.take::<2, 3>(1, indices).dims(), [2, 2, 2]);
    /// ```
    #[track_caller]
    pub fn take<const DI: usize, const DO: usize>(
        &self,
        axis: impl AxisIndex,
        indices: impl AsRef<Tensor<DI, Int>>,
    ) -> Tensor<DO, K> {
        let axis = resolve_axis("take", axis, D).or_fail();
        let (shape, indices) = (self.shape(), indices.as_ref());
        let flat = indices.as_any().reshape([indices.num_elements()]);
        let picked = self.as_any().apply(Select { axis }, &[&flat]);
        let dims = [&shape[..axis], &indices.shape()[..], &shape[axis + 1..]].concat();
        Tensor::from_any(picked.reshape(Shape::new(dims)))
    }

    /// One element per index along `axis`: `torch.gather`. Panics if an index is negative or out of
    /// range.
    #[track_caller]
    pub fn gather(&self, axis: impl AxisIndex, indices: impl AsRef<Tensor<D, Int>>) -> Self {
        let axis = resolve_axis("gather", axis, D).or_fail();
        Self::from_any(self.as_any().gather(axis, indices.as_ref().as_any()))
    }

    /// The parts that indices of the first axes name: `indices` `[.., k]` gives
    /// `[.., rest]`, where `rest` are the axes of this tensor after the first `k`.
    ///
    /// ```
    /// use kiln_tensor::{Int, Tensor};
    /// let x = Tensor::<2>::from([[1.0, 2.0], [3.0, 4.0]]);
    /// let picked: Tensor<1> = x.gather_nd(Tensor::<2, Int>::from([[0, 1], [1, 0]]));
    /// assert_eq!(picked.into_data().to_vec::<f32>()?, [2.0, 3.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn gather_nd<const M: usize, const DV: usize>(
        &self,
        indices: impl AsRef<Tensor<M, Int>>,
    ) -> Tensor<DV, K> {
        Tensor::from_any(self.as_any().gather_nd(indices.as_ref().as_any()))
    }

    /// This tensor with `values` put into the parts that `indices` name; see
    /// [`Tensor::gather_nd`], whose result the values have the shape of. Parts that are named
    /// several times meet their values in order.
    #[track_caller]
    pub fn scatter_nd<const M: usize, const DV: usize>(
        &self,
        indices: impl AsRef<Tensor<M, Int>>,
        values: impl AsRef<Tensor<DV, K>>,
        update: IndexingUpdateOp,
    ) -> Self {
        let (indices, values) = (indices.as_ref().as_any(), values.as_ref().as_any());
        Self::from_any(self.as_any().scatter_nd(indices, values, update))
    }

    /// This tensor with each value put in its place along `axis`, `indices` and `values` being of
    /// one shape: `torch.scatter` and `torch.scatter_reduce`. Values for one place follow each other
    /// in rising order of their position, on any number of threads; of several that are assigned the
    /// last one stays. Panics if an index is negative or out of range.
    ///
    /// ```
    /// use kiln_tensor::{IndexingUpdateOp, Int, Tensor};
    /// let x = Tensor::<1>::from([0.0, 1.0, 2.0]);
    /// let indices = Tensor::<1, Int>::from([2, 0, 2]);
    /// let y = x.scatter(0, indices, Tensor::<1>::from([5.0, 6.0, 7.0]), IndexingUpdateOp::Add);
    /// assert_eq!(y.into_data().to_vec::<f32>()?, [6.0, 1.0, 14.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn scatter(
        &self,
        axis: impl AxisIndex,
        indices: impl AsRef<Tensor<D, Int>>,
        values: impl AsRef<Self>,
        update: IndexingUpdateOp,
    ) -> Self {
        let axis = resolve_axis("scatter", axis, D).or_fail();
        let (indices, values) = (indices.as_ref().as_any(), values.as_ref().as_any());
        Self::from_any(self.as_any().scatter(axis, indices, values, update))
    }

    /// [`Tensor::scatter`] that adds: `torch.scatter_add`.
    #[track_caller]
    pub fn scatter_add(
        &self,
        axis: impl AxisIndex,
        indices: impl AsRef<Tensor<D, Int>>,
        values: impl AsRef<Self>,
    ) -> Self {
        self.scatter(axis, indices, values, IndexingUpdateOp::Add)
    }

    /// This tensor with whole entries of `axis` replaced by, or combined with, those of `values`:
    /// entry `i` of `values` goes to entry `indices[i]`. Entries for one place follow each other in
    /// order. Panics if an index is negative or out of range.
    #[track_caller]
    pub fn select_assign(
        &self,
        axis: impl AxisIndex,
        indices: impl AsRef<Tensor<1, Int>>,
        values: impl AsRef<Self>,
        update: IndexingUpdateOp,
    ) -> Self {
        let axis = resolve_axis("select_assign", axis, D).or_fail();
        let (indices, values) = (indices.as_ref().as_any(), values.as_ref().as_any());
        let expected = self.shape().with(axis, indices.num_elements());
        if values.shape() != expected {
            let shapes = vec![self.shape(), indices.shape(), values.shape()];
            let rule = format!("values of shape {expected} are needed");
            crate::fail(Error::Shape { op: "select_assign", shapes, rule });
        }
        let indices = indices.indices_along(axis, &self.shape());
        Self::from_any(self.as_any().scatter(axis, &indices, values, update))
    }

    /// [`Tensor::select_assign`] that replaces: `torch.index_copy`.
    #[track_caller]
    pub fn index_copy(
        &self,
        axis: impl AxisIndex,
        indices: impl AsRef<Tensor<1, Int>>,
        values: impl AsRef<Self>,
    ) -> Self {
        self.select_assign(axis, indices, values, IndexingUpdateOp::Assign)
    }

    /// [`Tensor::select_assign`] that adds: `torch.index_add`.
    #[track_caller]
    pub fn index_add(
        &self,
        axis: impl AxisIndex,
        indices: impl AsRef<Tensor<1, Int>>,
        values: impl AsRef<Self>,
    ) -> Self {
        self.select_assign(axis, indices, values, IndexingUpdateOp::Add)
    }

    /// This tensor with every element of some entries of `axis` replaced by `value`:
    /// `torch.index_fill`.
    #[track_caller]
    pub fn index_fill(
        &self,
        axis: impl AxisIndex,
        indices: impl AsRef<Tensor<1, Int>>,
        value: impl Into<Scalar>,
    ) -> Self {
        let axis = resolve_axis("index_fill", axis, D).or_fail();
        let indices = indices.as_ref().as_any().indices_along(axis, &self.shape());
        let value = self.number(value).expand(indices.shape());
        let update = IndexingUpdateOp::Assign;
        Self::from_any(self.as_any().scatter(axis, &indices, &value, update))
    }

    /// The elements of `value` where `mask` is true, those of this tensor elsewhere; all three
    /// broadcast.
    #[track_caller]
    pub fn mask_where(
        &self,
        mask: impl AsRef<Tensor<D, Bool>>,
        value: impl AsRef<Tensor<D, K>>,
    ) -> Self {
        let (mask, value) = (mask.as_ref().as_any(), value.as_ref().as_any());
        Self::from_any(value.select_where(mask, self.as_any()))
    }

    /// `value` where `mask` is true, the elements of this tensor elsewhere; both broadcast:
    /// `torch.masked_fill`.
    #[track_caller]
    pub fn mask_fill(&self, mask: impl AsRef<Tensor<D, Bool>>, value: impl Into<Scalar>) -> Self {
        let mask = mask.as_ref().as_any();
        Self::from_any(self.number(value).select_where(mask, self.as_any()))
    }

    /// This tensor with the elements where `mask` is true replaced by those of `source`, one after
    /// the other in row-major order: `torch.masked_scatter`. `mask` broadcasts to this tensor; its
    /// values are read back from the device. Panics if `source` has too few elements.
    ///
    /// ```
    /// use kiln_tensor::{Bool, Tensor};
    /// let x = Tensor::<1>::from([1.0, 2.0, 3.0]);
    /// let mask = Tensor::<1, Bool>::from([true, false, true]);
    /// let y = x.masked_scatter(mask, Tensor::<1>::from([7.0, 8.0, 9.0]));
    /// assert_eq!(y.into_data().to_vec::<f32>()?, [7.0, 2.0, 8.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn masked_scatter<const D2: usize>(
        &self,
        mask: impl AsRef<Tensor<D, Bool>>,
        source: impl AsRef<Tensor<D2, K>>,
    ) -> Self {
        let (shape, source) = (self.shape(), source.as_ref().as_any());
        let mask = mask.as_ref().as_any().expand(shape).to_data().or_fail();
        let places: Vec<i64> =
            (mask.iter::<bool>().zip(0..)).filter_map(|(on, i)| on.then_some(i)).collect();
        if places.len() > source.num_elements() {
            let rule = format!("the mask is true {} times", places.len());
            let shapes = vec![shape, source.shape()];
            crate::fail(Error::Shape { op: "masked_scatter", shapes, rule });
        }
        let values = source.reshape([source.num_elements()]).narrow(0, 0, places.len());
        let data = TensorData::from(places);
        let places = AnyTensor::from_data(&data, &self.device()).or_fail();
        let flat = self.as_any().reshape([shape.num_elements()]);
        let result = flat.scatter(0, &places, &values, IndexingUpdateOp::Assign);
        Self::from_any(result.reshape(shape))
    }

    /// One number that broadcasts to this tensor.
    fn number(&self, value: impl Into<Scalar>) -> AnyTensor {
        let meta = crate::op::Meta::new(vec![1; D], self.dtype());
        AnyTensor::full(meta, value, self.device())
    }
}
