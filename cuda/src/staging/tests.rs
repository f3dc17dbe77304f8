use std::cell::RefCell;
use std::convert::Infallible;
use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::alloc::{Allocator, RawAlloc};

/// A device that fetches late: only when a slot is waited for, or at the end.
struct Late {
    slots: Vec<Option<(Vec<u8>, usize)>>,
    memory: Vec<u8>,
    /// Fails at this slot's turn.
    fails_at: usize,
    joined: Option<usize>,
}

impl Late {
    fn new(bytes: usize) -> Self {
        let fails_at = usize::MAX;
        Self { slots: vec![None; SLOTS], memory: vec![255; bytes], fails_at, joined: None }
    }

    fn fetch(&mut self, slot: usize) {
        if let Some((piece, at)) = self.slots[slot].take() {
            self.memory[at..at + piece.len()].copy_from_slice(&piece);
        }
    }
}

impl Lanes for Late {
    type Error = String;

    fn mark(&mut self, _: usize) -> Result<u64, String> {
        Ok(0)
    }

    fn follow(&mut self, _: usize) -> Result<(), String> {
        Ok(())
    }

    fn wait(&mut self, slot: usize) -> Result<(), String> {
        self.fetch(slot);
        Ok(())
    }

    fn send(&mut self, slot: usize, piece: &[u8], address: usize) -> Result<(), String> {
        if self.slots[slot].is_some() {
            return Err(format!("slot {slot} is overwritten before it was fetched"));
        }
        if piece.len() > SLOT || slot >= SLOTS {
            return Err(format!("{} bytes in slot {slot}", piece.len()));
        }
        if slot == self.fails_at {
            return Err("planted".into());
        }
        self.slots[slot] = Some((piece.to_vec(), address));
        Ok(())
    }

    fn join(&mut self, slot: usize) -> Result<(), String> {
        self.joined = Some(slot);
        Ok(())
    }
}

