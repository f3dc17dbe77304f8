//! Functions of two elements, or of an element and a number, and comparisons.

use kiln_tensor::op::{BinaryKind, BinaryScalar};
use kiln_tensor::{DType, Scalar};

use super::elementwise::{COMPLEX, Call, FLOATS, Function, INTS, number_type};
use super::pointwise::{fill, number};
use crate::program::Program;

pub(super) fn binary(kind: BinaryKind, dtype: DType) -> Call {
    binary_function(kind, dtype, Operands::Two).into()
}

/// Where the operands of a binary function come from.
#[derive(Clone, Copy, PartialEq)]
enum Operands {
    Two,
    ElementAndNumber,
    NumberAndElement,
}

fn binary_function(kind: BinaryKind, dtype: DType, operands: Operands) -> Function {
    use BinaryKind::*;
    let (a, b, suffix, inputs) = match operands {
        Operands::Two => ("x0", "x1", "", 2),
        Operands::ElementAndNumber => ("x0", "s", "_number", 1),
        Operands::NumberAndElement => ("s", "x0", "_by", 1),
    };
    let (name, sign) = match kind {
        Add => ("add", None),
        Sub => ("sub", None),
        Mul => ("mul", None),
        Div => ("div", None),
        FloorDiv => ("floor_div", None),
        Rem => ("remainder", None),
        Fmod => ("fmod", None),
        Pow => ("pow", None),
        Max => ("maximum", None),
        Min => ("minimum", None),
        Atan2 => ("atan2", None),
        Hypot => ("hypot", None),
        CopySign => ("copysign", None),
        LogAddExp => ("logaddexp", None),
        Equal => ("equal", Some("==")),
        NotEqual => ("not_equal", Some("!=")),
        Less => ("less", Some("<")),
        LessEqual => ("less_equal", Some("<=")),
        Greater => ("greater", Some(">")),
        GreaterEqual => ("greater_equal", Some(">=")),
        And => ("bit_and", None),
        Or => ("bit_or", None),
        Xor => ("bit_xor", None),
        ShiftLeft => ("shift_left", None),
        ShiftRight => ("shift_right", None),
    };
    let expression = match sign {
        Some(sign) => format!("({a} {sign} {b})"),
        None if !dtype.is_complex() && matches!(kind, Div | FloorDiv | Rem | Fmod) => {
            format!("fn::{name}({a}, divisor(p, {b}))")
        }
        None => format!("fn::{name}({a}, {b})"),
    };
    let mut types = vec![number_type(dtype); inputs];
    types.push(if kind.is_comparison() { "boolean" } else { number_type(dtype) });
    Function::new(&format!("{name}{suffix}"), expression, &types)
}

pub(super) fn binary_scalar(mut op: BinaryScalar, dtype: DType) -> Call {
    if op.kind.is_comparison() && !dtype.is_float() && !dtype.is_complex() {
        let kind = if op.reversed { mirrored(op.kind) } else { op.kind };
        match whole_comparison(kind, op.scalar, dtype) {
            Comparison::Always(truth) => return fill(Scalar::Bool(truth), DType::Bool),
            Comparison::With(kind, limit) => {
                op = BinaryScalar { kind, scalar: Scalar::Int(limit), reversed: false };
            }
        }
    }
    let operands =
        if op.reversed { Operands::NumberAndElement } else { Operands::ElementAndNumber };
    let function = binary_function(op.kind, dtype, operands);
    Call { function, numbers: number(op.scalar, dtype) }
}

/// The comparison with exchanged sides.
fn mirrored(kind: BinaryKind) -> BinaryKind {
    use BinaryKind::*;
    match kind {
        Less => Greater,
        LessEqual => GreaterEqual,
        Greater => Less,
        GreaterEqual => LessEqual,
        kind => kind,
    }
}

/// A comparison of integers with any number, as one with an integer.
#[derive(Debug, PartialEq)]
enum Comparison {
    With(BinaryKind, i64),
    Always(bool),
}

