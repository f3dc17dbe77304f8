//! Images of another size.
//!
//! Every mode is a small weighted sum along one axis after the other: output `i` takes the same few
//! entries of its axis in every row.

use super::{InterpolateMode, InterpolateOptions};
use crate::error::OrFail;
use crate::tensor::Tensor;
use crate::{AnyTensor, Error, TensorData};

/// Which entries an output is made of, and with which weights.
type Taps = Vec<(usize, f64)>;

/// Pictures of another size: `torch.nn.functional.interpolate`. `[n, c, h, w]` to
/// `[n, c, output_size..]`.
///
/// ```
/// use kiln_tensor::module::{InterpolateMode, InterpolateOptions, interpolate};
/// use kiln_tensor::Tensor;
/// let x = Tensor::<4>::from([[[[1.0, 3.0]]]]);
/// let y = interpolate(x, [1, 3], InterpolateOptions::new(InterpolateMode::Bilinear));
/// assert_eq!(y.into_data().to_vec::<f32>()?, [1.0, 2.0, 3.0]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[track_caller]
pub fn interpolate(
    x: impl AsRef<Tensor<4>>,
    output_size: [usize; 2],
    options: InterpolateOptions,
) -> Tensor<4> {
    resize(x.as_ref(), output_size, [None; 2], options)
}

/// Pictures `[n, c, h, w]` whose height and width are `factor` times as large, rounded down:
/// `torch.nn.functional.interpolate(scale_factor=factor)`. Without aligned corners, pixels are
/// `factor` times as large even where the size was rounded.
#[track_caller]
pub fn interpolate_by(
    x: impl AsRef<Tensor<4>>,
    factor: [f64; 2],
    options: InterpolateOptions,
) -> Tensor<4> {
    scale(x.as_ref(), factor, options)
}

/// Sequences `[n, c, l]` that are `factor` times as long, rounded down: see [`interpolate_by`].
#[track_caller]
pub fn interpolate1d_by(
    x: impl AsRef<Tensor<3>>,
    factor: f64,
    options: InterpolateOptions,
) -> Tensor<3> {
    scale(x.as_ref(), [factor], options)
}

/// Volumes `[n, c, d, h, w]` that are `factor` times as large, rounded down: see
/// [`interpolate_by`].
#[track_caller]
pub fn interpolate3d_by(
    x: impl AsRef<Tensor<5>>,
    factor: [f64; 3],
    options: InterpolateOptions,
) -> Tensor<5> {
    scale(x.as_ref(), factor, options)
}

/// Sequences of another length: `[n, c, l]` to `[n, c, output_size]`.
#[track_caller]
pub fn interpolate1d(
    x: impl AsRef<Tensor<3>>,
    output_size: usize,
    options: InterpolateOptions,
) -> Tensor<3> {
    resize(x.as_ref(), [output_size], [None], options)
}

/// Volumes of another size: `[n, c, d, h, w]` to `[n, c, output_size..]`.
#[track_caller]
pub fn interpolate3d(
    x: impl AsRef<Tensor<5>>,
    output_size: [usize; 3],
    options: InterpolateOptions,
) -> Tensor<5> {
    resize(x.as_ref(), output_size, [None; 3], options)
}

#[track_caller]
fn scale<const D: usize, const N: usize>(
    x: &Tensor<D>,
    factor: [f64; N],
    options: InterpolateOptions,
) -> Tensor<D> {
    if !factor.iter().all(|factor| *factor > 0.0 && factor.is_finite()) {
        let rule = format!("the factors must be positive numbers, found {factor:?}");
        crate::fail(Error::Argument { op: "interpolate", rule });
    }
    let extents = x.dims();
    let size = std::array::from_fn(|axis| (extents[D - N + axis] as f64 * factor[axis]) as usize);
    resize(x, size, factor.map(|factor| Some(factor.recip())), options)
}

