//! Kernels of complex numbers.

mod functions;

use std::ops::{Add, Mul, Sub};

use num_complex::Complex;

use self::functions::C;
use super::access::{Compute, Dense, Sink, pointer};
use super::parallel::{CHUNK, Shared, chunks, rows};
use super::simd::{Isa, Kernel, dispatch};
use super::tile::{Operand, TILE, tiles};
use crate::layout::Layout;
use crate::op::{
    Binary, BinaryKind, BinaryScalar, MatMul, Meta, Polar, Reduce, ReduceKind, Unary, UnaryKind,
};
use crate::{AnyTensor, DType, Element, Result};

/// Runs `$body` with `$T` as the type of the parts of the complex `$dtype`.
macro_rules! part_type {
    ($dtype:expr, $T:ident => $body:expr) => {
        if $dtype.real() == DType::F64 {
            type $T = f64;
            $body
        } else {
            type $T = f32;
            $body
        }
    };
}

/// The type of the parts of a complex number.
pub(super) trait Part: Compute {
    /// A number of these parts.
    type Number: Compute
        + Add<Output = Self::Number>
        + Sub<Output = Self::Number>
        + Mul<Output = Self::Number>;
    fn number(re: Self, im: Self) -> Self::Number;
    fn div(a: Self::Number, b: Self::Number) -> Self::Number;
}

impl Part for f32 {
    type Number = Complex<f32>;
    #[inline(always)]
    fn number(re: f32, im: f32) -> Complex<f32> {
        Complex::new(re, im)
    }
    #[inline(always)]
    fn div(a: Complex<f32>, b: Complex<f32>) -> Complex<f32> {
        Element::from_complex(functions::div_narrow(a.to_complex(), b.to_complex()))
    }
}

impl Part for f64 {
    type Number = C;
    #[inline(always)]
    fn number(re: f64, im: f64) -> C {
        Complex::new(re, im)
    }
    #[inline(always)]
    fn div(a: C, b: C) -> C {
        functions::div(a, b)
    }
}

/// The function in double precision.
fn function(kind: UnaryKind) -> fn(C) -> C {
    match kind {
        UnaryKind::Neg => |z| -z,
        UnaryKind::Conj => |z| z.conj(),
        UnaryKind::Square => |z| z * z,
        UnaryKind::Recip => |z| functions::div(C::new(1.0, 0.0), z),
        UnaryKind::Sqrt => functions::sqrt,
        UnaryKind::Rsqrt => |z| functions::div(C::new(1.0, 0.0), functions::sqrt(z)),
        UnaryKind::Exp => functions::exp,
        UnaryKind::ExpM1 => functions::exp_m1,
        UnaryKind::Log => functions::ln,
        UnaryKind::Log2 => |z| functions::ln(z) * std::f64::consts::LOG2_E,
        UnaryKind::Log10 => |z| functions::ln(z) * std::f64::consts::LOG10_E,
        UnaryKind::Log1p => functions::ln_1p,
        UnaryKind::Sin => functions::sin,
        UnaryKind::Cos => functions::cos,
        UnaryKind::Tan => functions::tan,
        UnaryKind::Tanh => functions::tanh,
        UnaryKind::Sigmoid => functions::sigmoid,
        kind => unreachable!("{kind:?} of complex numbers"),
    }
}

pub(super) fn unary(op: &Unary, x: &AnyTensor, y: &AnyTensor) {
    fn run<T: Part>(kind: UnaryKind, x: &AnyTensor, y: &AnyTensor) {
        let f = function(kind);
        tiles([Operand::<T::Number>::new(x, y)], y, |[x], y| {
            for (y, x) in y.iter_mut().zip(x) {
                *y = Element::from_complex(f(x.to_complex()));
            }
        });
    }
    part_type!(x.dtype(), T => run::<T>(op.kind, x, y))
}

/// Arithmetic of a tile, compiled for each instruction set.
struct Arithmetic<'a, T: Part> {
    kind: BinaryKind,
    a: &'a [T::Number],
    b: &'a [T::Number],
    y: &'a mut [T::Number],
}

