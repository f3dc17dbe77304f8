//! Elementwise operations: one loop per function over the slices of a tile.

use super::access::{Compute, Sink};
use super::half_arithmetic::half_arithmetic;
use super::math::{Math, special};
use super::parallel::{CHUNK, Shared, chunks};
use super::simd::{Isa, Kernel, dispatch};
use super::tile::{Operand, TILE, element_type, tiles};
use crate::op::{
    Activation, ActivationBackward, Binary, BinaryKind, BinaryScalar, Cast, Unary, UnaryKind,
};
use crate::{AnyTensor, DType, Result};

pub(super) fn cast(_: &Cast, x: &AnyTensor, y: &AnyTensor) {
    if super::copy::copy(x, y) {
        return;
    }
    element_type!(x.dtype(), T => cast_from::<T>(x, y))
}

/// Reads straight into the output, or writes straight from the input, where one is of type `T`.
fn cast_from<T: Compute>(x: &AnyTensor, y: &AnyTensor) {
    let operand = Operand::<T>::new(x, y);
    let aliased = x.buffer().address() == y.buffer().address();
    match &operand {
        Operand::Direct(_) => chunks(y.num_elements(), CHUNK, |range| {
            // SAFETY: the input has the output's shape; the ranges are disjoint.
            unsafe { T::write(operand.fetch(range.clone(), &mut []), y, range.start) }
        }),
        Operand::Gathered(x, layout) if y.dtype() == T::DTYPE && !aliased => {
            // SAFETY: `y` is the only output, and new.
            let mut y = unsafe { Sink::<T>::new(y) };
            let (n, y) = (y.len(), Shared::new(&mut y));
            chunks(n, CHUNK, |range| {
                // SAFETY: the ranges are disjoint, and the layout is an expansion of the input's.
                unsafe { T::read(x, layout, range.start, y.part(range)) }
            });
        }
        _ => tiles([operand], y, |[x], y| y.copy_from_slice(x)),
    }
}

pub(super) fn unary(op: &Unary, x: &AnyTensor, y: &AnyTensor) {
    let kind = op.kind;
    match x.dtype() {
        DType::F64 => float_unary::<f64>(kind, x, y),
        dtype if dtype.is_float() => float_unary::<f32>(kind, x, y),
        _ => super::integer::unary(op, x, y),
    }
}

fn float_unary<T: Real>(kind: UnaryKind, x: &AnyTensor, y: &AnyTensor) {
    tiles([Operand::<T>::new(x, y)], y, |[x], y| dispatch(UnaryLoop { kind, x, y }));
}

/// Floats that elementwise loops compute with.
pub(super) trait Real: Compute + Math + PartialOrd + std::ops::Mul<Output = Self> {
    fn unary<I: Isa>(kind: UnaryKind, x: &[Self], y: &mut [Self]);
    fn activation_backward<I: Isa>(op: Activation, s: &[Self], dy: &[Self], dx: &mut [Self]);
    fn binary<I: Isa>(kind: BinaryKind, a: &[Self], b: &[Self], y: &mut [Self]);
    fn with_scalar(kind: BinaryKind, a: &[Self], b: Self, y: &mut [Self]);
}

#[inline(always)]
pub(super) fn map<T: Copy>(x: &[T], y: &mut [T], f: impl Fn(T) -> T) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = f(x);
    }
}

#[inline(always)]
pub(super) fn map2<T: Copy>(a: &[T], b: &[T], y: &mut [T], f: impl Fn(T, T) -> T) {
    // One length for all three lets the loop vectorise without checks.
    let n = y.len().min(a.len()).min(b.len());
    let (a, b, y) = (&a[..n], &b[..n], &mut y[..n]);
    for i in 0..n {
        y[i] = f(a[i], b[i]);
    }
}

