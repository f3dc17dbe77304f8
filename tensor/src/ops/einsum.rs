//! Sums of products over named indices.
//!
//! An index that occurs twice in one operand takes its diagonal, one that occurs nowhere else is
//! summed at once, and then operands are joined two by two, each pair by one batched matrix product,
//! in the order that takes the fewest multiplications.

mod order;
mod parse;

use smallvec::SmallVec;

use self::order::order;
use self::parse::{Equation, parse};
use crate::error::OrFail;
use crate::op::{Axes, ReduceKind, View};
use crate::{AnyTensor, Error, Result, Shape};

/// An index of the equation: a letter, or an axis that an ellipsis stands for.
type Label = u8;

/// A set of labels, one bit each.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Labels(u128);

impl Labels {
    const NONE: Labels = Labels(0);

    fn of(labels: &[Label]) -> Self {
        Labels(labels.iter().fold(0, |bits, &label| bits | 1 << label))
    }

    fn has(self, label: Label) -> bool {
        self.0 >> label & 1 == 1
    }

    fn or(self, other: Self) -> Self {
        Labels(self.0 | other.0)
    }

    fn and(self, other: Self) -> Self {
        Labels(self.0 & other.0)
    }

    /// How many combinations of indices there are.
    fn size(self, extents: &[usize]) -> f64 {
        (0..extents.len()).filter(|&i| self.has(i as Label)).map(|i| extents[i] as f64).product()
    }
}

/// A tensor whose axes have labels, all different.
struct Operand {
    tensor: AnyTensor,
    labels: SmallVec<[Label; 8]>,
}

impl AnyTensor {
    /// The sum of products that `equation` describes, as `torch.einsum`; see
    /// [`linalg::einsum`](crate::linalg::einsum).
    #[track_caller]
    pub fn einsum(equation: &str, operands: &[&AnyTensor]) -> AnyTensor {
        let shapes: Vec<Shape> = operands.iter().map(|x| x.shape()).collect();
        let Equation { inputs, output, extents } = parse(equation, &shapes).or_fail();
        let operands =
            operands.iter().zip(inputs).map(|(&x, labels)| distinct(x, &labels, &extents));
        joined(operands.collect(), &output, &extents)
    }

    /// The sum over pairs of axes, as `torch.tensordot`: what is left of the axes of this tensor, then
    /// what is left of those of the other.
    #[track_caller]
    pub fn tensordot(&self, other: &AnyTensor, pairs: &[(usize, usize)]) -> AnyTensor {
        let (a, b) = (self, other);
        check_pairs(a, b, pairs).or_fail();
        let mut labels: Vec<Label> = (0..(a.rank() + b.rank()) as Label).collect();
        let (left, right) = labels.split_at_mut(a.rank());
        pairs.iter().for_each(|&(i, j)| right[j] = left[i]);
        let free = |side: &[Label], other: &[Label]| -> Vec<Label> {
            side.iter().copied().filter(|label| !other.contains(label)).collect()
        };
        let output = [free(left, right), free(right, left)].concat();
        let mut extents = a.shape().to_vec();
        extents.extend_from_slice(&b.shape());
        let operand =
            |x: &AnyTensor, labels: &[Label]| Operand { tensor: x.clone(), labels: labels.into() };
        joined(vec![operand(a, left), operand(b, right)], &output, &extents)
    }
}

fn check_pairs(a: &AnyTensor, b: &AnyTensor, pairs: &[(usize, usize)]) -> Result<()> {
    let op = "tensordot";
    let (left, right) = (a.shape(), b.shape());
    for (k, &(i, j)) in pairs.iter().enumerate() {
        let i = crate::resolve_axis(op, i, a.rank())?;
        let j = crate::resolve_axis(op, j, b.rank())?;
        let error = |rule| Err(Error::Shape { op, shapes: vec![left, right], rule });
        if pairs[..k].iter().any(|&(x, y)| x == i || y == j) {
            return error(format!("axis {i} of the first or {j} of the second is named twice"));
        }
        if left[i] != right[j] {
            return error(format!("axis {i} of the first and {j} of the second differ"));
        }
    }
    Ok(())
}

/// `x` with one axis for each of its labels.
fn distinct(x: &AnyTensor, labels: &[Label], extents: &[usize]) -> Operand {
    let (mut x, mut labels) = (x.clone(), SmallVec::<[Label; 8]>::from_slice(labels));
    // An index that occurs twice: the diagonal of both axes, which becomes the last axis.
    while let Some((i, j)) = repeated(&labels) {
        let label = labels[i];
        x = x.apply(View::Diagonal(i, j), &[]);
        labels.remove(j);
        labels.remove(i);
        labels.push(label);
    }
    // An axis of extent 1 that repeats along a longer one of another operand changes nothing.
    for axis in (0..labels.len()).rev() {
        if x.shape()[axis] == 1 && extents[labels[axis] as usize] != 1 {
            x = x.reshape(x.shape().without(axis));
            labels.remove(axis);
        }
    }
    Operand { tensor: x, labels }
}

