//! Other shapes of the same elements. None of these moves a byte, but for `reshape` of a tensor
//! that no view can give the new shape.

use smallvec::SmallVec;

use crate::api::axes::AxesArg;
use crate::error::OrFail;
use crate::op::View;
use crate::shape::{AxisIndex, resolve_axis};
use crate::tensor::{Kind, Tensor};
use crate::{AxisSlice, Error, Result, Shape};

type Dims = SmallVec<[usize; 8]>;

impl<const D: usize, K: Kind> Tensor<D, K> {
    /// The same elements in row-major order as another shape. One extent may be -1 and is computed;
    /// a signed 0 keeps the extent of its axis.
    ///
    /// ```
    /// use kiln_tensor::Tensor;
    /// let x = Tensor::<2>::from([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    /// assert_eq!(x.reshape([3, -1]).dims(), [3, 2]);
    /// ```
    #[track_caller]
    pub fn reshape<const D2: usize, S: ReshapeArgs<D2>>(&self, shape: S) -> Tensor<D2, K> {
        Tensor::from_any(self.as_any().reshape(shape.resolve(&self.shape())))
    }

    /// All elements in row-major order as a vector.
    #[track_caller]
    pub fn ravel(&self) -> Tensor<1, K> {
        self.reshape([self.num_elements()])
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
        let dims = [&shape[..start], &[joined], &shape[end + 1..]].concat();
        Tensor::from_any(self.as_any().reshape(Shape::new(dims)))
    }

    /// `axis` as several axes of the extents `sizes`, of which one may be -1.
    #[track_caller]
    pub fn unflatten<const D2: usize, const N: usize>(
        &self,
        axis: impl AxisIndex,
        sizes: impl ReshapeArgs<N>,
    ) -> Tensor<D2, K> {
        let axis = resolve_axis("unflatten", axis, D).or_fail();
        let shape = self.shape();
        let sizes = sizes.resolve(&Shape::new([shape[axis]]));
        let dims = [&shape[..axis], &sizes[..], &shape[axis + 1..]].concat();
        Tensor::from_any(self.as_any().reshape(Shape::new(dims)))
    }

    /// Axis `i` of the result is axis `axes[i]` of this tensor.
    #[track_caller]
    pub fn permute<A: AxisIndex>(&self, axes: [A; D]) -> Self {
        let axes = axes.into_iter().map(|axis| Ok(resolve_axis("permute", axis, D)? as u8));
        let axes: SmallVec<[u8; 8]> = axes.collect::<Result<_>>().or_fail();
        Self::from_any(self.as_any().permute(&axes))
    }

