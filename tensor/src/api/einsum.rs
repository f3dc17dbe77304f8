//! Sums of products over named axes, as a function of the tensor type and as a macro.

use std::marker::PhantomData;

use crate::tensor::{Kind, Numeric, Tensor};
use crate::{AnyTensor, Shape};

/// An operand of [`Tensor::einsum`]: a tensor of any rank, from which `.into()` makes it.
#[derive(Clone, Debug)]
pub struct EinsumOperand<K: Kind> {
    tensor: AnyTensor,
    kind: PhantomData<K>,
}

impl<const D: usize, K: Kind> From<&Tensor<D, K>> for EinsumOperand<K> {
    fn from(tensor: &Tensor<D, K>) -> Self {
        Self { tensor: tensor.as_any().clone(), kind: PhantomData }
    }
}

impl<const D: usize, K: Kind> From<Tensor<D, K>> for EinsumOperand<K> {
    fn from(tensor: Tensor<D, K>) -> Self {
        Self::from(&tensor)
    }
}

impl<const D: usize, K: Numeric> Tensor<D, K> {
    /// A sum of products over named axes, with the equations of
    /// [`linalg::einsum`](crate::linalg::einsum). For the type `Tensor<1, K>` a sum over all axes
    /// has shape `[1]`, and a tensor of that shape fits operands without letters.
    ///
    /// ```
    /// use kiln_tensor::Tensor;
    /// let a = Tensor::<2>::from([[1.0, 2.0], [3.0, 4.0]]);
    /// let v = Tensor::<1>::from([1.0, 10.0]);
    /// let y = Tensor::<1>::einsum("ij,j->i", [a.clone().into(), v.into()]);
    /// assert_eq!(y.into_data().to_vec::<f32>()?, [21.0, 43.0]);
    /// let sum = Tensor::<1>::einsum("ij->", [a.into()]);
    /// assert_eq!(sum.into_data().to_vec::<f32>()?, [10.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn einsum(equation: &str, operands: impl IntoIterator<Item = EinsumOperand<K>>) -> Self {
        let inputs = equation.split("->").next().unwrap_or_default();
        let mut subscripts = inputs.split(',').map(str::trim);
        let mut scalar = |x: EinsumOperand<K>| match subscripts.next() {
            Some("") if *x.tensor.shape() == [1] => x.tensor.reshape(Shape::SCALAR),
            _ => x.tensor,
        };
        let operands: Vec<AnyTensor> = operands.into_iter().map(&mut scalar).collect();
        let sum = AnyTensor::einsum(equation, &operands.iter().collect::<Vec<_>>());
        Self::from_any(if D == 1 && sum.rank() == 0 { sum.reshape([1]) } else { sum })
    }
}

/// [`Tensor::einsum`] of an equation that is known when the program is compiled, and with it the
/// rank of the result: `einsum!("ij,jk->ik", a, b)`. If the result has axes of an ellipsis, its type
/// must be given. The operands are tensors or references to tensors.
///
/// ```
/// use kiln_tensor::{Tensor, einsum};
/// let a = Tensor::<2>::from([[1.0, 2.0], [3.0, 4.0]]);
/// let product = einsum!("ij,jk->ik", &a, &a);
/// assert_eq!(product.into_data().to_vec::<f32>()?, [7.0, 10.0, 15.0, 22.0]);
/// let rows: Tensor<1> = einsum!("...j->...", a);
/// assert_eq!(rows.into_data().to_vec::<f32>()?, [3.0, 7.0]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[macro_export]
macro_rules! einsum {
    ($equation:literal $(, $operand:expr)+ $(,)?) => {
        $crate::einsum_of::<{ $crate::einsum_rank($equation) }, _, _, _>(
            $equation,
            [$($crate::EinsumOperand::from($operand)),+],
        )
    };
}

/// What [`einsum_rank`] says of an equation whose result can have any rank.
const ANY_RANK: usize = usize::MAX;

/// The rank that an equation gives its result.
pub struct EinsumRank<const R: usize>;

/// That a sum of this rank can have the type `T`. There is one such type for each rank up to the
/// largest, which is how the compiler finds it.
pub trait EinsumOutput<K: Kind, T> {
    /// The sum as that type.
    fn sum<const N: usize>(equation: &str, operands: [EinsumOperand<K>; N]) -> T;
}

macro_rules! outputs {
    ($($rank:expr => [$($generic:tt)*] $d:expr;)*) => {$(
        impl<$($generic)* K: Numeric> EinsumOutput<K, Tensor<{ $d }, K>> for EinsumRank<{ $rank }> {
            #[track_caller]
            fn sum<const N: usize>(
                equation: &str,
                operands: [EinsumOperand<K>; N],
            ) -> Tensor<{ $d }, K> {
                Tensor::einsum(equation, operands)
            }
        }
    )*};
}

outputs! {
    1 => [] 1;
    2 => [] 2;
    3 => [] 3;
    4 => [] 4;
    5 => [] 5;
    6 => [] 6;
    7 => [] 7;
    8 => [] 8;
    ANY_RANK => [const D: usize,] D;
}

/// What [`einsum!`](crate::einsum!) calls.
#[track_caller]
pub fn einsum_of<const R: usize, const N: usize, K: Kind, T>(
    equation: &str,
    operands: [EinsumOperand<K>; N],
) -> T
where
    EinsumRank<R>: EinsumOutput<K, T>,
{
    EinsumRank::<R>::sum(equation, operands)
}

/// The rank of the result of an equation, at least 1, or `usize::MAX` if that depends on the operands.
pub const fn einsum_rank(equation: &str) -> usize {
    let text = equation.as_bytes();
    let mut arrow = 0;
    while arrow + 1 < text.len() && !(text[arrow] == b'-' && text[arrow + 1] == b'>') {
        arrow += 1;
    }
    let explicit = arrow + 1 < text.len();
    let mut counts = [0usize; 128];
    let (mut rank, mut at) = (0, if explicit { arrow + 2 } else { 0 });
    while at < text.len() {
        if text[at] == b'.' {
            return ANY_RANK;
        }
        if text[at].is_ascii_alphabetic() {
            // Without an arrow the result has the letters that occur once.
            let count = &mut counts[text[at] as usize];
            *count += 1;
            if *count == 1 {
                rank += 1;
            } else if *count == 2 && !explicit {
                rank -= 1;
            }
        }
        at += 1;
    }
    if rank == 0 { 1 } else { rank }
}