fn repeated(labels: &[Label]) -> Option<(usize, usize)> {
    let pair = |j: usize| labels[..j].iter().position(|&label| label == labels[j]).map(|i| (i, j));
    (1..labels.len()).find_map(pair)
}

/// Joins all operands, and orders the axes as `output`.
fn joined(mut operands: Vec<Operand>, output: &[Label], extents: &[usize]) -> AnyTensor {
    let wanted = Labels::of(output);
    let sets: Vec<Labels> = operands.iter().map(|x| Labels::of(&x.labels)).collect();
    for (i, operand) in operands.iter_mut().enumerate() {
        let others = (0..sets.len()).filter(|&j| j != i);
        sum_lone(operand, others.fold(wanted, |all, j| all.or(sets[j])));
    }
    let sets: Vec<Labels> = operands.iter().map(|x| Labels::of(&x.labels)).collect();
    let mut operands: Vec<Option<Operand>> = operands.into_iter().map(Some).collect();
    for (i, j) in order(&sets, wanted, extents) {
        let (a, b) =
            (operands[i].take().expect("joined once"), operands[j].take().expect("joined once"));
        let rest = operands.iter().flatten().map(|x| Labels::of(&x.labels));
        let kept = rest.fold(wanted, Labels::or);
        operands[i] = Some(join(a, b, kept, extents));
    }
    let last = operands.into_iter().flatten().next().expect("an operand");
    permuted(&last, output)
}

/// Sums over the labels of an operand that are not in `kept`.
fn sum_lone(operand: &mut Operand, kept: Labels) {
    let lone: Axes =
        (0..operand.labels.len()).filter(|&axis| !kept.has(operand.labels[axis])).collect();
    let left: SmallVec<[Label; 8]> =
        operand.labels.iter().copied().filter(|&label| kept.has(label)).collect();
    if left.len() == operand.labels.len() {
        return;
    }
    let dims: Vec<usize> = (0..operand.labels.len())
        .filter(|&axis| kept.has(operand.labels[axis]))
        .map(|axis| operand.tensor.shape()[axis])
        .collect();
    operand.tensor = operand.tensor.reduce(ReduceKind::Sum, lone).reshape(Shape::new(&dims));
    operand.labels = left;
}

/// The axes of an operand in the order of `labels`, which are all of its own.
fn permuted(operand: &Operand, labels: &[Label]) -> AnyTensor {
    let place = |label: &Label| {
        operand.labels.iter().position(|own| own == label).expect("a label of the operand") as u8
    };
    let axes: SmallVec<[u8; 8]> = labels.iter().map(place).collect();
    if axes.iter().enumerate().all(|(i, &axis)| i == axis as usize) {
        return operand.tensor.clone();
    }
    operand.tensor.permute(&axes)
}

/// The product of two operands, summed over the labels of both that are not in `kept`.
fn join(a: Operand, b: Operand, kept: Labels, extents: &[usize]) -> Operand {
    let (in_a, in_b) = (Labels::of(&a.labels), Labels::of(&b.labels));
    let both = in_a.and(in_b);
    let pick = |from: &[Label], wanted: &dyn Fn(Label) -> bool| -> Vec<Label> {
        from.iter().copied().filter(|&label| wanted(label)).collect()
    };
    let batch = pick(&a.labels, &|label| both.has(label) && kept.has(label));
    let summed = pick(&a.labels, &|label| both.has(label) && !kept.has(label));
    let left = pick(&a.labels, &|label| !both.has(label));
    let right = pick(&b.labels, &|label| !both.has(label));
    let dims = |labels: &[Label]| -> Vec<usize> {
        labels.iter().map(|&label| extents[label as usize]).collect()
    };
    let ones = |labels: &[Label]| vec![1; labels.len()];
    let result = [&batch[..], &left, &right].concat();
    let tensor = if summed.is_empty() || !a.tensor.dtype().is_float() {
        // Products of elements; the sum, of integers, comes after them.
        let x = permuted(&a, &[&batch[..], &left, &summed].concat());
        let y = permuted(&b, &[&batch[..], &right, &summed].concat());
        let x = x
            .reshape(Shape::new([dims(&batch), dims(&left), ones(&right), dims(&summed)].concat()));
        let y = y
            .reshape(Shape::new([dims(&batch), ones(&left), dims(&right), dims(&summed)].concat()));
        let axes: Axes = (result.len()..result.len() + summed.len()).collect();
        let product = x.mul(&y);
        if summed.is_empty() { product } else { product.reduce(ReduceKind::Sum, axes) }
    } else {
        let size = |labels: &[Label]| dims(labels).into_iter().product::<usize>();
        let matrix = |x: AnyTensor, rows: usize, columns: usize| {
            let batched = [size(&batch), rows, columns];
            x.reshape(Shape::new(if batch.is_empty() { &batched[1..] } else { &batched[..] }))
        };
        let x = permuted(&a, &[&batch[..], &left, &summed].concat());
        let y = permuted(&b, &[&batch[..], &summed, &right].concat());
        let x = matrix(x, size(&left), size(&summed));
        x.matmul(&matrix(y, size(&summed), size(&right)))
    };
    Operand { tensor: tensor.reshape(Shape::new(dims(&result))), labels: result.into() }
}
