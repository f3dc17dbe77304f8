//! What a device can do at its best, measured by Kiln's own product and copy.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::collect::hidden;
use crate::error::OrFail;
use crate::op::{Cast, Meta};
use crate::{AnyTensor, DType, Device, guard, num_threads};

/// Rows and columns of the product at first, which takes 10 ms on two cores, and at most: they are
/// doubled until it takes [`LONG`], so that on a GPU too the start of it counts little.
const ROWS: usize = 1024;
const MOST_ROWS: usize = 16384;
const LONG: f64 = 5e-3;
/// Bytes of the copy, read and written: more than any cache holds.
const BYTES: usize = 128 << 20;
/// A probe is repeated until this much time has passed; the best run counts.
const LEAST: Duration = Duration::from_millis(60);

/// What a rate is of.
#[derive(Clone, Copy, PartialEq)]
enum Probe {
    /// Floating-point operations per second in a product of this type.
    Product(DType),
    /// Bytes read and written per second by a copy.
    Copy,
}

/// Floating-point operations per second; `None` for types that no product is made of.
pub(super) fn flops(device: Device, dtype: DType) -> Option<f64> {
    // A complex product is made of real ones.
    let dtype = match dtype {
        DType::Complex64 => DType::F32,
        DType::Complex128 => DType::F64,
        dtype => dtype,
    };
    if !dtype.is_float() {
        return None;
    }
    rate(device, Probe::Product(dtype))
}

/// Bytes per second.
pub(super) fn bandwidth(device: Device) -> Option<f64> {
    rate(device, Probe::Copy)
}

/// Measured once for each device and number of threads; `None` if the probe can not run there.
fn rate(device: Device, probe: Probe) -> Option<f64> {
    type Known = (Device, Probe, usize, Option<f64>);
    static KNOWN: Mutex<Vec<Known>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let threads = num_threads();
    let found = known.iter().find(|(d, p, t, _)| (*d, *p, *t) == (device, probe, threads));
    if let Some((.., rate)) = found {
        return *rate;
    }
    let rate = hidden(|| {
        let rate = guard(|| measure(device, probe));
        device.empty_cache();
        rate.ok()
    });
    known.push((device, probe, threads, rate));
    rate
}

fn measure(device: Device, probe: Probe) -> f64 {
    match probe {
        Probe::Copy => {
            let x = AnyTensor::full(Meta::new([BYTES / 8], DType::F32), 1, device);
            BYTES as f64 / best(device, || x.apply(Cast { dtype: DType::F32 }, &[]))
        }
        Probe::Product(dtype) => {
            let mut rows = ROWS;
            loop {
                let x = AnyTensor::full(Meta::new([rows, rows], dtype), 1, device);
                let seconds = best(device, || x.matmul(&x));
                if seconds >= LONG || rows >= MOST_ROWS {
                    return 2.0 * (rows as f64).powi(3) / seconds;
                }
                rows *= 2;
            }
        }
    }
}

/// The seconds of the best run.
fn best(device: Device, run: impl Fn() -> AnyTensor) -> f64 {
    // The first run fetches memory from the system.
    drop(run());
    let begin = Instant::now();
    let mut best = f64::INFINITY;
    while begin.elapsed() < LEAST || best == f64::INFINITY {
        let start = Instant::now();
        let result = run();
        device.sync().or_fail();
        best = best.min(start.elapsed().as_secs_f64());
        drop(result);
    }
    best.max(1e-9)
}
