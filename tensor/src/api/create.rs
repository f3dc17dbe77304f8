//! Making tensors.

use crate::error::OrFail;
use crate::op::{
    Arange, BinaryKind, BinaryScalar, Distribution, Fill, IndexingUpdateOp, Meta, Random, Scatter,
};
use crate::shape::{AxisIndex, resolve_axis};
use crate::tensor::{Bool, Float, Int, Kind, Numeric, Options, Tensor};
use crate::{AnyTensor, DType, Device, Error, Scalar, Shape, TensorData};

impl<const D: usize, K: Kind> Tensor<D, K> {
    /// Every element `value`.
    ///
    /// ```
    /// use kiln_tensor::{Device, Tensor};
    /// let x = Tensor::<2>::full([2, 3], 1.5, &Device::cpu());
    /// assert_eq!(x.sum().into_scalar::<f32>(), 9.0);
    /// ```
    #[track_caller]
    pub fn full(
        shape: impl Into<Shape>,
        value: impl Into<Scalar>,
        options: impl Into<Options>,
    ) -> Self {
        let options = options.into();
        let meta = Meta::new(shape, options.dtype::<K>());
        Self::from_any(AnyTensor::create(Fill { value: value.into(), meta }, options.device))
    }

    /// Every element zero (false for bools).
    #[track_caller]
    pub fn zeros(shape: impl Into<Shape>, options: impl Into<Options>) -> Self {
        Self::full(shape, 0, options)
    }

    /// Every element one (true for bools).
    #[track_caller]
    pub fn ones(shape: impl Into<Shape>, options: impl Into<Options>) -> Self {
        Self::full(shape, 1, options)
    }

    /// As [`Tensor::zeros`]: memory is never handed out with old values in it.
    #[track_caller]
    pub fn empty(shape: impl Into<Shape>, options: impl Into<Options>) -> Self {
        Self::zeros(shape, options)
    }

    /// Takes this tensor out of its variable, where one without elements stays: extent 0 on every axis.
    ///
    /// ```
    /// use kiln_tensor::Tensor;
    /// let mut x = Tensor::<1>::from([1.0, 2.0]);
    /// let taken = x.extract();
    /// assert_eq!((taken.dims(), x.dims()), ([2], [0]));
    /// ```
    #[track_caller]
    pub fn extract(&mut self) -> Self {
        let empty = Self::zeros([0; D], (&self.device(), self.dtype()));
        std::mem::replace(self, empty)
    }

    /// Replaces this tensor by what `f` makes of it.
    ///
    /// ```
    /// use kiln_tensor::Tensor;
    /// let mut x = Tensor::<1>::from([1.0, 2.0]);
    /// x.inplace(|x| x.mul_scalar(10.0));
    /// assert_eq!(x.into_data().to_vec::<f32>()?, [10.0, 20.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn inplace(&mut self, f: impl FnOnce(Self) -> Self) {
        *self = f(self.extract());
    }

    /// As [`Tensor::zeros_like`].
    pub fn empty_like(&self) -> Self {
        self.zeros_like()
    }

    /// Every element `value`, with the same shape, dtype and device.
    #[track_caller]
    pub fn full_like(&self, value: impl Into<Scalar>) -> Self {
        Self::full(self.shape(), value, (&self.device(), self.dtype()))
    }

    /// Zeros of the same shape, dtype and device.
    pub fn zeros_like(&self) -> Self {
        Self::from_any(self.as_any().zeros_like())
    }

    /// Ones of the same shape, dtype and device.
    pub fn ones_like(&self) -> Self {
        Self::from_any(self.as_any().ones_like())
    }

    /// Random numbers from the device's generator; see [`Device::seed`](crate::Device::seed).
    ///
    /// ```
    /// use kiln_tensor::{Device, Distribution, Tensor};
    /// let device = Device::cpu();
    /// device.seed(7);
    /// let x = Tensor::<1>::random([1000], Distribution::Normal(0.0, 1.0), &device);
    /// assert!(x.mean().into_scalar::<f32>().abs() < 0.1);
    /// ```
    #[track_caller]
    pub fn random(
        shape: impl Into<Shape>,
        distribution: Distribution,
        options: impl Into<Options>,
    ) -> Self {
        let options = options.into();
        let meta = Meta::new(shape, options.dtype::<K>());
        let start = options.device.draw(Random::words(meta));
        let op = Random { distribution, seed: start.seed, offset: start.offset, meta };
        Self::from_any(AnyTensor::create(op, options.device))
    }

    /// Random numbers of the same shape, dtype and device.
    #[track_caller]
    pub fn random_like(&self, distribution: Distribution) -> Self {
        Self::random(self.shape(), distribution, (&self.device(), self.dtype()))
    }
}

