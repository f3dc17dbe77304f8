//! Comparisons and the logic of bools.

use crate::op::{BinaryKind, UnaryKind};
use crate::tensor::{Bool, Float, Kind, Ordered, Tensor};
use crate::{AnyTensor, Scalar};

macro_rules! comparison {
    ($($(#[$doc:meta])* $name:ident, $elem:ident, $scalar:ident: $kind:ident;)*) => {$(
        $(#[$doc])*
        #[track_caller]
        pub fn $name(&self, rhs: impl AsRef<Self>) -> Tensor<D, Bool> {
            Tensor::from_any(self.as_any().binary(BinaryKind::$kind, rhs.as_ref().as_any()))
        }

        #[doc = concat!("As [`Tensor::", stringify!($name), "`] with a number; exact, whatever their types.")]
        #[track_caller]
        pub fn $elem(&self, rhs: impl Into<Scalar>) -> Tensor<D, Bool> {
            Tensor::from_any(self.as_any().binary_scalar(BinaryKind::$kind, rhs))
        }

        #[doc = concat!("The same as [`Tensor::", stringify!($elem), "`].")]
        #[track_caller]
        pub fn $scalar(&self, rhs: impl Into<Scalar>) -> Tensor<D, Bool> {
            self.$elem(rhs)
        }
    )*};
}

impl<const D: usize, K: Kind> Tensor<D, K> {
    comparison! {
        /// Whether each pair is equal. NaN equals nothing.
        equal, equal_elem, equal_scalar: Equal;
        /// Whether each pair is different.
        not_equal, not_equal_elem, not_equal_scalar: NotEqual;
    }
}

impl<const D: usize, K: Ordered> Tensor<D, K> {
    comparison! {
        /// Whether the left of each pair is larger.
        greater, greater_elem, greater_scalar: Greater;
        /// Whether the left of each pair is larger, or both are equal.
        greater_equal, greater_equal_elem, greater_equal_scalar: GreaterEqual;
        /// Whether the left of each pair is smaller.
        lower, lower_elem, lower_scalar: Less;
        /// Whether the left of each pair is smaller, or both are equal.
        lower_equal, lower_equal_elem, lower_equal_scalar: LessEqual;
    }
}

/// The relative tolerance of [`Tensor::is_close`] if none is given.
pub const DEFAULT_RTOL: f64 = 1e-5;

/// The absolute tolerance of [`Tensor::is_close`] if none is given.
pub const DEFAULT_ATOL: f64 = 1e-8;

impl<const D: usize, K: Ordered> Tensor<D, K> {
    /// Which elements are equal, or finite with `|x - y| <= atol + rtol |y|`: `torch.isclose`. The
    /// tolerances are [`DEFAULT_RTOL`] and [`DEFAULT_ATOL`] unless given; NaN is close to nothing.
    #[track_caller]
    pub fn is_close(
        &self,
        other: impl AsRef<Self>,
        rtol: Option<f64>,
        atol: Option<f64>,
    ) -> Tensor<D, Bool> {
        let (rtol, atol) = (rtol.unwrap_or(DEFAULT_RTOL), atol.unwrap_or(DEFAULT_ATOL));
        Tensor::from_any(self.as_any().is_close(other.as_ref().as_any(), rtol, atol))
    }

    /// Whether all elements are close, as by [`Tensor::is_close`]: `torch.allclose`.
    #[track_caller]
    pub fn all_close(&self, other: impl AsRef<Self>, rtol: Option<f64>, atol: Option<f64>) -> bool {
        self.is_close(other, rtol, atol).all().into_scalar()
    }
}

impl<const D: usize> Tensor<D, Float> {
    /// Which elements are NaN.
    pub fn is_nan(&self) -> Tensor<D, Bool> {
        Tensor::from_any(self.as_any().is_nan())
    }

    /// Whether any element is NaN.
    pub fn contains_nan(&self) -> Tensor<1, Bool> {
        self.is_nan().any()
    }

    /// Which elements are plus or minus infinity.
    pub fn is_inf(&self) -> Tensor<D, Bool> {
        Tensor::from_any(self.as_any().is_inf())
    }

    /// Which elements are neither NaN nor infinite.
    pub fn is_finite(&self) -> Tensor<D, Bool> {
        Tensor::from_any(self.as_any().is_finite())
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
