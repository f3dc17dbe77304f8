//! The checkpoints of a training: going on from one, writing them, and the end of the run.

use std::time::{Duration, Instant};

use kiln_nn::Module;
use kiln_optim::Optimizer;
use kiln_tensor::{Device, Result};

use super::config::fit_error;
use super::event::Event;
use super::fit::Fit;
use super::record::{Report, Stop};
use super::{Checkpoint, Step};

/// What decides how kernels round.
fn processor() -> String {
    format!("{} {:?}", std::env::consts::ARCH, kiln_tensor::level())
}

impl<M: Module, O: Optimizer, B: Send + 'static, F: FnMut(&M, &B) -> Step> Fit<'_, M, O, B, F> {
    /// Goes on from the last checkpoint, if there is one and that is wanted.
    pub fn resume(&mut self) -> Result<()> {
        let Some(checkpoints) = &mut self.checkpoints else { return Ok(()) };
        if !self.config.resume {
            return match checkpoints.steps()?.is_empty() {
                true => Ok(()),
                false => Err(fit_error(format!(
                    "the folder {} holds a run; go on with it (`with_resume(true)`), or choose \
                     another",
                    self.config.folder.display()
                ))),
            };
        }
        let latest = checkpoints.latest()?;
        let refused = checkpoints.refused().map(|error| format!("not used: {error}"));
        self.warnings.extend(refused);
        if let Some((step, checkpoint)) = latest {
            let path = checkpoints.path(step);
            self.load(&checkpoint)
                .map_err(|error| fit_error(format!("{}: {error}", path.display())))?;
        }
        Ok(())
    }

    fn load(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let position = checkpoint.get("position").unwrap_or_default();
        self.at = serde_json::from_str(position)
            .map_err(|error| fit_error(format!("the position is no such: {error}")))?;
        checkpoint.load_model("model", self.model)?;
        self.optim.load_state_dict(self.model, &checkpoint.part("optim"))?;
        self.metrics.load_state(&checkpoint.part("metrics"))?;
        if let Some(scaler) = &mut self.scaler {
            scaler.load_state_dict(&checkpoint.part("scaler"))?;
        }
        if let Some(ema) = &mut self.ema {
            ema.load_state_dict(&checkpoint.part("ema"))?;
        }
        if let Some(plateau) = &mut self.plateau {
            plateau.load_state_dict(&checkpoint.part("plateau"))?;
        }
        for callback in self.own_callbacks.iter_mut().chain(self.callbacks.iter_mut()) {
            if let Some(state) = self.at.callbacks.get(callback.name()) {
                callback.load_state(state)?;
            }
        }
        for device in self.devices() {
            checkpoint.restore_generator(&device)?;
        }
        if checkpoint.get("processor").is_some_and(|other| other != processor()) {
            self.warnings.push(
                "the checkpoint is of a processor with other vector instructions, which round \
                 differently: the training goes on, but not with the same bits"
                    .into(),
            );
        }
        self.saved = Some((self.at.epoch, self.at.batch));
        let passed = Duration::try_from_secs_f64(self.at.seconds).unwrap_or_default();
        self.start = Instant::now().checked_sub(passed).unwrap_or_else(Instant::now);
        Ok(())
    }

    /// Those whose random numbers belong to the training.
    fn devices(&self) -> Vec<Device> {
        let mut devices = vec![Device::cpu()];
        for (_, param) in self.model.named_params() {
            if !devices.contains(&param.device()) {
                devices.push(param.device());
            }
        }
        devices
    }

    /// Writes a checkpoint, and then removes those that are not to be kept. One that can not be
    /// written is a warning: what was saved before is still there, and the next one may succeed.
    pub fn save(&mut self) -> Result<()> {
        if self.checkpoints.is_none() {
            return Ok(());
        }
        let checkpoint = self.checkpoint();
        let Some(checkpoints) = &mut self.checkpoints else { return Ok(()) };
        match checkpoints.save(self.at.step, &checkpoint) {
            Ok(path) => {
                self.saved = Some((self.at.epoch, self.at.batch));
                let steps = checkpoints.steps()?;
                let mut last: Vec<usize> =
                    steps.into_iter().filter(|&step| step <= self.at.step).collect();
                let mut keep = last.split_off(last.len().saturating_sub(self.config.keep_last));
                keep.extend(self.at.best.iter().take(self.config.keep_best).map(|best| best.step));
                checkpoints.keep(&keep);
                self.notify(&Event::Saved(&path))
            }
            Err(error) => self.warn(error.to_string()),
        }
    }