impl<K: Numeric> Tensor<1, K> {
    /// `range.start, .., range.end - 1`.
    ///
    /// ```
    /// use kiln_tensor::{Device, Int, Tensor};
    /// let x = Tensor::<1, Int>::arange(2..5, &Device::cpu());
    /// assert_eq!(x.into_data().to_vec::<i64>()?, [2, 3, 4]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn arange(range: std::ops::Range<i64>, options: impl Into<Options>) -> Self {
        Self::arange_step(range, 1, options)
    }

    /// As [`Tensor::arange`], every `step`-th number. `step` must not be zero.
    #[track_caller]
    pub fn arange_step(
        range: std::ops::Range<i64>,
        step: usize,
        options: impl Into<Options>,
    ) -> Self {
        let options = options.into();
        if step == 0 {
            let rule = "the step must not be zero".into();
            crate::fail(crate::Error::Argument { op: "arange", rule });
        }
        let len = (range.end.saturating_sub(range.start).max(0) as usize).div_ceil(step);
        let (start, step) = (Scalar::Int(range.start), Scalar::Int(step as i64));
        let op = Arange { start, step, len, dtype: options.dtype::<K>() };
        Self::from_any(AnyTensor::create(op, options.device))
    }
}

impl<K: Numeric> Tensor<2, K> {
    /// Ones on the diagonal, zeros elsewhere.
    #[track_caller]
    pub fn eye(size: usize, options: impl Into<Options>) -> Self {
        let options = options.into();
        let dtype = options.dtype::<K>();
        let diagonal = Tensor::<2, Bool>::diag_mask([size, size], 0, &options.device);
        Self::from_any(diagonal.as_any().logical_not().cast(dtype))
    }
}

impl Tensor<1, Float> {
    /// `start`, `start + step`, .. as long as they are before `end`: `torch.arange` of floats.
    /// `step` is negative to count down, and must not be zero.
    ///
    /// ```
    /// use kiln_tensor::{Device, Tensor};
    /// let x = Tensor::<1>::arange_float(1.0, 0.0, -0.25, &Device::cpu());
    /// assert_eq!(x.into_data().to_vec::<f32>()?, [1.0, 0.75, 0.5, 0.25]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn arange_float(start: f64, end: f64, step: f64, options: impl Into<Options>) -> Self {
        let len = ((end - start) / step).ceil();
        if step == 0.0 || !len.is_finite() || len < 0.0 {
            let rule = format!("steps of {step} do not lead from {start} to {end}");
            crate::fail(Error::Argument { op: "arange", rule });
        }
        let (options, start, step) = (options.into(), Scalar::Float(start), Scalar::Float(step));
        // A length past the integers ends at the largest, which no memory can hold.
        let op = Arange { start, step, len: len as usize, dtype: options.dtype::<Float>() };
        Self::from_any(AnyTensor::create(op, options.device))
    }

    /// `steps` numbers at equal distances from `start` to `end`, both included:
    /// `torch.linspace`. Both ends are exact.
    ///
    /// ```
    /// use kiln_tensor::{Device, Tensor};
    /// let x = Tensor::<1>::linspace(0.0, 1.0, 5, &Device::cpu());
    /// assert_eq!(x.into_data().to_vec::<f32>()?, [0.0, 0.25, 0.5, 0.75, 1.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn linspace(start: f64, end: f64, steps: usize, options: impl Into<Options>) -> Self {
        let options = options.into();
        let exact = equal_steps(start, end, steps, options.device);
        Self::from_any(exact.cast(options.dtype::<Float>()))
    }

    /// `base` to the power of each number of [`Tensor::linspace`]: `torch.logspace`.
    #[track_caller]
    pub fn logspace(
        start: f64,
        end: f64,
        steps: usize,
        base: f64,
        options: impl Into<Options>,
    ) -> Self {
        let options = options.into();
        let (kind, scalar) = (BinaryKind::Pow, Scalar::Float(base));
        let exponents = equal_steps(start, end, steps, options.device);
        let exact = exponents.apply(BinaryScalar { kind, scalar, reversed: true }, &[]);
        Self::from_any(exact.cast(options.dtype::<Float>()))
    }
}

/// `steps` numbers from `start` to `end` as f64. The first half counts from the start and the second
/// from the end, so that both ends are exact and the numbers symmetric.
#[track_caller]
fn equal_steps(start: f64, end: f64, steps: usize, device: Device) -> AnyTensor {
    let distance = (end - start) / (steps.max(2) - 1) as f64;
    let part = |first: f64, step: f64, len: usize| {
        let (start, step) = (Scalar::Float(first), Scalar::Float(step));
        AnyTensor::create(Arange { start, step, len, dtype: DType::F64 }, device)
    };
    let front = steps.div_ceil(2);
    let back = steps - front;
    if back == 0 {
        return part(start, distance, front);
    }
    // Backwards from the end, and then turned round.
    let back = Tensor::<1>::from_any(part(end, -distance, back)).flip([0]);
    AnyTensor::cat(&[&part(start, distance, front), back.as_any()], 0)
}

