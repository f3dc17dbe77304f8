//! Fourier transforms, as `torch.fft`.
//!
//! `n` is the length that is transformed: longer inputs are cut, shorter ones continued with zeros;
//! `None` is the length there is. Any length is fast. f16, bf16 and integers are transformed as f32.
//!
//! ```
//! use kiln_tensor::fft::{Norm, irfft, rfft};
//! use kiln_tensor::Tensor;
//! let x = Tensor::<1>::from([1.0, 2.0, 3.0, 4.0, 5.0]);
//! let spectrum = rfft(&x, None, -1, Norm::Backward);
//! assert_eq!(spectrum.dims(), [3]);
//! let back = irfft(&spectrum, Some(5), -1, Norm::Backward);
//! assert!((back - x).abs().max().item::<f32>() < 1e-5);
//! ```

use crate::error::OrFail;
use crate::op::{Fft, FftForm, Meta};
use crate::shape::{AxisIndex, resolve_axis};
use crate::tensor::{Complex, Float, Kind, Numeric, Options, Tensor};
use crate::{AnyTensor, DType, Error, TensorData};

pub use super::stft::{istft, stft};

/// Which direction of a transform of length `n` is divided, and by what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Norm {
    /// The inverse by `n`.
    #[default]
    Backward,
    /// The forward one by `n`.
    Forward,
    /// Both by `sqrt(n)`, so that sums of squares stay.
    Ortho,
}

impl Norm {
    fn scale(self, n: usize, inverse: bool) -> f64 {
        let n = n as f64;
        match (self, inverse) {
            (Norm::Backward, true) | (Norm::Forward, false) => 1.0 / n,
            (Norm::Ortho, _) => 1.0 / n.sqrt(),
            _ => 1.0,
        }
    }

    /// The same factors on the other direction.
    fn turned(self) -> Self {
        match self {
            Norm::Backward => Norm::Forward,
            Norm::Forward => Norm::Backward,
            Norm::Ortho => Norm::Ortho,
        }
    }
}

/// `n` entries of `axis`: cut, or continued with zeros.
#[track_caller]
fn resized(x: &AnyTensor, axis: usize, n: usize) -> AnyTensor {
    let extent = x.shape()[axis];
    if n <= extent {
        return if n == extent { x.clone() } else { x.narrow(axis, 0, n) };
    }
    let meta = Meta::new(x.shape().with(axis, n - extent), x.dtype());
    AnyTensor::cat(&[x, &AnyTensor::full(meta, 0, x.device())], axis)
}

#[track_caller]
fn complex(x: &AnyTensor, n: Option<usize>, axis: usize, inverse: bool, norm: Norm) -> AnyTensor {
    let n = n.unwrap_or(x.shape()[axis]);
    let scale = norm.scale(n, inverse);
    let op = Fft { axis, form: FftForm::Complex { inverse }, scale };
    resized(&x.to_complex(), axis, n).apply(op, &[])
}

#[track_caller]
fn from_real(x: &AnyTensor, n: Option<usize>, axis: usize, norm: Norm) -> AnyTensor {
    let n = n.unwrap_or(x.shape()[axis]);
    let dtype = if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    let op = Fft { axis, form: FftForm::FromReal, scale: norm.scale(n, false) };
    resized(&x.cast(dtype), axis, n).apply(op, &[])
}

#[track_caller]
fn to_real(x: &AnyTensor, n: Option<usize>, axis: usize, norm: Norm) -> AnyTensor {
    let len = n.unwrap_or_else(|| 2 * x.shape()[axis].saturating_sub(1));
    if len == 0 {
        let (op, shapes) = ("irfft", vec![x.shape()]);
        let rule = "the result would have no numbers; say how many with `n`".into();
        crate::fail(Error::Shape { op, shapes, rule });
    }
    let op = Fft { axis, form: FftForm::ToReal { len }, scale: norm.scale(len, true) };
    resized(&x.to_complex(), axis, len / 2 + 1).apply(op, &[])
}

