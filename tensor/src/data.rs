//! Tensor values in host memory.

use std::fmt;

use half::{bf16, f16};
use num_complex::Complex;

use crate::bytes::{Bytes, with_element};
use crate::error::OrFail;
use crate::op::{Distribution, Meta, Random};
use crate::{
    AnyTensor, DType, Device, Element, ElementConversion, Error, Generator, Nested, Result, Scalar,
    Shape,
};

/// The values of a tensor in host memory, row-major, with shape and dtype.
///
/// It is made of nested arrays or of a `Vec`, whose memory it takes over, and tests compare with it:
///
/// ```
/// use kiln_tensor::{Tensor, TensorData};
/// let x = Tensor::<2>::from([[1.0, 2.0], [3.0, 4.0]]);
/// (&x * 2.0).into_data().assert_eq(&TensorData::from([[2.0f32, 4.0], [6.0, 8.0]]), true);
///
/// let data = TensorData::new(vec![1i64, 2, 3, 4], [2, 2]);
/// assert_eq!(data.as_slice::<i64>()?, [1, 2, 3, 4]);
/// assert_eq!(data.convert::<f32>().into_vec::<f32>()?, [1.0, 2.0, 3.0, 4.0]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
pub struct TensorData {
    // Invariant: as many numbers of `dtype` as `shape` has elements, aligned for their type; a bool
    // is 0 or 1.
    bytes: Bytes,
    shape: Shape,
    dtype: DType,
}

impl TensorData {
    /// Values in row-major order, which are not copied. Panics if their number is not that of
    /// `shape`.
    #[track_caller]
    pub fn new<E: Element, S: Into<Shape>>(values: Vec<E>, shape: S) -> Self {
        let shape = shape.into();
        if values.len() != shape.num_elements() {
            let rule = format!("there are {} values", values.len());
            crate::fail(Error::Shape { op: "from_data", shapes: vec![shape], rule });
        }
        Self { bytes: Bytes::new(values), shape, dtype: E::DTYPE }
    }

    /// Values as raw bytes in native order. An error if their number does not fit, or if a bool is
    /// neither 0 nor 1.
    pub fn from_bytes(
        bytes: impl AsRef<[u8]>,
        shape: impl Into<Shape>,
        dtype: DType,
    ) -> Result<Self> {
        let (bytes, shape) = (bytes.as_ref(), shape.into());
        let needed = shape.num_elements() * dtype.size();
        if bytes.len() != needed {
            let rule = format!("{needed} bytes of {dtype} are needed, there are {}", bytes.len());
            return Err(Error::Shape { op: "from_data", shapes: vec![shape], rule });
        }
        Self::filled(shape, dtype, |target| {
            target.copy_from_slice(bytes);
            Ok(())
        })
    }

    /// Values that `fill` writes as bytes in native order, over zeros. An error if it gives one, if
    /// there is no memory for them, or if a bool is neither 0 nor 1.
    pub fn filled(
        shape: Shape,
        dtype: DType,
        fill: impl FnOnce(&mut [u8]) -> Result<()>,
    ) -> Result<Self> {
        Ok(Self { bytes: Bytes::filled(dtype, shape.num_elements(), fill)?, shape, dtype })
    }

    /// Every value the same.
    pub fn full<E: Element, S: Into<Shape>>(shape: S, value: E) -> Self {
        let shape = shape.into();
        Self::new(vec![value; shape.num_elements()], shape)
    }

    /// Every value the same, as `dtype`.
    pub fn full_dtype(shape: impl Into<Shape>, value: impl Into<Scalar>, dtype: DType) -> Self {
        let (shape, value) = (shape.into(), value.into());
        with_element!(dtype, E => Self::full::<E, _>(shape, value.elem()))
    }

    /// Every value zero (false for bools).
    pub fn zeros<E: Element, S: Into<Shape>>(shape: S) -> Self {
        Self::full(shape, E::from_i64(0))
    }

    /// Every value one (true for bools).
    pub fn ones<E: Element, S: Into<Shape>>(shape: S) -> Self {
        Self::full(shape, E::from_i64(1))
    }

    /// Random values, which advance `generator`. Panics if `distribution` is none.
    ///
    /// ```
    /// use kiln_tensor::{Distribution, Generator, TensorData};
    /// let mut generator = Generator { seed: 7, offset: 0 };
    /// let data = TensorData::random::<f32, _>([2, 3], Distribution::Default, &mut generator);
    /// data.assert_within_range(0.0..1.0f32);
    /// ```
    #[track_caller]
    pub fn random<E: Element, S: Into<Shape>>(
        shape: S,
        distribution: Distribution,
        generator: &mut Generator,
    ) -> Self {
        let meta = Meta::new(shape, E::DTYPE);
        let start = generator.take(Random::words(meta));
        let random = Random { distribution, seed: start.seed, offset: start.offset, meta };
        AnyTensor::create(random, Device::cpu()).into_data().or_fail()
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
        self.bytes.as_bytes()
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.rank()
    }

