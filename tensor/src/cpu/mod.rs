//! The CPU backend.
//!
//! [`Cpu::execute`](Cpu) is the list of kernels; each lives in the file of its family. Kernels are
//! plain loops over slices ([`tile`](self) and `access` bring any layout and dtype into that
//! form), compiled for several instruction sets ([`simd`]) and split over threads by size
//! (`parallel`).

mod access;
mod arg_reduce;
mod assign;
mod attention;
mod complex;
mod conv;
mod copy;
mod elementwise;
#[cfg(feature = "fft")]
mod fft;
mod float;
mod fold;
mod fused;
mod gemm;
mod half_arithmetic;
mod halves;
mod index;
mod integer;
pub(crate) mod linalg;
mod loss;
mod math;
mod matmul;
mod norm;
mod parallel;
mod pool;
mod pool2d;
mod random;
mod recurrent;
mod reduce;
mod scan;
mod search;
pub mod simd;
mod softmax;
mod sort;
mod team;
mod tile;
mod totals;
mod transpose;
mod update;

use crate::backend::{Backend, MemoryStats};
use crate::op::Op;
use crate::{AnyTensor, Result};

pub use team::{num_threads, set_num_threads};

/// The processor.
#[derive(Default)]
pub(crate) struct Cpu;

impl Backend for Cpu {
    fn name(&self) -> &str {
        "cpu"
    }

    #[inline]
    fn alloc(&self, bytes: usize) -> Option<usize> {
        pool::alloc(bytes)
    }

    #[inline]
    unsafe fn free(&self, address: usize, bytes: usize) {
        // SAFETY: passed on to the caller.
        unsafe { pool::free(address, bytes) }
    }

