//! Pooling by a factor that is no whole number.

use kiln_tensor::{Distribution, Error, Int, Tensor};

use super::layer;
use crate::{Config, Module};

macro_rules! fractional_pool {
    ($($(#[$doc:meta])* $layer:ident $config:ident: $rank:literal, $axes:literal;)*) => {$(
        #[doc = concat!("What a [`", stringify!($layer), "`] is made of: either an extent of the \
            output or its ratio to that of the input must be set.")]
        #[derive(Config, Debug)]
        pub struct $config {
            /// Extent of the window.
            pub kernel_size: [usize; $axes],
            /// Extent of the output.
            #[config(default = None, into)]
            pub output_size: Option<[usize; $axes]>,
            /// Extent of the output, as shares of the input's between 0 and 1.
            #[config(default = None, into)]
            pub output_ratio: Option<[f64; $axes]>,
        }

        impl $config {
            /// Makes the layer. Panics if not exactly one of size and ratio is set, or if a ratio is
            /// not between 0 and 1.
            #[track_caller]
            pub fn init(&self) -> $layer {
                let Self { kernel_size, output_size, output_ratio } = *self;
                let ratios = output_ratio.iter().flatten();
                let within = ratios.clone().all(|ratio| (0.0..1.0).contains(ratio) && *ratio > 0.0);
                if output_size.is_some() == output_ratio.is_some() || !within {
                    let rule = "either output_size or output_ratio, between 0 and 1, must be set";
                    kiln_tensor::fail(Error::Argument { op: OP, rule: rule.into() });
                }
                $layer { kernel_size, output_size, output_ratio }
            }
        }

        $(#[$doc])*
        #[derive(Clone, Debug, Module)]
        pub struct $layer {
            /// Extent of the window.
            pub kernel_size: [usize; $axes],
            /// Extent of the output.
            #[module(skip)]
            pub output_size: Option<[usize; $axes]>,
            /// Extent of the output, as shares of the input's.
            #[module(skip)]
            pub output_ratio: Option<[f64; $axes]>,
        }

        impl $layer {
            /// The maxima of windows whose places are drawn anew each time. Panics if the windows do
            /// not fit the input.
            #[track_caller]
            pub fn forward(&self, x: &Tensor<$rank>) -> Tensor<$rank> {
                self.forward_with_indices(x).0
            }

            /// The result of [`forward`](Self::forward), and the place of each maximum in its
            /// flattened channel.
            #[track_caller]
            pub fn forward_with_indices(
                &self,
                x: &Tensor<$rank>,
            ) -> (Tensor<$rank>, Tensor<$rank, Int>) {
                let shape = [x.dims()[0], x.dims()[1], $axes];
                let uniform = Distribution::Uniform(0.0, 1.0);
                self.forward_with_samples(x, &Tensor::random(shape, uniform, &x.device()))
            }

            /// [`forward_with_indices`](Self::forward_with_indices) with windows placed by
            #[doc = concat!("`samples` `[n, c, ", stringify!($axes), "]`, from 0 to 1: ")]
            /// `_random_samples` of PyTorch.
            #[track_caller]
            pub fn forward_with_samples(
                &self,
                x: &Tensor<$rank>,
                samples: &Tensor<3>,
            ) -> (Tensor<$rank>, Tensor<$rank, Int>) {
                let size = self.output_size.unwrap_or_else(|| {
                    let ratio = self.output_ratio.unwrap_or([1.0; $axes]);
                    std::array::from_fn(|i| (x.dims()[2 + i] as f64 * ratio[i]) as usize)
                });
                pool(x, self.kernel_size, size, samples)
            }
        }

        layer!($layer);
    )*};
}

const OP: &str = "fractional_max_pool";

fractional_pool! {
    /// `torch.nn.FractionalMaxPool2d`: the largest element of each of windows at random places, which
    /// are of one extent but at unequal distances (Graham 2014). `[n, c, h, w]` to `[n, c, oh, ow]`.
    ///
    /// ```
    /// use kiln_nn::FractionalMaxPool2dConfig;
    /// use kiln_tensor::{Device, Tensor};
    /// let layer = FractionalMaxPool2dConfig::new([2, 2]).with_output_ratio([0.7, 0.7]).init();
    /// let y = layer.forward(&Tensor::zeros([1, 3, 20, 10], &Device::cpu()));
    /// assert_eq!(y.dims(), [1, 3, 14, 7]);
    /// ```
    FractionalMaxPool2d FractionalMaxPool2dConfig: 4, 2;
    /// `torch.nn.FractionalMaxPool3d`: the largest element of each of windows at random places, which
    /// are of one extent but at unequal distances (Graham 2014). `[n, c, d, h, w]` to
    /// `[n, c, od, oh, ow]`.
    FractionalMaxPool3d FractionalMaxPool3dConfig: 5, 3;
}

/// All elements of all windows are looked up, and the largest of each window stays.
#[track_caller]
fn pool<const D: usize, const N: usize>(
    x: &Tensor<D>,
    kernel: [usize; N],
    size: [usize; N],
    samples: &Tensor<3>,
) -> (Tensor<D>, Tensor<D, Int>) {
    let (dims, device) = (x.dims(), x.device());
    let (n, c) = (dims[0], dims[1]);
    let fits = |i: usize| {
        kernel[i] > 0 && size[i] > 0 && size[i] + kernel[i] <= dims[2 + i].saturating_add(1)
    };
    if !(0..N).all(fits) || samples.dims() != [n, c, N] {
        let rule = format!("{size:?} windows of {kernel:?} and samples [n, c, {N}] must fit");
        let shapes = vec![x.shape(), samples.shape()];
        kiln_tensor::fail(Error::Shape { op: OP, shapes, rule });
    }
    // The places of the elements of each window in a channel, [n, c, windows, elements], axis by
    // axis.
    let mut places = Tensor::<4, Int>::zeros([n, c, 1, 1], &device);
    for axis in 0..N {
        // PyTorch takes the samples of images from the last axis to the first.
        let sample = if N == 2 { 1 - axis } else { axis };
        let starts =
            starts(&samples.narrow(2, sample, 1), dims[2 + axis], kernel[axis], size[axis]);
        let within = Tensor::<1, Int>::arange(0..kernel[axis] as i64, &device);
        let along = starts.unsqueeze_dim::<4>(3) + within.reshape([1, 1, 1, kernel[axis]]);
        let [_, _, windows, elements] = places.dims();
        let [windows, elements] = [[windows, size[axis]], [elements, kernel[axis]]];
        let before =
            (places * dims[2 + axis] as i64).reshape([n, c, windows[0], 1, elements[0], 1]);
        let along = along.reshape([n, c, 1, windows[1], 1, elements[1]]);
        let all = windows.into_iter().product::<usize>();
        places = (before + along).reshape([n, c, all, elements.into_iter().product()]);
    }
    let [_, _, windows, elements] = places.dims();
    let flat = x.reshape([n, c, dims[2..].iter().product()]);
    let values = flat.gather(2, places.reshape([n, c, windows * elements]));
    let (largest, which) = values.reshape([n, c, windows, elements]).max_dim_with_indices(3);
    let mut shape = dims;
    shape[2..].copy_from_slice(&size);
    (largest.reshape(shape), places.gather(3, which).reshape(shape))
}

/// Where the windows along an axis start, `[n, c, size]`: `floor((i + u) a) - floor(u a)`, the last
/// one at the end.
fn starts(sample: &Tensor<3>, extent: usize, kernel: usize, size: usize) -> Tensor<3, Int> {
    let [n, c, _] = sample.dims();
    let last = (extent - kernel) as i64;
    let end = Tensor::<3, Int>::full([n, c, 1], last, &sample.device());
    if size == 1 {
        return end;
    }
    let step = last as f64 / (size - 1) as f64;
    let i = Tensor::<1, Int>::arange(0..size as i64 - 1, &sample.device()).float();
    let i = i.cast(sample.dtype()).reshape([1, 1, size - 1]);
    let places = ((i + sample) * step).floor() - (sample * step).floor();
    Tensor::cat([places.int().clamp(0, last), end], 2)
}
