//! Learning rates in the course of a training.
//!
//! A [`Schedule`] is a plain value: the rate is a function of the number of the step, so there is
//! nothing to save. A closure is one too (`torch.optim.lr_scheduler.LambdaLR`).
//!
//! ```
//! use kiln_optim::schedule::{CosineAnnealingLr, WarmupLr};
//! use kiln_optim::{Optimizer, Schedule, SgdConfig};
//! let schedule = WarmupLr::new(10, CosineAnnealingLr::new(0.1, 90));
//! let mut optim = SgdConfig::new(0.1).init();
//! for step in 0..100 {
//!     optim.set_lr(schedule.lr_at(step));
//!     // optim.step(&mut model, grads);
//! }
//! let halved = |step: usize| 0.1 * 0.5f64.powi((step / 30) as i32);
//! assert_eq!(halved.lr_at(59), 0.05);
//! ```

mod compose;
mod cosine;
mod cycle;
mod decay;
mod plateau;

pub use compose::{SequentialLr, WarmupLr};
pub use cosine::{CosineAnnealingLr, CosineAnnealingWarmRestarts};
pub use cycle::{Anneal, CyclicLr, CyclicMode, OneCycleLr};
pub use decay::{ConstantLr, ExponentialLr, LinearLr, MultiStepLr, NoamLr, PolynomialLr, StepLr};
pub use plateau::{PlateauMode, ReduceLrOnPlateau, ReduceLrOnPlateauConfig, ThresholdMode};

use kiln_tensor::{Error, fail};

/// A learning rate for each step.
pub trait Schedule {
    /// The learning rate of a step, counted from 0: what PyTorch's scheduler has set after so many
    /// calls of its `step`. Panics if a setting makes no sense.
    #[track_caller]
    fn lr_at(&self, step: usize) -> f64;

    /// The same rates one after the other.
    fn scheduler(self) -> Scheduler<Self>
    where
        Self: Sized,
    {
        Scheduler { schedule: self, next: 0 }
    }
}

impl<F: Fn(usize) -> f64> Schedule for F {
    fn lr_at(&self, step: usize) -> f64 {
        self(step)
    }
}

impl Schedule for Box<dyn Schedule> {
    #[track_caller]
    fn lr_at(&self, step: usize) -> f64 {
        (**self).lr_at(step)
    }
}

/// Gives one learning rate after the other.
pub trait LrScheduler {
    /// The learning rate of the next step; the first call gives that of the first step.
    #[track_caller]
    fn step(&mut self) -> f64;
}

/// A [`Schedule`] that counts its steps.
#[derive(Clone, Debug)]
pub struct Scheduler<S> {
    schedule: S,
    next: usize,
}

impl<S: Schedule> LrScheduler for Scheduler<S> {
    #[track_caller]
    fn step(&mut self) -> f64 {
        self.next += 1;
        self.schedule.lr_at(self.next - 1)
    }
}

impl<S> Scheduler<S> {
    /// How many steps were taken: all that is to be saved of it.
    pub fn position(&self) -> usize {
        self.next
    }

    /// Goes on after so many steps.
    pub fn set_position(&mut self, steps: usize) {
        self.next = steps;
    }
}

/// Panics with `rule` unless it holds.
#[track_caller]
fn require(op: &'static str, holds: bool, rule: &str) {
    if !holds {
        fail(Error::Argument { op, rule: rule.into() });
    }
}
