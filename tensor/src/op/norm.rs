//! Layer and batch normalisation with their gradients.

use smallvec::{SmallVec, smallvec};

use super::{Axes, Keeps, Meta, Metas, Operation, ReduceKind, check};
use crate::{AnyTensor, Result, Shape};

/// `y = (x - mean) / sqrt(var + epsilon) * weight + bias` over the last axis (Ba et al. 2016), as
/// `torch.nn.functional.layer_norm`. Several axes are normalised by flattening them first.
///
/// Inputs: `x` `[.., n]`, and `weight` `[n]`, `bias` `[n]` if affine. Results: `y`, and `mean` and
/// `1 / sqrt(var + epsilon)`, both `[.., 1]`, which backward needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    /// Added to the variance.
    pub epsilon: f64,
    /// Whether weight and bias are given.
    pub affine: bool,
}

/// Weight and bias, one value for each entry of `axis` of `x`.
fn check_affine(
    op: &'static str,
    inputs: &[Meta],
    x: &Meta,
    axis: usize,
    affine: &[Meta],
) -> Result<()> {
    check::floats(op, affine)?;
    if affine.iter().any(|meta| *meta.shape != [x.shape[axis]]) {
        let rule = format!("weight and bias must have one value per entry of axis {axis}");
        return Err(check::shape_error(op, inputs, rule));
    }
    if affine.iter().any(|meta| meta.dtype != x.dtype) {
        return Err(check::dtype_error(op, inputs, "weight and bias must have the dtype of x"));
    }
    Ok(())
}

/// What the forward pass left: a mean and an inverse deviation for each of `shape`.
fn check_statistics(op: &'static str, inputs: &[Meta], shape: &[usize], each: &str) -> Result<()> {
    let dtype = check::statistics_dtype(inputs[0].dtype);
    let statistics = &inputs[1..3];
    if statistics.iter().any(|meta| *meta.shape != *shape) {
        let rule = format!("statistics must have one entry per {each}");
        return Err(check::shape_error(op, inputs, rule));
    }
    if statistics.iter().any(|meta| meta.dtype != dtype) {
        return Err(check::dtype_error(op, inputs, format!("statistics must be {dtype}")));
    }
    Ok(())
}

/// `x - mean` and `1 / sqrt(var + epsilon)` over `axes`, in the dtype of statistics.
fn standardize(x: &AnyTensor, axes: Axes, epsilon: f64) -> (AnyTensor, AnyTensor, AnyTensor) {
    let mean = x.reduce(ReduceKind::Mean, axes);
    let centred = x.sub(&mean);
    let var = centred.square().reduce(ReduceKind::Mean, axes);
    (centred, mean, var.add_scalar(epsilon).rsqrt())
}

impl Operation for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let op = self.name();
        check::count(op, inputs, if self.affine { 3 } else { 1 })?;
        let x = &inputs[0];
        check::floats(op, &inputs[..1])?;
        let Some(last) = x.shape.rank().checked_sub(1) else {
            return Err(check::shape_error(op, inputs, "at least one axis is needed"));
        };
        check_affine(op, inputs, x, last, &inputs[1..])?;
        let statistics = Meta::new(x.shape.with(last, 1), check::statistics_dtype(x.dtype));
        Ok(smallvec![*x, statistics, statistics])
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps { inputs: if self.affine { 0b11 } else { 1 }, outputs: 0b110 }
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        8 * inputs[0].len() as u64
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        let dtype = inputs[0].dtype();
        let x = inputs[0].cast(check::statistics_dtype(dtype));
        let axes = Axes::single(x.rank() - 1);
        let (centred, mean, rstd) = standardize(&x, axes, self.epsilon);
        let mut y = centred.mul(&rstd);
        if self.affine {
            y = y.mul(&inputs[1].cast(x.dtype())).add(&inputs[2].cast(x.dtype()));
        }
        Some(smallvec![y.cast(dtype), mean, rstd])
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::float;
        for shape in [vec![3, 5], vec![2, 3, 4], vec![0, 4]] {
            let n = *shape.last().expect("an axis");
            samples.case(LayerNorm { epsilon: 1e-5, affine: false }, [float(shape.clone())]);
            let op = LayerNorm { epsilon: 1e-2, affine: true };
            samples.case(op, [float(shape), float([n]), float([n])]);
        }
        let op = LayerNorm { epsilon: 1e-5, affine: true };
        samples.rough(op, [float([70, 1031]), float([1031]), float([1031])]);
    }
}

/// The gradient of [`LayerNorm`].
///
/// Inputs: `x` `[.., n]`, `mean` and `rstd` `[.., 1]`, `dy` `[.., n]`, and `weight` `[n]` if
/// affine. Results: `dx`, and if affine `dweight` and `dbias`, both `[n]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNormBackward {
    /// Whether a weight is given.
    pub affine: bool,
}

