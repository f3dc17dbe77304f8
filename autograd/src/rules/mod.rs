//! The table of gradients: operation to gradients of its inputs, in tensor operations.
//!
//! Only gradients that someone asked for are computed. A fused backward is an operation of its own,
//! whose gradient in turn comes from its decomposition.

mod assign;
mod attention;
mod complex;
mod custom;
mod decomposition;
mod elementwise;
mod fused;
mod linalg;
mod recurrent;
mod scan;

use kiln_tensor::op::{
    Axes, BatchNormBackward, Conv2d, Conv2dInputGrad, Conv2dWeightGrad, CrossEntropyBackward,
    Derivative, LayerNormBackward, MatMul, MatMulSums, MaxPool2dBackward, Meta, Op, Reduce,
    ReduceKind, Select, SelectBackward, SoftmaxBackward, View, cat_parts, inverse_permutation,
};
use kiln_tensor::{AnyTensor, Result, Shape, Tracked};
use smallvec::{SmallVec, smallvec};

use self::decomposition::through_decomposition;
use self::elementwise::{activation_gradient, binary, binary_scalar, unary};
use crate::node::{Node, Origin, Saved, Step, node};
use crate::walk::Walk;

type Results = SmallVec<[Option<AnyTensor>; 3]>;

/// Why an operation has no rule, if it has none. Operations whose results are all integers or bools
/// are never recorded and need no reason.
pub fn not_differentiable(op: &Op) -> Option<&'static str> {
    match op {
        Op::Fill(_) | Op::Arange(_) | Op::Random(_) => Some("it has no inputs"),
        Op::Sample(_) => Some("a random number has no gradient; detach the parameters of its law"),
        Op::Update(_) => Some("an optimizer step is not differentiated"),
        Op::Totals(_) => Some("it is for gradients; build a loss of `square` and `sum`"),
        Op::Custom(custom) => match custom.op().derivative() {
            Derivative::None(reason) => Some(reason),
            Derivative::Rule(_) | Derivative::Decomposition => None,
        },
        _ => None,
    }
}

/// What a rule knows of the operation.
pub(crate) struct Context<'a> {
    pub node: &'a std::sync::Arc<Node>,
    pub step: &'a Step,
    pub saved: Saved,
    /// Shape and dtype of the first output, of which the gradient is at hand.
    pub output: Meta,
    pub walk: &'a Walk<'a>,
}

impl Context<'_> {
    /// Whether someone asked for the gradient of input `i`.
    fn wants(&self, i: usize) -> bool {
        self.step.parents[i].as_ref().is_some_and(|parent| self.walk.wants(parent))
    }

    /// Input `i`, which the spec keeps.
    fn input(&self, i: usize) -> AnyTensor {
        self.saved.inputs[i].clone().expect("the spec keeps it")
    }

    /// Output `i`, which the spec keeps; tracked again if the pass itself is recorded.
    fn output(&mut self, i: usize) -> AnyTensor {
        let output = self.saved.outputs[i].take().expect("the spec keeps it");
        if !self.walk.create_graph {
            return output;
        }
        output.with_tracked(Some(Tracked { node: self.node.clone(), output: i as u32 }))
    }

    fn meta(&self, i: usize) -> &Meta {
        self.step.meta(i, &self.output)
    }

    fn shape(&self, i: usize) -> &Shape {
        &self.meta(i).shape
    }

    /// The gradients of two inputs, each computed only if it is wanted.
    fn two(
        &self,
        first: impl FnOnce() -> AnyTensor,
        second: impl FnOnce() -> AnyTensor,
    ) -> Results {
        smallvec![self.wants(0).then(first), self.wants(1).then(second)]
    }
}

fn one(gradient: AnyTensor) -> Results {
    smallvec![Some(gradient)]
}

/// The gradients of the inputs, given those of the outputs.
pub(crate) fn gradients(
    mut cx: Context<'_>,
    mut outputs: SmallVec<[Option<AnyTensor>; 1]>,
) -> Result<Results> {
    let step = cx.step;
    if let Op::Custom(custom) = &step.op
        && let Derivative::Rule(rule) = custom.op().derivative()
    {
        return custom::by_rule(custom.op(), rule, &mut cx, &outputs);
    }
    if let Op::Factor(op) = &step.op {
        return linalg::factor(op, &mut cx, &outputs);
    }
    if let Op::Fused(_) = &step.op {
        return fused::fused(cx, &outputs);
    }
    if let Op::Attention(op) = &step.op {
        return Ok(attention::attention(op, &mut cx, &outputs));
    }
    if let Op::Recurrent(op) = &step.op {
        return recurrent::recurrent(op, &mut cx, &outputs);
    }
    if outputs.iter().skip(1).any(Option::is_some) {
        // The fused backwards know the first output; gradients of the statistics are rare.
        return through_decomposition(&cx, &outputs);
    }
    let Some(dy) = outputs[0].take() else {
        return Ok(cx.step.parents.iter().map(|_| None).collect());
    };
    // For a function with a complex derivative `f'`, the gradient `dL/dre + i dL/dim` is
    // `conj(f') dy`, while the rules say `f' dy`: they are applied between two conjugations.
    if dy.dtype().is_complex() && is_holomorphic(&cx.step.op) {
        let results = rule(&mut cx, dy.conj())?;
        return Ok(results.into_iter().map(|dx| dx.map(|dx| dx.conj())).collect());
    }
    rule(&mut cx, dy)
}

