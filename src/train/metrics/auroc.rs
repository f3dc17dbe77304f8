//! The area under the receiver operating characteristic.

use kiln_tensor::{Error, Result};

use super::classes::{check, classes, floats};
use super::{IGNORED, Metric};
use crate::train::Step;

/// How often an example of a class has a higher score than one of another, ties by half: the area
/// under the ROC curve, exact, for which it keeps all scores.
///
/// Two classes: one score for each target, which is 0 or 1. More: logits `[.., classes]` with targets
/// `[..]`; each class against the rest by its softmax, and the mean over the classes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Auroc {
    /// None for two classes.
    classes: Option<usize>,
    /// One for each example, or one for each class of it.
    scores: Vec<f32>,
    targets: Vec<usize>,
}

impl Auroc {
    /// Of two classes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The mean over so many classes.
    pub fn multiclass(classes: usize) -> Self {
        Self { classes: Some(classes), ..Self::default() }
    }

    fn width(&self) -> usize {
        self.classes.unwrap_or(1)
    }

    /// The area for one class against the rest; NaN unless there are examples of both.
    fn area(&self, column: usize, class: usize) -> f64 {
        let scores = self.scores.iter().skip(column).step_by(self.width());
        let mut examples: Vec<(f32, bool)> =
            scores.copied().zip(self.targets.iter().map(|&target| target == class)).collect();
        examples.sort_by(|a, b| a.0.total_cmp(&b.0));
        // Twice the number of pairs in the right order: Mann and Whitney's U.
        let (mut pairs, mut below) = (0.0, 0.0);
        for tied in examples.chunk_by(|a, b| a.0 == b.0) {
            let positive = tied.iter().filter(|(_, positive)| *positive).count() as f64;
            let negative = tied.len() as f64 - positive;
            pairs += positive * (2.0 * below + negative);
            below += negative;
        }
        let positive = examples.len() as f64 - below;
        pairs / (2.0 * positive * below)
    }
}

impl Metric for Auroc {
    fn name(&self) -> String {
        "auroc".into()
    }

    fn update(&mut self, step: &Step) -> Result<()> {
        let (output, target) = step.output("auroc")?;
        let found = classes("auroc", output, target)?;
        if found != self.classes {
            let made = if found.is_some() { "multiclass(classes)" } else { "new()" };
            let rule = format!("these scores belong to `Auroc::{made}`, of as many classes");
            let shapes = vec![output.shape(), target.shape()];
            return Err(Error::Shape { op: "auroc", shapes, rule });
        }
        let output = match found {
            Some(_) => floats(&output.softmax(output.rank() - 1))?,
            None => floats(output)?,
        };
        let rows = output.as_slice::<f32>()?.chunks_exact(self.width());
        for (scores, class) in rows.zip(target.to_data()?.iter::<i64>()) {
            if class == IGNORED {
                continue;
            }
            self.targets.push(check("auroc", class, self.classes.unwrap_or(2))?);
            self.scores.extend_from_slice(scores);
        }
        Ok(())
    }

    fn value(&self) -> Option<f64> {
        if self.scores.iter().any(|score| score.is_nan()) {
            return Some(f64::NAN);
        }
        Some(match self.classes {
            None => self.area(0, 1),
            Some(n) => (0..n).map(|class| self.area(class, class)).sum::<f64>() / n as f64,
        })
    }

    fn state(&self) -> Vec<f64> {
        let targets = self.targets.iter().map(|&target| target as f64);
        targets.chain(self.scores.iter().map(|&score| score.into())).collect()
    }

    fn load_state(&mut self, state: &[f64]) -> Result<()> {
        let examples = state.len() / (self.width() + 1);
        if state.len() != examples * (self.width() + 1) {
            let rule = "the state of `auroc` is of another number of classes".into();
            return Err(Error::Argument { op: "metric", rule });
        }
        let (targets, scores) = state.split_at(examples);
        self.targets = targets.iter().map(|&target| target as usize).collect();
        self.scores = scores.iter().map(|&score| score as f32).collect();
        Ok(())
    }
}
