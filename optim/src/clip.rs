//! Gradients kept within bounds, in place.

use kiln_autograd::Gradients;
use kiln_nn::Config;
use kiln_tensor::op::{Axes, BinaryKind, ReduceKind, Total};
use kiln_tensor::{AnyTensor, DType, Error, Result};

use crate::together::{alike, in_host_memory, numbers, scale, scale_each, total, totals};

/// The Euclidean norm of all elements.
pub(crate) fn norm(x: &AnyTensor) -> f64 {
    totals(Total::Squares, &[x]).item::<f64>().sqrt()
}

/// The sum of the `p`-th powers of all elements, or their largest magnitude, as `[1]`; halves are
/// summed in f32.
fn powers(x: &AnyTensor, p: f64) -> AnyTensor {
    let x = match x.dtype() {
        DType::F16 | DType::BF16 => x.cast(DType::F32),
        _ => x.detach(),
    };
    let reduce = |x: &AnyTensor, kind| x.reduce(kind, Axes::all(x.rank())).reshape([1]);
    if p == f64::INFINITY {
        return reduce(&x, ReduceKind::Max).maximum(&reduce(&x, ReduceKind::Min).neg());
    }
    reduce(&x.abs().pow_scalar(p), ReduceKind::Sum)
}

/// The `p`-norm of all gradients as one vector (`f64::INFINITY`: the largest magnitude):
/// `torch.nn.utils.get_total_norm`.
pub fn grad_norm(grads: &Gradients, p: f64) -> f64 {
    if p == 2.0 {
        return total(Total::Squares, grads).sqrt();
    }
    let some = grads.iter().filter(|grad| grad.num_elements() > 0);
    let powers = alike(some.map(|grad| powers(grad, p)));
    let powers = powers.iter().flat_map(|group| {
        let group: Vec<&AnyTensor> = group.iter().collect();
        numbers(&AnyTensor::cat(&group, 0))
    });
    if p == f64::INFINITY {
        return powers.fold(0.0, |a, b| if a.is_nan() || a > b { a } else { b });
    }
    powers.sum::<f64>().powf(1.0 / p)
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
        scale(grads, factor);
    }
    Ok(total)
}

/// What PyTorch multiplies by.
fn factor(max_norm: f64, norm: f64) -> f64 {
    max_norm / (norm + 1e-6)
}

/// The same on the device, and one where the norm is not finite.
fn factors(max_norm: f64, norms: &AnyTensor) -> AnyTensor {
    let max = AnyTensor::full(norms.meta(), max_norm, norms.device());
    let factors = max.div(&norms.add_scalar(1e-6)).minimum_scalar(1);
    factors.select_where(&norms.is_finite(), &norms.ones_like())
}

/// Scales each gradient for itself to a Euclidean norm of at most `max_norm`. One whose norm is NaN
/// or infinite stays as it is.
pub fn clip_grad_norm_each(grads: &mut Gradients, max_norm: f64) {
    for mut group in alike(grads.iter_mut()) {
        let squares = totals(Total::Squares, &group);
        if !in_host_memory(squares.device()) {
            let factors = factors(max_norm, &squares.sqrt());
            scale_each(&mut group, |i| factors.narrow(0, i, 1));
            continue;
        }
        for (grad, square) in group.iter_mut().zip(numbers(&squares)) {
            let factor = factor(max_norm, square.sqrt());
            if square.is_finite() && factor < 1.0 {
                grad.binary_scalar_assign(BinaryKind::Mul, factor);
            }
        }
    }
}

/// As [`clip_grad_norm`] for gradients of one device and dtype, which leaves them as they are if the
/// norm is not finite, and waits for nothing.
fn clip_on_device(group: &mut [&mut AnyTensor], max_norm: f64) {
    let squares = totals(Total::Squares, group);
    let norm = squares.reduce(ReduceKind::Sum, Axes::all(1)).sqrt();
    let factor = factors(max_norm, &norm);
    scale_each(group, |_| factor.clone());
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
            GradientClipping::GlobalNorm(max) => match &mut alike(grads.iter_mut())[..] {
                [group] if !in_host_memory(group[0].device()) => clip_on_device(group, max),
                _ => drop(clip_grad_norm(grads, max)),
            },
        }
    }
}
