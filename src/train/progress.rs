//! The progress of a training run, on a terminal or in a log file.

use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::numbers::{clock, metric, seconds};

/// How long the bar stays as it is before it is drawn again.
const REDRAW: Duration = Duration::from_millis(100);
/// How long a log file stays without a line.
const NEXT_LINE: Duration = Duration::from_secs(60);

/// Shows how far a training run is and how well it does.
///
/// On a terminal, a bar on standard error shows the epoch that is running,
///
/// ```text
/// ████▊        epoch 3/20  step 12/45  loss 0.1234  accuracy 98.1 %  ETA 0:03
/// ```
///
/// and each epoch that has ended leaves one line above it. Where standard error is not a terminal,
/// those lines are all there is:
///
/// ```text
/// epoch  3/20  loss 0.1234  accuracy 98.12 %  valid loss 0.1301  valid accuracy 96.94 %  1.2 s
/// ```
///
/// Loss and accuracy are averages over the steps of the epoch so far. The time that is left is
/// that of the whole run, at its average pace until now. Output that cannot be written is dropped:
/// it must not end a training run.
///
/// ```
/// use kiln::train::Progress;
///
/// let mut progress = Progress::new(2, 3);
/// for _epoch in 0..2 {
///     for _step in 0..3 {
///         progress.step(0.25, Some(0.9));
///     }
///     progress.epoch_end(&[("valid accuracy", 0.95)]);
/// }
/// progress.finish();
/// ```
pub struct Progress {
    epochs: usize,
    steps_per_epoch: usize,
    /// How many epochs have ended.
    epochs_done: usize,
    loss: Mean,
    accuracy: Mean,
    /// What is shown in the place of loss and accuracy.
    shown: Option<Shown>,
    /// Steps that were done before this run.
    skipped: usize,
    run_start: Instant,
    epoch_start: Instant,
    /// When the bar was drawn, or a line was written.
    drawn: Instant,
    output: Output,
}

struct Shown {
    /// Steps of the epoch that are done.
    steps: usize,
    values: Vec<(String, f64)>,
    /// What stands at the end, where a narrow terminal cuts it off.
    detail: String,
}

enum Output {
    Terminal(ProgressBar),
    Plain(Box<dyn Write + Send>),
}

impl Progress {
    /// The progress of a run of `epochs` times `steps_per_epoch` steps, on standard error.
    pub fn new(epochs: usize, steps_per_epoch: usize) -> Self {
        // The steps below limit how often the bar is drawn; a second limit would drop the last one.
        let target = ProgressDrawTarget::stderr_with_hz(255);
        if target.is_hidden() {
            return Self::with_writer(epochs, steps_per_epoch, std::io::stderr());
        }
        Self::with_target(epochs, steps_per_epoch, target)
    }

    /// The same as plain lines, one per epoch, to `writer`.
    pub fn with_writer(
        epochs: usize,
        steps_per_epoch: usize,
        writer: impl Write + Send + 'static,
    ) -> Self {
        Self::with_output(epochs, steps_per_epoch, Output::Plain(Box::new(writer)))
    }

    fn with_target(epochs: usize, steps_per_epoch: usize, target: ProgressDrawTarget) -> Self {
        let bar = ProgressBar::with_draw_target(Some(steps_per_epoch as u64), target);
        let style = ProgressStyle::with_template("{bar:12.cyan} {wide_msg}");
        bar.set_style(style.expect("the template is valid").progress_chars("█▉▊▋▌▍▎▏ "));
        Self::with_output(epochs, steps_per_epoch, Output::Terminal(bar))
    }

    fn with_output(epochs: usize, steps_per_epoch: usize, output: Output) -> Self {
        let now = Instant::now();
        let progress = Self {
            epochs,
            steps_per_epoch,
            epochs_done: 0,
            loss: Mean::default(),
            accuracy: Mean::default(),
            shown: None,
            skipped: 0,
            run_start: now,
            epoch_start: now,
            drawn: now,
            output,
        };
        progress.draw();
        progress
    }

    /// Goes on where an earlier run ended: after so many epochs, and steps of the next one.
    pub(super) fn resume(&mut self, epochs: usize, steps: usize) {
        self.epochs_done = epochs;
        self.skipped = epochs * self.steps_per_epoch + steps;
        self.shown = Some(Shown { steps, values: Vec::new(), detail: String::new() });
        self.draw();
    }

    /// Whether it is time to [`Progress::show`] something. A log file gets a line now and then too,
    /// for those who wait for a long epoch.
    pub(super) fn is_due(&self) -> bool {
        let pause = match self.output {
            Output::Terminal(_) => REDRAW,
            Output::Plain(_) => NEXT_LINE,
        };
        self.drawn.elapsed() >= pause
    }

    /// Shows these numbers after so many steps of the epoch.
    pub(super) fn show(&mut self, steps: usize, values: Vec<(String, f64)>, detail: String) {
        self.shown = Some(Shown { steps, values, detail });
        self.drawn = Instant::now();
        self.draw();
        if let Output::Plain(_) = self.output {
            self.print(self.message(self.run_start.elapsed()));
        }
    }

