//! Uploads by way of pinned memory, on a stream of their own: the host copies a piece into a slot and
//! goes on, and the device fetches it beside the kernels that are queued. Without pinned memory, the
//! driver would make the host wait for its own staging.
//!
//! **It never ran on a GPU.** Two things keep the order:
//!
//! - Kernels that are started after an upload wait for it, on the device.
//! - An upload waits for the kernels that used its memory before. All that is started on the stream
//!   of kernels is counted; the allocator notes the count at which memory came back, and a mark
//!   is an event on that stream with the count at which it was recorded. An upload follows the
//!   earliest mark that is no earlier than its memory. One is set whenever the memory of an upload
//!   comes back, so where two batches take turns, the next is fetched as soon as the step that read
//!   the last but one is done, and beside the step that is queued behind it.
//!
//! A count is read before its event is recorded, and goes up after a start: work that a count
//! includes is on the stream before the event, whatever other threads start meanwhile.
//!
//! Memory may come back while its upload is still under way. Kernels of whoever gets it next come
//! after it, as the stream of kernels waits for the upload, and a later upload comes after it on the
//! same stream. The wait is counted like a kernel, so that a mark for that memory is behind it, too.

use std::sync::{Mutex, PoisonError};

/// Up to here uploads are made in line with the kernels, not on their own stream. The driver takes
/// blocks of 64 KiB and less into its queue and lets the host go on, whatever is queued; and the
/// device fetches them in the time that the events of another stream would take.
pub(crate) const IN_LINE: usize = 64 << 10;
/// Bytes of a slot.
const SLOT: usize = 4 << 20;
/// Slots that take turns.
pub(crate) const SLOTS: usize = 4;
/// Marks that take turns. An upload into memory that came back before all of them follows a later
/// one than it has to.
pub(crate) const MARKS: usize = 16;

/// The streams of copies and of kernels: those of the driver, or in tests lists.
pub(crate) trait Lanes {
    type Error;
    /// Sets a mark behind what was started on the stream of kernels: says how much that is.
    fn mark(&mut self, mark: usize) -> Result<u64, Self::Error>;
    /// Copies from here on come after a mark.
    fn follow(&mut self, mark: usize) -> Result<(), Self::Error>;
    /// Waits, on the host, until the device has fetched what was last put into a slot.
    fn wait(&mut self, slot: usize) -> Result<(), Self::Error>;
    /// Copies a piece into a slot, lets the device fetch it to `address`, and marks that in its order.
    fn send(&mut self, slot: usize, piece: &[u8], address: usize) -> Result<(), Self::Error>;
    /// Kernels from here on come after what was last put into a slot.
    fn join(&mut self, slot: usize) -> Result<(), Self::Error>;
}

/// Places in the order of kernels for which copies can wait.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// How much had been started at each; none where there is no mark yet.
    counts: [Option<u64>; MARKS],
    next: usize,
}

impl Marks {
    /// A mark behind what was started so far, in place of the oldest.
    pub fn set<L: Lanes>(&mut self, lanes: &mut L) -> Result<usize, L::Error> {
        let mark = self.next;
        self.counts[mark] = None;
        self.counts[mark] = Some(lanes.mark(mark)?);
        self.next = (mark + 1) % MARKS;
        Ok(mark)
    }

    /// Lets copies from here on come after what was started up to `after`.
    fn follow<L: Lanes>(&mut self, lanes: &mut L, after: u64) -> Result<(), L::Error> {
        if after == 0 {
            return Ok(());
        }
        let count = |mark: &usize| self.counts[*mark].filter(|&count| count >= after);
        let earliest = (0..MARKS).filter(|mark| count(mark).is_some()).min_by_key(count);
        let mark = earliest.map_or_else(|| self.set(lanes), Ok)?;
        lanes.follow(mark)
    }
}

/// Which slot is next.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    sent: usize,
}

impl Turns {
    /// Uploads `source` to `address` in pieces, after what was started up to `after`, and before
    /// what is started from here on. A slot is written only after a wait for it. The marks are only
    /// locked while one is looked for: others set marks while this waits.
    pub fn upload<L: Lanes>(
        &mut self,
        lanes: &mut L,
        marks: &Mutex<Marks>,
        (source, address): (&[u8], usize),
        after: u64,
    ) -> Result<(), L::Error> {
        marks.lock().unwrap_or_else(PoisonError::into_inner).follow(lanes, after)?;
        let before = self.sent;
        let sent = self.send(lanes, source, address);
        // After a failure, too: what was sent is on its way.
        let joined = match self.sent == before {
            true => Ok(()),
            false => lanes.join((self.sent - 1) % SLOTS),
        };
        sent.and(joined)
    }

    fn send<L: Lanes>(
        &mut self,
        lanes: &mut L,
        source: &[u8],
        address: usize,
    ) -> Result<(), L::Error> {
        for (i, piece) in source.chunks(SLOT).enumerate() {
            let slot = self.sent % SLOTS;
            if self.sent >= SLOTS {
                lanes.wait(slot)?;
            }
            lanes.send(slot, piece, address + i * SLOT)?;
            self.sent += 1;
        }
        Ok(())
    }
}

/// Bytes of all slots together.
pub(crate) const fn staging_bytes() -> usize {
    SLOT * SLOTS
}

/// Where a slot starts.
pub(crate) const fn slot_offset(slot: usize) -> usize {
    slot * SLOT
}

#[cfg(test)]
mod tests;
