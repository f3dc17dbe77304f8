//! Metrics of classifiers.

use kiln_tensor::{AnyTensor, Error, Result, TensorData};

use super::{IGNORED, Metric, state_of};
use crate::train::{ConfusionMatrix, Step};

/// Predicted and actual classes of a step, without those whose target is [`IGNORED`].
///
/// Outputs `[.., classes]` with targets `[..]` are scores, of which the highest wins. Outputs of the
/// shape of the targets, or `[.., 1]`, are scores of class 1 that wins above `threshold`.
pub(super) fn predictions(
    metric: &str,
    step: &Step,
    threshold: f64,
) -> Result<impl Iterator<Item = (i64, i64)>> {
    let (output, target) = step.output(metric)?;
    let predicted = match classes(metric, output, target)? {
        None => {
            let scores: Vec<f64> = output.to_data()?.iter().collect();
            scores.into_iter().map(|score| i64::from(score > threshold)).collect()
        }
        Some(_) => output.arg_reduce(true, output.rank() - 1).to_data()?.iter().collect::<Vec<_>>(),
    };
    let actual: Vec<i64> = target.to_data()?.iter().collect();
    Ok(predicted.into_iter().zip(actual).filter(|&(_, actual)| actual != IGNORED))
}

/// The number of classes of scores `[.., classes]`; `None` where there is one score for each target.
pub(super) fn classes(
    metric: &str,
    output: &AnyTensor,
    target: &AnyTensor,
) -> Result<Option<usize>> {
    let (shape, wanted) = (output.shape(), target.shape());
    if let Some((&last, rest)) = shape.split_last()
        && rest == &wanted[..]
        && output.dtype().is_float()
    {
        return Ok((last != 1).then_some(last));
    }
    if shape == wanted {
        return Ok(None);
    }
    let rule = format!(
        "`{metric}` takes scores [.., classes] with targets [..], or one score for each target"
    );
    Err(Error::Shape { op: "metric", shapes: vec![shape, wanted], rule })
}

/// The share of examples whose class is predicted.
///
/// Outputs are scores `[.., classes]` with targets `[..]`, or, of two classes, one score for each
/// target. A target of `-100` does not count.
#[derive(Clone, Debug, PartialEq)]
pub struct Accuracy {
    threshold: f64,
    correct: f64,
    count: f64,
}

impl Accuracy {
    /// An accuracy of nothing yet.
    pub fn new() -> Self {
        Self { threshold: 0.0, correct: 0.0, count: 0.0 }
    }

    /// Above which a single score means class 1: 0, which suits logits, unless it is set. The
    /// threshold of probabilities is 0.5.
    pub fn with_threshold(mut self, threshold: f64) -> Self {
        self.threshold = threshold;
        self
    }
}

impl Default for Accuracy {
    fn default() -> Self {
        Self::new()
    }
}

impl Metric for Accuracy {
    fn name(&self) -> String {
        "accuracy".into()
    }

    fn update(&mut self, step: &Step) -> Result<()> {
        for (predicted, actual) in predictions("accuracy", step, self.threshold)? {
            self.correct += f64::from(u8::from(predicted == actual));
            self.count += 1.0;
        }
        Ok(())
    }

    fn value(&self) -> Option<f64> {
        Some(self.correct / self.count)
    }

    fn state(&self) -> Vec<f64> {
        vec![self.correct, self.count]
    }

    fn load_state(&mut self, state: &[f64]) -> Result<()> {
        [self.correct, self.count] = state_of(self, state)?;
        Ok(())
    }
}

/// The share of examples whose class is among the `k` with the highest scores. Equal scores count
/// against it, and so does NaN: a network that says the same of all classes has found none.
#[derive(Clone, Debug, PartialEq)]
pub struct TopK {
    k: usize,
    correct: f64,
    count: f64,
}

impl TopK {
    /// Among the first `k`.
    pub fn new(k: usize) -> Self {
        Self { k, correct: 0.0, count: 0.0 }
    }
}

