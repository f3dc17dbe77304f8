//! `+ - * / %`, `-x` and `!x` on owned and borrowed tensors and numbers. An owned left operand that
//! nobody else holds becomes the result.

use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Not, Rem, Sub, SubAssign};

use super::arithmetic::reversed;
use crate::apply::apply_assign;
use crate::error::OrFail;
use crate::op::{BinaryKind, BinaryScalar};
use crate::tensor::{Bool, Numeric, Tensor};
use crate::{AnyTensor, Scalar};

/// A number on the right of an operator.
pub trait Number: Into<Scalar> {}

macro_rules! numbers {
    ($($number:ty)*) => {$(impl Number for $number {})*};
}
numbers!(f64 f32 i64 i32 i16 i8 u64 u32 u16 u8 usize isize);

#[track_caller]
fn with_scalar(kind: BinaryKind, x: AnyTensor, scalar: impl Into<Scalar>) -> AnyTensor {
    x.apply_owned(BinaryScalar { kind, scalar: scalar.into(), reversed: false }, &[])
}

macro_rules! operators {
    ($($trait:ident $method:ident $kind:ident [$($number:ty)*];)*) => {$(
        impl<const D: usize, K: Numeric> $trait<&Tensor<D, K>> for &Tensor<D, K> {
            type Output = Tensor<D, K>;
            #[track_caller]
            fn $method(self, rhs: &Tensor<D, K>) -> Tensor<D, K> {
                Tensor::from_any(self.as_any().binary(BinaryKind::$kind, rhs.as_any()))
            }
        }

        impl<const D: usize, K: Numeric> $trait<Tensor<D, K>> for &Tensor<D, K> {
            type Output = Tensor<D, K>;
            #[track_caller]
            fn $method(self, rhs: Tensor<D, K>) -> Tensor<D, K> {
                self.$method(&rhs)
            }
        }

        impl<const D: usize, K: Numeric> $trait<&Tensor<D, K>> for Tensor<D, K> {
            type Output = Tensor<D, K>;
            #[track_caller]
            fn $method(self, rhs: &Tensor<D, K>) -> Tensor<D, K> {
                Tensor::from_any(self.into_any().binary_owned(BinaryKind::$kind, rhs.as_any()))
            }
        }

        impl<const D: usize, K: Numeric> $trait<Tensor<D, K>> for Tensor<D, K> {
            type Output = Tensor<D, K>;
            #[track_caller]
            fn $method(self, rhs: Tensor<D, K>) -> Tensor<D, K> {
                self.$method(&rhs)
            }
        }

        // One impl for all numbers, so that the type of a literal needs no hint.
        impl<const D: usize, K: Numeric, N: Number> $trait<N> for Tensor<D, K> {
            type Output = Tensor<D, K>;
            #[track_caller]
            fn $method(self, rhs: N) -> Tensor<D, K> {
                Tensor::from_any(with_scalar(BinaryKind::$kind, self.into_any(), rhs))
            }
        }

        impl<const D: usize, K: Numeric, N: Number> $trait<N> for &Tensor<D, K> {
            type Output = Tensor<D, K>;
            #[track_caller]
            fn $method(self, rhs: N) -> Tensor<D, K> {
                Tensor::from_any(self.as_any().binary_scalar(BinaryKind::$kind, rhs))
            }
        }

        $(
            impl<const D: usize, K: Numeric> $trait<Tensor<D, K>> for $number {
                type Output = Tensor<D, K>;
                #[track_caller]
                fn $method(self, rhs: Tensor<D, K>) -> Tensor<D, K> {
                    Tensor::from_any(reversed(BinaryKind::$kind, self, rhs.as_any()))
                }
            }

            impl<const D: usize, K: Numeric> $trait<&Tensor<D, K>> for $number {
                type Output = Tensor<D, K>;
                #[track_caller]
                fn $method(self, rhs: &Tensor<D, K>) -> Tensor<D, K> {
                    Tensor::from_any(reversed(BinaryKind::$kind, self, rhs.as_any()))
                }
            }
        )*
    )*};
}

operators! {
    Add add Add [f64 f32 i64 i32 u64 u32 usize];
    Sub sub Sub [f64 f32 i64 i32 u64 u32 usize];
    Mul mul Mul [f64 f32 i64 i32 u64 u32 usize];
    Div div Div [f64 f32 i64 i32 u64 u32 usize];
    Rem rem Rem [f64 f32 i64 i32 u64 u32 usize];
}

macro_rules! assign_operators {
    ($($trait:ident $method:ident $kind:ident [$($number:ty)*];)*) => {$(
        impl<const D: usize, K: Numeric> $trait<&Tensor<D, K>> for Tensor<D, K> {
            /// In place, if nobody else holds the tensor.
            #[track_caller]
            fn $method(&mut self, rhs: &Tensor<D, K>) {
                self.as_any_mut().binary_assign(BinaryKind::$kind, rhs.as_any());
            }
        }

        impl<const D: usize, K: Numeric> $trait<Tensor<D, K>> for Tensor<D, K> {
            /// In place, if nobody else holds the tensor.
            #[track_caller]
            fn $method(&mut self, rhs: Tensor<D, K>) {
                self.as_any_mut().binary_assign(BinaryKind::$kind, rhs.as_any());
            }
        }

        $(
            impl<const D: usize, K: Numeric> $trait<$number> for Tensor<D, K> {
                /// In place, if nobody else holds the tensor.
                #[track_caller]
                fn $method(&mut self, rhs: $number) {
                    let op = BinaryScalar {
                        kind: BinaryKind::$kind,
                        scalar: rhs.into(),
                        reversed: false,
                    };
                    apply_assign(&op.into(), self.as_any_mut(), &[]).or_fail();
                }
            }
        )*
    )*};
}

assign_operators! {
    AddAssign add_assign Add [f64 f32 i64 i32];
    SubAssign sub_assign Sub [f64 f32 i64 i32];
    MulAssign mul_assign Mul [f64 f32 i64 i32];
    DivAssign div_assign Div [f64 f32 i64 i32];
}

impl<const D: usize, K: Numeric> Neg for Tensor<D, K> {
    type Output = Tensor<D, K>;
    fn neg(self) -> Tensor<D, K> {
        Tensor::neg(&self)
    }
}

impl<const D: usize, K: Numeric> Neg for &Tensor<D, K> {
    type Output = Tensor<D, K>;
    fn neg(self) -> Tensor<D, K> {
        Tensor::neg(self)
    }
}

impl<const D: usize> Not for Tensor<D, Bool> {
    type Output = Tensor<D, Bool>;
    fn not(self) -> Tensor<D, Bool> {
        self.bool_not()
    }
}

impl<const D: usize> Not for &Tensor<D, Bool> {
    type Output = Tensor<D, Bool>;
    fn not(self) -> Tensor<D, Bool> {
        self.bool_not()
    }
}
