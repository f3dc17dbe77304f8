//! Rates that fall (or rise) once.

use kiln_nn::Config;

use super::{Schedule, require};

/// Times `gamma` every `step_size` steps: `torch.optim.lr_scheduler.StepLR`.
#[derive(Config, Debug, PartialEq)]
pub struct StepLr {
    /// The first rate.
    pub lr: f64,
    /// Steps with the same rate.
    pub step_size: usize,
    /// The factor.
    #[config(default = 0.1)]
    pub gamma: f64,
}

impl Schedule for StepLr {
    #[track_caller]
    fn lr_at(&self, step: usize) -> f64 {
        require("step_lr", self.step_size > 0, "step_size must not be zero");
        self.lr * self.gamma.powf((step / self.step_size) as f64)
    }
}

/// Times `gamma` at each of some steps: `torch.optim.lr_scheduler.MultiStepLR`.
#[derive(Config, Debug, PartialEq)]
pub struct MultiStepLr {
    /// The first rate.
    pub lr: f64,
    /// The steps at which it falls, in any order.
    pub milestones: Vec<usize>,
    /// The factor.
    #[config(default = 0.1)]
    pub gamma: f64,
}

impl Schedule for MultiStepLr {
    fn lr_at(&self, step: usize) -> f64 {
        let passed = self.milestones.iter().filter(|&&milestone| milestone <= step).count();
        self.lr * self.gamma.powf(passed as f64)
    }
}

/// Times `gamma` every step: `torch.optim.lr_scheduler.ExponentialLR`.
#[derive(Config, Debug, PartialEq)]
pub struct ExponentialLr {
    /// The first rate.
    pub lr: f64,
    /// The factor.
    pub gamma: f64,
}

impl Schedule for ExponentialLr {
    fn lr_at(&self, step: usize) -> f64 {
        self.lr * self.gamma.powf(step as f64)
    }
}

/// Times `factor` for the first steps: `torch.optim.lr_scheduler.ConstantLR`.
#[derive(Config, Debug, PartialEq)]
pub struct ConstantLr {
    /// The rate after the first steps.
    pub lr: f64,
    /// The factor.
    #[config(default = 1.0 / 3.0)]
    pub factor: f64,
    /// How many steps are the first ones.
    #[config(default = 5)]
    pub total_iters: usize,
}

impl Schedule for ConstantLr {
    fn lr_at(&self, step: usize) -> f64 {
        self.lr * if step < self.total_iters { self.factor } else { 1.0 }
    }
}

/// Along a line between two factors, then the second: `torch.optim.lr_scheduler.LinearLR`.
#[derive(Config, Debug, PartialEq)]
pub struct LinearLr {
    /// What is multiplied by the factors.
    pub lr: f64,
    /// The factor of the first step.
    #[config(default = 1.0 / 3.0)]
    pub start_factor: f64,
    /// The last factor.
    #[config(default = 1.0)]
    pub end_factor: f64,
    /// How many steps it takes.
    #[config(default = 5)]
    pub total_iters: usize,
}

impl Schedule for LinearLr {
    fn lr_at(&self, step: usize) -> f64 {
        if step >= self.total_iters {
            return self.lr * self.end_factor;
        }
        let share = step as f64 / self.total_iters as f64;
        self.lr * (self.start_factor + (self.end_factor - self.start_factor) * share)
    }
}

/// To zero as a power of what is left: `torch.optim.lr_scheduler.PolynomialLR`.
#[derive(Config, Debug, PartialEq)]
pub struct PolynomialLr {
    /// The first rate.
    pub lr: f64,
    /// How many steps it takes.
    #[config(default = 5)]
    pub total_iters: usize,
    /// The power.
    #[config(default = 1.0)]
    pub power: f64,
}

impl Schedule for PolynomialLr {
    fn lr_at(&self, step: usize) -> f64 {
        if step >= self.total_iters {
            return 0.0;
        }
        self.lr * (1.0 - step as f64 / self.total_iters as f64).powf(self.power)
    }
}

/// Up along a line, then down as one over the root of the step: the schedule of the first
/// transformer (Vaswani et al. 2017).
#[derive(Config, Debug, PartialEq)]
pub struct NoamLr {
    /// Factor of everything.
    pub factor: f64,
    /// Steps on the way up.
    #[config(default = 4000)]
    pub warmup_steps: usize,
    /// The size of the model, whose root divides the rate.
    #[config(default = 512)]
    pub model_size: usize,
}

impl Schedule for NoamLr {
    #[track_caller]
    fn lr_at(&self, step: usize) -> f64 {
        let holds = self.warmup_steps > 0 && self.model_size > 0;
        require("noam_lr", holds, "warmup_steps and model_size must not be zero");
        let (step, warmup) = ((step + 1) as f64, self.warmup_steps as f64);
        let scale = self.factor / (self.model_size as f64).sqrt();
        scale * step.powf(-0.5).min(step * warmup.powf(-1.5))
    }
}
