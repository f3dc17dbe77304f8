//! Tensor values in host memory.

use std::fmt;
use std::marker::PhantomData;

use half::{bf16, f16};
use num_complex::Complex;

use crate::error::OrFail;
use crate::{DType, Element, Error, Result, Shape};

/// The values of a tensor in host memory, row-major, with shape and dtype.
///
/// It is made of nested arrays, and tests compare with it:
///
/// ```
/// use kiln_tensor::{Tensor, TensorData};
/// let x = Tensor::<2>::from([[1.0, 2.0], [3.0, 4.0]]);
/// (&x * 2.0).into_data().assert_eq(&TensorData::from([[2.0f32, 4.0], [6.0, 8.0]]), true);
/// ```
#[derive(Clone, PartialEq)]
pub struct TensorData {
    // Invariant: as many bytes as `shape` has elements of `dtype`; a bool is 0 or 1.
    bytes: Vec<u8>,
    shape: Shape,
    dtype: DType,
}

impl TensorData {
    /// Values in row-major order. Panics if their number is not that of `shape`.
    #[track_caller]
    pub fn new<E: Element>(values: impl AsRef<[E]>, shape: impl Into<Shape>) -> Self {
        let (values, shape) = (values.as_ref(), shape.into());
        if values.len() != shape.num_elements() {
            let rule = format!("there are {} values", values.len());
            crate::fail(Error::Shape { op: "from_data", shapes: vec![shape], rule });
        }
        Self { bytes: to_bytes(values), shape, dtype: E::DTYPE }
    }

    /// Values as raw bytes in native order. An error if their number does not fit, or if a bool is
    /// neither 0 nor 1.
    pub fn from_bytes(bytes: Vec<u8>, shape: Shape, dtype: DType) -> Result<Self> {
        const OP: &str = "from_data";
        let needed = shape.num_elements() * dtype.size();
        if bytes.len() != needed {
            let rule = format!("{needed} bytes of {dtype} are needed, there are {}", bytes.len());
            return Err(Error::Shape { op: OP, shapes: vec![shape], rule });
        }
        if dtype == DType::Bool && bytes.iter().any(|&byte| byte > 1) {
            return Err(Error::Argument { op: OP, rule: "a bool must be 0 or 1".into() });
        }
        Ok(Self { bytes, shape, dtype })
    }

    /// The extents.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The extents as a slice.
    pub fn dims(&self) -> &[usize] {
        &self.shape
    }

    /// The type of the values.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The values as raw bytes in native order.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number of values.
    pub fn num_elements(&self) -> usize {
        self.shape.num_elements()
    }

