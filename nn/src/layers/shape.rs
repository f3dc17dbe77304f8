//! Layers that change nothing but the shape.

use kiln_tensor::{AnyTensor, Error, OrFail, Shape, Tensor, resolve_axis};

use super::{layer, layer_of_any_rank};
use crate::{Config, Layer, Module};

/// `torch.nn.Identity`: its input.
#[derive(Clone, Debug, Default, Module)]
pub struct Identity;

impl Identity {
    /// The layer, which has nothing to set.
    pub fn new() -> Self {
        Self
    }

    fn apply(&self, x: &AnyTensor) -> AnyTensor {
        x.clone()
    }
}

layer_of_any_rank!(Identity);

/// `torch.nn.Flatten`: all axes but the first as one. `[n, ..]` to `[n, d]`. [`FlattenDims`] takes
/// other axes.
#[derive(Clone, Debug, Default, Module)]
pub struct Flatten;

impl Flatten {
    /// The layer, which has nothing to set.
    pub fn new() -> Self {
        Self
    }

    /// No byte moves if `x` is contiguous.
    #[track_caller]
    pub fn forward<const D: usize>(&self, x: &Tensor<D>) -> Tensor<2> {
        Tensor::from_any(self.forward_any(x.as_any()))
    }
}

impl Layer for Flatten {
    #[track_caller]
    fn forward_any(&self, x: &AnyTensor) -> AnyTensor {
        let shape = x.shape();
        let Some((&n, rest)) = shape.split_first() else {
            let rule = "at least one axis is needed".into();
            kiln_tensor::fail(Error::Shape { op: "flatten", shapes: vec![shape], rule })
        };
        x.reshape(Shape::new([n, rest.iter().product()]))
    }

    fn boxed_clone(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }
}

/// `torch.nn.Flatten(start_dim, end_dim)`: some neighbouring axes as one.
#[derive(Clone, Debug, Module)]
pub struct FlattenDims {
    /// The first of the axes; a negative one counts from the end.
    #[module(skip)]
    pub start_dim: isize,
    /// The last of the axes.
    #[module(skip)]
    pub end_dim: isize,
}

impl FlattenDims {
    /// The axes from `start_dim` to `end_dim`, with both; negative ones count from the end.
    pub fn new(start_dim: isize, end_dim: isize) -> Self {
        Self { start_dim, end_dim }
    }

    /// Panics if there are no such axes, or the result has not rank `D2`.
    #[track_caller]
    pub fn forward<const D: usize, const D2: usize>(&self, x: &Tensor<D>) -> Tensor<D2> {
        Tensor::from_any(self.forward_any(x.as_any()))
    }
}

impl Layer for FlattenDims {
    #[track_caller]
    fn forward_any(&self, x: &AnyTensor) -> AnyTensor {
        let shape = x.shape();
        let axis = |dim: isize| resolve_axis("flatten", dim, shape.rank()).or_fail();
        let (start, end) = (axis(self.start_dim), axis(self.end_dim));
        if start > end {
            let rule = format!("axis {start} stands behind axis {end}");
            kiln_tensor::fail(Error::Argument { op: "flatten", rule });
        }
        let middle = shape[start..=end].iter().product();
        x.reshape(Shape::new([&shape[..start], &[middle], &shape[end + 1..]].concat()))
    }

    fn boxed_clone(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }
}

/// `torch.nn.Unflatten`: one axis as several.
///
/// ```
/// use kiln_nn::Unflatten;
/// use kiln_tensor::{Device, Tensor};
/// let x = Tensor::<2>::zeros([5, 12], &Device::cpu());
/// let y: Tensor<4> = Unflatten::new(1, [3, 2, 2]).forward(&x);
/// assert_eq!(y.dims(), [5, 3, 2, 2]);
/// ```
#[derive(Clone, Debug, Module)]
pub struct Unflatten {
    /// The axis; a negative one counts from the end.
    #[module(skip)]
    pub dim: isize,
    /// The extents of the new axes.
    #[module(skip)]
    pub sizes: Vec<usize>,
}

impl Unflatten {
    /// Axis `dim` as axes of these extents.
    pub fn new(dim: isize, sizes: impl Into<Vec<usize>>) -> Self {
        Self { dim, sizes: sizes.into() }
    }

    /// Panics if the extents do not fit the axis, or the result has not rank `D2`.
    #[track_caller]
    pub fn forward<const D: usize, const D2: usize>(&self, x: &Tensor<D>) -> Tensor<D2> {
        Tensor::from_any(self.forward_any(x.as_any()))
    }
}

impl Layer for Unflatten {
    #[track_caller]
    fn forward_any(&self, x: &AnyTensor) -> AnyTensor {
        let shape = x.shape();
        let axis = resolve_axis("unflatten", self.dim, shape.rank()).or_fail();
        if self.sizes.iter().product::<usize>() != shape[axis] {
            let rule = format!("axis {axis} has not the extents {:?}", self.sizes);
            kiln_tensor::fail(Error::Shape { op: "unflatten", shapes: vec![shape], rule });
        }
        let extents = [&shape[..axis], &self.sizes, &shape[axis + 1..]].concat();
        x.reshape(Shape::try_new(&extents).or_fail())
    }

    fn boxed_clone(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }
}

/// What a [`ChannelShuffle`] is made of.
#[derive(Config, Debug)]
pub struct ChannelShuffleConfig {
    /// Groups of channels that are mixed.
    pub groups: usize,
}

impl ChannelShuffleConfig {
    /// Makes the layer.
    pub fn init(&self) -> ChannelShuffle {
        ChannelShuffle { groups: self.groups }
    }
}

/// `torch.nn.ChannelShuffle` (Zhang et al. 2018): the first channels of all groups, then the second
/// ones, and so on. `[n, c, h, w]` to the same shape.
#[derive(Clone, Debug, Module)]
pub struct ChannelShuffle {
    /// Groups of channels that are mixed.
    pub groups: usize,
}

impl ChannelShuffle {
    /// Panics if the groups do not divide the channels.
    #[track_caller]
    pub fn forward(&self, x: &Tensor<4>) -> Tensor<4> {
        let [n, c, h, w] = x.dims();
        if self.groups == 0 || c % self.groups != 0 {
            let rule = format!("{} groups do not divide the channels", self.groups);
            let shapes = vec![x.shape()];
            kiln_tensor::fail(Error::Shape { op: "channel_shuffle", shapes, rule });
        }
        let parts: Tensor<5> = x.reshape([n, self.groups, c / self.groups, h, w]);
        parts.swap_dims(1, 2).reshape([n, c, h, w])
    }
}

layer!(ChannelShuffle);