    fn checkpoint(&mut self) -> Checkpoint {
        self.at.seconds = self.start.elapsed().as_secs_f64();
        let callbacks = self.own_callbacks.iter().chain(self.callbacks.iter());
        let states = callbacks.map(|callback| (callback.name().to_string(), callback.state()));
        self.at.callbacks = states.filter(|(_, state)| !state.is_empty()).collect();

        let mut checkpoint = Checkpoint::new();
        checkpoint.insert("model", self.model.state_dict());
        checkpoint.insert("optim", self.optim.state_dict());
        checkpoint.insert("metrics", self.metrics.state());
        if let Some(scaler) = &self.scaler {
            checkpoint.insert("scaler", scaler.state_dict());
        }
        if let Some(ema) = &self.ema {
            checkpoint.insert("ema", ema.state_dict());
        }
        if let Some(plateau) = &self.plateau {
            checkpoint.insert("plateau", plateau.state_dict());
        }
        for device in self.devices() {
            checkpoint.insert_generator(&device);
        }
        // A map of texts and numbers is always JSON.
        checkpoint.set("position", serde_json::to_string(&self.at).unwrap_or_default());
        checkpoint.set("trainer", &self.config);
        checkpoint.set("processor", processor());
        if let Some(settings) = self.settings {
            checkpoint.set("settings", settings);
        }
        checkpoint
    }

    /// Ends the run: a last checkpoint, the weights that the model is to end with, and the report.
    pub fn finish(mut self, stop: Stop) -> Result<Report> {
        if self.saved != Some((self.at.epoch, self.at.batch)) {
            self.save()?;
        }
        let validated = self.validated.as_ref().is_some_and(|(step, _)| *step == self.at.step);
        if self.valid.is_some() && !validated && stop != Stop::Interrupted {
            // For the report only: a run that goes on from here has validated when it was due.
            let judged = self.at.validated == Some(self.at.step);
            self.validate()?;
            if !judged {
                self.judge(false)?;
            }
        }
        let path = |step| {
            let path = self.checkpoints.as_ref().map(|checkpoints| checkpoints.path(step));
            path.filter(|path| path.is_file())
        };
        let best_checkpoint = self.at.best.first().and_then(|best| path(best.step));
        let last_checkpoint = self.saved.and_then(|_| path(self.at.step));
        let report = Report {
            stop,
            steps: self.at.step,
            seconds: self.start.elapsed().as_secs_f64(),
            epochs: self.at.history.clone(),
            best: self.at.best.clone(),
            best_checkpoint,
            last_checkpoint,
            valid: self.validated.take().map(|(_, metrics)| metrics),
            warnings: std::mem::take(&mut self.warnings),
        };
        self.notify(&Event::End(&report))?;
        if report.stop == Stop::Interrupted {
            let place = match (&report.last_checkpoint, report.warnings.last()) {
                (Some(path), _) => {
                    format!("saved as {}; go on with `with_resume(true)`", path.display())
                }
                (None, Some(warning)) => format!("not saved: {warning}"),
                (None, None) => "not saved, because no folder is set".into(),
            };
            return Err(fit_error(format!("interrupted after step {}; {place}", report.steps)));
        }
        if let Some(path) = report.best_checkpoint.as_ref().filter(|_| self.config.restore_best) {
            let best = Checkpoint::load(path)?;
            best.load_model("model", self.model)?;
            if let Some(ema) = &mut self.ema {
                ema.load_state_dict(&best.part("ema"))?;
            }
        }
        if let Some(ema) = &self.ema {
            ema.apply_to(self.model);
        }
        self.model.eval();
        Ok(report)
    }
}
