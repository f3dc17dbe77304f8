//! From source to machine code by NVRTC, which needs no GPU.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::null;

use crate::NoCuda;
use crate::library::Library::Nvrtc;

/// NVRTC_ERROR_INVALID_OPTION: an architecture that this NVRTC does not know.
const INVALID_OPTION: c_int = 5;

/// A source that begins with this line is compiled without joining a product and a sum into one
/// instruction, which would round once.
pub(crate) const EXACT: &str = "// --fmad=false\n";

/// What came out of the compiler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cubin {
    /// An ELF file for one architecture.
    pub code: Vec<u8>,
    /// What the compiler and the assembler said: registers, spills, shared memory.
    pub log: String,
}

/// Why there is no machine code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// NVRTC itself can not be used.
    #[error(transparent)]
    NoCompiler(#[from] NoCuda),
    /// This NVRTC is too old for the GPU.
    #[error("NVRTC {}.{} does not know the architecture {architecture}; install a newer one",
        version.0, version.1)]
    UnknownArchitecture {
        /// What was asked for, such as `sm_90`.
        architecture: String,
        /// The version of NVRTC.
        version: (u32, u32),
    },
    /// The source was refused.
    #[error("the kernel {kernel} does not compile for {architecture}: {message}\n{log}")]
    Refused {
        /// The name of the kernel.
        kernel: String,
        /// What it was compiled for.
        architecture: String,
        /// The error of NVRTC.
        message: String,
        /// Its messages.
        log: String,
    },
}

/// The version of NVRTC: major and minor.
pub fn compiler_version() -> Result<(u32, u32), NoCuda> {
    Nvrtc.version()
}

/// Compiles `source` to machine code for `architecture`, such as `sm_90`.
///
/// # Errors
/// NVRTC is missing, or does not know the architecture, or refuses the source.
pub fn compile(name: &str, source: &str, architecture: &str) -> Result<Cubin, CompileError> {
    let refused = |message: String, log: String| CompileError::Refused {
        kernel: name.into(),
        architecture: architecture.into(),
        message,
        log,
    };
    let text = |text: &str| {
        CString::new(text).map_err(|_| refused("it holds a zero byte".into(), String::new()))
    };
    let program = Compilation::new(&text(source)?, &text(name)?)?
        .map_err(|code| refused(message(code), String::new()))?;
    let options = [
        format!("--gpu-architecture={architecture}"),
        "--std=c++17".into(),
        // Registers, spills and shared memory go into the log.
        "--ptxas-options=-v".into(),
        format!("--fmad={}", !source.starts_with(EXACT)),
    ];
    let options: Result<Vec<CString>, _> = options.iter().map(|option| text(option)).collect();
    match program.compile(&options?)? {
        0 => {}
        INVALID_OPTION => {
            let architecture = architecture.into();
            return Err(CompileError::UnknownArchitecture {
                architecture,
                version: Nvrtc.version()?,
            });
        }
        code => return Err(refused(message(code), program.log()?)),
    }
    let code = program.bytes("nvrtcGetCUBINSize", "nvrtcGetCUBIN")?;
    Ok(Cubin { code, log: program.log()? })
}

/// A program of NVRTC, destroyed when dropped.
struct Compilation(*mut c_void);

impl Compilation {
    fn new(source: &CStr, name: &CStr) -> Result<Result<Self, c_int>, NoCuda> {
        type F = unsafe extern "C" fn(
            *mut *mut c_void,
            *const c_char,
            *const c_char,
            c_int,
            *const *const c_char,
            *const *const c_char,
        ) -> c_int;
        let mut program = std::ptr::null_mut();
        // SAFETY: this is the type of nvrtcCreateProgram, which copies both strings; there are no
        // headers.
        let code = unsafe {
            let create = Nvrtc.function::<F>("nvrtcCreateProgram")?;
            create(&mut program, source.as_ptr(), name.as_ptr(), 0, null(), null())
        };
        Ok(if code == 0 { Ok(Self(program)) } else { Err(code) })
    }

    fn compile(&self, options: &[CString]) -> Result<c_int, NoCuda> {
        type F = unsafe extern "C" fn(*mut c_void, c_int, *const *const c_char) -> c_int;
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        // SAFETY: this is the type of nvrtcCompileProgram, which reads that many strings.
        Ok(unsafe {
            let compile = Nvrtc.function::<F>("nvrtcCompileProgram")?;
            compile(self.0, options.len() as c_int, options.as_ptr())
        })
    }

    fn log(&self) -> Result<String, NoCuda> {
        let mut log = self.bytes("nvrtcGetProgramLogSize", "nvrtcGetProgramLog")?;
        while log.last() == Some(&0) {
            log.pop();
        }
        Ok(String::from_utf8_lossy(&log).into_owned())
    }

    /// What one of the pairs of functions gives: how much, then all of it.
    fn bytes(&self, size: &'static str, get: &'static str) -> Result<Vec<u8>, NoCuda> {
        type Size = unsafe extern "C" fn(*mut c_void, *mut usize) -> c_int;
        type Get = unsafe extern "C" fn(*mut c_void, *mut c_char) -> c_int;
        let mut count = 0;
        // SAFETY: these are the types of both functions; the second writes as many bytes as the
        // first has counted. They fail only for null pointers.
        unsafe {
            Nvrtc.function::<Size>(size)?(self.0, &mut count);
            let mut bytes = vec![0u8; count];
            if count > 0 {
                Nvrtc.function::<Get>(get)?(self.0, bytes.as_mut_ptr().cast());
            }
            Ok(bytes)
        }
    }
}

impl Drop for Compilation {
    fn drop(&mut self) {
        type F = unsafe extern "C" fn(*mut *mut c_void) -> c_int;
        // SAFETY: this is the type of nvrtcDestroyProgram; the program is used no more.
        unsafe {
            if let Ok(destroy) = Nvrtc.function::<F>("nvrtcDestroyProgram") {
                destroy(&mut self.0);
            }
        }
    }
}

/// What NVRTC says about a result code.
fn message(code: c_int) -> String {
    type F = unsafe extern "C" fn(c_int) -> *const c_char;
    // SAFETY: this is the type of nvrtcGetErrorString, which gives a static string for any code.
    unsafe {
        match Nvrtc.function::<F>("nvrtcGetErrorString").map(|describe| describe(code)) {
            Ok(text) if !text.is_null() => CStr::from_ptr(text).to_string_lossy().into_owned(),
            _ => format!("error {code}"),
        }
    }
}
