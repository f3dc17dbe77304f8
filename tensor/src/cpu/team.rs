//! The threads that kernels run on.
//!
//! A kernel at a million elements takes some tens of microseconds, which is what it takes to wake a
//! sleeping thread. So threads that just finished a piece of work look out for the next one for a
//! while before they sleep, and the calling thread takes part: it never waits for a thread to
//! start, only for pieces that another one has begun.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long a thread looks out for work before it sleeps: meant to outlast the single-threaded
/// stretches of a training step. Not tuned; it costs that much of a processor after each job.
const LOOKOUT: Duration = Duration::from_micros(200);
/// Threads at most.
const MOST: usize = 128;
/// Jobs of different callers at one time; one more caller works alone.
const JOBS: usize = 8;

/// Some pieces of work, to be done in any order, on any thread.
type Work<'a> = &'a (dyn Fn(usize) + Sync);

/// A cache line of its own, and the one that the processor fetches along with it.
#[repr(align(128))]
struct Line<T>(T);

/// A place for a job.
struct Job {
    /// Whether a caller uses this place.
    taken: AtomicBool,
    /// How often the place was used, whether more threads may enter, and how many are inside:
    /// [`OPEN`] and what lies above and below it.
    gate: Line<AtomicU64>,
    /// Written by the caller while the gate is closed and nobody is inside.
    work: UnsafeCell<Option<Work<'static>>>,
    pieces: AtomicUsize,
    /// The pieces are cut into one run for each thread, which it works on first, so that the next
    /// job finds a thread's data in its own cache.
    runs: AtomicUsize,
    /// The next piece of each run.
    next: [Line<AtomicUsize>; MOST],
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Bit of [`Job::gate`] while threads may enter.
const OPEN: u64 = 1 << 16;

// SAFETY: `work` is written only while nobody else can read it, see there.
unsafe impl Sync for Job {}

static JOB: [Job; JOBS] = [const {
    Job {
        taken: AtomicBool::new(false),
        gate: Line(AtomicU64::new(0)),
        work: UnsafeCell::new(None),
        pieces: AtomicUsize::new(0),
        runs: AtomicUsize::new(0),
        next: [const { Line(AtomicUsize::new(0)) }; MOST],
        panic: Mutex::new(None),
    }
}; JOBS];

/// Rises with every job; what idle threads look at.
static NEWS: Line<AtomicU64> = Line(AtomicU64::new(0));

/// A thread of the team, but for the caller's.
struct Member {
    thread: OnceLock<Thread>,
    asleep: AtomicBool,
}

static MEMBERS: [Line<Member>; MOST] =
    [const { Line(Member { thread: OnceLock::new(), asleep: AtomicBool::new(false) }) }; MOST];

/// Threads that may work on a job, the caller's included; 0 until it is first asked for.
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread works on a piece.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// How many threads a kernel runs on, the calling one included: those of the machine, or as many as
/// the environment variables `KILN_NUM_THREADS` or `RAYON_NUM_THREADS` say. `torch.get_num_threads`.
pub fn num_threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => {
            let variable = |name| std::env::var(name).ok()?.parse().ok().filter(|&n: &usize| n > 0);
            let machine = || thread::available_parallelism().map_or(1, |n| n.get());
            let threads = variable("KILN_NUM_THREADS").or_else(|| variable("RAYON_NUM_THREADS"));
            set_num_threads(threads.unwrap_or_else(machine));
            THREADS.load(Ordering::Relaxed)
        }
        threads => threads,
    }
}

/// Lets kernels run on this many threads, at least 1 and at most 128. `torch.set_num_threads`.
///
/// Results do not depend on it, bit for bit. Inside of a rayon pool kernels use that pool instead.
pub fn set_num_threads(threads: usize) {
    THREADS.store(threads.clamp(1, MOST), Ordering::Relaxed);
}

/// How many threads [`run`] would use here.
pub(super) fn available() -> usize {
    if INSIDE.get() { 1 } else { num_threads() }
}

/// Calls `work` with every number below `pieces`; returns when all calls have.
pub(super) fn run(pieces: usize, work: Work<'_>) {
    let threads = available().min(pieces);
    let free = |job: &&Job| !job.taken.swap(true, Ordering::Acquire);
    let job = if threads > 1 { JOB.iter().find(free) } else { None };
    let Some(job) = job else { return (0..pieces).for_each(work) };

    job.pieces.store(pieces, Ordering::Relaxed);
    job.runs.store(threads, Ordering::Relaxed);
    for (run, next) in job.next[..threads].iter().enumerate() {
        next.0.store(start(run, threads, pieces), Ordering::Relaxed);
    }
    // SAFETY: the place is taken by this call, the gate is closed and nobody is inside, so nobody
    // reads it now. Those who enter leave before this call returns, so the borrow outlives them.
    unsafe { *job.work.get() = Some(std::mem::transmute::<Work<'_>, Work<'static>>(work)) };
    let gate = &job.gate.0;
    let used = gate.load(Ordering::Relaxed) / (2 * OPEN) + 1;
    gate.store(used * 2 * OPEN + OPEN, Ordering::Release);
    NEWS.0.fetch_add(1, Ordering::SeqCst);
    (1..threads).for_each(wake);

    job.take_part(0);
    gate.fetch_and(!OPEN, Ordering::AcqRel);
    let mut waits = 0u32;
    while gate.load(Ordering::Acquire) & (OPEN - 1) > 0 {
        waits += 1;
        // The last pieces take microseconds, unless a thread lost its processor.
        if waits < 10_000 { std::hint::spin_loop() } else { thread::yield_now() }
    }
    let panic = job.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
    job.taken.store(false, Ordering::Release);
    if let Some(panic) = panic {
        resume_unwind(panic);
    }
}

