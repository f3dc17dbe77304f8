//! Values of several GPUs become one: the calls of NCCL, with one GPU for each process.
//!
//! **It never ran on a GPU.** A stand-in for the library, which adds up what processes leave in a
//! file, gets the right calls in the right order.
//!
//! Reductions have a stream of their own, so that they run beside the kernels that are started after
//! them. Each waits for the kernels that were started before it, and who takes its result makes the
//! next kernels wait for it; until then a [`Reduction`] owns the memory.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{null_mut, without_provenance_mut};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kiln_tensor::op::{Fill, Meta};
use kiln_tensor::{AnyTensor, DType, Device, Error, Result, Scalar, Shape};

use crate::NoCuda;
use crate::device::gpu;
use crate::gpu::{self, Event, Handle, Stream};
use crate::library::Library::Nccl;
use crate::params::address;

const OP: &str = "nccl";
/// Between looks at whether the device is done.
const PAUSE: Duration = Duration::from_micros(100);
/// ncclUint8.
const BYTE: c_int = 1;
/// ncclSum and ncclAvg.
const SUM: c_int = 0;
const AVERAGE: c_int = 4;

/// What all processes that join a [`Communicator`] know of it: `ncclUniqueId`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct UniqueId(pub [u8; 128]);

impl UniqueId {
    /// A new one, made by one of the processes and given to all others.
    ///
    /// # Errors
    /// NCCL is not installed, or finds no network.
    pub fn new() -> Result<Self> {
        let (api, mut id) = (Api::load()?, Self([0; 128]));
        // SAFETY: the call writes one identifier.
        api.check("ncclGetUniqueId", unsafe { (api.unique_id)(&mut id) }).map(|()| id)
    }
}

/// The functions of the library.
#[derive(Clone, Copy)]
struct Api {
    unique_id: unsafe extern "C" fn(*mut UniqueId) -> c_int,
    init: unsafe extern "C" fn(*mut Handle, c_int, UniqueId, c_int) -> c_int,
    all_reduce: unsafe extern "C" fn(
        *const c_void,
        *mut c_void,
        usize,
        c_int,
        c_int,
        Handle,
        Handle,
    ) -> c_int,
    broadcast: unsafe extern "C" fn(
        *const c_void,
        *mut c_void,
        usize,
        c_int,
        c_int,
        Handle,
        Handle,
    ) -> c_int,
    async_error: unsafe extern "C" fn(Handle, *mut c_int) -> c_int,
    abort: unsafe extern "C" fn(Handle) -> c_int,
    error_string: unsafe extern "C" fn(c_int) -> *const c_char,
}

impl Api {
    fn load() -> Result<Self> {
        let load = || {
            // SAFETY: these are the types that `nccl.h` gives to these functions.
            unsafe {
                Ok(Self {
                    unique_id: Nccl.function("ncclGetUniqueId")?,
                    init: Nccl.function("ncclCommInitRank")?,
                    all_reduce: Nccl.function("ncclAllReduce")?,
                    broadcast: Nccl.function("ncclBroadcast")?,
                    async_error: Nccl.function("ncclCommGetAsyncError")?,
                    abort: Nccl.function("ncclCommAbort")?,
                    error_string: Nccl.function("ncclGetErrorString")?,
                })
            }
        };
        load().map_err(|missing: NoCuda| error(missing.to_string()))
    }

    fn check(&self, call: &str, code: c_int) -> Result<()> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: the call gives a text that lives as long as the library, which is never unloaded.
        let text = unsafe { CStr::from_ptr((self.error_string)(code)) };
        let text = text.to_string_lossy();
        Err(error(format!(
            "{call} returned error {code}, {text}; NCCL_DEBUG=INFO in the environment lets it say more"
        )))
    }
}

fn error(what: impl Into<String>) -> Error {
    Error::Device { op: OP, what: what.into() }
}

fn data_type(dtype: DType) -> Result<c_int> {
    Ok(match dtype {
        DType::F16 => 6,
        DType::F32 => 7,
        DType::F64 => 8,
        DType::BF16 => 9,
        _ => return Err(error(format!("{dtype} can not be reduced, only floats can"))),
    })
}

/// Whether this device is a GPU, on which a [`Communicator`] can be made.
pub fn is_gpu(device: &Device) -> bool {
    gpu(device).is_some()
}

