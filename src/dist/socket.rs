//! Reading and writing sockets so that nobody waits for ever.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kiln_tensor::Result;

use super::group_error;

/// Fills `bytes` before `deadline`, or says in words why not.
pub(super) fn read_exact(
    mut stream: &TcpStream,
    bytes: &mut [u8],
    deadline: Instant,
) -> Result<(), String> {
    let start = Instant::now();
    let mut filled = 0;
    while filled < bytes.len() {
        let late = || format!("sent nothing for {:.1} s", start.elapsed().as_secs_f64());
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        stream.set_read_timeout(Some(left)).map_err(|error| error.to_string())?;
        match stream.read(&mut bytes[filled..]) {
            Ok(0) => return Err(closed()),
            Ok(read) => filled += read,
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock | ErrorKind::TimedOut => return Err(late()),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => return Err(closed()),
                _ => return Err(format!("can not be read from ({error})")),
            },
        }
    }
    Ok(())
}

fn closed() -> String {
    "closed the connection: it ended, and what it printed last says why".into()
}

/// Writes on a thread of its own, so that all ranks can send to their neighbour at once and read
/// meanwhile.
pub(super) struct Writer {
    stream: TcpStream,
    // Dropped to end the thread.
    queue: Option<Sender<Vec<u8>>>,
    /// What was written, to be filled again; or why it was not.
    written: Receiver<io::Result<Vec<u8>>>,
    /// Buffers that were sent and not seen to be written.
    waiting: usize,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// A write that makes no progress for `timeout` is an error.
    pub fn new(stream: TcpStream, timeout: Duration) -> io::Result<Self> {
        stream.set_write_timeout(Some(timeout))?;
        let (queue, jobs) = channel::<Vec<u8>>();
        let (sender, written) = channel();
        let mut output = stream.try_clone()?;
        let write = move || {
            for bytes in jobs {
                let result = output.write_all(&bytes).map(|()| bytes);
                let failed = result.is_err();
                if sender.send(result).is_err() || failed {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("kiln-dist-write".into()).spawn(write)?;
        Ok(Self { stream, queue: Some(queue), written, waiting: 0, thread: Some(thread) })
    }

    /// Sends what `fill` appends to an empty buffer. The error is that of an earlier one.
    pub fn send(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut bytes = match self.written.try_recv() {
            Ok(buffer) => {
                self.waiting -= 1;
                buffer?
            }
            Err(_) => Vec::new(),
        };
        bytes.clear();
        fill(&mut bytes);
        self.waiting += 1;
        let queue = self.queue.as_ref().expect("it is dropped last");
        queue.send(bytes).map_err(|_| ErrorKind::BrokenPipe.into())
    }

    /// Closes the connection, also when the other side does not take what was sent within
    /// `patience`.
    pub fn close(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while self.waiting > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if !matches!(self.written.recv_timeout(left), Ok(Ok(_))) {
                break;
            }
            self.waiting -= 1;
        }
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Drop for Writer {
    /// What was sent is still written.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// The timeout as a duration; an error if it makes no sense.
pub(super) fn duration(seconds: f64) -> Result<Duration> {
    let valid = Duration::try_from_secs_f64(seconds).ok().filter(|timeout| !timeout.is_zero());
    valid.ok_or_else(|| {
        group_error("process group", format!("a timeout must be above 0 seconds, it is {seconds}"))
    })
}
