//! Sample inputs of every operation: the table-driven tests of each crate run over them.

use super::Op;
use crate::Shape;

/// What an input of a sample is filled with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Values {
    /// Floats, uniform in the range; the test chooses the dtype.
    Float(f64, f64),
    /// Integers in `low..high`.
    Int(i64, i64),
    /// True or false, equally likely.
    Bool,
    /// Complex numbers, both parts uniform in the range.
    Complex(f64, f64),
}

/// One input of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Input {
    /// The extents.
    pub shape: Shape,
    /// What it is filled with.
    pub values: Values,
}

/// Floats in -2..2.
pub fn float(shape: impl Into<Shape>) -> Input {
    float_in(shape, -2.0, 2.0)
}

/// Floats in a range, for functions with a restricted domain.
pub fn float_in(shape: impl Into<Shape>, low: f64, high: f64) -> Input {
    Input { shape: shape.into(), values: Values::Float(low, high) }
}

/// Integers in `low..high`.
pub fn int(shape: impl Into<Shape>, low: i64, high: i64) -> Input {
    Input { shape: shape.into(), values: Values::Int(low, high) }
}

/// True or false.
pub fn bool(shape: impl Into<Shape>) -> Input {
    Input { shape: shape.into(), values: Values::Bool }
}

/// Complex numbers with parts in -2..2.
pub fn complex(shape: impl Into<Shape>) -> Input {
    complex_in(shape, -2.0, 2.0)
}

/// Complex numbers with parts in a range, to stay away from zeros and branch cuts.
pub fn complex_in(shape: impl Into<Shape>, low: f64, high: f64) -> Input {
    Input { shape: shape.into(), values: Values::Complex(low, high) }
}

/// An operation with inputs that its rule accepts.
#[derive(Clone, Debug)]
pub struct Case {
    /// The operation.
    pub op: Op,
    /// Its inputs.
    pub inputs: Vec<Input>,
    /// Whether finite differences make sense at the sampled points.
    pub smooth: bool,
}

/// All samples, collected.
#[derive(Debug, Default)]
pub struct Samples {
    /// The cases in the order of the table.
    pub cases: Vec<Case>,
}

impl Samples {
    /// Adds a case.
    pub fn case(&mut self, op: impl Into<Op>, inputs: impl Into<Vec<Input>>) {
        self.cases.push(Case { op: op.into(), inputs: inputs.into(), smooth: true });
    }

    /// Adds a case whose function jumps or is random: its value is tested, its gradient is not.
    pub fn rough(&mut self, op: impl Into<Op>, inputs: impl Into<Vec<Input>>) {
        self.cases.push(Case { op: op.into(), inputs: inputs.into(), smooth: false });
    }
}
