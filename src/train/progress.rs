//! The progress of a training run, on a terminal or in a log file.

use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How long the bar stays as it is before it is drawn again.
const REDRAW: Duration = Duration::from_millis(100);

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
    run_start: Instant,
    epoch_start: Instant,
    output: Output,
}

enum Output {
    Terminal { bar: ProgressBar, drawn: Instant },
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
        let drawn = Instant::now();
        Self::with_output(epochs, steps_per_epoch, Output::Terminal { bar, drawn })
    }

    fn with_output(epochs: usize, steps_per_epoch: usize, output: Output) -> Self {
        let now = Instant::now();
        let progress = Self {
            epochs,
            steps_per_epoch,
            epochs_done: 0,
            loss: Mean::default(),
            accuracy: Mean::default(),
            run_start: now,
            epoch_start: now,
            output,
        };
        progress.draw();
        progress
    }

    /// Counts one step with its mean `loss` and, for a classifier, its `accuracy` from 0 to 1.
    ///
    /// All steps weigh the same in the averages, also a last one with fewer examples.
    pub fn step(&mut self, loss: f64, accuracy: Option<f64>) {
        self.loss.add(loss);
        if let Some(accuracy) = accuracy {
            self.accuracy.add(accuracy);
        }
        if let Output::Terminal { drawn, .. } = &mut self.output {
            let now = Instant::now();
            if now.duration_since(*drawn) >= REDRAW {
                *drawn = now;
                self.draw();
            }
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
        let digits = self.epochs.to_string().len();
        let mut line = format!("epoch {:>digits$}/{}", self.epochs_done, self.epochs);
        let own = [("loss", &self.loss), ("accuracy", &self.accuracy)];
        let own = own.into_iter().filter(|(_, mean)| mean.count > 0);
        let own = own.map(|(name, mean)| (name, mean.value()));
        for (name, value) in own.chain(metrics.iter().copied()) {
            let _ = write!(line, "  {name} {}", metric(name, value, 2));
        }
        let _ = write!(line, "  {}", seconds(self.epoch_start.elapsed()));
        match &mut self.output {
            Output::Terminal { bar, .. } => bar.println(line),
            Output::Plain(writer) => {
                // A line at a time, so that a reader of the log sees it now.
                let _ = writeln!(writer, "{line}").and_then(|()| writer.flush());
            }
        }
        (self.loss, self.accuracy) = (Mean::default(), Mean::default());
        self.epoch_start = Instant::now();
        if self.epochs_done < self.epochs {
            self.draw();
        }
    }

    /// Ends the run: takes the bar away. Dropping the progress does the same.
    pub fn finish(self) {
        if let Output::Terminal { bar, .. } = &self.output {
            bar.finish_and_clear();
        }
    }

    fn draw(&self) {
        if let Output::Terminal { bar, .. } = &self.output {
            bar.set_position(self.loss.count);
            bar.set_message(self.message(self.run_start.elapsed()));
        }
    }

    /// What stands beside the bar, `elapsed` after the start of the run.
    fn message(&self, elapsed: Duration) -> String {
        let epoch = self.epochs_done + 1;
        let mut text = format!("epoch {epoch}/{}", self.epochs);
        let _ = write!(text, "  step {}/{}", self.loss.count, self.steps_per_epoch);
        for (name, mean) in [("loss", &self.loss), ("accuracy", &self.accuracy)] {
            if mean.count > 0 {
                let _ = write!(text, "  {name} {}", metric(name, mean.value(), 1));
            }
        }
        if let Some(left) = self.time_left(elapsed) {
            let _ = write!(text, "  ETA {}", clock(left));
        }
        text
    }

    /// The time left at the average pace so far, which includes what is done between the steps.
    fn time_left(&self, elapsed: Duration) -> Option<Duration> {
        let steps = (self.epochs as f64) * (self.steps_per_epoch as f64);
        let in_epoch = (self.loss.count as f64).min(self.steps_per_epoch as f64);
        let done = self.epochs_done as f64 * self.steps_per_epoch as f64 + in_epoch;
        let left = elapsed.as_secs_f64() * (steps - done).max(0.0) / done;
        Duration::try_from_secs_f64(left).ok()
    }
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

fn metric(name: &str, value: f64, decimals: usize) -> String {
    if name.ends_with("accuracy") {
        format!("{:.decimals$} %", 100.0 * value)
    } else if value == 0.0 || (1e-3..1e4).contains(&value.abs()) || !value.is_finite() {
        format!("{value:.4}")
    } else {
        format!("{value:.3e}")
    }
}

/// How long an epoch took: to a tenth of a second as long as that says something.
fn seconds(time: Duration) -> String {
    if time.as_secs() < 60 { format!("{:.1} s", time.as_secs_f64()) } else { clock(time) }
}

/// Minutes and seconds, and hours if there are any.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps what is written, for plain output and in the place of a terminal.
    #[derive(Debug, Clone, Default)]
    struct Captured(Arc<Mutex<String>>);

    impl Captured {
        fn text(&self) -> String {
            self.0.lock().unwrap().clone()
        }

        fn push(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.push(std::str::from_utf8(bytes).unwrap()).map(|()| bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl indicatif::TermLike for Captured {
        fn width(&self) -> u16 {
            80
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.push(text).and_then(|()| self.push("\n"))
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.push(text)
        }

        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines without the time at their end, which differs between runs.
    fn untimed(text: &str) -> Vec<&str> {
        text.lines().map(|line| line.rsplit_once("  ").unwrap().0).collect()
    }

    #[test]
    fn writes_one_plain_line_per_epoch() {
        let output = Captured::default();
        let mut progress = Progress::with_writer(10, 2, output.clone());
        progress.step(1.0, Some(0.5));
        progress.step(0.5, Some(1.0));
        assert_eq!((progress.loss(), progress.accuracy()), (0.75, 0.75));
        assert_eq!(output.text(), "");
        progress.epoch_end(&[("valid loss", 0.25), ("valid accuracy", 0.96944)]);
        progress.step(0.125, None);
        progress.epoch_end(&[]);
        progress.finish();
        let text = output.text();
        let expected = [
            "epoch  1/10  loss 0.7500  accuracy 75.00 %  valid loss 0.2500  valid accuracy 96.94 %",
            "epoch  2/10  loss 0.1250",
        ];
        assert_eq!(untimed(&text), expected);
        assert!(text.lines().all(|line| line.ends_with(" s")), "{text}");
    }

    #[test]
    fn says_nothing_of_what_was_not_measured() {
        let output = Captured::default();
        let mut progress = Progress::with_writer(0, 0, output.clone());
        assert!(progress.loss().is_nan() && progress.accuracy().is_nan());
        progress.epoch_end(&[]);
        assert_eq!(untimed(&output.text()), ["epoch 1/0"]);
    }

    #[test]
    fn goes_on_when_nothing_can_be_written() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut progress = Progress::with_writer(1, 1, Closed);
        progress.step(1.0, None);
        progress.epoch_end(&[]);
    }

    #[test]
    fn shows_a_bar_on_a_terminal() {
        let terminal = Captured::default();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(terminal.clone()), 255);
        let mut progress = Progress::with_target(20, 45, target);
        for _ in 0..1000 {
            progress.step(0.1234, Some(0.981));
        }
        let text = terminal.text();
        assert!(text.matches("step").count() < 100, "not every step is drawn");
        progress.loss = Mean { sum: 0.1234, count: 1 };
        // 899 of the 900 steps are left, each at the pace of the first.
        let message = progress.message(Duration::from_secs(1));
        let expected = "epoch 1/20  step 1/45  loss 0.1234  accuracy 98.1 %  ETA 14:59";
        assert_eq!(message, expected);
        progress.epoch_end(&[]);
        assert!(terminal.text().contains("epoch  1/20  loss 0.1234  accuracy 98.10 %"));
        assert!(terminal.text().contains("epoch 2/20  step 0/45"));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(metric("loss", 12345.678, 2), "1.235e4");
        assert_eq!(metric("loss", 0.00012, 2), "1.200e-4");
        assert_eq!(metric("loss", f64::NAN, 2), "NaN");
        assert_eq!(clock(Duration::from_secs(3)), "0:03");
        assert_eq!(clock(Duration::from_secs(3600 + 62)), "1:01:02");
        assert_eq!(seconds(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(75)), "1:15");
    }
}
