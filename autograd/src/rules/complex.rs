//! Gradients of the operations that lead from complex numbers to real ones or back.

use kiln_tensor::num_complex::Complex;
use kiln_tensor::op::{Fft, FftForm, Polar};
use kiln_tensor::{AnyTensor, OrFail, Scalar, Shape, TensorData};

use super::Context;

pub(super) fn polar(op: Polar, cx: &mut Context<'_>, dy: &AnyTensor) -> AnyTensor {
    let x = cx.input(0);
    let dy = dy.cast(x.dtype());
    match op {
        Polar::Abs => dy.mul(&x.sgn()),
        // At a right angle to the number: `i z / |z|^2`.
        Polar::Angle => {
            let slope = x.conj().recip().mul_scalar(Scalar::Complex(Complex::I));
            let zero = x.equal_scalar(0);
            dy.mul(&x.zeros_like().select_where(&zero, &slope))
        }
    }
}

/// The transposed transform. Where only half of a spectrum is stored, each number that has a partner
/// in the other half counts twice.
pub(super) fn fft(op: &Fft, cx: &mut Context<'_>, dy: &AnyTensor) -> AnyTensor {
    let n = op.len(cx.shape(0)[op.axis]);
    let with = |form| Fft { form, ..*op };
    match op.form {
        FftForm::Complex { inverse } => dy.apply(with(FftForm::Complex { inverse: !inverse }), &[]),
        FftForm::FromReal => {
            let halves = partners(dy, op.axis, n, 0.5);
            dy.mul(&halves).apply(with(FftForm::ToReal { len: n }), &[])
        }
        FftForm::ToReal { .. } => {
            let dx = dy.apply(with(FftForm::FromReal), &[]);
            let twice = partners(&dx, op.axis, n, 2.0);
            dx.mul(&twice)
        }
    }
}

/// `weight` for each place of half of a spectrum that has a partner in the other half, else 1;
/// broadcasts to `like`.
fn partners(like: &AnyTensor, axis: usize, n: usize, weight: f64) -> AnyTensor {
    let places = n / 2 + 1;
    let paired = |k: usize| k > 0 && 2 * k < n;
    let values: Vec<f64> = (0..places).map(|k| if paired(k) { weight } else { 1.0 }).collect();
    let mut shape = vec![1; like.rank()];
    shape[axis] = places;
    let data = TensorData::new(values, Shape::new(shape)).convert_dtype(like.dtype());
    AnyTensor::from_data(&data, &like.device()).or_fail()
}
