//! Matrix products with bias and activation, or with the sums of a factor.

mod ways;

use std::sync::atomic::{AtomicBool, Ordering};

use kiln_tensor::op::{Activation, MatMul, Reduce, ReduceKind};
use kiln_tensor::{AnyTensor, DType, Layout, MAX_RANK, Result, Shape};

use self::ways::{Way, ways};
use super::elementwise::{COMPLEX, FLOATS, number_type};
use super::pointwise::{self, activation_name};
use super::reduce;
use crate::backend::Kernels;
use crate::gemm::{Addresses, Epilogue, Gemm, GemmActivation, Matrix, alignment, gemm};
use crate::geometry::{Walk, blocks_for};
use crate::params::{Operand, Params, address};
use crate::program::{Family, MATMUL, MATMUL_COMPLEX, MATMUL_MMA, Program};
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

/// Whether factors of f32 are rounded to TF32 in products by cuBLASLt.
static TF32: AtomicBool = AtomicBool::new(false);

/// Lets products of f32 round their factors to 10 bits of mantissa, which tensor cores multiply many
/// times as fast, or forbids it again: `torch.backends.cuda.matmul.allow_tf32`. Not allowed at first.
pub fn set_allows_tf32(allows: bool) {
    TF32.store(allows, Ordering::Relaxed);
}

/// Whether products of f32 may round their factors: what [`set_allows_tf32`] said last.
pub fn allows_tf32() -> bool {
    TF32.load(Ordering::Relaxed)
}

/// What of bias and activation the library does, and the activation that is left for a kernel of
/// its own. None where that would round halves once more.
fn epilogue(op: &MatMul, dtype: DType) -> Option<(Epilogue, Option<Activation>)> {
    let halves = matches!(dtype, DType::F16 | DType::BF16);
    let (activation, rest) = match op.activation {
        None => (None, None),
        Some(Activation::Relu) => (Some(GemmActivation::Relu), None),
        Some(Activation::GeluTanh) => (Some(GemmActivation::GeluTanh), None),
        Some(_) if halves => return None,
        other => (None, other),
    };
    Some((Epilogue { bias: op.bias, activation, sums: false }, rest))
}

/// The family of [`Way::Tiles`].
fn tiles(dtype: DType) -> &'static Family {
    if dtype.is_complex() { &MATMUL_COMPLEX } else { &MATMUL }
}

fn program(family: &'static Family, dtype: DType, activation: Option<Activation>) -> Program {
    let name = activation.map_or("none", activation_name);
    let epilogue = activation.map_or("x".into(), |_| format!("fn::{name}(x)"));
    let name = format!("{}_{dtype}_{name}", family.name);
    Program::new(family, name, [("T", number_type(dtype).to_string()), ("EPILOGUE", epilogue)])
}

/// A tensor as memory: where its first element is, and how the others lie.
pub(super) struct Place {
    pub address: u64,
    pub layout: Layout,
}

impl Place {
    /// Elements without gaps at an address.
    pub fn dense(address: u64, shape: impl Into<Shape>) -> Self {
        Self { address, layout: Layout::contiguous(shape.into()) }
    }

    /// With the last two axes in the other order.
    pub fn transposed(self) -> Self {
        let mut axes: Vec<usize> = (0..self.layout.shape().rank()).collect();
        let last = axes.len() - 1;
        axes.swap(last - 1, last);
        Self { layout: self.layout.permute(&axes), ..self }
    }
}

impl From<&AnyTensor> for Place {
    fn from(x: &AnyTensor) -> Self {
        Self { address: address(x), layout: *x.layout() }
    }
}

pub(super) fn matmul(
    kernels: &Kernels,
    op: &MatMul,
    inputs: &[&AnyTensor],
    y: &AnyTensor,
) -> Result<()> {
    let factors = [inputs[0].into(), inputs[1].into()];
    let bias = op.bias.then(|| inputs[2].into());
    let rest =
        product(kernels, op, y.dtype(), [&factors[0], &factors[1]], bias.as_ref(), y.into())?;
    match rest {
        Some(activation) => pointwise::activation(kernels, activation, y, y),
        None => Ok(()),
    }
}

