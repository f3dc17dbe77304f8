//! Operations on each element: functions, comparisons, choice, conversion, filling, dropout.

use kiln_tensor::op::{Activation, ActivationBackward, Arange, Dropout, Polar, UnaryKind};
use kiln_tensor::{AnyTensor, DType, Result, Scalar};

use super::elementwise::{
    COMPLEX, Call, FLOATS, Function, INTS, Numbers, c_type, map, number_type, raw_type,
};
use crate::backend::Kernels;
use crate::program::Program;

pub(super) fn unary(kind: UnaryKind, dtype: DType) -> Call {
    let mut numbers = Numbers::default();
    if let UnaryKind::Polygamma(order) = kind {
        numbers.whole[1] = order.into();
    }
    Call { function: unary_function(kind, dtype), numbers }
}

fn unary_function(kind: UnaryKind, dtype: DType) -> Function {
    use UnaryKind::*;
    let name = match kind {
        Neg => "neg",
        Abs => "abs",
        // Real numbers are their own conjugates, and the shape rule refuses them.
        Conj => "conj",
        Sign => "sign",
        Square => "square",
        Not if dtype == DType::Bool => "logical_not",
        Not => "bit_not",
        Recip => "recip",
        Sqrt => "sqrt",
        Rsqrt => "rsqrt",
        Exp => "exp",
        Exp2 => "exp2",
        ExpM1 => "expm1",
        Log => "log",
        Log2 => "log2",
        Log10 => "log10",
        Log1p => "log1p",
        Sin => "sin",
        Cos => "cos",
        Tan => "tan",
        Asin => "asin",
        Acos => "acos",
        Atan => "atan",
        Sinh => "sinh",
        Cosh => "cosh",
        Asinh => "asinh",
        Acosh => "acosh",
        Atanh => "atanh",
        Erf => "erf",
        Erfc => "erfc",
        ErfInv => "erfinv",
        Lgamma => "lgamma",
        Digamma => "digamma",
        Polygamma(_) => "polygamma",
        Floor => "floor",
        Ceil => "ceil",
        Round => "round",
        Trunc => "trunc",
        Relu => "relu",
        Sigmoid => "sigmoid",
        Tanh => "tanh",
        Gelu => "gelu",
        GeluTanh => "gelu_tanh",
        Silu => "silu",
        Softplus => "softplus",
    };
    let expression = match kind {
        Polygamma(_) => "fn::polygamma((int)p.whole[1], x0)".into(),
        _ => format!("fn::{name}(x0)"),
    };
    Function::new(name, expression, &[number_type(dtype); 2])
}

pub(super) fn polar(kernels: &Kernels, op: &Polar, x: &AnyTensor, y: &AnyTensor) -> Result<()> {
    map(kernels, &polar_function(*op, x.dtype()), [x], Numbers::default(), y)
}

fn polar_function(op: Polar, dtype: DType) -> Function {
    let name = match op {
        Polar::Abs => "abs",
        Polar::Angle => "angle",
    };
    Function::new(name, format!("fn::{name}(x0)"), &[number_type(dtype), c_type(dtype.real())])
}

pub(super) fn activation_backward(op: ActivationBackward, dtype: DType) -> Call {
    slope_function(op.activation, dtype).into()
}

/// An activation of floats, where `y` may be `x`.
pub(super) fn activation(
    kernels: &Kernels,
    activation: Activation,
    x: &AnyTensor,
    y: &AnyTensor,
) -> Result<()> {
    unary(activation.unary(), x.dtype()).run(kernels, &[x], y)
}

/// What the function of an activation is called in kernels.
pub(super) fn activation_name(activation: Activation) -> &'static str {
    match activation {
        Activation::Relu => "relu",
        Activation::Sigmoid => "sigmoid",
        Activation::Tanh => "tanh",
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_tanh",
        Activation::Silu => "silu",
        Activation::Softplus => "softplus",
    }
}

/// The derivative of an activation times the gradient.
fn slope_function(activation: Activation, dtype: DType) -> Function {
    let activation = activation_name(activation);
    let expression = format!("fn::{activation}_slope(x0) * x1");
    Function::new(&format!("{activation}_slope"), expression, &[c_type(dtype); 3])
}

/// A number in both kinds; where `dtype` is complex, in the precision of its parts, of which the
/// imaginary one travels as bits.
pub(super) fn number(scalar: Scalar, dtype: DType) -> Numbers {
    if dtype.is_complex() {
        let z = scalar.to_complex();
        let single = |part: f64| f64::from(part as f32);
        let part = if dtype == DType::Complex64 { single } else { |part| part };
        let (real, whole) = ([part(z.re), 0.0], [part(z.im).to_bits() as i64, 0]);
        return Numbers { real, whole, ..Default::default() };
    }
    Numbers { real: [scalar.to_f64(), 0.0], whole: [scalar.to_i64(), 0], ..Default::default() }
}

