//! Deformable convolution (Dai et al. 2017, Zhu et al. 2019).

use super::DeformConvOptions;
use super::conv_transpose::add_bias;
use super::sample::Image;
use super::window::Windows;
use crate::error::OrFail;
use crate::tensor::Tensor;
use crate::{AnyTensor, Error, TensorData};

/// A convolution whose kernel elements are moved from place to place: `torchvision.ops.deform_conv2d`.
///
/// `x` `[n, c, h, w]`, `offset` `[n, 2 * offset_groups * kh * kw, oh, ow]` (down, then right, of
/// each kernel element), `weight` `[out, c / weight_groups, kh, kw]`, `mask`
/// `[n, offset_groups * kh * kw, oh, ow]`, by which what was read is multiplied, `bias` `[out]`.
/// Result: `[n, out, oh, ow]`. Between pixels is a straight line, outside is zero.
#[track_caller]
pub fn deform_conv2d(
    x: impl AsRef<Tensor<4>>,
    offset: impl AsRef<Tensor<4>>,
    weight: impl AsRef<Tensor<4>>,
    mask: Option<Tensor<4>>,
    bias: Option<Tensor<1>>,
    options: DeformConvOptions<2>,
) -> Tensor<4> {
    let (x, offset, weight) = (x.as_ref(), offset.as_ref(), weight.as_ref());
    let ([n, c, h, w], [out, ic, kh, kw]) = (x.dims(), weight.dims());
    let (groups, parts) = (options.weight_groups, options.offset_groups);
    let error = |rule: String| {
        let shapes = vec![x.shape(), offset.shape(), weight.shape()];
        crate::fail(Error::Shape { op: "deform_conv2d", shapes, rule })
    };
    let count = |axis: usize, extent: usize, kernel: usize| {
        let (stride, dilation) = (options.stride[axis], options.dilation[axis]);
        Windows { kernel, stride, dilation }.count(extent + 2 * options.padding[axis])
    };
    let (Some(oh), Some(ow)) = (count(0, h, kh), count(1, w, kw)) else {
        error(format!("a {kh} x {kw} kernel with {options:?} does not fit the padded image"))
    };
    if c != ic * groups || out % groups != 0 || c % parts != 0 || h * w == 0 {
        error(format!("{options:?} must divide the channels of the image and of the weight"));
    }
    let (taps, places) = (kh * kw, oh * ow);
    let masked = mask.as_ref().is_none_or(|mask| mask.dims() == [n, parts * taps, oh, ow]);
    if offset.dims() != [n, 2 * parts * taps, oh, ow] || !masked {
        error(format!("offset and mask must have 2 and 1 channels for each of {parts} x {taps}"));
    }
    // Where each kernel element lies before it is moved: [taps, places], down and right.
    let still = |axis: usize| {
        let (stride, dilation) = (options.stride[axis], options.dilation[axis]);
        let at = (0..taps).flat_map(|tap| {
            let tap = [tap / kw, tap % kw][axis] * dilation;
            (0..places).map(move |place| {
                let place = [place / ow, place % ow][axis] * stride;
                (place + tap) as f64 - options.padding[axis] as f64
            })
        });
        let data = TensorData::new(at.collect::<Vec<f64>>(), [taps, places]);
        AnyTensor::from_data(&data.convert_dtype(x.dtype()), &x.device()).or_fail()
    };
    let offset = offset.as_any().reshape([n, parts, taps, 2, places]);
    let at: Vec<AnyTensor> = [0, 1]
        .map(|axis| {
            let moved = offset.narrow(3, axis, 1).reshape([n, parts, taps, places]);
            moved.add(&still(axis)).reshape([n, parts, taps * places])
        })
        .into();
    let values = x.as_any().reshape([n, parts, c / parts, h * w]);
    let mut read = Image { values, size: vec![h, w] }.linear(&at);
    if let Some(mask) = mask {
        read = read.mul(&mask.as_any().reshape([n, parts, 1, taps * places]));
    }
    let columns = read.reshape([n, groups, ic * taps, places]);
    let weight = weight.as_any().reshape([groups, out / groups, ic * taps]);
    let y = weight.matmul(&columns).reshape([n, out, oh, ow]);
    Tensor::from_any(add_bias(y, bias))
}
