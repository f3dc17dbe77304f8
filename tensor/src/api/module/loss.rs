//! Losses of classes.

use crate::activation::log_softmax;
use crate::op::{self, CrossEntropy};
use crate::tensor::{Int, Tensor};
use crate::{Error, fail};

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
/// Result: `[n]`, with 0 where a target is -100. Panics if another target is out of range.
/// [`cross_entropy_loss`] has options.
#[track_caller]
pub fn cross_entropy(
    logits: impl AsRef<Tensor<2>>,
    targets: impl AsRef<Tensor<1, Int>>,
) -> Tensor<1> {
    let op = CrossEntropy { reduction: op::Reduction::None, ..CrossEntropy::default() };
    logits.as_ref().apply(op, &[targets.as_ref().as_any()])
}

/// Options of [`cross_entropy_loss`], [`cross_entropy_probs`] and [`nll_loss`].
#[derive(Clone, Debug)]
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

/// As in PyTorch: no weights, no smoothing, the mean; target -100 does not count.
impl Default for CrossEntropyOptions {
    fn default() -> Self {
        let CrossEntropy { ignore_index, label_smoothing, .. } = CrossEntropy::default();
        Self { weight: None, ignore_index, label_smoothing, reduction: Reduction::Mean }
    }
}

/// `torch.nn.functional.cross_entropy` of class indices, with all options in one pass. `logits`
/// `[n, classes, ..]`, `targets` `[n, ..]`. Result: `[1]`; not reduced, the loss of each target in
/// one row. Panics if a target is out of range; the mean of nothing is NaN.
///
/// ```
/// use kiln_tensor::module::{CrossEntropyOptions, cross_entropy_loss};
/// use kiln_tensor::{Int, Tensor};
/// let logits = Tensor::<2>::from([[0.0, 0.0], [9.0, 0.0]]);
/// let targets = Tensor::<1, Int>::from([1i64, -100]);
/// let loss = cross_entropy_loss(logits, targets, CrossEntropyOptions::default());
/// assert!((loss.into_scalar::<f32>() - 2f32.ln()).abs() < 1e-6);
/// ```
#[track_caller]
pub fn cross_entropy_loss<const D: usize, const D2: usize>(
    logits: impl AsRef<Tensor<D>>,
    targets: impl AsRef<Tensor<D2, Int>>,
    options: CrossEntropyOptions,
) -> Tensor<1> {
    likelihood(false, logits.as_ref(), targets.as_ref(), &options)
}

/// `torch.nn.functional.nll_loss` of logarithms of probabilities `[n, classes, ..]` and `targets`
/// `[n, ..]`. Result as of [`cross_entropy_loss`].
#[track_caller]
pub fn nll_loss<const D: usize, const D2: usize>(
    log_probs: impl AsRef<Tensor<D>>,
    targets: impl AsRef<Tensor<D2, Int>>,
    options: CrossEntropyOptions,
) -> Tensor<1> {
    likelihood(true, log_probs.as_ref(), targets.as_ref(), &options)
}

#[track_caller]
fn likelihood<const D: usize, const D2: usize>(
    log_probs: bool,
    x: &Tensor<D>,
    targets: &Tensor<D2, Int>,
    options: &CrossEntropyOptions,
) -> Tensor<1> {
    let op = CrossEntropy {
        weighted: options.weight.is_some(),
        ignore_index: options.ignore_index,
        label_smoothing: options.label_smoothing,
        reduction: match options.reduction {
            Reduction::None => op::Reduction::None,
            Reduction::Mean | Reduction::Auto => op::Reduction::Mean,
            Reduction::Sum | Reduction::BatchMean => op::Reduction::Sum,
        },
        log_probs,
    };
    let losses = match &options.weight {
        Some(weight) => x.as_any().apply(op, &[targets.as_any(), weight.as_any()]),
        None => x.as_any().apply(op, &[targets.as_any()]),
    };
    let losses = Tensor::from_any(losses.reshape([losses.num_elements()]));
    match options.reduction {
        Reduction::BatchMean => losses.div_scalar(x.shape()[0] as f64),
        _ => losses,
    }
}

/// `torch.nn.functional.cross_entropy` of targets that are distributions over the classes:
/// `logits` and `probs` `[n, classes, ..]`. Result: `[1]`; not reduced, in one row. The mean is
/// over the rows, whatever the weights; nothing is ignored.
#[track_caller]
pub fn cross_entropy_probs<const D: usize>(
    logits: impl AsRef<Tensor<D>>,
    probs: impl AsRef<Tensor<D>>,
    options: CrossEntropyOptions,
) -> Tensor<1> {
    let (logits, probs) = (logits.as_ref(), probs.as_ref());
    let shape = logits.shape();
    let classes = shape.get(1).copied().unwrap_or(0);
    let weighted = options.weight.as_ref().is_none_or(|weight| weight.dims() == [classes]);
    if D < 2 || probs.shape() != shape || !weighted {
        let rule = "expected [n, classes, ..], probabilities alike and a weight per class".into();
        let shapes = vec![shape, probs.shape()];
        fail(Error::Shape { op: "cross_entropy_probs", shapes, rule });
    }
    let smoothing = options.label_smoothing;
    if !(0.0..=1.0).contains(&smoothing) {
        let rule = format!("label smoothing {smoothing} is not in 0..=1");
        fail(Error::Argument { op: "cross_entropy_probs", rule });
    }
    let mut target = probs.clone();
    if smoothing > 0.0 {
        target = target * (1.0 - smoothing) + smoothing / classes.max(1) as f64;
    }
    if let Some(weight) = &options.weight {
        let mut dims = [1; D];
        dims[1] = classes;
        target = target.mul(weight.reshape(dims));
    }
    let losses = log_softmax(logits, 1).mul(target).sum_dim(1).neg();
    let losses = losses.reshape([losses.num_elements()]);
    match options.reduction {
        Reduction::Mean | Reduction::Auto => losses.mean(),
        reduction => reduction.apply(&losses),
    }
}
