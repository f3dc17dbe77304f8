//! Parts of tensors, and elements picked by index or mask.

use smallvec::SmallVec;

use crate::error::OrFail;
use crate::op::{Select, View};
use crate::shape::{AxisIndex, resolve_axis};
use crate::tensor::{Bool, Int, Kind, Tensor};
use crate::{AnyTensor, AxisSlice, Error, Result, Scalar};

/// A part of one axis: from `start` to `end` (excluded; `None` is the end of the axis), every
/// `step`-th. Negative bounds count from the end; a negative step walks the range backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The first entry.
    pub start: isize,
    /// One past the last entry; `None` is the end of the axis.
    pub end: Option<isize>,
    /// The distance of neighbours, not zero.
    pub step: isize,
}

impl Slice {
    /// A part with all three values.
    pub fn new(start: isize, end: Option<isize>, step: isize) -> Self {
        Self { start, end, step }
    }

    /// The whole axis.
    pub fn full() -> Self {
        Self::new(0, None, 1)
    }

    /// The same range, every `step`-th entry.
    pub fn with_step(self, step: isize) -> Self {
        Self { step, ..self }
    }

    /// This part of an axis of `extent` entries. Bounds past the ends are cut, as in Python.
    fn resolve(&self, axis: usize, extent: usize) -> Result<AxisSlice> {
        if self.step == 0 {
            let rule = "the step must not be zero".into();
            return Err(Error::Argument { op: "slice", rule });
        }
        let bound = |at: isize| {
            let at = if at < 0 { at.saturating_add(extent as isize) } else { at };
            at.clamp(0, extent as isize) as usize
        };
        let (start, end) = (bound(self.start), self.end.map_or(extent, bound));
        let len = end.saturating_sub(start).div_ceil(self.step.unsigned_abs());
        // Walking backwards starts at the last entry of the range.
        let start = if self.step < 0 { end.saturating_sub(1) } else { start };
        Ok(AxisSlice { axis, start, len, step: self.step })
    }
}

macro_rules! slice_from_ranges {
    ($($type:ty)*) => {$(
        impl From<std::ops::Range<$type>> for Slice {
            fn from(range: std::ops::Range<$type>) -> Self {
                Slice::new(range.start as isize, Some(range.end as isize), 1)
            }
        }
        impl From<std::ops::RangeInclusive<$type>> for Slice {
            fn from(range: std::ops::RangeInclusive<$type>) -> Self {
                // Up to -1, the last entry, is up to the end.
                let end = *range.end() as isize + 1;
                Slice::new(*range.start() as isize, (end != 0).then_some(end), 1)
            }
        }
        impl From<std::ops::RangeFrom<$type>> for Slice {
            fn from(range: std::ops::RangeFrom<$type>) -> Self {
                Slice::new(range.start as isize, None, 1)
            }
        }
        impl From<std::ops::RangeTo<$type>> for Slice {
            fn from(range: std::ops::RangeTo<$type>) -> Self {
                Slice::new(0, Some(range.end as isize), 1)
            }
        }
        /// One entry; its axis stays with extent 1.
        impl From<$type> for Slice {
            fn from(index: $type) -> Self {
                let end = index as isize + 1;
                Slice::new(index as isize, (end != 0).then_some(end), 1)
            }
        }
    )*};
}
slice_from_ranges!(usize isize i32 i64);

impl From<std::ops::RangeFull> for Slice {
    fn from(_: std::ops::RangeFull) -> Self {
        Slice::full()
    }
}

/// What [`Tensor::slice`] takes: a part for the first axis, or an array of parts for the first
/// axes. [`s!`](crate::s) makes one of parts of different types.
pub trait SliceArg {
    /// The parts, from the first axis on.
    fn slices(self) -> SmallVec<[Slice; 4]>;
}

impl<T: Into<Slice>, const N: usize> SliceArg for [T; N] {
    fn slices(self) -> SmallVec<[Slice; 4]> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<T: Into<Slice>> SliceArg for T {
    fn slices(self) -> SmallVec<[Slice; 4]> {
        std::iter::once(self.into()).collect()
    }
}

/// Parts of axes for [`Tensor::slice`]: `s![1..3, .., -2..]`.
#[macro_export]
macro_rules! s {
    ($($part:expr),* $(,)?) => {
        [$($crate::Slice::from($part)),*]
    };
}

impl<const D: usize, K: Kind> Tensor<D, K> {
    /// A part of the tensor; axes without a part are kept whole. No byte moves.
    ///
    /// ```
    /// use kiln_tensor::{Slice, Tensor, s};
    /// let x = Tensor::<2>::from([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    /// let last = x.slice(s![.., -1]);
    /// assert_eq!(last.into_data().to_vec::<f32>()?, [3.0, 6.0]);
    /// let backwards = x.slice(s![0..1, Slice::full().with_step(-2)]);
    /// assert_eq!(backwards.into_data().to_vec::<f32>()?, [3.0, 1.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn slice(&self, slices: impl SliceArg) -> Self {
        let (slices, shape) = (slices.slices(), self.shape());
        if slices.len() > D {
            let rule = format!("{} parts for {D} axes", slices.len());
            crate::fail(Error::Shape { op: "slice", shapes: vec![shape], rule });
        }
        let parts: SmallVec<[AxisSlice; 1]> = slices
            .iter()
            .enumerate()
            .filter(|(_, slice)| **slice != Slice::full())
            .map(|(axis, slice)| slice.resolve(axis, shape[axis]))
            .collect::<Result<_>>()
            .or_fail();
        if parts.is_empty() { self.clone() } else { self.apply(View::Slice(parts), &[]) }
    }

    /// `len` entries of `axis` from `start`. No byte moves.
    #[track_caller]
    pub fn narrow(&self, axis: impl AxisIndex, start: usize, len: usize) -> Self {
        let axis = resolve_axis("narrow", axis, D).or_fail();
        Self::from_any(self.as_any().narrow(axis, start, len))
    }

    /// Whole entries of `axis`, picked by index: `torch.index_select`. Panics if an index is out of
    /// range.
    #[track_caller]
    pub fn select(&self, axis: impl AxisIndex, indices: impl AsRef<Tensor<1, Int>>) -> Self {
        let axis = resolve_axis("select", axis, D).or_fail();
        self.apply(Select { axis }, &[indices.as_ref().as_any()])
    }

    /// One element per index along `axis`: `torch.gather`. Panics if an index is out of range.
    #[track_caller]
    pub fn gather(&self, axis: impl AxisIndex, indices: impl AsRef<Tensor<D, Int>>) -> Self {
        let axis = resolve_axis("gather", axis, D).or_fail();
        Self::from_any(self.as_any().gather(axis, indices.as_ref().as_any()))
    }

    /// The elements of `value` where `mask` is true, those of this tensor elsewhere.
    #[track_caller]
    pub fn mask_where(
        &self,
        mask: impl AsRef<Tensor<D, Bool>>,
        value: impl AsRef<Tensor<D, K>>,
    ) -> Self {
        let (mask, value) = (mask.as_ref().as_any(), value.as_ref().as_any());
        Self::from_any(value.select_where(mask, self.as_any()))
    }

    /// `value` where `mask` is true, the elements of this tensor elsewhere.
    #[track_caller]
    pub fn mask_fill(&self, mask: impl AsRef<Tensor<D, Bool>>, value: impl Into<Scalar>) -> Self {
        let meta = crate::op::Meta::new([1; D], self.dtype());
        let value = AnyTensor::full(meta, value, self.device());
        Self::from_any(value.select_where(mask.as_ref().as_any(), self.as_any()))
    }
}