impl<const D: usize> Tensor<D, Float> {
    /// As [`Tensor::from_data`].
    #[track_caller]
    pub fn from_floats(data: impl Into<TensorData>, options: impl Into<Options>) -> Self {
        Self::from_data(data, options)
    }
}

impl<const D: usize> Tensor<D, Int> {
    /// As [`Tensor::from_data`].
    #[track_caller]
    pub fn from_ints(data: impl Into<TensorData>, options: impl Into<Options>) -> Self {
        Self::from_data(data, options)
    }

    /// The indices of each element of a tensor of `shape`, along a new last axis: `[.., D]`.
    ///
    /// ```
    /// use kiln_tensor::{Device, Int, Tensor};
    /// let grid = Tensor::<2, Int>::cartesian_grid::<3>([2, 1], &Device::cpu());
    /// assert_eq!(grid.into_data().to_vec::<i64>()?, [0, 0, 1, 0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn cartesian_grid<const D2: usize>(
        shape: impl Into<Shape>,
        options: impl Into<Options>,
    ) -> Tensor<D2, Int> {
        let (shape, options) = (shape.into(), options.into());
        let dims: [usize; D] = shape.dims();
        let indices = |axis: usize| {
            let numbers = Tensor::<1, Int>::arange(0..dims[axis] as i64, options);
            Tensor::<D, Int>::from_any(
                numbers.as_any().reshape(Shape::new([1; D]).with(axis, dims[axis])),
            )
            .expand::<D, _>(shape)
        };
        Tensor::stack((0..D).map(indices).collect::<Vec<_>>(), D)
    }
}

impl<const D: usize> Tensor<D, Bool> {
    /// As [`Tensor::from_data`].
    #[track_caller]
    pub fn from_bool(data: impl Into<TensorData>, options: impl Into<Options>) -> Self {
        Self::from_data(data, options)
    }
}

impl<const D: usize, K: Numeric> Tensor<D, K> {
    /// Each number as a row of `classes` zeros with a one in its place, along a new last axis:
    /// `torch.nn.functional.one_hot`. Panics if a number is not in `0..classes`.
    ///
    /// ```
    /// use kiln_tensor::{Int, Tensor};
    /// let x: Tensor<2, Int> = Tensor::<1, Int>::from([2, 0]).one_hot(3);
    /// assert_eq!(x.into_data().to_vec::<i64>()?, [0, 0, 1, 1, 0, 0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn one_hot<const D2: usize>(&self, classes: usize) -> Tensor<D2, K> {
        let indices = self.as_any().cast(DType::I64);
        self.hot(&indices, classes, 1.into(), 0.into(), D)
    }

    /// As [`Tensor::one_hot`] with `on` and `off` for one and zero, the new axis before `axis`
    /// (-1: at the end), and negative numbers counting from the last class.
    #[track_caller]
    pub fn one_hot_fill<const D2: usize>(
        &self,
        classes: usize,
        on: impl Into<Scalar>,
        off: impl Into<Scalar>,
        axis: impl AxisIndex,
    ) -> Tensor<D2, K> {
        let axis = resolve_axis("one_hot_fill", axis, D + 1).or_fail();
        let indices = self.as_any().cast(DType::I64);
        let wrapped = indices.add_scalar(classes as i64);
        let indices =
            indices.select_where(&indices.binary_scalar(BinaryKind::GreaterEqual, 0), &wrapped);
        self.hot(&indices, classes, on.into(), off.into(), axis)
    }

    #[track_caller]
    fn hot<const D2: usize>(
        &self,
        indices: &AnyTensor,
        classes: usize,
        on: Scalar,
        off: Scalar,
        axis: usize,
    ) -> Tensor<D2, K> {
        if classes == 0 {
            let rule = "at least one class is needed".into();
            crate::fail(Error::Argument { op: "one_hot", rule });
        }
        let indices = indices.reshape(self.shape().inserted(axis, 1).or_fail());
        let shape = self.shape().inserted(axis, classes).or_fail();
        let full = |shape: Shape, value| {
            AnyTensor::full(Meta::new(shape, self.dtype()), value, self.device())
        };
        let values = full(Shape::new(vec![1; D + 1]), on).expand(indices.shape());
        let update = IndexingUpdateOp::Assign;
        let op = Scatter { axis, update };
        Tensor::from_any(full(shape, off).apply_owned(op, &[&indices, &values]))
    }
}
