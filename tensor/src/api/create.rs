//! Making tensors.

use crate::op::{Arange, Cast, Distribution, Fill, Meta, Random};
use crate::tensor::{Float, Int, Kind, Numeric, Options, Tensor};
use crate::{AnyTensor, Scalar, Shape};

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

impl Tensor<2, Float> {
    /// Ones on the diagonal, zeros elsewhere.
    #[track_caller]
    pub fn eye(size: usize, options: impl Into<Options>) -> Self {
        let options = options.into();
        let axis = Tensor::<1, Int>::arange(0..size as i64, &options.device);
        let diagonal = axis.reshape::<2>([size, 1]).equal(axis.reshape::<2>([1, size]));
        let dtype = options.dtype::<Float>();
        Self::from_any(diagonal.as_any().apply(Cast { dtype }, &[]))
    }
}
