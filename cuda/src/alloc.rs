//! A caching allocator: memory that tensors give back is kept and split for the next ones, since
//! the driver's own allocation waits for the whole device.
//!
//! Blocks are rounded to 512 bytes. Up to 1 MiB they are cut from segments of 2 MiB, larger ones
//! from segments of 20 MiB, and from 10 MiB on each has a segment of its own. The smallest block
//! that fits is taken; a block that comes back joins its free neighbours. Kernels are in the order
//! of one stream, so a block may be used again at once. Uploads are beside that order: for them a
//! block remembers how much had been started when it came back (see `staging`).

use std::collections::{BTreeMap, BTreeSet};

use kiln_tensor::MemoryStats;

const MIB: usize = 1 << 20;
/// Blocks start and end at multiples of this.
pub(crate) const UNIT: usize = 512;
const SMALL: usize = MIB;
const SMALL_SEGMENT: usize = 2 * MIB;
const LARGE_SEGMENT: usize = 20 * MIB;
/// From here on a block has its own segment.
const HUGE: usize = 10 * MIB;

/// Where segments come from: the driver, or in tests a counter.
pub(crate) trait RawAlloc {
    /// Memory at an address that is a multiple of [`UNIT`] or of what the device guarantees.
    fn alloc(&self, bytes: usize) -> Option<usize>;
    /// Gives back what `alloc` gave for as many bytes, and which nobody uses any more.
    fn free(&self, address: usize, bytes: usize);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    bytes: usize,
    segment: usize,
    free: bool,
    /// How much had been started when this memory was last given back; zero if it is as the device
    /// gave it.
    released: u64,
    /// Whether an upload went to it since it was given out.
    uploaded: bool,
}

/// The memory of one device.
#[derive(Debug, Default)]
pub(crate) struct Allocator {
    /// All blocks by their address; those of a segment touch each other.
    blocks: BTreeMap<usize, Block>,
    /// Size and address of the free blocks, of small segments and of the others.
    free: [BTreeSet<(usize, usize)>; 2],
    /// Segments by their address.
    segments: BTreeMap<usize, usize>,
    in_use: usize,
    peak: usize,
}

/// The size of the block for a request.
fn rounded(bytes: usize) -> Option<usize> {
    bytes.max(1).checked_next_multiple_of(UNIT)
}

/// The size of a new segment for a block.
fn segment_size(block: usize) -> Option<usize> {
    if block <= SMALL {
        Some(SMALL_SEGMENT)
    } else if block < HUGE {
        Some(LARGE_SEGMENT)
    } else {
        block.checked_next_multiple_of(SMALL_SEGMENT)
    }
}

/// In which list blocks of a segment are kept while they are free.
fn pool(segment: usize) -> usize {
    (segment != SMALL_SEGMENT) as usize
}

impl Allocator {
    /// Memory for at least `bytes`. If the device has no more, what is cached is given back and
    /// asked for once again.
    pub fn alloc(&mut self, raw: &dyn RawAlloc, bytes: usize) -> Option<usize> {
        let bytes = rounded(bytes)?;
        let segment = segment_size(bytes)?;
        let fitting = self.free[pool(segment)].range((bytes, 0)..).next().copied();
        let address = match fitting {
            Some((_, address)) => address,
            None => self.grow(raw, segment)?,
        };
        Some(self.take(address, bytes))
    }

    /// The work that an upload to a block has to come after: what was started up to this number.
    /// Only the first one of a block comes before all kernels that use it.
    pub fn upload(&mut self, address: usize) -> u64 {
        let Some(block) = self.blocks.get_mut(&address) else { return u64::MAX };
        match std::mem::replace(&mut block.uploaded, true) {
            false => block.released,
            true => u64::MAX,
        }
    }

    /// Takes back a block, when so much was started. Says whether an upload had gone to it.
    pub fn free(&mut self, address: usize, started: u64) -> bool {
        let Some(block) = self.blocks.get(&address).copied() else {
            debug_assert!(false, "{address:#x} was never given out");
            return false;
        };
        debug_assert!(!block.free, "{address:#x} was given back before");
        self.in_use -= block.bytes;
        let (mut start, mut bytes, mut released) = (address, block.bytes, started);
        let joins = |other: &Block| other.free && other.segment == block.segment;
        if let Some((&next, &after)) = self.blocks.range(address + 1..).next()
            && joins(&after)
        {
            self.forget(next, after);
            bytes += after.bytes;
            released = released.max(after.released);
        }
        if let Some((&previous, &before)) = self.blocks.range(..address).next_back()
            && joins(&before)
        {
            self.forget(previous, before);
            self.blocks.remove(&address);
            (start, bytes) = (previous, bytes + before.bytes);
            released = released.max(before.released);
        }
        self.keep(start, Block { bytes, free: true, released, uploaded: false, ..block });
        block.uploaded
    }

