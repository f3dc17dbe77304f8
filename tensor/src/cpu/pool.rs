//! Memory for tensors: buffers are kept by size and used again.
//!
//! Without it every large temporary would be mapped, zeroed page by page and unmapped by the
//! system in each step. A thread keeps a few buffers of each size to itself, so the common case
//! takes no lock; the others are shared.
//!
//! Invariants: a buffer of a size class has exactly the bytes of that class; an address is in at
//! most one list; and its bytes are always initialised (they come zeroed from the system and are
//! only ever overwritten).

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::RefCell;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::MemoryStats;
use crate::watch::profiled;
use crate::{Device, profile};

/// Alignment of every buffer: a cache line, and a whole AVX-512 register.
pub(crate) const ALIGN: usize = 64;

/// Size classes: four to each doubling, so at most a fifth of a buffer is wasted.
const CLASSES: usize = 160;

/// A thread keeps at most this many buffers of a class, and no class of more bytes than
/// [`LOCAL_BYTES`] each: what one step of a small model uses.
const LOCAL_BUFFERS: usize = 16;
const LOCAL_BYTES: usize = 1 << 20;

/// The class of a request and the bytes of its buffers.
#[inline]
fn class(bytes: usize) -> Option<(usize, usize)> {
    let units = bytes.div_ceil(ALIGN);
    let class = if units <= 4 {
        units - 1
    } else {
        let doubling = (units - 1).ilog2() as usize - 2;
        4 * doubling + ((units - 1) >> doubling)
    };
    (class < CLASSES).then(|| (class, size(class)))
}

/// The bytes of the buffers of a class: one to four cache lines, then five to eight eighths of each
/// power of two.
#[inline]
const fn size(class: usize) -> usize {
    if class < 4 {
        return (class + 1) * ALIGN;
    }
    let (doubling, quarter) = ((class - 4) / 4, (class - 4) % 4 + 4);
    ((quarter + 1) << doubling) * ALIGN
}

static SHARED: [Mutex<Vec<usize>>; CLASSES] = [const { Mutex::new(Vec::new()) }; CLASSES];
static RESERVED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// Buffers that came from the system.
static MISSES: AtomicUsize = AtomicUsize::new(0);
/// What threads that ended have counted.
static ENDED: Count = Count { in_use: AtomicIsize::new(0), taken: AtomicUsize::new(0) };
static THREADS: Mutex<Vec<Arc<Count>>> = Mutex::new(Vec::new());

/// What a thread has taken; only that thread writes it, but for [`ENDED`].
#[derive(Default)]
struct Count {
    /// Bytes taken less bytes given back.
    in_use: AtomicIsize,
    /// Buffers taken.
    taken: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The buffers of one thread.
struct Local {
    free: [Vec<usize>; CLASSES],
    count: Arc<Count>,
}

impl Local {
    fn new() -> Self {
        let count = Arc::<Count>::default();
        lock(&THREADS).push(count.clone());
        Self { free: [const { Vec::new() }; CLASSES], count }
    }

