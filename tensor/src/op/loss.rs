//! Cross-entropy of class indices, with its options and its reduction.

use smallvec::{SmallVec, smallvec};

use super::{Axes, Keeps, Meta, Metas, Operation, ReduceKind, check, one};
use crate::{AnyTensor, Result, Shape};

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
}

/// The loss of each row: `-log(softmax(logits)[target])`, as `torch.nn.functional.cross_entropy`
/// and `nll_loss` have it.
///
/// Inputs: `logits` `[n, classes, ..]`, `targets` `[n, ..]` in `0..classes`, and if weighted the
/// weights of the classes `[classes]`. Results: the losses, `[n, ..]` or reduced to `[1]`, in the
/// dtype of the logits; `log(sum(exp(logits - max(logits))))` `[n, ..]`, which backward needs
/// (without the maximum it keeps its precision for logits of any size); and the sum of the weights
/// of all targets that count, `[1]`, by which the mean divides. A target out of range is an error
/// when the operation runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropy {
    /// Whether classes have weights.
    pub weighted: bool,
    /// A target whose item does not count, in range or not.
    pub ignore_index: Option<i64>,
    /// The share of each target that is spread evenly over all classes, in `0..=1`.
    pub label_smoothing: f64,
    /// What becomes of the single losses.
    pub reduction: Reduction,
    /// Whether the logits are logarithms of probabilities already, as for `nll_loss`.
    pub log_probs: bool,
}

/// No weights, no smoothing, the mean; target -100 does not count.
impl Default for CrossEntropy {
    fn default() -> Self {
        Self {
            weighted: false,
            ignore_index: Some(-100),
            label_smoothing: 0.0,
            reduction: Reduction::Mean,
            log_probs: false,
        }
    }
}

impl CrossEntropy {
    fn check(&self, op: &'static str, inputs: &[Meta], floats: &[Meta]) -> Result<()> {
        let (logits, targets) = (&inputs[0], &inputs[1]);
        check::floats(op, &inputs[..1])?;
        check::indices(op, targets)?;
        if logits.shape.rank() < 2 || targets.shape != logits.shape.without(1) {
            let rule = "expected logits [n, classes, ..] and a target for each row, [n, ..]";
            return Err(check::shape_error(op, inputs, rule));
        }
        if logits.shape[1] == 0 && !targets.is_empty() {
            return Err(check::shape_error(op, inputs, "at least one class is needed"));
        }
        if floats.iter().any(|meta| meta.dtype != logits.dtype) {
            let rule = "logits, weights and gradients must have one dtype";
            return Err(check::dtype_error(op, inputs, rule));
        }
        if let Some(weight) = floats.last().filter(|_| self.weighted)
            && *weight.shape != [logits.shape[1]]
        {
            return Err(check::shape_error(op, inputs, "a weight for each class is needed"));
        }
        if !(0.0..=1.0).contains(&self.label_smoothing) {
            let rule = format!("label smoothing {} is not in 0..=1", self.label_smoothing);
            return Err(check::argument(op, rule));
        }
        Ok(())
    }

    fn loss(&self, targets: &Shape) -> Shape {
        if self.reduction == Reduction::None { *targets } else { [1].into() }
    }

    /// The rows of the logits in the dtype of statistics, the weight of each and which do not
    /// count: what both decompositions start from.
    fn rows(&self, logits: &AnyTensor, targets: &AnyTensor, weight: Option<&AnyTensor>) -> Rows {
        let statistics = check::statistics_dtype(logits.dtype());
        let shape = logits.shape();
        let (n, classes) = (targets.num_elements(), shape[1]);
        let last: SmallVec<[u8; 8]> =
            (0..shape.rank() as u8).filter(|&axis| axis != 1).chain([1]).collect();
        let x = logits.cast(statistics).permute(&last).reshape([n, classes]);
        let targets = targets.reshape([n, 1]);
        let ignored = self.ignore_index.map(|index| targets.equal_scalar(index));
        let targets = match &ignored {
            Some(ignored) => targets.fill_where(ignored, 0),
            None => targets,
        };
        let ones = || AnyTensor::full(Meta::new([classes], statistics), 1, x.device());
        let class_weight = weight.map_or_else(ones, |weight| weight.cast(statistics));
        let weight = class_weight.select(0, &targets.reshape([n])).reshape([n, 1]);
        let class_weight = class_weight.reshape([1, classes]);
        let mut rows = Rows { x, targets, ignored, weight, class_weight };
        rows.weight = rows.counted(&rows.weight);
        rows
    }
}

