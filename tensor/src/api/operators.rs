//! `+ - * / %`, `& | ^ << >>`, `-x` and `!x` on owned and borrowed tensors and numbers. An owned left operand that
//! nobody else holds becomes the result.

use std::ops::{
    Add, AddAssign, BitAnd, BitOr, BitXor, Div, DivAssign, Mul, MulAssign, Neg, Not, Rem,
    RemAssign, Shl, Shr, Sub, SubAssign,
};

use super::arithmetic::reversed;
use crate::apply::apply_assign;
use crate::error::OrFail;
use crate::op::{BinaryKind, BinaryScalar};
use crate::tensor::{Bool, Int, Numeric, Tensor};
use crate::{AnyTensor, Scalar, bf16, f16};

/// A number on the right of an operator.
pub trait Number: Into<Scalar> {}

macro_rules! numbers {
    ($($number:ty)*) => {$(impl Number for $number {})*};
}
numbers!(f64 f32 f16 bf16 i64 i32 i16 i8 u64 u32 u16 u8 usize isize);

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
    Add add Add [f64 f32 f16 bf16 i64 i32 i16 i8 u64 u32 u16 u8 usize isize];
    Sub sub Sub [f64 f32 f16 bf16 i64 i32 i16 i8 u64 u32 u16 u8 usize isize];
    Mul mul Mul [f64 f32 f16 bf16 i64 i32 i16 i8 u64 u32 u16 u8 usize isize];
    Div div Div [f64 f32 f16 bf16 i64 i32 i16 i8 u64 u32 u16 u8 usize isize];
    Rem rem Rem [f64 f32 f16 bf16 i64 i32 i16 i8 u64 u32 u16 u8 usize isize];
}

macro_rules! assign_operators {
    ($($trait:ident $method:ident $kind:ident;)*) => {$(
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

        impl<const D: usize, K: Numeric, N: Number> $trait<N> for Tensor<D, K> {
            /// In place, if nobody else holds the tensor.
            #[track_caller]
            fn $method(&mut self, rhs: N) {
                let (kind, scalar) = (BinaryKind::$kind, rhs.into());
                let op = BinaryScalar { kind, scalar, reversed: false };
                apply_assign(&op.into(), self.as_any_mut(), &[]).or_fail();
            }
        }
    )*};
}

assign_operators! {
    AddAssign add_assign Add;
    SubAssign sub_assign Sub;
    MulAssign mul_assign Mul;
    DivAssign div_assign Div;
    RemAssign rem_assign Rem;
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

macro_rules! bit_operators {
    ($kind:ty: $($trait:ident $method:ident $op:ident;)*) => {$(
        impl<const D: usize> $trait<&Tensor<D, $kind>> for &Tensor<D, $kind> {
            type Output = Tensor<D, $kind>;
            #[track_caller]
            fn $method(self, rhs: &Tensor<D, $kind>) -> Tensor<D, $kind> {
                Tensor::from_any(self.as_any().binary(BinaryKind::$op, rhs.as_any()))
            }
        }

        impl<const D: usize> $trait<Tensor<D, $kind>> for &Tensor<D, $kind> {
            type Output = Tensor<D, $kind>;
            #[track_caller]
            fn $method(self, rhs: Tensor<D, $kind>) -> Tensor<D, $kind> {
                self.$method(&rhs)
            }
        }

        impl<const D: usize> $trait<&Tensor<D, $kind>> for Tensor<D, $kind> {
            type Output = Tensor<D, $kind>;
            #[track_caller]
            fn $method(self, rhs: &Tensor<D, $kind>) -> Tensor<D, $kind> {
                Tensor::from_any(self.into_any().binary_owned(BinaryKind::$op, rhs.as_any()))
            }
        }

        impl<const D: usize> $trait<Tensor<D, $kind>> for Tensor<D, $kind> {
            type Output = Tensor<D, $kind>;
            #[track_caller]
            fn $method(self, rhs: Tensor<D, $kind>) -> Tensor<D, $kind> {
                self.$method(&rhs)
            }
        }
    )*};
}

macro_rules! bit_operators_with_numbers {
    ($($trait:ident $method:ident $op:ident;)*) => {$(
        impl<const D: usize, N: Number> $trait<N> for Tensor<D, Int> {
            type Output = Tensor<D, Int>;
            #[track_caller]
            fn $method(self, rhs: N) -> Tensor<D, Int> {
                Tensor::from_any(with_scalar(BinaryKind::$op, self.into_any(), rhs))
            }
        }

        impl<const D: usize, N: Number> $trait<N> for &Tensor<D, Int> {
            type Output = Tensor<D, Int>;
            #[track_caller]
            fn $method(self, rhs: N) -> Tensor<D, Int> {
                Tensor::from_any(self.as_any().binary_scalar(BinaryKind::$op, rhs))
            }
        }
    )*};
}

bit_operators! { Bool: BitAnd bitand And; BitOr bitor Or; BitXor bitxor Xor; }
bit_operators! {
    Int:
    BitAnd bitand And; BitOr bitor Or; BitXor bitxor Xor; Shl shl ShiftLeft; Shr shr ShiftRight;
}
bit_operators_with_numbers! {
    BitAnd bitand And; BitOr bitor Or; BitXor bitxor Xor; Shl shl ShiftLeft; Shr shr ShiftRight;
}

impl<const D: usize> Not for Tensor<D, Int> {
    type Output = Tensor<D, Int>;
    fn not(self) -> Tensor<D, Int> {
        self.bitwise_not()
    }
}

impl<const D: usize> Not for &Tensor<D, Int> {
    type Output = Tensor<D, Int>;
    fn not(self) -> Tensor<D, Int> {
        self.bitwise_not()
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
