//! The samples of every operation on a device under test, against the CPU backend in f64.

#[path = "../../../tensor/tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use common::Memory;
use common::{Numbers, repeated, tensor, values};
use kiln_autograd::{Backward, leaf};
use kiln_tensor::num_complex::Complex;
use kiln_tensor::op::samples::{Case, Values};
use kiln_tensor::op::{IndexingUpdateOp, Meta, Op, ReduceKind, UnaryKind};
use kiln_tensor::{AnyTensor, DType, Device, Outputs, Result, TensorData, apply, create};

/// What came of one operation.
#[derive(Debug, Default, Clone)]
pub struct Outcome {
    /// Samples that agree, each in several layouts.
    pub passed: usize,
    /// Samples that need what the device has no kernel for.
    pub missing: usize,
    /// What differs, or went wrong.
    pub failures: Vec<String>,
}

/// Outcomes by the name of the operation.
pub type Table = BTreeMap<&'static str, Outcome>;

/// Prints a table, and returns how many samples passed, have no kernel, and failed.
pub fn print(table: &Table) -> [usize; 3] {
    for (name, Outcome { passed, missing, failures }) in table {
        println!("{name:<24} {passed:>4} agree {missing:>4} have no kernel");
        failures.iter().for_each(|failure| println!("    {failure}"));
    }
    let sum = |count: fn(&Outcome) -> usize| table.values().map(count).sum();
    [sum(|outcome| outcome.passed), sum(|o| o.missing), sum(|o| o.failures.len())]
}

fn run(op: &Op, inputs: &[&AnyTensor], device: Device) -> Result<Outputs> {
    match inputs {
        [] => create(op, device).map(|output| Outputs::from_buf([output])),
        inputs => apply(op, inputs),
    }
}

/// How far a value of `dtype` may lie from the exact `expected`, where the largest value of all
/// outputs is `largest`.
fn bound(op: &Op, dtype: DType, expected: f64, largest: f64) -> f64 {
    let compute = if dtype.real() == DType::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) };
    let computed = match op {
        Op::View(_) | Op::Where(_) | Op::Cat(_) | Op::Select(_) | Op::Gather(_) => 0.0,
        Op::Assign(_) | Op::ArgReduce(_) | Op::MaxPool2d(_) | Op::Cast(_) | Op::Fill(_) => 0.0,
        Op::Scatter(op) if !matches!(op.update, IndexingUpdateOp::Add | IndexingUpdateOp::Mul) => {
            0.0
        }
        Op::Sort(_) | Op::Nonzero(_) | Op::SearchSorted(_) => 0.0,
        Op::Reduce(op) if matches!(op.kind, ReduceKind::Max | ReduceKind::Min) => 0.0,
        // Products are added up one after another; the CPU does it in several sums.
        Op::MatMul(_) | Op::MatMulSums(_) => 64.0 * compute * largest.max(1.0),
        Op::Unary(op) if op.kind == UnaryKind::Digamma => 16.0 * compute * largest.max(1.0),
        Op::Unary(_) | Op::Binary(_) | Op::BinaryScalar(_) | Op::Arange(_) | Op::Polar(_) => {
            8.0 * compute * expected.abs().max(0.25)
        }
        _ => 16.0 * compute * largest.max(1.0),
    };
    // The final rounding of halves. Chains round each link, and recurrent layers what they multiply in
    // each step.
    let rounding = match (dtype, op) {
        (DType::F16 | DType::BF16, Op::Fused(op)) => {
            op.chain.links.len() as f64 * largest.max(1.0) * dtype.epsilon() / 2.0
        }
        (DType::F16 | DType::BF16, Op::Recurrent(_) | Op::RecurrentBackward(_)) => {
            3.0 * largest.max(1.0) * dtype.epsilon() / 2.0
        }
        (DType::F16, _) => expected.abs() * dtype.epsilon() / 2.0 + 2f64.powi(-25),
        (DType::BF16, _) => expected.abs() * dtype.epsilon() / 2.0,
        _ => 0.0,
    };
    computed + rounding
}

