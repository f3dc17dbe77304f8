//! Convolution of one, two and three axes.

use super::PaddedConvOptions;
use super::window::{Windows, pad};
use crate::op::{Conv2d, ConvOptions};
use crate::tensor::Tensor;
use crate::{AnyTensor, Error};

#[track_caller]
pub(super) fn conv2d_any(
    x: &AnyTensor,
    weight: &AnyTensor,
    bias: Option<&AnyTensor>,
    options: ConvOptions<2>,
) -> AnyTensor {
    let op = Conv2d { options, bias: bias.is_some() };
    match bias {
        Some(bias) => x.apply(op, &[weight, bias]),
        None => x.apply(op, &[weight]),
    }
}

/// Zeros at both ends where they differ; the options that are left.
#[track_caller]
fn padded<const N: usize>(
    x: &AnyTensor,
    options: PaddedConvOptions<N>,
) -> (AnyTensor, ConvOptions<N>) {
    let Some(end) = options.padding_end else { return (x.clone(), options.options) };
    let start = options.options.padding;
    let padded = (0..N).fold(x.clone(), |x, axis| pad(&x, 2 + axis, start[axis], end[axis]));
    (padded, ConvOptions { padding: [0; N], ..options.options })
}

/// Convolution of sequences: `torch.nn.functional.conv1d`.
///
/// `x` `[n, c, l]`, `weight` `[out, c / groups, k]`, `bias` `[out]`. Result: `[n, out, ol]`.
#[track_caller]
pub fn conv1d(
    x: impl AsRef<Tensor<3>>,
    weight: impl AsRef<Tensor<3>>,
    bias: Option<Tensor<1>>,
    options: impl Into<PaddedConvOptions<1>>,
) -> Tensor<3> {
    let (x, options) = padded(x.as_ref().as_any(), options.into());
    let y = conv2d_any(
        &row(&x),
        &row(weight.as_ref().as_any()),
        bias.as_ref().map(Tensor::as_any),
        ConvOptions {
            stride: [1, options.stride[0]],
            padding: [0, options.padding[0]],
            dilation: [1, options.dilation[0]],
            groups: options.groups,
        },
    );
    Tensor::from_any(line(&y))
}

/// `[a, b, l]` as pictures of one row: `[a, b, 1, l]`.
#[track_caller]
pub(super) fn row(x: &AnyTensor) -> AnyTensor {
    let [a, b, l] = x.shape().dims();
    x.reshape([a, b, 1, l])
}

/// `[a, b, 1, l]` as `[a, b, l]`.
#[track_caller]
pub(super) fn line(x: &AnyTensor) -> AnyTensor {
    x.reshape(x.shape().without(2))
}

/// Convolution of pictures: `torch.nn.functional.conv2d`, see [`Conv2d`].
///
/// `x` `[n, c, h, w]`, `weight` `[out, c / groups, kh, kw]`, `bias` `[out]`. Result:
/// `[n, out, oh, ow]`.
///
/// ```
/// use kiln_tensor::{Device, Tensor, module::{ConvOptions, conv2d}};
/// let x = Tensor::<4>::ones([1, 1, 3, 3], &Device::cpu());
/// let weight = Tensor::<4>::ones([1, 1, 2, 2], &Device::cpu());
/// let y = conv2d(x, weight, None, ConvOptions::new([1, 1], [0, 0], [1, 1], 1));
/// assert_eq!(y.into_data().to_vec::<f32>()?, [4.0; 4]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[track_caller]
pub fn conv2d(
    x: impl AsRef<Tensor<4>>,
    weight: impl AsRef<Tensor<4>>,
    bias: Option<Tensor<1>>,
    options: impl Into<PaddedConvOptions<2>>,
) -> Tensor<4> {
    let (x, options) = padded(x.as_ref().as_any(), options.into());
    let bias = bias.as_ref().map(Tensor::as_any);
    Tensor::from_any(conv2d_any(&x, weight.as_ref().as_any(), bias, options))
}

/// Convolution of volumes: `torch.nn.functional.conv3d`.
///
/// `x` `[n, c, d, h, w]`, `weight` `[out, c / groups, kd, kh, kw]`, `bias` `[out]`. Result:
/// `[n, out, od, oh, ow]`.
///
/// The planes under the depth of the kernel become channels of one two-dimensional convolution.
#[track_caller]
pub fn conv3d(
    x: impl AsRef<Tensor<5>>,
    weight: impl AsRef<Tensor<5>>,
    bias: Option<Tensor<1>>,
    options: impl Into<PaddedConvOptions<3>>,
) -> Tensor<5> {
    let (x, options) = padded(x.as_ref().as_any(), options.into());
    let weight = weight.as_ref();
    let ([n, c, d, h, w], [out, ic, kd, kh, kw]) = (x.shape().dims::<5>(), weight.dims());
    let (depth, plane) = split(&options, kd);
    let count = depth.count(d + 2 * options.padding[0]);
    let Some(od) = count.filter(|_| c == ic * options.groups) else {
        let rule = format!("{options:?} needs c / groups channels and depth in the weight");
        let shapes = vec![x.shape(), weight.shape()];
        crate::fail(Error::Shape { op: "conv3d", shapes, rule });
    };
    let windows = depth.unfold(&pad(&x, 2, options.padding[0], options.padding[0]), 2);
    // [n, c, od, h, w, kd] to [n, od, c, kd, h, w]
    let planes = windows.permute(&[0, 2, 1, 5, 3, 4]).reshape([n * od, c * kd, h, w]);
    let weight = weight.as_any().reshape([out, ic * kd, kh, kw]);
    let y = conv2d_any(&planes, &weight, bias.as_ref().map(Tensor::as_any), plane);
    let [_, _, oh, ow] = y.shape().dims();
    Tensor::from_any(y.reshape([n, od, out, oh, ow]).permute(&[0, 2, 1, 3, 4]))
}

/// What moves along the depth and what in the plane.
pub(super) fn split(options: &ConvOptions<3>, kernel: usize) -> (Windows, ConvOptions<2>) {
    let ConvOptions { stride, padding, dilation, groups } = *options;
    let plane = ConvOptions {
        stride: [stride[1], stride[2]],
        padding: [padding[1], padding[2]],
        dilation: [dilation[1], dilation[2]],
        groups,
    };
    (Windows { kernel, stride: stride[0], dilation: dilation[0] }, plane)
}
