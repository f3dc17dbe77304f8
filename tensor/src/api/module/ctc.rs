//! Connectionist temporal classification (Graves et al. 2006).

use super::Reduction;
use crate::error::OrFail;
use crate::op::Meta;
use crate::tensor::{Int, Tensor};
use crate::{AnyTensor, DType, Error, TensorData};

/// The logarithm of an impossible path: so low that its probability is zero, yet finite, so that no
/// gradient becomes NaN.
const NEVER: f64 = -1e30;

/// The negative logarithm of the probability that each sequence of classes spells its target:
/// `torch.nn.functional.ctc_loss` with `reduction="none"`.
///
/// `log_probs` `[t, n, classes]`, `targets` `[n, s]` without blanks, `input_lengths` and
/// `target_lengths` `[n]`. Result: `[n]`; infinity, with a gradient of zero, where no path fits.
/// Panics if a length or a target is out of range.
///
/// ```
/// use kiln_tensor::{Device, Int, Tensor, module::ctc_loss};
/// // Two classes, equally likely: of the four paths of two steps, three spell "1".
/// let log_probs = Tensor::<3>::full([2, 1, 2], 0.5f64.ln(), &Device::cpu());
/// let (targets, one) = (Tensor::<2, Int>::from([[1]]), Tensor::<1, Int>::from([1]));
/// let loss = ctc_loss(log_probs, targets, Tensor::<1, Int>::from([2]), one, 0);
/// assert!((loss.into_scalar::<f64>() + 0.75f64.ln()).abs() < 1e-6);
/// ```
#[track_caller]
pub fn ctc_loss(
    log_probs: impl AsRef<Tensor<3>>,
    targets: impl AsRef<Tensor<2, Int>>,
    input_lengths: impl AsRef<Tensor<1, Int>>,
    target_lengths: impl AsRef<Tensor<1, Int>>,
    blank: usize,
) -> Tensor<1> {
    let log_probs = log_probs.as_ref();
    let (inputs, lengths) = (input_lengths.as_ref(), target_lengths.as_ref());
    let paths = Paths::new(log_probs, targets.as_ref(), inputs, lengths, blank);
    Tensor::from_any(paths.loss(log_probs.as_any()))
}

/// [`ctc_loss`] as one number, or one for each sequence: `torch.nn.functional.ctc_loss`. The mean is
/// that of the losses divided by the lengths of their targets. `zero_infinity` makes infinite losses
/// zero.
#[track_caller]
pub fn ctc_loss_reduced(
    log_probs: impl AsRef<Tensor<3>>,
    targets: impl AsRef<Tensor<2, Int>>,
    input_lengths: impl AsRef<Tensor<1, Int>>,
    target_lengths: impl AsRef<Tensor<1, Int>>,
    blank: usize,
    reduction: Reduction,
    zero_infinity: bool,
) -> Tensor<1> {
    let lengths = target_lengths.as_ref();
    let mut loss = ctc_loss(log_probs, targets, input_lengths, lengths, blank);
    if zero_infinity {
        loss = loss.mask_fill(loss.detach().equal_elem(f64::INFINITY), 0.0);
    }
    match reduction {
        Reduction::Mean | Reduction::Auto => {
            let lengths = lengths.as_any().maximum_scalar(1).cast(loss.dtype());
            loss.div(Tensor::<1>::from_any(lengths)).mean()
        }
        reduction => reduction.apply(&loss),
    }
}

/// The states of every sequence: its labels with blanks before, between and after, `2 s + 1`.
struct Paths {
    steps: Vec<i64>,
    lengths: Vec<i64>,
    states: usize,
    /// The class of each state, `[n * states]`.
    classes: Vec<i64>,
    /// Whether the state before last may be skipped: a blank between different labels.
    skips: Vec<bool>,
}

