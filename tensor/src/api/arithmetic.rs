//! Elementwise arithmetic and functions, and the matrix product.

use crate::op::{BinaryKind, BinaryScalar, UnaryKind};
use crate::tensor::{Differentiable, Float, Int, Numeric, Ordered, Tensor};
use crate::{AnyTensor, Scalar};

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident, $scalar:ident: $kind:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// Shapes broadcast; different dtypes meet at the wider one.
        #[track_caller]
        pub fn $name(&self, rhs: impl AsRef<Self>) -> Self {
            Self::from_any(self.as_any().binary(BinaryKind::$kind, rhs.as_ref().as_any()))
        }

        #[doc = concat!("As [`Tensor::", stringify!($name), "`] with a number, which takes the tensor's dtype.")]
        #[track_caller]
        pub fn $scalar(&self, rhs: impl Into<Scalar>) -> Self {
            Self::from_any(self.as_any().binary_scalar(BinaryKind::$kind, rhs))
        }
    )*};
}

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident: $kind:ident;)*) => {$(
        $(#[$doc])*
        #[track_caller]
        pub fn $name(&self) -> Self {
            Self::from_any(self.as_any().unary(UnaryKind::$kind))
        }
    )*};
}

impl<const D: usize, K: Numeric> Tensor<D, K> {
    binary! {
        /// The sum of each pair of elements.
        add, add_scalar: Add;
        /// The difference of each pair of elements.
        sub, sub_scalar: Sub;
        /// The product of each pair of elements.
        mul, mul_scalar: Mul;
        /// The quotient of each pair of elements; of integers cut toward zero, and division by zero
        /// panics.
        div, div_scalar: Div;
        /// The remainder of each pair, with the sign of the divisor: `torch.remainder`.
        remainder, remainder_scalar: Rem;
        /// The larger of each pair; NaN if either is.
        max_pair, clamp_min: Max;
        /// The smaller of each pair; NaN if either is.
        min_pair, clamp_max: Min;
    }

    unary! {
        /// The negative of each element.
        neg: Neg;
        /// The square of each element.
        square: Square;
    }

    /// Each element, or the nearer bound if it is outside of `min..=max`.
    #[track_caller]
    pub fn clamp(&self, min: impl Into<Scalar>, max: impl Into<Scalar>) -> Self {
        self.clamp_min(min).clamp_max(max)
    }

    /// Each element to a whole power.
    #[track_caller]
    pub fn powi_scalar(&self, exponent: i64) -> Self {
        Self::from_any(self.as_any().binary_scalar(BinaryKind::Pow, exponent))
    }
}

impl<const D: usize, K: Ordered> Tensor<D, K> {
    unary! {
        /// The magnitude of each element.
        abs: Abs;
        /// -1, 0 or 1 for each element; NaN stays.
        sign: Sign;
    }
}

impl<const D: usize, K: Differentiable> Tensor<D, K> {
    binary! {
        /// Each element to the power of its partner, with the special cases of C99; of complex
        /// numbers `e^(b log a)`, and `a^0` is 1.
        powf, powf_scalar: Pow;
    }

    unary! {
        /// One over each element.
        recip: Recip;
        /// The square root.
        sqrt: Sqrt;
        /// One over the square root.
        rsqrt: Rsqrt;
        /// `e^x`.
        exp: Exp;
        /// `e^x - 1`, accurate near zero.
        expm1: ExpM1;
        /// The natural logarithm.
        log: Log;
        /// The logarithm to base 2.
        log2: Log2;
        /// The logarithm to base 10.
        log10: Log10;
        /// `log(1 + x)`, accurate near zero.
        log1p: Log1p;
        /// The sine.
        sin: Sin;
        /// The cosine.
        cos: Cos;
        /// The tangent.
        tan: Tan;
        /// The hyperbolic tangent.
        tanh: Tanh;
    }

    /// The matrix product of the last two axes; leading axes broadcast. `[.., m, k]` times
    /// `[.., k, n]` is `[.., m, n]`.
    ///
    /// ```
    /// use kiln_tensor::Tensor;
    /// let a = Tensor::<2>::from([[1.0, 2.0], [3.0, 4.0]]);
    /// let b = Tensor::<2>::from([[1.0], [10.0]]);
    /// assert_eq!(a.matmul(&b).into_data().to_vec::<f32>()?, [21.0, 43.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn matmul(&self, rhs: impl AsRef<Self>) -> Self {
        Self::from_any(self.as_any().matmul(rhs.as_ref().as_any()))
    }
}

impl<const D: usize> Tensor<D, Float> {
    unary! {
        /// The error function.
        erf: Erf;
        /// The next lower whole number.
        floor: Floor;
        /// The next higher whole number.
        ceil: Ceil;
        /// The nearest whole number, halves to even.
        round: Round;
        /// The whole part.
        trunc: Trunc;
    }
}

impl<const D: usize> Tensor<D, Int> {
    binary! {
        /// Bits that are set in both.
        bitwise_and, bitwise_and_scalar: And;
        /// Bits that are set in either.
        bitwise_or, bitwise_or_scalar: Or;
        /// Bits that are set in one of both.
        bitwise_xor, bitwise_xor_scalar: Xor;
    }

    unary! {
        /// Every bit turned.
        bitwise_not: Not;
    }
}

/// `scalar op x`.
#[track_caller]
pub(crate) fn reversed(kind: BinaryKind, scalar: impl Into<Scalar>, x: &AnyTensor) -> AnyTensor {
    x.apply(BinaryScalar { kind, scalar: scalar.into(), reversed: true }, &[])
}
