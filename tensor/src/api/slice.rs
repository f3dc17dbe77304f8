//! Parts of tensors, and assignment to them.

use std::fmt;
use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

use smallvec::SmallVec;

use crate::error::OrFail;
use crate::op::View;
use crate::shape::{AxisIndex, resolve_axis};
use crate::tensor::{Kind, Tensor};
use crate::{AnyTensor, AxisSlice, Error, Result, Scalar, Shape};

/// A part of one axis: from `start` to `end` (excluded; `None` is the end of the axis), every
/// `step`-th. Negative bounds count from the end, and bounds past the ends are cut, as in Python. A
/// negative step walks the same range backwards: `0..5` with step -2 is 4, 2, 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slice {
    /// The first entry.
    pub start: isize,
    /// One past the last entry; `None` is the end of the axis.
    pub end: Option<isize>,
    /// The distance of neighbours, not zero.
    pub step: isize,
}

impl Slice {
    /// A part with all three values. A step of zero is an error where the part is used.
    pub const fn new(start: isize, end: Option<isize>, step: isize) -> Self {
        Self { start, end, step }
    }

    /// The whole axis.
    pub const fn full() -> Self {
        Self::new(0, None, 1)
    }

    /// One entry; its axis stays with extent 1.
    pub const fn index(index: isize) -> Self {
        // One past -1, the last entry, is the end.
        let end = if index == -1 { None } else { Some(index.saturating_add(1)) };
        Self::new(index, end, 1)
    }

    /// As [`Slice::new`].
    pub const fn with_step(start: isize, end: Option<isize>, step: isize) -> Self {
        Self::new(start, end, step)
    }

    /// Every `step`-th entry of a range: `from_range_stepped(0..10, 2)`, for which [`s!`](crate::s)
    /// has `0..10;2`.
    pub fn from_range_stepped(range: impl Into<Slice>, step: isize) -> Self {
        Self { step, ..range.into() }
    }

    /// The distance of neighbours.
    pub fn step(&self) -> isize {
        self.step
    }

    /// Whether the range is walked backwards.
    pub fn is_reversed(&self) -> bool {
        self.step < 0
    }

    /// The range of an axis of `extent` entries, from its lower to its upper end; empty if they are
    /// the wrong way round.
    pub fn to_range(&self, extent: usize) -> Range<usize> {
        let bound = |at: isize| {
            let at = if at < 0 { at.saturating_add_unsigned(extent) } else { at };
            at.clamp(0, extent as isize) as usize
        };
        bound(self.start)..self.end.map_or(extent, bound)
    }

    /// How many entries of an axis of `extent` are in the part.
    pub fn output_size(&self, extent: usize) -> usize {
        let range = self.to_range(extent);
        range.end.saturating_sub(range.start).div_ceil(self.step.unsigned_abs().max(1))
    }

    /// This part of an axis of `extent` entries.
    pub(crate) fn resolve(&self, axis: usize, extent: usize) -> Result<AxisSlice> {
        if self.step == 0 {
            let rule = "the step must not be zero".into();
            return Err(Error::Argument { op: "slice", rule });
        }
        let (range, len) = (self.to_range(extent), self.output_size(extent));
        // Walking backwards starts at the last entry of the range.
        let start = if self.step < 0 { range.end.saturating_sub(1) } else { range.start };
        // A single entry has no neighbour, however far a step would lead.
        let step = if len <= 1 { self.step.signum() } else { self.step };
        Ok(AxisSlice { axis, start, len, step })
    }
}

impl Default for Slice {
    fn default() -> Self {
        Self::full()
    }
}

/// As [`s!`](crate::s) takes it: `1..10;2`, or `3` for one entry.
impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.step == 1 && *self == Self::index(self.start) && self.end.is_some() {
            return write!(f, "{}", self.start);
        }
        if self.start != 0 {
            write!(f, "{}", self.start)?;
        }
        f.write_str("..")?;
        if let Some(end) = self.end {
            write!(f, "{end}")?;
        }
        if self.step != 1 {
            write!(f, ";{}", self.step)?;
        }
        Ok(())
    }
}

/// A bound as a signed number; what does not fit is past the end of any axis.
fn signed<T: TryInto<isize>>(bound: T) -> isize {
    bound.try_into().unwrap_or(isize::MAX)
}

