//! Handle ownership for what is made and dropped with every small operation.
//!
//! An `Arc` asks the system for memory each time and gives it back each time, which takes as long as
//! adding a few numbers. A thread keeps the memory of some that it dropped, and an owner that is
//! the only one needs no atomic exchange to find that out.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::thread::LocalKey;

/// Places of a type that a thread keeps, at most: some 50 KB.
const KEPT: usize = 256;

/// A value of several owners, each of which may be on a thread of its own. It is dropped with the
/// last one. There are no weak owners.
pub(crate) struct Handle<T: Kept>(NonNull<Counted<T>>);

/// A value and the number of its owners.
pub(crate) struct Counted<T> {
    owners: AtomicUsize,
    value: T,
}

/// The memory of values that were dropped.
pub(crate) type Places<T> = RefCell<Vec<Box<MaybeUninit<Counted<T>>>>>;

/// A type whose memory is kept.
pub(crate) trait Kept: Sized + 'static {
    /// What this thread keeps.
    fn places() -> &'static LocalKey<Places<Self>>;
}

// SAFETY: as for `Arc`: owners on several threads read the value, and the last one drops it.
unsafe impl<T: Kept + Send + Sync> Send for Handle<T> {}
// SAFETY: as above.
unsafe impl<T: Kept + Send + Sync> Sync for Handle<T> {}

impl<T: Kept> Handle<T> {
    #[inline]
    pub fn new(value: T) -> Self {
        // A thread that ends keeps nothing.
        let kept = T::places().try_with(|places| places.borrow_mut().pop()).ok().flatten();
        let place = kept.unwrap_or_else(Box::new_uninit);
        let place = Box::write(place, Counted { owners: AtomicUsize::new(1), value });
        Self(NonNull::from(Box::leak(place)))
    }

    #[inline]
    fn counted(&self) -> &Counted<T> {
        // SAFETY: the memory lives as long as an owner.
        unsafe { self.0.as_ref() }
    }

    /// Whether this is the only owner. Then it stays so until it is cloned.
    #[inline]
    fn is_only(&self) -> bool {
        // Whoever was an owner before has used the value for the last time.
        self.counted().owners.load(Ordering::Acquire) == 1
    }

    /// Gives up one owner; whether it was the last one.
    #[inline]
    fn leave(&self) -> bool {
        if self.is_only() {
            return true;
        }
        let last = self.counted().owners.fetch_sub(1, Ordering::Release) == 1;
        if last {
            fence(Ordering::Acquire);
        }
        last
    }

    /// The value to be changed, if this is the only owner.
    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut T> {
        if !self.is_only() {
            return None;
        }
        // SAFETY: nobody else reads it, and nobody can clone this while it is borrowed.
        Some(unsafe { &mut self.0.as_mut().value })
    }

    /// The value itself, if this was the last owner.
    #[inline]
    pub fn into_inner(self) -> Option<T> {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: the last owner takes the value out, and then the memory.
        this.leave().then(|| unsafe {
            let value = std::ptr::read(&this.counted().value);
            keep(this.0);
            value
        })
    }
}

/// Keeps the memory of a value that was dropped, or gives it back.
///
/// # Safety
/// The memory is that of a [`Handle`] without owners.
#[inline]
unsafe fn keep<T: Kept>(place: NonNull<Counted<T>>) {
    // SAFETY: it came out of a box of this type; what it holds counts for nothing.
    let place: Box<MaybeUninit<Counted<T>>> = unsafe { Box::from_raw(place.as_ptr().cast()) };
    let _ = T::places().try_with(|places| {
        let mut places = places.borrow_mut();
        if places.len() < KEPT {
            places.push(place);
        }
    });
}

impl<T: Kept> Deref for Handle<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.counted().value
    }
}

impl<T: Kept> Clone for Handle<T> {
    #[inline]
    fn clone(&self) -> Self {
        // The new owner knows the value through this one, so nothing has to be ordered.
        let owners = self.counted().owners.fetch_add(1, Ordering::Relaxed);
        if owners > isize::MAX as usize {
            // Only owners that are forgotten in a loop come to so many.
            std::process::abort();
        }
        Self(self.0)
    }
}

impl<T: Kept> Drop for Handle<T> {
    #[inline]
    fn drop(&mut self) {
        if self.leave() {
            // SAFETY: the last owner drops the value, and then the memory.
            unsafe {
                std::ptr::drop_in_place(&mut self.0.as_mut().value);
                keep(self.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicIsize;

    use super::*;

    static ALIVE: AtomicIsize = AtomicIsize::new(0);

    struct Value(usize);

    impl Value {
        fn new(number: usize) -> Self {
            ALIVE.fetch_add(1, Ordering::Relaxed);
            Self(number)
        }
    }

    impl Drop for Value {
        fn drop(&mut self) {
            ALIVE.fetch_sub(1, Ordering::Relaxed);
        }
    }

    impl Kept for Value {
        fn places() -> &'static LocalKey<Places<Self>> {
            thread_local! {
                static PLACES: Places<Value> = const { RefCell::new(Vec::new()) };
            }
            &PLACES
        }
    }

    #[test]
    fn a_value_is_dropped_once_with_its_last_owner() {
        let mut first = Handle::new(Value::new(7));
        assert_eq!(first.get_mut().map(|value| value.0), Some(7));
        let second = first.clone();
        assert!(first.get_mut().is_none());
        assert!(second.into_inner().is_none());
        first.get_mut().unwrap().0 = 8;
        let address = &raw const *first;
        assert_eq!(first.into_inner().map(|value| value.0), Some(8));
        // Its memory serves the next one.
        assert_eq!(&raw const *Handle::new(Value::new(9)), address);

        // Many more than are kept, dropped by other threads than those that made them.
        let values: Vec<_> = (0..3 * KEPT).map(|i| Handle::new(Value::new(i))).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let values = values.clone();
                scope.spawn(move || {
                    for (i, value) in values.into_iter().enumerate() {
                        assert_eq!((*value).0, i);
                        drop(Handle::new(Value::new(i)).clone());
                    }
                });
            }
            drop(values);
        });
        // A thread keeps no more than so many.
        drop((0..2 * KEPT).map(|i| Handle::new(Value::new(i))).collect::<Vec<_>>());
        assert_eq!(Value::places().with_borrow(Vec::len), KEPT);
        assert_eq!(ALIVE.load(Ordering::Relaxed), 0);
    }
}