    unsafe fn upload(&self, source: &[u8], address: usize) -> Result<()> {
        // SAFETY: the caller promises that the bytes from `address` are ours alone.
        unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), address as *mut u8, source.len()) };
        Ok(())
    }

    unsafe fn download(&self, address: usize, target: &mut [u8]) -> Result<()> {
        // SAFETY: the caller promises that nobody writes the bytes from `address`.
        unsafe {
            std::ptr::copy_nonoverlapping(address as *const u8, target.as_mut_ptr(), target.len())
        };
        Ok(())
    }

    #[inline]
    fn supports(&self, op: &Op) -> bool {
        match op {
            Op::Custom(op) => op.op().cpu().is_some(),
            Op::Factor(op) => !linalg::is_composed(op),
            // Its parts are as fast.
            Op::MatMulSums(_) => false,
            _ => true,
        }
    }

    fn in_host_memory(&self) -> bool {
        true
    }

    fn execute(&self, op: &Op, inputs: &[&AnyTensor], outputs: &[AnyTensor]) -> Result<()> {
        let y = &outputs[0];
        match op {
            Op::View(view) => unreachable!("{view:?} computes nothing"),
            Op::Unview(op) => copy::unview(op, inputs[0], y),
            Op::Fill(op) => copy::fill(op, y),
            Op::Arange(op) => copy::arange(op, y),
            Op::Random(op) => random::random(op, y),
            Op::Cast(op) => elementwise::cast(op, inputs[0], y),
            Op::Unary(op) if inputs[0].dtype().is_complex() => complex::unary(op, inputs[0], y),
            Op::Binary(op) if inputs[0].dtype().is_complex() => {
                complex::binary(op, [inputs[0], inputs[1]], y)
            }
            Op::BinaryScalar(op) if inputs[0].dtype().is_complex() => {
                complex::binary_scalar(op, inputs[0], y)
            }
            Op::Reduce(op) if y.dtype().is_complex() => return complex::reduce(op, inputs[0], y),
            Op::MatMul(_) if y.dtype().is_complex() => {
                return complex::matmul([inputs[0], inputs[1]], y);
            }
            Op::Polar(op) => complex::polar(op, inputs[0], y),
            #[cfg(feature = "fft")]
            Op::Fft(op) => fft::fft(op, inputs[0], y),
            #[cfg(not(feature = "fft"))]
            Op::Fft(_) => {
                let what = "this build has no Fourier transforms: enable the cargo feature `fft`";
                return Err(crate::Error::Device { op: op.spec().name(), what: what.into() });
            }
            Op::Unary(op) => elementwise::unary(op, inputs[0], y),
            Op::ActivationBackward(op) => {
                elementwise::activation_backward(op, [inputs[0], inputs[1]], y)
            }
            Op::Binary(op) => return elementwise::binary(op, [inputs[0], inputs[1]], y),
            Op::BinaryScalar(op) => return elementwise::binary_scalar(op, inputs[0], y),
            Op::Where(_) => elementwise::select_where([inputs[0], inputs[1], inputs[2]], y),
            Op::Fused(op) => return fused::fused(op, inputs, outputs),
            Op::Reduce(op) => reduce::reduce(op, inputs[0], y),
            Op::ArgReduce(op) => arg_reduce::arg_reduce(op, inputs[0], y),
            Op::Cat(op) => copy::cat(op, inputs, y),
            Op::Select(op) => return index::select(op, [inputs[0], inputs[1]], y),
            Op::SelectBackward(op) => return index::select_backward(op, [inputs[0], inputs[1]], y),
            Op::Gather(op) => return index::gather(op, [inputs[0], inputs[1]], y),
            Op::GatherBackward(op) => return index::gather_backward(op, [inputs[0], inputs[1]], y),
            Op::Assign(op) => assign::assign(op, [inputs[0], inputs[1]], y),
            Op::Scatter(op) => {
                return assign::scatter(op, [inputs[0], inputs[1], inputs[2]], y);
            }
            Op::RavelIndex(op) => return assign::ravel_index(op, inputs[0], y),
            Op::MatMul(op) => matmul::matmul(op, inputs, y),
            Op::MatMulSums(_) => unreachable!("it is composed of others"),
            Op::Factor(op) => return linalg::factor(op, inputs[0], outputs),
            Op::Solve(op) => return linalg::solve(op, [inputs[0], inputs[1]], y),
            Op::Conv2d(op) => conv::conv2d(op, inputs, y),
            Op::Conv2dInputGrad(op) => conv::input_grad(op, [inputs[0], inputs[1]], y),
            Op::Conv2dWeightGrad(op) => conv::weight_grad(op, [inputs[0], inputs[1]], y),
            Op::MaxPool2d(op) => pool2d::max_pool2d(op, inputs[0], outputs),
            Op::MaxPool2dBackward(op) => {
                return pool2d::max_pool2d_backward(op, [inputs[0], inputs[1]], y);
            }
            Op::AvgPool2d(op) => pool2d::avg_pool2d(op, inputs[0], y),
            Op::AvgPool2dBackward(op) => pool2d::avg_pool2d_backward(op, inputs[0], y),
            Op::Softmax(op) => softmax::softmax(op, inputs[0], y),
            Op::SoftmaxBackward(op) => softmax::softmax_backward(op, [inputs[0], inputs[1]], y),
            Op::Attention(op) => attention::attention(op, inputs, outputs),
            Op::AttentionBackward(op) => attention::attention_backward(op, inputs, outputs),
            Op::LayerNorm(op) => norm::layer_norm(op, inputs, outputs),
            Op::LayerNormBackward(op) => norm::layer_norm_backward(op.affine, inputs, outputs),
            Op::BatchNorm(op) => norm::batch_norm(op, inputs, outputs),
            Op::BatchNormBackward(_) => norm::batch_norm_backward(inputs, outputs),
            Op::BatchNormEval(op) => norm::batch_norm_eval(op, inputs, y),
            Op::CrossEntropy(op) => return loss::cross_entropy(op, inputs, outputs),
            Op::CrossEntropyBackward(op) => {
                return loss::cross_entropy_backward(&op.loss, inputs, y);
            }
            Op::Recurrent(op) => recurrent::recurrent(op, inputs, outputs),
            Op::RecurrentBackward(op) => recurrent::backward(op, inputs, outputs),
            Op::Dropout(op) => random::dropout(op, inputs[0], y),
            Op::Sort(op) => sort::sort(op, inputs[0], outputs),
            Op::Scan(op) => scan::scan(op, inputs[0], outputs),
            Op::LinearRecurrence(op) => scan::recurrence(op, [inputs[0], inputs[1]], y),
            Op::Nonzero(op) => return search::nonzero(op, inputs[0], y),
            Op::SearchSorted(op) => search::search_sorted(op, [inputs[0], inputs[1]], y),
            Op::Sample(op) => random::sample(op, inputs[0], y),
            Op::Multinomial(op) => return random::multinomial(op, inputs[0], y),
            Op::Update(op) => update::update(op, inputs, outputs),
            Op::Totals(op) => totals::totals(op, inputs, y),
            Op::Custom(op) => return op.execute(inputs, outputs),
        }
        Ok(())
    }

    fn memory(&self) -> MemoryStats {
        pool::stats()
    }

    fn empty_cache(&self) {
        pool::empty_cache();
    }
}
