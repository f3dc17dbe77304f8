//! Sorting, running totals, and positions of elements.

use crate::AnyTensor;
use crate::layout::AxisSlice;
use crate::op::{
    Arange, Axes, BinaryKind, LinearRecurrence, Nonzero, ReduceKind, Scan, ScanKind, SearchSorted,
    Sort, View,
};
use crate::{DType, Shape};

impl AnyTensor {
    /// The entries of `axis` in order, and where each was.
    #[track_caller]
    pub fn sort(&self, axis: usize, descending: bool) -> [Self; 2] {
        self.pair(Sort { axis, descending, ranks: None })
    }

    /// `len` entries of `axis` in order from rank `start` on, and where each was.
    #[track_caller]
    pub fn sort_ranks(&self, axis: usize, descending: bool, start: usize, len: usize) -> [Self; 2] {
        self.pair(Sort { axis, descending, ranks: Some((start, len)) })
    }

    #[track_caller]
    fn pair(&self, op: impl Into<crate::op::Op>) -> [Self; 2] {
        let mut outputs = self.apply_all(op, &[]);
        let second = outputs.pop().expect("a second output");
        [outputs.swap_remove(0), second]
    }

    /// Combines each entry of `axis` with all before it.
    #[track_caller]
    pub fn scan(&self, kind: ScanKind, axis: usize) -> Self {
        self.apply(Scan { kind, axis }, &[])
    }

    /// The running extremum along `axis`, and where each came from.
    #[track_caller]
    pub fn scan_with_indices(&self, max: bool, axis: usize) -> [Self; 2] {
        self.pair(Scan { kind: if max { ScanKind::Max } else { ScanKind::Min }, axis })
    }

    /// `h[t] = self[t] * h[t - 1] + b[t]` along `axis`, from `h[0] = b[0]`.
    #[track_caller]
    pub fn linear_recurrence(&self, b: &Self, axis: usize) -> Self {
        self.apply(LinearRecurrence { axis }, &[b])
    }

    /// The entries of `axis` from the last to the first.
    #[track_caller]
    pub fn reverse(&self, axis: usize) -> Self {
        let len = self.shape()[axis];
        let slice = AxisSlice { axis, start: len.saturating_sub(1), len, step: -1 };
        self.apply(View::Slice([slice].into_iter().collect()), &[])
    }

    /// Whether each element is not zero. NaN is not.
    #[track_caller]
    pub fn is_nonzero(&self) -> Self {
        match self.dtype() {
            DType::Bool => self.clone(),
            _ => self.binary_scalar(BinaryKind::NotEqual, 0),
        }
    }

    /// How many elements along `axes` are not zero, as i64.
    #[track_caller]
    pub fn count_nonzero(&self, axes: Axes) -> Self {
        self.is_nonzero().cast(DType::I64).reduce(ReduceKind::Sum, axes)
    }

    /// The positions of all elements that are not zero: `[count, rank]`. Waits for the device.
    #[track_caller]
    pub fn nonzero(&self) -> Self {
        let count = self.count_nonzero(Axes::all(self.rank())).item::<i64>() as usize;
        self.apply(Nonzero { count }, &[])
    }

    /// The elements where `mask`, of the same shape, is true, in row-major order: `[count]`. Waits
    /// for the device.
    #[track_caller]
    pub fn mask_select(&self, mask: &Self) -> Self {
        let n = self.num_elements();
        let positions = mask.reshape([n]).nonzero();
        self.reshape([n]).select(0, &positions.reshape([positions.num_elements()]))
    }

    /// Where each of `values` belongs in this sorted tensor.
    #[track_caller]
    pub fn search_sorted(&self, values: &Self, right: bool) -> Self {
        let dtype = self.dtype().promote(values.dtype());
        self.cast(dtype).apply(SearchSorted { right }, &[&values.cast(dtype)])
    }

    /// `0, 1, ..` along `axis` of a tensor of this shape, as i64.
    #[track_caller]
    pub(crate) fn positions(&self, axis: usize) -> Self {
        let (n, rank) = (self.shape()[axis], self.rank());
        let op = Arange { start: 0.into(), step: 1.into(), len: n, dtype: DType::I64 };
        let shape = Shape::new(vec![1; rank]).with(axis, n);
        AnyTensor::create(op, self.device()).reshape(shape).expand(self.shape())
    }
}