    #[inline]
    fn count(&self, bytes: isize) {
        let in_use = &self.count.in_use;
        in_use.store(in_use.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
    }

    #[inline]
    fn count_taken(&self, bytes: isize) {
        self.count(bytes);
        let taken = &self.count.taken;
        taken.store(taken.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    fn release(&mut self) {
        for (class, free) in self.free.iter_mut().enumerate().filter(|(_, free)| !free.is_empty()) {
            lock(&SHARED[class]).append(free);
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.release();
        let mut threads = lock(&THREADS);
        let Count { in_use, taken } = &*self.count;
        ENDED.in_use.fetch_add(in_use.load(Ordering::Relaxed), Ordering::Relaxed);
        ENDED.taken.fetch_add(taken.load(Ordering::Relaxed), Ordering::Relaxed);
        threads.retain(|count| !Arc::ptr_eq(count, &self.count));
    }
}

thread_local! {
    static LOCAL: RefCell<Local> = RefCell::new(Local::new());
}

/// At least `bytes` bytes, more than zero, aligned to [`ALIGN`] and initialised.
#[inline]
pub(crate) fn alloc(bytes: usize) -> Option<usize> {
    let (class, size) = class(bytes)?;
    let kept = LOCAL.try_with(|local| {
        let mut local = local.borrow_mut();
        local.count_taken(size as isize);
        local.free[class].pop()
    });
    match kept {
        Ok(Some(address)) => Some(address),
        Ok(None) => reserve(class, size).or_else(|| {
            let _ = LOCAL.try_with(|local| local.borrow().count(-(size as isize)));
            None
        }),
        // The thread is ending.
        Err(_) => {
            ENDED.in_use.fetch_add(size as isize, Ordering::Relaxed);
            ENDED.taken.fetch_add(1, Ordering::Relaxed);
            reserve(class, size)
        }
    }
}

/// A buffer from the shared lists or the system.
#[cold]
fn reserve(class: usize, size: usize) -> Option<usize> {
    if let Some(address) = lock(&SHARED[class]).pop() {
        return Some(address);
    }
    let layout = Layout::from_size_align(size, ALIGN).ok()?;
    // SAFETY: the size of a class is not zero.
    let mut address = unsafe { alloc_zeroed(layout) };
    if address.is_null() {
        empty_cache();
        // SAFETY: as above.
        address = unsafe { alloc_zeroed(layout) };
    }
    if address.is_null() {
        return None;
    }
    MISSES.fetch_add(1, Ordering::Relaxed);
    let reserved = RESERVED.fetch_add(size, Ordering::Relaxed) + size;
    PEAK.fetch_max(reserved, Ordering::Relaxed);
    Some(address as usize)
}

/// Gives back what [`alloc`] returned for as many bytes.
///
/// # Safety
/// `address` came from `alloc(bytes)` and is not used afterwards.
#[inline]
pub(crate) unsafe fn free(address: usize, bytes: usize) {
    let Some((class, size)) = class(bytes) else { return };
    let full = LOCAL.try_with(|local| {
        let mut local = local.borrow_mut();
        local.count(-(size as isize));
        let list = &mut local.free[class];
        let room = list.len() < LOCAL_BUFFERS && size <= LOCAL_BYTES;
        if room {
            list.push(address);
        }
        !room
    });
    match full {
        Ok(false) => {}
        Ok(true) => lock(&SHARED[class]).push(address),
        Err(_) => {
            ENDED.in_use.fetch_sub(size as isize, Ordering::Relaxed);
            lock(&SHARED[class]).push(address);
        }
    }
}

/// Gives the free buffers of this thread and the shared ones back to the system.
pub(crate) fn empty_cache() {
    let _ = LOCAL.try_with(|local| local.borrow_mut().release());
    for (class, list) in SHARED.iter().enumerate() {
        let size = size(class);
        for address in std::mem::take(&mut *lock(list)) {
            RESERVED.fetch_sub(size, Ordering::Relaxed);
            let layout = Layout::from_size_align(size, ALIGN).expect("the layout it came with");
            // SAFETY: it was allocated with the layout of its class, and was in a free list.
            unsafe { dealloc(address as *mut u8, layout) };
        }
    }
}

/// What the memory is used for. Exact when no other thread is computing.
pub(crate) fn stats() -> MemoryStats {
    let threads = lock(&THREADS);
    let counts = || threads.iter().map(|count| &**count).chain([&ENDED]);
    let in_use: isize = counts().map(|count| count.in_use.load(Ordering::Relaxed)).sum();
    let taken: usize = counts().map(|count| count.taken.load(Ordering::Relaxed)).sum();
    let in_use = in_use.max(0) as usize;
    let reserved = RESERVED.load(Ordering::Relaxed);
    let misses = MISSES.load(Ordering::Relaxed);
    MemoryStats {
        in_use,
        cached: reserved.saturating_sub(in_use),
        peak: PEAK.load(Ordering::Relaxed),
        hits: taken.saturating_sub(misses) as u64,
        misses: misses as u64,
    }
}

/// Numbers in pool memory, for the length of a kernel. Freshly made they hold anything.
pub(crate) struct Scratch<T> {
    address: usize,
    len: usize,
    element: std::marker::PhantomData<T>,
}

impl<T: bytes::Plain> Scratch<T> {
    /// Memory for `len` numbers. Panics if there is none: a kernel can not go on without.
    pub(crate) fn new(len: usize) -> Self {
        let bytes = len * size_of::<T>();
        let address = if bytes == 0 {
            ALIGN
        } else {
            alloc(bytes).unwrap_or_else(|| {
                let (device, usage) = ("cpu".into(), String::new());
                crate::fail(crate::Error::Memory { device, bytes, usage })
            })
        };
        if profiled() && bytes > 0 {
            profile::allocated(Device::cpu(), address, bytes, "scratch");
        }
        Self { address, len, element: std::marker::PhantomData }
    }

    /// Memory for `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let mut scratch = Self::new(len);
        scratch.fill(T::default());
        scratch
    }
}

/// Numbers of which every bit pattern is valid.
pub(crate) mod bytes {
    pub(crate) trait Plain: Copy + Default {}
    impl Plain for f32 {}
    impl Plain for f64 {}
    impl Plain for i64 {}
    impl Plain for u64 {}
    impl Plain for num_complex::Complex<f32> {}
    impl Plain for num_complex::Complex<f64> {}
}

impl<T> std::ops::Deref for Scratch<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `new` took this many aligned, initialised bytes from the pool, and every bit
        // pattern is a `T` (`Plain`).
        unsafe { std::slice::from_raw_parts(self.address as *const T, self.len) }
    }
}

impl<T> std::ops::DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.address as *mut T, self.len) }
    }
}

impl<T> Drop for Scratch<T> {
    fn drop(&mut self) {
        let bytes = self.len * size_of::<T>();
        if bytes > 0 {
            if profiled() {
                profile::freed(Device::cpu(), self.address, bytes);
            }
            // SAFETY: it came from `alloc(bytes)` and nobody can reach it any more.
            unsafe { free(self.address, bytes) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_its_request_and_wastes_little() {
        let mut last = (0, 0);
        for bytes in (1..10_000).chain([1 << 20, (1 << 20) + 1, 3 << 30, 1 << 40]) {
            let (class, size) = class(bytes).expect("a class");
            assert!(size >= bytes && size % ALIGN == 0);
            assert!(size <= (bytes * 5).div_ceil(4) + ALIGN, "{bytes} bytes take {size}");
            assert!((class, size) >= last, "classes rise with their size");
            last = (class, size);
        }
        assert_eq!(class(usize::MAX), None);
    }

    #[test]
    fn a_freed_buffer_is_used_again() {
        let first = alloc(1000).expect("memory");
        // SAFETY: it was just allocated with this size.
        unsafe { free(first, 1000) };
        let second = alloc(1001).expect("memory");
        assert_eq!(first, second, "both requests are of one class");
        // SAFETY: it was just allocated with this size.
        unsafe { free(second, 1001) };
    }

    #[test]
    fn buffers_may_be_freed_by_another_thread() {
        let addresses: Vec<_> = (0..100).map(|_| alloc(5000).expect("memory")).collect();
        let other = std::thread::spawn(move || {
            // SAFETY: they were allocated with this size and are not used any more.
            addresses.into_iter().for_each(|address| unsafe { free(address, 5000) });
        });
        other.join().expect("the thread frees them");
    }
}