macro_rules! real {
    ($type:ident) => {
        impl Real for $type {
            #[inline(always)]
            fn unary<I: Isa>(kind: UnaryKind, x: &[Self], y: &mut [Self]) {
                use UnaryKind::*;
                match kind {
                    Neg => map(x, y, |x| -x),
                    Abs => map(x, y, |x| x.abs()),
                    // NaN counts as zero.
                    Sign => map(x, y, |x| ((x > 0.0) as i8 - (x < 0.0) as i8) as $type),
                    Square => map(x, y, |x| x * x),
                    Not | Conj => unreachable!("{kind:?} of floats"),
                    Recip => map(x, y, |x| 1.0 / x),
                    Sqrt => map(x, y, |x| x.sqrt()),
                    Rsqrt => map(x, y, |x| 1.0 / x.sqrt()),
                    Exp => map(x, y, |x| Math::exp::<I>(x)),
                    ExpM1 => map(x, y, |x| Math::exp_m1::<I>(x)),
                    Log => map(x, y, |x| Math::ln::<I>(x)),
                    Log2 => map(x, y, |x| Math::log2::<I>(x)),
                    Log10 => map(x, y, |x| Math::log10::<I>(x)),
                    Log1p => map(x, y, |x| Math::ln_1p::<I>(x)),
                    Sin if x.iter().any(|x| x.trig_is_large()) => map(x, y, |x| x.sin_large()),
                    Sin => map(x, y, |x| Math::sin::<I>(x)),
                    Cos if x.iter().any(|x| x.trig_is_large()) => map(x, y, |x| x.cos_large()),
                    Cos => map(x, y, |x| Math::cos::<I>(x)),
                    Tan if x.iter().any(|x| x.trig_is_large()) => map(x, y, |x| x.tan_large()),
                    Tan => map(x, y, |x| Math::tan::<I>(x)),
                    Erf => map(x, y, |x| Math::erf::<I>(x)),
                    Exp2 | Asin | Acos | Atan | Sinh | Cosh | Asinh | Acosh | Atanh | Erfc
                    | ErfInv | Lgamma | Digamma | Polygamma(_) => {
                        map(x, y, |x| special::unary(kind, x as f64) as $type)
                    }
                    Floor => map(x, y, |x| x.floor()),
                    Ceil => map(x, y, |x| x.ceil()),
                    Round => map(x, y, |x| x.round_ties_even()),
                    Trunc => map(x, y, |x| x.trunc()),
                    // NaN passes.
                    Relu => map(x, y, |x| if x < 0.0 { 0.0 } else { x }),
                    Sigmoid => Math::sigmoid_all::<I>(x, y),
                    Tanh => map(x, y, |x| Math::tanh::<I>(x)),
                    Gelu => Math::gelu_all::<I>(x, y),
                    GeluTanh => map(x, y, |x| Math::gelu_tanh::<I>(x)),
                    Silu => map(x, y, |x| Math::silu::<I>(x)),
                    Softplus => map(x, y, |x| Math::softplus::<I>(x)),
                }
            }

            #[inline(always)]
            fn activation_backward<I: Isa>(
                op: Activation,
                s: &[Self],
                dy: &[Self],
                dx: &mut [Self],
            ) {
                match op {
                    Activation::Relu => map2(s, dy, dx, |y, dy| if y <= 0.0 { 0.0 } else { dy }),
                    Activation::Sigmoid => map2(s, dy, dx, |y, dy| dy * y * (1.0 - y)),
                    Activation::Tanh => map2(s, dy, dx, |y, dy| dy * (1.0 - y * y)),
                    Activation::Gelu => map2(s, dy, dx, |x, dy| dy * x.gelu_grad::<I>()),
                    Activation::GeluTanh => map2(s, dy, dx, |x, dy| dy * x.gelu_tanh_grad::<I>()),
                    Activation::Silu => map2(s, dy, dx, |x, dy| dy * x.silu_grad::<I>()),
                    Activation::Softplus => map2(s, dy, dx, |x, dy| dy * Math::sigmoid::<I>(x)),
                }
            }

            #[inline(always)]
            fn binary<I: Isa>(kind: BinaryKind, a: &[Self], b: &[Self], y: &mut [Self]) {
                use BinaryKind::*;
                let truth = |x: bool| x as u8 as $type;
                match kind {
                    Add => map2(a, b, y, |a, b| a + b),
                    Sub => map2(a, b, y, |a, b| a - b),
                    Mul => map2(a, b, y, |a, b| a * b),
                    Div => map2(a, b, y, |a, b| a / b),
                    Rem => map2(a, b, y, |a, b| {
                        let r = a % b;
                        if r != 0.0 && (r < 0.0) != (b < 0.0) { r + b } else { r }
                    }),
                    FloorDiv | Atan2 | Hypot => {
                        map2(a, b, y, |a, b| special::binary(kind, a as f64, b as f64) as $type)
                    }
                    Fmod => map2(a, b, y, |a, b| a % b),
                    Pow => map2(a, b, y, |a, b| Math::pow::<I>(a, b)),
                    CopySign => map2(a, b, y, |a, b| a.copysign(b)),
                    LogAddExp => map2(a, b, y, |a, b| {
                        let larger = if a > b || a != a { a } else { b };
                        let other = Math::ln_1p::<I>(Math::exp::<I>(-(a - b).abs()));
                        // Equal infinities have no difference.
                        if a == b && larger.is_infinite() { larger } else { larger + other }
                    }),
                    Max => map2(a, b, y, |a, b| if a > b || a != a { a } else { b }),
                    Min => map2(a, b, y, |a, b| if a < b || a != a { a } else { b }),
                    Equal => map2(a, b, y, |a, b| truth(a == b)),
                    NotEqual => map2(a, b, y, |a, b| truth(a != b)),
                    Less => map2(a, b, y, |a, b| truth(a < b)),
                    LessEqual => map2(a, b, y, |a, b| truth(a <= b)),
                    Greater => map2(a, b, y, |a, b| truth(a > b)),
                    GreaterEqual => map2(a, b, y, |a, b| truth(a >= b)),
                    And | Or | Xor | ShiftLeft | ShiftRight => unreachable!("bits of floats"),
                }
            }

            #[inline(always)]
            fn with_scalar(kind: BinaryKind, a: &[Self], b: Self, y: &mut [Self]) {
                match kind {
                    BinaryKind::Add => map(a, y, |a| a + b),
                    BinaryKind::Sub => map(a, y, |a| a - b),
                    BinaryKind::Mul => map(a, y, |a| a * b),
                    BinaryKind::Div => map(a, y, |a| a / b),
                    kind => unreachable!("{kind:?} goes by tiles of the number"),
                }
            }
        }
    };
}
real!(f32);
real!(f64);

