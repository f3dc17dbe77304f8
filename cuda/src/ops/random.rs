//! Random numbers: the same as on the CPU, up to the rounding of logarithm and cosine.

use kiln_tensor::op::{Distribution, Random};
use kiln_tensor::{AnyTensor, DType, Result};

use super::elementwise::{Function, Numbers, c_type, map};
use crate::backend::Kernels;
use crate::program::Program;

pub(super) fn random(kernels: &Kernels, op: &Random, y: &AnyTensor) -> Result<()> {
    let law = match op.distribution {
        Distribution::Default if y.dtype().is_int() => Distribution::Uniform(0.0, 255.0),
        Distribution::Default if y.dtype() == DType::Bool => Distribution::Bernoulli(0.5),
        law => law,
    };
    let real = match law {
        Distribution::Default => [0.0, 1.0],
        Distribution::Bernoulli(p) => [p, 0.0],
        Distribution::Uniform(low, high) => [low, high],
        Distribution::Normal(mean, deviation) => [mean, deviation],
    };
    let numbers = Numbers { real, whole: [0; 2], seed: op.seed, offset: op.offset };
    map(kernels, &function(law, y.dtype()), [], numbers, y)
}

fn function(law: Distribution, dtype: DType) -> Function {
    // The generator of f64, two numbers to a block of words, also serves integers.
    let twice = dtype == DType::F64 || dtype.is_int();
    let uniform = if twice { "uniform_f64" } else { "uniform_f32" };
    let normal = if twice { "normal_f64" } else { "normal_f32" };
    let at = "(p.seed, p.offset, i)";
    let (label, value) = match law {
        Distribution::Default => ("uniform", format!("{uniform}{at}")),
        Distribution::Bernoulli(_) => {
            ("bernoulli", format!("(f64)((f64){uniform}{at} < p.real[0])"))
        }
        Distribution::Uniform(..) => {
            ("between", format!("between(p.real[0], p.real[1], {uniform}{at})"))
        }
        Distribution::Normal(..) => {
            ("normal", format!("{normal}(p.seed, p.offset, p.real[0], p.real[1], i)"))
        }
    };
    let value = if dtype.is_int() { format!("(i64)::floor({value})") } else { value };
    Function::new(&format!("random_{label}"), value, &[c_type(dtype)])
}

pub(super) fn programs() -> Vec<Program> {
    let laws = [
        Distribution::Default,
        Distribution::Bernoulli(0.5),
        Distribution::Uniform(0.0, 1.0),
        Distribution::Normal(0.0, 1.0),
    ];
    let dtypes = DType::ALL.into_iter().filter(|dtype| !dtype.is_complex());
    dtypes
        .flat_map(|dtype| laws.map(|law| function(law, dtype)))
        .flat_map(|function| [true, false].map(|dense| function.program(dense, false)))
        .collect()
}
