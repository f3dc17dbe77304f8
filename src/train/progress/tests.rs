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
