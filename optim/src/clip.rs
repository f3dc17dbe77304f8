//! Gradients kept within bounds, in place.

use kiln_autograd::Gradients;
use kiln_nn::Config;
use kiln_tensor::op::{Axes, BinaryKind, ReduceKind};
use kiln_tensor::{AnyTensor, DType, Error, Result};

/// The Euclidean norm of all elements.
pub(crate) fn norm(x: &AnyTensor) -> f64 {
    norm_of(x, 2.0)
}

/// The `p`-norm of all elements; halves are summed in f32.
fn norm_of(x: &AnyTensor, p: f64) -> f64 {
    if x.num_elements() == 0 {
        return 0.0;
    }
    let x = match x.dtype() {
        DType::F16 | DType::BF16 => x.cast(DType::F32),
        _ => x.detach(),
    };
    let reduce = |x: &AnyTensor, kind| x.reduce(kind, Axes::all(x.rank())).item::<f64>();
    if p == f64::INFINITY {
        return f64::max(reduce(&x, ReduceKind::Max), -reduce(&x, ReduceKind::Min));
    }
    if p == 2.0 {
        return reduce(&x.square(), ReduceKind::Sum).sqrt();
    }
    let powers = x.abs().pow_scalar(p);
    reduce(&powers, ReduceKind::Sum).powf(1.0 / p)
}

/// The `p`-norm of all gradients as one vector (`f64::INFINITY`: the largest magnitude):
/// `torch.nn.utils.get_total_norm`.
pub fn grad_norm(grads: &Gradients, p: f64) -> f64 {
    let norms = grads.iter().map(|grad| norm_of(grad, p));
    if p == f64::INFINITY {
        return norms.fold(0.0, |a, b| if a.is_nan() || a > b { a } else { b });
    }
    norms.map(|norm| norm.powf(p)).sum::<f64>().powf(1.0 / p)
}

/// Scales all gradients together so that their Euclidean norm as one vector is at most `max_norm`:
/// `torch.nn.utils.clip_grad_norm_`. Gives the norm from before, to be logged. An error, and
/// unchanged gradients, if that is NaN or infinite: then leave the step out.
///
/// ```
/// use kiln_autograd::Autograd;
/// use kiln_tensor::Tensor;
/// let x = Tensor::<1>::from([3.0, 4.0]).require_grad();
/// let mut grads = (&x * &x).backward();
/// assert_eq!(kiln_optim::clip_grad_norm(&mut grads, 5.0)?, 10.0);
/// assert!((x.grad(&grads).unwrap().to_data().iter::<f32>().sum::<f32>() - 7.0).abs() < 1e-5);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
pub fn clip_grad_norm(grads: &mut Gradients, max_norm: f64) -> Result<f64> {
    let total = grad_norm(grads, 2.0);
    if !total.is_finite() {
        let rule = format!("the norm of the gradients is {total}");
        return Err(Error::Argument { op: "clip_grad_norm", rule });
    }
    let factor = factor(max_norm, total);
    if factor < 1.0 {
        grads.iter_mut().for_each(|grad| grad.binary_scalar_assign(BinaryKind::Mul, factor));
    }
    Ok(total)
}

/// What PyTorch multiplies by.
fn factor(max_norm: f64, norm: f64) -> f64 {
    max_norm / (norm + 1e-6)
}

/// Scales each gradient for itself to a Euclidean norm of at most `max_norm`.
pub fn clip_grad_norm_each(grads: &mut Gradients, max_norm: f64) {
    for grad in grads.iter_mut() {
        let factor = factor(max_norm, norm(grad));
        if factor < 1.0 {
            grad.binary_scalar_assign(BinaryKind::Mul, factor);
        }
    }
}

/// Cuts each element of each gradient to `-limit..=limit`: `torch.nn.utils.clip_grad_value_`.
pub fn clip_grad_value(grads: &mut Gradients, limit: f64) {
    for grad in grads.iter_mut() {
        grad.binary_scalar_assign(BinaryKind::Min, limit);
        grad.binary_scalar_assign(BinaryKind::Max, -limit);
    }
}

/// How an optimizer clips gradients before each step; see
/// [`Optim::with_grad_clipping`](crate::Optim::with_grad_clipping).
#[derive(Config, Debug, PartialEq)]
pub enum GradientClipping {
    /// [`clip_grad_value`].
    Value(f64),
    /// [`clip_grad_norm_each`].
    Norm(f64),
    /// [`clip_grad_norm`]. Gradients whose norm is not finite stay as they are.
    GlobalNorm(f64),
}

impl GradientClipping {
    /// Clips the gradients.
    pub fn clip(&self, grads: &mut Gradients) {
        match *self {
            GradientClipping::Value(limit) => clip_grad_value(grads, limit),
            GradientClipping::Norm(max) => clip_grad_norm_each(grads, max),
            // The optimizer would take the same NaN from unclipped ones.
            GradientClipping::GlobalNorm(max) => drop(clip_grad_norm(grads, max)),
        }
    }
}
