//! Other shapes of the same elements. None of these moves a byte, but for `reshape` of a tensor
//! that no view can give the new shape, `cat`, `stack` and `repeat`.

use smallvec::SmallVec;

use crate::error::OrFail;
use crate::op::{Cat, View};
use crate::shape::{AxisIndex, resolve_axis};
use crate::tensor::{Bool, Float, Int, Kind, Tensor};
use crate::{AnyTensor, AxisSlice, DType, Error, Result, Shape};

impl<const D: usize, K: Kind> Tensor<D, K> {
    /// The same elements in row-major order as another shape. One extent may be -1 and is computed;
    /// 0 keeps the extent of its axis.
    ///
    /// ```
    /// use kiln_tensor::Tensor;
    /// let x = Tensor::<2>::from([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    /// assert_eq!(x.reshape([3, -1]).dims(), [3, 2]);
    /// ```
    #[track_caller]
    pub fn reshape<const D2: usize>(&self, shape: impl ReshapeArgs<D2>) -> Tensor<D2, K> {
        Tensor::from_any(self.as_any().reshape(shape.resolve(&self.shape())))
    }

    /// Axes `start` to `end`, both included, as one.
    #[track_caller]
    pub fn flatten<const D2: usize>(
        &self,
        start: impl AxisIndex,
        end: impl AxisIndex,
    ) -> Tensor<D2, K> {
        let start = resolve_axis("flatten", start, D).or_fail();
        let end = resolve_axis("flatten", end, D).or_fail();
        if start > end {
            let rule = format!("axis {start} comes after axis {end}");
            crate::fail(Error::Argument { op: "flatten", rule });
        }
        let shape = self.shape();
        let joined = shape[start..=end].iter().product();
        let dims: SmallVec<[usize; 8]> = shape[..start]
            .iter()
            .copied()
            .chain([joined])
            .chain(shape[end + 1..].iter().copied())
            .collect();
        Tensor::from_any(self.as_any().reshape(Shape::new(&dims)))
    }

    /// Axis `i` of the result is axis `axes[i]` of this tensor.
    #[track_caller]
    pub fn permute<A: AxisIndex>(&self, axes: [A; D]) -> Self {
        let axes = axes.into_iter().map(|axis| Ok(resolve_axis("permute", axis, D)? as u8));
        let axes: SmallVec<[u8; 8]> = axes.collect::<Result<_>>().or_fail();
        Self::from_any(self.as_any().permute(&axes))
    }

    /// Two axes exchanged.
    #[track_caller]
    pub fn swap_dims(&self, a: impl AxisIndex, b: impl AxisIndex) -> Self {
        let a = resolve_axis("swap_dims", a, D).or_fail();
        let b = resolve_axis("swap_dims", b, D).or_fail();
        Self::from_any(self.as_any().swap_axes(a, b))
    }

    /// The last two axes exchanged.
    #[track_caller]
    pub fn transpose(&self) -> Self {
        Self::from_any(self.as_any().transpose())
    }

    /// The last two axes exchanged.
    #[track_caller]
    pub fn t(&self) -> Self {
        self.transpose()
    }

    /// Repeated along axes of extent 1 and new leading axes; -1 keeps an extent.
    #[track_caller]
    pub fn expand<const D2: usize>(&self, shape: impl ExpandArgs<D2>) -> Tensor<D2, K> {
        Tensor::from_any(self.as_any().expand(shape.resolve(&self.shape())))
    }

    /// A new axis of extent 1 before `axis`; -1 puts it at the end.
    #[track_caller]
    pub fn unsqueeze_dim<const D2: usize>(&self, axis: impl AxisIndex) -> Tensor<D2, K> {
        let axis = resolve_axis("unsqueeze_dim", axis, D + 1).or_fail();
        Tensor::from_any(self.as_any().reshape(self.shape().inserted(axis, 1).or_fail()))
    }

