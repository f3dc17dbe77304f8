//! The backend: memory, transfers, and which kernel an operation gets.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_tensor::op::Op;
use kiln_tensor::{AnyTensor, Backend, Error, MemoryStats, PendingUpdate, Result};

use crate::alloc::{Allocator, RawAlloc};
use crate::gemm::{Addresses, Gemm};
use crate::ops;
use crate::params::{Fault, Params};
use crate::program::Program;
use crate::runtime::{Launch, Runtime};
use crate::staging::IN_LINE;

/// Runs operations by the kernels of this crate, on whatever runs these.
pub struct CudaBackend {
    runtime: Arc<dyn Runtime>,
    memory: Arc<Mutex<Allocator>>,
    /// Where kernels write what went wrong.
    fault: usize,
    /// The names of operations, by the number that kernels report.
    operations: Mutex<Vec<&'static str>>,
    /// Waits after each kernel, so that an error names the one that failed.
    synchronous: bool,
    /// Asks the device for each tensor, so that its own tools see where one ends.
    uncached: bool,
}

/// The device's own allocation as the source of segments.
struct Raw<'a>(&'a dyn Runtime);

impl RawAlloc for Raw<'_> {
    fn alloc(&self, bytes: usize) -> Option<usize> {
        self.0.alloc(bytes)
    }

    fn free(&self, address: usize, bytes: usize) {
        // SAFETY: the allocator gives back each segment once, after the last block in it.
        unsafe { self.0.free(address, bytes) }
    }
}

fn is_set(switch: &str) -> bool {
    std::env::var_os(switch).is_some_and(|value| value == "1")
}

impl CudaBackend {
    /// A backend on `runtime`. With KILN_CUDA_SYNC=1 in the environment it waits after each kernel;
    /// with KILN_CUDA_NO_CACHE=1 it keeps no memory for later, for compute-sanitizer and its like.
    ///
    /// # Errors
    /// The device has no memory left.
    pub fn new(runtime: impl Runtime) -> Result<Self> {
        Self::shared(Arc::new(runtime), Arc::default())
    }

    /// A backend whose device and memory others look at too.
    pub(crate) fn shared(runtime: Arc<dyn Runtime>, memory: Arc<Mutex<Allocator>>) -> Result<Self> {
        let bytes = size_of::<Fault>();
        let no_memory =
            || Error::Memory { device: runtime.name().into(), bytes, usage: String::new() };
        let fault = runtime.alloc(bytes).ok_or_else(no_memory)?;
        // SAFETY: as many bytes were just reserved.
        unsafe { runtime.upload(Fault::NONE.bytes(), fault, u64::MAX)? };
        Ok(Self {
            runtime,
            memory,
            fault,
            operations: Mutex::default(),
            synchronous: is_set("KILN_CUDA_SYNC"),
            uncached: is_set("KILN_CUDA_NO_CACHE"),
        })
    }

    fn allocator(&self) -> MutexGuard<'_, Allocator> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error that a kernel reported since the last call, after all kernels are done.
    fn take_fault(&self) -> Result<()> {
        let mut fault = Fault::NONE;
        // SAFETY: the memory at `fault` is of this size, and is never given back.
        unsafe { self.runtime.download(self.fault, fault.bytes_mut())? };
        if fault.code == Fault::NONE.code {
            return Ok(());
        }
        // SAFETY: as above.
        unsafe { self.runtime.upload(Fault::NONE.bytes(), self.fault, u64::MAX)? };
        let operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        let op = operations.get(fault.operation as usize).copied().unwrap_or("kernel");
        Err(match fault.code {
            Fault::INDEX => Error::Index { op, index: fault.value, size: fault.limit as usize },
            Fault::COUNT => {
                let (found, expected) = (fault.value, fault.limit);
                let rule = format!("{expected} elements were counted, and {found} are not zero");
                Error::Argument { op, rule }
            }
            Fault::WEIGHT => {
                let weight = f64::from_bits(fault.value as u64);
                let rule = format!("weights must be finite and not negative, found {weight}");
                Error::Argument { op, rule }
            }
            Fault::TOTAL => {
                let total = f64::from_bits(fault.value as u64);
                let rule =
                    format!("the sum of the weights must be positive and finite, found {total}");
                Error::Argument { op, rule }
            }
            Fault::FEW => {
                let (found, wanted) = (fault.value, fault.limit);
                let rule =
                    format!("{wanted} samples can not be drawn from {found} weights above zero");
                Error::Argument { op, rule }
            }
            _ => Error::Argument { op, rule: "division by zero".into() },
        })
    }
}

impl Backend for CudaBackend {
    fn name(&self) -> &str {
        self.runtime.name()
    }

    fn alloc(&self, bytes: usize) -> Option<usize> {
        if self.uncached {
            return self.runtime.alloc(bytes);
        }
        self.allocator().alloc(&Raw(&*self.runtime), bytes)
    }

    unsafe fn free(&self, address: usize, bytes: usize) {
        if self.uncached {
            // SAFETY: passed on to the caller.
            return unsafe { self.runtime.free(address, bytes) };
        }
        // All that uses the memory was started and counted by whoever had it.
        let uploaded = self.allocator().free(address, self.runtime.started());
        if uploaded {
            self.runtime.mark();
        }
    }