macro_rules! one_axis {
    ($($(#[$doc:meta])* $name:ident: $kind:ident => $result:ident,
       |$x:ident, $n:ident, $axis:ident, $norm:ident| $body:expr;)*) => {$(
        $(#[$doc])*
        #[track_caller]
        pub fn $name<const D: usize, K: $kind>(
            x: impl AsRef<Tensor<D, K>>,
            n: Option<usize>,
            dim: impl AxisIndex,
            norm: Norm,
        ) -> Tensor<D, $result> {
            let ($x, $n, $norm) = (x.as_ref().as_any(), n, norm);
            let $axis = resolve_axis(stringify!($name), dim, D).or_fail();
            Tensor::from_any($body)
        }
    )*};
}

one_axis! {
    /// The transform along one axis.
    fft: Numeric => Complex, |x, n, axis, norm| complex(x, n, axis, false, norm);
    /// The inverse of [`fft`].
    ifft: Numeric => Complex, |x, n, axis, norm| complex(x, n, axis, true, norm);
    /// The first half, `n / 2 + 1` numbers, of the transform of a real tensor; the other half is its
    /// conjugate in reverse order.
    rfft: Numeric => Complex, |x, n, axis, norm| from_real(x, n, axis, norm);
    /// The inverse of [`rfft`]: `n` real numbers, by default `2 (m - 1)` of `m` complex ones. For an
    /// odd number it must be given.
    irfft: Numeric => Float, |x, n, axis, norm| to_real(x, n, axis, norm);
    /// The transform, which is real, of `n` numbers with conjugate symmetry, of which the first half
    /// is given.
    hfft: Numeric => Float, |x, n, axis, norm| to_real(&x.conj(), n, axis, norm.turned());
    /// The inverse of [`hfft`].
    ihfft: Numeric => Complex, |x, n, axis, norm| from_real(x, n, axis, norm.turned()).conj();
}

/// Axes with the lengths to transform them at: all, or as many of the last as lengths are given.
#[track_caller]
fn axes(
    op: &'static str,
    x: &AnyTensor,
    lengths: Option<&[usize]>,
    dims: Option<&[isize]>,
) -> Vec<(usize, Option<usize>)> {
    let rank = x.rank();
    let count = lengths.map_or(rank, <[usize]>::len);
    let last: Vec<isize> = (1..=count as isize).rev().map(|back| -back).collect();
    let dims = dims.unwrap_or(&last);
    let axes: Vec<usize> = dims.iter().map(|&dim| resolve_axis(op, dim, rank).or_fail()).collect();
    let twice = (1..axes.len()).any(|i| axes[..i].contains(&axes[i]));
    if axes.is_empty() || twice || lengths.is_some_and(|lengths| lengths.len() != axes.len()) {
        let rule =
            format!("axes {dims:?} with lengths {lengths:?}: each axis once, with one length");
        crate::fail(Error::Argument { op, rule });
    }
    let length = |i: usize| lengths.map(|lengths| lengths[i]);
    axes.iter().enumerate().map(|(i, &axis)| (axis, length(i))).collect()
}

macro_rules! many_axes {
    ($($(#[$doc:meta])* $name:ident, $two:ident: $result:ident,
       |$x:ident, $axes:ident, $norm:ident| $body:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// `s` are the lengths along `dims`, which are all axes by default (or as many of the last as
        /// there are lengths).
        #[track_caller]
        pub fn $name<const D: usize, K: Numeric>(
            x: impl AsRef<Tensor<D, K>>,
            s: Option<&[usize]>,
            dims: Option<&[isize]>,
            norm: Norm,
        ) -> Tensor<D, $result> {
            let ($x, $norm) = (x.as_ref().as_any(), norm);
            let $axes = axes(stringify!($name), $x, s, dims);
            Tensor::from_any($body)
        }

        #[doc = concat!("As [`", stringify!($name), "`] along two axes.")]
        #[track_caller]
        pub fn $two<const D: usize, K: Numeric>(
            x: impl AsRef<Tensor<D, K>>,
            s: Option<[usize; 2]>,
            dims: [isize; 2],
            norm: Norm,
        ) -> Tensor<D, $result> {
            $name(x, s.as_ref().map(<[usize; 2]>::as_slice), Some(&dims), norm)
        }
    )*};
}

many_axes! {
    /// The transform along several axes.
    fftn, fft2: Complex, |x, axes, norm| all(x.to_complex(), &axes, false, norm);
    /// The inverse of [`fftn`].
    ifftn, ifft2: Complex, |x, axes, norm| all(x.to_complex(), &axes, true, norm);
    /// The transform of a real tensor along several axes; of the last one, only half is kept.
    rfftn, rfft2: Complex, |x, axes, norm| {
        let ((last, n), others) = axes.split_last().expect("an axis");
        all(from_real(x, *n, *last, norm), others, false, norm)
    };
    /// The inverse of [`rfftn`]; by default the last axis has `2 (m - 1)` of `m` numbers.
    irfftn, irfft2: Float, |x, axes, norm| {
        let ((last, n), others) = axes.split_last().expect("an axis");
        to_real(&all(x.to_complex(), others, true, norm), *n, *last, norm)
    };
}

/// One axis after the other.
#[track_caller]
fn all(x: AnyTensor, axes: &[(usize, Option<usize>)], inverse: bool, norm: Norm) -> AnyTensor {
    axes.iter().fold(x, |x, &(axis, n)| complex(&x, n, axis, inverse, norm))
}

#[track_caller]
fn frequencies(cycles: Vec<i64>, n: usize, d: f64, options: Options) -> Tensor<1> {
    let unit = 1.0 / (n as f64 * d);
    let values: Vec<f64> = cycles.into_iter().map(|k| k as f64 * unit).collect();
    Tensor::from_data(TensorData::from(values), options)
}

/// The frequency of each place of a transform of `n` samples that are `d` apart: `0, 1, ..` and
/// then the negative ones, over `n d`.
#[track_caller]
pub fn fftfreq(n: usize, d: f64, options: impl Into<Options>) -> Tensor<1> {
    let places = 0..n as i64;
    let signed = |k| if 2 * k < n as i64 { k } else { k - n as i64 };
    frequencies(places.map(signed).collect(), n, d, options.into())
}

/// The frequency of each place of [`rfft`] of `n` samples that are `d` apart.
#[track_caller]
pub fn rfftfreq(n: usize, d: f64, options: impl Into<Options>) -> Tensor<1> {
    frequencies((0..=n as i64 / 2).collect(), n, d, options.into())
}

/// Each of `dims` with its last `last(extent)` entries moved to the front.
#[track_caller]
fn rolled<const D: usize, K: Kind>(
    op: &'static str,
    x: &Tensor<D, K>,
    dims: Option<&[isize]>,
    last: fn(usize) -> usize,
) -> Tensor<D, K> {
    let all: Vec<isize> = (0..D as isize).collect();
    let mut y = x.as_any().clone();
    for &dim in dims.unwrap_or(&all) {
        let axis = resolve_axis(op, dim, D).or_fail();
        let n = y.shape()[axis];
        let first = n - last(n);
        y = AnyTensor::cat(&[&y.narrow(axis, first, n - first), &y.narrow(axis, 0, first)], axis);
    }
    Tensor::from_any(y)
}

/// The zero frequency in the middle of `dims` (all axes by default).
#[track_caller]
pub fn fftshift<const D: usize, K: Kind>(
    x: impl AsRef<Tensor<D, K>>,
    dims: Option<&[isize]>,
) -> Tensor<D, K> {
    rolled("fftshift", x.as_ref(), dims, |n| n / 2)
}

/// The inverse of [`fftshift`].
#[track_caller]
pub fn ifftshift<const D: usize, K: Kind>(
    x: impl AsRef<Tensor<D, K>>,
    dims: Option<&[isize]>,
) -> Tensor<D, K> {
    rolled("ifftshift", x.as_ref(), dims, |n| n.div_ceil(2))
}
