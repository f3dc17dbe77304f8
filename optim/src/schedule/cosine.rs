//! Rates along a cosine (Loshchilov & Hutter 2016).

use std::f64::consts::PI;

use kiln_nn::Config;

use super::{Schedule, require};

/// From `high` to `low` along half a cosine.
pub(super) fn anneal(high: f64, low: f64, share: f64) -> f64 {
    low + (high - low) * (1.0 + (PI * share).cos()) / 2.0
}

/// Down to `min_lr` in `num_iters` steps along a cosine, and up again after:
/// `torch.optim.lr_scheduler.CosineAnnealingLR`.
#[derive(Config, Debug, PartialEq)]
pub struct CosineAnnealingLr {
    /// The first rate.
    pub lr: f64,
    /// How many steps it takes (`T_max`).
    pub num_iters: usize,
    /// The least rate (`eta_min`).
    #[config(default = 0.0)]
    pub min_lr: f64,
}

impl Schedule for CosineAnnealingLr {
    #[track_caller]
    fn lr_at(&self, step: usize) -> f64 {
        require("cosine_annealing_lr", self.num_iters > 0, "num_iters must not be zero");
        // A period has two halves; larger numbers would lose digits.
        let step = step % (2 * self.num_iters);
        anneal(self.lr, self.min_lr, step as f64 / self.num_iters as f64)
    }
}

/// Down to `min_lr` along a cosine again and again, each time `factor` times as long:
/// `torch.optim.lr_scheduler.CosineAnnealingWarmRestarts`.
#[derive(Config, Debug, PartialEq)]
pub struct CosineAnnealingWarmRestarts {
    /// The rate after each restart.
    pub lr: f64,
    /// Steps before the first restart (`T_0`).
    pub num_iters: usize,
    /// How much longer each run is than the last (`T_mult`).
    #[config(default = 1)]
    pub factor: usize,
    /// The least rate (`eta_min`).
    #[config(default = 0.0)]
    pub min_lr: f64,
}

impl Schedule for CosineAnnealingWarmRestarts {
    #[track_caller]
    fn lr_at(&self, step: usize) -> f64 {
        let holds = self.num_iters > 0 && self.factor > 0;
        require("cosine_annealing_warm_restarts", holds, "num_iters and factor must not be zero");
        let (mut step, mut run) = (step, self.num_iters);
        if self.factor == 1 {
            step %= run;
        }
        while step >= run {
            step -= run;
            run = run.saturating_mul(self.factor);
        }
        anneal(self.lr, self.min_lr, step as f64 / run as f64)
    }
}
