//! Rates that rise and fall (Smith 2015, 2017).

use kiln_nn::Config;

use super::cosine::anneal;
use super::{Schedule, require};

/// The curve between two rates.
#[derive(Config, Debug, PartialEq)]
pub enum Anneal {
    /// Half a cosine.
    Cos,
    /// A line.
    Linear,
}

/// Up to `max_lr` and down to almost nothing, once: `torch.optim.lr_scheduler.OneCycleLR`. After
/// `total_steps` the last rate stays.
#[derive(Config, Debug, PartialEq)]
pub struct OneCycleLr {
    /// The largest rate.
    pub max_lr: f64,
    /// Steps of the cycle.
    pub total_steps: usize,
    /// The share of them on the way up.
    #[config(default = 0.3)]
    pub pct_start: f64,
    /// The curve.
    #[config(default = Anneal::Cos)]
    pub anneal: Anneal,
    /// The first rate is the largest divided by this.
    #[config(default = 25.0)]
    pub div_factor: f64,
    /// The last rate is the first divided by this.
    #[config(default = 1e4)]
    pub final_div_factor: f64,
    /// Whether it first falls as long as it rose, to the first rate, and then to the last.
    #[config(default = false)]
    pub three_phase: bool,
    /// The momentum at the largest rate.
    #[config(default = 0.85)]
    pub base_momentum: f64,
    /// The momentum at the ends.
    #[config(default = 0.95)]
    pub max_momentum: f64,
}

impl OneCycleLr {
    /// The momentum of a step, which falls when the rate rises; see
    /// [`Optim::configure`](crate::Optim::configure).
    #[track_caller]
    pub fn momentum_at(&self, step: usize) -> f64 {
        let (high, low) = (self.max_momentum, self.base_momentum);
        self.value(step, [high, low, high, high])
    }

    /// The value between those at the ends of the phases: start, top, and after the first and the
    /// second way down.
    #[track_caller]
    fn value(&self, step: usize, [start, top, middle, end]: [f64; 4]) -> f64 {
        let holds = self.total_steps > 0 && (0.0..=1.0).contains(&self.pct_start);
        require("one_cycle_lr", holds, "total_steps must not be zero and pct_start be in 0..=1");
        let rise = self.pct_start * self.total_steps as f64;
        let last = (self.total_steps - 1) as f64;
        let two = [(rise - 1.0, start, top), (last, top, end), (last, end, end)];
        let three =
            [(rise - 1.0, start, top), (2.0 * rise - 2.0, top, middle), (last, middle, end)];
        let phases = if self.three_phase { three } else { two };
        let (step, mut from) = ((step as f64).min(last), 0.0);
        for (to, high, low) in phases {
            if step <= to {
                let share = if to > from { (step - from) / (to - from) } else { 1.0 };
                return match self.anneal {
                    Anneal::Cos => anneal(high, low, share),
                    Anneal::Linear => high + (low - high) * share,
                };
            }
            from = to;
        }
        end
    }
}

impl Schedule for OneCycleLr {
    #[track_caller]
    fn lr_at(&self, step: usize) -> f64 {
        let first = self.max_lr / self.div_factor;
        self.value(step, [first, self.max_lr, first, first / self.final_div_factor])
    }
}

/// How the cycles of a [`CyclicLr`] change.
#[derive(Config, Debug, PartialEq)]
pub enum CyclicMode {
    /// All are the same.
    Triangular,
    /// Each is half as high as the last.
    Triangular2,
    /// The height is multiplied by this every step.
    ExpRange(f64),
}

/// Up and down between two rates again and again: `torch.optim.lr_scheduler.CyclicLR`.
#[derive(Config, Debug, PartialEq)]
pub struct CyclicLr {
    /// The least rate.
    pub base_lr: f64,
    /// The largest rate.
    pub max_lr: f64,
    /// Steps on the way up.
    #[config(default = 2000)]
    pub step_size_up: usize,
    /// Steps on the way down; as many as up if not set.
    pub step_size_down: Option<usize>,
    /// How the cycles change.
    #[config(default = CyclicMode::Triangular)]
    pub mode: CyclicMode,
}

impl Schedule for CyclicLr {
    #[track_caller]
    fn lr_at(&self, step: usize) -> f64 {
        let (up, down) = (self.step_size_up, self.step_size_down.unwrap_or(self.step_size_up));
        require("cyclic_lr", up > 0 && down > 0, "step_size_up and down must not be zero");
        let (cycle, position) = (step / (up + down), step % (up + down));
        let height = match position <= up {
            true => position as f64 / up as f64,
            false => (up + down - position) as f64 / down as f64,
        };
        let scale = match self.mode {
            CyclicMode::Triangular => 1.0,
            CyclicMode::Triangular2 => 0.5f64.powf(cycle as f64),
            CyclicMode::ExpRange(gamma) => gamma.powf(step as f64),
        };
        self.base_lr + (self.max_lr - self.base_lr) * height * scale
    }
}