    /// Gives segments that no block is in use of back to the device.
    pub fn empty_cache(&mut self, raw: &dyn RawAlloc) {
        let whole = |(&address, &bytes): (&usize, &usize)| {
            let block = self.blocks[&address];
            (block.free && block.bytes == bytes).then_some((address, bytes))
        };
        let unused: Vec<(usize, usize)> = self.segments.iter().filter_map(whole).collect();
        for (address, bytes) in unused {
            self.forget(address, self.blocks[&address]);
            self.segments.remove(&address);
            raw.free(address, bytes);
        }
    }

    pub fn stats(&self) -> MemoryStats {
        let reserved: usize = self.segments.values().sum();
        let (in_use, peak) = (self.in_use, self.peak);
        MemoryStats { in_use, peak, cached: reserved - in_use, ..MemoryStats::default() }
    }

    /// Starts the peak anew from what is in use now.
    pub fn reset_peak(&mut self) {
        self.peak = self.in_use;
    }

    /// What the memory is used for, for people.
    pub fn usage(&self) -> String {
        let mib = |bytes: usize| bytes as f64 / MIB as f64;
        let MemoryStats { in_use, peak, cached, .. } = self.stats();
        let largest =
            self.free.iter().filter_map(|free| free.last()).map(|&(bytes, _)| bytes).max();
        format!(
            "{:.1} MiB in use by tensors (at most {:.1}), {:.1} MiB cached in {} segments, the \
             largest free block has {:.1} MiB",
            mib(in_use),
            mib(peak),
            mib(cached),
            self.segments.len(),
            mib(largest.unwrap_or(0)),
        )
    }

    /// A new segment as one free block.
    fn grow(&mut self, raw: &dyn RawAlloc, bytes: usize) -> Option<usize> {
        let address = raw.alloc(bytes).or_else(|| {
            self.empty_cache(raw);
            raw.alloc(bytes)
        })?;
        self.segments.insert(address, bytes);
        let new = Block { bytes, segment: address, free: true, released: 0, uploaded: false };
        self.keep(address, new);
        Some(address)
    }

    /// Takes a free block, or its start if the rest is worth keeping.
    fn take(&mut self, address: usize, bytes: usize) -> usize {
        let block = self.blocks[&address];
        self.forget(address, block);
        let segment = self.segments[&block.segment];
        let rest = block.bytes - bytes;
        let worth = if pool(segment) == 0 { rest >= UNIT } else { rest > SMALL };
        let bytes = if worth { bytes } else { block.bytes };
        if worth {
            self.keep(address + bytes, Block { bytes: rest, ..block });
        }
        self.blocks.insert(address, Block { bytes, free: false, ..block });
        self.in_use += bytes;
        self.peak = self.peak.max(self.in_use);
        address
    }

    fn keep(&mut self, address: usize, block: Block) {
        self.free[pool(self.segments[&block.segment])].insert((block.bytes, address));
        self.blocks.insert(address, block);
    }

