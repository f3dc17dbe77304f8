//! A GPU as what runs kernels: the calls of the driver, by name, so that none can panic.

mod event;
mod graph;
mod stream;
mod upload;

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::path::PathBuf;
use std::ptr::{null_mut, without_provenance_mut};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, OnceLock, PoisonError};

use kiln_tensor::{Error, Result};

use crate::blaslt::BlasLt;
use crate::cache::Cache;
use crate::compile::{CompileError, compile, compiler_version};
use crate::driver::{check, init};
use crate::gemm::{Addresses, Gemm, workspace_bytes};
use crate::library::Library::Driver;
use crate::program::Program;
use crate::recorder::Recorder;
use crate::runtime::{Launch, Runtime};
use crate::{Gpu, NoCuda};

pub(crate) use event::Event;
pub(crate) use graph::Graph;
pub(crate) use stream::Stream;
use upload::Staging;

/// What the driver calls a context, a stream, a module, a function: pointers that mean nothing here.
pub(crate) type Handle = *mut c_void;
/// An address on the device.
type Address = u64;

/// Declares the functions of the driver that are used, and finds them all at once.
macro_rules! api {
    ($($field:ident = $name:literal ($($argument:ty),*);)*) => {
        /// The functions of the driver.
        #[derive(Clone, Copy)]
        struct Api {
            $($field: unsafe extern "C" fn($($argument),*) -> c_int,)*
        }

        impl Api {
            fn load() -> Result<Self, NoCuda> {
                // SAFETY: these are the types that `cuda.h` gives to these functions.
                unsafe { Ok(Self { $($field: Driver.function($name)?,)* }) }
            }
        }
    };
}

api! {
    device_get = "cuDeviceGet" (*mut c_int, c_int);
    context_retain = "cuDevicePrimaryCtxRetain" (*mut Handle, c_int);
    context_set = "cuCtxSetCurrent" (Handle);
    stream_create = "cuStreamCreate" (*mut Handle, c_uint);
    stream_destroy = "cuStreamDestroy_v2" (Handle);
    stream_wait = "cuStreamWaitEvent" (Handle, Handle, c_uint);
    stream_synchronize = "cuStreamSynchronize" (Handle);
    mem_alloc = "cuMemAlloc_v2" (*mut Address, usize);
    mem_free = "cuMemFree_v2" (Address);
    mem_info = "cuMemGetInfo_v2" (*mut usize, *mut usize);
    to_device = "cuMemcpyHtoDAsync_v2" (Address, *const c_void, usize, Handle);
    to_host = "cuMemcpyDtoHAsync_v2" (*mut c_void, Address, usize, Handle);
    on_device = "cuMemcpyDtoDAsync_v2" (Address, Address, usize, Handle);
    host_alloc = "cuMemHostAlloc" (*mut *mut c_void, usize, c_uint);
    event_create = "cuEventCreate" (*mut Handle, c_uint);
    event_record = "cuEventRecord" (Handle, Handle);
    event_query = "cuEventQuery" (Handle);
    event_synchronize = "cuEventSynchronize" (Handle);
    event_elapsed = "cuEventElapsedTime_v2" (*mut f32, Handle, Handle);
    event_destroy = "cuEventDestroy_v2" (Handle);
    capture_begin = "cuStreamBeginCapture_v2" (Handle, c_uint);
    capture_end = "cuStreamEndCapture" (Handle, *mut Handle);
    graph_nodes = "cuGraphGetNodes" (Handle, *mut Handle, *mut usize);
    graph_instantiate = "cuGraphInstantiateWithFlags" (*mut Handle, Handle, u64);
    graph_update = "cuGraphExecUpdate_v2" (Handle, Handle, *mut c_void);
    graph_launch = "cuGraphLaunch" (Handle, Handle);
    graph_destroy = "cuGraphDestroy" (Handle);
    graph_exec_destroy = "cuGraphExecDestroy" (Handle);
    module_load = "cuModuleLoadData" (*mut Handle, *const c_void);
    module_function = "cuModuleGetFunction" (*mut Handle, Handle, *const c_char);
    launch_kernel = "cuLaunchKernel" (
        Handle, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Handle, *mut *mut c_void,
        *mut *mut c_void
    );
}

/// CU_STREAM_NON_BLOCKING: does not wait for the stream that others use by default.
const NON_BLOCKING: c_uint = 1;

/// One GPU with one stream, on which everything but uploads happens in order.
pub(crate) struct Device {
    name: String,
    gpu: Gpu,
    api: Api,
    // Handles as numbers, which any thread may use.
    context: usize,
    stream: usize,
    /// Functions that are loaded, by the names of their programs.
    functions: Mutex<HashMap<String, usize>>,
    cache: Option<Cache>,
    /// How much was started on the stream.
    started: AtomicU64,
    /// What uploads need, once the first one asked for it; none if there is no pinned memory.
    staging: OnceLock<Option<Staging>>,
    /// cuBLASLt, once the first product asked for it; none if it is not there.
    blas: OnceLock<Option<BlasLt>>,
    /// While work is recorded: kernels and products are, and all else is done [`Device::outside`].
    recording: Mutex<Option<Recorder<Graph>>>,
    /// Why nothing that is read from the device can be trusted any more.
    lost: OnceLock<String>,
}