/// The version of NCCL, major and minor.
///
/// # Errors
/// It is not installed; the error says what was looked for and how to install it.
pub fn version() -> Result<(u32, u32)> {
    Nccl.version().map_err(|missing| error(missing.to_string()))
}

/// One of several processes with a GPU each: `ncclComm_t`.
///
/// All of them make the same calls in the same order, with tensors of the same dtypes and sizes.
/// NCCL does not notice where they differ: [`Communicator::wait`] does, after its timeout.
pub struct Communicator {
    api: Api,
    device: Device,
    stream: Stream,
    // A handle as a number, which any thread may use. None once it failed.
    comm: Mutex<Option<usize>>,
}

impl Communicator {
    /// Waits for the other processes, and joins them. They are tried by a sum, so that they are
    /// connected from here on.
    ///
    /// # Errors
    /// The device is no GPU, NCCL is not installed or fails, or the sum is not there in time or is
    /// a wrong one.
    pub fn new(
        device: &Device,
        id: UniqueId,
        [rank, world]: [usize; 2],
        timeout: Duration,
    ) -> Result<Self> {
        let gpu = gpu(device).ok_or_else(|| error(format!("{} is no GPU", device.name())))?;
        let (api, mut comm) = (Api::load()?, null_mut());
        let stream = Stream::new(&gpu)?;
        gpu.make_current()?;
        // SAFETY: the call writes one handle.
        let joined = unsafe { (api.init)(&mut comm, world as c_int, id, rank as c_int) };
        api.check("ncclCommInitRank", joined)?;
        let new = Self { api, device: *device, stream, comm: Mutex::new(Some(comm.addr())) };
        let one = AnyTensor::from_vec(vec![1f32], [1], device)?;
        let sum = new.all_reduce(&[one], false)?;
        new.wait(timeout)?;
        match sum.finish()?.to_data()?.iter::<f32>().next() {
            Some(sum) if sum == world as f32 => Ok(new),
            sum => Err(error(format!("the sum of {world} ones is {sum:?}"))),
        }
    }

    /// Begins the sum, or the mean, of tensors over all processes. They are of one float dtype, and
    /// lie one after another in the result, which has one axis. They are added up in their dtype.
    ///
    /// # Errors
    /// The tensors are no floats or not of this device, or the communicator failed.
    pub fn all_reduce(&self, tensors: &[AnyTensor], mean: bool) -> Result<Reduction> {
        let dtype = tensors.first().map_or(DType::F32, AnyTensor::dtype);
        let (kind, op) = (data_type(dtype)?, if mean { AVERAGE } else { SUM });
        let values = self.flatten(tensors, dtype)?;
        let len = values.num_elements();
        self.start("ncclAllReduce", values, |at, comm, stream| {
            // SAFETY: as many values lie there, which this call may write.
            unsafe { (self.api.all_reduce)(at, at, len, kind, op, comm, stream) }
        })
    }

    /// Begins to give all processes the values of `root`, of any dtype. The result has the shape of
    /// the tensor.
    ///
    /// # Errors
    /// The tensor is not of this device, or the communicator failed.
    pub fn broadcast(&self, tensor: &AnyTensor, root: usize) -> Result<Reduction> {
        let values = self.flatten(std::slice::from_ref(tensor), tensor.dtype())?;
        let values = values.reshape(tensor.shape());
        let bytes = values.meta().bytes();
        self.start("ncclBroadcast", values, |at, comm, stream| {
            // SAFETY: as many bytes lie there, which this call may write.
            unsafe { (self.api.broadcast)(at, at, bytes, BYTE, root as c_int, comm, stream) }
        })
    }

    /// Waits, on the host, until all that was begun is done: on a thread beside the one that begins,
    /// as what guards it.
    ///
    /// # Errors
    /// NCCL reports an error, or it is not done in time. What was begun is given up then, so that the
    /// device does not wait for ever, and whatever waits for the device later is an error too.
    pub fn wait(&self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let done = Event::mark_on(&self.stream)?;
        let failed = loop {
            if done.is_done()? {
                return Ok(());
            }
            if let Err(error) = self.check() {
                break error;
            }
            if Instant::now() > deadline {
                let seconds = timeout.as_secs_f64();
                break error(format!(
                    "{} was not done in {seconds:.1} s: the other processes ended, hang, or called \
                     something else",
                    self.device.name()
                ));
            }
            sleep(PAUSE);
        };
        self.gpu().lose(failed.to_string());
        self.abort();
        Err(failed)
    }