#[test]
fn kernels_wait_for_what_was_sent_before_a_failure() {
    let (mut late, mut turns, marks) = (Late::new(3 * SLOT), Turns::default(), Mutex::default());
    late.fails_at = 2;
    let source = vec![1; 3 * SLOT];
    let sent = turns.upload(&mut late, &marks, (&source, 0), 0);
    assert_eq!((sent, late.joined), (Err("planted".into()), Some(1)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn everything_arrives_however_late_it_is_fetched(
        sizes in proptest::collection::vec(0usize..3 * SLOT, 1..5),
    ) {
        let all: usize = sizes.iter().sum();
        let source: Vec<u8> = (0..all).map(|i| (i % 251) as u8).collect();
        let (mut turns, mut at, marks) = (Turns::default(), 0, Mutex::default());
        let mut late = Late::new(all);
        for size in sizes {
            let sent = turns.upload(&mut late, &marks, (&source[at..at + size], at), 0);
            prop_assert_eq!(sent, Ok(()));
            at += size;
        }
        (0..SLOTS).for_each(|slot| late.fetch(slot));
        prop_assert!(late.memory == source);
    }
}

const KERNELS: usize = 0;
const COPIES: usize = 1;
const REDUCTIONS: usize = 2;

/// How much of each stream is known to be done.
type Clock = [usize; 3];

fn join(clock: &mut Clock, other: Clock) {
    clock.iter_mut().zip(other).for_each(|(done, other)| *done = other.max(*done));
}

/// Something on a stream that reads or writes memory.
struct Access {
    stream: usize,
    place: usize,
    memory: Range<usize>,
    writes: bool,
}

/// A device with a stream for kernels, one for uploads and one for reductions, which run as they
/// like, but for what they wait for.
///
/// Each access must be known to come after all earlier ones that it collides with. So whatever the
/// order in which the streams run, each access meets the bytes that it meets where all is done in
/// the order of the calls.
#[derive(Default)]
struct Streams {
    /// What is done before what is started next on each stream; of itself, what was started on it.
    before: [Clock; 3],
    /// What the host knows to be done.
    host: Clock,
    accesses: Vec<Access>,
    marks: [Clock; MARKS],
    slots: [Clock; SLOTS],
    /// The kernels that the last upload waits for.
    followed: usize,
}

impl Streams {
    fn access(&mut self, stream: usize, memory: Range<usize>, writes: bool) {
        for other in &self.accesses {
            let apart = other.memory.end <= memory.start || memory.end <= other.memory.start;
            let known = other.stream == stream || self.before[stream][other.stream] > other.place;
            assert!(
                apart || known || !(writes || other.writes),
                "stream {stream} does not wait for {} on stream {}",
                other.place,
                other.stream,
            );
        }
        let place = self.before[stream][stream];
        self.accesses.push(Access { stream, place, memory, writes });
    }

    /// Ends what was started last on a stream.
    fn started(&mut self, stream: usize) -> Clock {
        self.before[stream][stream] += 1;
        self.before[stream]
    }

    /// A stream waits for what was done at a moment of another.
    fn wait_for(&mut self, stream: usize, moment: Clock) {
        join(&mut self.before[stream], moment);
        self.started(stream);
    }

    fn kernel(&mut self, reads: Option<Range<usize>>, writes: Option<Range<usize>>) {
        reads.into_iter().for_each(|memory| self.access(KERNELS, memory, false));
        writes.into_iter().for_each(|memory| self.access(KERNELS, memory, true));
        self.started(KERNELS);
    }

    fn count(&self) -> u64 {
        self.before[KERNELS][KERNELS] as u64
    }
}

impl Lanes for Streams {
    type Error = Infallible;

    fn mark(&mut self, mark: usize) -> Result<u64, Infallible> {
        self.marks[mark] = self.before[KERNELS];
        Ok(self.count())
    }

    fn follow(&mut self, mark: usize) -> Result<(), Infallible> {
        self.followed = self.marks[mark][KERNELS];
        self.wait_for(COPIES, self.marks[mark]);
        Ok(())
    }

    fn wait(&mut self, slot: usize) -> Result<(), Infallible> {
        join(&mut self.host, self.slots[slot]);
        Ok(())
    }

    fn send(&mut self, slot: usize, piece: &[u8], address: usize) -> Result<(), Infallible> {
        assert!(self.slots[slot][COPIES] <= self.host[COPIES], "slot {slot} is still read");
        self.access(COPIES, address..address + piece.len(), true);
        self.slots[slot] = self.started(COPIES);
        Ok(())
    }

    fn join(&mut self, slot: usize) -> Result<(), Infallible> {
        self.wait_for(KERNELS, self.slots[slot]);
        Ok(())
    }
}

/// The source of segments: each of them in one place, to which it comes back.
#[derive(Default)]
struct Raw(RefCell<(usize, Vec<(usize, usize)>)>);

impl RawAlloc for Raw {
    fn alloc(&self, bytes: usize) -> Option<usize> {
        let (end, unused) = &mut *self.0.borrow_mut();
        match unused.iter().position(|&(_, size)| size == bytes) {
            Some(place) => Some(unused.swap_remove(place).0),
            None => {
                *end += bytes;
                Some((1 << 30) + *end - bytes)
            }
        }
    }

    fn free(&self, address: usize, bytes: usize) {
        self.0.borrow_mut().1.push((address, bytes));
    }
}

/// The backend with uploads, on such a device.
#[derive(Default)]
struct Host {
    raw: Raw,
    memory: Allocator,
    streams: Streams,
    marks: Mutex<Marks>,
    turns: Turns,
}

impl Host {
    fn alloc(&mut self, bytes: usize) -> Range<usize> {
        let address = self.memory.alloc(&self.raw, bytes).unwrap();
        address..address + bytes
    }

    /// Memory with an upload, and what it had to come after.
    fn upload(&mut self, bytes: usize) -> (Range<usize>, u64) {
        static SOURCE: [u8; 6 * SLOT] = [0; 6 * SLOT];
        let memory = self.alloc(bytes);
        let after = self.memory.upload(memory.start);
        let piece = (&SOURCE[..bytes], memory.start);
        let Ok(()) = self.turns.upload(&mut self.streams, &self.marks, piece, after);
        (memory, after)
    }

    fn free(&mut self, memory: Range<usize>) {
        if self.memory.free(memory.start, self.streams.count()) {
            let Ok(_) = self.marks.get_mut().unwrap().set(&mut self.streams);
        }
    }
}

#[test]
fn a_batch_is_fetched_beside_the_step_before_it() {
    let mut host = Host::default();
    let bytes = 5 * SLOT; // more than all slots together
    let mut batch = host.upload(bytes).0;
    let mut ends = vec![0];
    for step in 0..40 {
        for _ in 0..3 {
            host.streams.kernel(Some(batch.clone()), None);
        }
        // The next batch comes while there is this one.
        let next = host.upload(bytes);
        match step {
            0 => assert_eq!(next.1, 0, "memory that nobody had"),
            // The step that read the last but one, and not the one that is queued behind it.
            _ => assert_eq!(host.streams.followed, ends[step]),
        }
        host.free(std::mem::replace(&mut batch, next.0));
        ends.push(host.streams.count() as usize);
        // The host has waited for none of the last step's kernels.
        assert!(host.streams.host[KERNELS] <= ends[step], "{:?}", host.streams.host);
    }
}

proptest! {
    #[test]
    fn all_that_collides_is_in_order(
        steps in proptest::collection::vec((0u8..9, 1usize..6 * SLOT, any::<usize>()), 1..150),
        // Many of the same size, or of any.
        sizes in 1usize..20,
    ) {
        let mut host = Host::default();
        let mut live: Vec<Range<usize>> = Vec::new();
        let mut reductions: Vec<(Range<usize>, Clock)> = Vec::new();
        for (kind, bytes, pick) in steps {
            let bytes = if sizes < 6 { sizes * SLOT } else { bytes };
            let some = live.get(pick % live.len().max(1)).cloned();
            match (kind, some) {
                (0, _) => {
                    let new = host.alloc(bytes);
                    host.streams.kernel(None, Some(new.clone()));
                    live.push(new);
                }
                (1 | 2, _) => {
                    let marks = host.marks.get_mut().unwrap().counts;
                    let (new, after) = host.upload(bytes);
                    if after != 0 && marks.contains(&Some(after)) {
                        prop_assert_eq!(host.streams.followed as u64, after, "it waits for more");
                    }
                    live.push(new);
                }
                // In line with the kernels.
                (3, _) => {
                    let new = host.alloc(bytes % IN_LINE + 1);
                    host.streams.kernel(None, Some(new.clone()));
                    live.push(new);
                }
                (4, Some(x)) => host.streams.kernel(live.last().cloned(), Some(x)),
                (5 | 6, Some(x)) => {
                    live.swap_remove(pick % live.len());
                    // A kernel that is started last.
                    if kind == 6 {
                        host.streams.kernel(Some(x.clone()), None);
                    }
                    host.free(x);
                }
                (7, Some(x)) if pick % 2 == 0 => {
                    live.swap_remove(pick % live.len());
                    let moment = host.streams.before[KERNELS];
                    host.streams.wait_for(REDUCTIONS, moment);
                    host.streams.access(REDUCTIONS, x.clone(), true);
                    let done = host.streams.started(REDUCTIONS);
                    reductions.push((x, done));
                }
                // What a reduction gives comes back once kernels wait for it.
                (7, _) if !reductions.is_empty() => {
                    let (x, done) = reductions.swap_remove(pick % reductions.len());
                    host.streams.wait_for(KERNELS, done);
                    host.free(x);
                }
                // The driver waits for all streams before it takes memory back.
                (8, _) if pick % 4 == 0 => {
                    host.memory.empty_cache(&host.raw);
                    let all = [0, 1, 2].map(|stream| host.streams.before[stream][stream]);
                    join(&mut host.streams.host, all);
                    host.streams.before = [all; 3];
                }
                _ => {}
            }
        }
    }
}