/// Whether the rule is written with the derivative of a function, and so holds for complex numbers
/// as well. The other operations that take them only move or add numbers, or have rules of their
/// own.
fn is_holomorphic(op: &Op) -> bool {
    matches!(op, Op::Unary(_) | Op::Binary(_) | Op::BinaryScalar(_) | Op::Reduce(_) | Op::MatMul(_))
}

/// The gradients of the inputs, given that of the first output.
fn rule(cx: &mut Context<'_>, dy: AnyTensor) -> Result<Results> {
    let op = &cx.step.op;
    Ok(match op {
        Op::View(view) => one(view_gradient(view, dy, cx.shape(0))),
        Op::Unview(op) => one(match &*op.view {
            View::Reshape(shape) => dy.reshape(*shape),
            view => dy.apply(view.clone(), &[]),
        }),
        // A real input has no part in the imaginary direction.
        Op::Cast(_) if dy.dtype().is_complex() && !cx.meta(0).dtype.is_complex() => {
            one(dy.real().cast(cx.meta(0).dtype))
        }
        Op::Cast(_) => one(dy.cast(cx.meta(0).dtype)),
        Op::Unary(op) => one(unary(op.kind, cx, &dy)),
        Op::Polar(op) => one(complex::polar(*op, cx, &dy)),
        Op::Fft(op) => one(complex::fft(op, cx, &dy)),
        Op::Binary(op) => binary(op, cx, &dy),
        Op::BinaryScalar(op) => one(binary_scalar(op, cx, &dy)),
        Op::Where(_) => {
            let (mask, zero) =
                (cx.input(0), AnyTensor::full(Meta::new([], dy.dtype()), 0, dy.device()));
            let masked =
                |a: &AnyTensor, b: &AnyTensor, i| a.select_where(&mask, b).sum_to(cx.shape(i));
            smallvec![
                None,
                cx.wants(1).then(|| masked(&dy, &zero, 1)),
                cx.wants(2).then(|| masked(&zero, &dy, 2)),
            ]
        }
        Op::Reduce(op) => one(reduce(op, cx, &dy)),
        Op::Cat(op) => {
            let parts = cat_parts((0..cx.step.parents.len()).map(|i| cx.shape(i)[op.axis]));
            let part = |(i, (start, len))| cx.wants(i).then(|| dy.narrow(op.axis, start, len));
            parts.into_iter().enumerate().map(part).collect()
        }
        Op::Select(op) => {
            let backward = SelectBackward { axis: op.axis, extent: cx.shape(0)[op.axis] };
            one(dy.apply(backward, &[&cx.input(1)]))
        }
        Op::SelectBackward(op) => one(dy.apply(Select { axis: op.axis }, &[&cx.input(1)])),
        Op::Gather(op) => one(dy.gather_backward(op.axis, *cx.shape(0), &cx.input(1))),
        Op::GatherBackward(op) => one(dy.gather(op.axis, &cx.input(1))),
        Op::Sort(op) => {
            let indices = cx.saved.outputs[1].take().expect("the spec keeps it");
            one(dy.gather_backward(op.axis, *cx.shape(0), &indices))
        }
        Op::Scan(op) => one(scan::scan(op, cx, &dy)),
        Op::LinearRecurrence(op) => scan::recurrence(op, cx, &dy),
        Op::Assign(op) => assign::assign(op, cx, &dy),
        Op::Scatter(op) => assign::scatter(op, cx, &dy),
        Op::MatMul(op) => matmul(op, cx, dy),
        Op::Solve(op) => linalg::solve(op, cx, &dy),
        Op::Factor(_) | Op::Attention(_) | Op::Recurrent(_) | Op::Fused(_) => {
            unreachable!("its outputs all have gradients: see above")
        }
        Op::Conv2d(op) => {
            let options = op.options;
            let mut results = cx.two(
                || {
                    let size = [cx.shape(0)[2], cx.shape(0)[3]];
                    dy.apply(Conv2dInputGrad { options, size }, &[&cx.input(1)])
                },
                || {
                    let kernel = [cx.shape(1)[2], cx.shape(1)[3]];
                    cx.input(0).apply(Conv2dWeightGrad { options, kernel }, &[&dy])
                },
            );
            if op.bias {
                let axes: Axes = [0, 2, 3].into_iter().collect();
                results.push(
                    cx.wants(2).then(|| dy.reduce(ReduceKind::Sum, axes).reshape(*cx.shape(2))),
                );
            }
            results
        }
        Op::Conv2dInputGrad(op) => cx.two(
            || dy.apply(Conv2d { options: op.options, bias: false }, &[&cx.input(1)]),
            || {
                let kernel = [cx.shape(1)[2], cx.shape(1)[3]];
                dy.apply(Conv2dWeightGrad { options: op.options, kernel }, &[&cx.input(0)])
            },
        ),
        Op::Conv2dWeightGrad(op) => cx.two(
            || {
                let size = [cx.shape(0)[2], cx.shape(0)[3]];
                cx.input(1).apply(Conv2dInputGrad { options: op.options, size }, &[&dy])
            },
            || cx.input(0).apply(Conv2d { options: op.options, bias: false }, &[&dy]),
        ),
        Op::MaxPool2d(_) => {
            let size = [cx.shape(0)[2], cx.shape(0)[3]];
            let indices = cx.saved.outputs[1].take().expect("the spec keeps it");
            one(dy.apply(MaxPool2dBackward { size }, &[&indices]))
        }
        Op::MaxPool2dBackward(op) => {
            let [n, c, oh, ow] = cx.shape(0).dims();
            let flat = |x: &AnyTensor, pixels| x.reshape([n, c, pixels]);
            let picked = flat(&dy, op.size[0] * op.size[1]).gather(2, &flat(&cx.input(1), oh * ow));
            one(picked.reshape([n, c, oh, ow]))
        }
        Op::AvgPool2d(op) => {
            let size = [cx.shape(0)[2], cx.shape(0)[3]];
            one(dy.apply(kiln_tensor::op::AvgPool2dBackward { pool: *op, size }, &[]))
        }
        Op::AvgPool2dBackward(op) => one(dy.apply(op.pool, &[])),
        Op::Softmax(op) => {
            let backward = SoftmaxBackward { axis: op.axis, log: op.log };
            one(cx.output(0).apply(backward, &[&dy]))
        }
        Op::LayerNorm(op) => {
            let (x, mean, rstd) = (cx.input(0), cx.output(1), cx.output(2));
            let backward = LayerNormBackward { affine: op.affine };
            if op.affine {
                let weight = cx.input(1);
                x.apply_all(backward, &[&mean, &rstd, &dy, &weight]).into_iter().map(Some).collect()
            } else {
                one(x.apply(backward, &[&mean, &rstd, &dy]))
            }
        }
        Op::BatchNorm(_) => {
            let (x, weight, mean, rstd) = (cx.input(0), cx.input(1), cx.output(1), cx.output(2));
            let results = x.apply_all(BatchNormBackward, &[&mean, &rstd, &dy, &weight]);
            results.into_iter().map(Some).collect()
        }
        // The weights of classes are hardly ever trained.
        Op::CrossEntropy(op) if op.weighted && cx.wants(2) => {
            return through_decomposition(cx, &smallvec![Some(dy), None, None]);
        }
        Op::CrossEntropy(op) => {
            let (logits, targets) = (cx.input(0), cx.input(1));
            let (log_sum, total) = (cx.output(1), cx.output(2));
            let weight = op.weighted.then(|| cx.input(2));
            let mut inputs: SmallVec<[&AnyTensor; 5]> = smallvec![&targets, &log_sum, &total, &dy];
            inputs.extend(&weight);
            let dx = logits.apply(CrossEntropyBackward { loss: *op }, &inputs);
            std::iter::once(Some(dx)).chain(cx.step.parents[1..].iter().map(|_| None)).collect()
        }
        // The same elements are dropped again.
        Op::Dropout(op) => one(dy.apply(op.clone(), &[])),
        Op::ActivationBackward(_)
        | Op::SoftmaxBackward(_)
        | Op::AttentionBackward(_)
        | Op::LayerNormBackward(_)
        | Op::BatchNormBackward(_)
        | Op::BatchNormEval(_)
        | Op::CrossEntropyBackward(_)
        | Op::MatMulSums(_)
        | Op::RecurrentBackward(_)
        | Op::Custom(_) => {
            let mut outputs = SmallVec::from_elem(None, cx.step.outputs);
            outputs[0] = Some(dy);
            return through_decomposition(cx, &outputs);
        }
        Op::Fill(_)
        | Op::Arange(_)
        | Op::Random(_)
        | Op::ArgReduce(_)
        | Op::Totals(_)
        | Op::Nonzero(_)
        | Op::SearchSorted(_)
        | Op::RavelIndex(_)
        | Op::Sample(_)
        | Op::Multinomial(_)
        | Op::Update(_) => unreachable!("{op:?} is never recorded"),
    })
}