    /// Removes a free block.
    fn forget(&mut self, address: usize, block: Block) {
        self.free[pool(self.segments[&block.segment])].remove(&(block.bytes, address));
        self.blocks.remove(&address);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use proptest::prelude::*;

    use super::*;

    /// A device of limited memory that hands out addresses and counts.
    struct Fake {
        limit: usize,
        reserved: RefCell<BTreeMap<usize, usize>>,
        next: Cell<usize>,
    }

    impl Fake {
        fn new(limit: usize) -> Self {
            Self { limit, reserved: RefCell::default(), next: Cell::new(1 << 30) }
        }
    }

    impl RawAlloc for Fake {
        fn alloc(&self, bytes: usize) -> Option<usize> {
            let used: usize = self.reserved.borrow().values().sum();
            if used + bytes > self.limit {
                return None;
            }
            // Segments may touch each other, and must not be joined.
            let address = self.next.replace(self.next.get() + bytes);
            self.reserved.borrow_mut().insert(address, bytes);
            Some(address)
        }

        fn free(&self, address: usize, bytes: usize) {
            assert_eq!(self.reserved.borrow_mut().remove(&address), Some(bytes));
        }
    }

    #[test]
    fn blocks_are_split_and_joined_again() {
        let (raw, mut memory) = (Fake::new(usize::MAX), Allocator::default());
        let a = memory.alloc(&raw, 1000).unwrap();
        let b = memory.alloc(&raw, 1).unwrap();
        assert_eq!((b - a, raw.reserved.borrow().len()), (1024, 1));
        assert_eq!(
            memory.stats(),
            MemoryStats {
                in_use: 1536,
                peak: 1536,
                cached: 2 * MIB - 1536,
                ..MemoryStats::default()
            }
        );
        memory.free(a, 1);
        assert_eq!(memory.alloc(&raw, 1024), Some(a), "the smallest block that fits");
        memory.free(b, 2);
        memory.reset_peak();
        assert_eq!(memory.stats().peak, 1024, "what is in use");
        memory.free(a, 3);
        assert_eq!(memory.blocks.len(), 1);
        memory.empty_cache(&raw);
        assert_eq!((memory.stats().cached, raw.reserved.borrow().len()), (0, 0));
    }

    #[test]
    fn a_block_remembers_when_its_memory_came_back() {
        let (raw, mut memory) = (Fake::new(usize::MAX), Allocator::default());
        let [a, b, c] = [(); 3].map(|()| memory.alloc(&raw, 512).unwrap());
        assert_eq!(memory.upload(a), 0, "nobody had it before");
        assert_eq!(memory.upload(a), u64::MAX, "kernels may have used it since");
        assert_eq!(memory.upload(a + 1), u64::MAX, "no block");
        assert!(memory.free(a, 7), "an upload went to it");
        assert!(!memory.free(c, 5));
        assert!(!memory.free(b, 6));
        // The three and the rest of the segment are one block again.
        let whole = memory.alloc(&raw, SMALL).unwrap();
        assert_eq!((whole, memory.upload(whole)), (a, 7), "the latest of what it is made of");
        assert!(memory.free(whole, 9));
        let [first, second] = [(); 2].map(|()| memory.alloc(&raw, 512).unwrap());
        assert_eq!([memory.upload(first), memory.upload(second)], [9, 9], "parts have it, too");
        assert!(memory.free(first, 10), "in use, the parts are apart");
    }

    #[test]
    fn large_blocks_have_segments_of_their_own() {
        let (raw, mut memory) = (Fake::new(usize::MAX), Allocator::default());
        memory.alloc(&raw, 11 * MIB).unwrap();
        memory.alloc(&raw, 2 * MIB).unwrap();
        memory.alloc(&raw, 3 * MIB).unwrap();
        let sizes: Vec<usize> = raw.reserved.borrow().values().copied().collect();
        assert_eq!(sizes, [12 * MIB, 20 * MIB]);
    }

    #[test]
    fn what_is_cached_is_given_back_before_memory_runs_out() {
        let (raw, mut memory) = (Fake::new(30 * MIB), Allocator::default());
        let a = memory.alloc(&raw, 20 * MIB).unwrap();
        assert_eq!(memory.alloc(&raw, 20 * MIB), None);
        memory.free(a, 3);
        assert!(memory.alloc(&raw, 24 * MIB).is_some());
        let usage = memory.usage();
        assert!(usage.starts_with("24.0 MiB in use by tensors (at most 24.0), 0.0 MiB"), "{usage}");
        assert_eq!(memory.alloc(&raw, usize::MAX), None);
    }

    proptest! {
        #[test]
        fn blocks_never_overlap_and_nothing_leaks(
            steps in proptest::collection::vec((any::<bool>(), 1usize..16 * MIB, any::<usize>()), 1..120),
            small in any::<bool>(),
        ) {
            let (raw, mut memory) = (Fake::new(100 * MIB), Allocator::default());
            let mut live: Vec<(usize, usize)> = Vec::new();
            for (alloc, bytes, pick) in steps {
                let bytes = if small { bytes % 5000 + 1 } else { bytes };
                if alloc || live.is_empty() {
                    let Some(address) = memory.alloc(&raw, bytes) else { continue };
                    prop_assert_eq!(address % UNIT, 0);
                    let inside = raw.reserved.borrow().iter().any(|(&start, &size)| {
                        start <= address && address + bytes <= start + size
                    });
                    prop_assert!(inside);
                    let apart = |&(other, size): &(usize, usize)| {
                        address + bytes <= other || other + size <= address
                    };
                    prop_assert!(live.iter().all(apart));
                    live.push((address, bytes));
                } else {
                    let (address, _) = live.swap_remove(pick % live.len());
                    memory.free(address, 0);
                }
                let stats = memory.stats();
                let reserved: usize = raw.reserved.borrow().values().sum();
                prop_assert_eq!(stats.in_use + stats.cached, reserved);
                prop_assert!(stats.in_use >= live.iter().map(|&(_, bytes)| bytes).sum::<usize>());
                prop_assert!(stats.peak >= stats.in_use);
                prop_assert_eq!(memory.blocks.values().map(|block| block.bytes).sum::<usize>(), reserved);
            }
            for (address, _) in live {
                memory.free(address, 0);
            }
            prop_assert_eq!(memory.stats().in_use, 0);
            memory.empty_cache(&raw);
            prop_assert!(raw.reserved.borrow().is_empty());
        }
    }
}
