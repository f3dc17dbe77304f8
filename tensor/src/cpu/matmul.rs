//! Matrix products: how shapes and strides become calls of [`gemm`].

use super::access::{Dense, Sink, float_type, pointer};
use super::elementwise::{Real, activate};
use super::float::Float;
use super::gemm::{self, Epilogue, Source, Strided, Threads, gemm};
use super::parallel::{Shared, chunks};
use crate::layout::Layout;
use crate::op::{Activation, MatMul};
use crate::{AnyTensor, DType};

/// Multiply-adds of a product that is worth a task of its own; smaller ones share one.
const TASK: usize = 1 << 17;
/// Multiply-adds from which a single product is divided among threads, rather than the batch.
const LARGE: usize = 1 << 22;

/// A float type that products are computed in.
pub(super) trait Product: gemm::Real + Float + Real {
    /// Calls `work` with the matrix whose element `(line, k)` of `tensor`'s buffer is at
    /// `position + line * line_stride + k * depth_stride`.
    ///
    /// # Safety
    /// All elements that the product reads lie inside of the buffer.
    unsafe fn with_source(
        tensor: &AnyTensor,
        position: usize,
        strides: (isize, isize),
        work: &mut dyn FnMut(&dyn Source<Self>),
    );
}

/// # Safety
/// As [`Product::with_source`], and `S` is the tensor's dtype.
unsafe fn strided<S>(
    tensor: &AnyTensor,
    position: usize,
    (line, depth): (isize, isize),
) -> Strided<'_, S> {
    // SAFETY: the caller's promise; the buffer is not written while the tensor is borrowed.
    unsafe { Strided::new(pointer::<S>(tensor).add(position), line, depth) }
}

impl Product for f32 {
    unsafe fn with_source(
        tensor: &AnyTensor,
        at: usize,
        strides: (isize, isize),
        work: &mut dyn FnMut(&dyn Source<f32>),
    ) {
        // SAFETY: the caller's promise, and each arm names the tensor's own dtype.
        unsafe {
            match tensor.dtype() {
                DType::F16 => work(&strided::<half::f16>(tensor, at, strides)),
                DType::BF16 => work(&strided::<half::bf16>(tensor, at, strides)),
                _ => work(&strided::<f32>(tensor, at, strides)),
            }
        }
    }
}

impl Product for f64 {
    unsafe fn with_source(
        tensor: &AnyTensor,
        at: usize,
        strides: (isize, isize),
        work: &mut dyn FnMut(&dyn Source<f64>),
    ) {
        // SAFETY: the caller's promise; f64 is the tensor's dtype.
        work(&unsafe { strided::<f64>(tensor, at, strides) });
    }
}

/// Bias and activation, applied to rows of the result while they are in cache.
struct BiasActivation<'a, T> {
    /// `[n]`
    bias: Option<&'a [T]>,
    activation: Option<Activation>,
}

impl<T: Product> Epilogue<T> for BiasActivation<'_, T> {
    fn apply(&self, _row: usize, column: usize, run: &mut [T]) {
        if let Some(bias) = self.bias {
            for (y, &bias) in run.iter_mut().zip(&bias[column..]) {
                *y += bias;
            }
        }
        if let Some(activation) = self.activation {
            activate(activation, run);
        }
    }
}

pub(super) fn matmul(op: &MatMul, inputs: &[&AnyTensor], y: &AnyTensor) {
    float_type!(y.dtype(), T => run::<T>(op, inputs, y))
}

fn run<T: Product>(op: &MatMul, inputs: &[&AnyTensor], y: &AnyTensor) {
    let (a, b) = (inputs[0], inputs[1]);
    let (batch, &[m, n]) = y.shape_ref().split_last_chunk().expect("a matrix has two axes");
    let k = a.shape()[a.rank() - 1];
    if y.num_elements() == 0 {
        return;
    }
    let bias = op.bias.then(|| Dense::<T>::new(inputs[2]));
    let finish = BiasActivation { bias: bias.as_deref(), activation: op.activation };
    let epilogue: Option<&dyn Epilogue<T>> =
        if op.bias || op.activation.is_some() { Some(&finish) } else { None };
    // SAFETY: `y` is the only output, and new.
    let mut out = unsafe { Sink::<T>::new(y) };
    let out = Shared::new(&mut out);
    // One matrix times one: `b` is shared by all rows of the batch, so they are one tall matrix.
    let tall = (b.rank() == 2)
        .then(|| a.layout().reshape(&[batch.iter().product::<usize>() * m, k].into()));
    if let Some(Some(a_layout)) = tall {
        let m = a_layout.shape()[0];
        // SAFETY: the only part of the output.
        let c = unsafe { out.part(0..m * n) };
        return product(a, &a_layout, b, b.layout(), [m, n, k], c, epilogue, Threads::Pool);
    }
    let expand = |x: &AnyTensor| {
        let mut shape = *y.shape_ref();
        let rank = shape.rank();
        shape[rank - 2..].copy_from_slice(&x.shape()[x.rank() - 2..]);
        x.layout().expand(&shape).expect("infer checked that the batch axes broadcast")
    };
    let (a_layout, b_layout) = (expand(a), expand(b));
    let matrix = |layout: &Layout, index: usize| {
        let (strides, batch_strides) = (layout.strides(), &layout.strides()[..batch.len()]);
        let position = Layout::strided(batch, batch_strides, layout.offset()).position(index);
        Layout::strided(&layout.shape()[batch.len()..], &strides[batch.len()..], position)
    };
    let work = m * n * k;
    let each = |index: usize, threads| {
        // SAFETY: the matrices of a batch do not overlap.
        let c = unsafe { out.part(index * m * n..(index + 1) * m * n) };
        let (a_layout, b_layout) = (matrix(&a_layout, index), matrix(&b_layout, index));
        product(a, &a_layout, b, &b_layout, [m, n, k], c, epilogue, threads);
    };
    let count: usize = batch.iter().product();
    if work >= LARGE {
        (0..count).for_each(|index| each(index, Threads::Pool));
    } else {
        chunks(count, (TASK / work.max(1)).max(1), |range| {
            range.for_each(|index| each(index, Threads::One));
        });
    }
}

/// `c = epilogue(a b)` of two matrices.
#[allow(clippy::too_many_arguments)]
fn product<T: Product>(
    a: &AnyTensor,
    a_layout: &Layout,
    b: &AnyTensor,
    b_layout: &Layout,
    [m, n, k]: [usize; 3],
    c: &mut [T],
    epilogue: Option<&dyn Epilogue<T>>,
    threads: Threads,
) {
    let (a_strides, b_strides) = (a_layout.strides(), b_layout.strides());
    // SAFETY: both layouts stay inside of their tensors' buffers; `c` holds `m` rows of `n` and is
    // borrowed exclusively.
    unsafe {
        T::with_source(a, a_layout.offset(), (a_strides[0], a_strides[1]), &mut |a| {
            T::with_source(b, b_layout.offset(), (b_strides[1], b_strides[0]), &mut |b| {
                gemm(m, n, k, a, b, c.as_mut_ptr(), n, false, epilogue, threads);
            });
        });
    }
}
