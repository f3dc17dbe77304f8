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
    let number = if name == "cuda" { Some("0") } else { name.strip_prefix("cuda:") };
    if let Some(number) = number.and_then(|number| number.parse().ok()) {
        return cuda(number).map_err(|reason| error(format!("{name} can not be used: {reason}")));
    }
    Err(error(format!("there is no device {name:?}; devices are `cpu`, `cuda` and `cuda:0`")))
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> std::result::Result<Device, String> {
    <Device as kiln_cuda::Cuda>::cuda(index).map_err(|error| match error {
        Error::Device { what, .. } => what,
        other => other.to_string(),
    })
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> std::result::Result<Device, String> {
    Err("this build is without it; build with `--features cuda`".into())
}
