//! Comparing values in tests: what differs, where and by how much.

use std::marker::PhantomData;
use std::ops::{Range, RangeInclusive};

use num_complex::Complex;

use crate::{DType, Element, Scalar, Shape, TensorData};

/// Differences that a failed comparison shows.
const SHOWN: usize = 5;

impl TensorData {
    /// Panics unless shapes and values are equal (NaN equals NaN), and, if `strict`, the dtypes;
    /// else `expected` is converted to the dtype of `self` first.
    #[track_caller]
    pub fn assert_eq(&self, expected: &Self, strict: bool) {
        if strict && self.dtype() != expected.dtype() {
            panic!("dtypes differ: {} but expected {}", self.dtype(), expected.dtype());
        }
        let expected = expected.convert_dtype(self.dtype());
        if self.dtype().is_complex() {
            let same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan());
            let equal = |a: Complex<f64>, b: Complex<f64>| same(a.re, b.re) && same(a.im, b.im);
            self.compare(&expected, equal, Complex::to_string);
        } else if self.dtype().is_float() {
            let equal = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan());
            self.compare(&expected, equal, f64::to_string);
        } else if self.dtype() == DType::U64 {
            self.compare(&expected, |a: u64, b| a == b, u64::to_string);
        } else {
            self.compare(&expected, |a: i64, b| a == b, i64::to_string);
        }
    }

    /// Panics unless shapes are equal and values, as type `E`, within `tolerance` of each other
    /// (NaN equals NaN, and each infinity itself).
    #[track_caller]
    pub fn assert_approx_eq<E: Element>(&self, expected: &Self, tolerance: Tolerance<E>) {
        let accepts = |a: E, b: E| {
            let (a, b) = (a.to_complex(), b.to_complex());
            tolerance.accepts(a.re, b.re) && tolerance.accepts(a.im, b.im)
        };
        self.compare(expected, accepts, |x| x.to_f64().to_string());
    }

    /// Panics unless every value lies in `range`.
    #[track_caller]
    pub fn assert_within_range<E: Element + PartialOrd>(&self, range: Range<E>) {
        self.assert_within(|x| range.contains(x), &range);
    }

    /// Panics unless every value lies in `range`.
    #[track_caller]
    pub fn assert_within_range_inclusive<E: Element + PartialOrd>(&self, range: RangeInclusive<E>) {
        self.assert_within(|x| range.contains(x), &range);
    }

    #[track_caller]
    fn assert_within<E: Element>(&self, inside: impl Fn(&E) -> bool, range: &dyn std::fmt::Debug) {
        if let Some((i, x)) = self.iter::<E>().enumerate().find(|(_, x)| !inside(x)) {
            panic!("{x:?} at {:?} is not within {range:?}", self.index_of(i));
        }
    }

    #[track_caller]
    fn compare<E: Element>(
        &self,
        expected: &Self,
        equal: impl Fn(E, E) -> bool,
        text: impl Fn(&E) -> String,
    ) {
        if self.shape() != expected.shape() {
            panic!("shapes differ: {} but expected {}", self.shape(), expected.shape());
        }
        let pairs = || self.iter::<E>().zip(expected.iter::<E>()).enumerate();
        let wrong = || pairs().filter(|(_, (a, b))| !equal(*a, *b));
        let count = wrong().count();
        if count == 0 {
            return;
        }
        // The largest error, and the index of its first occurrence.
        let worst = |error: fn(Complex<f64>, Complex<f64>) -> f64| {
            let errors = wrong().map(|(i, (a, b))| (error(a.to_complex(), b.to_complex()), i));
            let worst = errors.filter(|(error, _)| !error.is_nan()).fold(
                None,
                |worst: Option<(f64, usize)>, next| match worst {
                    Some(worst) if worst.0 >= next.0 => Some(worst),
                    _ => Some(next),
                },
            );
            match worst {
                Some((error, i)) => format!("{error:.3e} at {:?}", self.index_of(i)),
                None => "NaN".into(),
            }
        };
        let mut message = format!(
            "{count} of {} values differ; largest absolute error {}, largest relative error {}:",
            self.num_elements(),
            worst(|a, b| (a - b).norm()),
            worst(|a, b| (a - b).norm() / b.norm()),
        );
        for (i, (a, b)) in wrong().take(SHOWN) {
            message +=
                &format!("\n  at {:?}: {} but expected {}", self.index_of(i), text(&a), text(&b));
        }
        if count > SHOWN {
            message += &format!("\n  and {} more", count - SHOWN);
        }
        panic!("{message}");
    }

    fn index_of(&self, linear: usize) -> Vec<usize> {
        index_of(&self.shape(), linear)
    }
}

/// The index along each axis of the element of row-major index `linear`.
pub(crate) fn index_of(shape: &Shape, mut linear: usize) -> Vec<usize> {
    let mut index = vec![0; shape.rank()];
    for axis in (0..shape.rank()).rev() {
        index[axis] = linear % shape[axis];
        linear /= shape[axis];
    }
    index
}