/// `y = a b`, with the bias of `op` and its activation, unless the result says that this is still to
/// be applied. `y` lies without gaps.
pub(super) fn product(
    kernels: &Kernels,
    op: &MatMul,
    dtype: DType,
    factors: [&Place; 2],
    bias: Option<&Place>,
    y: Place,
) -> Result<Option<Activation>> {
    if y.layout.shape().num_elements() == 0 {
        return Ok(None);
    }
    let product = Product::new(dtype, factors, bias, &y);
    for way in ways(dtype, kernels.compute_capability(), product.work()) {
        match way {
            Way::Library => {
                if let Some((epilogue, rest)) = epilogue(op, dtype)
                    && product.by_library(kernels, epilogue, bias.map_or(0, |bias| bias.address))?
                {
                    return Ok(rest);
                }
            }
            Way::TensorCores => {
                return product.by_kernel(kernels, &MATMUL_MMA, op.activation).map(|()| None);
            }
            Way::Tiles => {
                return product.by_kernel(kernels, tiles(dtype), op.activation).map(|()| None);
            }
        }
    }
    Err(kernels.missing(dtype))
}

/// `y = a b` and the sums of the rows of `a`.
pub(super) fn matmul_sums(
    kernels: &Kernels,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
) -> Result<()> {
    let (a, b) = (inputs[0], inputs[1]);
    let (y, sums) = (&outputs[0], &outputs[1]);
    if product_with_sums(kernels, a.dtype(), [&a.into(), &b.into()], y.into(), address(sums))? {
        return Ok(());
    }
    matmul(kernels, &MatMul::default(), inputs, y)?;
    let columns = [1].into_iter().collect();
    reduce::reduce(kernels, &Reduce { kind: ReduceKind::Sum, axes: columns }, a, sums)
}

/// `y = a b`, with the sum of each row of `a` at an address, if the library can do both at once.
pub(super) fn product_with_sums(
    kernels: &Kernels,
    dtype: DType,
    factors: [&Place; 2],
    y: Place,
    sums: u64,
) -> Result<bool> {
    if y.layout.shape().num_elements() == 0 {
        return Ok(false);
    }
    let product = Product::new(dtype, factors, None, &y);
    let first = ways(dtype, kernels.compute_capability(), product.work()).next();
    if first != Some(Way::Library) {
        return Ok(false);
    }
    product.by_library(kernels, Epilogue { sums: true, ..Epilogue::default() }, sums)
}

/// One product, or a batch of them, as all ways see it.
struct Product<'a> {
    dtype: DType,
    factors: [&'a Place; 2],
    bias: Option<&'a Place>,
    y: u64,
    /// Both factors over the batch of the result, with the axes of the matrix as they are.
    layouts: [Layout; 2],
    /// The axes of the batch.
    walk: Walk<2>,
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
}

