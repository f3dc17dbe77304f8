//! Checks a GPU: every sample of every operation and every gradient against the CPU backend, in all
//! float types. Prints what it finds, one line for each operation, and ends with an error if
//! anything differs. Without a GPU it says what is missing, and ends with an error too.
//!
//! ```sh
//! cargo run --release -p kiln-cuda --example gpu_check | tee gpu_check.log
//! ```
//!
//! Under `compute-sanitizer`, KILN_CUDA_NO_CACHE=1 makes each tensor an allocation of its own.
//!
//! It has not been run on a GPU so far. On a machine without one it prints
//!
//! ```text
//! driver    not found
//! NVRTC     13.4 (/usr/lib/python3/dist-packages/nvidia/cu13/lib/libnvrtc.so.13)
//! cuBLASLt  not found
//! GPU       none: no CUDA driver: looked for libcuda.so, [..] in the search path of shared libraries; [..]
//! ```

#[path = "../tests/samples/mod.rs"]
#[allow(dead_code)]
mod samples;

use std::process::ExitCode;
use std::time::Instant;

use kiln_cuda::Cuda;
use kiln_tensor::op::all_samples;
use kiln_tensor::{DType, Device, Result, Tensor};

fn main() -> ExitCode {
    print!("{}", kiln_cuda::info());
    let device = match Device::cuda(0) {
        Ok(device) => device,
        Err(reason) => {
            println!("{reason}");
            return ExitCode::FAILURE;
        }
    };
    let cases = all_samples().cases;
    let mut failures = 0;
    let pairs = [
        (DType::F64, DType::I64),
        (DType::F32, DType::I32),
        (DType::F16, DType::U8),
        (DType::BF16, DType::I16),
    ];
    for (float, int) in pairs {
        println!("== samples in {float} and {int}");
        let start = Instant::now();
        let table = samples::check(&cases, float, int, device, false);
        failures += summary(&table, start);
    }
    println!("== gradients in f64");
    let start = Instant::now();
    failures += summary(&samples::gradients(&cases, device), start);
    println!("== memory");
    failures += flat_memory(device).unwrap_or_else(|error| {
        println!("{error}");
        1
    });
    println!("{failures} failures");
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn summary(table: &samples::Table, start: Instant) -> usize {
    let [passed, missing, failed] = samples::print(table);
    let seconds = start.elapsed().as_secs_f64();
    println!("{passed} agree, {missing} have no kernel, {failed} differ; {seconds:.1} s");
    failed
}

/// Ten thousand steps use no more memory than the first hundred.
fn flat_memory(device: Device) -> Result<usize> {
    let w = Tensor::<2>::ones([64, 64], &device) * 0.01;
    let mut x = Tensor::<2>::ones([64, 64], &device);
    let mut early = 0;
    for step in 0..10_000 {
        x = x.matmul(&w).tanh() + 1.0;
        if step == 100 {
            early = device.memory().peak;
        }
    }
    device.sync()?;
    let memory = device.memory();
    println!("10000 steps: {memory:?}, {early} bytes at the peak after 100");
    Ok((memory.peak > early) as usize)
}
