//! Operations along one axis, row by row: softmax and layer normalisation with their gradients.

use kiln_tensor::op::{LayerNorm, LayerNormBackward};
use kiln_tensor::{AnyTensor, DType, MAX_RANK, Result};

use super::elementwise::{FLOATS, c_type};
use super::reduce::{sum_rows, wide_type};
use crate::backend::Kernels;
use crate::geometry::{Walk, blocks_for, threads_for};
use crate::params::{Operand, Params, address};
use crate::program::{Family, LAYER_NORM, LAYER_NORM_AFFINE, Program, SOFTMAX};

/// Rows up to this length are done by one warp each.
pub(super) const SHORT: usize = 1024;

/// The axes beside one of several tensors of one shape, and their strides along that one.
pub(super) struct Rows<const N: usize> {
    pub count: usize,
    pub n: usize,
    pub walk: Walk<N>,
    pub along: [i64; N],
}

impl<const N: usize> Rows<N> {
    pub fn new(axis: usize, tensors: [&AnyTensor; N]) -> Self {
        let shape = tensors[0].shape();
        let others = (0..shape.rank()).filter(|&other| other != axis);
        let n = shape[axis];
        Self {
            count: others.clone().map(|axis| shape[axis]).product(),
            n,
            walk: Walk::over(&shape, tensors.map(|x| x.layout()), others),
            along: tensors.map(|x| x.layout().strides()[axis] as i64),
        }
    }

