//! From operations to kernels: one file per family.

mod attention;
mod batch_norm;
mod binary;
mod copy;
mod elementwise;
mod fft;
mod fused;
mod image;
mod index;
mod loss;
mod many;
mod matmul;
mod order;
mod pointwise;
mod random;
mod recurrent;
mod reduce;
mod rows;
mod totals;
mod update;
mod update_many;

pub use matmul::{allows_tf32, set_allows_tf32};
pub(crate) use update_many::update_all;

use kiln_tensor::op::{Cast, Op, View};
use kiln_tensor::{AnyTensor, DType, Result, apply};
use smallvec::SmallVec;

use elementwise::Call;

use crate::backend::Kernels;
use crate::program::Program;

/// Whether there is a kernel for the operation; where there is none, its decomposition runs.
pub(crate) fn supports(op: &Op) -> bool {
    match op {
        Op::Fill(_) | Op::Arange(_) | Op::Cast(_) | Op::Unary(_) | Op::Polar(_) => true,
        Op::ActivationBackward(_) => true,
        Op::Binary(_) | Op::BinaryScalar(_) | Op::Where(_) | Op::Dropout(_) => true,
        Op::Fused(op) => fused::supports(&op.chain),
        Op::Random(_) | Op::Reduce(_) | Op::ArgReduce(_) => true,
        Op::MatMul(_) | Op::MatMulSums(_) => true,
        Op::Totals(_) => true,
        Op::Unview(_) | Op::Cat(_) | Op::Assign(_) => true,
        Op::Select(_) | Op::SelectBackward(_) | Op::Gather(_) | Op::GatherBackward(_) => true,
        Op::Scatter(_) | Op::RavelIndex(_) => true,
        Op::Softmax(_) | Op::SoftmaxBackward(_) => true,
        Op::LayerNorm(_) | Op::LayerNormBackward(_) | Op::Update(_) => true,
        Op::Conv2d(_) | Op::Conv2dInputGrad(_) | Op::Conv2dWeightGrad(_) => true,
        Op::MaxPool2d(_) | Op::MaxPool2dBackward(_) => true,
        Op::AvgPool2d(_) | Op::AvgPool2dBackward(_) => true,
        Op::Scan(_) | Op::LinearRecurrence(_) | Op::Sort(_) => true,
        Op::SearchSorted(_) | Op::Nonzero(_) | Op::Fft(_) => true,
        Op::Sample(_) | Op::Multinomial(_) => true,
        Op::Attention(_) | Op::AttentionBackward(_) => true,
        Op::BatchNorm(_) | Op::BatchNormBackward(_) | Op::BatchNormEval(_) => true,
        Op::CrossEntropy(_) | Op::CrossEntropyBackward(_) => true,
        Op::Recurrent(_) | Op::RecurrentBackward(_) => true,
        // These can not be computed on a GPU yet, if they are not composed of others.
        Op::View(_) | Op::Factor(_) | Op::Solve(_) | Op::Custom(_) => false,
    }
}