impl Metric for TopK {
    fn name(&self) -> String {
        format!("top-{} accuracy", self.k)
    }

    fn update(&mut self, step: &Step) -> Result<()> {
        let name = self.name();
        let (output, target) = step.output(&name)?;
        let Some(classes) = classes(&name, output, target)? else {
            let rule = format!("`{name}` takes the scores of all classes, [.., classes]");
            let shapes = vec![output.shape(), target.shape()];
            return Err(Error::Shape { op: "metric", shapes, rule });
        };
        let scores = floats(output)?;
        let scores = scores.as_slice::<f32>()?;
        for (scores, class) in scores.chunks_exact(classes).zip(target.to_data()?.iter::<i64>()) {
            if class == IGNORED {
                continue;
            }
            let own = scores[check(&name, class, classes)?];
            let below = scores.iter().filter(|&&score| score < own).count();
            self.correct += f64::from(u8::from(classes - 1 - below.min(classes - 1) < self.k));
            self.count += 1.0;
        }
        Ok(())
    }

    fn value(&self) -> Option<f64> {
        Some(self.correct / self.count)
    }

    fn state(&self) -> Vec<f64> {
        vec![self.correct, self.count]
    }

    fn load_state(&mut self, state: &[f64]) -> Result<()> {
        [self.correct, self.count] = state_of(self, state)?;
        Ok(())
    }
}

/// The numbers of a tensor as `f32`.
pub(super) fn floats(x: &AnyTensor) -> Result<TensorData> {
    Ok(x.to_data()?.convert::<f32>())
}

/// A class as an index.
pub(super) fn check(metric: &str, class: i64, classes: usize) -> Result<usize> {
    usize::try_from(class).ok().filter(|&class| class < classes).ok_or_else(|| {
        let rule = format!("`{metric}` has {classes} classes, found class {class}");
        Error::Argument { op: "metric", rule }
    })
}

/// How the numbers of all classes become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Average {
    /// The mean over the classes that were seen or predicted.
    Macro,
    /// As `Macro`, but a class counts by its number of examples.
    Weighted,
    /// All examples as if they were of one class.
    Micro,
    /// The number of one class: of class 1, where there are two and that is the interesting one.
    Class(usize),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Score {
    Precision,
    Recall,
    F1,
}

/// Precision, recall or F1 of a classifier, with the inputs of [`Accuracy`] and scikit-learn's
/// numbers; a fraction of nothing counts as 0.
///
/// ```
/// use kiln::train::{Average, ClassMetric};
/// let macro_f1 = ClassMetric::f1(10);
/// let recall_of_the_ill = ClassMetric::recall(2).with_average(Average::Class(1));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ClassMetric {
    score: Score,
    average: Average,
    threshold: f64,
    /// How often each class was predicted rightly, predicted, and to be predicted.
    counts: Vec<[f64; 3]>,
}

impl ClassMetric {
    fn new(score: Score, classes: usize) -> Self {
        let counts = vec![[0.0; 3]; classes];
        Self { score, average: Average::Macro, threshold: 0.0, counts }
    }

    /// Of those that were predicted to be of a class, the share that is.
    pub fn precision(classes: usize) -> Self {
        Self::new(Score::Precision, classes)
    }

    /// Of those that are of a class, the share that was predicted to be.
    pub fn recall(classes: usize) -> Self {
        Self::new(Score::Recall, classes)
    }

    /// The harmonic mean of precision and recall.
    pub fn f1(classes: usize) -> Self {
        Self::new(Score::F1, classes)
    }

    /// How the numbers of all classes become one; [`Average::Macro`] unless it is set.
    pub fn with_average(mut self, average: Average) -> Self {
        self.average = average;
        self
    }

    /// As [`Accuracy::with_threshold`].
    pub fn with_threshold(mut self, threshold: f64) -> Self {
        self.threshold = threshold;
        self
    }

