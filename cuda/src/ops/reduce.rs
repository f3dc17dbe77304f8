//! Reductions over axes, and the places of extrema.

use kiln_tensor::op::{ArgReduce, Reduce, ReduceKind};
use kiln_tensor::{AnyTensor, DType, MAX_RANK, Result};

use super::elementwise::{COMPLEX, c_type, number_type, size_of_type};
use crate::backend::Kernels;
use crate::geometry::{Walk, blocks_for, index_type, needs_wide_index};
use crate::params::{Operand, Params, address};
use crate::program::{ARG_REDUCE, Program, REDUCE, REDUCE_COMPLEX};

#[derive(Clone, Copy)]
#[repr(C)]
struct Parameters {
    outputs: i64,
    extent: i64,
    parts: i64,
    total: i64,
    kept_dims: [i64; MAX_RANK],
    reduced_dims: [i64; MAX_RANK],
    kept_strides: [i64; MAX_RANK],
    reduced_strides: [i64; MAX_RANK],
    input: u64,
    output: u64,
    kept_rank: i32,
    reduced_rank: i32,
}

// SAFETY: the fields are integers of eight bytes and a last pair of four: there are no gaps.
unsafe impl Params for Parameters {}

/// How a reduction is divided: threads to a part, parts to an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    block: bool,
    parts: usize,
}

impl Plan {
    /// By a block of threads where the reduced elements lie side by side and there are enough of
    /// them; else by single threads, of which none adds up more than 256 numbers in a row.
    pub fn new(outputs: usize, extent: usize, side_by_side: bool) -> Self {
        let block = extent > 32 && (side_by_side || outputs < 32);
        let parts = if !block {
            extent.div_ceil(256)
        } else if outputs < 256 && extent > 8192 {
            extent.div_ceil(4096).min(1024)
        } else {
            1
        };
        Self { block, parts: parts.max(1) }
    }
}

fn program(kind: ReduceKind, from: &str, to: &str, block: bool, wide: bool) -> Program {
    use ReduceKind::*;
    let (name, combine, identity, finish) = match kind {
        Sum => ("sum", "fn::add(a, b)", "0", "value"),
        Mean => ("mean", "fn::add(a, b)", "0", "fn::div(value, total)"),
        Prod => ("prod", "fn::mul(a, b)", "1", "value"),
        Max => ("max", "fn::maximum(a, b)", "Limits<W>::low()", "value"),
        Min => ("min", "fn::minimum(a, b)", "Limits<W>::high()", "value"),
        Any => ("any", "a | b", "0", "value"),
        All => ("all", "a & b", "1", "value"),
    };
    // Neither 0 nor 1 is a complex number by itself.
    let (family, identity) = match (to, identity) {
        ("c64" | "c128", "0") => (&REDUCE_COMPLEX, "W{0, 0}"),
        ("c64" | "c128", _) => (&REDUCE_COMPLEX, "W{1, 0}"),
        _ => (&REDUCE, identity),
    };
    let index = index_type(wide);
    let name = format!("{name}_{from}_{to}_{}_{index}", if block { "block" } else { "thread" });
    let definitions = [
        ("INDEX", index.to_string()),
        ("GROUP", if block { "256" } else { "1" }.to_string()),
        ("X", from.to_string()),
        ("Y", to.to_string()),
        ("COMBINE", combine.to_string()),
        ("IDENTITY", identity.to_string()),
        ("FINISH", finish.to_string()),
    ];
    Program::new(family, name, definitions)
}

/// The type in which a dtype is added up.
pub(super) fn wide_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F64 => "f64",
        dtype if dtype.is_float() => "f32",
        dtype if dtype.is_complex() => "c128",
        DType::U64 => "u64",
        _ => "i64",
    }
}