/// Runs an operation that [`supports`] accepts.
pub(crate) fn execute(
    kernels: &Kernels,
    op: &Op,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
) -> Result<()> {
    let y = &outputs[0];
    let dtypes: SmallVec<[DType; 8]> = inputs.iter().map(|input| input.dtype()).collect();
    if let Some(call) = call(op, &dtypes) {
        return call.run(kernels, inputs, y);
    }
    match op {
        Op::Arange(op) => pointwise::arange(kernels, op, y),
        Op::Polar(op) => pointwise::polar(kernels, op, inputs[0], y),
        Op::Fused(op) => fused::fused(kernels, op, inputs, outputs),
        Op::Dropout(op) => pointwise::dropout(kernels, op, inputs[0], y),
        Op::Random(op) => random::random(kernels, op, y),
        Op::Reduce(op) => reduce::reduce(kernels, op, inputs[0], y),
        Op::ArgReduce(op) => reduce::arg_reduce(kernels, op, inputs[0], y),
        Op::Totals(op) => totals::totals(kernels, op, inputs, y),
        Op::MatMul(op) => matmul::matmul(kernels, op, inputs, y),
        Op::MatMulSums(_) => matmul::matmul_sums(kernels, inputs, outputs),
        Op::Unview(op) => copy::unview(kernels, op, inputs[0], y),
        Op::Cat(op) => copy::cat(kernels, op, inputs, y),
        Op::Assign(op) => copy::assign(kernels, op, [inputs[0], inputs[1]], y),
        Op::Select(op) => index::select(kernels, op, [inputs[0], inputs[1]], y),
        Op::SelectBackward(op) => index::select_backward(kernels, op, [inputs[0], inputs[1]], y),
        Op::Gather(op) => index::gather(kernels, op, [inputs[0], inputs[1]], y),
        Op::GatherBackward(op) => index::gather_backward(kernels, op, [inputs[0], inputs[1]], y),
        Op::Scatter(op) => index::scatter(kernels, op, [inputs[0], inputs[1], inputs[2]], y),
        Op::RavelIndex(op) => index::ravel_index(kernels, op, inputs[0], y),
        Op::Softmax(op) => rows::softmax(kernels, (op.axis, op.log), inputs[0], None, y),
        Op::SoftmaxBackward(op) => {
            rows::softmax(kernels, (op.axis, op.log), inputs[0], Some(inputs[1]), y)
        }
        Op::LayerNorm(op) => rows::layer_norm(kernels, op, inputs, outputs),
        Op::LayerNormBackward(op) => rows::layer_norm_backward(kernels, op, inputs, outputs),
        Op::Update(op) => update::update(kernels, op, inputs, outputs),
        Op::Conv2d(op) => image::conv2d(kernels, op, inputs, y),
        Op::Conv2dInputGrad(op) => image::input_grad(kernels, op, inputs, y),
        Op::Conv2dWeightGrad(op) => image::weight_grad(kernels, op, inputs, y),
        Op::MaxPool2d(op) => image::max_pool2d(kernels, op, inputs[0], outputs),
        Op::MaxPool2dBackward(_) => image::max_pool2d_backward(kernels, [inputs[0], inputs[1]], y),
        Op::AvgPool2d(op) => image::avg_pool2d(kernels, op, inputs[0], y),
        Op::AvgPool2dBackward(op) => image::avg_pool2d_backward(kernels, op, inputs[0], y),
        Op::BatchNorm(op) => batch_norm::batch_norm(kernels, op, inputs, outputs),
        Op::BatchNormBackward(_) => batch_norm::batch_norm_backward(kernels, inputs, outputs),
        Op::BatchNormEval(op) => batch_norm::batch_norm_eval(kernels, op, inputs, y),
        Op::Attention(op) => attention::attention(kernels, op, inputs, outputs),
        Op::AttentionBackward(op) => attention::attention_backward(kernels, op, inputs, outputs),
        Op::Recurrent(op) => recurrent::recurrent(kernels, op, inputs, outputs),
        Op::RecurrentBackward(op) => recurrent::recurrent_backward(kernels, op, inputs, outputs),
        Op::CrossEntropy(op) => loss::cross_entropy(kernels, op, inputs, outputs),
        Op::CrossEntropyBackward(op) => loss::cross_entropy_backward(kernels, op, inputs, y),
        Op::Scan(op) => order::scan(kernels, op, inputs[0], outputs),
        Op::LinearRecurrence(op) => order::recurrence(kernels, op, [inputs[0], inputs[1]], y),
        Op::Sort(op) => order::sort(kernels, op, inputs[0], outputs),
        Op::SearchSorted(op) => order::search_sorted(kernels, op, [inputs[0], inputs[1]], y),
        Op::Nonzero(op) => order::nonzero(kernels, op, inputs[0], y),
        Op::Sample(op) => random::sample(kernels, op, inputs[0], y),
        Op::Multinomial(op) => random::multinomial(kernels, op, inputs[0], y),
        Op::Fft(op) => fft::fft(kernels, op, inputs[0], y),
        _ => Err(kernels.missing("this operation")),
    }
}

