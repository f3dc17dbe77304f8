//! Whether a CUDA GPU can be used, and why not.

use std::ffi::c_int;
use std::fmt::Write as _;
use std::path::PathBuf;

use crate::driver::{self, Device};
use crate::library::{Library, Version};
use crate::loader;

/// The CUDA version that a driver must support: the one that the bindings are of.
const OLDEST_DRIVER: Version = (13, 0);

/// A GPU that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gpu {
    /// Its number among the GPUs that this process may use, from 0.
    pub index: usize,
    /// What NVIDIA calls it.
    pub name: String,
    /// Major and minor, such as `(9, 0)`.
    pub compute_capability: (u32, u32),
    /// All of its memory, also what is in use.
    pub memory_bytes: u64,
    /// The newest CUDA version that the driver supports, such as `(13, 0)`.
    pub driver_version: (u32, u32),
}

/// Why no CUDA GPU can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoCuda {
    /// There is no driver.
    #[error(
        "no CUDA driver: looked for {} in the search path of shared libraries; \
         install the NVIDIA driver, or give the container its GPUs (`--gpus all`)",
        looked_for.join(", ")
    )]
    NoDriverLibrary {
        /// The file names tried.
        looked_for: Vec<String>,
    },
    /// There is a driver, but no GPU that this process may use.
    #[error(
        "no CUDA device: the driver lists no GPU; \
         `nvidia-smi -L` shows those there are, CUDA_VISIBLE_DEVICES may hide some"
    )]
    NoDevice,
    /// There are GPUs, but fewer.
    #[error("there is no CUDA device {index}: the driver lists {found}, numbered from 0")]
    NoSuchDevice {
        /// What was asked for.
        index: usize,
        /// How many there are.
        found: usize,
    },
    /// The driver is older than this crate or NVRTC needs.
    #[error(
        "the CUDA driver is too old: it supports CUDA {}.{} and {}.{} is needed; \
         install a newer NVIDIA driver",
        found.0, found.1, needed.0, needed.1
    )]
    DriverTooOld {
        /// The newest CUDA version that the driver supports.
        found: (u32, u32),
        /// The oldest one that would do.
        needed: (u32, u32),
    },
    /// A library that is needed beside the driver is absent.
    #[error(
        "{name} is missing: looked for {} in the search path of shared libraries{}; {install_hint}",
        looked_for.join(", "),
        and_in(folders)
    )]
    MissingLibrary {
        /// Its name, such as `libnvrtc`.
        name: String,
        /// The file names tried.
        looked_for: Vec<String>,
        /// The folders beside the search path that exist and were looked into.
        folders: Vec<PathBuf>,
        /// How to get it.
        install_hint: &'static str,
    },
    /// A library is too old, or is not what its name says.
    #[error(
        "{library} has no function {function}; reinstall the NVIDIA driver or the CUDA toolkit"
    )]
    MissingFunction {
        /// Its name, such as `libcuda`.
        library: String,
        /// The function that it should have.
        function: &'static str,
    },
    /// The driver reported an error.
    #[error("the CUDA driver failed: {call} returned error {code}, {message}")]
    Driver {
        /// The function called.
        call: &'static str,
        /// What it returned.
        code: i32,
        /// What the driver says about that.
        message: String,
    },
}

fn and_in(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| format!(", {}", folder.display())).collect()
}

/// The CUDA GPUs that can be used, at least one, or the reason why there are none.
///
/// That needs a driver, a GPU, and NVRTC, which compiles kernels at run time. Never panics.
///
/// # Errors
/// The first reason found, in the order in which one would put things right.
pub fn probe() -> Result<Vec<Gpu>, NoCuda> {
    Library::Driver.require()?;
    driver::init()?;
    let count = driver::device_count()?;
    if count <= 0 {
        return Err(NoCuda::NoDevice);
    }
    let driver_version = Library::Driver.version()?;
    new_enough(driver_version, Library::Nvrtc.version()?)?;
    (0..count).map(|index| describe(index, driver_version)).collect()
}

