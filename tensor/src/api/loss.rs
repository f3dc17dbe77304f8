//! Losses as functions. Those that compare element by element return the loss of each element,
//! as `torch.nn.functional` does with `reduction="none"`; take its `mean()` or `sum()`.

use crate::op::BinaryKind;
use crate::tensor::Tensor;
use crate::{activation, fail};

/// The mean over all rows of `-sum(target_probs * log_softmax(logits))` along the last axis:
/// `torch.nn.functional.cross_entropy` of probabilities.
///
/// `logits` and `target_probs` `[.., classes]`. Result: one number.
///
/// ```
/// use kiln_tensor::{Tensor, loss};
/// let (logits, target) = (Tensor::<2>::from([[2.0, 2.0]]), Tensor::from([[0.5, 0.5]]));
/// let loss = loss::cross_entropy_with_logits(logits, target);
/// assert!((loss.into_scalar::<f32>() - 2f32.ln()).abs() < 1e-6);
/// ```
#[track_caller]
pub fn cross_entropy_with_logits<const D: usize>(
    logits: impl AsRef<Tensor<D>>,
    target_probs: impl AsRef<Tensor<D>>,
) -> Tensor<1> {
    if D == 0 {
        let rule = "an axis of classes is needed".into();
        fail(crate::Error::Argument { op: "cross_entropy_with_logits", rule });
    }
    // A class of probability 0 costs nothing, even if its logit is minus infinity.
    let (log_probs, target) = (activation::log_softmax(logits, -1), target_probs.as_ref());
    let unused = target.as_any().equal_scalar(0);
    let log_probs = log_probs.as_any().fill_where(&unused, 0);
    Tensor::<D>::from_any(log_probs.mul(target.as_any())).sum_dim(-1).mean().neg()
}

/// `(x - target)^2`: `torch.nn.functional.mse_loss`.
#[track_caller]
pub fn mse<const D: usize>(x: impl AsRef<Tensor<D>>, target: impl AsRef<Tensor<D>>) -> Tensor<D> {
    x.as_ref().sub(target).square()
}

/// `|x - target|`: `torch.nn.functional.l1_loss`.
#[track_caller]
pub fn l1<const D: usize>(x: impl AsRef<Tensor<D>>, target: impl AsRef<Tensor<D>>) -> Tensor<D> {
    x.as_ref().sub(target).abs()
}

/// `(x - target)^2 / 2` up to a difference of `delta`, beyond it a line of the same slope:
/// `torch.nn.functional.huber_loss`. Panics unless `delta` is positive.
#[track_caller]
pub fn huber<const D: usize>(
    x: impl AsRef<Tensor<D>>,
    target: impl AsRef<Tensor<D>>,
    delta: f64,
) -> Tensor<D> {
    if delta.is_nan() || delta <= 0.0 {
        let rule = format!("delta must be positive, found {delta}");
        fail(crate::Error::Argument { op: "huber", rule });
    }
    let difference = x.as_ref().sub(target);
    let distance = difference.as_any().abs();
    let near = distance.compare(BinaryKind::Less, delta);
    // The square of a large difference, which is not taken, must not overflow.
    let square = distance.fill_where(&near.logical_not(), 0).square().mul_scalar(0.5);
    let line = distance.sub_scalar(0.5 * delta).mul_scalar(delta);
    Tensor::from_any(square.select_where(&near, &line))
}

/// [`huber`] divided by `beta`, and [`l1`] for `beta` 0: `torch.nn.functional.smooth_l1_loss`.
#[track_caller]
pub fn smooth_l1<const D: usize>(
    x: impl AsRef<Tensor<D>>,
    target: impl AsRef<Tensor<D>>,
    beta: f64,
) -> Tensor<D> {
    if beta == 0.0 { l1(x, target) } else { huber(x, target, beta).div_scalar(beta) }
}

/// `-(target log(x) + (1 - target) log(1 - x))` of probabilities, with logarithms no less than
/// -100: `torch.nn.functional.binary_cross_entropy`. No gradient flows through such a logarithm.
#[track_caller]
pub fn bce<const D: usize>(x: impl AsRef<Tensor<D>>, target: impl AsRef<Tensor<D>>) -> Tensor<D> {
    let (x, target) = (x.as_ref().as_any(), target.as_ref().as_any());
    let log = |x: &crate::AnyTensor, log: fn(&crate::AnyTensor) -> crate::AnyTensor| {
        let cut = log(&x.detach()).compare(BinaryKind::Less, -100);
        log(&x.fill_where(&cut, 0.5)).fill_where(&cut, -100)
    };
    let (yes, no) = (log(x, |x| x.log()), log(x, |x| x.neg().log1p()));
    let other = target.neg().add_scalar(1);
    Tensor::from_any(target.mul(&yes).add(&other.mul(&no)).neg())
}

/// [`bce`] of the sigmoid of `x`, accurate for logits of any size:
/// `torch.nn.functional.binary_cross_entropy_with_logits`.
#[track_caller]
pub fn bce_with_logits<const D: usize>(
    x: impl AsRef<Tensor<D>>,
    target: impl AsRef<Tensor<D>>,
) -> Tensor<D> {
    let (x, target) = (x.as_ref(), target.as_ref());
    let (yes, no) = (activation::softplus(x.neg(), 1.0), activation::softplus(x, 1.0));
    target.mul(yes).add(target.neg().add_scalar(1).mul(no))
}

/// `target (log(target) - log_probs)`: `torch.nn.functional.kl_div` of log-probabilities and
/// probabilities.
#[track_caller]
pub fn kl_div<const D: usize>(
    log_probs: impl AsRef<Tensor<D>>,
    target: impl AsRef<Tensor<D>>,
) -> Tensor<D> {
    let target = target.as_ref();
    target.xlogy(target).sub(target.mul(log_probs))
}