    /// New axes of extent 1 in front.
    #[track_caller]
    pub fn unsqueeze<const D2: usize>(&self) -> Tensor<D2, K> {
        let mut dims = vec![1; D2.saturating_sub(D)];
        dims.extend_from_slice(&self.shape());
        Tensor::from_any(self.as_any().reshape(Shape::new(&dims)))
    }

    /// Without `axis`, whose extent must be 1.
    #[track_caller]
    pub fn squeeze_dim<const D2: usize>(&self, axis: impl AxisIndex) -> Tensor<D2, K> {
        let axis = resolve_axis("squeeze_dim", axis, D).or_fail();
        if self.shape()[axis] != 1 {
            let rule = format!("axis {axis} must have extent 1");
            crate::fail(Error::Shape { op: "squeeze_dim", shapes: vec![self.shape()], rule });
        }
        Tensor::from_any(self.as_any().reshape(self.shape().without(axis)))
    }

    /// Without any axis of extent 1.
    #[track_caller]
    pub fn squeeze<const D2: usize>(&self) -> Tensor<D2, K> {
        let dims: Vec<_> = self.shape().iter().copied().filter(|&extent| extent != 1).collect();
        Tensor::from_any(self.as_any().reshape(Shape::new(&dims)))
    }

    /// The elements along some axes in reverse.
    #[track_caller]
    pub fn flip<A: AxisIndex, const N: usize>(&self, axes: [A; N]) -> Self {
        let shape = self.shape();
        let reverse = |axis: A| {
            let axis = resolve_axis("flip", axis, D)?;
            let len = shape[axis];
            Ok(AxisSlice { axis, start: len.saturating_sub(1), len, step: -1 })
        };
        let slices = axes.into_iter().map(reverse).collect::<Result<_>>().or_fail();
        self.apply(View::Slice(slices), &[])
    }

    /// Windows of `size` entries along `axis`, `step` apart, as a new last axis.
    #[track_caller]
    pub fn unfold<const D2: usize>(
        &self,
        axis: impl AxisIndex,
        size: usize,
        step: usize,
    ) -> Tensor<D2, K> {
        let axis = resolve_axis("unfold", axis, D).or_fail();
        self.apply(View::Unfold { axis, size, step }, &[])
    }

    /// Tensors one after the other along `axis`.
    #[track_caller]
    pub fn cat(tensors: &[Self], axis: impl AxisIndex) -> Self {
        let axis = resolve_axis("cat", axis, D).or_fail();
        let tensors: Vec<_> = tensors.iter().map(Tensor::as_any).collect();
        Self::from_any(AnyTensor::cat(&tensors, axis))
    }

    /// Tensors of one shape side by side along a new axis.
    #[track_caller]
    pub fn stack<const D2: usize>(tensors: &[Self], axis: impl AxisIndex) -> Tensor<D2, K> {
        let axis = resolve_axis("stack", axis, D + 1).or_fail();
        let mut parts: Vec<Tensor<D2, K>> = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            parts.push(tensor.unsqueeze_dim(axis));
        }
        Tensor::cat(&parts, axis)
    }

    /// The tensor `times` times along `axis`.
    #[track_caller]
    pub fn repeat_dim(&self, axis: impl AxisIndex, times: usize) -> Self {
        let axis = resolve_axis("repeat_dim", axis, D).or_fail();
        if times == 0 {
            return Self::from_any(self.as_any().narrow(axis, 0, 0));
        }
        let copies = vec![self.as_any(); times - 1];
        Self::from_any(self.as_any().apply(Cat { axis }, &copies))
    }

    /// `chunks` parts along `axis`, as equal as possible; the last may be smaller.
    #[track_caller]
    pub fn chunk(&self, chunks: usize, axis: impl AxisIndex) -> Vec<Self> {
        let axis = resolve_axis("chunk", axis, D).or_fail();
        let extent = self.shape()[axis];
        let size = extent.div_ceil(chunks.max(1)).max(1);
        let part =
            |start| Self::from_any(self.as_any().narrow(axis, start, size.min(extent - start)));
        (0..extent).step_by(size).map(part).collect()
    }

    /// The same elements without gaps in row-major order; no copy if they are so already.
    pub fn contiguous(&self) -> Self {
        Self::from_any(self.as_any().contiguous())
    }

    /// The same numbers as another dtype of the same kind.
    #[track_caller]
    pub fn cast(&self, dtype: DType) -> Self {
        Self::from_any(self.as_any().cast(dtype))
    }
}

