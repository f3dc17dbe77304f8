//! Elements picked and put by index, with the gradients of both.

use kiln_tensor::op::{
    Gather, GatherBackward, IndexingUpdateOp, RavelIndex, Scatter, Select, SelectBackward,
};
use kiln_tensor::{AnyTensor, DType, MAX_RANK, Result};

use super::copy::axes_of;
use super::elementwise::{c_type, fill_words, raw_type};
use super::{parts, twice};
use crate::backend::Kernels;
use crate::geometry::{index_type, needs_wide_index, threads_for};
use crate::params::{Operand, Params, address};
use crate::program::{CHAIN, CHAIN_SUM, GATHER, Program, RAVEL, SCATTER};

/// How a kernel reads an integer type: its size, negative if signed.
pub(super) fn code_of(dtype: DType) -> i32 {
    let size = dtype.size() as i32;
    if dtype.is_unsigned() { size } else { -size }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct GatherParameters {
    count: i64,
    dims: [i64; MAX_RANK],
    input: Operand,
    indices: Operand,
    output: u64,
    axis_stride: i64,
    limit: i64,
    fault: u64,
    operation: u32,
    rank: i32,
    index_type: i32,
    padding: i32,
}

// SAFETY: the fields are integers of eight bytes and four of four: there are no gaps.
unsafe impl Params for GatherParameters {}

fn gather_program(raw: &'static str, wide: bool) -> Program {
    let index = index_type(wide);
    let definitions = [("INDEX", index.into()), ("T", raw.into())];
    Program::new(&GATHER, format!("gather_{raw}_{index}"), definitions)
}

pub(super) fn select(
    kernels: &Kernels,
    op: &Select,
    [x, indices]: [&AnyTensor; 2],
    y: &AnyTensor,
) -> Result<()> {
    let mut places = Operand::of(indices);
    let along = std::mem::replace(&mut places.strides[0], 0);
    places.strides[op.axis] = along;
    pick(kernels, op.axis, x, (places, indices.dtype()), y)
}

pub(super) fn gather(
    kernels: &Kernels,
    op: &Gather,
    [x, indices]: [&AnyTensor; 2],
    y: &AnyTensor,
) -> Result<()> {
    pick(kernels, op.axis, x, (Operand::of(indices), indices.dtype()), y)
}

fn pick(
    kernels: &Kernels,
    axis: usize,
    x: &AnyTensor,
    (indices, dtype): (Operand, DType),
    y: &AnyTensor,
) -> Result<()> {
    let count = y.num_elements();
    if count == 0 {
        return Ok(());
    }
    let mut input = Operand::of(x);
    let axis_stride = std::mem::replace(&mut input.strides[axis], 0);
    let (fault, operation) = kernels.fault();
    let params = GatherParameters {
        count: count as i64,
        dims: axes_of(y.layout()).0,
        input,
        indices,
        output: address(y),
        axis_stride,
        limit: x.shape()[axis] as i64,
        fault,
        operation,
        rank: y.rank() as i32,
        index_type: code_of(dtype),
        padding: 0,
    };
    let program = gather_program(raw_type(y.dtype()), needs_wide_index(count));
    // SAFETY: the parameters are those of the family; the kernel checks each index.
    unsafe { kernels.launch(&program, threads_for(count), &params) }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct ScatterParameters {
    count: i64,
    dims: [i64; MAX_RANK],
    bounds: [i64; MAX_RANK],
    start: Operand,
    indices: Operand,
    values: Operand,
    output: u64,
    axis: i64,
    entries: i64,
    index_stride: i64,
    value_stride: i64,
    limit: i64,
    fault: u64,
    operation: u32,
    rank: i32,
    index_type: i32,
    has_start: i32,
}

// SAFETY: the fields are integers of eight bytes and four of four: there are no gaps.
unsafe impl Params for ScatterParameters {}

fn scatter_program(update: IndexingUpdateOp, c_type: &'static str, wide: bool) -> Program {
    let (name, combine) = match update {
        IndexingUpdateOp::Assign => ("assign", "now"),
        IndexingUpdateOp::Add => ("add", "fn::add(old, now)"),
        IndexingUpdateOp::Mul => ("mul", "fn::mul(old, now)"),
        IndexingUpdateOp::Min => ("min", "fn::minimum(old, now)"),
        IndexingUpdateOp::Max => ("max", "fn::maximum(old, now)"),
    };
    let index = index_type(wide);
    let definitions = [("INDEX", index.into()), ("T", c_type.into()), ("COMBINE", combine.into())];
    Program::new(&SCATTER, format!("scatter_{name}_{c_type}_{index}"), definitions)
}

fn put(
    kernels: &Kernels,
    (axis, update): (usize, IndexingUpdateOp),
    start: Option<&AnyTensor>,
    [indices, values]: [&AnyTensor; 2],
    y: &AnyTensor,
) -> Result<()> {
    let count = y.num_elements();
    if count == 0 {
        return Ok(());
    }
    let moves = update == IndexingUpdateOp::Assign;
    if y.dtype().is_complex() && update == IndexingUpdateOp::Add {
        let start = start.map(parts).transpose()?;
        let (indices, values, y) = (twice(indices)?, parts(values)?, parts(y)?);
        return put(kernels, (axis, update), start.as_ref(), [&indices, &values], &y);
    }
    if y.dtype().is_complex() && !moves {
        return Err(kernels.missing(y.dtype()));
    }
    let (mut places, mut new) = (Operand::of(indices), Operand::of(values));
    let (fault, operation) = kernels.fault();
    let params = ScatterParameters {
        count: count as i64,
        dims: axes_of(y.layout()).0,
        bounds: axes_of(indices.layout()).0,
        start: start.map_or(Operand::NONE, Operand::of),
        index_stride: std::mem::replace(&mut places.strides[axis], 0),
        value_stride: std::mem::replace(&mut new.strides[axis], 0),
        indices: places,
        values: new,
        output: address(y),
        axis: axis as i64,
        entries: indices.shape()[axis] as i64,
        limit: y.shape()[axis] as i64,
        fault,
        operation,
        rank: y.rank() as i32,
        index_type: code_of(indices.dtype()),
        has_start: start.is_some() as i32,
    };
    let c_type = if moves { raw_type(y.dtype()) } else { c_type(y.dtype()) };
    let program = scatter_program(update, c_type, needs_wide_index(count));
    // SAFETY: the parameters are those of the family; indices and values stay inside of their
    // bounds, and each thread writes its own output.
    unsafe { kernels.launch(&program, threads_for(count), &params) }
}

pub(super) fn scatter(
    kernels: &Kernels,
    op: &Scatter,
    [x, indices, values]: [&AnyTensor; 3],
    y: &AnyTensor,
) -> Result<()> {
    put(kernels, (op.axis, op.update), Some(x), [indices, values], y)
}

pub(super) fn gather_backward(
    kernels: &Kernels,
    op: &GatherBackward,
    [dy, indices]: [&AnyTensor; 2],
    y: &AnyTensor,
) -> Result<()> {
    put(kernels, (op.axis, IndexingUpdateOp::Add), None, [indices, dy], y)
}

#[derive(Clone, Copy)]
#[repr(C)]
struct ChainParameters {
    entries: i64,
    stride: i64,
    limit: i64,
    indices: u64,
    last: u64,
    previous: u64,
    fault: u64,
    operation: u32,
    index_type: i32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct ChainSumParameters {
    count: i64,
    dims: [i64; MAX_RANK],
    gradient: Operand,
    output: u64,
    last: u64,
    previous: u64,
    axis: i64,
    axis_stride: i64,
    rank: i64,
}

// SAFETY: the fields are integers of eight bytes and a last pair of four: there are no gaps.
unsafe impl Params for ChainParameters {}
// SAFETY: the fields are integers of eight bytes.
unsafe impl Params for ChainSumParameters {}

fn chain_program() -> Program {
    Program::new(&CHAIN, "chain".into(), [])
}

fn chain_sum_program(dtype: DType, wide: bool) -> Program {
    let index = index_type(wide);
    let definitions = [("INDEX", index.into()), ("T", c_type(dtype).into())];
    Program::new(&CHAIN_SUM, format!("chain_sum_{dtype}_{index}"), definitions)
}

pub(super) fn select_backward(
    kernels: &Kernels,
    op: &SelectBackward,
    [dy, indices]: [&AnyTensor; 2],
    y: &AnyTensor,
) -> Result<()> {
    if y.dtype().is_complex() {
        return select_backward(kernels, op, [&parts(dy)?, indices], &parts(y)?);
    }
    let (count, entries) = (y.num_elements(), indices.num_elements());
    if count == 0 {
        return Ok(());
    }
    let last = kernels.workspace(8 * op.extent)?;
    let previous = kernels.workspace(8 * entries.max(1))?;
    fill_words(kernels, last.address(), op.extent, -1)?;
    let (fault, operation) = kernels.fault();
    if entries > 0 {
        let params = ChainParameters {
            entries: entries as i64,
            stride: indices.layout().strides()[0] as i64,
            limit: op.extent as i64,
            indices: address(indices),
            last: last.address(),
            previous: previous.address(),
            fault,
            operation,
            index_type: code_of(indices.dtype()),
        };
        // SAFETY: the parameters are those of the family; the kernel checks each index, and the
        // workspaces have an entry for each.
        unsafe { kernels.launch(&chain_program(), threads_for(entries), &params)? };
    }
    let mut gradient = Operand::of(dy);
    let params = ChainSumParameters {
        count: count as i64,
        dims: axes_of(y.layout()).0,
        axis_stride: std::mem::replace(&mut gradient.strides[op.axis], 0),
        gradient,
        output: address(y),
        last: last.address(),
        previous: previous.address(),
        axis: op.axis as i64,
        rank: y.rank() as i64,
    };
    let program = chain_sum_program(y.dtype(), needs_wide_index(count));
    // SAFETY: the parameters are those of the family; chains name entries of `dy`.
    unsafe { kernels.launch(&program, threads_for(count), &params) }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct RavelParameters {
    count: i64,
    dims: [i64; MAX_RANK],
    sizes: [i64; MAX_RANK],
    indices: Operand,
    output: u64,
    last_stride: i64,
    fault: u64,
    operation: u32,
    rank: i32,
    axes: i32,
    index_type: i32,
}

// SAFETY: the fields are integers of eight bytes and four of four: there are no gaps.
unsafe impl Params for RavelParameters {}

fn ravel_program() -> Program {
    Program::new(&RAVEL, "ravel".into(), [])
}

pub(super) fn ravel_index(
    kernels: &Kernels,
    op: &RavelIndex,
    x: &AnyTensor,
    y: &AnyTensor,
) -> Result<()> {
    let count = y.num_elements();
    if count == 0 {
        return Ok(());
    }
    let mut indices = Operand::of(x);
    let mut sizes = [1; MAX_RANK];
    sizes.iter_mut().zip(op.shape.iter()).for_each(|(to, &from)| *to = from as i64);
    let (fault, operation) = kernels.fault();
    let params = RavelParameters {
        count: count as i64,
        dims: axes_of(y.layout()).0,
        sizes,
        last_stride: std::mem::replace(&mut indices.strides[y.rank()], 0),
        indices,
        output: address(y),
        fault,
        operation,
        rank: y.rank() as i32,
        axes: op.shape.rank() as i32,
        index_type: code_of(x.dtype()),
    };
    // SAFETY: the parameters are those of the family, and the walk stays inside of the indices.
    unsafe { kernels.launch(&ravel_program(), threads_for(count), &params) }
}

pub(super) fn programs() -> Vec<Program> {
    let mut all = vec![chain_program(), ravel_program()];
    for raw in ["u8", "u16", "u32", "u64", "w16"] {
        all.push(gather_program(raw, false));
        all.push(scatter_program(IndexingUpdateOp::Assign, raw, false));
    }
    for dtype in DType::ALL.into_iter().filter(|dtype| !dtype.is_complex()) {
        let updates = IndexingUpdateOp::ALL.into_iter().filter(|&u| u != IndexingUpdateOp::Assign);
        all.extend(updates.map(|update| scatter_program(update, c_type(dtype), false)));
        all.push(chain_sum_program(dtype, false));
    }
    all.push(gather_program("u32", true));
    all.push(scatter_program(IndexingUpdateOp::Add, "f32", true));
    all.push(chain_sum_program(DType::F32, true));
    all
}
