//! What trains a model: its settings, metrics, schedule and callbacks.

use kiln_nn::{Config, Module};
use kiln_optim::schedule::ReduceLrOnPlateauConfig;
use kiln_optim::{Optimizer, Schedule};
use kiln_tensor::Result;

use super::Step;
use super::config::TrainerConfig;
use super::evaluate::Evaluation;
use super::event::Callback;
use super::fit::Fit;
use super::metrics::{Metric, MetricMaker, Metrics};
use super::record::Report;
use crate::data::DataLoader;

/// How the learning rate changes.
pub(super) enum Rate {
    Steps(Box<dyn Schedule>),
    Epochs(Box<dyn Schedule>),
    Plateau(ReduceLrOnPlateauConfig),
}

/// Trains models: one call instead of a loop, with validation, metrics, checkpoints, and a run that
/// goes on exactly where it was stopped.
///
/// A model is any [`Module`], a batch any type. One closure says what becomes of a batch:
///
/// ```
/// use kiln::prelude::*;
/// use kiln::train::{Accuracy, Step, TrainerConfig};
/// # use kiln::data::{DataLoaderBuilder, InMemDataset, Stack};
/// # let points = InMemDataset::new((0..64).map(|i| ([i as f32 / 32.0 - 1.0], i / 32)).collect());
/// # let train = DataLoaderBuilder::new(Stack).batch_size(8).shuffle(1).build(points);
/// # let valid = train.clone();
/// let mut model = LinearConfig::new(1, 2).init(&Device::cpu());
/// let mut optim = AdamWConfig::new(0.1).init();
/// let report = TrainerConfig::new(20).init().metric(Accuracy::new()).fit(
///     &mut model,
///     &mut optim,
///     &train,
///     Some(&valid),
///     |model, (x, labels)| {
///         let logits = model.forward(x);
///         let loss = CrossEntropyLoss::new().forward(&logits, labels);
///         Step::new(loss).with_output(logits, labels)
///     },
/// )?;
/// assert!(report.epochs[19].get("valid accuracy") > Some(0.9));
/// # Ok::<(), kiln::Error>(())
/// ```
///
/// With a folder ([`TrainerConfig::folder`]) it writes `trainer.json` (its settings),
/// `metrics.jsonl` and `checkpoints/`. A run that was stopped by anything, and is started again with
/// [`TrainerConfig::resume`], ends with the same bits as one that never was: model, optimizer,
/// schedule, loss scale, averages, random numbers, the place in the data and the metrics all go on.
/// The program must make model, optimizer and data as it did the first time; processors with other
/// vector instructions round differently.
pub struct Trainer {
    pub(super) config: TrainerConfig,
    pub(super) metrics: Vec<MetricMaker>,
    pub(super) callbacks: Vec<Box<dyn Callback>>,
    pub(super) rate: Option<Rate>,
    /// Settings of the model or the program, as JSON.
    pub(super) settings: Option<String>,
}

impl Trainer {
    /// A trainer with these settings.
    pub fn new(config: TrainerConfig) -> Self {
        Self { config, metrics: Vec::new(), callbacks: Vec::new(), rate: None, settings: None }
    }

    /// Computes a metric of the training and of each validation.
    pub fn metric(mut self, metric: impl Metric + Clone) -> Self {
        self.metrics.push(Box::new(move || Box::new(metric.clone())));
        self
    }

    /// Tells `callback` what happens.
    pub fn callback(mut self, callback: impl Callback + 'static) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// The learning rate of each step.
    pub fn schedule(mut self, schedule: impl Schedule + 'static) -> Self {
        self.rate = Some(Rate::Steps(Box::new(schedule)));
        self
    }

    /// The learning rate of each epoch.
    pub fn schedule_epochs(mut self, schedule: impl Schedule + 'static) -> Self {
        self.rate = Some(Rate::Epochs(Box::new(schedule)));
        self
    }

    /// Lowers the learning rate when the monitored number gets no better.
    pub fn schedule_plateau(mut self, schedule: &ReduceLrOnPlateauConfig) -> Self {
        self.rate = Some(Rate::Plateau(schedule.clone()));
        self
    }

    /// Keeps settings of the model or the program with the run: in `settings.json`, and in each
    /// checkpoint as the text `settings`.
    pub fn settings(mut self, settings: &impl Config) -> Self {
        self.settings = Some(settings.to_text());
        self
    }

    /// Trains `model` on the batches of `train`, and validates it on those of `valid` after each
    /// epoch. `step` gives the loss of a batch, in training and in validation; the model's own mode
    /// tells its layers which it is.
    ///
    /// The model ends with the last weights, with their average if [`TrainerConfig::ema`] is set,
    /// or with the best ones if [`TrainerConfig::restore_best`] is; in evaluation mode.
    ///
    /// Errors: settings that make no sense, data that can not be read, a folder that can not be
    /// written to or that holds another run, checkpoints that are damaged or of another model, a
    /// loss or a gradient that is not finite, and Ctrl-C, after a checkpoint. A checkpoint that can
    /// not be written later on is a warning: the training goes on.
    pub fn fit<M: Module, O: Optimizer, B: Send + 'static>(
        &mut self,
        model: &mut M,
        optim: &mut O,
        train: &DataLoader<B>,
        valid: Option<&DataLoader<B>>,
        step: impl FnMut(&M, &B) -> Step,
    ) -> Result<Report> {
        Fit::new(self, model, optim, train, valid, step)?.run()
    }

    /// The loss and the metrics of `model` on all batches of `data`, without training: for a test
    /// set. The model is left in evaluation mode.
    pub fn validate<M: Module, B: Send + 'static>(
        &self,
        model: &mut M,
        data: &DataLoader<B>,
        mut step: impl FnMut(&M, &B) -> Step,
    ) -> Result<Metrics> {
        self.evaluation().metrics(model, data, &self.metrics, &mut step)
    }

    /// What `predict` makes of each batch, in evaluation mode and without gradients.
    pub fn predict<M: Module, B: Send + 'static, T>(
        &self,
        model: &mut M,
        data: &DataLoader<B>,
        mut predict: impl FnMut(&M, &B) -> T,
    ) -> Result<Vec<T>> {
        self.evaluation().each(model, data, |model, batch| Ok(predict(model, batch)))
    }

    fn evaluation(&self) -> Evaluation {
        Evaluation { precision: self.config.precision.clone(), limit: None }
    }
}
