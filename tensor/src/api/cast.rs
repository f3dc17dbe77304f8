//! Conversion to another dtype.

use crate::tensor::{Bool, Float, Int, Kind, Tensor};
use crate::{DType, Error};

/// The dtypes of float tensors, for a [`Tensor::cast`] whose result is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum FloatDType {
    F64,
    F32,
    F16,
    BF16,
}

/// The dtypes of integer tensors, for a [`Tensor::cast`] whose result is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum IntDType {
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
}

impl From<FloatDType> for DType {
    fn from(dtype: FloatDType) -> DType {
        match dtype {
            FloatDType::F64 => DType::F64,
            FloatDType::F32 => DType::F32,
            FloatDType::F16 => DType::F16,
            FloatDType::BF16 => DType::BF16,
        }
    }
}

impl From<IntDType> for DType {
    fn from(dtype: IntDType) -> DType {
        match dtype {
            IntDType::I64 => DType::I64,
            IntDType::I32 => DType::I32,
            IntDType::I16 => DType::I16,
            IntDType::I8 => DType::I8,
            IntDType::U64 => DType::U64,
            IntDType::U32 => DType::U32,
            IntDType::U16 => DType::U16,
            IntDType::U8 => DType::U8,
        }
    }
}

impl From<DType> for FloatDType {
    /// Panics if `dtype` is not a float dtype.
    #[track_caller]
    fn from(dtype: DType) -> FloatDType {
        match dtype {
            DType::F64 => FloatDType::F64,
            DType::F32 => FloatDType::F32,
            DType::F16 => FloatDType::F16,
            DType::BF16 => FloatDType::BF16,
            other => not_a("float", other),
        }
    }
}

impl From<DType> for IntDType {
    /// Panics if `dtype` is not an integer dtype.
    #[track_caller]
    fn from(dtype: DType) -> IntDType {
        match dtype {
            DType::I64 => IntDType::I64,
            DType::I32 => IntDType::I32,
            DType::I16 => IntDType::I16,
            DType::I8 => IntDType::I8,
            DType::U64 => IntDType::U64,
            DType::U32 => IntDType::U32,
            DType::U16 => IntDType::U16,
            DType::U8 => IntDType::U8,
            other => not_a("int", other),
        }
    }
}

#[track_caller]
fn not_a(kind: &str, dtype: DType) -> ! {
    crate::fail(Error::Argument { op: "cast", rule: format!("{dtype} is no {kind} dtype") })
}

/// What [`Tensor::cast`] of a tensor of kind `K` takes: a [`DType`] of the same kind, a
/// [`FloatDType`] or an [`IntDType`].
pub trait CastTo<K>: Into<DType> {
    /// The kind of the result.
    type Kind: Kind;
}

impl<K: Kind> CastTo<K> for DType {
    type Kind = K;
}

impl<K: Kind> CastTo<K> for FloatDType {
    type Kind = Float;
}

impl<K: Kind> CastTo<K> for IntDType {
    type Kind = Int;
}

impl<const D: usize, K: Kind> Tensor<D, K> {
    /// The same numbers as another dtype. A [`DType`] must be of the same kind; a [`FloatDType`] or
    /// an [`IntDType`] gives a tensor of that kind. Floats to integers are cut toward zero.
    ///
    /// ```
    /// use kiln_tensor::{DType, Int, IntDType, Tensor};
    /// let x = Tensor::<1>::from([1.5, -2.5]);
    /// assert_eq!(x.cast(DType::BF16).dtype(), DType::BF16);
    /// let whole: Tensor<1, Int> = x.cast(IntDType::I32);
    /// assert_eq!(whole.into_data().to_vec::<i32>()?, [1, -2]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn cast<T: CastTo<K>>(&self, dtype: T) -> Tensor<D, T::Kind> {
        let dtype = dtype.into();
        if !T::Kind::holds(dtype) {
            let rule = format!(
                "{dtype} is not of kind {}; `float`, `int` and `bool` change the kind",
                T::Kind::NAME
            );
            crate::fail(Error::DType { op: "cast", dtypes: vec![self.dtype()], rule });
        }
        Tensor::from_any(self.as_any().cast(dtype))
    }
}

impl<const D: usize> Tensor<D, Float> {
    /// Whole numbers, cut toward zero.
    pub fn int(&self) -> Tensor<D, Int> {
        Tensor::from_any(self.as_any().cast(DType::I64))
    }

    /// Whether each element is anything but zero.
    pub fn bool(&self) -> Tensor<D, Bool> {
        Tensor::from_any(self.as_any().cast(DType::Bool))
    }
}

impl<const D: usize> Tensor<D, Int> {
    /// The same numbers as f32.
    pub fn float(&self) -> Tensor<D> {
        Tensor::from_any(self.as_any().cast(DType::F32))
    }

    /// Whether each element is anything but zero.
    pub fn bool(&self) -> Tensor<D, Bool> {
        Tensor::from_any(self.as_any().cast(DType::Bool))
    }
}

impl<const D: usize> Tensor<D, Bool> {
    /// True as 1, false as 0.
    pub fn float(&self) -> Tensor<D> {
        Tensor::from_any(self.as_any().cast(DType::F32))
    }

    /// True as 1, false as 0.
    pub fn int(&self) -> Tensor<D, Int> {
        Tensor::from_any(self.as_any().cast(DType::I64))
    }
}