    /// Tensor `i` as an operand.
    pub fn operand(&self, i: usize, x: &AnyTensor) -> Operand {
        Operand::new(x, self.walk.strides[i])
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct SoftmaxParameters {
    rows: i64,
    n: i64,
    dims: [i64; MAX_RANK],
    first: Operand,
    second: Operand,
    output_strides: [i64; MAX_RANK],
    output: u64,
    first_stride: i64,
    second_stride: i64,
    output_stride: i64,
    rank: i64,
}

// SAFETY: the fields are integers of eight bytes.
unsafe impl Params for SoftmaxParameters {}

/// The definitions of a family whose rows are done by a warp or by a block.
pub(super) fn grouped(
    family: &'static Family,
    dtype: DType,
    kind: &str,
    short: bool,
    flags: &[(&'static str, bool)],
) -> Program {
    let group = if short { "32" } else { "256" };
    let name = format!("{}_{kind}_{dtype}_{group}", family.name);
    let flags = flags.iter().map(|&(name, set)| (name, (set as u8).to_string()));
    let definitions = [("T", c_type(dtype).to_string()), ("GROUP", group.to_string())];
    Program::new(family, name, definitions.into_iter().chain(flags))
}

fn softmax_program(dtype: DType, log: bool, backward: bool, short: bool) -> Program {
    let kind = match (log, backward) {
        (false, false) => "plain",
        (true, false) => "log",
        (false, true) => "plain_backward",
        (true, true) => "log_backward",
    };
    grouped(&SOFTMAX, dtype, kind, short, &[("LOG", log), ("BACKWARD", backward)])
}

/// Softmax of `x`, or with `dy` the gradient of the softmax whose output is `x`.
pub(super) fn softmax(
    kernels: &Kernels,
    (axis, log): (usize, bool),
    x: &AnyTensor,
    dy: Option<&AnyTensor>,
    y: &AnyTensor,
) -> Result<()> {
    if y.num_elements() == 0 {
        return Ok(());
    }
    let rows = Rows::new(axis, [x, dy.unwrap_or(x), y]);
    let params = SoftmaxParameters {
        rows: rows.count as i64,
        n: rows.n as i64,
        dims: rows.walk.dims,
        first: rows.operand(0, x),
        second: rows.operand(1, dy.unwrap_or(x)),
        output_strides: rows.walk.strides[2],
        output: address(y),
        first_stride: rows.along[0],
        second_stride: rows.along[1],
        output_stride: rows.along[2],
        rank: rows.walk.rank as i64,
    };
    let short = rows.n <= SHORT;
    let program = softmax_program(y.dtype(), log, dy.is_some(), short);
    let launch = blocks_for(if short { rows.count.div_ceil(8) } else { rows.count });
    // SAFETY: the parameters are those of the family; the walk stays inside of all tensors.
    unsafe { kernels.launch(&program, launch, &params) }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct NormParameters {
    rows: i64,
    n: i64,
    dims: [i64; MAX_RANK],
    x: Operand,
    dy: Operand,
    mean: Operand,
    rstd: Operand,
    x_stride: i64,
    dy_stride: i64,
    weight_stride: i64,
    bias_stride: i64,
    weight: u64,
    bias: u64,
    output: u64,
    mean_out: u64,
    rstd_out: u64,
    epsilon: f64,
    rank: i64,
}

// SAFETY: the fields are numbers of eight bytes.
unsafe impl Params for NormParameters {}

fn norm_program(dtype: DType, backward: bool, short: bool) -> Program {
    let kind = if backward { "backward" } else { "forward" };
    grouped(&LAYER_NORM, dtype, kind, short, &[("BACKWARD", backward)])
}

/// A vector beside the rows: its address and stride, or zeros.
pub(super) fn vector(x: Option<&AnyTensor>) -> (u64, i64) {
    x.map_or((0, 0), |x| (address(x), x.layout().strides()[0] as i64))
}

pub(super) fn layer_norm(
    kernels: &Kernels,
    op: &LayerNorm,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
) -> Result<()> {
    let x = inputs[0];
    let rows = Rows::new(x.rank() - 1, [x]);
    if rows.count == 0 {
        return Ok(());
    }
    let (weight, weight_stride) = vector(inputs.get(1).copied());
    let (bias, bias_stride) = vector(inputs.get(2).copied());
    let params = NormParameters {
        rows: rows.count as i64,
        n: rows.n as i64,
        dims: rows.walk.dims,
        x: rows.operand(0, x),
        dy: Operand::NONE,
        mean: Operand::NONE,
        rstd: Operand::NONE,
        x_stride: rows.along[0],
        dy_stride: 0,
        weight_stride,
        bias_stride,
        weight,
        bias,
        output: address(&outputs[0]),
        mean_out: address(&outputs[1]),
        rstd_out: address(&outputs[2]),
        epsilon: op.epsilon,
        rank: rows.walk.rank as i64,
    };
    launch_norm(kernels, x.dtype(), false, &params)
}

fn launch_norm(
    kernels: &Kernels,
    dtype: DType,
    backward: bool,
    params: &NormParameters,
) -> Result<()> {
    let (rows, short) = (params.rows as usize, params.n as usize <= SHORT);
    let launch = blocks_for(if short { rows.div_ceil(8) } else { rows });
    // SAFETY: the parameters are those of the family; the walk stays inside of all tensors, and
    // the output has a row for each.
    unsafe { kernels.launch(&norm_program(dtype, backward, short), launch, params) }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct AffineParameters {
    rows: i64,
    n: i64,
    run: i64,
    runs: i64,
    dims: [i64; MAX_RANK],
    x: Operand,
    dy: Operand,
    mean: Operand,
    rstd: Operand,
    x_stride: i64,
    dy_stride: i64,
    weight_sums: u64,
    bias_sums: u64,
    rank: i64,
}

// SAFETY: the fields are integers of eight bytes.
unsafe impl Params for AffineParameters {}

fn affine_program(dtype: DType) -> Program {
    let name = format!("layer_norm_affine_{dtype}");
    Program::new(&LAYER_NORM_AFFINE, name, [("T", c_type(dtype).to_string())])
}

/// Rows that one thread sums.
const RUN: usize = 64;

pub(super) fn layer_norm_backward(
    kernels: &Kernels,
    op: &LayerNormBackward,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
) -> Result<()> {
    let (x, dy, last) = (inputs[0], inputs[3], inputs[0].rank() - 1);
    // The statistics as if they repeated along the row, so that all have one shape.
    let over = |i: usize| inputs[i].layout().expand(&x.shape()).expect("one entry for each row");
    let (mean, rstd) = (over(1), over(2));
    let layouts = [x.layout(), dy.layout(), &mean, &rstd];
    let walk = Walk::over(&x.shape(), layouts, 0..last);
    let n = x.shape()[last];
    let rows = x.shape()[..last].iter().product::<usize>();
    let operand = |i: usize, tensor: &AnyTensor| Operand::new(tensor, walk.strides[i]);
    let (weight, weight_stride) = vector(inputs.get(4).copied());
    let params = NormParameters {
        rows: rows as i64,
        n: n as i64,
        dims: walk.dims,
        x: operand(0, x),
        dy: operand(1, dy),
        mean: operand(2, inputs[1]),
        rstd: operand(3, inputs[2]),
        x_stride: x.layout().strides()[last] as i64,
        dy_stride: dy.layout().strides()[last] as i64,
        weight_stride,
        bias_stride: 0,
        weight,
        bias: 0,
        output: address(&outputs[0]),
        mean_out: 0,
        rstd_out: 0,
        epsilon: 0.0,
        rank: walk.rank as i64,
    };
    if rows > 0 {
        launch_norm(kernels, x.dtype(), true, &params)?;
    }
    if !op.affine || n == 0 {
        return Ok(());
    }
    let runs = rows.div_ceil(RUN).max(1);
    let [weights, biases] = [kernels.workspace(8 * runs * n)?, kernels.workspace(8 * runs * n)?];
    let affine = AffineParameters {
        rows: rows as i64,
        n: n as i64,
        run: RUN as i64,
        runs: runs as i64,
        dims: walk.dims,
        x: params.x,
        dy: params.dy,
        mean: params.mean,
        rstd: params.rstd,
        x_stride: params.x_stride,
        dy_stride: params.dy_stride,
        weight_sums: weights.address(),
        bias_sums: biases.address(),
        rank: params.rank,
    };
    // SAFETY: the parameters are those of the family, and the workspaces have an entry for each
    // column of each run.
    unsafe { kernels.launch(&affine_program(x.dtype()), threads_for(runs * n), &affine)? };
    let wide = wide_type(x.dtype());
    let types = [wide, wide, c_type(x.dtype())];
    sum_rows(kernels, types, [runs, n], weights.address(), address(&outputs[1]))?;
    sum_rows(kernels, types, [runs, n], biases.address(), address(&outputs[2]))
}

pub(super) fn programs() -> Vec<Program> {
    let mut all = Vec::new();
    for dtype in FLOATS {
        for short in [true, false] {
            for backward in [true, false] {
                all.extend([true, false].map(|log| softmax_program(dtype, log, backward, short)));
                all.push(norm_program(dtype, backward, short));
            }
        }
        all.push(affine_program(dtype));
    }
    all
}
