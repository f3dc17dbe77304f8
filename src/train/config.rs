//! The settings of a training.

use std::path::PathBuf;

use kiln_nn::Config;
use kiln_optim::{GradScalerConfig, GradientClipping};
use kiln_tensor::{DType, Error, Result};

use super::Trainer;

/// The half type of mixed precision; see [`autocast`](kiln_tensor::autocast).
#[derive(Config, Debug, PartialEq)]
pub enum Precision {
    /// `f16`, with scaled losses.
    F16,
    /// `bf16`, whose range is that of f32.
    BF16,
}

impl Precision {
    pub(super) fn dtype(&self) -> DType {
        match self {
            Precision::F16 => DType::F16,
            Precision::BF16 => DType::BF16,
        }
    }
}

/// The settings of a [`Trainer`].
///
/// ```
/// use kiln::prelude::*;
/// use kiln::train::TrainerConfig;
/// let trainer = TrainerConfig::new(20)
///     .with_clipping(GradientClipping::GlobalNorm(1.0))
///     .with_patience(3)
///     .with_folder("runs/first")
///     .with_resume(true)
///     .init();
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct TrainerConfig {
    /// How often all training data is seen.
    pub epochs: usize,
    /// Where checkpoints, settings and logs are written; nowhere if it is empty.
    #[config(default = PathBuf::new(), into)]
    pub folder: PathBuf,
    /// Whether the run in the folder goes on from its last checkpoint, if there is one. Without it,
    /// a folder that holds a run is an error.
    #[config(default = false)]
    pub resume: bool,
    /// Batches whose gradients make one step. They count by their weight, so that batches of any
    /// sizes give the gradient of one large batch.
    #[config(default = 1)]
    pub accumulate: usize,
    /// How gradients are clipped before each step.
    #[config(into)]
    pub clipping: Option<GradientClipping>,
    /// Mixed precision.
    #[config(into)]
    pub precision: Option<Precision>,
    /// The loss scaling of [`Precision::F16`].
    #[config(default = GradScalerConfig::new())]
    pub scaler: GradScalerConfig,
    /// The decay of an exponential moving average of the weights, such as 0.999. It is what is
    /// validated, and what the model ends with.
    #[config(into)]
    pub ema: Option<f64>,
    /// The number that says which checkpoint is best and when to stop, `valid accuracy` or `train
    /// loss`; empty: the loss of the validation, or of the training where there is none.
    #[config(default = "", into)]
    pub monitor: String,
    /// After how many validations in a row without a better number the training stops.
    #[config(into)]
    pub patience: Option<usize>,
    /// How much better a number must be to count for `patience`.
    #[config(default = 0.0)]
    pub min_delta: f64,
    /// Steps between validations, beside that after each epoch.
    #[config(into)]
    pub validate_every: Option<usize>,
    /// Steps between checkpoints, beside that after each epoch.
    #[config(into)]
    pub checkpoint_every: Option<usize>,
    /// How many of the last checkpoints are kept.
    #[config(default = 2)]
    pub keep_last: usize,
    /// How many of the best checkpoints are kept.
    #[config(default = 1)]
    pub keep_best: usize,
    /// Whether the model ends with the weights of the best checkpoint rather than the last ones.
    #[config(default = false)]
    pub restore_best: bool,
    /// Steps after which the training stops.
    #[config(into)]
    pub max_steps: Option<usize>,
    /// Seconds of training, over all resumed runs, after which it stops.
    #[config(into)]
    pub max_seconds: Option<f64>,
    /// Batches of an epoch that are trained on.
    #[config(into)]
    pub limit_train_batches: Option<usize>,
    /// Batches of a validation.
    #[config(into)]
    pub limit_valid_batches: Option<usize>,
    /// Trains and validates on the same first batches in every epoch: a model that is right can
    /// learn them by heart.
    #[config(into)]
    pub overfit_batches: Option<usize>,
    /// One batch of training and one of validation, nothing written: shows within seconds whether
    /// all parts fit.
    #[config(default = false)]
    pub fast_dev_run: bool,
    /// Whether a loss or a gradient that is not finite ends the training, with the operation that
    /// made it.
    #[config(default = true)]
    pub nan_guard: bool,
    /// Whether Ctrl-C, or a request to terminate, saves a checkpoint after the running step and ends
    /// the training with an error; a second one ends the program at once.
    #[config(default = true)]
    pub handle_interrupt: bool,
    /// Whether progress is shown on standard error.
    #[config(default = true)]
    pub progress: bool,
    /// Whether the progress is curves that fill the terminal, rather than a bar. Where standard error
    /// is no terminal, there are lines as ever. It needs the feature `dashboard`.
    #[config(default = false)]
    pub dashboard: bool,
    /// Steps between lines of the log.
    #[config(default = 1)]
    pub log_every: usize,
}

impl TrainerConfig {
    /// Makes the trainer.
    pub fn init(&self) -> Trainer {
        Trainer::new(self.clone())
    }

    /// The settings as they are meant, or an error if one makes no sense.
    pub(super) fn resolved(&self) -> Result<Self> {
        let mut config = self.clone();
        if self.fast_dev_run {
            config.epochs = 1;
            config.folder = PathBuf::new();
            config.accumulate = 1;
            config.limit_train_batches = Some(1);
            config.limit_valid_batches = Some(1);
        }
        if let Some(batches) = self.overfit_batches {
            config.limit_train_batches = Some(batches);
            config.limit_valid_batches = Some(batches);
        }
        let counts = [
            ("accumulate", Some(config.accumulate)),
            ("validate_every", config.validate_every),
            ("checkpoint_every", config.checkpoint_every),
            ("limit_train_batches", config.limit_train_batches),
            ("keep_last", Some(config.keep_last)),
            ("log_every", Some(config.log_every)),
        ];
        for (name, count) in counts {
            if count == Some(0) {
                return Err(fit_error(format!("{name} must be 1 or more")));
            }
        }
        if config.dashboard && !cfg!(feature = "dashboard") {
            let rule = "the dashboard needs the feature `dashboard` of the crate `kiln`".into();
            return Err(fit_error(rule));
        }
        if config.folder.as_os_str().is_empty() && (config.restore_best || config.resume) {
            if self.fast_dev_run {
                (config.restore_best, config.resume) = (false, false);
            } else {
                let rule = "resume and restore_best need a folder with checkpoints".into();
                return Err(fit_error(rule));
            }
        }
        Ok(config)
    }
}

pub(super) fn fit_error(rule: String) -> Error {
    Error::Argument { op: "fit", rule }
}