    /// Leaves a line.
    pub(super) fn print(&mut self, line: impl std::fmt::Display) {
        match &mut self.output {
            Output::Terminal(bar) => bar.println(line.to_string()),
            Output::Plain(writer) => {
                // A line at a time, so that a reader of the log sees it now.
                let _ = writeln!(writer, "{line}").and_then(|()| writer.flush());
            }
        }
    }

    /// Counts one step with its mean `loss` and, for a classifier, its `accuracy` from 0 to 1.
    ///
    /// All steps weigh the same in the averages, also a last one with fewer examples.
    pub fn step(&mut self, loss: f64, accuracy: Option<f64>) {
        self.loss.add(loss);
        if let Some(accuracy) = accuracy {
            self.accuracy.add(accuracy);
        }
        if matches!(self.output, Output::Terminal(_)) && self.is_due() {
            self.drawn = Instant::now();
            self.draw();
        }
    }

    /// The average loss of the epoch so far; NaN before its first step.
    pub fn loss(&self) -> f64 {
        self.loss.value()
    }

    /// The average accuracy of the epoch so far; NaN as long as no step had one.
    pub fn accuracy(&self) -> f64 {
        self.accuracy.value()
    }

    /// Ends the epoch: writes its line and starts the averages anew.
    ///
    /// `metrics` follow loss and accuracy in that line. Those whose name ends in `accuracy` are
    /// fractions and shown in percent.
    pub fn epoch_end(&mut self, metrics: &[(&str, f64)]) {
        self.epochs_done += 1;
        let own = [("loss", &self.loss), ("accuracy", &self.accuracy)];
        let own = own.into_iter().filter(|(_, mean)| mean.count > 0);
        let own = own.map(|(name, mean)| (name, mean.value()));
        let values = own.chain(metrics.iter().copied());
        let line = epoch_line(self.epochs_done, self.epochs, values, self.epoch_start.elapsed());
        self.print(line);
        (self.loss, self.accuracy) = (Mean::default(), Mean::default());
        self.shown = None;
        (self.epoch_start, self.drawn) = (Instant::now(), Instant::now());
        if self.epochs_done < self.epochs {
            self.draw();
        }
    }

    /// Ends the run: takes the bar away. Dropping the progress does the same.
    pub fn finish(self) {
        if let Output::Terminal(bar) = &self.output {
            bar.finish_and_clear();
        }
    }

    fn draw(&self) {
        if let Output::Terminal(bar) = &self.output {
            bar.set_position(self.steps() as u64);
            bar.set_message(self.message(self.run_start.elapsed()));
        }
    }

    /// Steps of the epoch that are done.
    fn steps(&self) -> usize {
        self.shown.as_ref().map_or(self.loss.count as usize, |shown| shown.steps)
    }

    /// What stands beside the bar, `elapsed` after the start of the run.
    fn message(&self, elapsed: Duration) -> String {
        let epoch = self.epochs_done + 1;
        let mut text = format!("epoch {epoch}/{}", self.epochs);
        let _ = write!(text, "  step {}", self.steps());
        // How many there are is not known of a stream.
        if self.steps_per_epoch > 0 {
            let _ = write!(text, "/{}", self.steps_per_epoch);
        }
        for (name, mean) in [("loss", &self.loss), ("accuracy", &self.accuracy)] {
            if mean.count > 0 {
                let _ = write!(text, "  {name} {}", metric(name, mean.value(), 1));
            }
        }
        for (name, value) in self.shown.iter().flat_map(|shown| &shown.values) {
            let _ = write!(text, "  {name} {}", metric(name, *value, 1));
        }
        if let Some(left) = self.time_left(elapsed) {
            let _ = write!(text, "  ETA {}", clock(left));
        }
        if let Some(shown) = self.shown.as_ref().filter(|shown| !shown.detail.is_empty()) {
            let _ = write!(text, "  {}", shown.detail);
        }
        text
    }

    /// The time left at the average pace so far, which includes what is done between the steps.
    fn time_left(&self, elapsed: Duration) -> Option<Duration> {
        let steps = (self.epochs as f64) * (self.steps_per_epoch as f64);
        let in_epoch = (self.steps() as f64).min(self.steps_per_epoch as f64);
        let done = self.epochs_done as f64 * self.steps_per_epoch as f64 + in_epoch;
        let pace = elapsed.as_secs_f64() / (done - self.skipped as f64);
        let left = pace * (steps - done).max(0.0);
        Duration::try_from_secs_f64(left).ok()
    }
}

/// What is said of an epoch that has ended: `epoch  3/20  loss 0.1234  1.2 s`.
pub(super) fn epoch_line<'a>(
    done: usize,
    epochs: usize,
    values: impl Iterator<Item = (&'a str, f64)>,
    time: Duration,
) -> String {
    let digits = epochs.to_string().len();
    let mut line = format!("epoch {done:>digits$}/{epochs}");
    for (name, value) in values {
        let _ = write!(line, "  {name} {}", metric(name, value, 2));
    }
    let _ = write!(line, "  {}", seconds(time));
    line
}

/// A running average.
#[derive(Default)]
struct Mean {
    sum: f64,
    count: u64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    fn value(&self) -> f64 {
        self.sum / self.count as f64
    }
}

#[cfg(test)]
mod tests;
