//! Matrix products with bias and activation.

use std::sync::atomic::{AtomicBool, Ordering};

use kiln_tensor::op::{Activation, MatMul};
use kiln_tensor::{AnyTensor, DType, Layout, MAX_RANK, Result, Shape};

use super::elementwise::{COMPLEX, FLOATS, number_type};
use super::pointwise::{self, activation_name};
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

/// What can compute a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// cuBLASLt, where it is installed and can read the factors where they lie.
    Library,
    /// `matmul_mma.cu`: halves on tensor cores, any strides, any activation in the epilogue.
    TensorCores,
    /// `matmul.cu`: any type and strides, any activation in the epilogue.
    Tiles,
}

/// When a way is taken.
struct Row {
    dtypes: &'static [DType],
    /// The first architecture: major and minor.
    since: (u32, u32),
    /// Multiplications of one product, at least.
    work: u64,
    way: Way,
}

const SMALL: u64 = 1 << 15; // 32 x 32 x 32
const MEDIUM: u64 = 1 << 21; // 128 x 128 x 128

/// How products are computed: the first row that fits, or the next one where its way can not.
///
/// The sizes are estimates, which no GPU has confirmed: below them the choice of a plan would cost
/// more than the library saves. `mma.sync` takes 16 x 16 of both halves from Ampere on, where bf16
/// began as well.
const WAYS: [Row; 6] = {
    use DType::{BF16, Complex64, Complex128, F16, F32, F64};
    use Way::{Library, TensorCores, Tiles};
    [
        Row { dtypes: &[F16, BF16], since: (8, 0), work: MEDIUM, way: Library },
        Row { dtypes: &[F16, BF16], since: (8, 0), work: 0, way: TensorCores },
        Row { dtypes: &[F16], since: (7, 5), work: SMALL, way: Library },
        Row { dtypes: &[F32, F64], since: (7, 5), work: SMALL, way: Library },
        Row { dtypes: &[Complex64, Complex128], since: (7, 5), work: 0, way: Library },
        Row {
            dtypes: &[F16, BF16, F32, F64, Complex64, Complex128],
            since: (7, 5),
            work: 0,
            way: Tiles,
        },
    ]
};

/// The ways for a product, the best first.
fn ways(dtype: DType, capability: (u32, u32), work: u64) -> impl Iterator<Item = Way> {
    let fits = move |row: &&Row| {
        row.dtypes.contains(&dtype) && capability >= row.since && work >= row.work
    };
    WAYS.iter().filter(fits).map(|row| row.way)
}

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
    Some((Epilogue { bias: op.bias, activation }, rest))
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

/// One product, or a batch of them, as all ways see it.
struct Product<'a> {
    op: &'a MatMul,
    a: &'a AnyTensor,
    b: &'a AnyTensor,
    bias: Option<&'a AnyTensor>,
    y: &'a AnyTensor,
    /// Both factors over the batch of the result, with the axes of the matrix as they are.
    layouts: [Layout; 2],
    /// The axes of the batch.
    walk: Walk<2>,
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
}

pub(super) fn matmul(
    kernels: &Kernels,
    op: &MatMul,
    inputs: &[&AnyTensor],
    y: &AnyTensor,
) -> Result<()> {
    let (a, b) = (inputs[0], inputs[1]);
    let shape = y.shape();
    if y.num_elements() == 0 {
        return Ok(());
    }
    let axes = shape.rank() - 2;
    let batch = Shape::new(&shape[..axes]);
    let over = |x: &AnyTensor| {
        let mut dims: Vec<usize> = batch.to_vec();
        dims.extend(&x.shape()[x.rank() - 2..]);
        x.layout().expand(&Shape::new(dims)).expect("the shape rule broadcasts")
    };
    let layouts = [over(a), over(b)];
    let product = Product {
        op,
        a,
        b,
        bias: op.bias.then(|| inputs[2]),
        y,
        walk: Walk::over(&shape, layouts.each_ref(), 0..axes),
        layouts,
        batch: batch.num_elements(),
        m: shape[axes],
        n: shape[axes + 1],
        k: a.shape()[a.rank() - 1],
    };
    let work = [product.m, product.n, product.k].map(|extent| extent as u64);
    let work = work.iter().fold(1, |all: u64, &extent| all.saturating_mul(extent));
    for way in ways(y.dtype(), kernels.compute_capability(), work) {
        let done = match way {
            Way::Library => product.by_library(kernels)?,
            Way::TensorCores => product.by_kernel(kernels, &MATMUL_MMA, 128)?,
            Way::Tiles => product.by_kernel(kernels, tiles(y.dtype()), 256)?,
        };
        if done {
            return Ok(());
        }
    }
    Err(kernels.missing(y.dtype()))
}

