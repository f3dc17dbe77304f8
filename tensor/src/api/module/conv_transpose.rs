//! Transposed convolution of one, two and three axes.

use super::ConvTransposeOptions;
use super::conv::{line, row, split};
use super::window::{Windows, crop};
use crate::op::{Conv2dInputGrad, ConvOptions};
use crate::tensor::Tensor;
use crate::{AnyTensor, Error, Shape};

/// How far `extent` inputs reach along one axis, and how much of it is the result.
struct Reach {
    /// Everything that any input spreads to.
    full: usize,
    /// Extent of the result, which starts `padding` entries into that.
    output: usize,
}

impl Reach {
    #[track_caller]
    fn new<const N: usize>(
        op: &'static str,
        shapes: [Shape; 2],
        options: &ConvTransposeOptions<N>,
        axis: usize,
    ) -> Self {
        let (extent, kernel) = (shapes[0][2 + axis], shapes[1][2 + axis]);
        let (stride, dilation) = (options.stride[axis], options.dilation[axis]);
        let windows = Windows { kernel, stride, dilation };
        let full = extent.checked_sub(1).map(|steps| steps * stride + windows.span());
        let sound = kernel > 0 && options.padding_out[axis] < stride.max(dilation);
        let output = full.filter(|_| sound).and_then(|full| {
            let cut = (full + options.padding_out[axis]).checked_sub(2 * options.padding[axis])?;
            Some((full, cut)).filter(|_| cut > 0)
        });
        let Some((full, output)) = output else {
            let rule = format!(
                "{options:?}: the output must not be empty, and padding_out must be smaller than \
                 stride or dilation"
            );
            crate::fail(Error::Shape { op, shapes: shapes.to_vec(), rule })
        };
        Self { full, output }
    }
}

#[track_caller]
fn transposed(
    op: &'static str,
    x: &AnyTensor,
    weight: &AnyTensor,
    options: ConvTransposeOptions<2>,
) -> AnyTensor {
    let shapes = [x.shape(), weight.shape()];
    let reach = [0, 1].map(|axis| Reach::new(op, shapes, &options, axis));
    // Without padding, the input of the convolution is all that is reached; what it is padded
    // with is cut off afterwards.
    let ConvTransposeOptions { stride, padding, padding_out, dilation, groups } = options;
    let simple = [0, 1].iter().all(|&axis| padding_out[axis] < stride[axis]);
    if simple {
        let options = ConvOptions { stride, padding, dilation, groups };
        let size = [reach[0].output, reach[1].output];
        return x.apply(Conv2dInputGrad { options, size }, &[weight]);
    }
    let options = ConvOptions { stride, padding: [0, 0], dilation, groups };
    let y = x.apply(Conv2dInputGrad { options, size: [reach[0].full, reach[1].full] }, &[weight]);
    let y = crop(&y, 2, padding[0], reach[0].output);
    crop(&y, 3, padding[1], reach[1].output)
}

/// `bias` `[c]` added to each channel of `y` `[n, c, ..]`.
#[track_caller]
pub(super) fn add_bias(y: AnyTensor, bias: Option<Tensor<1>>) -> AnyTensor {
    let Some(bias) = bias else { return y };
    let channels = y.shape()[1];
    if bias.dims() != [channels] {
        let rule = "the bias must have one value per output channel".into();
        let shapes = vec![y.shape(), bias.shape()];
        crate::fail(Error::Shape { op: "bias", shapes, rule });
    }
    let mut shape = Shape::new(&[1; crate::MAX_RANK][..y.rank()]);
    shape[1] = channels;
    y.add(&bias.as_any().reshape(shape))
}

/// Transposed convolution of sequences: `torch.nn.functional.conv_transpose1d`.
///
/// `x` `[n, c, l]`, `weight` `[c, out / groups, k]`, `bias` `[out]`. Result: `[n, out, ol]` with
/// `ol = (l - 1) stride - 2 padding + dilation (k - 1) + padding_out + 1`.
#[track_caller]
pub fn conv_transpose1d(
    x: impl AsRef<Tensor<3>>,
    weight: impl AsRef<Tensor<3>>,
    bias: Option<Tensor<1>>,
    options: ConvTransposeOptions<1>,
) -> Tensor<3> {
    let options = ConvTransposeOptions {
        stride: [1, options.stride[0]],
        padding: [0, options.padding[0]],
        padding_out: [0, options.padding_out[0]],
        dilation: [1, options.dilation[0]],
        groups: options.groups,
    };
    let (x, weight) = (row(x.as_ref().as_any()), row(weight.as_ref().as_any()));
    let y = transposed("conv_transpose1d", &x, &weight, options);
    Tensor::from_any(line(&add_bias(y, bias)))
}

/// Transposed convolution of pictures: `torch.nn.functional.conv_transpose2d`, the gradient of a
/// convolution by its input.
///
/// `x` `[n, c, h, w]`, `weight` `[c, out / groups, kh, kw]`, `bias` `[out]`. Result:
/// `[n, out, oh, ow]`.
#[track_caller]
pub fn conv_transpose2d(
    x: impl AsRef<Tensor<4>>,
    weight: impl AsRef<Tensor<4>>,
    bias: Option<Tensor<1>>,
    options: ConvTransposeOptions<2>,
) -> Tensor<4> {
    let (x, weight) = (x.as_ref().as_any(), weight.as_ref().as_any());
    Tensor::from_any(add_bias(transposed("conv_transpose2d", x, weight, options), bias))
}

/// Transposed convolution of volumes: `torch.nn.functional.conv_transpose3d`.
///
/// `x` `[n, c, d, h, w]`, `weight` `[c, out / groups, kd, kh, kw]`, `bias` `[out]`. Result:
/// `[n, out, od, oh, ow]`.
#[track_caller]
pub fn conv_transpose3d(
    x: impl AsRef<Tensor<5>>,
    weight: impl AsRef<Tensor<5>>,
    bias: Option<Tensor<1>>,
    options: ConvTransposeOptions<3>,
) -> Tensor<5> {
    let (x, weight) = (x.as_ref(), weight.as_ref());
    let ([n, c, d, h, w], [ic, out, kd, kh, kw]) = (x.dims(), weight.dims());
    let shapes = [x.shape(), weight.shape()];
    let reach = Reach::new("conv_transpose3d", shapes, &options, 0);
    let ConvTransposeOptions { stride, padding, padding_out, dilation, groups } = options;
    let (depth, plane) = split(&ConvOptions { stride, padding, dilation, groups }, kd);
    let plane = ConvTransposeOptions {
        stride: plane.stride,
        padding: plane.padding,
        padding_out: [padding_out[1], padding_out[2]],
        dilation: plane.dilation,
        groups,
    };
    // The transpose of what conv3d does, from its end to its start.
    let planes = x.as_any().permute(&[0, 2, 1, 3, 4]).reshape([n * d, c, h, w]);
    let weight = weight.as_any().reshape([ic, out * kd, kh, kw]);
    let y = transposed("conv_transpose3d", &planes, &weight, plane);
    let [_, _, oh, ow] = y.shape().dims();
    let out = out * groups;
    // [n, d, out, kd, oh, ow] to [n, out, d, oh, ow, kd]
    let windows = y.reshape([n, d, out, kd, oh, ow]).permute(&[0, 2, 1, 4, 5, 3]);
    let full = depth.fold(&windows, 2, reach.full);
    Tensor::from_any(add_bias(crop(&full, 2, padding[0], reach.output), bias))
}
