//! Matrix products with bias and activation.

use kiln_tensor::op::{Activation, MatMul};
use kiln_tensor::{AnyTensor, DType, MAX_RANK, Result, Shape};

use super::elementwise::c_type;
use super::pointwise::activation_name;
use crate::backend::Kernels;
use crate::geometry::{Walk, blocks_for};
use crate::params::{Operand, Params, address};
use crate::program::{Family, MATMUL, MATMUL_MMA, Program};
use crate::runtime::Launch;

/// Rows and columns of a tile of either kernel.
const TILE: usize = 64;

#[derive(Clone, Copy)]
#[repr(C)]
struct Parameters {
    m: i64,
    n: i64,
    k: i64,
    batch: i64,
    batch_dims: [i64; MAX_RANK],
    a: Operand,
    b: Operand,
    a_row: i64,
    a_column: i64,
    b_row: i64,
    b_column: i64,
    bias_stride: i64,
    bias: u64,
    output: u64,
    batch_rank: i64,
}

// SAFETY: the fields are integers of eight bytes.
unsafe impl Params for Parameters {}

/// Which kernel multiplies: tensor cores for halves, where they take 16 x 16 of both types.
fn family(dtype: DType, capability: (u32, u32)) -> &'static Family {
    match dtype {
        DType::F16 | DType::BF16 if capability >= (8, 0) => &MATMUL_MMA,
        _ => &MATMUL,
    }
}

fn program(family: &'static Family, dtype: DType, activation: Option<Activation>) -> Program {
    let name = activation.map_or("none", activation_name);
    let epilogue = activation.map_or("x".into(), |_| format!("fn::{name}(x)"));
    let name = format!("{}_{dtype}_{name}", family.name);
    Program::new(family, name, [("T", c_type(dtype).to_string()), ("EPILOGUE", epilogue)])
}

pub(super) fn matmul(
    kernels: &Kernels,
    op: &MatMul,
    inputs: &[&AnyTensor],
    y: &AnyTensor,
) -> Result<()> {
    let (a, b) = (inputs[0], inputs[1]);
    if a.dtype().is_complex() {
        return Err(kernels.missing(a.dtype()));
    }
    let shape = y.shape();
    if y.num_elements() == 0 {
        return Ok(());
    }
    let axes = shape.rank() - 2;
    let (m, n, k) = (shape[axes], shape[axes + 1], a.shape()[a.rank() - 1]);
    let batch = Shape::new(&shape[..axes]);
    // Both over the batch of the result, with the axes of the matrix as they are.
    let over = |x: &AnyTensor| {
        let mut dims: Vec<usize> = batch.to_vec();
        dims.extend(&x.shape()[x.rank() - 2..]);
        x.layout().expand(&Shape::new(dims)).expect("the shape rule broadcasts")
    };
    let (left, right) = (over(a), over(b));
    let walk = Walk::over(&shape, [&left, &right], 0..axes);
    let stride = |layout: &kiln_tensor::Layout, axis: usize| layout.strides()[axis] as i64;
    let bias = op.bias.then(|| inputs[2]);
    let params = Parameters {
        m: m as i64,
        n: n as i64,
        k: k as i64,
        batch: batch.num_elements() as i64,
        batch_dims: walk.dims,
        a: Operand::new(a, walk.strides[0]),
        b: Operand::new(b, walk.strides[1]),
        a_row: stride(&left, axes),
        a_column: stride(&left, axes + 1),
        b_row: stride(&right, axes),
        b_column: stride(&right, axes + 1),
        bias_stride: bias.map_or(0, |bias| stride(bias.layout(), 0)),
        bias: bias.map_or(0, address),
        output: address(y),
        batch_rank: walk.rank as i64,
    };
    let family = family(y.dtype(), kernels.compute_capability());
    let tiles = m.div_ceil(TILE) * n.div_ceil(TILE) * batch.num_elements();
    let launch = Launch {
        threads: if std::ptr::eq(family, &MATMUL_MMA) { 128 } else { 256 },
        ..blocks_for(tiles)
    };
    let program = program(family, y.dtype(), op.activation);
    // SAFETY: the parameters are those of both families; tiles are cut at the ends of the matrices.
    unsafe { kernels.launch(&program, launch, &params) }
}

pub(super) fn programs() -> Vec<Program> {
    let floats = [DType::F16, DType::BF16, DType::F32, DType::F64];
    let activations = || std::iter::once(None).chain(Activation::ALL.map(Some));
    let mut all = Vec::new();
    for dtype in floats {
        all.extend(activations().map(|activation| program(&MATMUL, dtype, activation)));
    }
    for dtype in [DType::F16, DType::BF16] {
        all.extend(activations().map(|activation| program(&MATMUL_MMA, dtype, activation)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensor_cores_take_halves_from_ampere_on() {
        for (dtype, capability, mma) in [
            (DType::F16, (7, 5), false),
            (DType::F16, (8, 0), true),
            (DType::BF16, (9, 0), true),
            (DType::F32, (9, 0), false),
            (DType::F64, (8, 6), false),
        ] {
            assert_eq!(*family(dtype, capability) == MATMUL_MMA, mma, "{dtype} {capability:?}");
        }
    }
}
