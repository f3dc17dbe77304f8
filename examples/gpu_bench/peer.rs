//! The processes that measure: one for each column, which may fail without harm to the others.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::answer::{Answer, Measure};

/// A command that reads requests from stdin, and answers each with a line; the first line it writes
/// unasked.
///
/// A process that fails may be left unusable, and the device with it: whatever fails, the next
/// request goes to a new process.
pub struct Peer {
    command: Command,
    /// Where its errors go.
    log: PathBuf,
    process: Option<Process>,
}

struct Process {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Peer {
    /// Nothing is started yet. Errors of the process are added to the file `log`.
    pub fn new(command: Command, log: &Path) -> Self {
        Self { command, log: log.into(), process: None }
    }

    /// Sends a line and waits for the answer. A new process has `limit` to start, and `limit` again
    /// to answer.
    pub fn ask(&mut self, request: &str, limit: Duration) -> Answer {
        let answer = self.start(limit).and_then(|_| {
            let process = self.process.as_mut().expect("it was started");
            // If it has ended, so has its output.
            let _ = writeln!(process.input, "{request}");
            process.answer(limit)
        });
        if answer.is_err() {
            self.stop();
        }
        answer
    }

    /// Starts the process unless it runs, and gives its first line.
    pub fn start(&mut self, limit: Duration) -> Answer {
        if self.process.is_some() {
            return Ok(Measure::default());
        }
        let process = self.spawn().map_err(|error| {
            format!("{} does not start: {error}", self.command.get_program().display())
        })?;
        let answer = self.process.insert(process).answer(limit);
        if answer.is_err() {
            self.stop();
        }
        answer
    }

    fn spawn(&mut self) -> std::io::Result<Process> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let command = self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn()?;
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = channel();
        // It ends with the output of the process.
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Ok(Process { child, input, lines })
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}

impl Process {
    fn answer(&mut self, limit: Duration) -> Answer {
        match self.lines.recv_timeout(limit) {
            Ok(line) => serde_json::from_str::<Answer>(&line)
                .unwrap_or_else(|_| Err(format!("no answer but {line:?}"))),
            Err(RecvTimeoutError::Timeout) => Err(format!("over {limit:.1?}")),
            Err(RecvTimeoutError::Disconnected) => Err("the process ended; see the log".into()),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop();
    }
}
