//! Comparisons and the logic of bools.

use crate::op::{BinaryKind, UnaryKind};
use crate::tensor::{Bool, Float, Kind, Numeric, Tensor};
use crate::{AnyTensor, Scalar};

macro_rules! comparison {
    ($($(#[$doc:meta])* $name:ident, $elem:ident: $kind:ident;)*) => {$(
        $(#[$doc])*
        #[track_caller]
        pub fn $name(&self, rhs: impl AsRef<Self>) -> Tensor<D, Bool> {
            Tensor::from_any(self.as_any().binary(BinaryKind::$kind, rhs.as_ref().as_any()))
        }

        #[doc = concat!("As [`Tensor::", stringify!($name), "`] with a number.")]
        #[track_caller]
        pub fn $elem(&self, rhs: impl Into<Scalar>) -> Tensor<D, Bool> {
            Tensor::from_any(self.as_any().binary_scalar(BinaryKind::$kind, rhs))
        }
    )*};
}

impl<const D: usize, K: Kind> Tensor<D, K> {
    comparison! {
        /// Whether each pair is equal. NaN equals nothing.
        equal, equal_elem: Equal;
        /// Whether each pair is different.
        not_equal, not_equal_elem: NotEqual;
    }
}

impl<const D: usize, K: Numeric> Tensor<D, K> {
    comparison! {
        /// Whether the left of each pair is larger.
        greater, greater_elem: Greater;
        /// Whether the left of each pair is larger, or both are equal.
        greater_equal, greater_equal_elem: GreaterEqual;
        /// Whether the left of each pair is smaller.
        lower, lower_elem: Less;
        /// Whether the left of each pair is smaller, or both are equal.
        lower_equal, lower_equal_elem: LessEqual;
    }
}

impl<const D: usize> Tensor<D, Float> {
    /// Which elements are NaN.
    pub fn is_nan(&self) -> Tensor<D, Bool> {
        self.not_equal(self)
    }
}

impl<const D: usize> Tensor<D, Bool> {
    /// True where both are.
    #[track_caller]
    pub fn bool_and(&self, rhs: impl AsRef<Self>) -> Self {
        Self::from_any(self.as_any().binary(BinaryKind::And, rhs.as_ref().as_any()))
    }

    /// True where either is.
    #[track_caller]
    pub fn bool_or(&self, rhs: impl AsRef<Self>) -> Self {
        Self::from_any(self.as_any().binary(BinaryKind::Or, rhs.as_ref().as_any()))
    }

    /// True where exactly one is.
    #[track_caller]
    pub fn bool_xor(&self, rhs: impl AsRef<Self>) -> Self {
        Self::from_any(self.as_any().binary(BinaryKind::Xor, rhs.as_ref().as_any()))
    }

    /// True where this is false.
    pub fn bool_not(&self) -> Self {
        Self::from_any(AnyTensor::unary(self.as_any(), UnaryKind::Not))
    }
}
