//! Products with a weight, rows picked by index, and dropout.

use crate::op::{Activation, Dropout, MatMul, Unary};
use crate::tensor::{Int, Tensor};
use crate::{AnyTensor, Shape};

/// `x weight + bias` over the last axis, with the weight as Burn lays it out.
///
/// `x` `[.., in]`, `weight` `[in, out]`, `bias` `[out]`. Result: `[.., out]`. The weight of
/// `torch.nn.functional.linear` is `[out, in]`; [`linear_activation`] takes that one.
///
/// ```
/// use kiln_tensor::{Tensor, module};
/// let x = Tensor::<2>::from([[1.0, 2.0]]);
/// let weight = Tensor::<2>::from([[3.0, 4.0], [5.0, 6.0]]);
/// let y = module::linear(x, weight, Some(Tensor::from([0.5, 0.0])));
/// assert_eq!(y.into_data().to_vec::<f32>()?, [13.5, 16.0]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[track_caller]
pub fn linear<const D: usize>(
    x: impl AsRef<Tensor<D>>,
    weight: impl AsRef<Tensor<2>>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let (x, weight) = (x.as_ref().as_any(), weight.as_ref().as_any());
    Tensor::from_any(affine(x, weight, bias.as_ref().map(Tensor::as_any), None))
}

/// `x weight^T + bias` over the last axis, as `torch.nn.functional.linear` has it, followed by an
/// activation that is applied while the result is in cache.
///
/// `x` `[.., in]`, `weight` `[out, in]`, `bias` `[out]`. Result: `[.., out]`.
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
    affine(x, &weight.transpose(), bias, activation)
}

/// As [`linear_any`] with a weight `[in, out]`.
#[track_caller]
fn affine(
    x: &AnyTensor,
    weight: &AnyTensor,
    bias: Option<&AnyTensor>,
    activation: Option<Activation>,
) -> AnyTensor {
    let tracked = [Some(x), Some(weight), bias].iter().flatten().any(|x| x.tracked().is_some());
    let apart = activation.filter(|activation| tracked && !activation.derivative_from_output());
    let op = MatMul { bias: bias.is_some(), activation: activation.filter(|_| apart.is_none()) };
    // A vector is a matrix of one row.
    let vector = x.rank() == 1;
    let rows = if vector { &x.reshape([1, x.num_elements()]) } else { x };
    let mut y = match bias {
        Some(bias) => rows.apply(op, &[weight, bias]),
        None => rows.apply(op, &[weight]),
    };
    if let Some(activation) = apart {
        y = y.apply(Unary { kind: activation.unary() }, &[]);
    }
    if vector { y.reshape([y.num_elements()]) } else { y }
}

/// Integer indices of any rank, owned or borrowed, for [`embedding`].
pub trait Indices {
    /// A tensor of one rank more.
    type Embedded;

    /// The tensor without its types.
    fn indices(&self) -> &AnyTensor;

    /// Types the result.
    fn embedded(result: AnyTensor) -> Self::Embedded;
}

impl<T: Indices> Indices for &T {
    type Embedded = T::Embedded;

    fn indices(&self) -> &AnyTensor {
        T::indices(self)
    }

    #[track_caller]
    fn embedded(result: AnyTensor) -> Self::Embedded {
        T::embedded(result)
    }
}

macro_rules! indices {
    ($($rank:literal to $next:literal),*) => {$(
        impl Indices for Tensor<$rank, Int> {
            type Embedded = Tensor<$next>;

            fn indices(&self) -> &AnyTensor {
                self.as_any()
            }

            #[track_caller]
            fn embedded(result: AnyTensor) -> Self::Embedded {
                Tensor::from_any(result)
            }
        }
    )*};
}
indices!(0 to 1, 1 to 2, 2 to 3, 3 to 4, 4 to 5, 5 to 6, 6 to 7, 7 to 8);

/// Rows of `weight`, picked by index: `torch.nn.functional.embedding`. `weight` `[n, d]`, `indices`
/// `[..]`. Result: `[.., d]`. Panics if an index is out of range.
#[track_caller]
pub fn embedding<I: Indices>(weight: impl AsRef<Tensor<2>>, indices: I) -> I::Embedded {
    I::embedded(embedding_any(weight.as_ref().as_any(), indices.indices()))
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