fn whole_comparison(kind: BinaryKind, scalar: Scalar, dtype: DType) -> Comparison {
    use BinaryKind::*;
    let Scalar::Float(x) = scalar else {
        let limit = scalar.to_i64();
        // The bits of a negative number are a large one of u64.
        return match (dtype, kind) {
            (DType::U64, _) if limit >= 0 => Comparison::With(kind, limit),
            (DType::U64, NotEqual | Greater | GreaterEqual) => Comparison::Always(true),
            (DType::U64, _) => Comparison::Always(false),
            _ => Comparison::With(kind, limit),
        };
    };
    if x.is_nan() {
        return Comparison::Always(kind == NotEqual);
    }
    let above = matches!(kind, NotEqual | Less | LessEqual);
    let below = matches!(kind, NotEqual | Greater | GreaterEqual);
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    match (dtype, x) {
        (DType::U64, x) if x < 0.0 => Comparison::Always(below),
        (DType::U64, x) if x >= 2.0 * TWO_63 => Comparison::Always(above),
        // Past the largest i64 a number is whole; its bits are those of the u64.
        (DType::U64, x) if x >= TWO_63 => Comparison::With(kind, x as u64 as i64),
        (_, x) if x < -TWO_63 => Comparison::Always(below),
        (_, x) if x >= TWO_63 => Comparison::Always(above),
        (_, x) if x.fract() == 0.0 => Comparison::With(kind, x as i64),
        _ => match kind {
            Less | LessEqual => Comparison::With(LessEqual, x.floor() as i64),
            Greater | GreaterEqual => Comparison::With(GreaterEqual, x.ceil() as i64),
            kind => Comparison::Always(kind == NotEqual),
        },
    }
}

/// Every function of this file, for each dtype that it takes.
fn functions() -> Vec<Function> {
    let mut all = Vec::new();
    for kind in BinaryKind::ALL {
        use BinaryKind::*;
        let operands = [Operands::Two, Operands::ElementAndNumber, Operands::NumberAndElement];
        let on_bools = kind.is_comparison() || matches!(kind, And | Or | Xor);
        let on_ints = !matches!(kind, Atan2 | Hypot | CopySign | LogAddExp);
        let mut dtypes: Vec<DType> = Vec::new();
        dtypes.extend(on_bools.then_some(DType::Bool));
        dtypes.extend(INTS.into_iter().filter(|_| on_ints));
        dtypes.extend(FLOATS.into_iter().filter(|_| !kind.is_logical()));
        let on_complex = matches!(kind, Add | Sub | Mul | Div | Pow | Equal | NotEqual);
        dtypes.extend(COMPLEX.into_iter().filter(|_| on_complex));
        for dtype in dtypes {
            all.extend(operands.map(|operands| binary_function(kind, dtype, operands)));
        }
    }
    all
}

/// Every kernel of this file for numbers of elements that fit 32 bits, and one for others.
pub(super) fn programs() -> Vec<Program> {
    let mut all: Vec<Program> = functions()
        .iter()
        .flat_map(|function| [true, false].map(|dense| function.program(dense, false)))
        .collect();
    let add = binary_function(BinaryKind::Add, DType::F32, Operands::Two);
    all.extend([true, false].map(|dense| add.program(dense, true)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_compared_with_any_number() {
        use BinaryKind::*;
        let compare = |kind, x, dtype| whole_comparison(kind, Scalar::Float(x), dtype);
        assert_eq!(compare(Less, 2.5, DType::I32), Comparison::With(LessEqual, 2));
        assert_eq!(compare(GreaterEqual, -2.5, DType::I64), Comparison::With(GreaterEqual, -2));
        assert_eq!(compare(Equal, 2.5, DType::I8), Comparison::Always(false));
        assert_eq!(compare(NotEqual, f64::NAN, DType::I8), Comparison::Always(true));
        assert_eq!(compare(Less, 1e30, DType::I64), Comparison::Always(true));
        assert_eq!(compare(Greater, -0.5, DType::U64), Comparison::Always(true));
        let high = compare(Less, 9_223_372_036_854_775_808.0, DType::U64);
        assert_eq!(high, Comparison::With(Less, i64::MIN));
        let int = |kind, x| whole_comparison(kind, Scalar::Int(x), DType::U64);
        assert_eq!(int(Less, -1), Comparison::Always(false));
        assert_eq!(int(NotEqual, -1), Comparison::Always(true));
        assert_eq!(int(Less, 3), Comparison::With(Less, 3));
    }
}
