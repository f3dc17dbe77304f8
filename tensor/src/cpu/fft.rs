//! Fourier transforms by the `rustfft` and `realfft` crates, any length: mixed radix, and for large
//! prime factors Rader's and Bluestein's algorithms.
//!
//! Lines along the axis are independent and shared out among threads. Where the axis is not the
//! last, a few neighbouring lines are transformed together, so that results are written in runs.

use std::sync::{LazyLock, Mutex};

use num_complex::Complex;
use realfft::RealFftPlanner;
use rustfft::num_traits::Zero;
use rustfft::{FftNum, FftPlanner};

use super::access::{Compute, Dense, Sink};
use super::parallel::{Shared, rows};
use crate::layout::Layout;
use crate::op::{Fft, FftForm};
use crate::{AnyTensor, DType, Element};

/// Lines that are transformed together: 16 results of one place fill a run of 128 bytes.
const GROUP: usize = 16;

/// Plans of every length that was asked for: making one computes all its roots of unity.
type Planners<T> = LazyLock<Mutex<(FftPlanner<T>, RealFftPlanner<T>)>>;

/// A type that transforms are computed in.
trait Part: FftNum + Compute {
    fn planners() -> &'static Planners<Self>;
}

macro_rules! part {
    ($type:ty) => {
        impl Part for $type {
            fn planners() -> &'static Planners<Self> {
                static PLANNERS: Planners<$type> =
                    LazyLock::new(|| Mutex::new((FftPlanner::new(), RealFftPlanner::new())));
                &PLANNERS
            }
        }
    };
}
part!(f32);
part!(f64);

/// What a planner makes.
fn plan<T: Part, P>(make: impl FnOnce(&mut FftPlanner<T>, &mut RealFftPlanner<T>) -> P) -> P {
    let mut planners = T::planners().lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (complex, real) = &mut *planners;
    make(complex, real)
}

pub(super) fn fft(op: &Fft, x: &AnyTensor, y: &AnyTensor) {
    if y.num_elements() == 0 {
        return;
    }
    match x.dtype().real() {
        DType::F64 => run::<f64>(op, x, y),
        _ => run::<f32>(op, x, y),
    }
}

fn run<T: Part>(op: &Fft, x: &AnyTensor, y: &AnyTensor)
where
    Complex<T>: Compute,
{
    const FITS: &str = "buffers of the plan's lengths";
    let n = op.len(x.shape()[op.axis]);
    let scale = <T as Element>::from_f64(op.scale);
    match op.form {
        FftForm::Complex { inverse } => {
            let plan = plan(|complex: &mut FftPlanner<T>, _| match inverse {
                false => complex.plan_fft_forward(n),
                true => complex.plan_fft_inverse(n),
            });
            lines(op, x, y, || {
                let mut scratch = vec![Complex::zero(); plan.get_inplace_scratch_len()];
                let plan = &plan;
                move |x: &[Complex<T>], y: &mut [Complex<T>]| {
                    y.copy_from_slice(x);
                    plan.process_with_scratch(y, &mut scratch);
                    y.iter_mut().for_each(|y| *y = *y * scale);
                }
            })
        }
        FftForm::FromReal => {
            let plan = plan(|_, real: &mut RealFftPlanner<T>| real.plan_fft_forward(n));
            lines(op, x, y, || {
                let (mut input, mut scratch) = (plan.make_input_vec(), plan.make_scratch_vec());
                let plan = &plan;
                move |x: &[T], y: &mut [Complex<T>]| {
                    input.copy_from_slice(x);
                    plan.process_with_scratch(&mut input, y, &mut scratch).expect(FITS);
                    y.iter_mut().for_each(|y| *y = *y * scale);
                }
            })
        }
        FftForm::ToReal { len } => {
            let plan = plan(|_, real: &mut RealFftPlanner<T>| real.plan_fft_inverse(n));
            lines(op, x, y, || {
                let (mut input, mut scratch) = (plan.make_input_vec(), plan.make_scratch_vec());
                let plan = &plan;
                move |x: &[Complex<T>], y: &mut [T]| {
                    input.copy_from_slice(x);
                    // Real numbers have no imaginary parts there.
                    input[0].im = T::zero();
                    if len % 2 == 0 {
                        input[len / 2].im = T::zero();
                    }
                    plan.process_with_scratch(&mut input, y, &mut scratch).expect(FITS);
                    y.iter_mut().for_each(|y| *y = *y * scale);
                }
            })
        }
    }
}

/// Calls what `make` makes, once for each task, with every line of `x` along the axis and a buffer
/// for that of `y`.
fn lines<X: Compute, Y: Compute, F: FnMut(&[X], &mut [Y])>(
    op: &Fft,
    x: &AnyTensor,
    y: &AnyTensor,
    make: impl Fn() -> F + Sync,
) {
    let (n, m) = (x.shape()[op.axis], y.shape()[op.axis]);
    let inner: usize = y.shape()[op.axis + 1..].iter().product();
    // The axis comes last: then lines are rows.
    let order = || (0..x.rank()).filter(|&axis| axis != op.axis).chain([op.axis]);
    let layout = x.layout();
    let shape: Vec<usize> = order().map(|axis| layout.shape()[axis]).collect();
    let strides: Vec<isize> = order().map(|axis| layout.strides()[axis]).collect();
    let turned = x.view_as(Layout::strided(&shape, &strides, layout.offset()), x.dtype());
    let x = Dense::<X>::new(&turned); // [lines, n]
    // SAFETY: `y` is the output of the running operation, and new.
    let mut out = unsafe { Sink::<Y>::new(y) }; // [outer, m, inner]
    let out = Shared::new(&mut out);
    let work = n.max(m) * (n.max(m).ilog2() as usize + 1);
    rows(x.len() / n, work, |range| {
        let mut transform = make();
        let line = |index: usize| &x[index * n..(index + 1) * n];
        if inner == 1 {
            for index in range {
                // SAFETY: every line has a row of its own.
                transform(line(index), unsafe { out.part(index * m..(index + 1) * m) });
            }
            return;
        }
        let mut buffer = vec![Y::default(); GROUP.min(range.len()) * m]; // [lines, m]
        let mut first = range.start;
        while first < range.end {
            // Lines of one group are neighbours in the output.
            let (outer, start) = (first / inner, first % inner);
            let count = GROUP.min(range.end - first).min(inner - start);
            for (i, y) in buffer.chunks_mut(m).take(count).enumerate() {
                transform(line(first + i), y);
            }
            for k in 0..m {
                let at = (outer * m + k) * inner + start;
                for i in 0..count {
                    // SAFETY: every line has places of its own.
                    unsafe { out.set(at + i, buffer[i * m + k]) };
                }
            }
            first += count;
        }
    });
}
