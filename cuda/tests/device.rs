//! The table of operations on a GPU, where there is one.

#[allow(dead_code)]
mod samples;

use std::io::Write;

use kiln_cuda::Cuda;
use kiln_tensor::op::all_samples;
use kiln_tensor::{DType, Device};

/// The GPU; without one a word, past the capture of the test harness, that a test did nothing.
fn gpu() -> Option<Device> {
    let device = Device::cuda(0);
    if let Err(reason) = &device {
        let _ = writeln!(std::io::stderr(), "skipped: {reason}");
    }
    device.ok()
}

fn check(float: DType, int: DType) {
    if let Some(device) = gpu() {
        let table = samples::check(&all_samples().cases, float, int, device, false);
        assert_eq!(samples::print(&table)[2], 0, "samples differ, each printed above");
    }
}

#[test]
fn samples_agree_in_f64() {
    check(DType::F64, DType::I64);
}

#[test]
fn samples_agree_in_f32() {
    check(DType::F32, DType::I32);
}

#[test]
fn samples_agree_in_f16() {
    check(DType::F16, DType::U8);
}

#[test]
fn samples_agree_in_bf16() {
    check(DType::BF16, DType::I16);
}

#[test]
fn gradients_agree_in_f64() {
    if let Some(device) = gpu() {
        let table = samples::gradients(&all_samples().cases, device);
        assert_eq!(samples::print(&table)[2], 0, "gradients differ, each printed above");
    }
}
