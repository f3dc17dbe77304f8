//! Elements moved between places: concatenation, writing to a view, gradients of views.

use kiln_tensor::op::{Assign, Cat, Reduce, ReduceKind, Unview, View};
use kiln_tensor::{AnyTensor, AxisSlice, DType, Layout, MAX_RANK, Result, Scalar};

use super::elementwise::{c_type, raw_type};
use super::{parts, pointwise, reduce};
use crate::backend::{Kernels, Workspace};
use crate::geometry::{Walk, index_type, needs_wide_index, threads_for};
use crate::params::{Operand, Params, address, strides};
use crate::program::{COPY, Program, UNFOLD_BACK};

#[derive(Clone, Copy)]
#[repr(C)]
struct Parameters {
    count: i64,
    dims: [i64; MAX_RANK],
    from: Operand,
    to: Operand,
    rank: i64,
}

// SAFETY: the fields are integers of eight bytes.
unsafe impl Params for Parameters {}

fn program(raw: &'static str, wide: bool) -> Program {
    let name = format!("copy_strided_{raw}_{}", index_type(wide));
    Program::new(&COPY, name, [("INDEX", index_type(wide).into()), ("T", raw.into())])
}

/// Copies `x` to the part of `y` that a layout of the same shape shows.
fn copy_to(kernels: &Kernels, x: &AnyTensor, y: &AnyTensor, part: &Layout) -> Result<()> {
    // SAFETY: the layout is one of `y`.
    unsafe { copy_to_memory(kernels, x, y.buffer().address() as u64, part) }
}

/// Copies `x` to what a layout of the same shape shows of the memory at an address.
///
/// # Safety
/// All of that is reserved, in the dtype of `x`.
unsafe fn copy_to_memory(
    kernels: &Kernels,
    x: &AnyTensor,
    address: u64,
    part: &Layout,
) -> Result<()> {
    let count = x.num_elements();
    if count == 0 {
        return Ok(());
    }
    let walk = Walk::new(part.shape(), [x.layout(), part]);
    let start = address + (part.offset() * x.dtype().size()) as u64;
    let params = Parameters {
        count: count as i64,
        dims: walk.dims,
        from: Operand::new(x, walk.strides[0]),
        to: Operand { data: start, strides: walk.strides[1] },
        rank: walk.rank as i64,
    };
    let program = program(raw_type(x.dtype()), needs_wide_index(count));
    // SAFETY: the parameters are those of the family; the layout of `x` stays inside of it, and the
    // other inside of what the caller promised.
    unsafe { kernels.launch(&program, threads_for(count), &params) }
}

/// The elements of a tensor without gaps in row-major order: its own, or a copy of them.
pub(super) struct Dense<'a> {
    pub address: u64,
    _copy: Option<Workspace<'a>>,
}

/// For kernels that walk through memory in its order.
pub(super) fn dense<'a>(kernels: &'a Kernels, x: &AnyTensor) -> Result<Dense<'a>> {
    if x.layout().is_contiguous() {
        return Ok(Dense { address: address(x), _copy: None });
    }
    let copy = kernels.workspace(x.num_elements() * x.dtype().size())?;
    // SAFETY: the workspace has room for each element.
    unsafe { copy_to_memory(kernels, x, copy.address(), &Layout::contiguous(x.shape()))? };
    Ok(Dense { address: copy.address(), _copy: Some(copy) })
}

pub(super) fn cat(kernels: &Kernels, op: &Cat, inputs: &[&AnyTensor], y: &AnyTensor) -> Result<()> {
    let mut start = 0;
    for x in inputs {
        let len = x.shape()[op.axis];
        let part = y.layout().slice(&[AxisSlice { axis: op.axis, start, len, step: 1 }]);
        copy_to(kernels, x, y, &part)?;
        start += len;
    }
    Ok(())
}

pub(super) fn assign(
    kernels: &Kernels,
    op: &Assign,
    [x, values]: [&AnyTensor; 2],
    y: &AnyTensor,
) -> Result<()> {
    if address(x) != address(y) {
        copy_to(kernels, x, y, y.layout())?;
    }
    copy_to(kernels, values, y, &op.view.layout(y.layout())?)
}

