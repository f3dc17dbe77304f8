//! The typed face of [`AnyTensor`]: rank and kind in the type.

use std::marker::PhantomData;

use crate::error::OrFail;
use crate::op::Op;
use crate::{AnyTensor, DType, Device, Error, Shape, TensorData};

/// Kind of real numbers: f64, f32, f16, bf16.
#[derive(Clone, Copy, Debug, Default)]
pub struct Float;

/// Kind of whole numbers: i64, i32, i16, i8, u64, u32, u16, u8.
#[derive(Clone, Copy, Debug, Default)]
pub struct Int;

/// Kind of complex numbers: complex64 (two f32), complex128 (two f64). They have no order, so
/// extrema and comparisons other than equality are an error.
#[derive(Clone, Copy, Debug, Default)]
pub struct Complex;

/// Kind of truth values.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bool;

/// What kind of elements a tensor has. Sealed: [`Float`], [`Int`], [`Bool`] and
/// [`Complex`].
pub trait Kind: Copy + Send + Sync + sealed::Sealed + 'static {
    /// The name in error texts.
    const NAME: &'static str;
    /// The dtype of a tensor that is made without saying which.
    const DEFAULT: DType;
    /// Whether tensors of `dtype` are of this kind.
    fn holds(dtype: DType) -> bool;
}

/// A kind with arithmetic: [`Float`], [`Int`] or [`Complex`].
pub trait Numeric: Kind {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Float {}
    impl Sealed for super::Int {}
    impl Sealed for super::Bool {}
    impl Sealed for super::Complex {}
}

impl Kind for Float {
    const NAME: &'static str = "float";
    const DEFAULT: DType = DType::F32;
    fn holds(dtype: DType) -> bool {
        dtype.is_float()
    }
}

impl Kind for Int {
    const NAME: &'static str = "int";
    const DEFAULT: DType = DType::I64;
    fn holds(dtype: DType) -> bool {
        dtype.is_int()
    }
}

impl Kind for Bool {
    const NAME: &'static str = "bool";
    const DEFAULT: DType = DType::Bool;
    fn holds(dtype: DType) -> bool {
        dtype == DType::Bool
    }
}

impl Kind for Complex {
    const NAME: &'static str = "complex";
    const DEFAULT: DType = DType::Complex64;
    fn holds(dtype: DType) -> bool {
        dtype.is_complex()
    }
}

/// A kind whose numbers have an order: [`Float`] or [`Int`].
pub trait Ordered: Numeric {}

/// A kind that gradients flow through: [`Float`] or [`Complex`].
pub trait Differentiable: Numeric {}

impl Ordered for Float {}
impl Ordered for Int {}
impl Differentiable for Float {}
impl Differentiable for Complex {}
impl Numeric for Complex {}
impl Numeric for Float {}
impl Numeric for Int {}

/// A tensor of rank `D` whose elements are of kind `K`.
///
/// Shape, dtype and device are known at run time. Methods borrow, so no clones are needed; a clone
/// copies one pointer. A method panics with the operation, the shapes and the broken rule if its
/// inputs do not fit; [`guard`](crate::guard) turns that into an `Err`.
///
/// ```
/// use kiln_tensor::Tensor;
/// let x = Tensor::<2>::from([[1.0, 2.0], [3.0, 4.0]]);
/// let y = (x.matmul(&x) + 1.0).sum();
/// assert_eq!(y.into_scalar::<f32>(), 58.0);
/// ```
#[derive(Clone)]
pub struct Tensor<const D: usize, K = Float> {
    any: AnyTensor,
    kind: PhantomData<K>,
}

/// Where, and as which dtype, a tensor is made. `&device` takes the kind's default dtype;
/// `(&device, dtype)` says which.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The device.
    pub device: Device,
    /// The dtype; `None` is the kind's default.
    pub dtype: Option<DType>,
}

impl From<&Device> for Options {
    fn from(device: &Device) -> Self {
        Self { device: *device, dtype: None }
    }
}

impl From<(&Device, DType)> for Options {
    fn from((device, dtype): (&Device, DType)) -> Self {
        Self { device: *device, dtype: Some(dtype) }
    }
}

impl Options {
    /// The dtype for a tensor of kind `K`. Panics if it is of another kind.
    #[track_caller]
    pub(crate) fn dtype<K: Kind>(&self) -> DType {
        let dtype = self.dtype.unwrap_or(K::DEFAULT);
        check_kind::<K>(dtype);
        dtype
    }
}