pub(super) fn select_where(dtype: DType) -> Call {
    where_function(raw_type(dtype)).into()
}

fn where_function(raw: &'static str) -> Function {
    Function::new("where", "(x0 != 0 ? x1 : x2)", &["boolean", raw, raw, raw])
}

pub(super) fn cast(from: DType, to: DType) -> Call {
    if from == to { copy_function(raw_type(to)).into() } else { cast_function(from, to).into() }
}

/// Elements as they are.
pub(super) fn copy_function(raw: &'static str) -> Function {
    Function::new("copy", "x0", &[raw, raw])
}

fn cast_function(from: DType, to: DType) -> Function {
    let function = Function::new("cast", "x0", &[number_type(from), number_type(to)]);
    Function { converts: true, ..function }
}

pub(super) fn fill(value: Scalar, dtype: DType) -> Call {
    let value = match dtype {
        DType::Bool => Scalar::Bool(value.to_f64() != 0.0),
        _ => value,
    };
    let mut numbers = number(value, DType::F64);
    let parts = value.to_complex();
    match dtype {
        DType::Complex64 => {
            let [re, im] = [parts.re, parts.im].map(|part| u64::from((part as f32).to_bits()));
            numbers.whole[0] = (im << 32 | re) as i64;
        }
        DType::Complex128 => {
            numbers.real[0] = parts.re;
            numbers.whole[0] = parts.im.to_bits() as i64;
        }
        _ => {}
    }
    Call { function: fill_function(c_type(dtype)), numbers }
}

fn fill_function(c_type: &'static str) -> Function {
    Function::new("fill", "s", &[c_type])
}

pub(super) fn arange(kernels: &Kernels, op: &Arange, y: &AnyTensor) -> Result<()> {
    let numbers = Numbers {
        real: [op.start.to_f64(), op.step.to_f64()],
        whole: [op.start.to_i64(), op.step.to_i64()],
        ..Default::default()
    };
    map(kernels, &arange_function(y.dtype()), [], numbers, y)
}

fn arange_function(dtype: DType) -> Function {
    let expression = if dtype.is_float() || dtype.is_complex() {
        "p.real[0] + (f64)i * p.real[1]"
    } else {
        "fn::add(p.whole[0], fn::mul(i, p.whole[1]))"
    };
    Function::new("arange", expression, &[number_type(dtype)])
}

pub(super) fn dropout(kernels: &Kernels, op: &Dropout, x: &AnyTensor, y: &AnyTensor) -> Result<()> {
    let keep = 1.0 - op.p;
    let numbers = Numbers {
        real: [1.0 / keep, keep],
        seed: op.seed,
        offset: op.offset,
        ..Default::default()
    };
    map(kernels, &dropout_function(x.dtype()), [x], numbers, y)
}

fn dropout_function(dtype: DType) -> Function {
    let expression = "((f64)uniform_f32(p.seed, p.offset, i) < p.real[1] ? x0 * s : 0 * s)";
    Function::new("dropout", expression, &[c_type(dtype); 2])
}

/// Every function of this file, for each dtype that it takes.
fn functions() -> Vec<Function> {
    let mut all = Vec::new();
    let kinds =
        UnaryKind::ALL.into_iter().filter(|kind| !matches!(kind, UnaryKind::Polygamma(2..)));
    for kind in kinds {
        use UnaryKind::*;
        if kind == Not {
            all.push(unary_function(kind, DType::Bool));
        } else if kind != Conj {
            all.extend(FLOATS.map(|dtype| unary_function(kind, dtype)));
        }
        if kind.on_complex() {
            all.extend(COMPLEX.map(|dtype| unary_function(kind, dtype)));
        }
        if matches!(kind, Neg | Abs | Sign | Square | Not | Relu) {
            all.extend(INTS.map(|dtype| unary_function(kind, dtype)));
        }
        if let Some(activation) = kind.activation() {
            all.extend(FLOATS.map(|dtype| slope_function(activation, dtype)));
        }
    }
    for dtype in FLOATS {
        all.push(dropout_function(dtype));
    }
    for raw in ["u8", "u16", "u32", "u64", "w16"] {
        all.extend([where_function(raw), copy_function(raw)]);
    }
    all.push(fill_function("w16"));
    for to in DType::ALL {
        all.push(fill_function(c_type(to)));
        all.extend((to != DType::Bool).then(|| arange_function(to)));
        let real = |from: &DType| !from.is_complex() || to.is_complex();
        let others = DType::ALL.into_iter().filter(|&from| from != to).filter(real);
        all.extend(others.map(|from| cast_function(from, to)));
    }
    for dtype in COMPLEX {
        all.extend([Polar::Abs, Polar::Angle].map(|op| polar_function(op, dtype)));
    }
    all
}

/// Every kernel of this file for numbers of elements that fit 32 bits.
pub(super) fn programs() -> Vec<Program> {
    functions()
        .iter()
        .flat_map(|function| [true, false].map(|dense| function.program(dense, false)))
        .collect()
}
