//! The largest batch that a training step has memory for.

use kiln_autograd::Autograd;
use kiln_nn::{Config, Module};
use kiln_optim::Optimizer;
use kiln_tensor::profile::Profiler;
use kiln_tensor::{Device, Error, Result, guard};

use super::{Checkpoint, Step};

/// How the largest batch is looked for: sizes are doubled as long as the next one should fit, going
/// by those before, then the last fitting size is closed in on. Every size is run, none that should
/// need much more than there is.
///
/// ```
/// use kiln::prelude::*;
/// use kiln::train::{BatchSizeFinderConfig, Step};
/// let device = Device::cpu();
/// let mut model = Sequential::new()
///     .add(LinearConfig::new(64, 256).init(&device))
///     .add(Relu::new())
///     .add(LinearConfig::new(256, 2).init(&device));
/// let mut optim = AdamWConfig::new(1e-3).init();
/// let batch = |size| Ok(Tensor::<2>::ones([size, 64], &device));
/// let found = BatchSizeFinderConfig::new(4 << 20).with_power_of_two(true).run(
///     &mut model,
///     &mut optim,
///     batch,
///     |model, batch| {
///         let y: Tensor<2> = model.forward(batch);
///         Step::new(y.square().mean())
///     },
/// )?;
/// println!("batches of {} need {} bytes", found.size, found.bytes);
/// # assert!(found.size >= 256 && found.size.is_power_of_two() && found.bytes <= 4 << 20);
/// # Ok::<(), kiln::Error>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct BatchSizeFinderConfig {
    /// The memory that there is, in bytes: for all that the device of the model holds at one time,
    /// parameters, state of the optimizer and data that is there already included.
    pub bytes: usize,
    /// The least size that is of use.
    #[config(default = 1)]
    pub min_size: usize,
    /// The largest size that is of use.
    #[config(default = 65536)]
    pub max_size: usize,
    /// Only powers of two, times the least size.
    #[config(default = false)]
    pub power_of_two: bool,
}

/// What [`BatchSizeFinderConfig::run`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchSize {
    /// The largest batch that fits.
    pub size: usize,
    /// What a step with it held at most, in bytes.
    pub bytes: usize,
    /// All sizes that were run, in order, with what each held at most; `None` if the device had no
    /// more.
    pub tried: Vec<(usize, Option<usize>)>,
}

/// A size that should need so much more than there is, is not run.
const MARGIN: f64 = 1.1;

impl BatchSizeFinderConfig {
    /// Runs forward and backward passes and steps of the optimizer with batches of different sizes,
    /// which `batch` makes. Model, optimizer and random numbers are left as they were. An error if
    /// not even the least size fits.
    ///
    /// Memory is what tensors and running operations hold ([`profile`](kiln_tensor::profile())), of
    /// all threads: nothing else may compute meanwhile. A step in mixed precision or in segments
    /// (`checkpoint`) is measured as `step` runs it.
    pub fn run<M: Module, O: Optimizer, B>(
        &self,
        model: &mut M,
        optim: &mut O,
        mut batch: impl FnMut(usize) -> Result<B>,
        mut step: impl FnMut(&M, &B) -> Step,
    ) -> Result<BatchSize> {
        if self.min_size == 0 || self.max_size < self.min_size {
            return Err(finder_error("sizes go from min_size, 1 or more, to max_size".into()));
        }
        let device = model.named_params().first().map(|(_, param)| param.device());
        let device = device.unwrap_or_default();
        let mut before = Checkpoint::new();
        before.insert("model", model.state_dict());
        let (optim_before, generator) = (optim.state_dict(), device.generator());

        model.train();
        let mut run = |size: usize| {
            let profiler = Profiler::start();
            let ran = guard(|| {
                let batch = batch(size)?;
                optim.step(model, step(model, &batch).loss.backward());
                device.sync()
            });
            let report = profiler.finish();
            match ran.and_then(|result| result) {
                Ok(()) => Ok(Some(peak(&report, device))),
                Err(Error::Memory { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        // The first step makes the state of the optimizer, when the rest is gone already.
        let found = run(self.min_size).and_then(|_| self.search(run));
        before.load_model("model", model)?;
        optim.load_state_dict(model, &optim_before)?;
        device.set_generator(generator);
        device.empty_cache();
        found
    }

    fn search(&self, mut run: impl FnMut(usize) -> Result<Option<usize>>) -> Result<BatchSize> {
        let mut tried = Vec::new();
        // Sizes and bytes of the two largest that fit, and the least size that does not.
        let mut fit: [(usize, usize); 2] = [(0, 0); 2];
        let mut too_large = self.max_size + 1;
        let (mut size, mut stride) = (self.min_size, 1);
        loop {
            let bytes = run(size)?;
            tried.push((size, bytes));
            match bytes {
                Some(bytes) if bytes <= self.bytes => fit = [fit[1], (size, bytes)],
                _ if size == self.min_size => {
                    let needs = bytes.map_or("more than the device has".into(), |bytes| {
                        format!("{bytes} bytes, and there are {}", self.bytes)
                    });
                    return Err(finder_error(format!("a batch of {size} needs {needs}")));
                }
                _ => too_large = size,
            }
            let (largest, held) = fit[1];
            let per_item = match fit[0] {
                (0, _) => 0.0,
                (smaller, less) => (held as f64 - less as f64) / (largest - smaller) as f64,
            };
            let double = 2 * largest;
            let expected = held as f64 + per_item * largest as f64;
            if double < too_large && expected <= MARGIN * self.bytes as f64 {
                size = double;
                continue;
            }
            if self.power_of_two || largest + 1 >= too_large {
                return Ok(BatchSize { size: largest, bytes: held, tried });
            }
            size = if too_large > self.max_size {
                // Nothing is known to be too large: what should just fit, and then more and more.
                let room = (self.bytes as f64 - held as f64) / per_item.max(1.0);
                let next = largest + (room as usize).max(stride);
                stride *= 2;
                next.min(double).min(self.max_size)
            } else {
                largest + (too_large - largest) / 2
            };
        }
    }
}

/// The most that was held on `device`.
fn peak(report: &kiln_tensor::profile::Report, device: Device) -> usize {
    let memory = report.memory.iter().find(|memory| memory.device == device);
    memory.map_or(0, |memory| memory.peak)
}

fn finder_error(rule: String) -> Error {
    Error::Argument { op: "batch size finder", rule }
}