pub(super) fn reduce(kernels: &Kernels, op: &Reduce, x: &AnyTensor, y: &AnyTensor) -> Result<()> {
    let (outputs, shape) = (y.num_elements(), x.shape());
    if outputs == 0 {
        return Ok(());
    }
    let axes = |reduced: bool| (0..shape.rank()).filter(move |&a| op.axes.contains(a) == reduced);
    let kept = Walk::over(&shape, [x.layout()], axes(false));
    let reduced = Walk::over(&shape, [x.layout()], axes(true));
    let extent: usize = axes(true).map(|axis| shape[axis]).product();
    let innermost =
        |walk: &Walk<1>| walk.rank.checked_sub(1).map(|axis| walk.strides[0][axis].abs());
    let side_by_side = innermost(&reduced) == Some(1) || innermost(&kept) != Some(1);
    let plan = Plan::new(outputs, extent, side_by_side);
    let params = Parameters {
        outputs: outputs as i64,
        extent: extent as i64,
        parts: plan.parts as i64,
        // Integers can not be divided by zero.
        total: if y.dtype().is_int() { extent.max(1) } else { extent } as i64,
        kept_dims: kept.dims,
        reduced_dims: reduced.dims,
        kept_strides: kept.strides[0],
        reduced_strides: reduced.strides[0],
        input: address(x),
        output: address(y),
        kept_rank: kept.rank as i32,
        reduced_rank: reduced.rank as i32,
    };
    run(
        kernels,
        op.kind,
        [number_type(x.dtype()), wide_type(x.dtype()), number_type(y.dtype())],
        plan,
        params,
    )
}

