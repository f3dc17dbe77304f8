//! Maxima back at the places where pooling found them.

use kiln_tensor::{AnyTensor, Error, Int, Tensor};

use super::padding::Extents;
use crate::{Config, Module};

macro_rules! max_unpool {
    ($($(#[$doc:meta])* $layer:ident $config:ident of $pool:ident: $rank:literal $axes:ty = $zero:expr,
        $strides:ident;)*) => {$(
        #[doc = concat!("What a [`", stringify!($layer), "`] is made of.")]
        #[derive(Config, Debug)]
        pub struct $config {
            /// Extent of the window of the pooling.
            pub kernel_size: $axes,
            /// Distance of its windows; the extent of the window if not set.
            #[config(default = None, into)]
            pub $strides: Option<$axes>,
            /// The border that it added on both sides.
            #[config(default = $zero)]
            pub padding: $axes,
        }

        impl $config {
            /// Makes the layer.
            pub fn init(&self) -> $layer {
                $layer {
                    kernel_size: self.kernel_size,
                    stride: self.$strides.unwrap_or(self.kernel_size),
                    padding: self.padding,
                }
            }
        }

        $(#[$doc])*
        #[derive(Clone, Debug, Module)]
        pub struct $layer {
            /// Extent of the window of the pooling.
            pub kernel_size: $axes,
            /// Distance of its windows.
            pub stride: $axes,
            /// The border that it added on both sides.
            pub padding: $axes,
        }

        impl $layer {
            #[doc = concat!("`x` and `indices` `[n, c, ..]` as from [`", stringify!($pool),
                "::forward_with_indices`](crate::", stringify!($pool), "::forward_with_indices).")]
            /// Result: `[n, c, output_size..]`; without a size, the smallest with these windows.
            /// Panics if the shapes differ or an index is out of range.
            #[track_caller]
            pub fn forward(
                &self,
                x: &Tensor<$rank>,
                indices: &Tensor<$rank, Int>,
                output_size: Option<$axes>,
            ) -> Tensor<$rank> {
                let smallest = || {
                    let kernel = Extents::<{ $rank - 2 }>::array(self.kernel_size);
                    let (stride, padding) = (self.stride.array(), self.padding.array());
                    std::array::from_fn(|axis| {
                        let last = x.dims()[2 + axis].saturating_sub(1) * stride[axis];
                        (last + kernel[axis]).saturating_sub(2 * padding[axis])
                    })
                };
                unpool(x, indices, output_size.map_or_else(smallest, Extents::array))
            }
        }
    )*};
}

max_unpool! {
    /// `torch.nn.MaxUnpool1d`: puts maxima back where a [`MaxPool1d`](crate::MaxPool1d) found them,
    /// with zeros around.
    MaxUnpool1d MaxUnpool1dConfig of MaxPool1d: 3 usize = 0, stride;
    /// `torch.nn.MaxUnpool2d`: puts maxima back where a [`MaxPool2d`](crate::MaxPool2d) found them,
    /// with zeros around.
    MaxUnpool2d MaxUnpool2dConfig of MaxPool2d: 4 [usize; 2] = [0, 0], strides;
    /// `torch.nn.MaxUnpool3d`: puts maxima back where a [`MaxPool3d`](crate::MaxPool3d) found them,
    /// with zeros around.
    MaxUnpool3d MaxUnpool3dConfig of MaxPool3d: 5 [usize; 3] = [0, 0, 0], strides;
}

/// An index is a place in a channel, whatever its axes: one axis is enough.
#[track_caller]
fn unpool<const D: usize, const N: usize>(
    x: &Tensor<D>,
    indices: &Tensor<D, Int>,
    size: [usize; N],
) -> Tensor<D> {
    if x.dims() != indices.dims() {
        let rule = "an index for each element is needed".into();
        let shapes = vec![x.shape(), indices.shape()];
        kiln_tensor::fail(Error::Shape { op: "max_unpool", shapes, rule });
    }
    let (n, c) = (x.dims()[0], x.dims()[1]);
    let flat = |x: &AnyTensor| x.reshape([n, c, x.shape()[2..].iter().product()]);
    let (values, places) = (flat(x.as_any()), flat(indices.as_any()));
    let sums = |values: &AnyTensor| {
        values.gather_backward(2, [n, c, size.iter().product()].into(), &places)
    };
    // Elements that share a place are equal, as overlapping windows leave them. Their sum has them
    // several times, which is taken off; as in PyTorch each has the whole gradient.
    let sum = sums(&values);
    let count = sums(&values.detach().ones_like()).maximum_scalar(1);
    let surplus = sum.detach().sub(&sum.detach().div(&count));
    let mut shape = x.dims();
    shape[2..].copy_from_slice(&size);
    Tensor::<D>::from_any(sum.sub(&surplus).reshape(shape))
}