impl<T: Part> Kernel for Arithmetic<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        #[inline(always)]
        fn map<N: Copy>(a: &[N], b: &[N], y: &mut [N], f: impl Fn(N, N) -> N) {
            for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                *y = f(a, b);
            }
        }
        let Self { kind, a, b, y } = self;
        match kind {
            BinaryKind::Add => map(a, b, y, |a, b| a + b),
            BinaryKind::Sub => map(a, b, y, |a, b| a - b),
            BinaryKind::Mul => map(a, b, y, |a, b| a * b),
            BinaryKind::Div => map(a, b, y, T::div),
            BinaryKind::Pow => map(a, b, y, |a, b| {
                Element::from_complex(functions::pow(a.to_complex(), b.to_complex()))
            }),
            kind => unreachable!("{kind:?} of complex numbers"),
        }
    }
}

fn combine<T: Part>(kind: BinaryKind, operands: [Operand<'_, T::Number>; 2], y: &AnyTensor) {
    match kind {
        BinaryKind::Equal => compare(operands, y, |a, b| a == b),
        BinaryKind::NotEqual => compare(operands, y, |a, b| a != b),
        _ => tiles(operands, y, |[a, b], y| dispatch(Arithmetic::<T> { kind, a, b, y })),
    }
}

/// Bools are of another type than the numbers, so these tiles have a loop of their own.
fn compare<N: Compute>(
    [a, b]: [Operand<'_, N>; 2],
    y: &AnyTensor,
    test: impl Fn(N, N) -> bool + Sync,
) {
    chunks(y.num_elements(), CHUNK, |chunk| {
        let mut buffers = [[N::default(); TILE]; 2];
        a.prepare(&mut buffers[0]);
        b.prepare(&mut buffers[1]);
        for start in chunk.clone().step_by(TILE) {
            let range = start..chunk.end.min(start + TILE);
            let [first, second] = &mut buffers;
            // SAFETY: the range is inside of the output, which is bool, and only this call writes it.
            unsafe {
                let out =
                    std::slice::from_raw_parts_mut(pointer::<bool>(y).add(start), range.len());
                let (a, b) = (a.fetch(range.clone(), first), b.fetch(range, second));
                for ((y, &a), &b) in out.iter_mut().zip(a).zip(b) {
                    *y = test(a, b);
                }
            }
        }
    });
}

pub(super) fn binary(op: &Binary, [a, b]: [&AnyTensor; 2], y: &AnyTensor) {
    part_type!(a.dtype(), T => combine::<T>(op.kind, [Operand::new(a, y), Operand::new(b, y)], y))
}

pub(super) fn binary_scalar(op: &BinaryScalar, x: &AnyTensor, y: &AnyTensor) {
    part_type!(x.dtype(), T => {
        let (x, scalar) =
            (Operand::new(x, y), Operand::Splat(Element::from_complex(op.scalar.to_complex())));
        combine::<T>(op.kind, if op.reversed { [scalar, x] } else { [x, scalar] }, y)
    })
}

/// Real and imaginary parts as tensors that read the same memory.
fn parts(x: &AnyTensor) -> [AnyTensor; 2] {
    let layout = x.layout();
    let strides: Vec<isize> = layout.strides().iter().map(|stride| stride * 2).collect();
    [0, 1].map(|part| {
        let layout = Layout::strided(layout.shape(), &strides, layout.offset() * 2 + part);
        x.view_as(layout, x.dtype().real())
    })
}

/// Writes `f` of each pair of numbers to the contiguous output, as its real and imaginary part.
fn interleave(re: &AnyTensor, im: &AnyTensor, y: &AnyTensor) {
    part_type!(y.dtype(), T => {
        let (re, im) = (Dense::<T>::new(re), Dense::<T>::new(im));
        // SAFETY: `y` is the output of the running operation, and new.
        let mut out = unsafe { Sink::<<T as Part>::Number>::new(y) };
        let out = Shared::new(&mut out);
        chunks(re.len(), CHUNK, |range| {
            // SAFETY: the ranges are disjoint.
            let out = unsafe { out.part(range.clone()) };
            for ((y, &re), &im) in out.iter_mut().zip(&re[range.clone()]).zip(&im[range]) {
                *y = <T as Part>::number(re, im);
            }
        });
    })
}

/// Sums and means part by part; products row by row in double precision.
pub(super) fn reduce(op: &Reduce, x: &AnyTensor, y: &AnyTensor) -> Result<()> {
    if op.kind != ReduceKind::Prod {
        let meta = Meta::new(y.shape(), y.dtype().real());
        let [re, im] = [0, 1].map(|_| AnyTensor::uninitialized(meta, y.device()));
        let (re, im) = (re?, im?);
        let [x_re, x_im] = parts(x);
        super::reduce::reduce(op, &x_re, &re);
        super::reduce::reduce(op, &x_im, &im);
        interleave(&re, &im, y);
        return Ok(());
    }
    let reduced = |axis: &usize| op.axes.contains(*axis);
    let order: Vec<usize> =
        (0..x.rank()).filter(|axis| !reduced(axis)).chain((0..x.rank()).filter(reduced)).collect();
    let layout = x.layout();
    let shape: Vec<usize> = order.iter().map(|&axis| layout.shape()[axis]).collect();
    let strides: Vec<isize> = order.iter().map(|&axis| layout.strides()[axis]).collect();
    let last = x.view_as(Layout::strided(&shape, &strides, layout.offset()), x.dtype());
    let n = x.num_elements() / y.num_elements().max(1);
    part_type!(x.dtype(), T => {
        let x = Dense::<<T as Part>::Number>::new(&last); // [outputs, n]
        // SAFETY: `y` is the output of the running operation, and new.
        let mut out = unsafe { Sink::<<T as Part>::Number>::new(y) };
        let out = Shared::new(&mut out);
        rows(y.num_elements(), n, |range| {
            for i in range {
                let row = x[i * n..(i + 1) * n].iter();
                let product = row.fold(C::new(1.0, 0.0), |product, z| product * z.to_complex());
                // SAFETY: every task writes outputs of its own.
                unsafe { out.set(i, Element::from_complex(product)) };
            }
        });
    });
    Ok(())
}

/// Four real products, which read the parts where they lie.
pub(super) fn matmul([a, b]: [&AnyTensor; 2], y: &AnyTensor) -> Result<()> {
    let ([a_re, a_im], [b_re, b_im]) = (parts(a), parts(b));
    let meta = Meta::new(y.shape(), y.dtype().real());
    let product = |a: &AnyTensor, b: &AnyTensor| -> Result<AnyTensor> {
        let product = AnyTensor::uninitialized(meta, y.device())?;
        super::matmul::matmul(&MatMul::default(), &[a, b], &product);
        Ok(product)
    };
    let re = product(&a_re, &b_re)?.binary_owned(BinaryKind::Sub, &product(&a_im, &b_im)?);
    let im = product(&a_re, &b_im)?.binary_owned(BinaryKind::Add, &product(&a_im, &b_re)?);
    interleave(&re, &im, y);
    Ok(())
}

pub(super) fn polar(op: &Polar, x: &AnyTensor, y: &AnyTensor) {
    part_type!(x.dtype(), T => {
        let x = Dense::<<T as Part>::Number>::new(x);
        // SAFETY: `y` is the output of the running operation, and new.
        let mut out = unsafe { Sink::<T>::new(y) };
        let out = Shared::new(&mut out);
        chunks(x.len(), CHUNK, |range| {
            // SAFETY: the ranges are disjoint.
            let out = unsafe { out.part(range.clone()) };
            for (y, z) in out.iter_mut().zip(&x[range]) {
                let z = z.to_complex();
                *y = Element::from_f64(match op {
                    Polar::Abs => functions::abs(z),
                    Polar::Angle => z.im.atan2(z.re),
                });
            }
        });
    })
}
