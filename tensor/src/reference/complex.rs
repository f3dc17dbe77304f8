//! Complex numbers. What only moves or adds numbers is done to real and imaginary parts apart, as
//! real operations; the rest in complex arithmetic of `num_complex`.

use num_complex::Complex;

use super::{Reference, indices};
use crate::backend::Backend;
use crate::op::{BinaryKind, Fft, FftForm, Meta, Op, Polar, ReduceKind, UnaryKind};
use crate::{AnyTensor, DType, Element, Result};

type C = Complex<f64>;

/// Values in row-major order.
struct Numbers {
    shape: Vec<usize>,
    values: Vec<C>,
}

impl Numbers {
    fn of(x: &AnyTensor) -> Self {
        let read = |i| {
            let position = x.layout().position(i);
            match x.dtype() {
                DType::Complex64 => load::<Complex<f32>>(x, position).to_complex(),
                DType::Complex128 => load::<C>(x, position),
                _ => C::new(super::load(x, position), 0.0),
            }
        };
        Self { shape: x.shape().to_vec(), values: (0..x.num_elements()).map(read).collect() }
    }

    /// The element that broadcasts to `index` of a larger shape.
    fn at(&self, index: &[usize]) -> C {
        let own = &index[index.len() - self.shape.len()..];
        let linear = own.iter().zip(&self.shape).fold(0, |at, (&i, &n)| at * n + i.min(n - 1));
        self.values[linear]
    }
}

fn load<E: Element>(x: &AnyTensor, position: usize) -> E {
    // SAFETY: the position is inside of the buffer, whose elements are of this type.
    unsafe { (x.buffer().address() as *const E).add(position).read() }
}

fn store<E: Element>(y: &AnyTensor, i: usize, value: E) {
    // SAFETY: the position is inside of the output, whose elements are of this type.
    unsafe { (y.buffer().address() as *mut E).add(i).write(value) }
}

/// Whether the operation is about complex numbers.
pub(super) fn concerns(inputs: &[&AnyTensor], outputs: &[AnyTensor]) -> bool {
    let complex = |x: &AnyTensor| x.dtype().is_complex();
    inputs.iter().any(|x| complex(x)) || outputs.iter().any(complex)
}

pub(super) fn execute(op: &Op, inputs: &[&AnyTensor], outputs: &[AnyTensor]) -> Result<()> {
    let x: Vec<Numbers> = inputs.iter().map(|x| Numbers::of(x)).collect();
    let (y, shape) = (&outputs[0], outputs[0].shape());
    let map = |f: &dyn Fn(&[usize]) -> C| {
        for (i, index) in indices(&shape).enumerate() {
            let value = f(&index);
            match y.dtype() {
                DType::Complex64 => store::<Complex<f32>>(y, i, Element::from_complex(value)),
                DType::Complex128 => store(y, i, value),
                _ => super::save(y, i, value.re),
            }
        }
    };
    match op {
        Op::Fill(op) => map(&|_| op.value.to_complex()),
        Op::Unary(op) => map(&|i| unary(op.kind, x[0].at(i))),
        Op::Polar(Polar::Abs) => map(&|i| x[0].at(i).norm().into()),
        Op::Polar(Polar::Angle) => map(&|i| x[0].at(i).arg().into()),
        Op::Binary(op) => map(&|i| binary(op.kind, x[0].at(i), x[1].at(i))),
        Op::BinaryScalar(op) => map(&|i| {
            let (x, scalar) = (x[0].at(i), op.scalar.to_complex());
            let (a, b) = if op.reversed { (scalar, x) } else { (x, scalar) };
            binary(op.kind, a, b)
        }),
        Op::Reduce(op) if op.kind == ReduceKind::Prod => map(&|to| {
            let same =
                |i: &[usize]| i.iter().zip(to).zip(&*shape).all(|((i, to), &n)| n == 1 || i == to);
            indices(&x[0].shape).filter(|i| same(i)).map(|i| x[0].at(&i)).product()
        }),
        Op::MatMul(_) => map(&|i| {
            let last = i.len() - 1;
            let depth = x[0].shape[x[0].shape.len() - 1];
            let term = |k| {
                let (mut left, mut right) = (i.to_vec(), i.to_vec());
                left[last] = k;
                right[last - 1] = k;
                x[0].at(&left) * x[1].at(&right)
            };
            (0..depth).map(term).sum()
        }),
        Op::Fft(op) => map(&|i| fourier(op, &x[0], i)),
        _ => return by_parts(op, inputs, outputs),
    }
    Ok(())
}

