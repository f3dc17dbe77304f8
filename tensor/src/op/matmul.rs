//! The matrix product with its epilogue, and with the sums of a factor.

use smallvec::{SmallVec, smallvec};

use super::{Activation, Axes, Keeps, Meta, Metas, Operation, ReduceKind, Unary, check, one};
use crate::{AnyTensor, Result, Shape};

/// `activation(a b + bias)`, batched over leading axes that broadcast.
///
/// Inputs: `a` `[.., m, k]`, `b` `[.., k, n]`, and `bias` `[n]` if there is one; one float or complex dtype
/// (complex ones without bias and activation).
/// Result: `[.., m, n]`. Half types are summed in f32; bias and activation are applied to an output
/// tile while it is in cache. Any strides are read in place: a transposed operand costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct MatMul {
    /// Whether there is a third input, the bias.
    pub bias: bool,
    /// What is applied to each element of the result.
    pub activation: Option<Activation>,
}

impl Operation for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let op = self.name();
        let (a, b) = if self.bias {
            let [a, b, bias] = check::arity(op, inputs)?;
            if b.shape.last().is_none_or(|&n| *bias.shape != [n]) {
                return Err(check::shape_error(
                    op,
                    inputs,
                    "the bias must have one value per column",
                ));
            }
            (a, b)
        } else {
            let [a, b] = check::arity(op, inputs)?;
            (a, b)
        };
        if a.dtype.is_complex() {
            check::same_dtype(op, inputs)?;
            if self.bias || self.activation.is_some() {
                let rule = "complex products have no epilogue; add the bias afterwards";
                return Err(check::dtype_error(op, inputs, rule));
            }
        } else {
            check::floats(op, inputs)?;
        }
        let (Some((a_batch, &[m, k])), Some((b_batch, &[k2, n]))) =
            (a.shape.split_last_chunk(), b.shape.split_last_chunk())
        else {
            return Err(check::shape_error(op, inputs, "both need at least two axes"));
        };
        if k != k2 {
            let rule = format!("the left has {k} columns, the right {k2} rows; they must be equal");
            return Err(check::shape_error(op, inputs, rule));
        }
        let batch = Shape::try_new(a_batch)?.broadcast(&Shape::try_new(b_batch)?);
        let Some(batch) = batch else {
            return Err(check::shape_error(op, inputs, "the batch axes do not broadcast"));
        };
        let dims: SmallVec<[usize; 8]> = batch.iter().copied().chain([m, n]).collect();
        Ok(one(Meta { shape: Shape::try_new(&dims)?, dtype: a.dtype }))
    }

    fn keeps(&self, tracked: u32) -> Keeps {
        if self.activation.is_some_and(|activation| !activation.derivative_from_output()) {
            // What enters the activation is computed again.
            return Keeps::INPUTS;
        }
        // The gradient of one factor is a product with the other.
        let inputs = (tracked & 1) << 1 | (tracked >> 1 & 1);
        Keeps { inputs, outputs: self.activation.is_some() as u32 }
    }

    fn flops(&self, inputs: &[Meta], outputs: &[Meta]) -> u64 {
        let depth = inputs[0].shape.last().copied().unwrap_or(0);
        let each = if outputs[0].dtype.is_complex() { 8 } else { 2 };
        each * depth as u64 * outputs[0].len() as u64
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        if !self.bias && self.activation.is_none() {
            return None;
        }
        let mut y = inputs[0].matmul(inputs[1]);
        if self.bias {
            y = y.add(inputs[2]);
        }
        if let Some(activation) = self.activation {
            y = y.apply(Unary { kind: activation.unary() }, &[]);
        }
        Some(smallvec![y])
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{complex, float};
        let plain = MatMul::default();
        for (a, b) in [
            (vec![3, 4], vec![4, 5]),
            (vec![1, 7], vec![7, 1]),
            (vec![2, 3, 4], vec![4, 5]),
            (vec![2, 1, 3, 4], vec![5, 4, 2]),
            (vec![2, 3, 4], vec![4, 0]),
            (vec![3, 0], vec![0, 2]),
            (vec![0, 3], vec![3, 2]),
        ] {
            samples.case(plain, [float(a.clone()), float(b.clone())]);
            samples.case(plain, [complex(a), complex(b)]);
        }
        for (m, k, n) in [(33, 70, 65), (130, 300, 33), (1, 300, 70)] {
            samples.rough(plain, [float([m, k]), float([k, n])]);
        }
        let bias = MatMul { bias: true, activation: None };
        samples.case(bias, [float([2, 3, 4]), float([4, 5]), float([5])]);
        for activation in Activation::ALL {
            let op = MatMul { bias: true, activation: Some(activation) };
            samples.case(op, [float([3, 4]), float([4, 5]), float([5])]);
        }
        let relu = MatMul { bias: false, activation: Some(Activation::Relu) };
        samples.case(relu, [float([3, 4]), float([2, 4, 5])]);
    }
}

/// A product together with the sums of its left factor: the gradients of weight and bias of a linear
/// layer, of which both read the gradient of the result.
///
/// Inputs: `a` `[m, k]` and `b` `[k, n]`, of one float dtype. Results: `a b` `[m, n]`, and the sum of
/// each row of `a`, `[m]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MatMulSums;

impl Operation for MatMulSums {
    fn name(&self) -> &'static str {
        "matmul_sums"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let op = self.name();
        let [a, b] = check::arity(op, inputs)?;
        check::floats(op, inputs)?;
        let (&[m, k], &[k2, n]) = (&*a.shape, &*b.shape) else {
            return Err(check::shape_error(op, inputs, "both must be matrices"));
        };
        if k != k2 {
            let rule = format!("the left has {k} columns, the right {k2} rows; they must be equal");
            return Err(check::shape_error(op, inputs, rule));
        }
        Ok(smallvec![Meta::new([m, n], a.dtype), Meta::new([m], a.dtype)])
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::INPUTS
    }

    fn flops(&self, inputs: &[Meta], outputs: &[Meta]) -> u64 {
        let depth = inputs[0].shape[1] as u64;
        depth * (2 * outputs[0].len() + outputs[1].len()) as u64
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        let a = inputs[0];
        let columns: Axes = [1].into_iter().collect();
        let sums = a.reduce(ReduceKind::Sum, columns).reshape([a.shape()[0]]);
        Some(smallvec![a.matmul(inputs[1]), sums])
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::float;
        for (m, k, n) in [(3, 4, 5), (1, 7, 1), (2, 0, 3), (0, 3, 2)] {
            samples.case(MatMulSums, [float([m, k]), float([k, n])]);
        }
        samples.rough(MatMulSums, [float([70, 300]), float([300, 33])]);
    }
}
