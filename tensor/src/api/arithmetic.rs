//! Elementwise arithmetic, and products of matrices and vectors.

use super::linalg;
use crate::op::{BinaryKind, BinaryScalar, UnaryKind};
use crate::shape::AxisIndex;
use crate::tensor::{Differentiable, Float, Int, Numeric, Ordered, Tensor};
use crate::{AnyTensor, DType, Scalar};

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident, $scalar:ident: $kind:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// Shapes broadcast; different dtypes meet at the wider one.
        #[track_caller]
        pub fn $name(&self, rhs: impl AsRef<Self>) -> Self {
            Self::from_any(self.as_any().binary(BinaryKind::$kind, rhs.as_ref().as_any()))
        }

        #[doc = concat!("As [`Tensor::", stringify!($name), "`] with a number, which takes the tensor's dtype. Panics if integers meet a fraction.")]
        #[track_caller]
        pub fn $scalar(&self, rhs: impl Into<Scalar>) -> Self {
            Self::from_any(self.as_any().binary_scalar(BinaryKind::$kind, rhs))
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
    }

    unary! {
        /// The negative of each element.
        neg: Neg;
        /// The square of each element.
        square: Square;
    }

    /// Each element to the whole power of its partner. Of integers, a result that is no integer is
    /// cut toward zero (`2^-1` is 0), and one that does not fit wraps.
    #[track_caller]
    pub fn powi(&self, exponent: impl AsRef<Tensor<D, Int>>) -> Self {
        let exponent = exponent.as_ref().as_any();
        if self.dtype().is_differentiable() {
            let exponent = exponent.cast(self.dtype());
            return Self::from_any(self.as_any().binary(BinaryKind::Pow, &exponent));
        }
        Self::from_any(self.as_any().binary(BinaryKind::Pow, exponent))
    }

    /// Each element to a whole power. Panics on a negative power of integers, and on one that is
    /// no whole number.
    #[track_caller]
    pub fn powi_scalar(&self, exponent: impl Into<Scalar>) -> Self {
        let exponent = exponent.into();
        if exponent.to_f64().fract() != 0.0 {
            let rule = format!("the power {} is no integer; use `powf_scalar`", exponent.to_f64());
            crate::fail(crate::Error::Argument { op: "powi_scalar", rule });
        }
        Self::from_any(self.as_any().binary_scalar(BinaryKind::Pow, exponent))
    }
}

impl<const D: usize, K: Ordered> Tensor<D, K> {
    binary! {
        /// The remainder of each pair, with the sign of the divisor: `torch.remainder`.
        remainder, remainder_scalar: Rem;
        /// The remainder of each pair, with the sign of the dividend: `torch.fmod`.
        fmod, fmod_scalar: Fmod;
        /// The quotient of each pair, cut toward minus infinity: `torch.floor_divide`.
        floor_divide, floor_divide_scalar: FloorDiv;
        /// The larger of each pair; NaN if either is.
        max_pair, clamp_min: Max;
        /// The smaller of each pair; NaN if either is.
        min_pair, clamp_max: Min;
    }

    unary! {
        /// The magnitude of each element.
        abs: Abs;
        /// -1, 0 or 1 for each element; 0 for NaN, as `torch.sign`.
        sign: Sign;
    }

    /// Each element, or the nearer bound if it is outside of `min..=max`.
    #[track_caller]
    pub fn clamp(&self, min: impl Into<Scalar>, max: impl Into<Scalar>) -> Self {
        self.clamp_min(min).clamp_max(max)
    }
}

impl<const D: usize, K: Numeric> Tensor<D, K> {
    /// The matrix product of the last two axes; leading axes broadcast. `[.., m, k]` times
    /// `[.., k, n]` is `[.., m, n]`. Sums of integers wrap around, as in `torch.matmul`.
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
        let (a, b) = (self.as_any(), rhs.as_ref().as_any());
        Self::from_any(if K::holds(DType::I64) { a.int_matmul(b) } else { a.matmul(b) })
    }
}

impl<const D: usize, K: Differentiable> Tensor<D, K> {
    binary! {
        /// Each element to the power of its partner, with the special cases of C99; of complex
        /// numbers `e^(b log a)`, and `a^0` is 1.
        powf, powf_scalar: Pow;
    }
}

impl<const D: usize, K: Numeric> Tensor<D, K> {
    /// The vectors at right angles to pairs of vectors of three elements along `dim`:
    /// [`linalg::cross`](crate::linalg::cross).
    #[track_caller]
    pub fn cross(&self, other: impl AsRef<Self>, dim: impl AxisIndex) -> Self {
        linalg::cross(self, other, dim)
    }
}

impl<K: Numeric> Tensor<1, K> {
    /// The sum of the products with another vector: [`linalg::dot`](crate::linalg::dot).
    #[track_caller]
    pub fn dot(&self, other: impl AsRef<Self>) -> Self {
        linalg::dot(self, other)
    }
}

impl<const D: usize> Tensor<D, Float> {
    binary! {
        /// The angle of the point whose y is this and whose x is the other: `torch.atan2`.
        atan2, atan2_scalar: Atan2;
        /// The length of the hypotenuse, without overflow: `torch.hypot`.
        hypot, hypot_scalar: Hypot;
        /// The magnitude of this with the sign of the other: `torch.copysign`.
        copysign, copysign_scalar: CopySign;
        /// `log(e^x + e^y)`, without overflow: `torch.logaddexp`.
        logaddexp, logaddexp_scalar: LogAddExp;
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
        /// Bits moved up by as many places as the other says: `torch.bitwise_left_shift`. Bits that
        /// leave are lost; a shift by a negative number, or by the width or more, gives 0.
        bitwise_left_shift, bitwise_left_shift_scalar: ShiftLeft;
        /// Bits moved down by as many places as the other says, with copies of the sign:
        /// `torch.bitwise_right_shift`. A shift by a negative number, or by the width or more, gives
        /// 0, or -1 for negative numbers.
        bitwise_right_shift, bitwise_right_shift_scalar: ShiftRight;
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