impl Paths {
    #[track_caller]
    fn new(
        log_probs: &Tensor<3>,
        targets: &Tensor<2, Int>,
        input_lengths: &Tensor<1, Int>,
        target_lengths: &Tensor<1, Int>,
        blank: usize,
    ) -> Self {
        let ([t, n, classes], [rows, s]) = (log_probs.dims(), targets.dims());
        if [rows, rows, rows] != [n, input_lengths.dims()[0], target_lengths.dims()[0]] {
            let rule = "expected [t, n, classes], targets [n, s] and two lengths [n]".into();
            let shapes = [input_lengths.shape(), target_lengths.shape()];
            let shapes = [log_probs.shape(), targets.shape()].into_iter().chain(shapes).collect();
            crate::fail(Error::Shape { op: "ctc_loss", shapes, rule });
        }
        let within = |name: &str, values: Vec<i64>, limit: usize| {
            if let Some(bad) = values.iter().find(|&&x| x < 0 || x > limit as i64) {
                let rule = format!("{name} {bad} is not in 0..={limit}");
                crate::fail(Error::Argument { op: "ctc_loss", rule });
            }
            values
        };
        let read = |x: TensorData| x.iter::<i64>().collect::<Vec<_>>();
        within("blank", vec![blank as i64], classes.saturating_sub(1));
        let steps = within("the input length", read(input_lengths.to_data()), t);
        let lengths = within("the target length", read(target_lengths.to_data()), s);
        let targets = read(targets.to_data());
        let states = 2 * s + 1;
        let (mut all, mut skips) = (Vec::with_capacity(n * states), Vec::new());
        for (row, &length) in lengths.iter().enumerate() {
            // What lies past the length is never read, and may be anything.
            let labels = targets[row * s..row * s + length as usize].to_vec();
            let labels = within("the target", labels, classes.saturating_sub(1));
            for state in 0..states {
                let label = labels.get(state / 2).copied().filter(|_| state % 2 == 1);
                let before = (state > 2).then(|| labels.get(state / 2 - 1)).flatten();
                all.push(label.unwrap_or(blank as i64));
                skips.push(label.is_some() && before.is_some() && before != label.as_ref());
            }
        }
        Self { steps, lengths, states, classes: all, skips }
    }

    #[track_caller]
    fn loss(&self, log_probs: &AnyTensor) -> AnyTensor {
        let ([t, n, _], dtype) = (log_probs.shape().dims::<3>(), log_probs.dtype());
        let (states, device) = (self.states, log_probs.device());
        // A half type can hold neither the sums nor NEVER.
        let x = log_probs.cast(if dtype == DType::F64 { DType::F64 } else { DType::F32 });
        let host = |data: TensorData| AnyTensor::from_data(&data, &device).or_fail();
        let classes = host(TensorData::new(self.classes.clone(), [1, n, states]));
        let skips = host(TensorData::new(self.skips.clone(), [n, states]));
        let steps = host(TensorData::new(self.steps.clone(), [n, 1]));
        let never = AnyTensor::full(Meta::new([], x.dtype()), NEVER, device);
        let edge = never.expand([n, 2]);
        // [t, n, states]
        let emitted = x.gather(2, &classes.expand([t, n, states])).maximum_scalar(NEVER);
        let start = (0..n * states).map(|i| if i % states == 0 { 0.0 } else { NEVER });
        let start = TensorData::new(start.collect::<Vec<f64>>(), [n, states]);
        let mut alpha = host(start.convert_dtype(x.dtype()));
        for step in 0..t {
            // From the same state, from the one before, and over a blank.
            let wide = AnyTensor::cat(&[&edge, &alpha], 1);
            let [over, before] = [0, 1].map(|start| wide.narrow(1, start, states));
            let over = over.select_where(&skips, &never);
            let reached = log_sum(&[&alpha, &before, &over]);
            let next = reached.add(&emitted.narrow(0, step, 1).reshape([n, states]));
            // A sequence that has ended stays as it is.
            alpha = next.select_where(&steps.greater_scalar(step as i64), &alpha);
        }
        // A path ends at the last label or at the blank after it.
        let last = |back: i64| {
            let at: Vec<i64> =
                self.lengths.iter().map(|&length| (2 * length - back).max(0)).collect();
            alpha.gather(1, &host(TensorData::new(at, [n, 1])))
        };
        let empty: Vec<bool> = self.lengths.iter().map(|&length| length == 0).collect();
        let empty = host(TensorData::new(empty, [n, 1]));
        let total = log_sum(&[&last(0), &never.select_where(&empty, &last(1))]);
        let loss = total.neg().reshape([n]).cast(dtype);
        let impossible = total.detach().lower_equal_scalar(NEVER / 2.0).reshape([n]);
        let infinity = AnyTensor::full(Meta::new([], dtype), f64::INFINITY, device);
        infinity.select_where(&impossible, &loss)
    }
}

/// `log(exp(a) + exp(b) + ..)`.
#[track_caller]
fn log_sum(parts: &[&AnyTensor]) -> AnyTensor {
    let (first, rest) = parts.split_first().expect("a part");
    let max = rest.iter().fold(first.detach(), |max, x| max.maximum(&x.detach()));
    let exp = |x: &AnyTensor| x.sub(&max).exp();
    rest.iter().fold(exp(first), |sum, x| sum.add(&exp(x))).log().add(&max)
}
