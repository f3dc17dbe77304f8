//! What the formulas of updates are written in.

use crate::AnyTensor;
use crate::op::BinaryKind;

/// A number, or a tensor of them: the methods are those of tensors.
pub(crate) trait Number: Clone {
    fn add(&self, rhs: &Self) -> Self;
    fn sub(&self, rhs: &Self) -> Self;
    fn mul(&self, rhs: &Self) -> Self;
    fn div(&self, rhs: &Self) -> Self;
    fn maximum(&self, rhs: &Self) -> Self;
    fn add_scalar(&self, rhs: f64) -> Self;
    fn mul_scalar(&self, rhs: f64) -> Self;
    /// NaN stays NaN.
    fn clamp(&self, min: f64, max: f64) -> Self;
    fn abs(&self) -> Self;
    /// -1, 0 or 1.
    fn sign(&self) -> Self;
    fn sqrt(&self) -> Self;
    /// `self * factor + rhs`, rounded once where the hardware can do so.
    fn mul_add(&self, factor: f64, rhs: &Self) -> Self;

    /// The way from here to `end` by this share of it.
    #[inline(always)]
    fn lerp(&self, end: &Self, share: f64) -> Self {
        end.sub(self).mul_add(share, self)
    }
}

impl Number for AnyTensor {
    fn add(&self, rhs: &Self) -> Self {
        self.binary(BinaryKind::Add, rhs)
    }
    fn sub(&self, rhs: &Self) -> Self {
        self.binary(BinaryKind::Sub, rhs)
    }
    fn mul(&self, rhs: &Self) -> Self {
        self.binary(BinaryKind::Mul, rhs)
    }
    fn div(&self, rhs: &Self) -> Self {
        self.binary(BinaryKind::Div, rhs)
    }
    fn maximum(&self, rhs: &Self) -> Self {
        self.binary(BinaryKind::Max, rhs)
    }
    fn add_scalar(&self, rhs: f64) -> Self {
        self.binary_scalar(BinaryKind::Add, rhs)
    }
    fn mul_scalar(&self, rhs: f64) -> Self {
        self.binary_scalar(BinaryKind::Mul, rhs)
    }
    fn clamp(&self, min: f64, max: f64) -> Self {
        self.maximum_scalar(min).minimum_scalar(max)
    }
    fn abs(&self) -> Self {
        self.abs()
    }
    fn sign(&self) -> Self {
        self.sign()
    }
    fn sqrt(&self) -> Self {
        self.sqrt()
    }
    fn mul_add(&self, factor: f64, rhs: &Self) -> Self {
        self.binary_scalar(BinaryKind::Mul, factor).binary_owned(BinaryKind::Add, rhs)
    }
}
