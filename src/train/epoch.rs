//! What comes after a step and after an epoch: validation, the monitored number, and telling it.

use kiln_nn::{Config, Module};
use kiln_optim::{GradScaler, Optimizer};
use kiln_tensor::{Error, Result, profile};

use super::Step;
use super::config::{TrainerConfig, fit_error};
use super::evaluate::Evaluation;
use super::event::{Callback, Event, Flow, Judged, Start, StepEvent};
use super::fit::Fit;
use super::metrics::Metrics;
use super::record::{Best, EpochRecord};

impl<M: Module, O: Optimizer, B: Send + 'static, F: FnMut(&M, &B) -> Step> Fit<'_, M, O, B, F> {
    pub fn end_step(
        &mut self,
        lr: f64,
        loss: f64,
        grad_norm: Option<f64>,
        items: usize,
        seconds: f64,
        wait: f64,
    ) -> Result<()> {
        let event = StepEvent {
            epoch: self.at.epoch,
            batch: self.at.batch,
            step: self.at.step,
            scale: self.scaler.as_ref().map(GradScaler::current),
            memory: self.device.memory().peak,
            metrics: &self.metrics,
            model: self.model,
            lr,
            loss,
            grad_norm,
            items,
            seconds,
            wait,
        };
        let event = Event::Step(&event);
        notify(&mut self.own_callbacks, self.callbacks, &mut self.wish, &event)?;

        let due =
            |every: Option<usize>| every.is_some_and(|every| self.at.step.is_multiple_of(every));
        let (validate, mut save) =
            (due(self.config.validate_every), due(self.config.checkpoint_every));
        if validate && self.valid.is_some() {
            self.validate()?;
            save |= self.judge(false)?;
            self.model.train();
        }
        if save {
            self.save()?;
        }
        Ok(())
    }

    pub fn end_epoch(&mut self) -> Result<()> {
        // Its last step may have been followed by a validation of its own.
        let validated = self.at.validated == Some(self.at.step);
        if !validated {
            self.validate()?;
        }
        let seconds = self.start.elapsed().as_secs_f64();
        let record = EpochRecord {
            epoch: self.at.epoch,
            step: self.at.step,
            seconds: seconds - self.at.epoch_start,
            lr: self.optim.lr(),
            train: self.metrics.values(),
            valid: self.valid.map(|_| self.at.valid.clone()).unwrap_or_default(),
        };
        self.at.history.push(record.clone());
        if !validated {
            self.judge(true)?;
        }
        self.notify(&Event::Epoch(&record))?;
        self.at.epoch += 1;
        self.at.batch = 0;
        self.at.epoch_start = seconds;
        self.metrics = Metrics::new(self.makers);
        self.save()
    }

    /// The loss and the metrics on the data of the validation, with averaged weights if there are.
    pub fn validate(&mut self) -> Result<()> {
        let Some(valid) = self.valid else { return Ok(()) };
        let _scope = profile::scope("validation");
        let evaluation = Evaluation {
            precision: self.config.precision.clone(),
            limit: self.config.limit_valid_batches,
        };
        if let Some(ema) = &mut self.ema {
            ema.swap(self.model);
        }
        let metrics = evaluation.metrics(self.model, valid, self.makers, &mut self.step);
        if let Some(ema) = &mut self.ema {
            ema.swap(self.model);
        }
        let metrics = metrics?;
        self.at.validated = Some(self.at.step);
        self.at.valid = metrics.values();
        self.validated = Some((self.at.step, metrics));
        Ok(())
    }

