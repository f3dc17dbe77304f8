//! Automatic mixed precision: products in half precision, what would lose digits in full.

use std::cell::Cell;

use smallvec::SmallVec;

use crate::op::{BinaryKind, Op, ReduceKind, ScanKind, UnaryKind};
use crate::{AnyTensor, DType, Error};

thread_local! {
    static HALF: Cell<Option<DType>> = const { Cell::new(None) };
}

/// Runs `work` with each operation of this thread in the precision that suits it, as
/// `torch.autocast`: products and convolutions in `dtype` (f16 or bf16), exponentials, logarithms,
/// powers, sums, norms, softmax and losses in f32, all else in the type of its inputs, the wider one
/// where they differ. Parameters stay f32 and so do their gradients; f64 is left alone. Backward
/// passes run in the types of their forward pass, inside or outside. Panics if `dtype` is neither
/// f16 nor bf16.
///
/// ```
/// use kiln_tensor::{DType, Tensor, activation, autocast};
/// let x = Tensor::<2>::from([[1.0, 2.0], [3.0, 4.0]]);
/// autocast(DType::BF16, || {
///     let product = x.matmul(&x);
///     assert_eq!(product.dtype(), DType::BF16);
///     assert_eq!(activation::softmax(&product, 1).dtype(), DType::F32);
/// });
/// ```
#[track_caller]
pub fn autocast<T>(dtype: DType, work: impl FnOnce() -> T) -> T {
    if !matches!(dtype, DType::F16 | DType::BF16) {
        let rule = "mixed precision is f16 or bf16".into();
        crate::fail(Error::DType { op: "autocast", dtypes: vec![dtype], rule });
    }
    with(Some(dtype), work)
}

/// Runs `work` in the types of its inputs, inside of an [`autocast`] too.
pub fn no_autocast<T>(work: impl FnOnce() -> T) -> T {
    with(None, work)
}

/// The half type of the [`autocast`] that this thread is in. To run code later as it would run now:
/// `match dtype { Some(dtype) => autocast(dtype, work), None => no_autocast(work) }`.
#[inline]
pub fn autocast_dtype() -> Option<DType> {
    HALF.get()
}

fn with<T>(half: Option<DType>, work: impl FnOnce() -> T) -> T {
    /// Puts the type back, also when `work` panics.
    struct Restore(Option<DType>);
    impl Drop for Restore {
        fn drop(&mut self) {
            HALF.set(self.0);
        }
    }
    let _restore = Restore(HALF.replace(half));
    work()
}

/// What an operation computes in.
enum Precision {
    /// The half type.
    Half,
    /// f32.
    Full,
    /// The widest type among its inputs.
    Widest,
    /// The types of its inputs.
    Given,
}

/// PyTorch's lists (`aten/src/ATen/autocast_mode.h`). Batch norm, which takes mixed types there, is
/// computed in f32.
fn precision(op: &Op) -> Precision {
    use UnaryKind::*;
    match op {
        Op::MatMul(_) | Op::MatMulSums(_) | Op::Attention(_) => Precision::Half,
        Op::Conv2d(_) | Op::Conv2dInputGrad(_) => Precision::Half,
        Op::Softmax(_) | Op::LayerNorm(_) | Op::CrossEntropy(_) => Precision::Full,
        Op::BatchNorm(_) | Op::BatchNormEval(_) | Op::Recurrent(_) => Precision::Full,
        Op::Unary(op) => match op.kind {
            Exp | ExpM1 | Log | Log2 | Log10 | Log1p | Recip | Rsqrt => Precision::Full,
            Acos | Asin | Cosh | Sinh | Tan | ErfInv | Softplus => Precision::Full,
            _ => Precision::Given,
        },
        Op::Binary(op) if op.kind == BinaryKind::Pow => Precision::Full,
        Op::BinaryScalar(op) if op.kind == BinaryKind::Pow => Precision::Full,
        Op::Reduce(op) if matches!(op.kind, ReduceKind::Sum | ReduceKind::Prod) => Precision::Full,
        Op::Scan(op) if matches!(op.kind, ScanKind::Sum | ScanKind::Prod) => Precision::Full,
        Op::Where(_) | Op::Cat(_) | Op::Assign(_) | Op::Scatter(_) => Precision::Widest,
        _ => Precision::Given,
    }
}

/// The inputs as the operation wants them inside of an [`autocast`] to `half`; `None` if they are
/// so already.
pub(crate) fn inputs(
    op: &Op,
    inputs: &[&AnyTensor],
    half: DType,
) -> Option<SmallVec<[AnyTensor; 4]>> {
    let floats = || inputs.iter().map(|x| x.dtype()).filter(|dtype| dtype.is_float());
    let wanted = match precision(op) {
        Precision::Given => return None,
        Precision::Half => half,
        Precision::Full => DType::F32,
        Precision::Widest => floats().reduce(DType::promote)?,
    };
    if floats().all(|dtype| dtype == wanted) || floats().any(|dtype| dtype == DType::F64) {
        return None;
    }
    let cast = |x: &&AnyTensor| if x.dtype().is_float() { cast(x, wanted) } else { (*x).clone() };
    Some(inputs.iter().map(cast).collect())
}

/// The numbers as `dtype`, in the order of memory that they have: the weight of a linear layer
/// arrives as a transposed view, and turning it around would cost more than the cast.
fn cast(x: &AnyTensor, dtype: DType) -> AnyTensor {
    let turned = x.rank() >= 2 && !x.layout().is_contiguous();
    if turned && x.transpose().layout().is_contiguous() {
        return x.transpose().cast(dtype).transpose();
    }
    x.cast(dtype)
}
