//! Normalisation.

use super::window::{Windows, pad};
use crate::op::{Axes, BatchNorm, BatchNormEval, LayerNorm, ReduceKind};
use crate::tensor::Tensor;
use crate::{AnyTensor, DType, Error, Shape};

/// Layer normalisation over the last axis (Ba et al. 2016). `input` `[.., d]`, `gamma` and `beta`
/// `[d]`. Result: the shape of `input`. [`layer_norm_any`] normalises several axes.
#[track_caller]
pub fn layer_norm<const D: usize>(
    input: impl AsRef<Tensor<D>>,
    gamma: impl AsRef<Tensor<1>>,
    beta: Option<Tensor<1>>,
    epsilon: f64,
) -> Tensor<D> {
    let (x, gamma) = (input.as_ref(), gamma.as_ref());
    let beta = beta.unwrap_or_else(|| gamma.detach().zeros_like());
    let op = LayerNorm { epsilon, affine: true };
    x.apply(op, &[gamma.as_any(), beta.as_any()])
}

/// Layer normalisation over the last axes, as many as `shape` has: see [`LayerNorm`].
///
/// `x` `[.., shape..]`; `weight` and `bias` of shape `shape`. Result: the shape of `x`.
#[track_caller]
pub fn layer_norm_any(
    x: &AnyTensor,
    shape: &Shape,
    affine: Option<(&AnyTensor, &AnyTensor)>,
    epsilon: f64,
) -> AnyTensor {
    let full = x.shape();
    let lead = full
        .rank()
        .checked_sub(shape.rank())
        .filter(|&lead| shape.rank() > 0 && full[lead..] == **shape);
    let Some(lead) = lead else {
        let rule = format!("the last axes must be {shape}");
        crate::fail(Error::Shape { op: "layer_norm", shapes: vec![full], rule })
    };
    let n = shape.num_elements();
    let flat =
        if shape.rank() == 1 { x.clone() } else { x.reshape([full[..lead].iter().product(), n]) };
    let op = LayerNorm { epsilon, affine: affine.is_some() };
    let y = match affine {
        Some((weight, bias)) => flat.apply(op, &[&weight.reshape([n]), &bias.reshape([n])]),
        None => flat.apply(op, &[]),
    };
    y.reshape(full)
}

/// Batch normalisation with given statistics: `torch.nn.functional.batch_norm(training=False)`.
/// `input` `[n, c, ..]`, the others `[c]`. Result: the shape of `input`.
#[track_caller]
pub fn batch_norm<const D: usize>(
    input: impl AsRef<Tensor<D>>,
    gamma: impl AsRef<Tensor<1>>,
    beta: impl AsRef<Tensor<1>>,
    mean: impl AsRef<Tensor<1>>,
    variance: impl AsRef<Tensor<1>>,
    epsilon: f64,
) -> Tensor<D> {
    let (gamma, beta) = (gamma.as_ref().as_any(), beta.as_ref().as_any());
    let (mean, variance) = (mean.as_ref().as_any(), variance.as_ref().as_any());
    input.as_ref().apply(BatchNormEval { epsilon }, &[gamma, beta, mean, variance])
}

/// What [`batch_norm_training`] returns.
#[derive(Clone, Debug)]
pub struct BatchNormOutput<const D: usize> {
    /// The shape of the input.
    pub output: Tensor<D>,
    /// The mean of each channel of the batch, `[c]`.
    pub mean: Tensor<1>,
    /// The biased variance of each channel of the batch, `[c]`. PyTorch's running variance takes
    /// the unbiased one, `n / (n - 1)` times as large.
    pub variance: Tensor<1>,
}

/// Batch normalisation with the statistics of the batch (Ioffe & Szegedy 2015):
/// `torch.nn.functional.batch_norm(training=True)`. `input` `[n, c, ..]`, `gamma` and `beta` `[c]`.
/// The statistics that come back carry no gradient.
#[track_caller]
pub fn batch_norm_training<const D: usize>(
    input: impl AsRef<Tensor<D>>,
    gamma: impl AsRef<Tensor<1>>,
    beta: impl AsRef<Tensor<1>>,
    epsilon: f64,
) -> BatchNormOutput<D> {
    let affine = [gamma.as_ref().as_any(), beta.as_ref().as_any()];
    let outputs = input.as_ref().as_any().apply_all(BatchNorm { epsilon }, &affine);
    BatchNormOutput {
        output: Tensor::from_any(outputs[0].clone()),
        mean: Tensor::from_any(outputs[1].detach()),
        variance: Tensor::from_any(outputs[2].detach().square().recip().sub_scalar(epsilon)),
    }
}

/// Group normalisation (Wu & He 2018): every group of neighbouring channels of every image is
/// standardised. `torch.nn.functional.group_norm`. `input` `[n, c, ..]`, `gamma` and `beta` `[c]`.
#[track_caller]
pub fn group_norm<const D: usize>(
    input: impl AsRef<Tensor<D>>,
    gamma: Option<Tensor<1>>,
    beta: Option<Tensor<1>>,
    num_groups: usize,
    epsilon: f64,
) -> Tensor<D> {
    Tensor::from_any(grouped("group_norm", input.as_ref(), gamma, beta, num_groups, epsilon))
}