    fn of(&self, [hits, predicted, actual]: [f64; 3]) -> f64 {
        let share = |part: f64, whole: f64| if whole == 0.0 { 0.0 } else { part / whole };
        match self.score {
            Score::Precision => share(hits, predicted),
            Score::Recall => share(hits, actual),
            Score::F1 => share(2.0 * hits, predicted + actual),
        }
    }
}

impl Metric for ClassMetric {
    /// `f1`, `weighted f1`, `micro f1` or `f1 of class 1`.
    fn name(&self) -> String {
        let score = match self.score {
            Score::Precision => "precision",
            Score::Recall => "recall",
            Score::F1 => "f1",
        };
        match self.average {
            Average::Macro => score.into(),
            Average::Weighted => format!("weighted {score}"),
            Average::Micro => format!("micro {score}"),
            Average::Class(class) => format!("{score} of class {class}"),
        }
    }

    fn update(&mut self, step: &Step) -> Result<()> {
        let (name, classes) = (self.name(), self.counts.len());
        for (predicted, actual) in predictions(&name, step, self.threshold)? {
            let predicted = check(&name, predicted, classes)?;
            let actual = check(&name, actual, classes)?;
            self.counts[predicted][1] += 1.0;
            self.counts[actual][2] += 1.0;
            if predicted == actual {
                self.counts[actual][0] += 1.0;
            }
        }
        Ok(())
    }

    fn value(&self) -> Option<f64> {
        let mean = |weight: fn([f64; 3]) -> f64| {
            let weighted = self.counts.iter().map(|&counts| self.of(counts) * weight(counts));
            weighted.sum::<f64>() / self.counts.iter().map(|&counts| weight(counts)).sum::<f64>()
        };
        Some(match self.average {
            Average::Macro => {
                mean(|[_, predicted, actual]| if predicted + actual > 0.0 { 1.0 } else { 0.0 })
            }
            Average::Weighted => mean(|[_, _, actual]| actual),
            Average::Micro => {
                let all = self.counts.iter().fold([0.0; 3], |a, b| [0, 1, 2].map(|i| a[i] + b[i]));
                if all[2] == 0.0 { f64::NAN } else { self.of(all) }
            }
            Average::Class(class) => self.counts.get(class).map_or(f64::NAN, |&one| self.of(one)),
        })
    }

    fn state(&self) -> Vec<f64> {
        self.counts.concat()
    }

    fn load_state(&mut self, state: &[f64]) -> Result<()> {
        let (counts, rest) = state.as_chunks();
        if counts.len() != self.counts.len() || !rest.is_empty() {
            let (name, len) = (self.name(), self.counts.len());
            let rule = format!("the state of `{name}` is not that of {len} classes");
            return Err(Error::Argument { op: "metric", rule });
        }
        self.counts = counts.to_vec();
        Ok(())
    }
}

/// With the inputs of [`Accuracy`]. It has no single number: find it in
/// [`Metrics::metric`](super::Metrics::metric).
impl Metric for ConfusionMatrix {
    fn name(&self) -> String {
        "confusion".into()
    }

    fn update(&mut self, step: &Step) -> Result<()> {
        let (name, classes) = (self.name(), self.classes());
        for (predicted, actual) in predictions(&name, step, 0.0)? {
            self.record(check(&name, actual, classes)?, check(&name, predicted, classes)?);
        }
        Ok(())
    }

    fn value(&self) -> Option<f64> {
        None
    }

    fn state(&self) -> Vec<f64> {
        let cells = (0..self.classes()).flat_map(|a| (0..self.classes()).map(move |p| (a, p)));
        cells.map(|(actual, predicted)| self.count(actual, predicted) as f64).collect()
    }

    fn load_state(&mut self, state: &[f64]) -> Result<()> {
        *self = ConfusionMatrix::from_counts(self.classes(), state.iter().map(|&n| n as u64))?;
        Ok(())
    }
}
