//! The progress of a trainer on standard error.

use std::time::Instant;

use kiln_tensor::Result;

use super::event::{Callback, Event, Flow, StepEvent};
use super::numbers::bytes;
use super::{Progress, TrainerConfig};

/// What shows the training, if that is wanted.
pub(super) fn display(config: &TrainerConfig) -> Option<Box<dyn Callback>> {
    #[cfg(feature = "dashboard")]
    if config.dashboard && super::dashboard::is_possible() {
        return Some(Box::new(super::dashboard::Dashboard::default()));
    }
    let wanted = config.progress || config.dashboard;
    wanted.then(|| Box::new(Display::default()) as Box<dyn Callback>)
}

/// Shows a training as a [`Progress`].
#[derive(Default)]
struct Display {
    progress: Option<Progress>,
    pace: Pace,
    memory: usize,
}

/// Examples since the numbers were shown last.
struct Pace {
    items: usize,
    since: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self { items: 0, since: Instant::now() }
    }
}

impl Display {
    fn step(&mut self, step: &StepEvent<'_>) {
        self.pace.items += step.items;
        self.memory = step.memory;
        let Some(progress) = self.progress.as_mut().filter(|progress| progress.is_due()) else {
            return;
        };
        let pace = self.pace.items as f64 / self.pace.since.elapsed().as_secs_f64();
        self.pace = Pace::default();
        let mut detail = format!("{pace:.0}/s  lr {:.1e}", step.lr);
        // A device that does not count has none.
        if self.memory > 0 {
            detail += &format!("  {}", bytes(self.memory));
        }
        progress.show(step.batch, step.metrics.values(), detail);
    }
}

impl Callback for Display {
    fn on(&mut self, event: &Event<'_>) -> Result<Flow> {
        match event {
            Event::Start(start) => {
                let mut progress = Progress::new(start.epochs, start.batches.unwrap_or(0));
                if start.step > 0 {
                    progress.print(format_args!("goes on after step {}", start.step));
                    progress.resume(start.epoch, start.batch);
                }
                self.progress = Some(progress);
                self.pace = Pace::default();
            }
            Event::Step(step) => self.step(step),
            Event::Epoch(epoch) => {
                let train = epoch.train.iter().map(|(name, value)| (name.clone(), *value));
                let valid =
                    epoch.valid.iter().map(|(name, value)| (format!("valid {name}"), *value));
                let values: Vec<(String, f64)> = train.chain(valid).collect();
                let values: Vec<_> = values.iter().map(|(name, x)| (name.as_str(), *x)).collect();
                if let Some(progress) = &mut self.progress {
                    progress.epoch_end(&values);
                }
                self.pace = Pace::default();
            }
            Event::Warning(text) => {
                if let Some(progress) = &mut self.progress {
                    progress.print(format_args!("warning: {text}"));
                }
            }
            Event::End(report) => {
                let Some(mut progress) = self.progress.take() else { return Ok(Flow::Continue) };
                if report.stop != super::Stop::Finished {
                    progress.print(format_args!(
                        "stopped after step {}: {}",
                        report.steps, report.stop
                    ));
                }
                progress.finish();
            }
            // Its bar goes, and the error is for the caller to show.
            Event::Failed(_) => self.progress = None,
            Event::Judged(_) | Event::Saved(_) => {}
        }
        Ok(Flow::Continue)
    }
}
