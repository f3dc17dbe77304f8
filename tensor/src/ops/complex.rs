//! Complex numbers.

use crate::op::{Polar, UnaryKind, View};
use crate::{AnyTensor, Error, Shape};

impl AnyTensor {
    /// The complex conjugate of each element; a real tensor is its own.
    #[track_caller]
    pub fn conj(&self) -> Self {
        if self.dtype().is_complex() { self.unary(UnaryKind::Conj) } else { self.clone() }
    }

    /// Complex numbers as pairs of real ones, `[..]` to `[.., 2]`: a view, `torch.view_as_real`.
    #[track_caller]
    pub fn view_as_real(&self) -> Self {
        self.apply(View::AsReal, &[])
    }

    /// Pairs of f32 or f64, `[.., 2]`, as complex numbers `[..]`: a view, `torch.view_as_complex`.
    #[track_caller]
    pub fn view_as_complex(&self) -> Self {
        self.apply(View::AsComplex, &[])
    }

    #[track_caller]
    fn part(&self, part: usize) -> Self {
        let shape = self.shape();
        self.view_as_real().narrow(shape.rank(), part, 1).reshape(shape)
    }

    /// The real part of each element, a view; a real tensor is its own.
    #[track_caller]
    pub fn real(&self) -> Self {
        if self.dtype().is_complex() { self.part(0) } else { self.clone() }
    }

    /// The imaginary part of each element, a view.
    #[track_caller]
    pub fn imag(&self) -> Self {
        self.part(1)
    }

    /// Complex numbers of these real and imaginary parts, which broadcast: `torch.complex`. Other
    /// dtypes than f64 become f32.
    #[track_caller]
    pub fn complex(re: &Self, im: &Self) -> Self {
        let dtype = re.dtype().promote(im.dtype());
        if dtype.is_complex() {
            let (op, dtypes) = ("complex", vec![re.dtype(), im.dtype()]);
            crate::fail(Error::DType { op, dtypes, rule: "the parts must be real".into() });
        }
        let Some(shape) = re.shape_ref().broadcast(im.shape_ref()) else {
            let (op, shapes) = ("complex", vec![re.shape(), im.shape()]);
            let rule = "aligned at the last axis, extents must be equal or one of them 1".into();
            crate::fail(Error::Shape { op, shapes, rule });
        };
        let pair = shape.iter().copied().chain([1]).collect::<Vec<_>>();
        let part =
            |x: &Self| x.cast(dtype.complex().real()).expand(shape).reshape(Shape::new(&pair));
        Self::cat(&[&part(re), &part(im)], shape.rank()).view_as_complex()
    }

    /// The number as complex; f64 as complex128, all else as complex64.
    #[track_caller]
    pub fn to_complex(&self) -> Self {
        self.cast(self.dtype().complex())
    }

    /// The absolute value of complex numbers, real.
    #[track_caller]
    pub fn magnitude(&self) -> Self {
        self.apply(Polar::Abs, &[])
    }

    /// The angle of complex numbers, real.
    #[track_caller]
    pub fn angle(&self) -> Self {
        self.apply(Polar::Angle, &[])
    }

    /// `z / |z|`, and 0 for 0: `torch.sgn` of complex numbers.
    #[track_caller]
    pub fn sgn(&self) -> Self {
        if !self.dtype().is_complex() {
            return self.sign();
        }
        // No quotient 0 / 0, whose gradient would be NaN.
        let (size, zero) = (self.magnitude(), self.equal_scalar(0));
        let unit = self.div(&size.ones_like().select_where(&zero, &size).cast(self.dtype()));
        self.zeros_like().select_where(&zero, &unit)
    }

    /// The last two axes exchanged, of the conjugates.
    #[track_caller]
    pub fn adjoint(&self) -> Self {
        self.transpose().conj()
    }
}
