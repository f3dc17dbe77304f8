//! A rate that falls when there is no progress.

use kiln_nn::{Config, LoadReport, StateDict};
use kiln_tensor::{Error, OrFail, Result, TensorData};

use crate::check;
use crate::state::number;

/// What is better.
#[derive(Config, Debug, PartialEq)]
pub enum PlateauMode {
    /// A smaller number: a loss.
    Min,
    /// A larger number: an accuracy.
    Max,
}

/// How the threshold is meant.
#[derive(Config, Debug, PartialEq)]
pub enum ThresholdMode {
    /// As a share of the best number.
    Rel,
    /// As it is.
    Abs,
}

/// What a [`ReduceLrOnPlateau`] is made of.
#[derive(Config, Debug, PartialEq)]
pub struct ReduceLrOnPlateauConfig {
    /// The first rate.
    pub lr: f64,
    /// What is better.
    #[config(default = PlateauMode::Min)]
    pub mode: PlateauMode,
    /// What the rate is multiplied by.
    #[config(default = 0.1)]
    pub factor: f64,
    /// How many numbers may be no better.
    #[config(default = 10)]
    pub patience: usize,
    /// How much better a number must be.
    #[config(default = 1e-4)]
    pub threshold: f64,
    /// How the threshold is meant.
    #[config(default = ThresholdMode::Rel)]
    pub threshold_mode: ThresholdMode,
    /// How many numbers after a reduction are not counted.
    #[config(default = 0)]
    pub cooldown: usize,
    /// The least rate.
    #[config(default = 0.0)]
    pub min_lr: f64,
    /// A smaller reduction is not made.
    #[config(default = 1e-8)]
    pub epsilon: f64,
}

impl ReduceLrOnPlateauConfig {
    /// Makes the schedule. Panics if the factor is not in `0..1`.
    #[track_caller]
    pub fn init(&self) -> ReduceLrOnPlateau {
        check::shares("reduce_lr_on_plateau", [("factor", self.factor)]).or_fail();
        let best = match self.mode {
            PlateauMode::Min => f64::INFINITY,
            PlateauMode::Max => f64::NEG_INFINITY,
        };
        ReduceLrOnPlateau { config: self.clone(), lr: self.lr, best, bad: 0, cooldown: 0 }
    }
}

/// Reduces the rate when a number, such as the loss of the validation, gets no better:
/// `torch.optim.lr_scheduler.ReduceLROnPlateau`.
///
/// ```
/// use kiln_optim::schedule::ReduceLrOnPlateauConfig;
/// let mut plateau = ReduceLrOnPlateauConfig::new(0.1).with_patience(1).init();
/// let rates = [3.0, 2.0, 2.0, 2.0].map(|loss| plateau.step(loss));
/// assert_eq!(rates, [0.1, 0.1, 0.1, 0.1 * 0.1]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ReduceLrOnPlateau {
    config: ReduceLrOnPlateauConfig,
    lr: f64,
    best: f64,
    bad: usize,
    cooldown: usize,
}

impl ReduceLrOnPlateau {
    /// The rate after this number.
    pub fn step(&mut self, metric: f64) -> f64 {
        let ReduceLrOnPlateauConfig { threshold, factor, patience, .. } = self.config;
        let best = self.best;
        let better = match (&self.config.mode, &self.config.threshold_mode) {
            (PlateauMode::Min, ThresholdMode::Rel) => metric < best * (1.0 - threshold),
            (PlateauMode::Min, ThresholdMode::Abs) => metric < best - threshold,
            (PlateauMode::Max, ThresholdMode::Rel) => metric > best * (1.0 + threshold),
            (PlateauMode::Max, ThresholdMode::Abs) => metric > best + threshold,
        };
        if better {
            (self.best, self.bad) = (metric, 0);
        } else {
            self.bad += 1;
        }
        if self.cooldown > 0 {
            self.cooldown -= 1;
            self.bad = 0;
        }
        if self.bad > patience {
            let lr = (self.lr * factor).max(self.config.min_lr);
            if self.lr - lr > self.config.epsilon {
                self.lr = lr;
            }
            (self.bad, self.cooldown) = (0, self.config.cooldown);
        }
        self.lr
    }

    /// The rate at the moment.
    pub fn lr(&self) -> f64 {
        self.lr
    }

    /// What changes: the rate, the best number, and the counters.
    pub fn state_dict(&self) -> StateDict {
        let mut state = StateDict::default();
        let counts = [("num_bad_epochs", self.bad), ("cooldown_counter", self.cooldown)];
        for (name, value) in [("lr", self.lr), ("best", self.best)] {
            state.insert(name, TensorData::new(vec![value], [1]));
        }
        for (name, value) in counts {
            state.insert(name, TensorData::new(vec![value as i64], [1]));
        }
        state
    }

    /// Takes back what [`ReduceLrOnPlateau::state_dict`] gave; an error, and an unchanged schedule,
    /// if anything is missing or makes no sense.
    pub fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        let mut report = LoadReport::default();
        let mut entry = |name| number(state, name, &mut report);
        let (lr, best) = (entry("lr"), entry("best"));
        let (bad, cooldown) = (entry("num_bad_epochs"), entry("cooldown_counter"));
        if !report.is_complete() {
            let rule = format!("the state does not fit: {report}");
            return Err(Error::Argument { op: "reduce_lr_on_plateau", rule });
        }
        let counts = [("lr", lr), ("num_bad_epochs", bad), ("cooldown_counter", cooldown)];
        check::not_negative("reduce_lr_on_plateau", counts)?;
        (self.lr, self.best) = (lr, best);
        (self.bad, self.cooldown) = (bad as usize, cooldown as usize);
        Ok(())
    }
}