/// What an operation computes for each element, if it can be a link of a chain.
fn call(op: &Op, inputs: &[DType]) -> Option<Call> {
    Some(match op {
        Op::Fill(op) => pointwise::fill(op.value, op.meta.dtype),
        Op::Cast(op) => pointwise::cast(inputs[0], op.dtype),
        Op::Unary(op) => pointwise::unary(op.kind, inputs[0]),
        Op::Binary(op) => binary::binary(op.kind, inputs[0]),
        Op::BinaryScalar(op) => binary::binary_scalar(*op, inputs[0]),
        Op::Where(_) => pointwise::select_where(inputs[1]),
        Op::ActivationBackward(op) => pointwise::activation_backward(*op, inputs[0]),
        _ => return None,
    })
}

/// Real and imaginary parts side by side along one more axis, in the same memory: for what moves
/// numbers and adds them up, which may treat the parts apart.
fn parts(x: &AnyTensor) -> Result<AnyTensor> {
    Ok(apply(&View::AsReal.into(), &[&x.detach()])?.swap_remove(0))
}

/// Indices for both [`parts`] of what they stand for.
fn twice(indices: &AnyTensor) -> Result<AnyTensor> {
    let mut shape = indices.shape().to_vec();
    shape.push(1);
    let column = indices.detach().reshape(&shape[..]);
    shape[indices.rank()] = 2;
    Ok(column.expand(&shape[..]))
}

/// Runs the decomposition of an operation. Its parts are computed in f32 where the inputs are
/// halves, so that the result is rounded once.
fn composed(
    kernels: &Kernels,
    op: &Op,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
) -> Result<()> {
    let widened = |x: &&AnyTensor| match x.dtype() {
        DType::F16 | DType::BF16 => {
            Ok(apply(&Cast { dtype: DType::F32 }.into(), &[&x.detach()])?.swap_remove(0))
        }
        _ => Ok(x.detach()),
    };
    let wide = inputs.iter().map(widened).collect::<Result<Vec<AnyTensor>>>()?;
    let parts = op.spec().decompose(&wide.iter().collect::<Vec<_>>());
    let parts = parts.ok_or_else(|| kernels.missing("these shapes"))?;
    for (part, y) in parts.iter().zip(outputs) {
        pointwise::cast(part.dtype(), y.dtype()).run(kernels, &[part], y)?;
    }
    Ok(())
}

/// Every kernel there is, so that all can be compiled and tested: for numbers of elements of 32
/// bits, and of each family a few for 64.
pub fn programs() -> Vec<Program> {
    let mut all = listed();
    all.sort_by(|a, b| (a.family.name, &a.name).cmp(&(b.family.name, &b.name)));
    all.dedup_by(|a, b| a.name == b.name);
    all
}

/// The kernels that each family lists; some serve several.
fn listed() -> Vec<Program> {
    let families = [
        attention::programs(),
        batch_norm::programs(),
        binary::programs(),
        copy::programs(),
        fft::programs(),
        fused::programs(),
        image::programs(),
        index::programs(),
        loss::programs(),
        matmul::programs(),
        order::programs(),
        pointwise::programs(),
        random::programs(),
        recurrent::programs(),
        reduce::programs(),
        rows::programs(),
        totals::programs(),
        update::programs(),
        update_many::programs(),
    ];
    families.concat()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_name_stands_for_one_kernel() {
        let mut named: HashMap<String, Program> = HashMap::new();
        for program in listed() {
            let first = named.entry(program.name.clone()).or_insert_with(|| program.clone());
            assert_eq!(*first, program);
        }
        assert_eq!(named.len(), programs().len());
    }

    #[test]
    fn a_source_defines_and_forgets_what_is_its_own() {
        let all = programs();
        let pair = &all[..2];
        let text = Program::source_of(pair, "AFTER");
        assert_eq!(text.matches("#define NAME ").count(), 2);
        assert_eq!(text.matches("#undef NAME\n").count(), 2);
        assert_eq!(text.matches("AFTER").count(), 2);
        assert!(pair[0].source().contains(&format!("#define NAME {}\n", pair[0].name)));
        assert_eq!(Program::source_of(&[], ""), "");
    }
}