/// How far two values of type `E` may lie apart: less than `absolute`, or less than `relative`
/// times the larger one. All is computed in `E`.
///
/// ```
/// use kiln_tensor::{TensorData, Tolerance};
/// let x = TensorData::from([1.0, 100.0]);
/// x.assert_approx_eq::<f32>(&TensorData::from([1.0, 100.4]), Tolerance::default());
/// x.assert_approx_eq::<f32>(&TensorData::from([1.001, 100.001]), Tolerance::absolute(1e-2));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance<E = f32> {
    // Both are numbers of type `E`.
    relative: f64,
    absolute: f64,
    element: PhantomData<E>,
}

impl<E: Element> Tolerance<E> {
    /// No relative difference, and an absolute one of 64 times the smallest normal number.
    pub fn strict() -> Self {
        let least = match E::DTYPE {
            DType::F64 => f64::MIN_POSITIVE,
            DType::F16 => half::f16::MIN_POSITIVE.to_f64(),
            _ => f32::MIN_POSITIVE.into(),
        };
        Self::rel_abs(0.0, 64.0 * least)
    }

    /// Half a percent relative, or 1e-5 absolute.
    pub fn balanced() -> Self {
        Self::rel_abs(0.005, 1e-5)
    }

    /// One percent relative, or 0.01 absolute.
    pub fn permissive() -> Self {
        Self::rel_abs(0.01, 0.01)
    }

    /// The larger of a relative and an absolute bound. Panics if `relative` is above 1 or
    /// `absolute` below 0.
    #[track_caller]
    pub fn rel_abs<T: Into<Scalar>>(relative: T, absolute: T) -> Self {
        let none = Self { relative: 0.0, absolute: 0.0, element: PhantomData };
        none.set_relative(relative).set_absolute(absolute)
    }

    /// Only a relative bound.
    #[track_caller]
    pub fn relative(relative: impl Into<Scalar>) -> Self {
        Self::rel_abs(relative.into(), Scalar::Float(0.0))
    }

    /// Only an absolute bound.
    #[track_caller]
    pub fn absolute(absolute: impl Into<Scalar>) -> Self {
        Self::rel_abs(Scalar::Float(0.0), absolute.into())
    }

    /// Changes the relative bound.
    #[track_caller]
    pub fn set_relative(mut self, relative: impl Into<Scalar>) -> Self {
        self.relative = Self::round(relative.into().to_f64());
        assert!(self.relative <= 1.0, "a relative tolerance is at most 1");
        self
    }

    /// Changes the absolute bound.
    #[track_caller]
    pub fn set_absolute(mut self, absolute: impl Into<Scalar>) -> Self {
        self.absolute = Self::round(absolute.into().to_f64());
        assert!(self.absolute >= 0.0, "an absolute tolerance is at least 0");
        self
    }

    /// Changes the relative bound if `E` has 16 bits.
    #[track_caller]
    pub fn set_half_precision_relative(self, relative: impl Into<Scalar>) -> Self {
        if size_of::<E>() == 2 { self.set_relative(relative) } else { self }
    }

    /// Changes the absolute bound if `E` has 16 bits.
    #[track_caller]
    pub fn set_half_precision_absolute(self, absolute: impl Into<Scalar>) -> Self {
        if size_of::<E>() == 2 { self.set_absolute(absolute) } else { self }
    }

    /// Changes the relative bound if `E` has 32 bits.
    #[track_caller]
    pub fn set_single_precision_relative(self, relative: impl Into<Scalar>) -> Self {
        if size_of::<E>() == 4 { self.set_relative(relative) } else { self }
    }

    /// Changes the absolute bound if `E` has 32 bits.
    #[track_caller]
    pub fn set_single_precision_absolute(self, absolute: impl Into<Scalar>) -> Self {
        if size_of::<E>() == 4 { self.set_absolute(absolute) } else { self }
    }

    /// Changes the relative bound if `E` has 64 bits.
    #[track_caller]
    pub fn set_double_precision_relative(self, relative: impl Into<Scalar>) -> Self {
        if size_of::<E>() == 8 { self.set_relative(relative) } else { self }
    }

    /// Changes the absolute bound if `E` has 64 bits.
    #[track_caller]
    pub fn set_double_precision_absolute(self, absolute: impl Into<Scalar>) -> Self {
        if size_of::<E>() == 8 { self.set_absolute(absolute) } else { self }
    }

    /// Whether `a` and `b` lie within the tolerance of each other; NaN does not.
    pub fn approx_eq(&self, a: E, b: E) -> bool {
        let (a, b) = (a.to_f64(), b.to_f64());
        // Of equal infinities the difference would be NaN.
        let bound = Self::round(self.relative * a.abs().max(b.abs())).max(self.absolute);
        a == b || Self::round((a - b).abs()) < bound
    }

    fn accepts(&self, a: f64, b: f64) -> bool {
        (a.is_nan() && b.is_nan()) || self.approx_eq(E::from_f64(a), E::from_f64(b))
    }

    fn round(x: f64) -> f64 {
        E::from_f64(x).to_f64()
    }
}

/// [`Tolerance::balanced`].
impl<E: Element> Default for Tolerance<E> {
    fn default() -> Self {
        Self::balanced()
    }
}