impl Operation for LayerNormBackward {
    fn name(&self) -> &'static str {
        "layer_norm_backward"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let op = self.name();
        check::count(op, inputs, if self.affine { 5 } else { 4 })?;
        let (x, dy) = (inputs[0], inputs[3]);
        check::floats(op, &[x, dy])?;
        check::same_shape(op, &[x, dy])?;
        let last = x.shape.rank() - 1;
        check_statistics(op, inputs, &x.shape.with(last, 1), "row")?;
        check_affine(op, inputs, &x, last, &inputs[4..])?;
        let affine = Meta::new([x.shape[last]], x.dtype);
        Ok(if self.affine { smallvec![x, affine, affine] } else { smallvec![x] })
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::INPUTS
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        14 * inputs[0].len() as u64
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        let axes = Axes::single(inputs[0].rank() - 1);
        Some(normalized_gradient(inputs, axes, |weight| weight.clone()))
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{float, float_in};
        for shape in [[3, 5], [67, 33]] {
            let [rows, n] = shape;
            let statistics = [float([rows, 1]), float_in([rows, 1], 0.5, 2.0)];
            let [mean, rstd] = statistics;
            let inputs = [float(shape), mean, rstd, float(shape)];
            samples.case(LayerNormBackward { affine: false }, inputs);
            let inputs = [float(shape), mean, rstd, float(shape), float([n])];
            samples.case(LayerNormBackward { affine: true }, inputs);
        }
    }
}

/// `[dx, dweight, dbias]` of a normalisation over `axes`; inputs `x, mean, rstd, dy` and maybe
/// `weight`. `align` gives the weight the shape in which it broadcasts to `x`.
///
/// With `h = (x - mean) rstd` and `g = dy weight`: `dx = rstd (g - mean(g) - h mean(g h))`.
fn normalized_gradient(
    inputs: &[&AnyTensor],
    axes: Axes,
    align: impl Fn(&AnyTensor) -> AnyTensor,
) -> SmallVec<[AnyTensor; 1]> {
    let (x, mean, rstd, dy) = (inputs[0], inputs[1], inputs[2], inputs[3]);
    let statistics = mean.dtype();
    let (x, dy) = (x.cast(statistics), dy.cast(statistics));
    let h = x.sub(mean).mul(rstd);
    let weight = inputs.get(4).map(|weight| align(&weight.cast(statistics)));
    let g = weight.as_ref().map_or_else(|| dy.clone(), |weight| dy.mul(weight));
    let mean_g = g.reduce(ReduceKind::Mean, axes);
    let mean_gh = g.mul(&h).reduce(ReduceKind::Mean, axes);
    let dx = g.sub(&mean_g).sub(&h.mul(&mean_gh)).mul(rstd);
    let dtype = inputs[0].dtype();
    let mut outputs: SmallVec<[AnyTensor; 1]> = smallvec![dx.cast(dtype)];
    if let Some(weight) = weight {
        let flat = inputs[4].shape();
        let shape = weight.shape();
        outputs.push(dy.mul(&h).sum_to(&shape).reshape(flat).cast(dtype));
        outputs.push(dy.sum_to(&shape).reshape(flat).cast(dtype));
    }
    outputs
}

/// Batch normalisation with the statistics of the batch (Ioffe & Szegedy 2015): every channel is
/// standardised over all images and positions, then scaled and shifted.
///
/// Inputs: `x` `[n, c, ..]`, `weight` `[c]`, `bias` `[c]`. Results: `y`, the batch's `mean` and
/// `1 / sqrt(var + epsilon)` `[c]`, where `var` is the biased variance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f64,
}

/// All axes but that of the channels.
fn channel_axes(rank: usize) -> Axes {
    (0..rank).filter(|&axis| axis != 1).collect()
}

/// `[c]` as `[1, c, 1, ..]`.
fn per_channel(values: &AnyTensor, rank: usize) -> AnyTensor {
    let mut shape = Shape::new(&[1; crate::MAX_RANK][..rank]);
    shape[1] = values.shape()[0];
    values.reshape(shape)
}

fn check_channels(op: &'static str, inputs: &[Meta]) -> Result<()> {
    if inputs[0].shape.rank() < 2 {
        return Err(check::shape_error(op, inputs, "expected [n, c, ..]"));
    }
    Ok(())
}