/// Instance normalisation (Ulyanov et al. 2016): every channel of every image is standardised.
/// `torch.nn.functional.instance_norm`. `input` `[n, c, ..]`, `gamma` and `beta` `[c]`.
#[track_caller]
pub fn instance_norm<const D: usize>(
    input: impl AsRef<Tensor<D>>,
    gamma: Option<Tensor<1>>,
    beta: Option<Tensor<1>>,
    epsilon: f64,
) -> Tensor<D> {
    let input = input.as_ref();
    let channels = input.shape().get(1).copied().unwrap_or(1);
    Tensor::from_any(grouped("instance_norm", input, gamma, beta, channels.max(1), epsilon))
}

#[track_caller]
fn grouped<const D: usize>(
    op: &'static str,
    input: &Tensor<D>,
    gamma: Option<Tensor<1>>,
    beta: Option<Tensor<1>>,
    groups: usize,
    epsilon: f64,
) -> AnyTensor {
    let (x, shape) = (input.as_any(), input.shape());
    if D < 2 || groups == 0 || shape[1] % groups != 0 {
        let rule = format!("expected [n, c, ..] with c divisible by {groups} groups");
        crate::fail(Error::Shape { op, shapes: vec![shape], rule });
    }
    let mut channels = Shape::new(&[1; crate::MAX_RANK][..D]);
    channels[1] = shape[1];
    let check = |name: &str, values: &Option<Tensor<1>>| {
        let Some(values) = values else { return };
        if values.dims() != [shape[1]] {
            let rule = format!("{name} must have shape [num_channels], {} here", shape[1]);
            crate::fail(Error::Argument { op, rule });
        }
        if values.dtype() != x.dtype() {
            let rule = format!("{name} must have the same dtype as the input");
            crate::fail(Error::Argument { op, rule });
        }
    };
    check("gamma", &gamma);
    check("beta", &beta);
    if shape.num_elements() == 0 {
        return x.clone();
    }
    let rows = shape[0] * groups;
    let flat = x.reshape([rows, shape.num_elements() / rows]);
    let mut y = flat.apply(LayerNorm { epsilon, affine: false }, &[]).reshape(shape);
    if let Some(gamma) = gamma {
        y = y.mul(&gamma.as_any().reshape(channels));
    }
    if let Some(beta) = beta {
        y = y.add(&beta.as_any().reshape(channels));
    }
    y
}

/// `x / sqrt(mean(x^2) + epsilon) * gamma` over the last axis (Zhang & Sennrich 2019):
/// `torch.nn.functional.rms_norm`. `input` `[.., d]`, `gamma` `[d]`.
#[track_caller]
pub fn rms_norm<const D: usize>(
    input: impl AsRef<Tensor<D>>,
    gamma: Option<Tensor<1>>,
    epsilon: f64,
) -> Tensor<D> {
    let input = input.as_ref();
    let dtype = input.dtype();
    if D == 0 || gamma.as_ref().is_some_and(|gamma| gamma.dims()[0] != input.shape()[D - 1]) {
        let rule = "gamma must have one value per entry of the last axis".into();
        crate::fail(Error::Shape { op: "rms_norm", shapes: vec![input.shape()], rule });
    }
    // Half types are squared and summed in f32.
    let x = input.as_any().cast(if dtype == DType::F64 { DType::F64 } else { DType::F32 });
    let square = x.square().reduce(ReduceKind::Mean, Axes::single(D - 1));
    let y = x.mul(&square.add_scalar(epsilon).rsqrt());
    let y = gamma.map_or_else(|| y.clone(), |gamma| y.mul(&gamma.as_any().cast(x.dtype())));
    Tensor::from_any(y.cast(dtype))
}

/// Each element divided by `(k + alpha mean(x^2))^beta` over `size` neighbouring channels
/// (Krizhevsky et al. 2012): `torch.nn.functional.local_response_norm`. `input` `[n, c, ..]`.
#[track_caller]
pub fn local_response_norm<const D: usize>(
    input: impl AsRef<Tensor<D>>,
    size: usize,
    alpha: f64,
    beta: f64,
    k: f64,
) -> Tensor<D> {
    let input = input.as_ref();
    if D < 2 || size == 0 {
        let rule = format!("expected [n, c, ..] and a window of {size} > 0 channels");
        crate::fail(Error::Shape { op: "local_response_norm", shapes: vec![input.shape()], rule });
    }
    let x = input.as_any();
    let padded = pad(&x.square(), 1, size / 2, (size - 1) / 2);
    let windows = Windows { kernel: size, stride: 1, dilation: 1 }.unfold(&padded, 1);
    let mean = windows.reduce(ReduceKind::Mean, Axes::single(D)).reshape(input.shape());
    Tensor::from_any(x.div(&mean.mul_scalar(alpha).add_scalar(k).pow_scalar(beta)))
}