    unsafe fn upload(&self, source: &[u8], address: usize) -> Result<()> {
        if source.is_empty() {
            return Ok(());
        }
        // After all that was started, where it comes in line with that anyway, or nobody knows more.
        let after = match source.len() > IN_LINE && !self.uncached {
            true => self.allocator().upload(address),
            false => u64::MAX,
        };
        // SAFETY: passed on to the caller: tensors get their values before a kernel uses them.
        unsafe { self.runtime.upload(source, address, after) }
    }

    unsafe fn download(&self, address: usize, target: &mut [u8]) -> Result<()> {
        if !target.is_empty() {
            // SAFETY: passed on to the caller.
            unsafe { self.runtime.download(address, target)? };
        }
        self.take_fault()
    }

    fn supports(&self, op: &Op) -> bool {
        ops::supports(op)
    }

    fn execute(&self, op: &Op, inputs: &[&AnyTensor], outputs: &[AnyTensor]) -> Result<()> {
        ops::execute(&Kernels { backend: self, op: op.spec().name() }, op, inputs, outputs)
    }

    fn update_all(&self, updates: &[PendingUpdate]) -> Result<()> {
        ops::update_all(&Kernels { backend: self, op: "update" }, updates)
    }

    fn sync(&self) -> Result<()> {
        self.runtime.sync()?;
        self.take_fault()
    }

    fn memory(&self) -> MemoryStats {
        self.allocator().stats()
    }

    fn usage(&self) -> Option<String> {
        let (free, all) = self.runtime.memory();
        Some(format!("{}; {free} of {all} bytes of the device are free", self.allocator().usage()))
    }

    fn empty_cache(&self) {
        self.allocator().empty_cache(&Raw(&*self.runtime));
    }
}

impl Drop for CudaBackend {
    fn drop(&mut self) {
        self.allocator().empty_cache(&Raw(&*self.runtime));
        // SAFETY: `new` reserved it, and no kernel is started any more.
        unsafe { self.runtime.free(self.fault, size_of::<Fault>()) };
    }
}

/// What an operation needs to run its kernels.
pub(crate) struct Kernels<'a> {
    backend: &'a CudaBackend,
    /// The name of the operation in error texts.
    pub op: &'static str,
}

impl Kernels<'_> {
    /// Starts a kernel.
    ///
    /// # Safety
    /// The parameters are those of the program, and point into tensors that live now.
    pub unsafe fn launch(
        &self,
        program: &Program,
        launch: Launch,
        params: &impl Params,
    ) -> Result<()> {
        let runtime = &self.backend.runtime;
        // SAFETY: passed on to the caller.
        unsafe { runtime.launch(program, launch, params.bytes())? };
        self.started(&program.name)
    }

    /// Starts a product by the library, if it has an algorithm for it: says whether.
    ///
    /// # Safety
    /// The matrices of the product are tensors that live now.
    pub unsafe fn gemm(&self, gemm: &Gemm, at: Addresses) -> Result<bool> {
        // SAFETY: passed on to the caller.
        let started = unsafe { self.backend.runtime.gemm(gemm, at)? };
        if started {
            self.started("of cuBLASLt")?;
        }
        Ok(started)
    }

    /// Waits for the kernel just started, if each is waited for, so that an error names it.
    fn started(&self, kernel: &str) -> Result<()> {
        if !self.backend.synchronous {
            return Ok(());
        }
        let named = |error: Error| match error {
            Error::Device { what, .. } => {
                Error::Device { op: self.op, what: format!("kernel {kernel}: {what}") }
            }
            other => other,
        };
        self.backend.runtime.sync().map_err(named)?;
        self.backend.take_fault()
    }

    /// Where a kernel reports an error, and the number of this operation.
    pub fn fault(&self) -> (u64, u32) {
        self.fault_of(self.op)
    }

    /// The same for a part of this operation that is one by itself.
    pub fn fault_of(&self, op: &'static str) -> (u64, u32) {
        let mut names = self.backend.operations.lock().unwrap_or_else(PoisonError::into_inner);
        let number = names.iter().position(|&name| name == op).unwrap_or_else(|| {
            names.push(op);
            names.len() - 1
        });
        (self.backend.fault as u64, number as u32)
    }

    pub fn compute_capability(&self) -> (u32, u32) {
        self.backend.runtime.compute_capability()
    }

    /// Memory for the intermediate results of one operation. It may be given back as soon as the
    /// kernels are started: whoever gets it next runs after them.
    pub fn workspace(&self, bytes: usize) -> Result<Workspace<'_>> {
        let backend = self.backend;
        let address = Backend::alloc(backend, bytes).ok_or_else(|| {
            let usage = backend.usage().map_or(String::new(), |usage| format!(": {usage}"));
            Error::Memory { device: backend.name().into(), bytes, usage }
        })?;
        Ok(Workspace { backend, address, bytes })
    }

    /// The error for what has no kernel.
    pub fn missing(&self, what: impl std::fmt::Display) -> Error {
        let what =
            format!("{} has no kernel for {what} yet; compute it on the CPU", self.backend.name());
        Error::Device { op: self.op, what }
    }
}

/// Memory of the device for a while.
pub(crate) struct Workspace<'a> {
    backend: &'a CudaBackend,
    address: usize,
    bytes: usize,
}

impl Workspace<'_> {
    pub fn address(&self) -> u64 {
        self.address as u64
    }
}

impl Drop for Workspace<'_> {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this size, and nobody has the address any more.
        unsafe { Backend::free(self.backend, self.address, self.bytes) }
    }
}