fn view_gradient(view: &View, dy: AnyTensor, shape: &Shape) -> AnyTensor {
    match view {
        View::Reshape(_) => dy.reshape(*shape),
        View::Permute(axes) => dy.permute(&inverse_permutation(axes)),
        View::Expand(_) => dy.sum_to(shape),
        View::Slice(_) | View::Unfold { .. } | View::Diagonal(..) => {
            dy.unview(view.clone(), *shape)
        }
        View::AsReal => dy.contiguous().apply(View::AsComplex, &[]),
        View::AsComplex => dy.apply(View::AsReal, &[]),
        View::Detach => unreachable!("detach is never recorded"),
    }
}

fn reduce(op: &Reduce, cx: &mut Context<'_>, dy: &AnyTensor) -> AnyTensor {
    let shape = *cx.shape(0);
    match op.kind {
        ReduceKind::Sum => dy.expand(shape),
        ReduceKind::Mean => {
            let n = shape.num_elements() as f64 / dy.num_elements().max(1) as f64;
            dy.mul_scalar(1.0 / n).expand(shape)
        }
        ReduceKind::Prod => dy.mul(&scan::others(&cx.input(0), op.axes)),
        // Equal extrema share, as `torch.amax` does.
        ReduceKind::Max | ReduceKind::Min => {
            let (x, y) = (cx.input(0), cx.output(0));
            let hit = x.equal(&y).cast(dy.dtype());
            let share = dy.div(&hit.reduce(ReduceKind::Sum, op.axes));
            hit.mul(&share)
        }
        ReduceKind::Any | ReduceKind::All => unreachable!("bools are never recorded"),
    }
}