fn compare(
    op: &Op,
    actual: &TensorData,
    expected: &TensorData,
    largest: f64,
) -> Result<(), String> {
    let dtype = actual.dtype();
    if actual.shape() != expected.shape() {
        return Err(format!("shape {} instead of {}", actual.shape(), expected.shape()));
    }
    if dtype.is_complex() {
        let numbers = actual.iter::<Complex<f64>>().zip(expected.iter::<Complex<f64>>());
        for (i, (a, e)) in numbers.enumerate() {
            let limit = bound(op, dtype, e.norm(), largest);
            let near =
                |a: f64, e: f64| a == e || (a - e).abs() <= limit || a.is_nan() && e.is_nan();
            if !(near(a.re, e.re) && near(a.im, e.im)) {
                return Err(format!("element {i} is {a} instead of {e}"));
            }
        }
        return Ok(());
    }
    if !dtype.is_float() {
        let same = actual.bytes() == expected.convert_dtype(dtype).bytes();
        return if same { Ok(()) } else { Err(format!("{actual} instead of {expected}")) };
    }
    for (i, (a, e)) in actual.iter::<f64>().zip(expected.iter::<f64>()).enumerate() {
        let near = (a - e).abs() <= bound(op, dtype, e, largest);
        if !(a == e || near || a.is_nan() && e.is_nan()) {
            return Err(format!("element {i} is {a} instead of {e}"));
        }
    }
    Ok(())
}

/// The dtype of an input: statistics of half types are kept in f32.
fn input_dtype(op: &Op, i: usize, float: DType) -> DType {
    let statistics = match op {
        Op::LayerNormBackward(_) | Op::BatchNormBackward(_) => i == 1 || i == 2,
        Op::AttentionBackward(_) => i == 3 || i == 5,
        Op::CrossEntropyBackward(_) => i == 2 || i == 3,
        _ => false,
    };
    if statistics && float != DType::F64 { DType::F32 } else { float }
}

/// The values for the oracle: floats as f64, but where the operation itself is about dtypes.
fn widened(op: &Op, data: &TensorData) -> TensorData {
    match op {
        Op::Cast(_) => data.clone(),
        _ if data.dtype().is_float() => data.convert_dtype(DType::F64),
        _ if data.dtype().is_complex() => data.convert_dtype(DType::Complex128),
        _ => data.clone(),
    }
}

/// The layouts in which the inputs are laid out.
pub fn layouts(few: bool) -> &'static [Memory] {
    use Memory::*;
    if few {
        &[Contiguous, Tangled]
    } else {
        &[Contiguous, Transposed, Sliced, Tangled, Broadcast(0)]
    }
}

fn check_case(
    case: &Case,
    float: DType,
    int: DType,
    device: Device,
    layouts: &[Memory],
) -> Result<bool, String> {
    let op = &case.op;
    let mut numbers = Numbers(7);
    let holds = |values: &Values| match values {
        Values::Int(low, high) => {
            (*low >= 0 || !int.is_unsigned()) && (*high < 128 || int.size() > 1)
        }
        _ => true,
    };
    let int = if case.inputs.iter().all(|x| holds(&x.values)) { int } else { DType::I32 };
    let data: Vec<TensorData> = (case.inputs.iter().enumerate())
        .map(|(i, input)| values(input, input_dtype(op, i, float), int, &mut numbers))
        .collect();
    let metas: Vec<Meta> = data.iter().map(|x| Meta::new(x.shape(), x.dtype())).collect();
    if op.spec().infer(&metas).is_err() {
        return Ok(false); // The parts of complex numbers are f32 or f64.
    }
    for (l, &memory) in layouts.iter().enumerate() {
        // The next layout for each next input, so that no two lie alike.
        let memory = |i: usize| if i == 0 { memory } else { layouts[(l + i) % layouts.len()] };
        let inputs: Vec<AnyTensor> =
            data.iter().enumerate().map(|(i, x)| tensor(x, memory(i), device)).collect();
        if let Op::View(view) = op
            && view.layout(inputs[0].layout()).is_err()
        {
            continue; // This layout can not be reshaped without a copy.
        }
        let inputs: Vec<&AnyTensor> = inputs.iter().collect();
        let exact: Vec<AnyTensor> = (data.iter().enumerate())
            .map(|(i, x)| {
                AnyTensor::from_data(&widened(op, &repeated(x, memory(i))), &Device::cpu()).unwrap()
            })
            .collect();
        let Ok(expected) = run(op, &exact.iter().collect::<Vec<_>>(), Device::cpu()) else {
            return Ok(false); // There is no oracle in this build either.
        };
        let expected: Vec<TensorData> = expected.iter().map(|y| y.to_data().unwrap()).collect();
        let outputs = match run(op, &inputs, device) {
            Ok(outputs) => outputs,
            Err(kiln_tensor::Error::Device { what, .. }) if what.contains("kernel") => {
                if what.contains("is not among all programs") {
                    return Err(what);
                }
                return Ok(false);
            }
            Err(error) => return Err(error.to_string()),
        };
        let largest = (expected.iter())
            .flat_map(|y| y.iter::<Complex<f64>>())
            .map(|x| x.norm())
            .filter(|x| x.is_finite())
            .fold(0.0, f64::max);
        for (output, expected) in outputs.iter().zip(&expected) {
            let actual = output.to_data().map_err(|error| error.to_string())?;
            compare(op, &actual, expected, largest).map_err(|what| {
                format!(
                    "{op:?} of {:?}, {float} and {int}, laid out {:?}: {what}",
                    case.inputs,
                    memory(0)
                )
            })?;
        }
    }
    Ok(true)
}