macro_rules! slice_from_ranges {
    ($($type:ty)*) => {$(
        impl From<Range<$type>> for Slice {
            fn from(range: Range<$type>) -> Self {
                Slice::new(signed(range.start), Some(signed(range.end)), 1)
            }
        }
        impl From<RangeInclusive<$type>> for Slice {
            fn from(range: RangeInclusive<$type>) -> Self {
                Slice { start: signed(*range.start()), ..Slice::index(signed(*range.end())) }
            }
        }
        impl From<RangeFrom<$type>> for Slice {
            fn from(range: RangeFrom<$type>) -> Self {
                Slice::new(signed(range.start), None, 1)
            }
        }
        impl From<RangeTo<$type>> for Slice {
            fn from(range: RangeTo<$type>) -> Self {
                Slice::new(0, Some(signed(range.end)), 1)
            }
        }
        impl From<RangeToInclusive<$type>> for Slice {
            fn from(range: RangeToInclusive<$type>) -> Self {
                Slice { start: 0, ..Slice::index(signed(range.end)) }
            }
        }
        /// One entry; its axis stays with extent 1.
        impl From<$type> for Slice {
            fn from(index: $type) -> Self {
                Slice::index(signed(index))
            }
        }
    )*};
}
slice_from_ranges!(usize isize i32 i64 u32);

impl From<RangeFull> for Slice {
    fn from(_: RangeFull) -> Self {
        Slice::full()
    }
}

/// What [`Tensor::slice`] takes: a part for the first axis, or an array, slice, vector or tuple of
/// parts for the first axes. [`s!`](crate::s) makes them in the notation of ranges.
pub trait SliceArg {
    /// The parts, from the first axis on.
    fn slices(self) -> SmallVec<[Slice; 4]>;
}

impl<T: Into<Slice>, const N: usize> SliceArg for [T; N] {
    fn slices(self) -> SmallVec<[Slice; 4]> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<T: Into<Slice> + Clone> SliceArg for &[T] {
    fn slices(self) -> SmallVec<[Slice; 4]> {
        self.iter().cloned().map(Into::into).collect()
    }
}

impl<T: Into<Slice> + Clone> SliceArg for &Vec<T> {
    fn slices(self) -> SmallVec<[Slice; 4]> {
        self.as_slice().slices()
    }
}

impl<T: Into<Slice>> SliceArg for Vec<T> {
    fn slices(self) -> SmallVec<[Slice; 4]> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<T: Into<Slice>> SliceArg for T {
    fn slices(self) -> SmallVec<[Slice; 4]> {
        std::iter::once(self.into()).collect()
    }
}

macro_rules! slice_arg_of_tuples {
    ($(($($name:ident)+))*) => {$(
        impl<$($name: Into<Slice>),+> SliceArg for ($($name,)+) {
            fn slices(self) -> SmallVec<[Slice; 4]> {
                #[allow(non_snake_case)]
                let ($($name,)+) = self;
                [$($name.into()),+].into_iter().collect()
            }
        }
    )*};
}
slice_arg_of_tuples!((A B) (A B C) (A B C D) (A B C D E) (A B C D E F));

/// Parts of axes for [`Tensor::slice`]: ranges, each with a step if `;step` follows, or single
/// indices, whose axis stays with extent 1. Negative numbers count from the end.
///
/// One part gives a [`Slice`](crate::Slice), several an array of them.
///
/// ```
/// use kiln_tensor::{Int, Tensor, s};
/// let x = Tensor::<1, Int>::from([0, 1, 2, 3, 4, 5]);
/// assert_eq!(x.slice(s![1..;2]).into_data().to_vec::<i64>()?, [1, 3, 5]);
/// assert_eq!(x.slice(s![0..5;-2]).into_data().to_vec::<i64>()?, [4, 2, 0]);
/// let x = x.reshape([2, 3]);
/// assert_eq!(x.slice(s![.., -1]).into_data().to_vec::<i64>()?, [2, 5]);
/// assert_eq!(x.slice(s![..;-1, ..=1]).into_data().to_vec::<i64>()?, [3, 4, 0, 1]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[macro_export]
macro_rules! s {
    ($range:expr $(; $step:expr)?) => {{
        #[allow(clippy::reversed_empty_ranges)]
        let slice = $crate::Slice::from($range);
        $(let slice = $crate::Slice::from_range_stepped(slice, $step as isize);)?
        slice
    }};
    ($($range:expr $(; $step:expr)?),+ $(,)?) => {
        [$($crate::s!($range $(; $step)?)),+]
    };
}

/// The view of `shape` that `slices` stand for; `None` if it is all of it.
fn view(op: &'static str, slices: &[Slice], shape: &Shape) -> Result<Option<View>> {
    if slices.len() > shape.rank() {
        let rule = format!("{} parts for {} axes", slices.len(), shape.rank());
        return Err(Error::Shape { op, shapes: vec![*shape], rule });
    }
    let parts: SmallVec<[AxisSlice; 1]> = slices
        .iter()
        .enumerate()
        .filter(|(_, slice)| **slice != Slice::full())
        .map(|(axis, slice)| slice.resolve(axis, shape[axis]))
        .collect::<Result<_>>()?;
    Ok((!parts.is_empty()).then_some(View::Slice(parts)))
}

/// The view of the part, also if it is all of `shape`.
fn part(op: &'static str, slices: impl SliceArg, shape: &Shape) -> Result<View> {
    let view = view(op, &slices.slices(), shape)?;
    Ok(view.unwrap_or_else(|| View::Slice(SmallVec::new())))
}

/// Whether there is nothing in the part.
fn is_empty(view: &View, shape: Shape) -> bool {
    view.layout(&crate::Layout::contiguous(shape)).or_fail().shape().contains(&0)
}

impl<const D: usize, K: Kind> Tensor<D, K> {
    /// A part of the tensor; axes without a part are kept whole. No byte moves.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, s};
    /// let x = Tensor::<2>::from([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    /// let last = x.slice(s![.., -1]);
    /// assert_eq!(last.into_data().to_vec::<f32>()?, [3.0, 6.0]);
    /// let backwards = x.slice((0..1, s![..;-2]));
    /// assert_eq!(backwards.into_data().to_vec::<f32>()?, [3.0, 1.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn slice(&self, slices: impl SliceArg) -> Self {
        match view("slice", &slices.slices(), &self.shape()).or_fail() {
            Some(view) => self.apply(view, &[]),
            None => self.clone(),
        }
    }

