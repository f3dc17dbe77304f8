//! The training loop.

use std::time::Instant;

use kiln_autograd::{Autograd, Gradients};
use kiln_nn::Module;
use kiln_optim::schedule::ReduceLrOnPlateau;
use kiln_optim::{Ema, GradScaler, GradientClipping, Optimizer, clip_grad_norm, grad_norm};
use kiln_tensor::op::BinaryKind;
use kiln_tensor::{Device, Error, Generator, Result, profile};

use super::config::{Precision, TrainerConfig};
use super::display::display;
use super::evaluate::in_precision;
use super::event::{Callback, Event};
use super::folder::Checkpoints;
use super::interrupt::Watch;
use super::metrics::{MetricMaker, Metrics};
use super::page::Page;
use super::record::{Position, Report, Stop};
use super::stop::EarlyStopping;
use super::trainer::{Rate, Trainer};
use super::{JsonLines, Step, guard};
use crate::data::DataLoader;

/// No gradients overflow in f16 at this scale, unless they are infinite at every other one too.
const LEAST_SCALE: f64 = 1e-3;

/// A call of [`Trainer::fit`]: all that it works with.
pub(super) struct Fit<'a, M, O, B, F> {
    pub config: TrainerConfig,
    pub makers: &'a [MetricMaker],
    pub callbacks: &'a mut [Box<dyn Callback>],
    /// Those that the settings ask for.
    pub own_callbacks: Vec<Box<dyn Callback>>,
    rate: Option<&'a Rate>,
    pub settings: Option<&'a str>,
    pub model: &'a mut M,
    pub optim: &'a mut O,
    pub train: &'a DataLoader<B>,
    pub valid: Option<&'a DataLoader<B>>,
    pub step: F,

    pub plateau: Option<ReduceLrOnPlateau>,
    pub scaler: Option<GradScaler>,
    pub ema: Option<Ema>,
    pub checkpoints: Option<Checkpoints>,
    /// Of the running epoch.
    pub metrics: Metrics,
    /// Of the last validation, and the step of it.
    pub validated: Option<(usize, Metrics)>,
    pub at: Position,
    /// The epoch and batch of the last checkpoint that was written.
    pub saved: Option<(usize, usize)>,
    /// Why a callback wishes to stop.
    pub wish: Option<String>,
    pub warnings: Vec<String>,
    pub device: Device,
    /// When this call would have begun, had it made all steps itself.
    pub start: Instant,
    interrupts: Option<Watch>,
}

/// What the forward and backward passes of a step gave.
struct Pass {
    /// `None` if they overflowed in f16: then the step is left out.
    grads: Option<Gradients>,
    loss: f64,
    items: usize,
    /// Where the random numbers were before.
    generator: Generator,
}

