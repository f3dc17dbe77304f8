//! What a thread is doing: passes, and scopes that the user names.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::time::Instant;

use super::collect::{self, Span};
use crate::watch::profiled;

/// Which part of a training step an operation belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pass {
    /// All that belongs to no other.
    #[default]
    Forward,
    /// The way back from a loss.
    Backward,
    /// A step of an optimizer.
    Optimizer,
}

impl Pass {
    /// As a report shows it.
    pub fn name(self) -> &'static str {
        match self {
            Pass::Forward => "forward",
            Pass::Backward => "backward",
            Pass::Optimizer => "optimizer",
        }
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

thread_local! {
    static PASS: Cell<Pass> = const { Cell::new(Pass::Forward) };
    /// The names of the open scopes, with `/` between.
    static PATH: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Where this thread is: its pass and the path of its scopes.
pub(super) fn place() -> (Pass, String) {
    // A thread that ends has no path any more, but may still drop tensors.
    (PASS.get(), PATH.try_with(|path| path.borrow().clone()).unwrap_or_default())
}

/// Names what this thread does until the result is dropped: in the trace of a profile, in its table
/// of scopes, and in its report of memory. `torch.profiler.record_function`.
///
/// ```
/// use kiln_tensor::{Tensor, profile};
/// let report = profile(|| {
///     for _ in 0..3 {
///         let _epoch = profile::scope("epoch");
///         let _step = profile::scope("step");
///         drop(Tensor::<1>::from([1.0]).exp());
///     }
/// });
/// let paths: Vec<_> = report.scopes.iter().map(|scope| (&*scope.path, scope.calls)).collect();
/// assert!(paths.contains(&("epoch", 3)) && paths.contains(&("epoch/step", 3)));
/// ```
#[must_use = "a scope ends when it is dropped: `let _scope = ..`"]
#[inline]
pub fn scope(name: impl Into<Cow<'static, str>>) -> Scope {
    if profiled() { open(name.into(), None) } else { Scope::closed() }
}

/// As [`scope`], and counts the operations meanwhile to `pass`. Backward passes and steps of
/// optimizers say so themselves; for loops of your own there is no need.
#[must_use = "a scope ends when it is dropped: `let _pass = ..`"]
#[inline]
pub fn pass(pass: Pass) -> Scope {
    if profiled() { open(pass.name().into(), Some(pass)) } else { Scope::closed() }
}

/// As [`scope`] for an operation that is computed by smaller ones: in the trace only.
pub(crate) fn part(name: &'static str) -> Scope {
    let mut scope = Scope::closed();
    if profiled() {
        scope.open = Some(Open::new(name.into()));
    }
    scope
}

/// An open [`scope`]; dropping it closes it.
pub struct Scope {
    open: Option<Open>,
    // It belongs to the thread that opened it.
    _thread: PhantomData<*const ()>,
}

struct Open {
    name: Cow<'static, str>,
    start: Instant,
    /// The path, and how much of it was there before.
    path: Option<(String, usize)>,
    /// The pass before.
    pass: Pass,
}

impl Open {
    fn new(name: Cow<'static, str>) -> Self {
        Self { name, start: Instant::now(), path: None, pass: PASS.get() }
    }
}

impl Scope {
    fn closed() -> Self {
        Self { open: None, _thread: PhantomData }
    }
}

#[cold]
fn open(name: Cow<'static, str>, pass: Option<Pass>) -> Scope {
    super::read_environment();
    let path = PATH.try_with(|path| {
        let mut path = path.borrow_mut();
        let before = path.len();
        if before > 0 {
            path.push('/');
        }
        path.push_str(&name);
        (path.clone(), before)
    });
    let open = Open { path: path.ok(), ..Open::new(name) };
    PASS.set(pass.unwrap_or(open.pass));
    Scope { open: Some(open), _thread: PhantomData }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let Some(Open { name, start, path, pass }) = self.open.take() else { return };
        PASS.set(pass);
        let path = path.map(|(path, before)| {
            let _ = PATH.try_with(|path| path.borrow_mut().truncate(before));
            path
        });
        collect::span(Span { name, path, start, duration: start.elapsed() });
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.open.as_ref().map_or("Scope", |open| &open.name))
    }
}
