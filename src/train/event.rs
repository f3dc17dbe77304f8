//! What happens in the course of a training, for those who watch it.

use std::path::Path;

use kiln_nn::Module;
use kiln_tensor::{Device, Error, Result};

use super::TrainerConfig;
use super::metrics::{Goal, Metrics};
use super::record::{Best, EpochRecord, Report};

/// Something that happened in [`Trainer::fit`](super::Trainer::fit), with its numbers.
#[non_exhaustive]
pub enum Event<'a> {
    /// The training begins, or goes on from a checkpoint.
    Start(&'a Start<'a>),
    /// The parameters were updated.
    Step(&'a StepEvent<'a>),
    /// The monitored number was computed: after a validation, or where there is none after an epoch.
    Judged(&'a Judged<'a>),
    /// An epoch ended.
    Epoch(&'a EpochRecord),
    /// A checkpoint was written.
    Saved(&'a Path),
    /// Something is wrong that does not end the training.
    Warning(&'a str),
    /// The training ends.
    End(&'a Report),
    /// The training ends with an error, and there is no [`Event::End`].
    Failed(&'a Error),
}

/// See [`Event::Start`].
pub struct Start<'a> {
    /// The folder of the run; `None` if nothing is written.
    pub folder: Option<&'a Path>,
    /// How many epochs there will be.
    pub epochs: usize,
    /// How many batches an epoch has, if that is known.
    pub batches: Option<usize>,
    /// Epochs that have ended.
    pub epoch: usize,
    /// Batches of the running epoch that are done.
    pub batch: usize,
    /// Steps that are done.
    pub step: usize,
    /// Steps between lines of a log.
    pub log_every: usize,
    /// The settings of the training.
    pub config: &'a TrainerConfig,
    /// Settings of the model or the program, as JSON.
    pub settings: Option<&'a str>,
    /// The name of the monitored number.
    pub monitor: &'a str,
    /// The name of the optimizer.
    pub optimizer: &'a str,
    /// Where the model is.
    pub device: &'a Device,
    /// The model before the next step.
    pub model: &'a dyn Module,
    /// The epochs that have ended.
    pub history: &'a [EpochRecord],
    /// The best values of the monitored number so far, the best first.
    pub best: &'a [Best],
}

/// See [`Event::Step`].
pub struct StepEvent<'a> {
    /// The running epoch, from 0.
    pub epoch: usize,
    /// Batches of the epoch that are done.
    pub batch: usize,
    /// Steps that are done, from 1.
    pub step: usize,
    /// The loss of the step.
    pub loss: f64,
    /// The learning rate.
    pub lr: f64,
    /// The norm of all gradients as one vector before clipping, if it was computed.
    pub grad_norm: Option<f64>,
    /// What losses are multiplied by, in f16.
    pub scale: Option<f64>,
    /// Examples of the step.
    pub items: usize,
    /// How long the step took, with the wait for its data.
    pub seconds: f64,
    /// How long it waited for its data.
    pub wait: f64,
    /// The most memory that tensors on the device ever held, in bytes.
    pub memory: usize,
    /// The metrics of the epoch so far.
    pub metrics: &'a Metrics,
    /// The model after the step.
    pub model: &'a dyn Module,
}

/// See [`Event::Judged`].
pub struct Judged<'a> {
    /// Steps that are done.
    pub step: usize,
    /// The name of the monitored number.
    pub name: &'a str,
    /// The monitored number.
    pub value: f64,
    /// Which values are better.
    pub goal: Goal,
    /// Whether it is the best so far.
    pub best: bool,
    /// Whether an epoch ends with it; else it goes on.
    pub epoch_end: bool,
    /// The metrics of the running epoch.
    pub train: &'a Metrics,
    /// The metrics of the validation, if there is one.
    pub valid: Option<&'a Metrics>,
}

/// Whether the training goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It does.
    Continue,
    /// It stops, after this step, for this reason.
    Stop(String),
}

/// Watches a training, logs it or stops it. A closure is one:
///
/// ```
/// use kiln::train::{Event, Flow, TrainerConfig};
/// let trainer = TrainerConfig::new(10).init().callback(|event: &Event<'_>| {
///     if let Event::Step(step) = event {
///         println!("step {}: loss {}", step.step, step.loss);
///     }
///     Ok(Flow::Continue)
/// });
/// ```
pub trait Callback {
    /// Hears what happened. An error ends the training.
    fn on(&mut self, event: &Event<'_>) -> Result<Flow>;

    /// The name of its state in checkpoints.
    fn name(&self) -> &'static str {
        std::any::type_name::<Self>()
    }

    /// What it needs to go on after a checkpoint, empty if that is nothing.
    fn state(&self) -> String {
        String::new()
    }

    /// Takes back what [`Callback::state`] gave, before [`Event::Start`].
    fn load_state(&mut self, state: &str) -> Result<()> {
        let _ = state;
        Ok(())
    }
}

impl<F: FnMut(&Event<'_>) -> Result<Flow>> Callback for F {
    fn on(&mut self, event: &Event<'_>) -> Result<Flow> {
        self(event)
    }
}
