//! Random numbers: the same as on the CPU, up to the rounding of logarithm and cosine. Philox
//! gives the same bits.

use kiln_tensor::op::{Distribution, Multinomial, Random, Sample, SampleKind};
use kiln_tensor::{AnyTensor, DType, MAX_RANK, Result};

use super::elementwise::{FLOATS, Function, Numbers, c_type, map};
use super::rows::Rows;
use crate::backend::Kernels;
use crate::geometry::blocks_for;
use crate::params::{Operand, Params, address};
use crate::program::{MULTINOMIAL, Program, SAMPLE};

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

/// One number for each element of `x`, which is the parameter of its law.
pub(super) fn sample(kernels: &Kernels, op: &Sample, x: &AnyTensor, y: &AnyTensor) -> Result<()> {
    let mut numbers = Numbers { seed: op.seed, offset: op.offset, ..Default::default() };
    if let SampleKind::TruncatedNormal { std, low, high } = op.kind {
        (numbers.real, numbers.whole[0]) = ([std, low], high.to_bits() as i64);
    }
    map(kernels, &sample_function(op.kind, y.dtype()), [x], numbers, y)
}

fn sample_function(kind: SampleKind, dtype: DType) -> Function {
    let name = match kind {
        SampleKind::Gamma => "gamma",
        SampleKind::LogGamma => "log_gamma",
        SampleKind::Poisson => "poisson",
        SampleKind::TruncatedNormal { .. } => "truncated",
    };
    let more = match kind {
        SampleKind::TruncatedNormal { .. } => {
            ", p.real[0], p.real[1], bits_double((u64)p.whole[0])"
        }
        _ => "",
    };
    let value = format!("{name}_number(p.seed, p.offset + (u64)i, (f64)x0{more})");
    Function { family: &SAMPLE, ..Function::new(name, value, &[c_type(dtype); 2]) }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct MultinomialParameters {
    rows: i64,
    categories: i64,
    samples: i64,
    dims: [i64; MAX_RANK],
    weights: Operand,
    stride: i64,
    work: u64,
    output: u64,
    seed: u64,
    offset: u64,
    fault: u64,
    operation: u32,
    rank: i32,
}

// SAFETY: the fields are integers of eight bytes and a last pair of four: there are no gaps.
unsafe impl Params for MultinomialParameters {}

fn multinomial_program(replacement: bool, dtype: DType) -> Program {
    let name = format!("multinomial_{}_{dtype}", if replacement { "again" } else { "once" });
    let definitions =
        [("T", c_type(dtype).to_string()), ("REPLACE", (replacement as u8).to_string())];
    Program::new(&MULTINOMIAL, name, definitions)
}

/// Indices for each row of weights.
pub(super) fn multinomial(
    kernels: &Kernels,
    op: &Multinomial,
    x: &AnyTensor,
    y: &AnyTensor,
) -> Result<()> {
    if y.num_elements() == 0 {
        return Ok(());
    }
    let rows = Rows::new(x.rank() - 1, [x]);
    let work = kernels.workspace(8 * x.num_elements())?; // [rows, categories]
    let (fault, operation) = kernels.fault();
    let params = MultinomialParameters {
        rows: rows.count as i64,
        categories: rows.n as i64,
        samples: op.samples as i64,
        dims: rows.walk.dims,
        weights: rows.operand(0, x),
        stride: rows.along[0],
        work: work.address(),
        output: address(y),
        seed: op.seed,
        offset: op.offset,
        fault,
        operation,
        rank: rows.walk.rank as i32,
    };
    let program = multinomial_program(op.replacement, x.dtype());
    // SAFETY: the parameters are those of the family; rows stay inside of the weights, and the
    // output has `samples` for each.
    unsafe { kernels.launch(&program, blocks_for(rows.count), &params) }
}

pub(super) fn programs() -> Vec<Program> {
    let cut = SampleKind::TruncatedNormal { std: 1.0, low: 0.0, high: 1.0 };
    let kinds = [SampleKind::Gamma, SampleKind::LogGamma, SampleKind::Poisson, cut];
    let mut all: Vec<Program> = FLOATS
        .into_iter()
        .flat_map(|dtype| kinds.map(|kind| sample_function(kind, dtype)))
        .flat_map(|function| [true, false].map(|dense| function.program(dense, false)))
        .collect();
    for dtype in FLOATS {
        all.extend([true, false].map(|replacement| multinomial_program(replacement, dtype)));
    }
    let laws = [
        Distribution::Default,
        Distribution::Bernoulli(0.5),
        Distribution::Uniform(0.0, 1.0),
        Distribution::Normal(0.0, 1.0),
    ];
    let dtypes = DType::ALL.into_iter().filter(|dtype| !dtype.is_complex());
    all.extend(
        dtypes
            .flat_map(|dtype| laws.map(|law| function(law, dtype)))
            .flat_map(|function| [true, false].map(|dense| function.program(dense, false))),
    );
    all
}