pub(super) fn unview(kernels: &Kernels, op: &Unview, x: &AnyTensor, y: &AnyTensor) -> Result<()> {
    match &*op.view {
        View::Expand(_) => unexpand(kernels, x, y),
        &View::Unfold { axis, size, step } => unfold_back(kernels, [axis, size, step], x, y),
        view => {
            if x.num_elements() < y.num_elements() {
                pointwise::fill(Scalar::Int(0), y.dtype()).run(kernels, &[], y)?;
            }
            copy_to(kernels, x, y, &view.layout(y.layout())?)
        }
    }
}

/// Sums over the axes that were repeated.
fn unexpand(kernels: &Kernels, x: &AnyTensor, y: &AnyTensor) -> Result<()> {
    let (shape, small) = (x.shape(), y.shape());
    let lead = shape.rank() - small.rank();
    let repeated = |&axis: &usize| axis < lead || small[axis - lead] != shape[axis];
    let axes = (0..shape.rank()).filter(repeated).collect();
    if y.dtype() == DType::Bool {
        return Err(kernels.missing("sums of bools"));
    }
    reduce::reduce(kernels, &Reduce { kind: ReduceKind::Sum, axes }, x, y)
}

#[derive(Clone, Copy)]
#[repr(C)]
struct UnfoldParameters {
    count: i64,
    dims: [i64; MAX_RANK],
    windows: Operand,
    output: u64,
    axis: i64,
    size: i64,
    step: i64,
    number: i64,
    window_stride: i64,
    inner_stride: i64,
    rank: i64,
}

// SAFETY: the fields are integers of eight bytes.
unsafe impl Params for UnfoldParameters {}

fn unfold_program(dtype: DType, wide: bool) -> Program {
    let name = format!("unfold_back_{dtype}_{}", index_type(wide));
    let definitions = [("INDEX", index_type(wide).into()), ("T", c_type(dtype).into())];
    Program::new(&UNFOLD_BACK, name, definitions)
}

fn unfold_back(
    kernels: &Kernels,
    [axis, size, step]: [usize; 3],
    x: &AnyTensor,
    y: &AnyTensor,
) -> Result<()> {
    if y.dtype().is_complex() {
        // Windows stay the last axis.
        let mut order: Vec<u8> = (0..=x.rank() as u8).collect();
        order.swap(x.rank() - 1, x.rank());
        let x = parts(x)?.permute(&order);
        return unfold_back(kernels, [axis, size, step], &x, &parts(y)?);
    }
    if y.dtype() == DType::Bool {
        return Err(kernels.missing(y.dtype()));
    }
    let (count, shape, rank) = (y.num_elements(), y.shape(), y.rank());
    if count == 0 {
        return Ok(());
    }
    let mut windows = Operand::of(x);
    let (window_stride, inner_stride) = (windows.strides[axis], windows.strides[rank]);
    windows.strides[axis] = 0;
    let mut dims = [1; MAX_RANK];
    (0..rank).for_each(|axis| dims[axis] = shape[axis] as i64);
    let params = UnfoldParameters {
        count: count as i64,
        dims,
        windows,
        output: address(y),
        axis: axis as i64,
        size: size as i64,
        step: step as i64,
        number: x.shape()[axis] as i64,
        window_stride,
        inner_stride,
        rank: rank as i64,
    };
    let program = unfold_program(y.dtype(), needs_wide_index(count));
    // SAFETY: the parameters are those of the family; windows are inside of `x`.
    unsafe { kernels.launch(&program, threads_for(count), &params) }
}

pub(super) fn programs() -> Vec<Program> {
    let raw = ["u8", "u16", "u32", "u64", "w16"].map(|raw| program(raw, false));
    let numbers =
        DType::ALL.into_iter().filter(|dtype| !dtype.is_complex() && *dtype != DType::Bool);
    let mut all: Vec<Program> = numbers.map(|dtype| unfold_program(dtype, false)).collect();
    all.extend(raw);
    all.push(program("u32", true));
    all.push(unfold_program(DType::F32, true));
    all
}

/// The extents of a shape and the strides of a layout over it, axis by axis.
pub(super) fn axes_of(layout: &Layout) -> ([i64; MAX_RANK], [i64; MAX_RANK]) {
    let mut dims = [1; MAX_RANK];
    dims.iter_mut().zip(layout.shape().iter()).for_each(|(to, &from)| *to = from as i64);
    (dims, strides(layout))
}