/// The versions of the driver and the libraries, the files they were loaded from, and the GPUs
/// found, over several lines.
pub fn info() -> String {
    let mut text = String::new();
    let libraries = [
        ("driver", Library::Driver),
        ("NVRTC", Library::Nvrtc),
        ("cuBLASLt", Library::CublasLt),
        ("NCCL", Library::Nccl),
    ];
    // Writing into a string cannot fail.
    for (name, library) in libraries {
        let _ = match library.version() {
            Ok((major, minor)) => match loader::mapped(library.stem()) {
                Some(file) => writeln!(text, "{name:<10}{major}.{minor} ({})", file.display()),
                None => writeln!(text, "{name:<10}{major}.{minor}"),
            },
            Err(NoCuda::NoDriverLibrary { .. } | NoCuda::MissingLibrary { .. }) => {
                writeln!(text, "{name:<10}not found")
            }
            Err(reason) => writeln!(text, "{name:<10}{reason}"),
        };
    }
    match probe() {
        Ok(gpus) => {
            for Gpu { index, name, compute_capability: (major, minor), memory_bytes, .. } in gpus {
                let label = format!("GPU {index}");
                let gib = memory_bytes as f64 / f64::from(1 << 30);
                let _ = write!(text, "{label:<10}{name}, compute capability {major}.{minor}, ");
                let _ = writeln!(text, "{gib:.1} GiB");
            }
        }
        Err(reason) => {
            let _ = writeln!(text, "{:<10}none: {reason}", "GPU");
        }
    }
    text
}

fn describe(index: c_int, driver_version: Version) -> Result<Gpu, NoCuda> {
    let device = Device::new(index)?;
    Ok(Gpu {
        index: index as usize,
        name: device.name()?,
        compute_capability: device.compute_capability()?,
        memory_bytes: device.memory_bytes()?,
        driver_version,
    })
}

/// A driver runs what an NVRTC of its own major version, or of an older one, has compiled.
fn new_enough(driver: Version, nvrtc: Version) -> Result<(), NoCuda> {
    let needed = OLDEST_DRIVER.max((nvrtc.0, 0));
    if driver < needed { Err(NoCuda::DriverTooOld { found: driver, needed }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds on every machine, whatever it has.
    #[test]
    fn probes_this_machine() {
        match probe() {
            Ok(gpus) => {
                assert!(!gpus.is_empty());
                for (index, gpu) in gpus.iter().enumerate() {
                    assert_eq!(gpu.index, index);
                    assert!(!gpu.name.is_empty() && gpu.memory_bytes > 0, "{gpu:?}");
                    assert!(gpu.driver_version >= OLDEST_DRIVER, "{gpu:?}");
                }
            }
            Err(reason) => {
                eprintln!("no GPU was probed: {reason}");
                let no_driver = matches!(reason, NoCuda::NoDriverLibrary { .. });
                assert_eq!(no_driver, Library::Driver.require().is_err());
                assert!(!no_driver || reason.to_string().contains("libcuda"), "{reason}");
            }
        }
        // A second time, since the libraries are then loaded.
        assert_eq!(probe(), probe());
    }

    #[test]
    fn info_has_a_line_for_each_part() {
        let info = info();
        for (line, part) in info.lines().zip(["driver", "NVRTC", "cuBLASLt", "NCCL", "GPU"]) {
            assert!(line.starts_with(part), "{info}");
        }
        assert!(info.lines().count() >= 5, "{info}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_missing_library_is_named() {
        let text = Library::Driver.missing().to_string();
        assert!(
            text.contains("looked for libcuda.so,") && text.contains("libcuda.so.1 "),
            "{text}"
        );
        assert!(text.contains("install the NVIDIA driver"), "{text}");
        let text = Library::Nvrtc.missing().to_string();
        assert!(text.starts_with("libnvrtc is missing: looked for libnvrtc.so, "), "{text}");
        assert!(text.contains("libnvrtc.so.13") && text.contains("pip install"), "{text}");
        let text = Library::Nccl.missing().to_string();
        assert!(text.contains("looked for libnccl.so.2, "), "{text}");
        assert!(text.contains("pip install nvidia-nccl-cu13"), "{text}");
    }

    #[test]
    fn a_driver_must_not_be_older_than_nvrtc() {
        assert_eq!(new_enough((13, 0), (13, 4)), Ok(()));
        assert_eq!(new_enough((14, 1), (13, 0)), Ok(()));
        let old = |found, needed| Err(NoCuda::DriverTooOld { found, needed });
        assert_eq!(new_enough((12, 8), (12, 8)), old((12, 8), (13, 0)));
        assert_eq!(new_enough((13, 1), (14, 0)), old((13, 1), (14, 0)));
        let text = new_enough((12, 8), (13, 0)).unwrap_err().to_string();
        assert!(text.contains("CUDA 12.8 and 13.0 is needed"), "{text}");
    }

    #[test]
    fn results_become_errors() {
        assert_eq!(driver::check("cuInit", 0), Ok(()));
        assert_eq!(driver::check("cuInit", 100), Err(NoCuda::NoDevice));
        let text = driver::check("cuInit", 999).unwrap_err().to_string();
        assert!(text.contains("cuInit returned error 999, "), "{text}");
    }
}