/// The first piece of a run.
fn start(run: usize, runs: usize, pieces: usize) -> usize {
    (run * pieces).div_ceil(runs)
}

impl Job {
    /// Works on pieces until all are taken. Called by those inside of the gate, and the caller.
    fn take_part(&self, member: usize) {
        let (pieces, runs) =
            (self.pieces.load(Ordering::Relaxed), self.runs.load(Ordering::Relaxed));
        // SAFETY: nobody writes it while a thread is inside.
        let Some(work) = (unsafe { *self.work.get() }) else { return };
        let everything = AssertUnwindSafe(|| {
            for run in (0..runs).map(|i| (member + i) % runs) {
                let end = start(run + 1, runs, pieces);
                loop {
                    let piece = self.next[run].0.fetch_add(1, Ordering::Relaxed);
                    if piece >= end {
                        break;
                    }
                    work(piece);
                }
            }
        });
        INSIDE.set(true);
        let result = catch_unwind(everything);
        INSIDE.set(false);
        if let Err(panic) = result {
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            // What is left is not begun.
            self.next[..runs].iter().for_each(|next| next.0.store(pieces, Ordering::Relaxed));
        }
    }
}

/// Wakes a member, or brings it to life.
fn wake(member: usize) {
    let Line(me) = &MEMBERS[member];
    let thread = me.thread.get_or_init(|| {
        let builder = thread::Builder::new().name(format!("kiln-{member}"));
        let spawned = builder.spawn(move || live(member));
        // Without another thread the caller does everything itself.
        spawned.map_or_else(|_| thread::current(), |handle| handle.thread().clone())
    });
    if me.asleep.load(Ordering::SeqCst) {
        thread.unpark();
    }
}

/// The life of a member: it looks out for jobs, works on them, sleeps when there are none.
fn live(member: usize) {
    let mut seen = [0; JOBS];
    let mut news = 0;
    let mut since = Instant::now();
    loop {
        let latest = NEWS.0.load(Ordering::Acquire);
        if latest != news {
            news = latest;
            for (job, seen) in JOB.iter().zip(&mut seen) {
                join(job, seen, member);
            }
            since = Instant::now();
        } else if since.elapsed() < LOOKOUT {
            (0..16).for_each(|_| std::hint::spin_loop());
        } else {
            let asleep = &MEMBERS[member].0.asleep;
            asleep.store(true, Ordering::SeqCst);
            // A caller makes news before it looks who sleeps, so one of both sees the other.
            if NEWS.0.load(Ordering::SeqCst) == news {
                thread::park();
            }
            asleep.store(false, Ordering::SeqCst);
            since = Instant::now();
        }
    }
}

/// Takes part in a job, if it is open and not one that was seen before.
fn join(job: &Job, seen: &mut u64, member: usize) {
    let gate = &job.gate.0;
    let mut now = gate.load(Ordering::Acquire);
    while now & OPEN > 0 && now / (2 * OPEN) != *seen {
        match gate.compare_exchange_weak(now, now + 1, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                *seen = now / (2 * OPEN);
                if member < job.runs.load(Ordering::Relaxed) {
                    job.take_part(member);
                }
                gate.fetch_sub(1, Ordering::Release);
                return;
            }
            Err(other) => now = other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Runs `pieces` and returns how often each was.
    fn count(pieces: usize) -> Vec<usize> {
        let counts: Vec<_> = (0..pieces).map(|_| AtomicUsize::new(0)).collect();
        run(pieces, &|i| {
            counts[i].fetch_add(1, Ordering::Relaxed);
        });
        counts.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn every_piece_is_done_once() {
        for round in 0..20_000 {
            let pieces = round % 37;
            assert!(count(pieces).iter().all(|&n| n == 1), "round {round}");
        }
    }

    #[test]
    fn many_callers_at_once_and_pauses_between() {
        thread::scope(|scope| {
            for caller in 0..2 * JOBS {
                scope.spawn(move || {
                    for round in 0..2_000 {
                        assert!(count(2 + round % 11).iter().all(|&n| n == 1));
                        if round % 500 == caller {
                            thread::sleep(2 * LOOKOUT);
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn work_inside_of_work_is_done() {
        let total = AtomicUsize::new(0);
        run(8, &|_| {
            total.fetch_add(count(5).iter().sum(), Ordering::Relaxed);
        });
        assert_eq!(total.into_inner(), 40);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_lives_on() {
        for bad in 0..6 {
            let caught = catch_unwind(|| run(6, &|i| assert_ne!(i, bad, "piece")));
            let text = *caught.unwrap_err().downcast::<String>().unwrap();
            assert!(text.contains("piece"), "{text}");
            assert!(count(9).iter().all(|&n| n == 1));
        }
    }
}
