//! The functions behind layers, as in `torch.nn.functional`.

use crate::op::{
    Activation, AvgPool2d, Conv2d, Conv2dOptions, CrossEntropy, Dropout, LayerNorm, MatMul,
    MaxPool2d, Pool2dOptions, Unary,
};
use crate::tensor::{Int, Tensor};
use crate::{AnyTensor, Shape};

/// `x weight^T + bias` over the last axis: `torch.nn.functional.linear`.
///
/// `x` `[.., in]`, `weight` `[out, in]`, `bias` `[out]`. Result: `[.., out]`.
///
/// ```
/// use kiln_tensor::{Tensor, module};
/// let x = Tensor::<2>::from([[1.0, 2.0]]);
/// let weight = Tensor::<2>::from([[3.0, 4.0], [5.0, 6.0]]);
/// let y = module::linear(&x, &weight, Some(&Tensor::<1>::from([0.5, 0.0])));
/// assert_eq!(y.into_data().to_vec::<f32>()?, [11.5, 17.0]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[track_caller]
pub fn linear<const D: usize>(
    x: &Tensor<D>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
) -> Tensor<D> {
    linear_activation(x, weight, bias, None)
}

/// [`linear`] followed by an activation, applied while the result is in cache.
///
/// The derivative of some activations needs what entered them; where a gradient will be asked for,
/// these run as an operation of their own.
#[track_caller]
pub fn linear_activation<const D: usize>(
    x: &Tensor<D>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
    activation: Option<Activation>,
) -> Tensor<D> {
    let (weight, bias) = (weight.as_any(), bias.map(Tensor::as_any));
    Tensor::from_any(linear_any(x.as_any(), weight, bias, activation))
}

/// [`linear_activation`] of tensors of any rank.
#[track_caller]
pub fn linear_any(
    x: &AnyTensor,
    weight: &AnyTensor,
    bias: Option<&AnyTensor>,
    activation: Option<Activation>,
) -> AnyTensor {
    let weight = weight.transpose();
    let tracked = [Some(x), Some(&weight), bias].iter().flatten().any(|x| x.tracked().is_some());
    let apart = activation.filter(|activation| tracked && !activation.derivative_from_output());
    let op = MatMul { bias: bias.is_some(), activation: activation.filter(|_| apart.is_none()) };
    // A vector is a matrix of one row.
    let vector = x.rank() == 1;
    let rows = if vector { &x.reshape([1, x.num_elements()]) } else { x };
    let mut y = match bias {
        Some(bias) => rows.apply(op, &[&weight, bias]),
        None => rows.apply(op, &[&weight]),
    };
    if let Some(activation) = apart {
        y = y.apply(Unary { kind: activation.unary() }, &[]);
    }
    if vector { y.reshape([y.num_elements()]) } else { y }
}

/// Convolution of images: see [`Conv2d`].
///
/// `x` `[n, c, h, w]`, `weight` `[out, c / groups, kh, kw]`, `bias` `[out]`. Result:
/// `[n, out, oh, ow]`.
#[track_caller]
pub fn conv2d(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    options: Conv2dOptions,
) -> Tensor<4> {
    let op = Conv2d { options, bias: bias.is_some() };
    match bias {
        Some(bias) => x.apply(op, &[weight.as_any(), bias.as_any()]),
        None => x.apply(op, &[weight.as_any()]),
    }
}

/// The largest element of each window: see [`MaxPool2d`]. `[n, c, h, w]` to `[n, c, oh, ow]`.
#[track_caller]
pub fn max_pool2d(x: &Tensor<4>, options: Pool2dOptions) -> Tensor<4> {
    x.apply(MaxPool2d { options }, &[])
}

/// [`max_pool2d`] with the index of each maximum in its flattened image.
#[track_caller]
pub fn max_pool2d_with_indices(
    x: &Tensor<4>,
    options: Pool2dOptions,
) -> (Tensor<4>, Tensor<4, Int>) {
    let mut outputs = x.as_any().apply_all(MaxPool2d { options }, &[]).into_iter();
    let mut next = || outputs.next().expect("two outputs");
    (Tensor::from_any(next()), Tensor::from_any(next()))
}

/// The mean of each window: see [`AvgPool2d`]. `[n, c, h, w]` to `[n, c, oh, ow]`.
#[track_caller]
pub fn avg_pool2d(x: &Tensor<4>, options: Pool2dOptions, count_include_pad: bool) -> Tensor<4> {
    x.apply(AvgPool2d { options, count_include_pad }, &[])
}

/// Layer normalisation over the last axes, as many as `shape` has: see [`LayerNorm`].
///
/// `x` `[.., shape..]`; `weight` and `bias` of shape `shape`. Result: the shape of `x`.
#[track_caller]
pub fn layer_norm(
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
        crate::fail(crate::Error::Shape { op: "layer_norm", shapes: vec![full], rule })
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

/// Rows of `weight`, picked by index: `torch.nn.functional.embedding`. `weight` `[n, d]`, `indices`
/// `[..]`. Result: `[.., d]`. Panics if an index is out of range.
#[track_caller]
pub fn embedding<const D: usize, const D2: usize>(
    weight: &Tensor<2>,
    indices: &Tensor<D, Int>,
) -> Tensor<D2> {
    Tensor::from_any(embedding_any(weight.as_any(), indices.as_any()))
}

/// [`embedding`] of indices of any rank.
#[track_caller]
pub fn embedding_any(weight: &AnyTensor, indices: &AnyTensor) -> AnyTensor {
    let mut dims = indices.shape().to_vec();
    dims.extend_from_slice(&weight.shape()[1..]);
    let flat = indices.reshape([indices.num_elements()]);
    weight.select(0, &flat).reshape(Shape::new(dims))
}

/// Each element zero with probability `p`, the others divided by `1 - p`: see [`Dropout`]. Draws
/// from the device's generator.
#[track_caller]
pub fn dropout<const D: usize>(x: &Tensor<D>, p: f64) -> Tensor<D> {
    Tensor::from_any(dropout_any(x.as_any(), p))
}

/// [`dropout`] of a tensor of any rank.
#[track_caller]
pub fn dropout_any(x: &AnyTensor, p: f64) -> AnyTensor {
    let start = x.device().draw(x.num_elements());
    x.apply(Dropout { p, seed: start.seed, offset: start.offset }, &[])
}

/// The cross-entropy of each row: see [`CrossEntropy`]. `logits` `[n, classes]`, `targets` `[n]`.
/// Result: `[n]`. Panics if a target is out of range.
#[track_caller]
pub fn cross_entropy(logits: &Tensor<2>, targets: &Tensor<1, Int>) -> Tensor<1> {
    logits.apply(CrossEntropy, &[targets.as_any()])
}
