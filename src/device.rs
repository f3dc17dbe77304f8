//! Devices by name.

use kiln_tensor::{Device, Error, Result};

/// The device of this name: `cpu`, or `cuda` and `cuda:1` for NVIDIA GPUs. The error says what was
/// looked for and what to do.
///
/// ```
/// assert_eq!(kiln::device("cpu")?.name(), "cpu");
/// assert!(kiln::device("gpu").unwrap_err().to_string().contains("cpu"));
/// # Ok::<(), kiln::Error>(())
/// ```
pub fn device(name: &str) -> Result<Device> {
    let error = |what: String| Error::Device { op: "device", what };
    if name == "cpu" {
        return Ok(Device::cpu());
    }
    if name == "cuda" || name.starts_with("cuda:") {
        return Err(error(format!("{name} can not be used: {}", why_no_cuda())));
    }
    Err(error(format!("there is no device {name:?}; devices are `cpu`, `cuda` and `cuda:0`")))
}

#[cfg(feature = "cuda")]
fn why_no_cuda() -> String {
    match kiln_cuda::probe() {
        Ok(gpus) => {
            format!("{} GPUs were found, but there are no kernels for them yet", gpus.len())
        }
        Err(reason) => reason.to_string(),
    }
}

#[cfg(not(feature = "cuda"))]
fn why_no_cuda() -> String {
    "this build is without it; build with `--features cuda`".into()
}
