//! Transforms of short pieces of a signal.

use smallvec::SmallVec;

use super::fft::{Norm, fft, ifft, irfft, rfft};
use crate::layout::AxisSlice;
use crate::op::View;
use crate::tensor::{Complex, Tensor};
use crate::{AnyTensor, Error, Shape};

/// How [`stft`] and [`istft`] cut a signal into frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StftOptions {
    /// Samples of a frame.
    pub n_fft: usize,
    /// Samples from one frame to the next.
    pub hop_length: usize,
    /// Samples of the window, `n_fft` by default; a shorter one sits in the middle of the frame.
    pub win_length: Option<usize>,
    /// Whether the signal is continued by its mirror image, `n_fft / 2` samples at both ends, so that
    /// frame `t` is centred at sample `t * hop_length`.
    pub center: bool,
    /// Whether only the first `n_fft / 2 + 1` frequencies are kept; the others are their conjugates.
    pub onesided: bool,
}

impl StftOptions {
    /// Frames a quarter of their length apart, centred, with half of the spectrum.
    pub fn new(n_fft: usize) -> Self {
        let hop_length = (n_fft / 4).max(1);
        Self { n_fft, hop_length, win_length: None, center: true, onesided: true }
    }

    #[track_caller]
    fn check(&self, op: &'static str) {
        let window = self.win_length.unwrap_or(self.n_fft);
        if self.n_fft == 0 || self.hop_length == 0 || window == 0 || window > self.n_fft {
            let rule =
                "`n_fft` and `hop_length` are at least 1, `win_length` is in 1..=n_fft".into();
            crate::fail(Error::Argument { op, rule });
        }
    }

    fn frequencies(&self) -> usize {
        if self.onesided { self.n_fft / 2 + 1 } else { self.n_fft }
    }

    /// The window in the middle of a frame, `[n_fft]`.
    #[track_caller]
    fn window(&self, op: &'static str, window: Option<&Tensor<1>>, like: &AnyTensor) -> AnyTensor {
        let len = self.win_length.unwrap_or(self.n_fft);
        let window = match window {
            Some(window) => window.as_any().cast(like.dtype()),
            None => AnyTensor::full(crate::op::Meta::new([len], like.dtype()), 1, like.device()),
        };
        if **window.shape_ref() != [len] {
            let rule = format!("the window must have shape [{len}]");
            crate::fail(Error::Shape { op, shapes: vec![window.shape()], rule });
        }
        let left = (self.n_fft - len) / 2;
        let right = self.n_fft - len - left;
        let zeros =
            |n: usize| AnyTensor::full(crate::op::Meta::new([n], like.dtype()), 0, like.device());
        AnyTensor::cat(&[&zeros(left), &window, &zeros(right)], 0)
    }
}

impl Default for StftOptions {
    fn default() -> Self {
        Self::new(400)
    }
}

/// The signal `[batch, n]` continued by its mirror image at both ends.
fn mirrored(x: &AnyTensor, by: usize) -> AnyTensor {
    let n = x.shape()[1];
    let part = |start| {
        let slice = AxisSlice { axis: 1, start, len: by, step: -1 };
        x.apply(View::Slice(SmallVec::from_buf([slice])), &[])
    };
    if by == 0 { x.clone() } else { AnyTensor::cat(&[&part(by), x, &part(n - 2)], 1) }
}

/// The spectra of frames of a signal, as `torch.stft` with `return_complex=True`.
///
/// `signal`: `[batch, n]`; `window`: `[win_length]`, ones by default. Result: `[batch, frequencies,
/// frames]`. Panics if the signal is shorter than a frame.
#[track_caller]
pub fn stft(
    signal: impl AsRef<Tensor<2>>,
    window: Option<&Tensor<1>>,
    options: StftOptions,
) -> Tensor<3, Complex> {
    const OP: &str = "stft";
    options.check(OP);
    let StftOptions { n_fft, hop_length, .. } = options;
    let x = signal.as_ref().as_any();
    let by = if options.center { n_fft / 2 } else { 0 };
    let n = x.shape()[1];
    if n + 2 * by < n_fft || (by > 0 && n <= by) {
        let rule = format!(
            "a signal of {n} samples is too short for frames of {n_fft} (center: {})",
            options.center
        );
        crate::fail(Error::Shape { op: OP, shapes: vec![x.shape()], rule });
    }
    let window = options.window(OP, window, x);
    let frames = mirrored(x, by);
    let frames = frames.apply(View::Unfold { axis: 1, size: n_fft, step: hop_length }, &[]);
    // [batch, frames, n_fft]
    let frames = Tensor::<3>::from_any(frames.mul(&window));
    let spectra = match options.onesided {
        true => rfft(&frames, None, 2, Norm::Backward),
        false => fft(&frames, None, 2, Norm::Backward),
    };
    Tensor::from_any(spectra.as_any().swap_axes(1, 2))
}