    /// The number of values.
    pub fn num_elements(&self) -> usize {
        self.shape.num_elements()
    }

    /// The values in row-major order, converted to `E` as Rust's `as` does.
    pub fn iter<E: Element>(&self) -> Box<dyn Iterator<Item = E> + '_> {
        with_element!(self.dtype, T => {
            let values = self.as_slice::<T>().expect("their own type");
            Box::new(values.iter().map(|value| value.cast()))
        })
    }

    fn check_type<E: Element>(&self, op: &'static str) -> Result<()> {
        if self.dtype == E::DTYPE {
            return Ok(());
        }
        let rule = format!("the values are not {}; convert them first", E::DTYPE);
        Err(Error::DType { op, dtypes: vec![self.dtype], rule })
    }

    /// The values in row-major order, where they are. An error if they are not of type `E`.
    pub fn as_slice<E: Element>(&self) -> Result<&[E]> {
        self.check_type::<E>("as_slice")?;
        // SAFETY: the values are of type `E`, as `new` got them or `filled` filled them in.
        Ok(unsafe { self.bytes.as_slice() })
    }

    /// The values in row-major order, to be changed. An error if they are not of type `E`.
    pub fn as_mut_slice<E: Element>(&mut self) -> Result<&mut [E]> {
        self.check_type::<E>("as_mut_slice")?;
        // SAFETY: as in `as_slice`.
        Ok(unsafe { self.bytes.as_mut_slice() })
    }

    /// A copy of the values in row-major order. An error if they are not of type `E`.
    pub fn to_vec<E: Element>(&self) -> Result<Vec<E>> {
        self.check_type::<E>("to_vec")?;
        Ok(self.as_slice()?.to_vec())
    }

    /// The values in row-major order, without a copy. An error if they are not of type `E`.
    pub fn into_vec<E: Element>(self) -> Result<Vec<E>> {
        self.check_type::<E>("into_vec")?;
        Ok(self.bytes.into_vec().ok().expect("the values came as a Vec of their type"))
    }

    /// The same as [`TensorData::to_vec`].
    pub fn try_to_vec<E: Element>(&self) -> Result<Vec<E>> {
        self.to_vec()
    }

    /// The same as [`TensorData::into_vec`].
    pub fn try_into_vec<E: Element>(self) -> Result<Vec<E>> {
        self.into_vec()
    }

    /// The values as `dtype`, without a copy if they are of that type.
    pub(crate) fn into_dtype(self, dtype: DType) -> Self {
        if dtype == self.dtype { self } else { self.convert_dtype(dtype) }
    }

    /// The memory of the values.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Values whose memory is `bytes`.
    ///
    /// # Safety
    /// `bytes` are as many elements of `dtype` as `shape` has, and came as a `Vec` of their type.
    pub(crate) unsafe fn from_parts(bytes: Bytes, shape: Shape, dtype: DType) -> Self {
        Self { bytes, shape, dtype }
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
}

impl Clone for TensorData {
    fn clone(&self) -> Self {
        let bytes = with_element!(self.dtype, E => {
            // SAFETY: the values are of type `E`, as `new` got them or `filled` filled them in.
            let values = unsafe { self.bytes.as_slice::<E>() };
            Bytes::new(values.to_vec())
        });
        Self { bytes, shape: self.shape, dtype: self.dtype }
    }
}

/// Equal bit by bit, with equal shape and dtype.
impl PartialEq for TensorData {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && self.dtype == other.dtype && self.bytes() == other.bytes()
    }
}

impl fmt::Debug for TensorData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TensorData({:?}, {}, ", self.shape, self.dtype)?;
        if self.dtype.is_complex() {
            f.debug_list().entries(self.iter::<Complex<f64>>().take(16)).finish()?;
        } else if self.dtype.is_float() {
            f.debug_list().entries(self.iter::<f64>().take(16)).finish()?;
        } else {
            f.debug_list().entries(self.iter::<i64>().take(16)).finish()?;
        }
        f.write_str(if self.num_elements() > 16 { " ..)" } else { ")" })
    }
}

impl fmt::Display for TensorData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::display::write(self, f)
    }
}

/// Numbers and arrays of these. Panics if they are nested deeper than the largest rank.
impl<T: Nested> From<T> for TensorData {
    #[track_caller]
    fn from(nested: T) -> Self {
        let (mut dims, mut values) = (Vec::new(), Vec::new());
        T::dims(&mut dims);
        nested.flatten(&mut values);
        Self::new(values, Shape::try_new(&dims).or_fail())
    }
}

impl<E: Element> From<&[E]> for TensorData {
    fn from(values: &[E]) -> Self {
        Self::new(values.to_vec(), [values.len()])
    }
}

impl From<&[usize]> for TensorData {
    fn from(values: &[usize]) -> Self {
        Self::from(values.iter().map(|&x| x as i64).collect::<Vec<_>>())
    }
}

impl<E: Element> From<Vec<E>> for TensorData {
    fn from(values: Vec<E>) -> Self {
        let len = values.len();
        Self::new(values, [len])
    }
}