#[track_caller]
fn check_kind<K: Kind>(dtype: DType) {
    if !K::holds(dtype) {
        let rule = format!("not the dtype of a tensor of kind {}", K::NAME);
        crate::fail(Error::DType { op: "tensor", dtypes: vec![dtype], rule });
    }
}

impl<const D: usize, K: Kind> Tensor<D, K> {
    /// Types a tensor. Panics if its rank is not `D` or its dtype not of kind `K`.
    #[inline]
    #[track_caller]
    pub fn from_any(any: AnyTensor) -> Self {
        if any.rank() != D {
            let rule = format!("expected rank {D}, found rank {}", any.rank());
            crate::fail(Error::Shape { op: "tensor", shapes: vec![any.shape()], rule });
        }
        check_kind::<K>(any.dtype());
        Self { any, kind: PhantomData }
    }

    /// The tensor without its types.
    #[inline]
    pub fn as_any(&self) -> &AnyTensor {
        &self.any
    }

    /// The tensor without its types, for updates in place.
    #[inline]
    pub fn as_any_mut(&mut self) -> &mut AnyTensor {
        &mut self.any
    }

    /// The tensor without its types.
    #[inline]
    pub fn into_any(self) -> AnyTensor {
        self.any
    }

    /// Applies an operation to this tensor and `rest`, and types its first output.
    #[inline]
    #[track_caller]
    pub fn apply<const D2: usize, K2: Kind>(
        &self,
        op: impl Into<Op>,
        rest: &[&AnyTensor],
    ) -> Tensor<D2, K2> {
        Tensor::from_any(self.any.apply(op, rest))
    }

    /// A tensor with these values, converted to the dtype of `options`. Panics if the values do
    /// not have rank `D`. The CPU takes the memory of values of that dtype over, so a
    /// [`TensorData`] of a `Vec` becomes a tensor without a copy.
    #[track_caller]
    pub fn from_data(data: impl Into<TensorData>, options: impl Into<Options>) -> Self {
        let (data, options) = (data.into(), options.into());
        let data = data.into_dtype(options.dtype::<K>());
        Self::from_any(AnyTensor::from_owned_data(data, &options.device).or_fail())
    }

    /// The extents.
    #[inline]
    pub fn shape(&self) -> Shape {
        self.any.shape()
    }

    /// The extents as an array.
    #[inline]
    pub fn dims(&self) -> [usize; D] {
        self.any.shape().dims()
    }

    /// The number of elements.
    pub fn num_elements(&self) -> usize {
        self.any.num_elements()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.num_elements() == 0
    }

    /// The number of axes, which is `D`.
    pub fn rank(&self) -> usize {
        D
    }

    /// The number of axes, which is `D`.
    pub fn num_dims(&self) -> usize {
        D
    }

    /// The type of the elements.
    #[inline]
    pub fn dtype(&self) -> DType {
        self.any.dtype()
    }

    /// The device.
    #[inline]
    pub fn device(&self) -> Device {
        self.any.device()
    }

    /// The same values on another device. Panics if they do not fit there; see
    /// [`AnyTensor::to_device`] for an error instead.
    #[track_caller]
    pub fn to_device(&self, device: &Device) -> Self {
        Self::from_any(self.any.to_device(device).or_fail())
    }

    /// The same values, cut off from the tape: no gradient flows back through the result.
    pub fn detach(&self) -> Self {
        Self { any: self.any.detach(), kind: PhantomData }
    }
}

impl<const D: usize, K> AsRef<Tensor<D, K>> for Tensor<D, K> {
    #[inline]
    fn as_ref(&self) -> &Tensor<D, K> {
        self
    }
}

impl<const D: usize, K: Kind, T: Into<TensorData>> From<T> for Tensor<D, K> {
    #[track_caller]
    fn from(data: T) -> Self {
        Self::from_data(data, &Device::default())
    }
}

impl<const D: usize, K: Kind> std::fmt::Debug for Tensor<D, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.any, f)
    }
}

impl<const D: usize, K: Kind> std::fmt::Display for Tensor<D, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.any.to_data() {
            Ok(data) => std::fmt::Display::fmt(&data, f),
            Err(_) => std::fmt::Debug::fmt(&self.any, f),
        }
    }
}