/// See [`CrossEntropy::rows`].
struct Rows {
    /// `[n, classes]`
    x: AnyTensor,
    /// `[n, 1]`, those that do not count replaced by class 0.
    targets: AnyTensor,
    /// `[n, 1]`
    ignored: Option<AnyTensor>,
    /// `[n, 1]`, of the target of each row.
    weight: AnyTensor,
    /// `[1, classes]`
    class_weight: AnyTensor,
}

impl Rows {
    /// Zero in the rows that do not count.
    fn counted(&self, values: &AnyTensor) -> AnyTensor {
        match &self.ignored {
            Some(ignored) => values.fill_where(ignored, 0),
            None => values.clone(),
        }
    }
}

fn total(x: &AnyTensor) -> AnyTensor {
    x.reduce(ReduceKind::Sum, Axes::all(x.rank())).reshape([1])
}

impl Operation for CrossEntropy {
    fn name(&self) -> &'static str {
        if self.log_probs { "nll_loss" } else { "cross_entropy" }
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        check::count(self.name(), inputs, 2 + self.weighted as usize)?;
        self.check(self.name(), inputs, &inputs[2..])?;
        let (logits, targets) = (&inputs[0], &inputs[1].shape);
        let statistics = check::statistics_dtype(logits.dtype);
        Ok(smallvec![
            Meta::new(self.loss(targets), logits.dtype),
            Meta::new(*targets, statistics),
            Meta::new([1], statistics),
        ])
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps { inputs: 0b111, outputs: 0b110 }
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        12 * inputs[0].len() as u64
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        let (logits, targets) = (inputs[0], inputs[1]);
        let rows = self.rows(logits, targets, inputs.get(2).copied());
        let (log_sum, log_probs) = if self.log_probs {
            (rows.weight.zeros_like(), rows.x.clone())
        } else {
            let x = rows.x.sub(&rows.x.max_axis(1));
            let log_sum = x.exp().sum_axis(1).log();
            let log_probs = x.sub(&log_sum);
            (log_sum, log_probs)
        };
        let picked = log_probs.gather(1, &rows.targets).mul(&rows.weight);
        let mut losses = picked.mul_scalar(self.label_smoothing - 1.0);
        if self.label_smoothing > 0.0 {
            let share = self.label_smoothing / logits.shape()[1].max(1) as f64;
            let all = log_probs.mul(&rows.class_weight).sum_axis(1);
            losses = losses.sub(&all.mul_scalar(share));
        }
        let losses = rows.counted(&losses);
        let weights = total(&rows.weight);
        let loss = match self.reduction {
            Reduction::None => losses.reshape(targets.shape()),
            Reduction::Sum => total(&losses),
            Reduction::Mean => total(&losses).div(&weights),
        };
        Some(smallvec![loss.cast(logits.dtype()), log_sum.reshape(targets.shape()), weights])
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{float, int};
        for op in sampled() {
            let weight = op.weighted.then(|| super::samples::float_in([4], 0.5, 2.0));
            let inputs = [float([5, 4]), int([5], 0, 4)];
            samples.case(op, inputs.into_iter().chain(weight).collect::<Vec<_>>());
            let inputs = [float([2, 4, 3, 2]), int([2, 3, 2], 0, 4)];
            samples.case(op, inputs.into_iter().chain(weight).collect::<Vec<_>>());
        }
        let each = CrossEntropy { reduction: Reduction::None, ..Default::default() };
        samples.case(each, [float([1, 1]), int([1], 0, 1)]);
        samples.case(each, [float([0, 3]), int([0], 0, 3)]);
        samples.rough(each, [float([67, 1031]), int([67], 0, 1031)]);
        let sum = CrossEntropy { reduction: Reduction::Sum, ..each };
        samples.rough(sum, [float([2, 33, 257]), int([2, 257], 0, 33)]);
    }
}