fn handle(number: usize) -> Handle {
    without_provenance_mut(number)
}

impl Device {
    /// The GPU of this number.
    ///
    /// # Errors
    /// It is not there, or can not be used.
    pub fn new(index: usize) -> Result<Self, NoCuda> {
        let gpus = crate::probe()?;
        let found = gpus.len();
        let gpu = gpus.into_iter().nth(index).ok_or(NoCuda::NoSuchDevice { index, found })?;
        init()?;
        let api = Api::load()?;
        let (mut device, mut context, mut stream) = (0, null_mut(), null_mut());
        // SAFETY: each call writes one handle.
        unsafe {
            check("cuDeviceGet", (api.device_get)(&mut device, index as c_int))?;
            check("cuDevicePrimaryCtxRetain", (api.context_retain)(&mut context, device))?;
            check("cuCtxSetCurrent", (api.context_set)(context))?;
            check("cuStreamCreate", (api.stream_create)(&mut stream, NON_BLOCKING))?;
        }
        Ok(Self {
            name: format!("cuda:{index}"),
            gpu,
            api,
            context: context.addr(),
            stream: stream.addr(),
            functions: Mutex::default(),
            cache: Cache::of_user(),
            started: AtomicU64::default(),
            staging: OnceLock::new(),
            blas: OnceLock::new(),
            recording: Mutex::default(),
            lost: OnceLock::new(),
        })
    }

    /// Runs a call of the driver on this device.
    fn call(&self, name: &'static str, call: impl FnOnce(&Api, Handle) -> c_int) -> Result<()> {
        // SAFETY: the context lives as long as the process.
        let current = unsafe { (self.api.context_set)(handle(self.context)) };
        let result = check("cuCtxSetCurrent", current)
            .and_then(|()| check(name, call(&self.api, handle(self.stream))));
        result.map_err(|error| Error::Device { op: "cuda", what: error.to_string() })
    }

    /// The function of a program, compiled and loaded on its first use.
    fn function(&self, program: &Program) -> Result<Handle> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&function) = functions.get(&program.name) {
            return Ok(handle(function));
        }
        let function = self.outside(|| self.load(program))?;
        functions.insert(program.name.clone(), function.addr());
        Ok(function)
    }

    fn load(&self, program: &Program) -> Result<Handle> {
        let source = program.source();
        let error = |error: CompileError| Error::Device { op: "cuda", what: error.to_string() };
        let (major, minor) = self.gpu.compute_capability;
        let compiler = compiler_version().map_err(|missing| error(missing.into()))?;
        // An NVRTC that does not know the newest of a generation knows the first.
        let exact = format!("sm_{major}{minor}");
        let first = format!("sm_{major}0");
        let mut last = None;
        for architecture in [&exact, &first] {
            let file = self.cache.as_ref().map(|cache| cache.file(&source, architecture, compiler));
            if let Some(function) = self.load_cached(program, file.as_ref()) {
                return Ok(function);
            }
            match compile(&program.name, &source, architecture) {
                Ok(cubin) => {
                    if let (Some(cache), Some(file)) = (&self.cache, &file) {
                        cache.write(file, &cubin.code);
                    }
                    return self.load_code(program, &cubin.code);
                }
                Err(unknown @ CompileError::UnknownArchitecture { .. }) => last = Some(unknown),
                Err(other) => return Err(error(other)),
            }
        }
        Err(error(last.expect("the loop tries something")))
    }

    /// From the cache, unless there is nothing or the driver refuses it.
    fn load_cached(&self, program: &Program, file: Option<&PathBuf>) -> Option<Handle> {
        let (cache, file) = (self.cache.as_ref()?, file?);
        let code = cache.read(file)?;
        let loaded = self.load_code(program, &code);
        if loaded.is_err() {
            cache.remove(file);
        }
        loaded.ok()
    }

    fn wait(&self) -> Result<()> {
        // SAFETY: the stream lives as long as the device.
        self.call("cuStreamSynchronize", |api, stream| unsafe {
            (api.stream_synchronize)(stream)
        })?;
        match self.lost.get() {
            Some(what) => Err(Error::Device { op: "cuda", what: what.clone() }),
            None => Ok(()),
        }
    }

    /// From now on all that waits for the device is told this: a kernel was ended before it had
    /// written its results, and others have read them.
    pub fn lose(&self, what: String) {
        // The first reason is the one.
        let _ = self.lost.set(what);
    }

    /// Makes the device the one that libraries use on this thread.
    pub fn make_current(&self) -> Result<()> {
        self.call("cuCtxSetCurrent", |_, _| 0)
    }

    /// Copies from one place of the device to another, in the order of kernels.
    ///
    /// # Safety
    /// As many bytes are reserved at both addresses, and do not overlap.
    pub unsafe fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<()> {
        self.outside(|| {
            // SAFETY: passed on to the caller.
            self.call("cuMemcpyDtoDAsync", |api, stream| unsafe {
                (api.on_device)(to, from, bytes, stream)
            })
        })?;
        self.has_started();
        Ok(())
    }

    /// cuBLASLt with its workspace; without one if there is no room for it.
    fn start_blas(&self) -> Option<BlasLt> {
        let bytes = workspace_bytes(self.gpu.compute_capability);
        let workspace = self.alloc(bytes).map_or((0, 0), |address| (address as u64, bytes));
        BlasLt::new(workspace).ok()
    }

    fn load_code(&self, program: &Program, code: &[u8]) -> Result<Handle> {
        let (mut module, mut function) = (null_mut(), null_mut());
        let name = CString::new(program.name.as_str()).expect("names of kernels are words");
        // SAFETY: the code is an ELF file, which tells its own length; the driver copies it.
        self.call("cuModuleLoadData", |api, _| unsafe {
            (api.module_load)(&mut module, code.as_ptr().cast())
        })?;
        // SAFETY: the module was just loaded, and is never unloaded.
        self.call("cuModuleGetFunction", |api, _| unsafe {
            (api.module_function)(&mut function, module, name.as_ptr())
        })?;
        Ok(function)
    }
}

