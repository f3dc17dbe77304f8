//! How a workload is timed: the same for Kiln and, through `benches/peers`, for other frameworks.

use std::time::Instant;

/// Batches of calls in a turn, and how long one of them should take.
const BATCHES: usize = 5;
const BATCH_SECONDS: f64 = 0.02;

/// Calls the workload that many times.
pub type Workload = Box<dyn FnMut(u64)>;

/// Microseconds of one call: the median over a few batches, after one that warms up.
// `gpu_bench` has a clock of its own.
#[allow(dead_code)]
pub fn turn(workload: &mut Workload) -> f64 {
    turn_by(|calls| {
        let start = Instant::now();
        workload(calls);
        start.elapsed().as_secs_f64()
    })
}

/// The same by any clock: `seconds` makes so many calls and says how long they took.
pub fn turn_by(mut seconds: impl FnMut(u64) -> f64) -> f64 {
    // More and more calls until they take long enough to say how many fill a batch.
    let mut calls = 1;
    let calls = loop {
        let taken = seconds(calls);
        if taken > BATCH_SECONDS / 4.0 {
            break ((calls as f64 * BATCH_SECONDS / taken) as u64).max(1);
        }
        calls *= 2;
    };
    let mut times: Vec<f64> = (0..BATCHES).map(|_| seconds(calls) / calls as f64 * 1e6).collect();
    median(&mut times)
}

/// The middle one.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