    fn gpu(&self) -> &gpu::Device {
        self.stream.device()
    }

    /// The error that NCCL met after a call had returned.
    fn check(&self) -> Result<()> {
        let comm = self.comm.lock().unwrap_or_else(PoisonError::into_inner);
        let mut code = 0;
        let Some(comm) = *comm else { return Ok(()) };
        // SAFETY: the communicator lives while it is locked; the call writes one integer.
        let asked = unsafe { (self.api.async_error)(without_provenance_mut(comm), &mut code) };
        self.api.check("ncclCommGetAsyncError", asked)?;
        self.api.check("an operation of NCCL", code)
    }

    fn abort(&self) {
        let mut comm = self.comm.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(comm), Ok(())) = (comm.take(), self.gpu().make_current()) {
            // SAFETY: nobody has the communicator any more. Its memory is gone whatever it returns.
            unsafe { (self.api.abort)(without_provenance_mut(comm)) };
        }
    }

    /// The values of tensors, one after another in memory that nobody else has.
    fn flatten(&self, tensors: &[AnyTensor], dtype: DType) -> Result<AnyTensor> {
        let is_wrong = |x: &&AnyTensor| x.dtype() != dtype || x.device() != self.device;
        if let Some(wrong) = tensors.iter().find(is_wrong) {
            let (found, device) = (wrong.dtype(), wrong.device().name());
            let expected = self.device.name();
            return Err(error(format!(
                "a tensor is of {found} on {device}, where {dtype} on {expected} is wanted"
            )));
        }
        let len: usize = tensors.iter().map(AnyTensor::num_elements).sum();
        let meta = Meta::new(Shape::from([len]), dtype);
        let values = AnyTensor::create(Fill { value: Scalar::Int(0), meta }, self.device);
        let mut to = address(&values);
        for tensor in tensors {
            let tensor = tensor.contiguous();
            let bytes = tensor.meta().bytes();
            if bytes > 0 {
                // SAFETY: both are tensors of the device, and the new one has room for the values of
                // all others.
                unsafe { self.gpu().copy(address(&tensor), to, bytes)? };
            }
            to += bytes as u64;
        }
        Ok(values)
    }

    /// Starts a call after the kernels so far. `values` is nobody else's.
    fn start(
        &self,
        name: &str,
        values: AnyTensor,
        call: impl FnOnce(*mut c_void, Handle, Handle) -> c_int,
    ) -> Result<Reduction> {
        let before = Event::mark(self.stream.device())?;
        let comm = self.comm.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = || error("the communicator is of no more use since an earlier error");
        let comm = without_provenance_mut((*comm).ok_or_else(gone)?);
        let at = without_provenance_mut(address(&values) as usize);
        let done = self.gpu().outside(|| {
            before.join_on(&self.stream)?;
            self.gpu().make_current()?;
            self.api.check(name, call(at, comm, self.stream.handle()))?;
            Event::mark_on(&self.stream)
        })?;
        Ok(Reduction { done, values: Some(values) })
    }
}

impl std::fmt::Debug for Communicator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Communicator({})", self.device.name())
    }
}

impl Drop for Communicator {
    /// Waits for no other process: what is still under way is given up.
    fn drop(&mut self) {
        self.abort();
    }
}

/// Values on their way between processes.
#[must_use = "it is finished to get the values"]
pub struct Reduction {
    done: Event,
    // None once it is finished.
    values: Option<AnyTensor>,
}

impl Reduction {
    /// The values, for kernels that are started from now on: they wait for them, the host does not.
    ///
    /// # Errors
    /// The device failed.
    pub fn finish(mut self) -> Result<AnyTensor> {
        self.done.join()?;
        Ok(self.values.take().expect("it is finished once"))
    }
}

impl Drop for Reduction {
    /// Who gets the memory next comes after the reduction.
    fn drop(&mut self) {
        if self.values.is_some() {
            // An error is that of the device, which whoever comes next will meet, too.
            let _ = self.done.join();
        }
    }
}