/// Sums columns of a matrix `[parts, outputs]` that lies without gaps. The types are of what is summed,
/// of what is computed in, and of the sums.
pub(super) fn sum_rows(
    kernels: &Kernels,
    types: [&'static str; 3],
    [parts, outputs]: [usize; 2],
    input: u64,
    output: u64,
) -> Result<()> {
    let line = |first: i64| {
        let mut line = [0; MAX_RANK];
        line[0] = first;
        line
    };
    let plan = Plan::new(outputs, parts, false);
    let params = Parameters {
        outputs: outputs as i64,
        extent: parts as i64,
        parts: plan.parts as i64,
        total: parts as i64,
        kept_dims: line(outputs as i64),
        reduced_dims: line(parts as i64),
        kept_strides: line(1),
        reduced_strides: line(outputs as i64),
        input,
        output,
        kept_rank: 1,
        reduced_rank: 1,
    };
    run(kernels, ReduceKind::Sum, types, plan, params)
}

/// Reduces `count` numbers of a wide type that lie without gaps to one.
pub(super) fn reduce_memory(
    kernels: &Kernels,
    kind: ReduceKind,
    c_type: &'static str,
    count: usize,
    input: u64,
    output: u64,
) -> Result<()> {
    let plan = Plan::new(1, count, true);
    let (mut dims, mut strides) = ([0; MAX_RANK], [0; MAX_RANK]);
    (dims[0], strides[0]) = (count as i64, 1);
    let params = Parameters {
        outputs: 1,
        extent: count as i64,
        parts: plan.parts as i64,
        total: count as i64,
        kept_dims: [0; MAX_RANK],
        reduced_dims: dims,
        kept_strides: [0; MAX_RANK],
        reduced_strides: strides,
        input,
        output,
        kept_rank: 0,
        reduced_rank: 1,
    };
    run(kernels, kind, [c_type; 3], plan, params)
}

fn run(
    kernels: &Kernels,
    kind: ReduceKind,
    [from, wide, to]: [&'static str; 3],
    plan: Plan,
    params: Parameters,
) -> Result<()> {
    let launch = |plan: Plan, from: &str, params: &Parameters| {
        let pieces = (params.outputs * params.parts) as usize;
        let wide_index = needs_wide_index(params.extent.max(params.outputs) as usize);
        let program = program(kind, from, to, plan.block, wide_index);
        let grid = blocks_for(if plan.block { pieces } else { pieces.div_ceil(256) });
        // SAFETY: the parameters are those of the family; the walks stay inside of the input, and
        // the output has room for each piece.
        unsafe { kernels.launch(&program, grid, params) }
    };
    if plan.parts == 1 {
        return launch(plan, from, &params);
    }
    // Numbers of the wide type: [outputs, parts].
    let partial =
        kernels.workspace(size_of_type(wide) * (params.outputs * params.parts) as usize)?;
    launch(plan, from, &Parameters { output: partial.address(), ..params })?;
    let mut last = Parameters {
        extent: params.parts,
        parts: 1,
        kept_rank: 1,
        reduced_rank: 1,
        input: partial.address(),
        ..params
    };
    (last.kept_dims[0], last.kept_strides[0]) = (params.outputs, params.parts);
    (last.reduced_dims[0], last.reduced_strides[0]) = (params.parts, 1);
    launch(Plan { block: params.parts > 32, parts: 1 }, wide, &last)
}

#[derive(Clone, Copy)]
#[repr(C)]
struct ArgParameters {
    outputs: i64,
    extent: i64,
    stride: i64,
    dims: [i64; MAX_RANK],
    input: Operand,
    output: u64,
    rank: i64,
}

// SAFETY: the fields are integers of eight bytes.
unsafe impl Params for ArgParameters {}

fn arg_program(max: bool, dtype: DType) -> Program {
    let name = format!("{}_{dtype}", if max { "argmax" } else { "argmin" });
    let definitions = [("X", c_type(dtype).to_string()), ("MAX", (max as u8).to_string())];
    Program::new(&ARG_REDUCE, name, definitions)
}

pub(super) fn arg_reduce(
    kernels: &Kernels,
    op: &ArgReduce,
    x: &AnyTensor,
    y: &AnyTensor,
) -> Result<()> {
    let (outputs, shape) = (y.num_elements(), x.shape());
    if outputs == 0 {
        return Ok(());
    }
    let kept = (0..shape.rank()).filter(|&axis| axis != op.axis);
    let walk = Walk::over(&shape, [x.layout()], kept);
    let params = ArgParameters {
        outputs: outputs as i64,
        extent: shape[op.axis] as i64,
        stride: x.layout().strides()[op.axis] as i64,
        dims: walk.dims,
        input: Operand::new(x, walk.strides[0]),
        output: address(y),
        rank: walk.rank as i64,
    };
    // SAFETY: the parameters are those of the family, and the walk stays inside of the input.
    unsafe { kernels.launch(&arg_program(op.max, x.dtype()), blocks_for(outputs), &params) }
}

pub(super) fn programs() -> Vec<Program> {
    let mut all = Vec::new();
    for dtype in COMPLEX {
        let to = number_type(dtype);
        for kind in [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Prod] {
            for (from, block) in [(to, true), (to, false), ("c128", true), ("c128", false)] {
                all.push(program(kind, from, to, block, false));
            }
        }
    }
    for dtype in DType::ALL.into_iter().filter(|dtype| !dtype.is_complex()) {
        for kind in ReduceKind::ALL {
            let logical = matches!(kind, ReduceKind::Any | ReduceKind::All);
            if logical == (dtype == DType::Bool) {
                for block in [true, false] {
                    all.push(program(kind, c_type(dtype), c_type(dtype), block, false));
                    all.push(program(kind, wide_type(dtype), c_type(dtype), block, false));
                }
            }
        }
        if dtype != DType::Bool {
            all.extend([true, false].map(|max| arg_program(max, dtype)));
        }
    }
    all.push(program(ReduceKind::Sum, "f32", "f32", true, true));
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_thread_adds_up_a_long_row(outputs in 1usize..1 << 24, extent in 0usize..1 << 31,
            side_by_side in any::<bool>()) {
            let Plan { block, parts } = Plan::new(outputs, extent, side_by_side);
            prop_assert!(parts >= 1);
            let each = extent.div_ceil(parts).div_ceil(if block { 256 } else { 1 });
            prop_assert!(block || each <= 256);
            // A few huge sums keep more than a few multiprocessors busy.
            prop_assert!(extent < 1 << 20 || outputs * parts >= 256);
        }
    }
}
