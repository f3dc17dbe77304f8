//! Cross-entropy and its gradient.

use kiln_tensor::op::{CrossEntropy, CrossEntropyBackward, ReduceKind, Reduction};
use kiln_tensor::{AnyTensor, DType, MAX_RANK, Result};

use super::copy::axes_of;
use super::elementwise::{FLOATS, Function, c_type, map_memory};
use super::index::code_of;
use super::reduce::{reduce_memory, wide_type};
use super::rows::{SHORT, grouped, vector};
use crate::backend::Kernels;
use crate::geometry::blocks_for;
use crate::params::{Operand, Params, address, strides as strides_of};
use crate::program::{CROSS_ENTROPY, Program};

#[derive(Clone, Copy)]
#[repr(C)]
struct Parameters {
    rows: i64,
    classes: i64,
    dims: [i64; MAX_RANK],
    logits: Operand,
    targets: Operand,
    dy: Operand,
    log_sum: Operand,
    output_strides: [i64; MAX_RANK],
    logits_stride: i64,
    output_stride: i64,
    weight_stride: i64,
    weight: u64,
    output: u64,
    log_sum_out: u64,
    weights: u64,
    total: u64,
    smoothing: f64,
    ignored: i64,
    fault: u64,
    operation: u32,
    rank: i32,
    index_type: i32,
    has_ignored: i32,
}

// SAFETY: the fields are numbers of eight bytes and four of four: there are no gaps.
unsafe impl Params for Parameters {}

fn program(dtype: DType, log_probs: bool, backward: bool, short: bool) -> Program {
    let kind = match (log_probs, backward) {
        (false, false) => "logits",
        (true, false) => "log_probs",
        (false, true) => "logits_backward",
        (true, true) => "log_probs_backward",
    };
    let flags = [("LOG_PROBS", log_probs), ("BACKWARD", backward)];
    grouped(&CROSS_ENTROPY, dtype, kind, short, &flags)
}

fn launch(kernels: &Kernels, program: &Program, params: &Parameters, short: bool) -> Result<()> {
    let rows = params.rows as usize;
    let grid = blocks_for(if short { rows.div_ceil(8) } else { rows });
    // SAFETY: the parameters are those of the family; the walk stays inside of all tensors, and
    // the kernel checks each target.
    unsafe { kernels.launch(program, grid, params) }
}

pub(super) fn cross_entropy(
    kernels: &Kernels,
    op: &CrossEntropy,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
) -> Result<()> {
    let (logits, targets) = (inputs[0], inputs[1]);
    let (rows, dtype) = (targets.num_elements(), logits.dtype());
    let wide = wide_type(dtype);
    // [rows] of the wide type each, eight bytes at most.
    let losses = kernels.workspace(8 * rows.max(1))?;
    let weights = kernels.workspace(8 * rows.max(1))?;
    if rows > 0 {
        let params = Parameters {
            output: losses.address(),
            log_sum_out: address(&outputs[1]),
            weights: weights.address(),
            ..parameters(kernels, op, logits, targets, inputs.get(2).copied())
        };
        let short = params.classes as usize <= SHORT;
        launch(kernels, &program(dtype, op.log_probs, false, short), &params, short)?;
    }
    let total = |from: u64, to: u64| reduce_memory(kernels, ReduceKind::Sum, wide, rows, from, to);
    let (loss, all_weights) = (address(&outputs[0]), address(&outputs[2]));
    total(weights.address(), all_weights)?;
    let sum = kernels.workspace(8)?;
    let mut from = losses.address();
    if op.reduction != Reduction::None {
        total(from, sum.address())?;
        from = sum.address();
    }
    let count = outputs[0].num_elements();
    let function = finish(op.reduction == Reduction::Mean, dtype);
    let sources = [from, all_weights];
    map_memory(kernels, &function, &sources[..function.types.len() - 1], loss, count)
}

/// From the sum of losses to the loss, in the type of the logits.
fn finish(mean: bool, dtype: DType) -> Function {
    let (wide, own) = (wide_type(dtype), c_type(dtype));
    match mean {
        true => Function::new("loss_mean", "x0 / x1", &[wide, wide, own]),
        false => Function::new("loss", "x0", &[wide, own]),
    }
}

pub(super) fn cross_entropy_backward(
    kernels: &Kernels,
    op: &CrossEntropyBackward,
    inputs: &[&AnyTensor],
    dx: &AnyTensor,
) -> Result<()> {
    let [logits, targets, log_sum, total, dy] = [0, 1, 2, 3, 4].map(|i| inputs[i]);
    if dx.num_elements() == 0 {
        return Ok(());
    }
    let dtype = logits.dtype();
    let weight = inputs.get(5).copied();
    let mut params = parameters(kernels, &op.loss, logits, targets, weight);
    params.dy = Operand::of(dy);
    if op.loss.reduction != Reduction::None {
        // One gradient for all rows is one that repeats.
        params.dy.strides = [0; MAX_RANK];
    }
    params.log_sum = Operand::of(log_sum);
    params.total = if op.loss.reduction == Reduction::Mean { address(total) } else { 0 };
    params.output = address(dx);
    let strides = strides_of(dx.layout());
    params.output_stride = strides[1];
    params.output_strides = without_classes(strides);
    let short = params.classes as usize <= SHORT;
    launch(kernels, &program(dtype, op.loss.log_probs, true, short), &params, short)
}

/// The strides of the axes of the targets: all but the second of the logits.
fn without_classes(strides: [i64; MAX_RANK]) -> [i64; MAX_RANK] {
    let mut kept = [0; MAX_RANK];
    kept[0] = strides[0];
    kept[1..MAX_RANK - 1].copy_from_slice(&strides[2..]);
    kept
}

/// What forward and backward have in common.
fn parameters(
    kernels: &Kernels,
    op: &CrossEntropy,
    logits: &AnyTensor,
    targets: &AnyTensor,
    weight: Option<&AnyTensor>,
) -> Parameters {
    let strides = strides_of(logits.layout());
    let (weight, weight_stride) = vector(weight);
    let (fault, operation) = kernels.fault();
    Parameters {
        rows: targets.num_elements() as i64,
        classes: logits.shape()[1] as i64,
        dims: axes_of(targets.layout()).0,
        logits: Operand::new(logits, without_classes(strides)),
        targets: Operand::of(targets),
        dy: Operand::NONE,
        log_sum: Operand::NONE,
        output_strides: [0; MAX_RANK],
        logits_stride: strides[1],
        output_stride: 0,
        weight_stride,
        weight,
        output: 0,
        log_sum_out: 0,
        weights: 0,
        total: 0,
        smoothing: op.label_smoothing,
        ignored: op.ignore_index.unwrap_or(0),
        fault,
        operation,
        rank: targets.rank() as i32,
        index_type: code_of(targets.dtype()),
        has_ignored: op.ignore_index.is_some() as i32,
    }
}

pub(super) fn programs() -> Vec<Program> {
    let mut all = Vec::new();
    for dtype in FLOATS {
        for log_probs in [true, false] {
            for short in [true, false] {
                all.extend([true, false].map(|back| program(dtype, log_probs, back, short)));
            }
        }
        let functions = [true, false].map(|mean| finish(mean, dtype));
        all.extend(
            functions
                .iter()
                .flat_map(|function| [true, false].map(|dense| function.program(dense, false))),
        );
    }
    all
}
