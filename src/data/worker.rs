//! Threads that work ahead.

use std::collections::BTreeMap;
use std::iter::Enumerate;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// A piece of work.
pub(super) type Job<T> = Box<dyn FnOnce() -> T + Send>;
/// Pieces of work, each taken by one thread.
pub(super) type Jobs<T> = Box<dyn Iterator<Item = Job<T>> + Send>;

/// The results of jobs in their order, made ahead by threads.
///
/// A job begins only with a permit, and a permit is given for each result that is taken. So a slow
/// caller stops the threads (back-pressure), and no more than `ahead` results wait in memory.
pub(super) struct Workers<T> {
    // Both are dropped to stop the threads.
    permits: Option<Sender<()>>,
    results: Option<Receiver<(usize, thread::Result<T>)>>,
    /// Results that came before their turn.
    early: BTreeMap<usize, thread::Result<T>>,
    next: usize,
    threads: Vec<JoinHandle<()>>,
}

/// Where threads take their jobs from, one at a time.
struct Feed<T> {
    permits: Receiver<()>,
    /// `None` after the last.
    jobs: Option<Enumerate<Jobs<T>>>,
}

impl<T> Feed<T> {
    /// Waits for a permit, and takes a job. After the last one nobody waits: there are no more
    /// results, so there would be no permit either.
    fn next(&mut self) -> Option<(usize, Job<T>)> {
        let jobs = self.jobs.as_mut()?;
        self.permits.recv().ok()?;
        let job = jobs.next();
        if job.is_none() {
            self.jobs = None;
        }
        job
    }
}

impl<T: Send + 'static> Workers<T> {
    pub(super) fn new(jobs: Jobs<T>, threads: usize, ahead: usize) -> Self {
        let (permits, leave) = channel();
        let (sender, results) = channel();
        for _ in 0..ahead.max(1) {
            permits.send(()).expect("the receiver is here");
        }
        let feed = Arc::new(Mutex::new(Feed { permits: leave, jobs: Some(jobs.enumerate()) }));
        let spawn = |i| {
            let (feed, results) = (feed.clone(), sender.clone());
            let builder = thread::Builder::new().name(format!("kiln-data-{i}"));
            builder.spawn(move || work(&feed, &results)).expect("the system can start a thread")
        };
        let threads = (0..threads).map(spawn).collect();
        Self {
            permits: Some(permits),
            results: Some(results),
            early: BTreeMap::new(),
            next: 0,
            threads,
        }
    }
}

impl<T> Workers<T> {
    /// Lets the threads end, each after the job that it is at.
    fn stop(&mut self) -> thread::Result<()> {
        self.permits = None;
        self.results = None;
        self.threads.drain(..).map(JoinHandle::join).fold(Ok(()), Result::and)
    }
}

fn work<T>(feed: &Mutex<Feed<T>>, results: &Sender<(usize, thread::Result<T>)>) {
    loop {
        // If another thread panicked while it took a job, there will be no more.
        let Some((i, job)) = feed.lock().ok().and_then(|mut feed| feed.next()) else { return };
        let result = catch_unwind(AssertUnwindSafe(job));
        if results.send((i, result)).is_err() {
            return;
        }
    }
}

/// Panics where a job did.
impl<T: Send + 'static> Iterator for Workers<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        loop {
            if let Some(result) = self.early.remove(&self.next) {
                self.next += 1;
                // All threads may have ended.
                let _ = self.permits.as_ref()?.send(());
                return Some(result.unwrap_or_else(|panic| resume_unwind(panic)));
            }
            match self.results.as_ref()?.recv() {
                Ok((i, result)) => self.early.insert(i, result),
                Err(_) => {
                    self.stop().unwrap_or_else(|panic| resume_unwind(panic));
                    return None;
                }
            };
        }
    }
}

impl<T> Drop for Workers<T> {
    fn drop(&mut self) {
        // A panic of a thread whose results nobody waited for is of no interest.
        let _ = self.stop();
    }
}