fn matmul(op: &MatMul, cx: &mut Context<'_>, dy: AnyTensor) -> Results {
    let dz = match op.activation {
        Some(activation) if activation.derivative_from_output() => {
            activation_gradient(activation, cx.output(0), &dy)
        }
        Some(activation) => {
            // What entered the activation was not kept, but can be computed again.
            let pre = MatMul { bias: op.bias, activation: None };
            let inputs: SmallVec<[AnyTensor; 3]> =
                (0..cx.step.parents.len()).map(|i| cx.input(i)).collect();
            let rest: SmallVec<[&AnyTensor; 2]> = inputs[1..].iter().collect();
            activation_gradient(activation, inputs[0].apply(pre, &rest), &dy)
        }
        None => dy,
    };
    let [a_shape, b_shape] = [*cx.shape(0), *cx.shape(1)];
    // The weight of a linear layer arrives transposed. Its gradient is computed transposed as well,
    // so that it lies in memory as the weight itself does.
    let transposed = cx.step.parents[1].as_ref().is_some_and(|parent| {
        let origin = &node(&parent.node).origin;
        matches!(origin, Origin::Step(Step { op: Op::View(View::Permute(_)), .. }))
    });
    let da = || dz.matmul(&cx.input(1).transpose()).sum_to(&a_shape);
    let factors = || match (cx.input(0), b_shape.rank()) {
        // One right operand for the whole batch: one product over all rows.
        (a, 2) if a.rank() > 2 => (rows(&a), rows(&dz)),
        (a, _) => (a, dz.clone()),
    };
    // Weight and bias of a linear layer: some devices sum the gradient while they multiply it.
    if op.bias
        && transposed
        && b_shape.rank() == 2
        && cx.wants(1)
        && cx.wants(2)
        && dz.device().backend().supports(&MatMulSums.into())
    {
        let (a, dz) = factors();
        let both = dz.transpose().apply_all(MatMulSums, &[&a]);
        return smallvec![cx.wants(0).then(da), Some(both[0].transpose()), Some(both[1].clone())];
    }
    let mut results = cx.two(da, || {
        let (a, dz) = factors();
        let db = if transposed {
            dz.transpose().matmul(&a).transpose()
        } else {
            a.transpose().matmul(&dz)
        };
        db.sum_to(&b_shape)
    });
    if op.bias {
        results.push(cx.wants(2).then(|| dz.sum_to(cx.shape(2))));
    }
    results
}

/// All leading axes as one: `[.., n]` to `[rows, n]`.
fn rows(x: &AnyTensor) -> AnyTensor {
    let shape = x.shape();
    let (n, leading) = shape.split_last().expect("a matrix has axes");
    x.reshape([leading.iter().product(), *n])
}