    /// A part of one axis; the others are kept whole. No byte moves.
    #[track_caller]
    pub fn slice_dim(&self, axis: impl AxisIndex, slice: impl Into<Slice>) -> Self {
        let axis = resolve_axis("slice_dim", axis, D).or_fail();
        let part = slice.into().resolve(axis, self.shape()[axis]).or_fail();
        self.apply(View::Slice(SmallVec::from_buf([part])), &[])
    }

    /// This tensor with a part replaced by `values`, which have the shape of the part:
    /// `torch.slice_scatter`. Gradients flow to both. An empty part, as one beyond the
    /// end of its axis is, takes nothing of `values`, whatever their shape.
    /// [`Tensor::slice_assign_inplace`] saves the copy.
    ///
    /// ```
    /// use kiln_tensor::{Int, Tensor, s};
    /// let x = Tensor::<1, Int>::from([0, 1, 2, 3, 4]);
    /// let y = x.slice_assign(s![..;-2], Tensor::<1, Int>::from([7, 8, 9]));
    /// assert_eq!(y.into_data().to_vec::<i64>()?, [9, 1, 8, 3, 7]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn slice_assign(&self, slices: impl SliceArg, values: impl AsRef<Self>) -> Self {
        let view = part("slice_assign", slices, &self.shape()).or_fail();
        if is_empty(&view, self.shape()) {
            return self.clone();
        }
        Self::from_any(self.as_any().assign(view, values.as_ref().as_any()))
    }

    /// As [`Tensor::slice_assign`], in the place of this tensor: its memory is written where no
    /// other tensor shares it and nothing is tracked, and is copied first elsewhere, so that no
    /// other tensor ever changes.
    #[track_caller]
    pub fn slice_assign_inplace(&mut self, slices: impl SliceArg, values: impl AsRef<Self>) {
        let view = part("slice_assign", slices, &self.shape()).or_fail();
        if !is_empty(&view, self.shape()) {
            self.as_any_mut().assign_inplace(view, values.as_ref().as_any());
        }
    }

    /// This tensor with every element of a part replaced by `value`.
    #[track_caller]
    pub fn slice_fill(&self, slices: impl SliceArg, value: impl Into<Scalar>) -> Self {
        let view = part("slice_fill", slices, &self.shape()).or_fail();
        let part = view.layout(&crate::Layout::contiguous(self.shape())).or_fail();
        let meta = crate::op::Meta::new(vec![1; D], self.dtype());
        let value = AnyTensor::full(meta, value, self.device()).expand(part.shape());
        Self::from_any(self.as_any().assign(view, &value))
    }
}