/// `steps` are the distances of neighbouring outputs in inputs, where they are not the ratio of the
/// extents.
#[track_caller]
fn resize<const D: usize, const N: usize>(
    x: &Tensor<D>,
    size: [usize; N],
    steps: [Option<f64>; N],
    options: InterpolateOptions,
) -> Tensor<D> {
    if x.dims()[D - N..].contains(&0) || size.contains(&0) {
        let rule = format!("neither the image nor the output {size:?} may be empty");
        crate::fail(Error::Shape { op: "interpolate", shapes: vec![x.shape()], rule });
    }
    let along = |x: AnyTensor, axis: usize| {
        let (extent, out) = (x.shape()[D - N + axis], size[axis]);
        // PyTorch does the same, also where a factor was given and rounding left the size.
        if extent == out && options.mode == InterpolateMode::Bilinear {
            return x;
        }
        let step = steps[axis].unwrap_or(extent as f64 / out as f64);
        let taps: Vec<Taps> = (0..out).map(|i| taps(i, extent, out, step, options)).collect();
        weighted(&x, D - N + axis, &taps)
    };
    Tensor::from_any((0..N).fold(x.as_any().clone(), along))
}

/// Output `i` along `axis` is the weighted sum of the entries `taps[i]`.
#[track_caller]
fn weighted(x: &AnyTensor, axis: usize, taps: &[Taps]) -> AnyTensor {
    let (out, device) = (taps.len(), x.device());
    let entries = |k: usize| {
        let index: Vec<i64> = taps.iter().map(|taps| taps[k].0 as i64).collect();
        let index = AnyTensor::from_data(&TensorData::new(index, [out]), &device).or_fail();
        x.select(axis, &index)
    };
    if taps.iter().all(|taps| taps.len() == 1 && taps[0].1 == 1.0) {
        return entries(0);
    }
    let mut shape = vec![1; x.rank() - axis];
    shape[0] = out;
    let term = |k: usize| {
        let weight: Vec<f64> = taps.iter().map(|taps| taps[k].1).collect();
        let weight = TensorData::new(weight, shape.clone()).convert_dtype(x.dtype());
        entries(k).mul(&AnyTensor::from_data(&weight, &device).or_fail())
    };
    (1..taps[0].len()).fold(term(0), |sum, k| sum.add(&term(k)))
}

fn taps(i: usize, extent: usize, out: usize, step: f64, options: InterpolateOptions) -> Taps {
    let centre = match (options.align_corners, out) {
        (true, 1) => 0.0,
        (true, _) => i as f64 * (extent - 1) as f64 / (out - 1) as f64,
        (false, _) => (i as f64 + 0.5) * step - 0.5,
    };
    match options.mode {
        InterpolateMode::Nearest => vec![(nearest(i as f32, extent, step), 1.0)],
        InterpolateMode::NearestExact => vec![(nearest(i as f32 + 0.5, extent, step), 1.0)],
        InterpolateMode::Bilinear => {
            around(centre.max(0.0), extent, 1, |x| (1.0 - x.abs()).max(0.0))
        }
        InterpolateMode::Bicubic => around(centre, extent, 2, cubic),
        InterpolateMode::Lanczos3 => {
            let taps = around(centre, extent, 3, lanczos3);
            // The window leaves a sum that is only nearly one: a flat image must stay flat.
            let total: f64 = taps.iter().map(|(_, weight)| weight).sum();
            taps.into_iter().map(|(at, weight)| (at, weight / total)).collect()
        }
    }
}

/// PyTorch computes the place in f32, so a place that is just a whole number may fall on either
/// side of it.
fn nearest(i: f32, extent: usize, step: f64) -> usize {
    let at = (i * step as f32).floor() as usize;
    at.min(extent - 1)
}

/// `reach` entries on each side of `centre`, those outside replaced by the nearest inside.
fn around(centre: f64, extent: usize, reach: i64, weight: impl Fn(f64) -> f64) -> Taps {
    let floor = centre.floor();
    (1 - reach..=reach)
        .map(|step| {
            let at = (floor as i64 + step).clamp(0, extent as i64 - 1);
            (at as usize, weight(floor + step as f64 - centre))
        })
        .collect()
}

/// The cubic of Keys (1981) with the slope that PyTorch uses.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.75;
    let x = x.abs();
    if x <= 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
    } else {
        0.0
    }
}

fn lanczos3(x: f64) -> f64 {
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { x.sin() / x };
    let x = std::f64::consts::PI * x;
    if x.abs() < 3.0 * std::f64::consts::PI { sinc(x) * sinc(x / 3.0) } else { 0.0 }
}