pub(super) struct UnaryLoop<'a, T> {
    pub kind: UnaryKind,
    pub x: &'a [T],
    pub y: &'a mut [T],
}

impl<T: Real> Kernel for UnaryLoop<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        T::unary::<I>(self.kind, self.x, self.y);
    }
}

pub(super) struct BinaryLoop<'a, T> {
    pub kind: BinaryKind,
    pub a: &'a [T],
    pub b: &'a [T],
    pub y: &'a mut [T],
}

impl<T: Real> Kernel for BinaryLoop<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        T::binary::<I>(self.kind, self.a, self.b, self.y);
    }
}

/// A tile and a number.
struct ScalarLoop<'a, T> {
    kind: BinaryKind,
    a: &'a [T],
    b: T,
    y: &'a mut [T],
}

impl<T: Real> Kernel for ScalarLoop<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        T::with_scalar(self.kind, self.a, self.b, self.y);
    }
}

pub(super) struct BackwardLoop<'a, T> {
    pub op: Activation,
    pub saved: &'a [T],
    pub dy: &'a [T],
    pub dx: &'a mut [T],
}

impl<T: Real> Kernel for BackwardLoop<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        T::activation_backward::<I>(self.op, self.saved, self.dy, self.dx);
    }
}

/// Applies an activation to a run of numbers in place: the epilogue of a product.
pub(super) fn activate<T: Real>(activation: Activation, run: &mut [T]) {
    let mut buffer = [T::default(); 64];
    for part in run.chunks_mut(64) {
        let x = &mut buffer[..part.len()];
        x.copy_from_slice(part);
        dispatch(UnaryLoop { kind: activation.unary(), x, y: part });
    }
}

pub(super) fn activation_backward(op: &ActivationBackward, inputs: [&AnyTensor; 2], y: &AnyTensor) {
    fn run<T: Real>(op: Activation, [saved, dy]: [&AnyTensor; 2], dx: &AnyTensor) {
        let operands = [Operand::<T>::new(saved, dx), Operand::new(dy, dx)];
        tiles(operands, dx, |[saved, dy], dx| dispatch(BackwardLoop { op, saved, dy, dx }));
    }
    match y.dtype() {
        DType::F64 => run::<f64>(op.activation, inputs, y),
        _ => run::<f32>(op.activation, inputs, y),
    }
}

