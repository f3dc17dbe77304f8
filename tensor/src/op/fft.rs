//! Discrete Fourier transforms.

use super::{Keeps, Meta, Metas, Operation, check, one};
use crate::{DType, Result};

/// A discrete Fourier transform along one axis: `y[k] = scale * sum_n x[n] e^(-2 pi i k n / N)`, or
/// with `+` in the exponent if `inverse`. Any length; every factor of the normalisation is in
/// `scale`.
///
/// `x`: `[.., n, ..]`, complex (or of floats: f32 or f64). Result: as `form` says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fft {
    /// The axis.
    pub axis: usize,
    /// What goes in and what comes out.
    pub form: FftForm,
    /// What each result is multiplied by.
    pub scale: f64,
}

/// What an [`Fft`] takes and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FftForm {
    /// Complex numbers to as many complex numbers.
    Complex {
        /// Whether the exponent is positive.
        inverse: bool,
    },
    /// Real numbers to the first half of their spectrum: `n / 2 + 1` complex numbers. The other half
    /// is the conjugate of it in reverse order.
    FromReal,
    /// `len / 2 + 1` complex numbers, the first half of the spectrum of real numbers, to these (the
    /// exponent is positive). The imaginary part of the first number, and that of the last one if
    /// `len` is even, have no meaning.
    ToReal {
        /// How many real numbers.
        len: usize,
    },
}

impl Fft {
    /// How many numbers are transformed along the axis, where `input` go in.
    pub fn len(&self, input: usize) -> usize {
        match self.form {
            FftForm::ToReal { len } => len,
            _ => input,
        }
    }
}

impl Operation for Fft {
    fn name(&self) -> &'static str {
        match self.form {
            FftForm::Complex { inverse: false } => "fft",
            FftForm::Complex { inverse: true } => "ifft",
            FftForm::FromReal => "rfft",
            FftForm::ToReal { .. } => "irfft",
        }
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [x] = check::arity(self.name(), inputs)?;
        check::axis(self.name(), x, self.axis)?;
        let n = x.shape[self.axis];
        if self.form == FftForm::FromReal && !matches!(x.dtype, DType::F32 | DType::F64) {
            let rule = "real numbers are transformed as f32 or f64; convert with `cast`";
            return Err(check::dtype_error(self.name(), inputs, rule));
        }
        if self.form != FftForm::FromReal && !x.dtype.is_complex() {
            return Err(check::dtype_error(self.name(), inputs, "a complex tensor is needed"));
        }
        if self.len(n) == 0 {
            let rule = format!("axis {} has no numbers to transform", self.axis);
            return Err(check::shape_error(self.name(), inputs, rule));
        }
        Ok(one(match self.form {
            FftForm::Complex { .. } => *x,
            FftForm::FromReal => Meta::new(x.shape.with(self.axis, n / 2 + 1), x.dtype.complex()),
            FftForm::ToReal { len } => {
                if n != len / 2 + 1 {
                    let rule = format!(
                        "{len} real numbers have {} complex ones in half of their spectrum, not {n}",
                        len / 2 + 1
                    );
                    return Err(check::shape_error(self.name(), inputs, rule));
                }
                Meta::new(x.shape.with(self.axis, len), x.dtype.real())
            }
        }))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::NOTHING
    }

    /// The customary count: `5 n log2(n)` for complex numbers, half of it for real ones.
    fn flops(&self, inputs: &[Meta], outputs: &[Meta]) -> u64 {
        let n = self.len(inputs[0].shape[self.axis]) as u64;
        let lines = outputs[0].len() as u64 / outputs[0].shape[self.axis].max(1) as u64;
        let complex = matches!(self.form, FftForm::Complex { .. });
        lines * 5 * n * u64::from(n.max(2).ilog2()) / if complex { 1 } else { 2 }
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{complex, float};
        let complex_form = |inverse| FftForm::Complex { inverse };
        for (n, scale) in [(1, 1.0), (2, 0.5), (5, 1.0), (8, 0.125), (9, 1.0 / 3.0)] {
            for inverse in [false, true] {
                let op = Fft { axis: 1, form: complex_form(inverse), scale };
                samples.case(op, [complex([2, n])]);
            }
            samples.case(Fft { axis: 1, form: FftForm::FromReal, scale }, [float([2, n])]);
            let op = Fft { axis: 1, form: FftForm::ToReal { len: n }, scale };
            samples.case(op, [complex([2, n / 2 + 1])]);
        }
        // Along other axes than the last.
        let form = complex_form(false);
        samples.case(Fft { axis: 0, form, scale: 1.0 }, [complex([3, 2, 2])]);
        samples.case(Fft { axis: 1, form: FftForm::FromReal, scale: 1.0 }, [float([2, 4, 3])]);
        samples.rough(Fft { axis: 1, form, scale: 1.0 }, [complex([2, 7, 37])]);
        let op = Fft { axis: 0, form: FftForm::ToReal { len: 7 }, scale: 0.5 };
        samples.case(op, [complex([4, 3])]);
        // Prime, a power of two, and lengths with large factors.
        for n in [17, 64, 97, 202, 243] {
            samples.rough(Fft { axis: 0, form, scale: 1.0 }, [complex([n])]);
            samples.rough(Fft { axis: 0, form: FftForm::FromReal, scale: 1.0 }, [float([n])]);
            let op = Fft { axis: 0, form: FftForm::ToReal { len: n }, scale: 1.0 / n as f64 };
            samples.rough(op, [complex([n / 2 + 1])]);
        }
        samples.rough(Fft { axis: 1, form, scale: 1.0 }, [complex([0, 4])]);
    }
}