    /// Each axis of `from` moved to its place in `to`; the others keep their order:
    /// `torch.movedim`. Takes one axis or a list of them.
    ///
    /// ```
    /// use kiln_tensor::{Device, Tensor};
    /// let x = Tensor::<3>::zeros([2, 3, 4], &Device::cpu());
    /// assert_eq!(x.movedim(0, -1).dims(), [3, 4, 2]);
    /// assert_eq!(x.movedim([0, 1], [1, 2]).dims(), [4, 2, 3]);
    /// ```
    #[track_caller]
    pub fn movedim(&self, from: impl AxesArg, to: impl AxesArg) -> Self {
        let axes = |axes: SmallVec<[isize; 8]>| {
            let axes = axes.into_iter().map(|axis| resolve_axis("movedim", axis, D));
            axes.collect::<Result<Dims>>().or_fail()
        };
        let (from, to) = (axes(from.axes()), axes(to.axes()));
        let distinct = |axes: &Dims| (1..axes.len()).all(|i| !axes[..i].contains(&axes[i]));
        if from.len() != to.len() || !distinct(&from) || !distinct(&to) {
            let rule = format!("{from:?} and {to:?} must be as many axes, each of them once");
            crate::fail(Error::Argument { op: "movedim", rule });
        }
        let mut rest = (0..D).filter(|axis| !from.contains(axis));
        let source = |axis: usize| match to.iter().position(|&place| place == axis) {
            Some(i) => from[i],
            None => rest.next().expect("as many axes are left as places"),
        };
        let axes: SmallVec<[u8; 8]> = (0..D).map(source).map(|axis| axis as u8).collect();
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
    pub fn expand<const D2: usize, S: ExpandArgs<D2>>(&self, shape: S) -> Tensor<D2, K> {
        Tensor::from_any(self.as_any().expand(shape.resolve(&self.shape())))
    }

    /// As [`Tensor::expand`].
    #[track_caller]
    pub fn broadcast_to<const D2: usize>(&self, shape: impl ExpandArgs<D2>) -> Tensor<D2, K> {
        self.expand(shape)
    }

    /// A new axis of extent 1 before `axis`; -1 puts it at the end.
    #[track_caller]
    pub fn unsqueeze_dim<const D2: usize>(&self, axis: impl AxisIndex) -> Tensor<D2, K> {
        let axis = resolve_axis("unsqueeze_dim", axis, D + 1).or_fail();
        Tensor::from_any(self.as_any().reshape(self.shape().inserted(axis, 1).or_fail()))
    }

    /// New axes of extent 1 at these places of the result; of several at one place each further one
    /// takes the next, or the one before where no place is left.
    ///
    /// ```
    /// use kiln_tensor::{Device, Tensor};
    /// let x = Tensor::<2>::zeros([3, 4], &Device::cpu());
    /// assert_eq!(x.unsqueeze_dims::<4>(&[1, -1]).dims(), [3, 1, 4, 1]);
    /// ```
    #[track_caller]
    pub fn unsqueeze_dims<const D2: usize>(&self, axes: &[impl AxisIndex + Copy]) -> Tensor<D2, K> {
        const OP: &str = "unsqueeze_dims";
        if D + axes.len() != D2 {
            let rule = format!("{} new axes do not make {D} axes {D2}", axes.len());
            crate::fail(Error::Shape { op: OP, shapes: vec![self.shape()], rule });
        }
        let resolve = |&axis| resolve_axis(OP, axis, D2);
        let mut places = axes.iter().map(resolve).collect::<Result<Dims>>().or_fail();
        places.sort_unstable();
        for i in 1..places.len() {
            places[i] = places[i].max(places[i - 1] + 1);
        }
        let mut end = D2;
        for place in places.iter_mut().rev() {
            *place = (*place).min(end - 1);
            end = *place;
        }
        let shape = self.shape();
        let mut old = shape.iter().copied();
        let extent = |axis| if places.contains(&axis) { Some(1) } else { old.next() };
        let dims: Dims = (0..D2).map(extent).map(|n| n.expect("an old axis is left")).collect();
        Tensor::from_any(self.as_any().reshape(Shape::new(dims)))
    }

    /// New axes of extent 1 in front.
    #[track_caller]
    pub fn unsqueeze<const D2: usize>(&self) -> Tensor<D2, K> {
        let mut dims = vec![1; D2.saturating_sub(D)];
        dims.extend_from_slice(&self.shape());
        Tensor::from_any(self.as_any().reshape(Shape::new(&dims)))
    }

    /// Without `axis`, whose extent must be 1. At least one axis stays; `reshape` to `[]` takes the
    /// last one away too.
    #[track_caller]
    pub fn squeeze_dim<const D2: usize>(&self, axis: impl AxisIndex) -> Tensor<D2, K> {
        let axis = resolve_axis("squeeze_dim", axis, D).or_fail();
        self.squeezed("squeeze_dim", |i| i == axis)
    }

    /// Without these axes, whose extents must be 1; without all such axes for an empty list. At
    /// least one axis stays.
    #[track_caller]
    pub fn squeeze_dims<const D2: usize>(&self, axes: impl AxesArg) -> Tensor<D2, K> {
        let axes = axes.axes();
        if axes.is_empty() {
            return self.squeeze();
        }
        let resolve = |&axis| resolve_axis("squeeze_dims", axis, D);
        let axes = axes.iter().map(resolve).collect::<Result<Dims>>().or_fail();
        self.squeezed("squeeze_dims", |axis| axes.contains(&axis))
    }

    /// Without any axis of extent 1. At least one axis stays.
    #[track_caller]
    pub fn squeeze<const D2: usize>(&self) -> Tensor<D2, K> {
        let shape = self.shape();
        self.squeezed("squeeze", |axis| shape[axis] == 1)
    }

    #[track_caller]
    fn squeezed<const D2: usize>(
        &self,
        op: &'static str,
        gone: impl Fn(usize) -> bool,
    ) -> Tensor<D2, K> {
        let shape = self.shape();
        let error = |rule| crate::fail(Error::Shape { op, shapes: vec![shape], rule });
        if let Some(axis) = (0..D).find(|&axis| gone(axis) && shape[axis] != 1) {
            error(format!("axis {axis} must have extent 1"));
        }
        let dims: Dims = (0..D).filter(|&axis| !gone(axis)).map(|axis| shape[axis]).collect();
        if dims.is_empty() && D > 0 {
            error("at least one axis must stay; `reshape` makes a tensor without axes".into());
        }
        Tensor::from_any(self.as_any().reshape(Shape::new(dims)))
    }

    /// The elements along some axes in reverse, along none of them for `[]`.
    #[track_caller]
    pub fn flip<const N: usize>(&self, axes: [isize; N]) -> Self {
        let shape = self.shape();
        let reverse = |axis: isize| {
            let axis = resolve_axis("flip", axis, D)?;
            let len = shape[axis];
            Ok(AxisSlice { axis, start: len.saturating_sub(1), len, step: -1 })
        };
        let slices: SmallVec<_> = axes.into_iter().map(reverse).collect::<Result<_>>().or_fail();
        let twice = |(i, slice): (usize, &AxisSlice)| {
            slices[..i].iter().any(|other: &AxisSlice| other.axis == slice.axis)
        };
        if slices.iter().enumerate().any(twice) {
            let rule = "an axis is named twice".into();
            crate::fail(Error::Argument { op: "flip", rule });
        }
        self.apply(View::Slice(slices), &[])
    }

    /// A quarter turn from the first of two axes towards the second, `times` times; the other way
    /// round where that is negative: `torch.rot90`.
    #[track_caller]
    pub fn rot90(&self, times: i64, axes: [impl AxisIndex + Copy; 2]) -> Self {
        let [a, b] = axes.map(|axis| resolve_axis("rot90", axis, D).or_fail());
        if a == b {
            let rule = "two different axes are needed".into();
            crate::fail(Error::Argument { op: "rot90", rule });
        }
        let (first, second) = (a.signed(), b.signed());
        match times.rem_euclid(4) {
            1 => self.flip([second]).swap_dims(a, b),
            2 => self.flip([first, second]),
            3 => self.swap_dims(a, b).flip([second]),
            _ => self.clone(),
        }
    }

    /// Windows of `size` entries along `axis`, `step` apart, as a new last axis.
    #[track_caller]
    pub fn unfold<const D2: usize, I: AxisIndex>(
        &self,
        axis: I,
        size: usize,
        step: usize,
    ) -> Tensor<D2, K> {
        let axis = resolve_axis("unfold", axis, D).or_fail();
        self.apply(View::Unfold { axis, size, step }, &[])
    }

    /// The same elements without gaps in row-major order; no copy if they are so already.
    pub fn contiguous(&self) -> Self {
        Self::from_any(self.as_any().contiguous())
    }
}

/// A shape with `D2` axes for [`Tensor::reshape`]: extents, or signed ones with -1 and 0.
pub trait ReshapeArgs<const D2: usize> {
    /// The extents for a tensor of shape `from`.
    fn resolve(self, from: &Shape) -> Shape;
}

/// A shape with `D2` axes for [`Tensor::expand`]: extents, or signed ones where -1 keeps.
pub trait ExpandArgs<const D2: usize> {
    /// The extents for a tensor of shape `from`.
    fn resolve(self, from: &Shape) -> Shape;
}

macro_rules! shape_args {
    ($args:ident: $resolve:ident) => {
        impl<const D2: usize> $args<D2> for [usize; D2] {
            #[track_caller]
            fn resolve(self, _: &Shape) -> Shape {
                Shape::new(self)
            }
        }

        impl<const D2: usize> $args<D2> for Shape {
            fn resolve(self, _: &Shape) -> Shape {
                self
            }
        }

        impl<const D2: usize> $args<D2> for Vec<usize> {
            #[track_caller]
            fn resolve(self, _: &Shape) -> Shape {
                Shape::new(self)
            }
        }

        shape_args!($args: $resolve, i32 i64 isize);
    };
    ($args:ident: $resolve:ident, $($type:ty)*) => {$(
        impl<const D2: usize> $args<D2> for [$type; D2] {
            #[track_caller]
            fn resolve(self, from: &Shape) -> Shape {
                $resolve(&self.map(|extent| extent as i64), from)
            }
        }
    )*};
}
shape_args!(ReshapeArgs: reshaped);
shape_args!(ExpandArgs: expanded);

#[track_caller]
fn reshaped(extents: &[i64], from: &Shape) -> Shape {
    let error = |rule: &str| {
        let rule = format!("{extents:?}: {rule}");
        Error::Shape { op: "reshape", shapes: vec![*from], rule }
    };
    let mut dims: Dims = SmallVec::from_elem(1, extents.len());
    let mut open = None;
    for (axis, &extent) in extents.iter().enumerate() {
        dims[axis] = match extent {
            -1 if open.replace(axis).is_some() => crate::fail(error("only one extent may be -1")),
            -1 => 1,
            0 if axis < from.rank() => from[axis],
            extent => usize::try_from(extent).map_err(|_| error("a negative extent")).or_fail(),
        };
    }
    if let Some(axis) = open {
        let known = Shape::new(&dims).num_elements();
        if known == 0 || !from.num_elements().is_multiple_of(known) {
            crate::fail(error("the extent -1 is no whole number"));
        }
        dims[axis] = from.num_elements() / known;
    }
    Shape::new(dims)
}

#[track_caller]
fn expanded(extents: &[i64], from: &Shape) -> Shape {
    let lead = extents.len().saturating_sub(from.rank());
    let extent = |(axis, &extent): (usize, &i64)| {
        let negative = |_| {
            let rule = format!("{extents:?} has a negative extent for a new axis");
            Error::Shape { op: "expand", shapes: vec![*from], rule }
        };
        match extent {
            -1 if axis >= lead => Ok(from[axis - lead]),
            extent => usize::try_from(extent).map_err(negative),
        }
    };
    Shape::new(extents.iter().enumerate().map(extent).collect::<Result<Dims>>().or_fail())
}
