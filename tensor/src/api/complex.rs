//! Complex tensors.

use std::ops::{Add, Div, Mul, Sub};

use num_complex::Complex as Number;

use super::arithmetic::reversed;
use crate::op::{BinaryKind, BinaryScalar};
use crate::shape::Shape;
use crate::tensor::{Bool, Complex, Float, Int, Options, Tensor};
use crate::{AnyTensor, Device, Scalar, TensorData};

impl<const D: usize> Tensor<D, Float> {
    /// The same numbers as complex ones: f64 as complex128, all else as complex64.
    pub fn to_complex(&self) -> Tensor<D, Complex> {
        Tensor::from_any(self.as_any().to_complex())
    }

    /// Pairs along the last axis, `[.., 2]`, as complex numbers `[..]` of one axis less:
    /// `torch.view_as_complex`. Panics if the pairs do not lie side by side, and for half types.
    #[track_caller]
    pub fn view_as_complex<const D2: usize>(&self) -> Tensor<D2, Complex> {
        Tensor::from_any(self.as_any().view_as_complex())
    }
}

impl<const D: usize> Tensor<D, Int> {
    /// The same numbers as complex64.
    pub fn to_complex(&self) -> Tensor<D, Complex> {
        Tensor::from_any(self.as_any().to_complex())
    }
}

impl<const D: usize> Tensor<D, Complex> {
    /// Complex numbers of these real and imaginary parts, which broadcast: `torch.complex`.
    ///
    /// ```
    /// use kiln_tensor::num_complex::Complex as Number;
    /// use kiln_tensor::{Complex, Tensor};
    /// let (re, im) = (Tensor::<1>::from([3.0, 0.0]), Tensor::<1>::from([4.0, 2.0]));
    /// let z = Tensor::<1, Complex>::complex(&re, &im);
    /// assert_eq!(z.abs().into_data().to_vec::<f32>()?, [5.0, 2.0]);
    /// let turned = z * Number::new(0.0f32, 1.0);
    /// assert_eq!(turned.to_string(), "[-4.+3.j, -2.+0.j]\nTensor[[2], complex64]");
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn complex(re: impl AsRef<Tensor<D>>, im: impl AsRef<Tensor<D>>) -> Self {
        Self::from_any(AnyTensor::complex(re.as_ref().as_any(), im.as_ref().as_any()))
    }

    /// Complex numbers of these sizes and angles: `torch.polar`.
    #[track_caller]
    pub fn from_polar(magnitude: impl AsRef<Tensor<D>>, phase: impl AsRef<Tensor<D>>) -> Self {
        let (size, angle) = (magnitude.as_ref(), phase.as_ref());
        Self::complex(size.mul(angle.cos()), size.mul(angle.sin()))
    }

    /// A tensor of these complex numbers.
    #[track_caller]
    pub fn from_complex(numbers: impl Into<TensorData>, device: &Device) -> Self {
        Self::from_data(numbers, device)
    }

    /// As [`Tensor::complex`] of host values.
    #[track_caller]
    pub fn from_parts<T: Into<TensorData>>(real: T, imag: T, device: &Device) -> Self {
        Self::complex(Tensor::<D>::from_data(real, device), Tensor::<D>::from_data(imag, device))
    }

    /// Complex numbers without imaginary parts.
    #[track_caller]
    pub fn from_real(real: impl Into<TensorData>, device: &Device) -> Self {
        Tensor::<D>::from_data(real, device).to_complex()
    }

    /// Host values in which real and imaginary parts alternate along the last axis.
    #[track_caller]
    pub fn from_interleaved_data(data: impl Into<TensorData>, device: &Device) -> Self {
        let parts = Tensor::<D>::from_data(data, Options::from(device));
        let mut dims = parts.shape().to_vec();
        let last = dims.last_mut().map(|last| *last /= 2);
        if last.is_none() || parts.num_elements() % 2 == 1 {
            let (op, shapes) = ("from_interleaved_data", vec![parts.shape()]);
            let rule = "the last axis must alternate real and imaginary parts".into();
            crate::fail(crate::Error::Shape { op, shapes, rule });
        }
        dims.push(2);
        Self::from_any(parts.as_any().reshape(Shape::new(dims)).view_as_complex())
    }

    /// The real parts, a view.
    pub fn real(&self) -> Tensor<D> {
        Tensor::from_any(self.as_any().real())
    }

    /// The imaginary parts, a view.
    pub fn imag(&self) -> Tensor<D> {
        Tensor::from_any(self.as_any().imag())
    }

    /// Real and imaginary parts side by side along a new last axis: `torch.view_as_real`.
    #[track_caller]
    pub fn view_as_real<const D2: usize>(&self) -> Tensor<D2> {
        Tensor::from_any(self.as_any().view_as_real())
    }

    /// The absolute values.
    pub fn abs(&self) -> Tensor<D> {
        Tensor::from_any(self.as_any().magnitude())
    }

    /// The absolute values, as [`Tensor::abs`].
    pub fn magnitude(&self) -> Tensor<D> {
        self.abs()
    }

    /// The angles in radians, from `-pi` to `pi`: `torch.angle`.
    pub fn angle(&self) -> Tensor<D> {
        Tensor::from_any(self.as_any().angle())
    }

    /// The angles, as [`Tensor::angle`].
    pub fn phase(&self) -> Tensor<D> {
        self.angle()
    }

    /// `z / |z|`, and 0 for 0: `torch.sgn`.
    pub fn sign(&self) -> Self {
        Self::from_any(self.as_any().sgn())
    }

    /// The complex conjugates.
    pub fn conj(&self) -> Self {
        Self::from_any(self.as_any().conj())
    }