impl<const D: usize> Tensor<D, Float> {
    /// Whole numbers, cut toward zero.
    pub fn int(&self) -> Tensor<D, Int> {
        Tensor::from_any(self.as_any().cast(DType::I64))
    }
}

impl<const D: usize> Tensor<D, Int> {
    /// The same numbers as f32.
    pub fn float(&self) -> Tensor<D> {
        Tensor::from_any(self.as_any().cast(DType::F32))
    }
}

impl<const D: usize> Tensor<D, Bool> {
    /// True as 1, false as 0.
    pub fn float(&self) -> Tensor<D> {
        Tensor::from_any(self.as_any().cast(DType::F32))
    }

    /// True as 1, false as 0.
    pub fn int(&self) -> Tensor<D, Int> {
        Tensor::from_any(self.as_any().cast(DType::I64))
    }
}

/// A shape with `D2` axes for [`Tensor::reshape`]: extents, or signed ones with -1 and 0.
pub trait ReshapeArgs<const D2: usize> {
    /// The extents for a tensor of shape `from`.
    fn resolve(self, from: &Shape) -> Shape;
}

impl<const D2: usize> ReshapeArgs<D2> for [usize; D2] {
    #[track_caller]
    fn resolve(self, _: &Shape) -> Shape {
        Shape::new(self)
    }
}

impl<const D2: usize> ReshapeArgs<D2> for Shape {
    fn resolve(self, _: &Shape) -> Shape {
        self
    }
}

impl<const D2: usize> ReshapeArgs<D2> for [i32; D2] {
    #[track_caller]
    fn resolve(self, from: &Shape) -> Shape {
        let error = |rule: &str| {
            let rule = format!("{self:?}: {rule}");
            Error::Shape { op: "reshape", shapes: vec![*from], rule }
        };
        let mut dims = [1; D2];
        let mut open = None;
        for (axis, &extent) in self.iter().enumerate() {
            dims[axis] = match extent {
                -1 if open.replace(axis).is_some() => {
                    crate::fail(error("only one extent may be -1"))
                }
                -1 => 1,
                0 if axis < from.rank() => from[axis],
                extent => usize::try_from(extent).map_err(|_| error("a negative extent")).or_fail(),
            };
        }
        if let Some(axis) = open {
            let known: usize = dims.iter().product();
            if known == 0 || !from.num_elements().is_multiple_of(known) {
                crate::fail(error("the extent -1 is no whole number"));
            }
            dims[axis] = from.num_elements() / known;
        }
        Shape::new(dims)
    }
}

/// A shape with `D2` axes for [`Tensor::expand`]: extents, or signed ones where -1 keeps.
pub trait ExpandArgs<const D2: usize> {
    /// The extents for a tensor of shape `from`.
    fn resolve(self, from: &Shape) -> Shape;
}

impl<const D2: usize> ExpandArgs<D2> for [usize; D2] {
    #[track_caller]
    fn resolve(self, _: &Shape) -> Shape {
        Shape::new(self)
    }
}

impl<const D2: usize> ExpandArgs<D2> for [i32; D2] {
    #[track_caller]
    fn resolve(self, from: &Shape) -> Shape {
        let lead = D2.saturating_sub(from.rank());
        let mut dims = [1; D2];
        for (axis, &extent) in self.iter().enumerate() {
            let negative = |_| {
                let rule = format!("{self:?} has a negative extent for a new axis");
                Error::Shape { op: "expand", shapes: vec![*from], rule }
            };
            dims[axis] = match extent {
                -1 if axis >= lead => from[axis - lead],
                extent => usize::try_from(extent).map_err(negative).or_fail(),
            };
        }
        Shape::new(dims)
    }
}
