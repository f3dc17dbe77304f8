//! Channels as pixels and pixels as channels.

use crate::Error;
use crate::tensor::Tensor;

/// Channels moved into pixels (Shi et al. 2016): `torch.nn.functional.pixel_shuffle`.
/// `[n, c * f * f, h, w]` to `[n, c, h * f, w * f]`.
#[track_caller]
pub fn pixel_shuffle(x: impl AsRef<Tensor<4>>, factor: usize) -> Tensor<4> {
    let x = x.as_ref();
    let [n, channels, h, w] = x.dims();
    if factor == 0 || channels % (factor * factor) != 0 {
        let rule = format!("the channels must be a multiple of {factor} x {factor}");
        crate::fail(Error::Shape { op: "pixel_shuffle", shapes: vec![x.shape()], rule });
    }
    let c = channels / (factor * factor);
    let parts = x.as_any().reshape([n, c, factor, factor, h, w]).permute(&[0, 1, 4, 2, 5, 3]);
    Tensor::from_any(parts.reshape([n, c, h * factor, w * factor]))
}

/// The inverse of [`pixel_shuffle`]: `torch.nn.functional.pixel_unshuffle`. `[n, c, h * f, w * f]`
/// to `[n, c * f * f, h, w]`.
#[track_caller]
pub fn pixel_unshuffle(x: impl AsRef<Tensor<4>>, factor: usize) -> Tensor<4> {
    let x = x.as_ref();
    let [n, c, height, width] = x.dims();
    if factor == 0 || height % factor != 0 || width % factor != 0 {
        let rule = format!("height and width must be multiples of {factor}");
        crate::fail(Error::Shape { op: "pixel_unshuffle", shapes: vec![x.shape()], rule });
    }
    let (h, w) = (height / factor, width / factor);
    let parts = x.as_any().reshape([n, c, h, factor, w, factor]).permute(&[0, 1, 3, 5, 2, 4]);
    Tensor::from_any(parts.reshape([n, c * factor * factor, h, w]))
}
