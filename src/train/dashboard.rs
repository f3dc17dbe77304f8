//! A training as curves on a terminal.

mod draw;
mod screen;

use std::io::Write;
use std::time::{Duration, Instant};

use kiln_tensor::Result;

use self::screen::Screen;
pub(super) use self::screen::{is_possible, leave};
use super::Stop;
use super::event::{Callback, Event, Flow, Start, StepEvent};
use super::history::History;
use super::jsonl::line_of;
use super::progress::epoch_line;

/// How long a picture stays.
const REDRAW: Duration = Duration::from_millis(100);

/// Fills the terminal while the training runs, and leaves the lines of all epochs behind. When
/// something else takes the terminal back (an interrupt, a panic), it goes on with lines.
#[derive(Default)]
pub(super) struct Dashboard {
    view: View,
    screen: Option<Screen>,
    began: Option<Instant>,
    drawn: Option<Instant>,
    /// How many lines stand on the terminal itself.
    left: usize,
    log_every: usize,
}

/// All that is shown.
#[derive(Default)]
struct View {
    epochs: usize,
    /// How many batches an epoch has, if that is known.
    batches: Option<usize>,
    epoch: usize,
    batch: usize,
    step: usize,
    lr: f64,
    /// Examples per second.
    pace: f64,
    memory: usize,
    /// Loss and metrics of the epoch so far.
    values: Vec<(String, f64)>,
    /// Since this process began.
    elapsed: Duration,
    /// Batches that were done before.
    skipped: usize,
    history: History,
    lines: Vec<String>,
}

impl Dashboard {
    fn draw(&mut self) {
        if let (Some(screen), Some(began)) = (&mut self.screen, self.began) {
            self.view.elapsed = began.elapsed();
            screen.draw(|frame| draw::draw(frame, &self.view));
            self.drawn = Some(Instant::now());
        }
    }

    fn say(&mut self, line: String) {
        self.view.lines.push(line);
        if self.screen.as_ref().is_some_and(Screen::is_open) {
            self.draw();
        } else {
            self.print();
        }
    }

    /// Writes the lines that the terminal itself does not have yet.
    fn print(&mut self) {
        let mut stderr = std::io::stderr().lock();
        for line in &self.view.lines[self.left..] {
            // Output that can not be written must not end a training.
            let _ = writeln!(stderr, "{line}");
        }
        self.left = self.view.lines.len();
    }

    fn close(&mut self) {
        leave();
        self.screen = None;
        self.print();
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.close();
    }
}

impl Callback for Dashboard {
    fn on(&mut self, event: &Event<'_>) -> Result<Flow> {
        if let Some(line) = line_of(event, self.log_every) {
            self.view.history.add(&line);
        }
        match event {
            Event::Start(start) => {
                self.view = View::new(start);
                self.log_every = start.log_every;
                self.began = Some(Instant::now());
                self.screen = Screen::open();
                self.draw();
            }
            Event::Step(step) => {
                self.view.step(step);
                if self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW) {
                    self.view.values = step.metrics.values();
                    self.draw();
                }
            }
            Event::Epoch(epoch) => {
                let valid: Vec<(String, f64)> =
                    epoch.valid.iter().map(|(name, x)| (format!("valid {name}"), *x)).collect();
                let values = epoch.train.iter().chain(&valid).map(|(name, x)| (name.as_str(), *x));
                let time = Duration::try_from_secs_f64(epoch.seconds).unwrap_or_default();
                let line = epoch_line(epoch.epoch + 1, self.view.epochs, values, time);
                (self.view.epoch, self.view.batch) = (epoch.epoch + 1, 0);
                self.say(line);
            }
            Event::Judged(_) => self.draw(),
            Event::Warning(text) => self.say(format!("warning: {text}")),
            Event::End(report) => {
                if report.stop != Stop::Finished {
                    let line = format!("stopped after step {}: {}", report.steps, report.stop);
                    self.view.lines.push(line);
                }
                self.close();
            }
            Event::Failed(_) => self.close(),
            Event::Saved(_) => {}
        }
        Ok(Flow::Continue)
    }
}

impl View {
    fn new(start: &Start<'_>) -> Self {
        let log = start.folder.map(|folder| folder.join("metrics.jsonl"));
        let mut lines = Vec::new();
        if start.step > 0 {
            lines.push(format!("goes on after step {}", start.step));
        }
        Self {
            epochs: start.epochs,
            batches: start.batches,
            epoch: start.epoch,
            batch: start.batch,
            step: start.step,
            skipped: start.epoch * start.batches.unwrap_or(0) + start.batch,
            history: log.map(|log| History::read(&log)).unwrap_or_default(),
            lines,
            ..Self::default()
        }
    }

    fn step(&mut self, step: &StepEvent<'_>) {
        (self.epoch, self.batch, self.step) = (step.epoch, step.batch, step.step);
        (self.lr, self.memory) = (step.lr, step.memory);
        // A mean over about the last twenty steps.
        let pace = step.items as f64 / step.seconds;
        self.pace = if self.pace == 0.0 { pace } else { 0.95 * self.pace + 0.05 * pace };
    }

    /// The share of the run that is done, if that is known.
    fn share(&self) -> Option<f64> {
        let all = (self.epochs.checked_mul(self.batches?)?) as f64;
        let done = self.epoch * self.batches? + self.batch;
        (all > 0.0).then(|| (done as f64 / all).min(1.0))
    }

    /// The time left at the average pace so far.
    fn time_left(&self) -> Option<Duration> {
        let batches = self.batches?;
        let (all, done) = (self.epochs.checked_mul(batches)?, self.epoch * batches + self.batch);
        let pace = self.elapsed.as_secs_f64() / done.checked_sub(self.skipped)? as f64;
        Duration::try_from_secs_f64(pace * all.saturating_sub(done) as f64).ok()
    }
}

#[cfg(test)]
mod tests;