    /// Whether the monitored number is among the best.
    pub fn judge(&mut self, epoch_end: bool) -> Result<bool> {
        let validated = self.validated.as_ref().filter(|(step, _)| *step == self.at.step);
        let valid = validated.map(|(_, metrics)| metrics);
        let wanted = monitor(&self.config, self.valid.is_some());
        let (metrics, name) = match wanted.split_once(' ') {
            Some(("train", name)) => (Some(&self.metrics), name),
            Some(("valid", name)) => (valid, name),
            _ => (None, wanted),
        };
        let Some((metrics, value)) = metrics.and_then(|found| Some((found, found.get(name)?)))
        else {
            return Err(self.no_such_number(wanted));
        };
        let goal = metrics.goal(name);
        let worse = |best: &Best| !goal.is_better(value, best.value, 0.0);
        let place = self.at.best.iter().take_while(|best| worse(best)).count();
        let among = !value.is_nan() && place < self.config.keep_best.max(1);
        if among {
            self.at.best.insert(place, Best { value, step: self.at.step });
            self.at.best.truncate(self.config.keep_best.max(1));
        }
        let judged = Judged {
            step: self.at.step,
            name: wanted,
            value,
            goal,
            best: among && place == 0,
            epoch_end,
            train: &self.metrics,
            valid,
        };
        if let Some(plateau) = &mut self.plateau {
            plateau.step(value);
        }
        let event = Event::Judged(&judged);
        notify(&mut self.own_callbacks, self.callbacks, &mut self.wish, &event)?;
        Ok(among)
    }

    fn no_such_number(&self, wanted: &str) -> Error {
        let name = |set: &'static str| move |(name, _): (String, f64)| format!("`{set} {name}`");
        let valid = self.validated.iter().flat_map(|(_, metrics)| metrics.values());
        let known = self.metrics.values().into_iter().map(name("train"));
        let known: Vec<_> = known.chain(valid.map(name("valid"))).collect();
        fit_error(format!("there is no `{wanted}` to monitor, but {}", known.join(", ")))
    }

    pub fn announce(&mut self) -> Result<()> {
        let folder = self.checkpoints.is_some().then(|| self.config.folder.clone());
        if let Some(folder) = &folder {
            self.config.save(folder.join("trainer.json"))?;
            if let Some(settings) = self.settings {
                let path = folder.join("settings.json");
                kiln_nn::atomic_write(&path, |file| writeln!(file, "{settings}"))?;
            }
        }
        let limit = self.config.limit_train_batches.unwrap_or(usize::MAX);
        let start = Start {
            folder: folder.as_deref(),
            epochs: self.config.epochs,
            batches: self.train.len().map(|batches| batches.min(limit)),
            epoch: self.at.epoch,
            batch: self.at.batch,
            step: self.at.step,
            log_every: self.config.log_every,
            config: &self.config,
            settings: self.settings,
            monitor: monitor(&self.config, self.valid.is_some()),
            optimizer: name_of::<O>(),
            device: &self.device,
            model: self.model,
            history: &self.at.history,
            best: &self.at.best,
        };
        let event = Event::Start(&start);
        notify(&mut self.own_callbacks, self.callbacks, &mut self.wish, &event)?;
        for warning in self.warnings.clone() {
            self.notify(&Event::Warning(&warning))?;
        }
        Ok(())
    }

    pub fn notify(&mut self, event: &Event<'_>) -> Result<()> {
        notify(&mut self.own_callbacks, self.callbacks, &mut self.wish, event)
    }

    /// Says what is wrong, but goes on.
    pub fn warn(&mut self, text: String) -> Result<()> {
        self.notify(&Event::Warning(&text))?;
        self.warnings.push(text);
        Ok(())
    }
}

/// The name of the monitored number.
fn monitor(config: &TrainerConfig, has_validation: bool) -> &str {
    match (config.monitor.as_str(), has_validation) {
        ("", true) => "valid loss",
        ("", false) => "train loss",
        (name, _) => name,
    }
}

/// The name of an optimizer: `AdamW` of an `Optim<kiln_optim::AdamWConfig>`.
fn name_of<O>() -> &'static str {
    let name = std::any::type_name::<O>().trim_end_matches('>');
    let name = name.rsplit(['<', ':']).next().unwrap_or(name);
    name.strip_suffix("Config").unwrap_or(name)
}

/// Tells everybody what happened, also those after one that failed or wishes to stop.
fn notify(
    own: &mut [Box<dyn Callback>],
    others: &mut [Box<dyn Callback>],
    wish: &mut Option<String>,
    event: &Event<'_>,
) -> Result<()> {
    let mut result = Ok(());
    for callback in own.iter_mut().chain(others) {
        match callback.on(event) {
            Ok(Flow::Continue) => {}
            Ok(Flow::Stop(reason)) => *wish = wish.take().or(Some(reason)),
            Err(error) => result = result.and(Err(error)),
        }
    }
    result
}
