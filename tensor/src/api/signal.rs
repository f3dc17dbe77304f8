//! Signals: spectra as pairs of real tensors, and windows. [`crate::fft`] has the transforms
//! with complex tensors.

use std::f64::consts::PI;

use super::fft::{self, Norm};
use super::stft;
use crate::error::OrFail;
use crate::shape::resolve_axis;
use crate::tensor::{Complex, Options, Tensor};
use crate::{AnyTensor, Error, TensorData};

pub use super::stft::StftOptions;

fn pair<const D: usize>(z: Tensor<D, Complex>) -> (Tensor<D>, Tensor<D>) {
    (z.real(), z.imag())
}

/// The first half of the spectrum of a real signal along `dim`, as real and imaginary part.
#[track_caller]
pub fn rfft<const D: usize>(
    signal: impl AsRef<Tensor<D>>,
    dim: usize,
    n: Option<usize>,
) -> (Tensor<D>, Tensor<D>) {
    pair(fft::rfft(signal.as_ref(), n, dim, Norm::Backward))
}

/// The real signal of `n` samples (by default twice the places of the spectrum less 2) whose
/// [`rfft`] these parts are.
#[track_caller]
pub fn irfft<const D: usize>(
    spectrum_re: impl AsRef<Tensor<D>>,
    spectrum_im: impl AsRef<Tensor<D>>,
    dim: usize,
    n: Option<usize>,
) -> Tensor<D> {
    let spectrum = Tensor::<D, Complex>::complex(spectrum_re, spectrum_im);
    // One frequency alone is that of one sample.
    let axis = resolve_axis("irfft", dim, D).or_fail();
    let n = n.or((spectrum.shape()[axis] == 1).then_some(1));
    fft::irfft(&spectrum, n, dim, Norm::Backward)
}

/// The spectrum of a complex signal, both as real and imaginary part.
#[track_caller]
pub fn cfft<const D: usize>(
    signal_re: impl AsRef<Tensor<D>>,
    signal_im: impl AsRef<Tensor<D>>,
    dim: usize,
    n: Option<usize>,
) -> (Tensor<D>, Tensor<D>) {
    let (re, im) = (signal_re.as_ref(), signal_im.as_ref());
    if re.shape() != im.shape() {
        let (shapes, rule) = (vec![re.shape(), im.shape()], "both parts have one shape".into());
        crate::fail(Error::Shape { op: "cfft", shapes, rule });
    }
    pair(fft::fft(Tensor::<D, Complex>::complex(re, im), n, dim, Norm::Backward))
}

/// The spectra of frames of a signal: [`fft::stft`] with frames before frequencies and pairs of
/// real numbers.
///
/// `signal`: `[batch, n]`. Result: `[batch, frames, frequencies, 2]`.
#[track_caller]
pub fn stft(
    signal: impl AsRef<Tensor<2>>,
    window: Option<Tensor<1>>,
    options: StftOptions,
) -> Tensor<4> {
    check("stft", options);
    let spectra = stft::stft(signal, window.as_ref(), options);
    Tensor::from_any(spectra.as_any().swap_axes(1, 2).view_as_real())
}

/// The signal whose [`stft`] this is; `length` samples, by default without the continuation at both
/// ends.
///
/// `stft_matrix`: `[batch, frames, frequencies, 2]`. Result: `[batch, n]`.
#[track_caller]
pub fn istft(
    stft_matrix: impl AsRef<Tensor<4>>,
    window: Option<Tensor<1>>,
    length: Option<usize>,
    options: StftOptions,
) -> Tensor<2> {
    const OP: &str = "istft";
    check(OP, options);
    let pairs = stft_matrix.as_ref();
    let [_, _, frequencies, parts] = pairs.dims();
    let expected = if options.onesided { options.n_fft / 2 + 1 } else { options.n_fft };
    if parts != 2 || frequencies != expected {
        let rule = format!("expected [batch, frames, {expected} frequencies, 2]");
        crate::fail(Error::Shape { op: OP, shapes: vec![pairs.shape()], rule });
    }
    let half = pairs.as_any().contiguous().view_as_complex().narrow(2, 0, options.n_fft / 2 + 1);
    let spectra = Tensor::from_any(half.swap_axes(1, 2));
    let options = StftOptions { onesided: true, ..options };
    stft::lenient_istft(&spectra, window.as_ref(), length, options)
}