impl Operation for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let op = self.name();
        check::count(op, inputs, 3)?;
        check_channels(op, inputs)?;
        let x = &inputs[0];
        check::floats(op, &inputs[..1])?;
        check_affine(op, inputs, x, 1, &inputs[1..])?;
        let statistics = Meta::new([x.shape[1]], check::statistics_dtype(x.dtype));
        Ok(smallvec![*x, statistics, statistics])
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps { inputs: 0b11, outputs: 0b110 }
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        8 * inputs[0].len() as u64
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        let dtype = inputs[0].dtype();
        let x = inputs[0].cast(check::statistics_dtype(dtype));
        let rank = x.rank();
        let (centred, mean, rstd) = standardize(&x, channel_axes(rank), self.epsilon);
        let [weight, bias] = [1, 2].map(|i| per_channel(&inputs[i].cast(x.dtype()), rank));
        let y = centred.mul(&rstd).mul(&weight).add(&bias).cast(dtype);
        let channels = [x.shape()[1]];
        Some(smallvec![y, mean.reshape(channels), rstd.reshape(channels)])
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::float;
        for shape in [vec![4, 3], vec![3, 2, 4, 5], vec![2, 3, 7]] {
            let c = shape[1];
            samples.case(BatchNorm { epsilon: 1e-3 }, [float(shape), float([c]), float([c])]);
        }
        let op = BatchNorm { epsilon: 1e-5 };
        for shape in [vec![70, 5, 17, 9], vec![33, 7], vec![3, 1, 5531], vec![0, 3, 2]] {
            let c = shape[1];
            samples.rough(op, [float(shape), float([c]), float([c])]);
        }
    }
}

/// The gradient of [`BatchNorm`].
///
/// Inputs: `x` `[n, c, ..]`, `mean` and `rstd` `[c]`, `dy`, `weight` `[c]`. Results: `dx`,
/// `dweight` and `dbias` `[c]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormBackward;

impl Operation for BatchNormBackward {
    fn name(&self) -> &'static str {
        "batch_norm_backward"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let op = self.name();
        check::count(op, inputs, 5)?;
        check_channels(op, inputs)?;
        let (x, dy) = (inputs[0], inputs[3]);
        check::floats(op, &[x, dy])?;
        check::same_shape(op, &[x, dy])?;
        check_statistics(op, inputs, &[x.shape[1]], "channel")?;
        check_affine(op, inputs, &x, 1, &inputs[4..])?;
        Ok(smallvec![x, inputs[4], inputs[4]])
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::INPUTS
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        14 * inputs[0].len() as u64
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        let rank = inputs[0].rank();
        let [mean, rstd] = [1, 2].map(|i| per_channel(inputs[i], rank));
        let inputs = [inputs[0], &mean, &rstd, inputs[3], inputs[4]];
        Some(normalized_gradient(&inputs, channel_axes(rank), |weight| per_channel(weight, rank)))
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{float, float_in};
        for shape in [vec![4, 3], vec![3, 2, 4, 5]] {
            let c = shape[1];
            let (mean, rstd) = (float([c]), float_in([c], 0.5, 2.0));
            let op = BatchNormBackward;
            samples.case(op, [float(shape.clone()), mean, rstd, float(shape), float([c])]);
        }
        for shape in [vec![70, 5, 17, 9], vec![33, 7], vec![3, 1, 5531], vec![0, 3, 2]] {
            let c = shape[1];
            let (mean, rstd) = (float([c]), float_in([c], 0.5, 2.0));
            let inputs = [float(shape.clone()), mean, rstd, float(shape), float([c])];
            samples.rough(BatchNormBackward, inputs);
        }
    }
}

/// Batch normalisation with given statistics, as a trained network uses it.
///
/// Inputs: `x` `[n, c, ..]`, and `weight`, `bias`, `mean`, `var`, all `[c]`. Result: the shape of
/// `x`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormEval {
    /// Added to the variance.
    pub epsilon: f64,
}

impl Operation for BatchNormEval {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let op = self.name();
        check::count(op, inputs, 5)?;
        check_channels(op, inputs)?;
        check::floats(op, &inputs[..1])?;
        check_affine(op, inputs, &inputs[0], 1, &inputs[1..])?;
        Ok(super::one(inputs[0]))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::INPUTS
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        2 * inputs[0].len() as u64
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        let x = inputs[0];
        let [weight, bias, mean, var] = [1, 2, 3, 4].map(|i| per_channel(inputs[i], x.rank()));
        let scale = var.add_scalar(self.epsilon).rsqrt().mul(&weight);
        Some(smallvec![x.sub(&mean).mul(&scale).add(&bias)])
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{float, float_in};
        for shape in [vec![4, 3], vec![3, 2, 4, 5]] {
            let [weight, bias, mean] = [(); 3].map(|()| float([shape[1]]));
            let var = float_in([shape[1]], 0.5, 2.0);
            samples.case(BatchNormEval { epsilon: 1e-3 }, [float(shape), weight, bias, mean, var]);
        }
    }
}
