//! Batches, epoch by epoch.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kiln_tensor::{Device, Error, Result, guard};

use super::Batcher;
use super::worker::{Jobs, Workers};

/// Batches of a dataset, made ahead by threads of their own. Made by
/// [`DataLoaderBuilder`](super::DataLoaderBuilder); cheap to clone. `torch.utils.data.DataLoader`.
pub struct DataLoader<B> {
    plan: Arc<Plan<B>>,
}

/// How a loader makes its batches.
pub(super) struct Plan<B> {
    /// Batches in an epoch, if that is known.
    pub(super) len: Option<usize>,
    /// Threads; with none the caller makes each batch as it asks for it.
    pub(super) workers: usize,
    /// Batches that are begun before they are asked for.
    pub(super) prefetch: usize,
    /// How many items of an epoch may fail.
    pub(super) failures: usize,
    /// The batches of an epoch, from one on.
    pub(super) open: Open<B>,
}

type Open<B> = Box<dyn Fn(usize, usize) -> Jobs<Made<B>> + Send + Sync>;

/// A batch, and the items that it should have had too.
pub(super) struct Made<B> {
    batch: Result<B>,
    failures: Vec<Error>,
}

impl<B> Clone for DataLoader<B> {
    fn clone(&self) -> Self {
        Self { plan: self.plan.clone() }
    }
}

impl<B: Send + 'static> DataLoader<B> {
    pub(super) fn new(plan: Plan<B>) -> Self {
        Self { plan: Arc::new(plan) }
    }

    /// Batches in an epoch; `None` for a stream.
    pub fn len(&self) -> Option<usize> {
        self.plan.len
    }

    /// Whether it is known that there are no batches.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// The batches of an epoch. The same epoch has the same batches each time.
    pub fn epoch(&self, epoch: usize) -> Epoch<B> {
        self.epoch_from(epoch, 0)
    }

    /// The batches of an epoch from one on, without making those before it. (A stream reads the
    /// items before it and passes over them.)
    pub fn epoch_from(&self, epoch: usize, batch: usize) -> Epoch<B> {
        let plan = &self.plan;
        let jobs = (plan.open)(epoch, batch);
        let batches: Box<dyn Iterator<Item = Made<B>> + Send> = if plan.workers == 0 {
            Box::new(jobs.map(|job| job()))
        } else {
            Box::new(Workers::new(jobs, plan.workers, plan.prefetch))
        };
        Epoch { batches: Some(batches), skipped: Vec::new(), failures: plan.failures }
    }
}

/// The batches of an epoch. An `Err` is the last of them. Dropping this ends its threads.
pub struct Epoch<B> {
    /// `None` after the end.
    batches: Option<Box<dyn Iterator<Item = Made<B>> + Send>>,
    skipped: Vec<Error>,
    failures: usize,
}

impl<B> Epoch<B> {
    /// Why items were left out of the batches so far, one error for each; see
    /// [`DataLoaderBuilder::skip_failures`](super::DataLoaderBuilder::skip_failures).
    pub fn skipped(&self) -> &[Error] {
        &self.skipped
    }
}

/// Panics where the dataset or the batcher did, on whichever thread.
impl<B> Iterator for Epoch<B> {
    type Item = Result<B>;

    fn next(&mut self) -> Option<Result<B>> {
        let Some(Made { batch, failures }) = self.batches.as_mut()?.next() else {
            self.batches = None;
            return None;
        };
        self.skipped.extend(failures);
        let batch = match self.skipped.last() {
            Some(last) if self.skipped.len() > self.failures => {
                let rule = format!("more than {} items failed; the last: {last}", self.failures);
                Err(Error::Argument { op: "DataLoader", rule })
            }
            _ => batch,
        };
        if batch.is_err() {
            self.batches = None;
        }
        Some(batch)
    }
}

/// Makes a batch of items that come with their indices. With `skip` the ones that fail are left
/// out, but a batch of nothing is an error.
pub(super) fn make<I, B>(
    items: impl Iterator<Item = (usize, Result<I>)>,
    skip: bool,
    batcher: &dyn Batcher<I, B>,
    device: &Device,
) -> Made<B> {
    let (mut whole, mut failures) = (Vec::with_capacity(items.size_hint().0), Vec::new());
    for (index, item) in items {
        match item {
            Ok(item) => whole.push(item),
            Err(cause) => failures.push(name(index, cause)),
        }
        if !skip && let Some(cause) = failures.pop() {
            return Made { batch: Err(cause), failures };
        }
    }
    let batch = match failures.first() {
        Some(cause) if whole.is_empty() => Err(cause.clone()),
        _ => guard(|| batcher.batch(whole, device)),
    };
    Made { batch, failures }
}

/// Gets an item; a panic says which one it was.
pub(super) fn get<I>(index: usize, get: impl FnOnce() -> Result<I>) -> Result<I> {
    // Unwind safety: the panic goes on.
    match catch_unwind(AssertUnwindSafe(|| guard(get))) {
        Ok(item) => item.flatten(),
        Err(panic) => panic!("item {index} of the dataset: {}", text(&*panic)),
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let string = panic.downcast_ref::<String>().map(String::as_str);
    string.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text")
}

/// The error with the index of the item.
fn name(index: usize, cause: Error) -> Error {
    match cause {
        Error::File { path, what } => Error::File { path, what: format!("{what} (item {index})") },
        cause => Error::Argument { op: "dataset", rule: format!("item {index}: {cause}") },
    }
}
