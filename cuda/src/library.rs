//! NVIDIA's libraries, found and called without a panic when something is missing.
//!
//! The functions of the bindings panic where a library or a function is absent, and take every
//! result code for one that they know. The few calls of the probe therefore go by name and plain
//! integers.

use std::ffi::c_int;
use std::sync::OnceLock;

use cudarc::{cublaslt, driver, nvrtc};

use crate::{NoCuda, loader};

/// The version of a library: major and minor.
pub(crate) type Version = (u32, u32);

/// A library of CUDA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Library {
    Driver,
    Nvrtc,
    CublasLt,
    Nccl,
}

/// NCCL, for as long as the process lives. The bindings do not know the name of its file.
fn nccl() -> Option<&'static libloading::Library> {
    static OPENED: OnceLock<Option<libloading::Library>> = OnceLock::new();
    OPENED.get_or_init(|| loader::open_first(Library::Nccl.stem(), &NCCL_FILES)).as_ref()
}

const NCCL_FILES: [&str; 2] = ["libnccl.so.2", "libnccl.so"];

impl Library {
    /// Its name without prefix and suffix.
    pub(crate) fn stem(self) -> &'static str {
        match self {
            Self::Driver => "cuda",
            Self::Nvrtc => "nvrtc",
            Self::CublasLt => "cublasLt",
            Self::Nccl => "nccl",
        }
    }

    fn name(self) -> String {
        format!("lib{}", self.stem())
    }

    /// The file names under which it is looked for, in this order.
    fn looked_for(self) -> Vec<String> {
        if self == Self::Nccl {
            return NCCL_FILES.map(String::from).into();
        }
        let names = cudarc::get_lib_name_candidates(self.stem());
        // Names like libcuda64_12.so are those of Windows and tell nobody else anything.
        names.into_iter().filter(|name| cfg!(windows) || !name.contains("64")).collect()
    }

    /// Fails if the library cannot be loaded.
    pub(crate) fn require(self) -> Result<(), NoCuda> {
        loader::load();
        // SAFETY: this loads NVIDIA's libraries, whose initializers have no preconditions.
        let present = unsafe {
            match self {
                Self::Driver => driver::sys::is_culib_present(),
                Self::Nvrtc => nvrtc::sys::is_culib_present(),
                Self::CublasLt => cublaslt::sys::is_culib_present(),
                Self::Nccl => nccl().is_some(),
            }
        };
        if present { Ok(()) } else { Err(self.missing()) }
    }

    /// The error for the case that the library is not there.
    pub(crate) fn missing(self) -> NoCuda {
        let looked_for = self.looked_for();
        let install_hint = match self {
            Self::Driver => return NoCuda::NoDriverLibrary { looked_for },
            Self::Nvrtc => {
                "install the CUDA toolkit 13, or `pip install nvidia-cuda-nvrtc`; KILN_CUDA_LIB may \
                 name the folder that has it"
            }
            Self::CublasLt => {
                "install the CUDA toolkit 13, or `pip install nvidia-cublas`; KILN_CUDA_LIB may \
                 name the folder that has it"
            }
            Self::Nccl => {
                "`pip install nvidia-nccl-cu13`; KILN_CUDA_LIB may name the folder that has it"
            }
        };
        let folders = loader::load().folders.clone();
        NoCuda::MissingLibrary { name: self.name(), looked_for, folders, install_hint }
    }

    /// The function called `name`.
    ///
    /// # Safety
    /// `F` must be the type of a pointer to that function.
    pub(crate) unsafe fn function<F: Copy>(self, name: &'static str) -> Result<F, NoCuda> {
        self.require()?;
        // SAFETY: the library is there, as the line above made sure; the type is the caller's care.
        let function = unsafe {
            match self {
                Self::Nccl => {
                    let nccl = nccl().ok_or_else(|| self.missing())?;
                    nccl.get::<F>(name.as_bytes()).map(|function| *function)
                }
                Self::Driver => {
                    driver::sys::culib().get::<F>(name.as_bytes()).map(|function| *function)
                }
                Self::Nvrtc => {
                    nvrtc::sys::culib().get::<F>(name.as_bytes()).map(|function| *function)
                }
                Self::CublasLt => {
                    cublaslt::sys::culib().get::<F>(name.as_bytes()).map(|function| *function)
                }
            }
        };
        function.map_err(|_| NoCuda::MissingFunction { library: self.name(), function: name })
    }

    /// The version that the library gives itself, if it does.
    pub(crate) fn version(self) -> Result<Version, NoCuda> {
        match self {
            Self::Driver => {
                type F = unsafe extern "C" fn(*mut c_int) -> c_int;
                let mut version = 0;
                // SAFETY: this is the type of cuDriverGetVersion, which writes one integer.
                let code = unsafe { self.function::<F>("cuDriverGetVersion")?(&mut version) };
                crate::driver::check("cuDriverGetVersion", code)?;
                Ok((version as u32 / 1000, version as u32 % 1000 / 10))
            }
            Self::Nvrtc => {
                type F = unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int;
                let (mut major, mut minor) = (0, 0);
                // SAFETY: this is the type of nvrtcVersion, which writes two integers. It can fail
                // only for null pointers.
                unsafe { self.function::<F>("nvrtcVersion")?(&mut major, &mut minor) };
                Ok((major as u32, minor as u32))
            }
            Self::CublasLt => {
                type F = unsafe extern "C" fn() -> usize;
                // SAFETY: this is the type of cublasLtGetVersion, which takes nothing.
                let version = unsafe { self.function::<F>("cublasLtGetVersion")?() };
                Ok((version as u32 / 10_000, version as u32 / 100 % 100))
            }
            Self::Nccl => {
                type F = unsafe extern "C" fn(*mut c_int) -> c_int;
                let mut version = 0;
                // SAFETY: this is the type of ncclGetVersion, which writes one integer. It can fail
                // only for a null pointer.
                unsafe { self.function::<F>("ncclGetVersion")?(&mut version) };
                Ok((version as u32 / 10_000, version as u32 / 100 % 100))
            }
        }
    }
}
