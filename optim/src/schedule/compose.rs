//! Schedules made of schedules.

use super::Schedule;

/// Along a line up to the first rate of another schedule, which then begins.
#[derive(Clone, Debug, PartialEq)]
pub struct WarmupLr<S> {
    steps: usize,
    start_factor: f64,
    schedule: S,
}

impl<S: Schedule> WarmupLr<S> {
    /// A warm-up of so many steps from zero.
    pub fn new(steps: usize, schedule: S) -> Self {
        Self { steps, start_factor: 0.0, schedule }
    }

    /// The first rate, as a share of that after the warm-up.
    pub fn with_start_factor(mut self, start_factor: f64) -> Self {
        self.start_factor = start_factor;
        self
    }
}

impl<S: Schedule> Schedule for WarmupLr<S> {
    #[track_caller]
    fn lr_at(&self, step: usize) -> f64 {
        if step >= self.steps {
            return self.schedule.lr_at(step - self.steps);
        }
        let share = step as f64 / self.steps as f64;
        self.schedule.lr_at(0) * (self.start_factor + (1.0 - self.start_factor) * share)
    }
}

/// One schedule after the other, each from its own first step:
/// `torch.optim.lr_scheduler.SequentialLR`.
///
/// ```
/// use kiln_optim::Schedule;
/// use kiln_optim::schedule::{ConstantLr, ExponentialLr, SequentialLr};
/// let schedule = SequentialLr::new(ConstantLr::new(1.0)).then(20, ExponentialLr::new(1.0, 0.9));
/// assert_eq!((schedule.lr_at(20), schedule.lr_at(21)), (1.0, 0.9));
/// ```
pub struct SequentialLr {
    /// Where each begins.
    parts: Vec<(usize, Box<dyn Schedule>)>,
}

impl SequentialLr {
    /// What comes first.
    pub fn new(schedule: impl Schedule + 'static) -> Self {
        Self { parts: vec![(0, Box::new(schedule))] }
    }

    /// What begins at step `milestone`, which is later than those before.
    pub fn then(mut self, milestone: usize, schedule: impl Schedule + 'static) -> Self {
        self.parts.push((milestone, Box::new(schedule)));
        self
    }
}

impl Schedule for SequentialLr {
    #[track_caller]
    fn lr_at(&self, step: usize) -> f64 {
        let (start, schedule) =
            self.parts.iter().rfind(|(start, _)| *start <= step).expect("one starts at zero");
        schedule.lr_at(step - start)
    }
}