/// The gradients of the sum of all outputs by all float inputs, in f64, against those on the CPU.
fn check_gradients(case: &Case, device: Device) -> Result<bool, String> {
    let mut numbers = Numbers(7);
    let data: Vec<TensorData> =
        case.inputs.iter().map(|x| values(x, DType::F64, DType::I64, &mut numbers)).collect();
    let gradients = |device: Device| -> Result<Vec<Option<TensorData>>> {
        let inputs: Result<Vec<AnyTensor>> =
            data.iter().map(|x| AnyTensor::from_data(x, &device)).collect();
        let tracked = |x: AnyTensor| if x.dtype().is_float() { leaf(&x) } else { x };
        let inputs: Vec<AnyTensor> = inputs?.into_iter().map(tracked).collect();
        let inputs: Vec<&AnyTensor> = inputs.iter().collect();
        let outputs = run(&case.op, &inputs, device)?;
        let real = |y: &&AnyTensor| y.tracked().is_some() && y.dtype().is_float();
        let outputs: Vec<&AnyTensor> = outputs.iter().filter(real).collect();
        if outputs.is_empty() {
            return Ok(Vec::new()); // Complex results have no order to descend.
        }
        let gradients = Backward::new().grad(&outputs, &inputs);
        gradients.into_iter().map(|g| g.map(|g| g.to_data()).transpose()).collect()
    };
    let Ok(expected) = gradients(Device::cpu()) else { return Ok(false) };
    let actual = match gradients(device) {
        Err(kiln_tensor::Error::Device { .. }) => return Ok(false),
        other => other.map_err(|error| error.to_string())?,
    };
    for (i, pair) in actual.iter().zip(&expected).enumerate() {
        let (Some(actual), Some(expected)) = pair else { continue };
        let size = expected.iter::<f64>().map(f64::abs).filter(|x| x.is_finite());
        let limit = 256.0 * f64::EPSILON * size.fold(1.0, f64::max);
        for (a, e) in actual.iter::<f64>().zip(expected.iter::<f64>()) {
            if !(a == e || (a - e).abs() <= limit || a.is_nan() && e.is_nan()) {
                return Err(format!("gradient {i} of {:?} has {a} instead of {e}", case.op));
            }
        }
    }
    Ok(true)
}

/// Runs the gradients of smooth samples on a device.
pub fn gradients(cases: &[Case], device: Device) -> Table {
    let real = |case: &&Case| {
        case.smooth && !case.inputs.iter().any(|x| matches!(x.values, Values::Complex(..)))
    };
    let cases: Vec<Case> = cases.iter().filter(real).cloned().collect();
    each(&cases, |case| check_gradients(case, device))
}

/// Runs samples on a device.
pub fn check(cases: &[Case], float: DType, int: DType, device: Device, few: bool) -> Table {
    // Large samples take long where kernels are emulated.
    let large =
        |case: &Case| case.inputs.iter().map(|x| x.shape.num_elements()).sum::<usize>() > 2000;
    each(cases, |case| check_case(case, float, int, device, layouts(few || large(case))))
}

/// Runs samples on a device in these layouts alone: each input in the next of them.
pub fn check_laid_out(
    cases: &[Case],
    (float, int): (DType, DType),
    device: Device,
    layouts: &[Memory],
) -> Table {
    each(cases, |case| check_case(case, float, int, device, layouts))
}

fn each(cases: &[Case], check: impl Fn(&Case) -> Result<bool, String>) -> Table {
    let mut table = Table::new();
    for case in cases {
        let outcome = table.entry(case.op.spec().name()).or_default();
        let checked = catch_unwind(AssertUnwindSafe(|| check(case)));
        match checked {
            Ok(Ok(true)) => outcome.passed += 1,
            Ok(Ok(false)) => outcome.missing += 1,
            Ok(Err(what)) => outcome.failures.push(what),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text =
                    text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
                let text = text.unwrap_or_else(|| "a panic".into());
                if text.contains("kernel for") || text.contains("neither a kernel") {
                    outcome.missing += 1;
                } else {
                    outcome.failures.push(format!("{:?}: {text}", case.op));
                }
            }
        }
    }
    table
}