/// Frames further apart than a window is long would leave samples out.
#[track_caller]
fn check(op: &'static str, options: StftOptions) {
    let window = options.win_length.unwrap_or(options.n_fft);
    if options.hop_length > window {
        let rule = format!(
            "`hop_length` {} is larger than the window of {window} samples",
            options.hop_length
        );
        crate::fail(Error::Argument { op, rule });
    }
}

/// A sum of cosines `weights[k] cos(2 pi k i / n)`, with `n` the size of a periodic window and one
/// less for one that is symmetric.
#[track_caller]
fn cosines(size: usize, periodic: bool, weights: &[f64], options: Options) -> Tensor<1> {
    let n = if periodic { size } else { size.saturating_sub(1) };
    let value = |i: usize| {
        if size == 1 {
            return 1.0;
        }
        let term = |(k, weight): (usize, &f64)| {
            // Whole turns are left out exactly.
            weight * (2.0 * PI * (k * i % n) as f64 / n as f64).cos()
        };
        weights.iter().enumerate().map(term).sum::<f64>()
    };
    let values: Vec<f64> = (0..size).map(value).collect();
    Tensor::from_data(TensorData::from(values), options)
}

/// The Hann window: `torch.hann_window`.
///
/// ```
/// use kiln_tensor::{Device, signal::hann_window};
/// let window = hann_window(4, true, &Device::cpu());
/// assert_eq!(window.into_data().to_vec::<f32>()?, [0.0, 0.5, 1.0, 0.5]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[track_caller]
pub fn hann_window(size: usize, periodic: bool, options: impl Into<Options>) -> Tensor<1> {
    cosines(size, periodic, &[0.5, -0.5], options.into())
}

/// The Hamming window with the weights 25/46 and 21/46. (`torch.hamming_window` rounds them to 0.54
/// and 0.46: that is [`general_hamming_window`] of 0.54.)
#[track_caller]
pub fn hamming_window(size: usize, periodic: bool, options: impl Into<Options>) -> Tensor<1> {
    general_hamming_window(size, periodic, 25.0 / 46.0, options)
}

/// `alpha - (1 - alpha) cos`: `torch.signal.windows.general_hamming`.
#[track_caller]
pub fn general_hamming_window(
    size: usize,
    periodic: bool,
    alpha: f64,
    options: impl Into<Options>,
) -> Tensor<1> {
    cosines(size, periodic, &[alpha, alpha - 1.0], options.into())
}

/// The Blackman window: `torch.blackman_window`.
#[track_caller]
pub fn blackman_window(size: usize, periodic: bool, options: impl Into<Options>) -> Tensor<1> {
    cosines(size, periodic, &[0.42, -0.5, 0.08], options.into())
}

/// The full convolution of two real signals along the last axis by way of their spectra: `n + m - 1`
/// samples, as `scipy.signal.fftconvolve`. Leading axes broadcast.
#[track_caller]
pub fn fft_convolve<const D: usize>(
    a: impl AsRef<Tensor<D>>,
    b: impl AsRef<Tensor<D>>,
) -> Tensor<D> {
    let (a, b) = (a.as_ref(), b.as_ref());
    let extent = |x: &AnyTensor| x.shape().last().copied().unwrap_or(0);
    let (n, m) = (extent(a.as_any()), extent(b.as_any()));
    if n == 0 || m == 0 {
        let (shapes, rule) = (vec![a.shape(), b.shape()], "a signal has samples".into());
        crate::fail(Error::Shape { op: "fft_convolve", shapes, rule });
    }
    let len = n + m - 1;
    let spectrum = |x: &Tensor<D>| fft::rfft(x, Some(len), -1, Norm::Backward);
    fft::irfft(spectrum(a).mul(spectrum(b)), Some(len), -1, Norm::Backward)
}