fn float_binary<T: Real>(kind: BinaryKind, operands: [Operand<'_, T>; 2], y: &AnyTensor) {
    tiles(operands, y, |[a, b], y| dispatch(BinaryLoop { kind, a, b, y }));
}

pub(super) fn binary(op: &Binary, [a, b]: [&AnyTensor; 2], y: &AnyTensor) -> Result<()> {
    match a.dtype() {
        DType::F16 | DType::BF16 if half_arithmetic(op.kind, [a, b], y) => {}
        DType::F64 => float_binary::<f64>(op.kind, [Operand::new(a, y), Operand::new(b, y)], y),
        dtype if dtype.is_float() => {
            float_binary::<f32>(op.kind, [Operand::new(a, y), Operand::new(b, y)], y)
        }
        _ => return super::integer::binary(op, [a, b], y),
    }
    Ok(())
}

pub(super) fn binary_scalar(op: &BinaryScalar, x: &AnyTensor, y: &AnyTensor) -> Result<()> {
    match x.dtype() {
        DType::F64 => float_scalar::<f64>(op, x, y),
        dtype if dtype.is_float() => float_scalar::<f32>(op, x, y),
        _ => return super::integer::binary_scalar(op, x, y),
    }
    Ok(())
}

pub(super) fn order<T>(tensor: T, scalar: T, reversed: bool) -> [T; 2] {
    if reversed { [scalar, tensor] } else { [tensor, scalar] }
}

/// Arithmetic has loops for a number, and common powers are products; everything else goes by
/// tiles filled with the number.
fn float_scalar<T: Real>(op: &BinaryScalar, x: &AnyTensor, y: &AnyTensor) {
    let operand = Operand::<T>::new(x, y);
    if has_scalar_loop::<T>(op) {
        return tiles([operand], y, |[x], y| scalar_loop(op, x, y));
    }
    let number = Operand::Splat(T::from_f64(op.scalar.to_f64()));
    float_binary(op.kind, order(operand, number, op.reversed), y)
}

/// Whether there is a [`scalar_loop`] for it.
pub(super) fn has_scalar_loop<T: Real>(op: &BinaryScalar) -> bool {
    use BinaryKind::{Add, Div, Mul, Pow, Sub};
    match (op.kind, op.reversed) {
        (Add | Mul, _) | (Sub | Div, false) => true,
        (Pow, false) => [1.0, 2.0, 3.0].contains(&T::from_f64(op.scalar.to_f64()).to_f64()),
        _ => false,
    }
}

pub(super) fn scalar_loop<T: Real>(op: &BinaryScalar, x: &[T], y: &mut [T]) {
    let b = T::from_f64(op.scalar.to_f64());
    match op.kind {
        BinaryKind::Pow if b == T::from_f64(1.0) => y.copy_from_slice(x),
        BinaryKind::Pow if b == T::from_f64(2.0) => map(x, y, |x| x * x),
        BinaryKind::Pow => map(x, y, |x| x * x * x),
        kind => dispatch(ScalarLoop { kind, a: x, b, y }),
    }
}

pub(super) fn select_where([mask, a, b]: [&AnyTensor; 3], y: &AnyTensor) {
    element_type!(a.dtype(), T => {
        let operands = [Operand::<T>::new(a, y), Operand::new(b, y)];
        where_tiles(Operand::new(mask, y), operands, y)
    })
}

struct WhereLoop<'a, T> {
    mask: &'a [i64],
    a: &'a [T],
    b: &'a [T],
    y: &'a mut [T],
}

impl<T: Copy> Kernel for WhereLoop<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        for (((y, &mask), &a), &b) in self.y.iter_mut().zip(self.mask).zip(self.a).zip(self.b) {
            *y = if mask != 0 { a } else { b };
        }
    }
}

/// The mask is of another type than the numbers, so these tiles have a loop of their own.
fn where_tiles<T: Compute>(mask: Operand<'_, i64>, operands: [Operand<'_, T>; 2], y: &AnyTensor) {
    let (mask, [a, b]) = (&mask, &operands);
    chunks(y.num_elements(), CHUNK, |chunk| {
        let mut bits = [0; TILE];
        let mut buffers = [[T::default(); TILE]; 3];
        for start in chunk.clone().step_by(TILE) {
            let range = start..chunk.end.min(start + TILE);
            let [first, second, out] = &mut buffers;
            let out = &mut out[..range.len()];
            // SAFETY: the range is inside of the output, and only this call writes it.
            unsafe {
                let mask = mask.fetch(range.clone(), &mut bits);
                let (a, b) = (a.fetch(range.clone(), first), b.fetch(range, second));
                dispatch(WhereLoop { mask, a, b, y: &mut *out });
                T::write(out, y, start);
            }
        }
    });
}