impl Runtime for Device {
    fn name(&self) -> &str {
        &self.name
    }

    fn compute_capability(&self) -> (u32, u32) {
        self.gpu.compute_capability
    }

    fn alloc(&self, bytes: usize) -> Option<usize> {
        let mut address = 0;
        let result = self.outside(|| {
            // SAFETY: the call writes one address.
            self.call("cuMemAlloc", |api, _| unsafe { (api.mem_alloc)(&mut address, bytes) })
        });
        result.ok().map(|()| address as usize)
    }

    unsafe fn free(&self, address: usize, _: usize) {
        // An error could only be that of an earlier kernel, which the next synchronisation reports.
        let _ = self.outside(|| {
            // SAFETY: passed on to the caller.
            self.call("cuMemFree", |api, _| unsafe { (api.mem_free)(address as Address) })
        });
    }

    fn started(&self) -> u64 {
        self.count()
    }

    fn mark(&self) {
        self.mark();
    }

    unsafe fn upload(&self, source: &[u8], address: usize, after: u64) -> Result<()> {
        // SAFETY: passed on to the caller.
        unsafe { self.send(source, address, after) }
    }

    unsafe fn download(&self, address: usize, target: &mut [u8]) -> Result<()> {
        let (to, bytes) = (target.as_mut_ptr().cast(), target.len());
        self.outside(|| {
            // SAFETY: passed on to the caller. The target is borrowed until the stream is done.
            self.call("cuMemcpyDtoHAsync", |api, stream| unsafe {
                (api.to_host)(to, address as Address, bytes, stream)
            })?;
            self.wait()
        })
    }

    unsafe fn launch(&self, program: &Program, launch: Launch, params: &[u8]) -> Result<()> {
        let function = self.function(program)?;
        let [x, y, z] = launch.grid;
        let mut arguments = [params.as_ptr().cast_mut().cast::<c_void>()];
        // SAFETY: the kernel takes one parameter, whose bytes the driver copies; the rest is the
        // care of the caller.
        self.call("cuLaunchKernel", |api, stream| unsafe {
            let arguments = arguments.as_mut_ptr();
            (api.launch_kernel)(
                function,
                x,
                y,
                z,
                launch.threads,
                1,
                1,
                0,
                stream,
                arguments,
                null_mut(),
            )
        })?;
        self.has_started();
        Ok(())
    }

    unsafe fn gemm(&self, gemm: &Gemm, at: Addresses) -> Result<bool> {
        self.make_current()?;
        let Some(blas) = self.blas.get_or_init(|| self.start_blas()) else { return Ok(false) };
        // SAFETY: passed on to the caller.
        let result = unsafe { blas.matmul(gemm, at, handle(self.stream)) };
        self.has_started();
        result
    }

    fn sync(&self) -> Result<()> {
        self.outside(|| self.wait())
    }

    fn memory(&self) -> (usize, usize) {
        let (mut free, mut all) = (0, 0);
        // SAFETY: the call writes two numbers.
        let result =
            self.call("cuMemGetInfo", |api, _| unsafe { (api.mem_info)(&mut free, &mut all) });
        result.map_or((0, 0), |()| (free, all))
    }
}