impl<'a, M: Module, O: Optimizer, B: Send + 'static, F: FnMut(&M, &B) -> Step> Fit<'a, M, O, B, F> {
    pub fn new(
        trainer: &'a mut Trainer,
        model: &'a mut M,
        optim: &'a mut O,
        train: &'a DataLoader<B>,
        valid: Option<&'a DataLoader<B>>,
        step: F,
    ) -> Result<Self> {
        let config = trainer.config.resolved()?;
        let on_disk = !config.folder.as_os_str().is_empty();
        let checkpoints = match on_disk {
            true => Some(Checkpoints::new(config.folder.join("checkpoints"))?),
            false => None,
        };
        let mut own_callbacks: Vec<Box<dyn Callback>> = Vec::new();
        if on_disk {
            own_callbacks.push(Box::new(JsonLines::new()));
            // It reads the log when a run goes on.
            own_callbacks.push(Box::new(Page::default()));
        }
        own_callbacks.extend(display(&config));
        if let Some(patience) = config.patience {
            own_callbacks.push(Box::new(EarlyStopping::new(patience, config.min_delta)));
        }
        let device = model.named_params().first().map(|(_, param)| param.device());
        let scaled = config.precision == Some(Precision::F16);
        Ok(Self {
            makers: &trainer.metrics,
            callbacks: &mut trainer.callbacks,
            own_callbacks,
            rate: trainer.rate.as_ref(),
            plateau: match &trainer.rate {
                Some(Rate::Plateau(config)) => Some(config.init()),
                _ => None,
            },
            settings: trainer.settings.as_deref(),
            scaler: scaled.then(|| config.scaler.init()),
            ema: config.ema.map(|decay| Ema::new(model, decay)),
            checkpoints,
            metrics: Metrics::new(&trainer.metrics),
            validated: None,
            at: Position::default(),
            saved: None,
            wish: None,
            warnings: Vec::new(),
            device: device.unwrap_or_default(),
            start: Instant::now(),
            interrupts: config.handle_interrupt.then(Watch::new),
            valid: if config.overfit_batches.is_some() { Some(train) } else { valid },
            train,
            step,
            model,
            optim,
            config,
        })
    }

    /// Trains from the beginning or from the last checkpoint, and ends the run.
    pub fn run(mut self) -> Result<Report> {
        // What a checkpoint gives back goes through this too, and the ratio of a group's rate to
        // the optimizer's is rounded.
        self.optim.set_lr(self.optim.lr());
        let steps = |fit: &mut Self| {
            fit.resume()?;
            fit.announce()?;
            fit.train()
        };
        match steps(&mut self) {
            Ok(stop) => self.finish(stop),
            Err(error) => {
                // The first error is the one that matters.
                let _ = self.notify(&Event::Failed(&error));
                Err(error)
            }
        }
    }

    /// The training loop.
    fn train(&mut self) -> Result<Stop> {
        while self.at.epoch < self.config.epochs {
            self.model.train();
            let mut batches = self.batches();
            loop {
                let start = Instant::now();
                let window = self.window(&mut batches)?;
                if window.is_empty() {
                    break;
                }
                if let Some(stop) = self.reason_to_stop() {
                    return Ok(stop);
                }
                let wait = start.elapsed().as_secs_f64();
                let _scope = profile::scope("step");

                let lr = self.set_lr();
                let Pass { grads, loss, items, generator } = self.forward_backward(&window)?;
                let mut norm = None;
                if let Some(mut grads) = grads {
                    norm = self.clip(&mut grads);
                    if let Some(norm) = norm.filter(|norm| !norm.is_finite()) {
                        self.check_finite("the norm of the gradients", norm, &window, generator)?;
                    }
                    self.optim.step(self.model, grads);
                    if let Some(ema) = &mut self.ema {
                        ema.update(self.model);
                    }
                }

                self.at.step += 1;
                self.at.batch += window.len();
                let seconds = start.elapsed().as_secs_f64();
                self.end_step(lr, loss, norm, items, seconds, wait)?;
            }
            self.end_epoch()?;
        }
        Ok(Stop::Finished)
    }

    /// The batches of the running epoch that are not done yet.
    fn batches(&self) -> impl Iterator<Item = Result<B>> + use<M, O, B, F> {
        let first = if self.config.overfit_batches.is_some() { 0 } else { self.at.epoch };
        let limit = self.config.limit_train_batches.unwrap_or(usize::MAX);
        let left = limit.saturating_sub(self.at.batch);
        self.train.epoch_from(first, self.at.batch).take(left)
    }

    /// The batches of the next step; none after the last one of an epoch.
    fn window(&self, batches: &mut impl Iterator<Item = Result<B>>) -> Result<Vec<B>> {
        let _scope = profile::scope("batches");
        batches.take(self.config.accumulate).collect()
    }

    fn set_lr(&mut self) -> f64 {
        let lr = match self.rate {
            Some(Rate::Steps(schedule)) => Some(schedule.lr_at(self.at.step)),
            Some(Rate::Epochs(schedule)) => Some(schedule.lr_at(self.at.epoch)),
            Some(Rate::Plateau(_)) => self.plateau.as_ref().map(ReduceLrOnPlateau::lr),
            None => None,
        };
        if let Some(lr) = lr {
            self.optim.set_lr(lr);
        }
        self.optim.lr()
    }

    /// The gradients of the mean loss over all batches of a step.
    fn forward_backward(&mut self, window: &[B]) -> Result<Pass> {
        let generator = self.device.generator();
        let mut grads = Gradients::default();
        let (mut items, mut loss_sum, mut weight_sum, mut unit) = (0, 0.0, 0.0, 0.0);
        for batch in window {
            let precision = self.config.precision.as_ref();
            let step = in_precision(precision, || {
                let _scope = profile::scope("forward");
                (self.step)(self.model, batch)
            });
            let (loss, weight) = (step.loss(), step.weight());
            // In f16, a loss may overflow: the scaler takes care of it.
            if self.scaler.is_none() && !loss.is_finite() {
                self.check_finite("the loss", loss, window, generator)?;
            }
            self.metrics.update(&step)?;
            items += step.items();
            if weight == 0.0 {
                continue;
            }
            loss_sum += loss * weight;
            weight_sum += weight;

            // Each batch counts by its weight, in units of that of the first: batches of one size
            // are divided by their number, as is usual.
            if unit == 0.0 {
                unit = weight * window.len() as f64;
            }
            let loss = if weight == unit { step.loss } else { step.loss * (weight / unit) };
            grads.accumulate(match &self.scaler {
                Some(scaler) => scaler.scale(&loss).backward(),
                None => loss.backward(),
            });
        }
        let rest = unit / weight_sum;
        if (rest - 1.0).abs() > 1e-12 {
            grads.iter_mut().for_each(|grad| grad.binary_scalar_assign(BinaryKind::Mul, rest));
        }
        let grads = match &mut self.scaler {
            Some(scaler) => scaler.unscale(grads),
            None => Some(grads),
        };
        let scale = self.scaler.as_ref().map_or(1.0, GradScaler::current);
        if grads.is_none() && scale < LEAST_SCALE {
            let what = "gradients overflow at any scale, and the loss";
            self.check_finite(what, loss_sum / weight_sum, window, generator)?;
        }
        Ok(Pass { grads, loss: loss_sum / weight_sum, items, generator })
    }

    /// Clips the gradients, and gives their norm from before.
    fn clip(&self, grads: &mut Gradients) -> Option<f64> {
        let norm = match self.config.clipping {
            // Of a norm that is not finite, more is said than in its error.
            Some(GradientClipping::GlobalNorm(max)) => clip_grad_norm(grads, max).ok(),
            None if !self.config.nan_guard => return None,
            _ => None,
        };
        let norm = norm.unwrap_or_else(|| grad_norm(grads, 2.0));
        if let Some(clipping @ (GradientClipping::Value(_) | GradientClipping::Norm(_))) =
            &self.config.clipping
        {
            clipping.clip(grads);
        }
        Some(norm)
    }

    /// An error that names the operation that made a number that is not finite, unless the guard is
    /// off. The batches are run again, with the random numbers that they had.
    fn check_finite(
        &mut self,
        what: &str,
        value: f64,
        window: &[B],
        generator: Generator,
    ) -> Result<()> {
        if !self.config.nan_guard {
            return Ok(());
        }
        self.device.set_generator(generator);
        let precision = self.config.precision.as_ref();
        let cause = window.iter().find_map(|batch| {
            guard::explain(self.model, |model| {
                in_precision(precision, || (self.step)(model, batch))
            })
        });
        let cause = cause.unwrap_or_else(|| {
            "no operation made it out of finite numbers, so look at the batch".into()
        });
        let (epoch, step) = (self.at.epoch + 1, self.at.step + 1);
        let what = format!("{what} is {value} in epoch {epoch}, step {step}: {cause}");
        Err(Error::Anomaly { op: "fit", what })
    }

    fn reason_to_stop(&self) -> Option<Stop> {
        let seconds = self.start.elapsed().as_secs_f64();
        if self.interrupts.as_ref().is_some_and(Watch::is_interrupted) {
            return Some(Stop::Interrupted);
        }
        if let Some(reason) = &self.wish {
            return Some(Stop::Callback(reason.clone()));
        }
        if self.config.max_steps.is_some_and(|max| self.at.step >= max) {
            return Some(Stop::MaxSteps);
        }
        self.config.max_seconds.is_some_and(|max| seconds >= max).then_some(Stop::MaxTime)
    }
}