/// Frames `[batch, frames, n]` added up where they overlap.
fn overlapped(frames: &AnyTensor, hop: usize) -> AnyTensor {
    let [batch, count, size] = frames.shape().dims();
    let len = size + (count - 1) * hop;
    frames.unview(View::Unfold { axis: 1, size, step: hop }, Shape::new([batch, len]))
}

/// The signal of these spectra, and the sum of the squared windows over each of its samples.
#[track_caller]
fn resynthesised(
    op: &'static str,
    spectra: &Tensor<3, Complex>,
    window: Option<&Tensor<1>>,
    options: StftOptions,
) -> (AnyTensor, AnyTensor) {
    options.check(op);
    let [_, frequencies, count] = spectra.dims();
    if frequencies != options.frequencies() || count == 0 {
        let rule =
            format!("expected [batch, {} frequencies, at least one frame]", options.frequencies());
        crate::fail(Error::Shape { op, shapes: vec![spectra.shape()], rule });
    }
    let spectra = Tensor::<3, Complex>::from_any(spectra.as_any().swap_axes(1, 2));
    let frames = match options.onesided {
        true => irfft(&spectra, Some(options.n_fft), 2, Norm::Backward),
        false => ifft(&spectra, None, 2, Norm::Backward).real(),
    };
    let frames = frames.as_any();
    let window = options.window(op, window, frames);
    let squares = window.square().expand([1, count, options.n_fft]);
    (overlapped(&frames.mul(&window), options.hop_length), overlapped(&squares, options.hop_length))
}

/// `length` samples without what [`mirrored`] added in front, and by default without what it added
/// behind; zeros where there are no more.
fn trimmed(x: &AnyTensor, length: Option<usize>, options: StftOptions) -> AnyTensor {
    let by = if options.center { options.n_fft / 2 } else { 0 };
    let n = x.shape()[1];
    let wanted = length.unwrap_or(n.saturating_sub(2 * by));
    x.narrow(1, by.min(n), wanted.min(n.saturating_sub(by)))
}

/// The signal whose [`stft`] this is, as `torch.istft`: the least-squares one where frames
/// contradict each other. Panics where no window covers a sample.
///
/// `spectra`: `[batch, frequencies, frames]`. Result: `[batch, n]`, by default without the
/// continuation at both ends.
#[track_caller]
pub fn istft(
    spectra: impl AsRef<Tensor<3, Complex>>,
    window: Option<&Tensor<1>>,
    length: Option<usize>,
    options: StftOptions,
) -> Tensor<2> {
    const OP: &str = "istft";
    let (signal, squares) = resynthesised(OP, spectra.as_ref(), window, options);
    let (signal, squares) = (trimmed(&signal, length, options), trimmed(&squares, length, options));
    let uncovered = squares.detach().lower_equal_scalar(1e-11);
    if uncovered.reduce(crate::op::ReduceKind::Any, crate::op::Axes::all(2)).item::<u8>() == 1 {
        let rule = "the windows leave samples uncovered: take a shorter hop".into();
        crate::fail(Error::Argument { op: OP, rule });
    }
    finished(signal.div(&squares), length)
}

fn finished(signal: AnyTensor, length: Option<usize>) -> Tensor<2> {
    let [batch, n] = signal.shape().dims();
    let missing = length.map_or(0, |length| length.saturating_sub(n));
    let meta = crate::op::Meta::new([batch, missing], signal.dtype());
    Tensor::from_any(match missing {
        0 => signal,
        _ => AnyTensor::cat(&[&signal, &AnyTensor::full(meta, 0, signal.device())], 1),
    })
}

/// As [`istft`], with zeros where no window covers a sample.
#[track_caller]
pub(super) fn lenient_istft(
    spectra: &Tensor<3, Complex>,
    window: Option<&Tensor<1>>,
    length: Option<usize>,
    options: StftOptions,
) -> Tensor<2> {
    let (signal, squares) = resynthesised("istft", spectra, window, options);
    let signal = signal.div(&squares.maximum_scalar(1e-10));
    // Nothing beyond the centred signal counts.
    let whole = trimmed(&signal, None, options);
    let n = whole.shape()[1];
    finished(whole.narrow(1, 0, length.unwrap_or(n).min(n)), length)
}
