//! Passes over data without training.

use kiln_autograd::no_grad;
use kiln_nn::Module;
use kiln_tensor::{Result, autocast};

use super::Step;
use super::config::Precision;
use super::metrics::{MetricMaker, Metrics};
use crate::data::DataLoader;

/// How a model is run where it is not trained.
pub(super) struct Evaluation {
    pub precision: Option<Precision>,
    pub limit: Option<usize>,
}

impl Evaluation {
    /// What `run` makes of each batch, in evaluation mode and without gradients. The batches are
    /// those of epoch 0, so that a share of the data is the same share each time.
    pub fn each<M: Module, B: Send + 'static, T>(
        &self,
        model: &mut M,
        data: &DataLoader<B>,
        mut run: impl FnMut(&M, &B) -> Result<T>,
    ) -> Result<Vec<T>> {
        model.eval();
        let batches = data.epoch(0).take(self.limit.unwrap_or(usize::MAX));
        no_grad(|| {
            batches
                .map(|batch| {
                    let batch = batch?;
                    in_precision(self.precision.as_ref(), || run(model, &batch))
                })
                .collect()
        })
    }

    /// The loss and the metrics over all batches.
    pub fn metrics<M: Module, B: Send + 'static>(
        &self,
        model: &mut M,
        data: &DataLoader<B>,
        makers: &[MetricMaker],
        step: &mut impl FnMut(&M, &B) -> Step,
    ) -> Result<Metrics> {
        let mut metrics = Metrics::new(makers);
        self.each(model, data, |model, batch| metrics.update(&step(model, batch)))?;
        Ok(metrics)
    }
}

/// Runs `work` in mixed precision, if that is wanted.
pub(super) fn in_precision<T>(precision: Option<&Precision>, work: impl FnOnce() -> T) -> T {
    match precision {
        Some(precision) => autocast(precision.dtype(), work),
        None => work(),
    }
}
