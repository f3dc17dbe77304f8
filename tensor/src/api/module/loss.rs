//! Losses of classes.

use crate::Error;
use crate::activation::log_softmax;
use crate::op::CrossEntropy;
use crate::tensor::{Int, Tensor};

/// How the losses of single items become the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// All of them.
    None,
    /// Their mean; where items have weights, the weighted one.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// Their sum divided by the extent of the first axis.
    BatchMean,
    /// What the loss is mostly used with: the mean, of a divergence that of the batch.
    Auto,
}

impl Reduction {
    /// The losses of single items as the result; not reduced, they are in one row.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, module::Reduction};
    /// let losses = Tensor::<2>::from([[1.0, 2.0, 6.0]]);
    /// assert_eq!(Reduction::Mean.apply(&losses).into_scalar::<f32>(), 3.0);
    /// assert_eq!(Reduction::BatchMean.apply(&losses).into_scalar::<f32>(), 9.0);
    /// assert_eq!(Reduction::None.apply(&losses).dims(), [3]);
    /// ```
    #[track_caller]
    pub fn apply<const D: usize>(self, losses: impl AsRef<Tensor<D>>) -> Tensor<1> {
        let losses = losses.as_ref();
        match self {
            Reduction::None => losses.reshape([losses.num_elements()]),
            Reduction::Mean | Reduction::Auto => losses.mean(),
            Reduction::Sum => losses.sum(),
            Reduction::BatchMean => {
                let rows = losses.shape().first().copied().unwrap_or(1);
                losses.sum().div_scalar(rows as f64)
            }
        }
    }
}

/// The cross-entropy of each row: see [`CrossEntropy`]. `logits` `[n, classes]`, `targets` `[n]`.
/// Result: `[n]`. Panics if a target is out of range. [`cross_entropy_loss`] has options.
#[track_caller]
pub fn cross_entropy(
    logits: impl AsRef<Tensor<2>>,
    targets: impl AsRef<Tensor<1, Int>>,
) -> Tensor<1> {
    logits.as_ref().apply(CrossEntropy, &[targets.as_ref().as_any()])
}

/// Options of [`cross_entropy_loss`] and [`nll_loss`].
#[derive(Clone, Debug, Default)]
pub struct CrossEntropyOptions {
    /// A weight for each class, `[classes]`.
    pub weight: Option<Tensor<1>>,
    /// A target whose items do not count.
    pub ignore_index: Option<i64>,
    /// The share of the target that is spread evenly over all classes.
    pub label_smoothing: f64,
    /// What becomes of the single losses.
    pub reduction: Reduction,
}

/// `torch.nn.functional.cross_entropy`. `logits` `[n, classes]`, `targets` `[n]`. Result: `[n]` or
/// `[1]`.
#[track_caller]
pub fn cross_entropy_loss(
    logits: impl AsRef<Tensor<2>>,
    targets: impl AsRef<Tensor<1, Int>>,
    options: CrossEntropyOptions,
) -> Tensor<1> {
    let log_probs = log_softmax(logits, 1);
    likelihood("cross_entropy", &log_probs, targets.as_ref(), &options)
}

/// `torch.nn.functional.nll_loss` of logarithms of probabilities `[n, classes]` and `targets`
/// `[n]`. Result: `[n]` or `[1]`.
#[track_caller]
pub fn nll_loss(
    log_probs: impl AsRef<Tensor<2>>,
    targets: impl AsRef<Tensor<1, Int>>,
    options: CrossEntropyOptions,
) -> Tensor<1> {
    likelihood("nll_loss", log_probs.as_ref(), targets.as_ref(), &options)
}

#[track_caller]
fn likelihood(
    op: &'static str,
    log_probs: &Tensor<2>,
    targets: &Tensor<1, Int>,
    options: &CrossEntropyOptions,
) -> Tensor<1> {
    let ([n, classes], dtype) = (log_probs.dims(), log_probs.dtype());
    let weighted = options.weight.as_ref().is_none_or(|weight| weight.dims() == [classes]);
    if targets.dims() != [n] || !weighted {
        let rule = "expected [n, classes], a target per row and a weight per class".into();
        crate::fail(Error::Shape { op, shapes: vec![log_probs.shape(), targets.shape()], rule });
    }
    if !(0.0..=1.0).contains(&options.label_smoothing) {
        let rule = format!("label smoothing {} is not in 0..=1", options.label_smoothing);
        crate::fail(Error::Argument { op, rule });
    }
    let ignored = options.ignore_index.map(|index| targets.equal_elem(index));
    let safe = match &ignored {
        Some(ignored) => targets.mask_fill(ignored, 0),
        None => targets.clone(),
    };
    let drop = |x: Tensor<1>| match &ignored {
        Some(ignored) => x.mask_fill(ignored, 0.0),
        None => x,
    };
    let ones = || Tensor::<1>::ones([n], (&log_probs.device(), dtype));
    let picked = |weight: &Tensor<1>| weight.select(0, &safe);
    let weights = drop(options.weight.as_ref().map_or_else(ones, picked));
    let hit = log_probs.gather(1, safe.reshape([n, 1])).reshape([n]).neg();
    let mut losses = drop(hit).mul(&weights);
    if options.label_smoothing > 0.0 {
        let all = match &options.weight {
            Some(weight) => log_probs.mul(weight.reshape([1, classes])),
            None => log_probs.clone(),
        };
        let smooth = drop(all.sum_dim(1).reshape([n]).neg());
        let share = options.label_smoothing / classes.max(1) as f64;
        losses = losses * (1.0 - options.label_smoothing) + smooth * share;
    }
    match options.reduction {
        Reduction::Mean | Reduction::Auto => losses.sum().div(weights.sum()),
        reduction => reduction.apply(&losses),
    }
}
