//! Where tensors live.

use std::fmt;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use crate::backend::{Backend, MemoryStats};
use crate::cpu::Cpu;
use crate::op::{Fill, Meta, Op};
use crate::reference::Reference;
use crate::shape_only::ShapeOnly;
use crate::{DType, Error, Result, Scalar, Shape};

/// A device: where tensors live and which [`Backend`] computes on them.
///
/// A device is made once and lives as long as the program, so a handle on it is a plain reference:
/// copying it costs nothing, and no operation touches a reference count for it.
#[derive(Clone, Copy)]
pub struct Device(&'static State);

struct State {
    backend: Box<dyn Backend>,
    generator: Mutex<Generator>,
}

/// Position in the stream of random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generator {
    /// The seed.
    pub seed: u64,
    /// Blocks of four numbers drawn so far.
    pub offset: u64,
}

impl Generator {
    /// Takes `numbers` 32-bit random numbers out of the stream and returns where they start.
    pub fn take(&mut self, numbers: usize) -> Generator {
        let start = *self;
        self.offset = self.offset.wrapping_add((numbers as u64).div_ceil(4));
        start
    }
}

static CPU: LazyLock<Device> = LazyLock::new(|| Device::custom(Cpu));
static REFERENCE: LazyLock<Device> = LazyLock::new(|| Device::custom(Reference));
static SHAPE_ONLY: LazyLock<Device> = LazyLock::new(|| Device::custom(ShapeOnly));

impl Device {
    /// The processor, with [`num_threads`](crate::num_threads) threads, or those of the rayon pool
    /// that an operation is applied in.
    #[inline]
    pub fn cpu() -> Self {
        *CPU
    }

    /// The slow backend that computes every operation in the most obvious way, in f64: the oracle
    /// of the tests.
    pub fn reference() -> Self {
        *REFERENCE
    }

    /// The backend that computes nothing: operations check and infer shapes, memory is never
    /// touched. For model summaries and FLOP counts.
    pub fn shape_only() -> Self {
        *SHAPE_ONLY
    }

    /// A device that computes with `backend`. It lives until the program ends.
    pub fn custom(backend: impl Backend) -> Self {
        let mut made = made();
        let generator = Mutex::new(Generator { seed: made.seed, offset: 0 });
        let state = State { backend: Box::new(backend), generator };
        let device = Device(Box::leak(Box::new(state)));
        made.devices.push(device);
        device
    }

    /// A number that no other device has.
    pub(crate) fn id(&self) -> usize {
        std::ptr::from_ref(self.0).addr()
    }

    /// This device. Code written for Burn asks it for one whose tensors can be differentiated; here
    /// every tensor can.
    pub fn autodiff(self) -> Self {
        self
    }

    /// The backend.
    #[inline]
    pub fn backend(&self) -> &'static dyn Backend {
        &*self.0.backend
    }

    /// The name: `cpu`, `cuda:0`.
    pub fn name(&self) -> &'static str {
        self.0.backend.name()
    }

    /// Whether tensors of `dtype` can be made on the device.
    pub fn supports_dtype(&self, dtype: DType) -> bool {
        let meta = Meta::new(Shape::SCALAR, dtype);
        self.backend().supports(&Op::Fill(Fill { value: Scalar::Int(0), meta }))
    }

    /// Waits until all work on the device is done.
    pub fn sync(&self) -> Result<()> {
        self.backend().sync()
    }

    /// Starts the device's random numbers anew: after the same seed, the same numbers follow,
    /// whatever the number of threads.
    pub fn seed(&self, seed: u64) {
        self.set_generator(Generator { seed, offset: 0 });
    }

    /// The position in the stream of random numbers, for a checkpoint.
    pub fn generator(&self) -> Generator {
        *self.0.generator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Continues the stream of random numbers from `generator`.
    pub fn set_generator(&self, generator: Generator) {
        *self.0.generator.lock().unwrap_or_else(PoisonError::into_inner) = generator;
    }

    /// Takes `numbers` 32-bit random numbers out of the stream and returns where they start.
    pub fn draw(&self, numbers: usize) -> Generator {
        self.0.generator.lock().unwrap_or_else(PoisonError::into_inner).take(numbers)
    }

    /// What the device's memory is used for.
    pub fn memory(&self) -> MemoryStats {
        self.backend().memory()
    }

    /// Gives memory that is kept for later allocations back to the system.
    pub fn empty_cache(&self) {
        self.backend().empty_cache();
    }

    pub(crate) fn check_same(self, op: &'static str, other: Device) -> Result<()> {
        if self == other {
            return Ok(());
        }
        let what = format!(
            "one tensor is on {}, another on {}; move one with `to_device`",
            self.name(),
            other.name()
        );
        Err(Error::Device { op, what })
    }
}

/// The devices of the program.
struct Made {
    devices: Vec<Device>,
    /// What the next one is seeded with.
    seed: u64,
}

fn made() -> MutexGuard<'static, Made> {
    // Seeded alike in every run: a program is random only if it asks for it.
    static MADE: Mutex<Made> = Mutex::new(Made { devices: Vec::new(), seed: 0 });
    MADE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the random numbers of every device anew, also of those that are made later: parameters,
/// dropout, [`Tensor::random`](crate::Tensor::random). `torch.manual_seed`. The orders of data
/// loaders are functions of the seeds that they are given.
///
/// ```
/// use kiln_tensor::{Distribution, Tensor, seed};
/// let draw = || Tensor::<1>::random([3], Distribution::Default, &Default::default()).into_data();
/// seed(7);
/// let first = draw();
/// seed(7);
/// assert_eq!(draw(), first);
/// ```
pub fn seed(seed: u64) {
    let mut made = made();
    made.seed = seed;
    made.devices.iter().for_each(|device| device.seed(seed));
}

/// The CPU.
impl Default for Device {
    fn default() -> Self {
        Self::cpu()
    }
}

impl PartialEq for Device {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Device {}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