impl Product<'_> {
    /// Strides of the rows and of the columns of a factor.
    fn strides(&self, factor: usize) -> [i64; 2] {
        let strides = self.layouts[factor].strides();
        [strides[strides.len() - 2] as i64, strides[strides.len() - 1] as i64]
    }

    /// By cuBLASLt; false if it is not there, or can not do this.
    fn by_library(&self, kernels: &Kernels) -> Result<bool> {
        let Some((epilogue, rest)) = epilogue(self.op, self.y.dtype()) else { return Ok(false) };
        let Some(gemm) = self.gemm(epilogue) else { return Ok(false) };
        let bias = self.bias.map_or(0, address);
        let at = Addresses { a: address(self.b), b: address(self.a), d: address(self.y), bias };
        let alignment = [at.a, at.b, at.d, at.bias].map(alignment);
        let gemm = Gemm { alignment, tf32: gemm.dtype == DType::F32 && allows_tf32(), ..gemm };
        // SAFETY: the factors are those of the product, and `y` has its shape without gaps.
        let done = unsafe { kernels.gemm(&gemm, at)? };
        if let (true, Some(activation)) = (done, rest) {
            pointwise::activation(kernels, activation, self.y, self.y)?;
        }
        Ok(done)
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
        let bias_is_dense = |bias: &AnyTensor| self.n == 1 || bias.layout().strides()[0] == 1;
        if !self.bias.is_none_or(bias_is_dense) {
            return None;
        }
        let factors = [matrix(0, [self.m, self.k])?, matrix(1, [self.k, self.n])?];
        gemm(self.y.dtype(), factors, self.batch, epilogue)
    }

    /// By a kernel of this crate.
    fn by_kernel(&self, kernels: &Kernels, family: &'static Family, threads: u32) -> Result<bool> {
        let ([a_row, a_column], [b_row, b_column]) = (self.strides(0), self.strides(1));
        let params = Parameters {
            m: self.m as i64,
            n: self.n as i64,
            k: self.k as i64,
            batch: self.batch as i64,
            batch_dims: self.walk.dims,
            a: Operand::new(self.a, self.walk.strides[0]),
            b: Operand::new(self.b, self.walk.strides[1]),
            a_row,
            a_column,
            b_row,
            b_column,
            bias_stride: self.bias.map_or(0, |bias| bias.layout().strides()[0] as i64),
            bias: self.bias.map_or(0, address),
            output: address(self.y),
            batch_rank: self.walk.rank as i64,
        };
        let blocks = self.m.div_ceil(TILE) * self.n.div_ceil(TILE) * self.batch;
        let launch = Launch { threads, ..blocks_for(blocks) };
        let program = program(family, self.y.dtype(), self.op.activation);
        // SAFETY: the parameters are those of both families; tiles are cut at the ends of the
        // matrices.
        unsafe { kernels.launch(&program, launch, &params)? };
        Ok(true)
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
    fn the_table_of_ways_says_who_multiplies() {
        use Way::*;
        let large = 1 << 30;
        for (dtype, capability, work, expected) in [
            (DType::F16, (7, 5), large, &[Library, Tiles][..]),
            (DType::BF16, (7, 5), large, &[Tiles]),
            (DType::F16, (8, 0), large, &[Library, TensorCores, Library, Tiles]),
            (DType::BF16, (9, 0), large, &[Library, TensorCores, Tiles]),
            (DType::BF16, (9, 0), 1000, &[TensorCores, Tiles]),
            (DType::F32, (8, 6), large, &[Library, Tiles]),
            (DType::F64, (8, 6), 1000, &[Tiles]),
            (DType::Complex64, (8, 9), 1, &[Library, Tiles]),
            (DType::I32, (9, 0), large, &[]),
        ] {
            let found: Vec<Way> = ways(dtype, capability, work).collect();
            assert_eq!(found, expected, "{dtype} {capability:?} {work}");
        }
    }

    /// Whatever the library refuses, a kernel of this crate takes.
    #[test]
    fn the_last_way_is_always_one_of_our_own() {
        let floats = DType::ALL.into_iter().filter(|dtype| dtype.is_float() || dtype.is_complex());
        for dtype in floats {
            for capability in [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (12, 0)] {
                for work in [1, SMALL, MEDIUM, u64::MAX] {
                    assert_eq!(ways(dtype, capability, work).last(), Some(Way::Tiles), "{dtype}");
                }
            }
        }
    }

    #[test]
    fn the_library_gets_the_epilogue_that_it_has() {
        let op = |bias, activation| MatMul { bias, activation };
        let relu = Some(GemmActivation::Relu);
        let halves = epilogue(&op(true, Some(Activation::Relu)), DType::BF16);
        assert_eq!(halves, Some((Epilogue { bias: true, activation: relu }, None)));
        let gelu = epilogue(&op(false, Some(Activation::GeluTanh)), DType::F16).unwrap().0;
        assert_eq!(gelu, Epilogue { bias: false, activation: Some(GemmActivation::GeluTanh) });
        // What it does not have follows in f32, and is left to the own kernel in halves.
        let silu = op(true, Some(Activation::Silu));
        let bias = Epilogue { bias: true, activation: None };
        assert_eq!(epilogue(&silu, DType::F32), Some((bias, Some(Activation::Silu))));
        assert_eq!(epilogue(&silu, DType::BF16), None);
        // The exact GELU is not the library's.
        assert_eq!(epilogue(&op(false, Some(Activation::Gelu)), DType::F16), None);
    }
}