    /// The values in row-major order, converted to `E` as Rust's `as` does.
    pub fn iter<E: Element>(&self) -> Box<dyn Iterator<Item = E> + '_> {
        fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
            bytes.chunks_exact(N).map(|word| word.try_into().expect("a whole word"))
        }
        let bytes = &self.bytes[..];
        macro_rules! of {
            ($type:ty) => {
                Box::new(words(bytes).map(|word| <$type>::from_ne_bytes(word).cast()))
            };
        }
        match self.dtype {
            DType::F64 => of!(f64),
            DType::F32 => of!(f32),
            DType::F16 => of!(f16),
            DType::BF16 => of!(bf16),
            DType::I64 => of!(i64),
            DType::I32 => of!(i32),
            DType::I16 => of!(i16),
            DType::I8 => of!(i8),
            DType::U64 => of!(u64),
            DType::U32 => of!(u32),
            DType::U16 => of!(u16),
            DType::U8 | DType::Bool => of!(u8),
            DType::Complex64 => Box::new(words(bytes).map(|word: [u8; 8]| {
                let (re, im) = word.split_at(4);
                let part = |half: &[u8]| f32::from_ne_bytes(half.try_into().expect("half a word"));
                Complex::new(part(re), part(im)).cast()
            })),
            DType::Complex128 => Box::new(words(bytes).map(|word: [u8; 16]| {
                let (re, im) = word.split_at(8);
                let part = |half: &[u8]| f64::from_ne_bytes(half.try_into().expect("half a word"));
                Complex::new(part(re), part(im)).cast()
            })),
        }
    }

    /// The values in row-major order. An error if they are not of type `E`.
    pub fn to_vec<E: Element>(&self) -> Result<Vec<E>> {
        if self.dtype != E::DTYPE {
            let rule = format!("the values are not {}; convert them first", E::DTYPE);
            return Err(Error::DType { op: "to_vec", dtypes: vec![self.dtype], rule });
        }
        Ok(self.iter().collect())
    }

    /// The same values as another type.
    pub fn convert_dtype(&self, dtype: DType) -> Self {
        fn converted<E: Element>(data: &TensorData) -> TensorData {
            TensorData::new(data.iter::<E>().collect::<Vec<_>>(), data.shape)
        }
        match dtype {
            same if same == self.dtype => self.clone(),
            DType::F64 => converted::<f64>(self),
            DType::F32 => converted::<f32>(self),
            DType::F16 => converted::<f16>(self),
            DType::BF16 => converted::<bf16>(self),
            DType::I64 => converted::<i64>(self),
            DType::I32 => converted::<i32>(self),
            DType::I16 => converted::<i16>(self),
            DType::I8 => converted::<i8>(self),
            DType::U64 => converted::<u64>(self),
            DType::U32 => converted::<u32>(self),
            DType::U16 => converted::<u16>(self),
            DType::U8 => converted::<u8>(self),
            DType::Complex64 => converted::<Complex<f32>>(self),
            DType::Complex128 => converted::<Complex<f64>>(self),
            DType::Bool => converted::<bool>(self),
        }
    }

    /// The same values as type `E`.
    pub fn convert<E: Element>(&self) -> Self {
        self.convert_dtype(E::DTYPE)
    }

    /// Panics unless shapes and values are equal (NaN equals NaN), and, if `strict`, the dtypes.
    #[track_caller]
    pub fn assert_eq(&self, expected: &Self, strict: bool) {
        if strict && self.dtype != expected.dtype {
            panic!("dtypes differ: {} but expected {}", self.dtype, expected.dtype);
        }
        let expected = expected.convert_dtype(self.dtype);
        self.compare(&expected, |a, b| a == b || (a.is_nan() && b.is_nan()));
    }

    /// Panics unless shapes are equal and values within `tolerance` of each other.
    #[track_caller]
    pub fn assert_approx_eq<E: Element>(&self, expected: &Self, tolerance: Tolerance<E>) {
        self.compare(expected, |a, b| tolerance.accepts(a, b));
    }

    /// Compares each pair of values; of complex numbers both parts.
    #[track_caller]
    fn compare(&self, expected: &Self, equal: impl Fn(f64, f64) -> bool) {
        if self.shape != expected.shape {
            panic!("shapes differ: {} but expected {}", self.shape, expected.shape);
        }
        let complex = self.dtype.is_complex() || expected.dtype.is_complex();
        let values = |data: &Self| -> Vec<f64> {
            match complex {
                true => data.iter::<Complex<f64>>().flat_map(|z| [z.re, z.im]).collect(),
                false => data.iter().collect(),
            }
        };
        let (actual, expected) = (values(self), values(expected));
        let pairs = || actual.iter().copied().zip(expected.iter().copied());
        let wrong: Vec<_> = pairs().enumerate().filter(|(_, (a, b))| !equal(*a, *b)).collect();
        if wrong.is_empty() {
            return;
        }
        let worst = |error: fn(f64, f64) -> f64| {
            pairs().map(|(a, b)| error(a, b)).filter(|e| !e.is_nan()).fold(0.0, f64::max)
        };
        let absolute = worst(|a, b| (a - b).abs());
        let relative = worst(|a, b| (a - b).abs() / b.abs());
        let mut text = format!(
            "{} of {} values differ (largest error {absolute:.3e} absolute, {relative:.3e} relative):",
            wrong.len(),
            actual.len()
        );
        for (index, (a, b)) in wrong.iter().take(5) {
            let (index, part) = match complex {
                true => (index / 2, if index % 2 == 0 { " (real)" } else { " (imaginary)" }),
                false => (*index, ""),
            };
            text += &format!("\n  at {:?}{part}: {a} but expected {b}", self.index_of(index));
        }
        panic!("{text}");
    }

    fn index_of(&self, mut linear: usize) -> Vec<usize> {
        let mut index = vec![0; self.shape.rank()];
        for axis in (0..self.shape.rank()).rev() {
            index[axis] = linear % self.shape[axis];
            linear /= self.shape[axis];
        }
        index
    }
}