    /// `1 / (1 + e^-z)`.
    pub fn sigmoid(&self) -> Self {
        Self::from_any(self.as_any().sigmoid())
    }

    /// Each element to the power of its partner: [`Tensor::powf`].
    #[track_caller]
    pub fn powc(&self, exponent: impl AsRef<Self>) -> Self {
        Self::from_any(self.as_any().binary(BinaryKind::Pow, exponent.as_ref().as_any()))
    }

    /// Each element to a complex or real power.
    #[track_caller]
    pub fn powc_scalar(&self, exponent: impl Into<Scalar>) -> Self {
        Self::from_any(self.as_any().binary_scalar(BinaryKind::Pow, exponent))
    }

    /// The conjugate transpose of the last two axes: `torch.adjoint`, `Tensor.mH`.
    #[track_caller]
    pub fn adjoint(&self) -> Self {
        Self::from_any(self.as_any().adjoint())
    }

    /// Where a part is NaN.
    pub fn is_nan(&self) -> Tensor<D, Bool> {
        self.not_equal(self)
    }

    /// Where both parts are finite.
    pub fn is_finite(&self) -> Tensor<D, Bool> {
        // `x - x` is 0 for finite numbers, NaN for all else.
        self.sub(self).is_nan().bool_not()
    }

    /// Where a part is infinite.
    pub fn is_inf(&self) -> Tensor<D, Bool> {
        let infinite = |x: &Tensor<D>| x.abs().equal_elem(f64::INFINITY);
        infinite(&self.real()).bool_or(infinite(&self.imag()))
    }

    /// Where `|a - b| <= atol + rtol |b|`; `rtol` is 1e-5 and `atol` 1e-8 by default.
    #[track_caller]
    pub fn is_close(
        &self,
        other: impl AsRef<Self>,
        rtol: Option<f64>,
        atol: Option<f64>,
    ) -> Tensor<D, Bool> {
        let other = other.as_ref();
        let bound = other.abs().mul_scalar(rtol.unwrap_or(1e-5)).add_scalar(atol.unwrap_or(1e-8));
        let near = self.sub(other).abs().lower_equal(bound).bool_and(other.is_finite());
        near.bool_or(self.equal(other))
    }

    /// Whether [`Tensor::is_close`] holds everywhere.
    #[track_caller]
    pub fn all_close(&self, other: impl AsRef<Self>, rtol: Option<f64>, atol: Option<f64>) -> bool {
        self.is_close(other, rtol, atol).all().into_scalar::<u8>() == 1
    }
}

/// Arithmetic with complex numbers and with real tensors.
macro_rules! operators {
    ($($trait:ident $method:ident $kind:ident;)*) => {$(
        operators!(numbers $trait $method $kind: f32 f64);
        operators!(tensors $trait $method $kind: (Tensor<D>) (&Tensor<D>));
    )*};
    (numbers $trait:ident $method:ident $kind:ident: $($part:ty)*) => {
        // One impl for both precisions, so that the type of a literal needs no hint.
        impl<const D: usize, T> $trait<Number<T>> for Tensor<D, Complex>
        where
            Number<T>: Into<Scalar>,
        {
            type Output = Tensor<D, Complex>;
            #[track_caller]
            fn $method(self, rhs: Number<T>) -> Tensor<D, Complex> {
                let (kind, scalar) = (BinaryKind::$kind, rhs.into());
                let op = BinaryScalar { kind, scalar, reversed: false };
                Tensor::from_any(self.into_any().apply_owned(op, &[]))
            }
        }

        impl<const D: usize, T> $trait<Number<T>> for &Tensor<D, Complex>
        where
            Number<T>: Into<Scalar>,
        {
            type Output = Tensor<D, Complex>;
            #[track_caller]
            fn $method(self, rhs: Number<T>) -> Tensor<D, Complex> {
                Tensor::from_any(self.as_any().binary_scalar(BinaryKind::$kind, rhs))
            }
        }

        $(
            impl<const D: usize> $trait<Tensor<D, Complex>> for Number<$part> {
                type Output = Tensor<D, Complex>;
                #[track_caller]
                fn $method(self, rhs: Tensor<D, Complex>) -> Tensor<D, Complex> {
                    Tensor::from_any(reversed(BinaryKind::$kind, self, rhs.as_any()))
                }
            }

            impl<const D: usize> $trait<&Tensor<D, Complex>> for Number<$part> {
                type Output = Tensor<D, Complex>;
                #[track_caller]
                fn $method(self, rhs: &Tensor<D, Complex>) -> Tensor<D, Complex> {
                    Tensor::from_any(reversed(BinaryKind::$kind, self, rhs.as_any()))
                }
            }
        )*
    };
    (tensors $trait:ident $method:ident $kind:ident: $(($real:ty))*) => {$(
        impl<const D: usize> $trait<$real> for Tensor<D, Complex> {
            type Output = Tensor<D, Complex>;
            #[track_caller]
            fn $method(self, rhs: $real) -> Tensor<D, Complex> {
                Tensor::from_any(self.into_any().binary_owned(BinaryKind::$kind, rhs.as_any()))
            }
        }

        impl<const D: usize> $trait<$real> for &Tensor<D, Complex> {
            type Output = Tensor<D, Complex>;
            #[track_caller]
            fn $method(self, rhs: $real) -> Tensor<D, Complex> {
                Tensor::from_any(self.as_any().binary(BinaryKind::$kind, rhs.as_any()))
            }
        }
    )*};
}

operators! {
    Add add Add;
    Sub sub Sub;
    Mul mul Mul;
    Div div Div;
}