/// Runs a linear operation on the real parts of complex inputs and on the imaginary ones.
fn by_parts(op: &Op, inputs: &[&AnyTensor], outputs: &[AnyTensor]) -> Result<()> {
    let part = |which: fn(&C) -> f64| -> Result<Vec<AnyTensor>> {
        let inputs: Result<Vec<AnyTensor>> = (inputs.iter().enumerate())
            .map(|(i, x)| {
                // A mask or indices are the same for both parts.
                let given = i > 0 || matches!(op, Op::Where(_) | Op::Cast(_));
                if !x.dtype().is_complex() && given {
                    return Ok(x.detach());
                }
                let values: Vec<f64> = Numbers::of(x).values.iter().map(which).collect();
                AnyTensor::from_data(&crate::TensorData::new(values, x.shape()), &x.device())
            })
            .collect();
        let inputs = inputs?;
        let meta = |y: &AnyTensor| Meta::new(y.shape(), DType::F64);
        let results: Result<Vec<AnyTensor>> =
            outputs.iter().map(|y| AnyTensor::uninitialized(meta(y), y.device())).collect();
        let results = results?;
        let op = match op {
            Op::Cast(_) => &Op::from(crate::op::Cast { dtype: DType::F64 }),
            op => op,
        };
        Reference.execute(op, &inputs.iter().collect::<Vec<_>>(), &results)?;
        Ok(results)
    };
    let (re, im) = (part(|z| z.re)?, part(|z| z.im)?);
    let real = !inputs.iter().any(|x| x.dtype().is_complex());
    for ((re, im), y) in re.iter().zip(&im).zip(outputs) {
        for i in 0..y.num_elements() {
            let im = if real { 0.0 } else { super::load(im, i) };
            let value = C::new(super::load(re, i), im);
            match y.dtype() {
                DType::Complex64 => store::<Complex<f32>>(y, i, Element::from_complex(value)),
                _ => store(y, i, value),
            }
        }
    }
    Ok(())
}

fn unary(kind: UnaryKind, z: C) -> C {
    use UnaryKind::*;
    match kind {
        Neg => -z,
        Conj => z.conj(),
        Square => z * z,
        Recip => 1.0 / z,
        Sqrt => z.sqrt(),
        Rsqrt => 1.0 / z.sqrt(),
        Exp => z.exp(),
        ExpM1 => z.exp() - 1.0,
        Log => z.ln(),
        Log2 => z.ln() / std::f64::consts::LN_2,
        Log10 => z.ln() / std::f64::consts::LN_10,
        Log1p => (1.0 + z).ln(),
        Sin => z.sin(),
        Cos => z.cos(),
        Tan => z.tan(),
        Tanh => z.tanh(),
        Sigmoid => 1.0 / (1.0 + (-z).exp()),
        kind => unreachable!("{kind:?} of complex numbers"),
    }
}

fn binary(kind: BinaryKind, a: C, b: C) -> C {
    use BinaryKind::*;
    let truth = |x: bool| C::new(x as u8 as f64, 0.0);
    match kind {
        Add => a + b,
        Sub => a - b,
        Mul => a * b,
        Div => a / b,
        Pow => a.powc(b),
        Equal => truth(a == b),
        NotEqual => truth(a != b),
        kind => unreachable!("{kind:?} of complex numbers"),
    }
}

/// One result by the definition.
fn fourier(op: &Fft, x: &Numbers, index: &[usize]) -> C {
    let n = op.len(x.shape[op.axis]);
    let sign = match op.form {
        FftForm::FromReal | FftForm::Complex { inverse: false } => -1.0,
        FftForm::ToReal { .. } | FftForm::Complex { inverse: true } => 1.0,
    };
    let at = |k: usize| {
        let mut from = index.to_vec();
        from[op.axis] = k;
        x.at(&from)
    };
    // The second half of a spectrum is the conjugate of the first in reverse order.
    let number = |k: usize| match op.form {
        FftForm::ToReal { .. } if 2 * k > n => at(n - k).conj(),
        FftForm::ToReal { .. } if k == 0 || 2 * k == n => at(k).re.into(),
        _ => at(k),
    };
    let term = |k: usize| {
        let turns = (k * index[op.axis] % n) as f64 / n as f64;
        number(k) * C::cis(sign * 2.0 * std::f64::consts::PI * turns)
    };
    (0..n).map(term).sum::<C>() * op.scale
}