impl<'a> Product<'a> {
    fn new(dtype: DType, factors: [&'a Place; 2], bias: Option<&'a Place>, y: &Place) -> Self {
        let shape = y.layout.shape();
        let axes = shape.rank() - 2;
        let batch = Shape::new(&shape[..axes]);
        let layouts = factors.map(|factor| {
            let matrix = factor.layout.shape();
            let mut dims: Vec<usize> = batch.to_vec();
            dims.extend(&matrix[matrix.rank() - 2..]);
            factor.layout.expand(&Shape::new(dims)).expect("the shape rule broadcasts")
        });
        Self {
            dtype,
            factors,
            bias,
            y: y.address,
            walk: Walk::over(shape, layouts.each_ref(), 0..axes),
            batch: batch.num_elements(),
            m: shape[axes],
            n: shape[axes + 1],
            k: layouts[0].shape()[axes + 1],
            layouts,
        }
    }

    /// Multiplications of one product.
    fn work(&self) -> u64 {
        [self.m, self.n, self.k].iter().fold(1, |all, &extent| all.saturating_mul(extent as u64))
    }

    /// Strides of the rows and of the columns of a factor.
    fn strides(&self, factor: usize) -> [i64; 2] {
        let strides = self.layouts[factor].strides();
        [strides[strides.len() - 2] as i64, strides[strides.len() - 1] as i64]
    }

    /// By cuBLASLt, with the bias or the sums of the epilogue at an address; false if it is not there,
    /// or can not do this.
    fn by_library(&self, kernels: &Kernels, epilogue: Epilogue, vector: u64) -> Result<bool> {
        let Some(gemm) = self.gemm(epilogue) else { return Ok(false) };
        let [a, b] = self.factors.map(|factor| factor.address);
        let at = Addresses { a: b, b: a, d: self.y, vector };
        let alignment = [at.a, at.b, at.d, at.vector].map(alignment);
        let gemm = Gemm { alignment, tf32: gemm.dtype == DType::F32 && allows_tf32(), ..gemm };
        // SAFETY: the factors are those of the product, and `y` has its shape without gaps.
        unsafe { kernels.gemm(&gemm, at) }
    }

    /// The product for the library, if it can read all that goes in.
    fn gemm(&self, epilogue: Epilogue) -> Option<Gemm> {
        let step = |factor: usize| match self.walk.rank {
            0 => Some(0),
            1 => Some(self.walk.strides[factor][0]),
            _ => None,
        };
        let matrix = |factor: usize, [rows, columns]: [usize; 2]| {
            let [row_stride, column_stride] = self.strides(factor);
            Some(Matrix { rows, columns, row_stride, column_stride, step: step(factor)? })
        };
        let bias_is_dense = |bias: &Place| self.n == 1 || bias.layout.strides()[0] == 1;
        if !self.bias.is_none_or(bias_is_dense) {
            return None;
        }
        let factors = [matrix(0, [self.m, self.k])?, matrix(1, [self.k, self.n])?];
        gemm(self.dtype, factors, self.batch, epilogue)
    }

    /// By a kernel of this crate.
    fn by_kernel(
        &self,
        kernels: &Kernels,
        family: &'static Family,
        activation: Option<Activation>,
    ) -> Result<()> {
        let ([a_row, a_column], [b_row, b_column]) = (self.strides(0), self.strides(1));
        let operand = |factor: usize| Operand {
            data: self.factors[factor].address,
            strides: self.walk.strides[factor],
        };
        let params = Parameters {
            m: self.m as i64,
            n: self.n as i64,
            k: self.k as i64,
            batch: self.batch as i64,
            batch_dims: self.walk.dims,
            a: operand(0),
            b: operand(1),
            a_row,
            a_column,
            b_row,
            b_column,
            bias_stride: self.bias.map_or(0, |bias| bias.layout.strides()[0] as i64),
            bias: self.bias.map_or(0, |bias| bias.address),
            output: self.y,
            batch_rank: self.walk.rank as i64,
        };
        let blocks = self.m.div_ceil(TILE) * self.n.div_ceil(TILE) * self.batch;
        let threads = if *family == MATMUL_MMA { 128 } else { 256 };
        let launch = Launch { threads, ..blocks_for(blocks) };
        let program = program(family, self.dtype, activation);
        // SAFETY: the parameters are those of both families; tiles are cut at the ends of the
        // matrices.
        unsafe { kernels.launch(&program, launch, &params) }
    }
}

pub(super) fn programs() -> Vec<Program> {
    let activations = || std::iter::once(None).chain(Activation::ALL.map(Some));
    let mut all: Vec<Program> = COMPLEX.map(|dtype| program(tiles(dtype), dtype, None)).into();
    for dtype in FLOATS {
        all.extend(activations().map(|activation| program(tiles(dtype), dtype, activation)));
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
    fn the_library_gets_the_epilogue_that_it_has() {
        let op = |bias, activation| MatMul { bias, activation };
        let relu = Some(GemmActivation::Relu);
        let halves = epilogue(&op(true, Some(Activation::Relu)), DType::BF16);
        assert_eq!(halves, Some((Epilogue { bias: true, activation: relu, sums: false }, None)));
        let gelu = epilogue(&op(false, Some(Activation::GeluTanh)), DType::F16).unwrap().0;
        assert_eq!(
            gelu,
            Epilogue { activation: Some(GemmActivation::GeluTanh), ..Epilogue::default() }
        );
        // What it does not have follows in f32, and is left to the own kernel in halves.
        let silu = op(true, Some(Activation::Silu));
        let bias = Epilogue { bias: true, ..Epilogue::default() };
        assert_eq!(epilogue(&silu, DType::F32), Some((bias, Some(Activation::Silu))));
        assert_eq!(epilogue(&silu, DType::BF16), None);
        // The exact GELU is not the library's.
        assert_eq!(epilogue(&op(false, Some(Activation::Gelu)), DType::F16), None);
    }
}