impl fmt::Debug for TensorData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TensorData({:?}, {}, ", self.shape, self.dtype)?;
        if self.dtype.is_complex() {
            f.debug_list().entries(self.iter::<Complex<f64>>().take(16)).finish()?;
        } else {
            f.debug_list().entries(self.iter::<f64>().take(16)).finish()?;
        }
        f.write_str(if self.num_elements() > 16 { " ..)" } else { ")" })
    }
}

impl fmt::Display for TensorData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::display::write(self, f)
    }
}

/// How far two values may lie apart: within `relative` of the larger one, or within `absolute`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance<E = f32> {
    relative: f64,
    absolute: f64,
    element: PhantomData<E>,
}

impl<E: Element> Tolerance<E> {
    /// Half a percent relative, or 1e-5 absolute.
    pub fn balanced() -> Self {
        Self::rel_abs(0.005, 1e-5)
    }

    /// The larger of a relative and an absolute bound.
    pub fn rel_abs(relative: f64, absolute: f64) -> Self {
        Self { relative, absolute, element: PhantomData }
    }

    /// Only a relative bound.
    pub fn relative(relative: f64) -> Self {
        Self::rel_abs(relative, 0.0)
    }

    /// Only an absolute bound.
    pub fn absolute(absolute: f64) -> Self {
        Self::rel_abs(0.0, absolute)
    }

    fn accepts(&self, a: f64, b: f64) -> bool {
        let bound = (self.relative * a.abs().max(b.abs())).max(self.absolute);
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= bound
    }
}

impl<E: Element> Default for Tolerance<E> {
    fn default() -> Self {
        Self::balanced()
    }
}

/// The values as bytes in native order.
fn to_bytes<E: Element>(values: &[E]) -> Vec<u8> {
    // SAFETY: every `Element` is a plain number (or a bool, which is one byte of 0 or 1) without
    // padding, so all its bytes are initialised, and u8 has no alignment.
    let bytes = unsafe {
        std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), std::mem::size_of_val(values))
    };
    bytes.to_vec()
}

/// A number, or an array of these: what [`TensorData`] is made of.
pub trait Nested {
    /// The number at the bottom.
    type Element: Element;
    /// The extents, outermost first.
    fn dims(dims: &mut Vec<usize>);
    /// The numbers in row-major order.
    fn flatten(&self, values: &mut Vec<Self::Element>);
}

macro_rules! nested_numbers {
    ($($type:ty)*) => {$(
        impl Nested for $type {
            type Element = $type;
            fn dims(_: &mut Vec<usize>) {}
            fn flatten(&self, values: &mut Vec<$type>) {
                values.push(*self);
            }
        }
    )*};
}
nested_numbers!(f64 f32 f16 bf16 i64 i32 i16 i8 u64 u32 u16 u8 bool Complex<f32> Complex<f64>);

impl<T: Nested, const N: usize> Nested for [T; N] {
    type Element = T::Element;
    fn dims(dims: &mut Vec<usize>) {
        dims.push(N);
        T::dims(dims);
    }
    fn flatten(&self, values: &mut Vec<T::Element>) {
        self.iter().for_each(|item| item.flatten(values));
    }
}

impl<T: Nested, const N: usize> From<[T; N]> for TensorData {
    fn from(array: [T; N]) -> Self {
        let (mut dims, mut values) = (vec![N], Vec::new());
        T::dims(&mut dims);
        array.flatten(&mut values);
        // Fails only for arrays nested deeper than the largest rank.
        Self::new(values, Shape::try_new(&dims).or_fail())
    }
}

impl<E: Element> From<&[E]> for TensorData {
    fn from(values: &[E]) -> Self {
        Self::new(values, [values.len()])
    }
}

impl<E: Element> From<Vec<E>> for TensorData {
    fn from(values: Vec<E>) -> Self {
        let len = values.len();
        Self::new(values, [len])
    }
}