/// Every option of [`CrossEntropy`], alone and together. The samples have targets in `0..4`, of
/// which those of class 2 are ignored.
#[cfg(any(test, feature = "samples"))]
fn sampled() -> impl Iterator<Item = CrossEntropy> {
    let plain = CrossEntropy { ignore_index: None, ..Default::default() };
    let smooth = CrossEntropy { label_smoothing: 0.2, ..plain };
    let all = CrossEntropy { weighted: true, ignore_index: Some(2), ..smooth };
    let reduced = |op| {
        [Reduction::None, Reduction::Mean, Reduction::Sum]
            .map(|reduction| CrossEntropy { reduction, ..op })
    };
    [plain, smooth, all, CrossEntropy { log_probs: true, ..all }].into_iter().flat_map(reduced)
}

/// The gradient of [`CrossEntropy`] by the logits: without options
/// `(softmax(logits) - onehot(target)) dy`.
///
/// Inputs: `logits` `[n, classes, ..]`, `targets` and `log_sum` `[n, ..]`, `total` `[1]`, `dy` in
/// the shape of the loss, and if weighted the weights `[classes]`. Result: the shape of the logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropyBackward {
    /// The operation that this is the gradient of.
    pub loss: CrossEntropy,
}

impl Operation for CrossEntropyBackward {
    fn name(&self) -> &'static str {
        if self.loss.log_probs { "nll_loss_backward" } else { "cross_entropy_backward" }
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        check::count(self.name(), inputs, 5 + self.loss.weighted as usize)?;
        self.loss.check(self.name(), inputs, &inputs[4..])?;
        let [log_sum, total, dy] = [2, 3, 4].map(|i| inputs[i].shape);
        let targets = inputs[1].shape;
        if log_sum != targets || *total != [1] || dy != self.loss.loss(&targets) {
            let rule = "statistics and gradient must have the shapes of the loss";
            return Err(check::shape_error(self.name(), inputs, rule));
        }
        Ok(one(inputs[0]))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::INPUTS
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        12 * inputs[0].len() as u64
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        let [logits, targets, log_sum, total, dy] = inputs[..5] else { unreachable!() };
        let op = self.loss;
        let rows = op.rows(logits, targets, inputs.get(5).copied());
        let [n, classes] = rows.x.shape().dims();
        let mut dy = dy.cast(log_sum.dtype());
        dy = match op.reduction {
            Reduction::None => dy.reshape([n, 1]),
            Reduction::Sum => dy.reshape([1, 1]),
            Reduction::Mean => dy.div(total).reshape([1, 1]),
        };
        let dy = rows.counted(&dy.expand([n, 1]));
        // The target as a distribution over the classes, times the weights.
        let hit = rows.weight.mul(&dy).mul_scalar(1.0 - op.label_smoothing);
        let mut pull = hit.gather_backward(1, [n, classes].into(), &rows.targets);
        if op.label_smoothing > 0.0 {
            let share = op.label_smoothing / classes.max(1) as f64;
            pull = pull.add(&rows.class_weight.mul(&dy).mul_scalar(share));
        }
        let mut dx = pull.neg();
        if !op.log_probs {
            let x = rows.x.sub(&rows.x.max_axis(1));
            let probs = x.sub(&log_sum.reshape([n, 1])).exp();
            dx = dx.add(&rows.counted(&probs).mul(&pull.sum_axis(1)));
        }
        let mut shape: SmallVec<[usize; 8]> = targets.shape().iter().copied().collect();
        shape.push(classes);
        let rank = shape.len() as u8;
        let second: SmallVec<[u8; 8]> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
        let dx = dx.reshape(Shape::new(shape)).permute(&second).contiguous();
        Some(smallvec![dx.cast(logits.dtype())])
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{float, float_in, int};
        for loss in sampled() {
            for (logits, targets) in [(vec![5, 4], vec![5]), (vec![2, 4, 3], vec![2, 3])] {
                let dy = if loss.reduction == Reduction::None { targets.clone() } else { vec![1] };
                let mut inputs = vec![
                    float(logits),
                    int(targets.clone(), 0, 4),
                    float_in(targets, 2.0, 3.0),
                    float_in([1], 2.0, 3.0),
                    float(dy),
                ];
                inputs.extend(loss.weighted.then(|| float_in([4], 0.5, 2.0)));
                samples.case(CrossEntropyBackward { loss }, inputs);
            }
        }
        let loss = CrossEntropy { reduction: Reduction::None, ..Default::default() };
        let empty =
            [float([0, 3]), int([0], 0, 3), float([0]), float_in([1], 2.0, 3.0), float([0])];
        samples.case(CrossEntropyBackward { loss }, empty);
    }
}
