//! The one error type of Kiln, and how a wrong shape becomes a panic or an `Err`.
//!
//! Wrong shapes, dtypes and axes are programming mistakes: a tensor method panics with the text of
//! an [`Error`] at the line that called it. A server that runs shapes of other people wraps the
//! work in [`guard`] and gets the same [`Error`] as a value. Files, devices and memory always give
//! a [`Result`].

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::{DType, Shape};

/// Everything that can go wrong. Each text names the operation, what it was given, the rule that
/// was broken and, where that is not obvious, what to do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The shapes of the inputs do not fit together.
    #[error("{op}: shapes {} do not fit: {rule}", list(.shapes))]
    Shape {
        /// The operation.
        op: &'static str,
        /// The shapes of all inputs.
        shapes: Vec<Shape>,
        /// The rule that was broken.
        rule: String,
    },
    /// The dtypes of the inputs are not supported.
    #[error("{op}: dtypes {} do not fit: {rule}", list(.dtypes))]
    DType {
        /// The operation.
        op: &'static str,
        /// The dtypes of all inputs.
        dtypes: Vec<DType>,
        /// The rule that was broken.
        rule: String,
    },
    /// An axis that the tensor does not have.
    #[error("{op}: axis {axis} is out of range for a tensor of rank {rank}")]
    Axis {
        /// The operation.
        op: &'static str,
        /// The axis as given, negative ones count from the end.
        axis: isize,
        /// The rank of the tensor.
        rank: usize,
    },
    /// An index outside of the axis that it points into.
    #[error("{op}: index {index} is out of range for {size} entries")]
    Index {
        /// The operation.
        op: &'static str,
        /// The index as given.
        index: i64,
        /// How many entries there are.
        size: usize,
    },
    /// A parameter of an operation has a value that makes no sense.
    #[error("{op}: {rule}")]
    Argument {
        /// The operation.
        op: &'static str,
        /// The rule that was broken, with the value given.
        rule: String,
    },
    /// An operation made a NaN or an infinity while [`detect_anomaly`](crate::detect_anomaly)
    /// was watching.
    #[error("{op}: {what}")]
    Anomaly {
        /// The operation.
        op: &'static str,
        /// Which number of which tensor, and the line that applied the operation.
        what: String,
    },
    /// Tensors of one operation live on different devices, or a device can not do what was asked.
    #[error("{op}: {what}")]
    Device {
        /// The operation.
        op: &'static str,
        /// What happened, and what to do.
        what: String,
    },
    /// A buffer could not be allocated.
    #[error("out of memory on {device}: {bytes} bytes could not be allocated{usage}")]
    Memory {
        /// The name of the device.
        device: String,
        /// How many bytes were asked for.
        bytes: usize,
        /// What the memory is used for, `: ..`, if the device says so.
        usage: String,
    },
    /// A gradient was asked for that can not be computed.
    #[error("{op}: {rule}")]
    Autograd {
        /// The operation.
        op: &'static str,
        /// The rule that was broken, and what to do.
        rule: String,
    },
    /// A file could not be read or written, or does not hold what it should.
    #[error("{path}: {what}")]
    File {
        /// The path of the file.
        path: String,
        /// What happened, and what to do.
        what: String,
    },
}

/// `Result` with Kiln's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(T::to_string).collect();
    items.join(" and ")
}

thread_local! {
    /// How many [`guard`]s this thread is inside of.
    static GUARDS: Cell<usize> = const { Cell::new(0) };
}

/// Runs `work` and turns a wrong shape, dtype, axis or index inside of it into an `Err`.
///
/// Other panics pass through unchanged. Nothing is printed for an error that is returned.
///
/// ```
/// use kiln_tensor::{Tensor, guard};
/// let product = guard(|| {
///     let a = Tensor::<2>::from([[1.0, 2.0]]);
///     a.matmul(&a)
/// });
/// assert!(product.unwrap_err().to_string().contains("matmul"));
/// ```
pub fn guard<T>(work: impl FnOnce() -> T) -> Result<T> {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            GUARDS.set(GUARDS.get() - 1);
        }
    }
    GUARDS.set(GUARDS.get() + 1);
    let leave = Leave;
    // Unwind safety: `work` is consumed, and a tensor is never left half written because results
    // become visible only after their operation succeeded.
    let outcome = catch_unwind(AssertUnwindSafe(work));
    drop(leave);
    outcome.or_else(|payload| match payload.downcast::<Error>() {
        Ok(error) => Err(*error),
        Err(payload) => resume_unwind(payload),
    })
}

/// Ends the current operation with `error`: an `Err` of the enclosing [`guard`], else a panic at
/// the caller's line.
#[cold]
#[track_caller]
pub fn fail(error: Error) -> ! {
    if GUARDS.get() > 0 {
        resume_unwind(Box::new(error));
    }
    panic!("{error}");
}

/// The value, or [`fail`] with the error.
pub trait OrFail<T> {
    /// The value, or [`fail`] with the error.
    fn or_fail(self) -> T;
}

impl<T> OrFail<T> for Result<T> {
    #[inline]
    #[track_caller]
    fn or_fail(self) -> T {
        match self {
            Ok(value) => value,
            Err(error) => fail(error),
        }
    }
}
