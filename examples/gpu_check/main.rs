//! Checks a GPU: everything that could not be shown without one, in one run of minutes, with a log.
//!
//! - every sample of every operation, in all float types, against the CPU backend in f64, and every
//!   gradient;
//! - products large enough for cuBLASLt, with every epilogue, and TF32;
//! - the networks of the digits, the MNIST and the GPT example, trained on both devices;
//! - a training whose steps are graphs against one whose are not;
//! - NCCL with one process: sums of one, and a training by data parallelism, change no bit;
//! - ten thousand steps of training in the memory of the first hundred.
//!
//! ```text
//! cargo run --release --features cuda --example gpu_check | tee gpu_check.log
//! cargo run --release --features cuda --example gpu_check -- cpu     # a rehearsal without a GPU
//! ```
//!
//! It needs nothing but itself, a driver and NVRTC, so the program can be built where there is no GPU
//! and carried to where there is one:
//!
//! ```text
//! cargo build --release --features cuda --example gpu_check
//! mkdir -p .gpu && cp target/release/examples/gpu_check .gpu/ && strip .gpu/gpu_check
//! # there, in the folder that holds `.gpu`:
//! KILN_CACHE=/tmp/kiln timeout 580 .gpu/gpu_check 2>&1 | tee gpu_check.log
//! # and under the tools of the toolkit, with fewer samples:
//! KILN_CUDA_NO_CACHE=1 compute-sanitizer --tool memcheck .gpu/gpu_check cuda few
//! KILN_CUDA_NO_CACHE=1 compute-sanitizer --tool racecheck .gpu/gpu_check cuda few
//! ```
//!
//! It ends with `0 failures`, or with an error. It has not been run on a GPU so far; the rehearsal ends
//! with
//!
//! ```text
//! == memory (12.2 s)
//! 10000 steps: 426984320 bytes taken, 426984320 after a hundredth
//! MemoryStats { in_use: .., peak: .., cached: .. }
//! 0 failures, 12.6 s
//! ```

#[path = "../digits/dataset.rs"]
#[allow(dead_code)]
mod dataset;
#[path = "../digits/model.rs"]
mod digits_net;
#[path = "../mnist/model.rs"]
mod mnist_net;
#[path = "../gpt/model.rs"]
#[allow(dead_code)]
mod model;
#[path = "../gpt/run.rs"]
#[allow(dead_code)]
mod run;
#[path = "../../cuda/tests/samples/mod.rs"]
#[allow(dead_code)]
mod samples;
#[path = "../gpt/text.rs"]
#[allow(dead_code)]
mod text;
mod training;

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use kiln::Result;
use kiln::cuda::nccl::{is_gpu, version};
use kiln::cuda::{Cache, Graph, compile, compiler_version, probe, programs, set_allows_tf32};
use kiln::dist::{DataParallelConfig, ReduceOp, TcpConfig};
use kiln::prelude::*;
use kiln::tensor::op::samples::{Case, Input, Samples, complex_in, float_in};
use kiln::tensor::op::{Activation, MatMul, MatMulSums, all_samples};
use samples::{Memory, Table};
use training::Course;

/// What went wrong so far, and since when.
struct Log {
    start: Instant,
    failures: usize,
}

impl Log {
    fn part(&self, name: &str) {
        println!("== {name} ({:.1} s)", self.start.elapsed().as_secs_f64());
    }

    fn table(&mut self, table: &Table) {
        let [passed, missing, failed] = samples::print(table);
        println!("{passed} agree, {missing} have no kernel, {failed} differ");
        self.failures += failed;
    }

    fn result(&mut self, result: Result<()>) {
        if let Err(error) = result {
            println!("    {error}");
            self.failures += 1;
        }
    }
}

fn main() -> ExitCode {
    print!("{}", kiln::cuda::info());
    println!("Kiln      {}", env!("CARGO_PKG_VERSION"));
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or("cuda".into());
    let few = arguments.next().is_some_and(|word| word == "few");
    let device = match kiln::device(&name) {
        Ok(device) => device,
        Err(reason) => {
            println!("{reason}");
            return ExitCode::FAILURE;
        }
    };
    let mut log = Log { start: Instant::now(), failures: 0 };
    if name != "cpu" && !few {
        log.part("compilation");
        warm();
    }
    operations(&mut log, device, few);
    log.part("products of cuBLASLt");
    products(&mut log, device);
    if !few {
        train(&mut log, device);
    }
    log.part("graphs");
    log.result(graphs(device));
    log.part("nccl: world size 1");
    log.result(nccl(device));
    log.part("memory");
    let steps = if few { 1000 } else { 10_000 };
    let memory = training::memory(&device, steps).map(|[early, late]| {
        println!("{steps} steps: {late} bytes taken, {early} after a hundredth");
        log.failures += (late > early) as usize;
    });
    log.result(memory);
    println!("{:?}", device.memory());
    println!("{} failures, {:.1} s", log.failures, log.start.elapsed().as_secs_f64());
    if log.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Compiles all kernels into the cache, on all threads: one by one, on their first use, it would take
/// most of the time.
fn warm() {
    let (Ok(gpus), Ok(compiler), Some(cache)) = (probe(), compiler_version(), Cache::of_user())
    else {
        return println!("there is no cache to fill");
    };
    let (major, minor) = gpus[0].compute_capability;
    let architecture = format!("sm_{major}{minor}");
    let (programs, next) = (programs(), AtomicUsize::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(program) = programs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let source = program.source();
                    let file = cache.file(&source, &architecture, compiler);
                    if program.family.since <= (major, minor) && cache.read(&file).is_none() {
                        match compile(&program.name, &source, &architecture) {
                            Ok(cubin) => cache.write(&file, &cubin.code),
                            Err(error) => println!("{}: {error}", program.name),
                        }
                    }
                }
            });
        }
    });
    println!("{} kernels for {architecture}, {threads} threads", programs.len());
}

fn operations(log: &mut Log, device: Device, few: bool) {
    let cases = all_samples().cases;
    let pairs = [
        (DType::F64, DType::I64),
        (DType::F32, DType::I32),
        (DType::F16, DType::U8),
        (DType::BF16, DType::I16),
    ];
    for (float, int) in pairs.into_iter().skip(if few { 1 } else { 0 }) {
        log.part(&format!("samples in {float} and {int}"));
        log.table(&samples::check(&cases, float, int, device, few));
    }
    if !few {
        log.part("gradients in f64");
        log.table(&samples::gradients(&cases, device));
    }
}

/// Products of a size that the library gets.
fn products(log: &mut Log, device: Device) {
    let [m, k, n] = [257, 192, 264];
    // Small numbers, so that activations do not hide how large a sum was.
    let float = |shape: Vec<usize>| float_in(shape, -0.5, 0.5);
    let complex = |shape: Vec<usize>| complex_in(shape, -0.5, 0.5);
    let plain = |number: fn(Vec<usize>) -> Input| -> Vec<Case> {
        let mut all = Samples::default();
        all.rough(MatMul::default(), [number(vec![m, k]), number(vec![k, n])]);
        all.rough(MatMul::default(), [number(vec![3, m, k]), number(vec![k, n])]);
        all.rough(MatMul::default(), [number(vec![3, m, k]), number(vec![3, k, n])]);
        all.cases
    };
    let mut floats = Samples { cases: plain(float) };
    for activation in std::iter::once(None).chain(Activation::ALL.map(Some)) {
        let op = MatMul { bias: true, activation };
        floats.rough(op, [float(vec![m, k]), float(vec![k, n]), float(vec![n])]);
    }
    floats.rough(MatMulSums, [float(vec![m, k]), float(vec![k, n])]);
    let layouts = [Memory::Contiguous, Memory::Transposed, Memory::Sliced];
    let mut check = |cases: &[Case], dtype| {
        println!("{dtype}:");
        let table = samples::check_laid_out(cases, (dtype, DType::I64), device, &layouts);
        log.table(&table);
    };
    for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
        check(&floats.cases, dtype);
    }
    for dtype in [DType::F32, DType::F64] {
        check(&plain(complex), dtype);
    }
    log.result(tf32(device));
}

/// TF32 rounds to 10 bits: the result is near, and on a GPU that has it not the same.
fn tf32(device: Device) -> Result<()> {
    let x = Tensor::<2>::random([512, 512], Distribution::Default, &device);
    let exact = x.matmul(&x);
    set_allows_tf32(true);
    let rounded = x.matmul(&x);
    set_allows_tf32(false);
    let error: f64 = ((rounded - &exact).abs().max() / exact.abs().max()).into_scalar();
    println!("TF32: relative error {error:.1e}");
    let rule = format!("the relative error {error:.1e} is larger than 1e-3");
    if error < 1e-3 { Ok(()) } else { Err(kiln::Error::Argument { op: "tf32", rule }) }
}

/// A training with its steps as graphs gives the same losses, bit for bit.
fn graphs(device: Device) -> Result<()> {
    let losses = |as_graph: bool| -> Result<Vec<u32>> {
        device.seed(1);
        let mut net = Sequential::new()
            .add(LinearConfig::new(64, 256).init(&device))
            .add(DropoutConfig::new(0.3).init())
            .add(LinearConfig::new(256, 64).init(&device));
        let mut optim = AdamWConfig::new(1e-3).init();
        let mut graph = Graph::new(&device);
        let mut losses = Vec::new();
        for step in 0..100 {
            // Another shape now and then, and another learning rate each time.
            let batch = if step % 10 == 7 { 48 } else { 32 };
            let x = Tensor::<2>::random([batch, 64], Distribution::Default, &device);
            optim.set_lr(1e-3 / (1.0 + step as f64));
            let mut work = || {
                let loss = (net.forward(&x).tanh() - &x).square().mean();
                optim.step(&mut net, loss.backward());
                loss
            };
            let loss = if as_graph { graph.run(work)? } else { work() };
            losses.push(loss.item::<f32>().to_bits());
        }
        Ok(losses)
    };
    let (expected, actual) = (losses(false)?, losses(true)?);
    match expected.iter().zip(&actual).position(|(expected, actual)| expected != actual) {
        None => {
            println!("{} steps are the same", actual.len());
            Ok(())
        }
        Some(step) => {
            let rule = format!("the loss of step {step} is another one as a graph");
            Err(kiln::Error::Argument { op: "graph", rule })
        }
    }
}

/// All that one GPU can show of several: what is brought together with nothing else stays the same.
fn nccl(device: Device) -> Result<()> {
    if !is_gpu(&device) {
        println!("skipped: {} is no GPU", device.name());
        return Ok(());
    }
    if let Err(reason) = version() {
        println!("skipped: {reason}");
        return Ok(());
    }
    let group = TcpConfig::new("", 0, 1).init()?;
    let wrong = |rule: String| Err(kiln::Error::Argument { op: "nccl", rule });
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        let x = Tensor::<2>::random([513, 300], Distribution::Default, (&device, dtype));
        for op in [ReduceOp::Sum, ReduceOp::Mean] {
            if group.all_reduce(&x, op)?.into_data() != x.to_data() {
                return wrong(format!("the {op:?} of {dtype} is another one"));
            }
        }
    }
    let losses = |parallel: bool| -> Result<Vec<u32>> {
        device.seed(1);
        let mut net = Sequential::new()
            .add(LinearConfig::new(64, 512).init(&device))
            .add(LinearConfig::new(512, 64).init(&device));
        let mut optim = AdamWConfig::new(1e-3).init();
        let config = DataParallelConfig::new().with_bucket_megabytes(0.1);
        let mut parallel = if parallel { Some(config.init(&group, &mut net)?) } else { None };
        let step = |_| {
            let x = Tensor::<2>::random([32, 64], Distribution::Default, &device);
            let loss = (net.forward(&x).tanh() - &x).square().mean();
            let grads = match &mut parallel {
                Some(parallel) => parallel.backward(&net, &loss)?,
                None => loss.backward(),
            };
            optim.step(&mut net, grads);
            Ok(loss.item::<f32>().to_bits())
        };
        (0..50).map(step).collect()
    };
    if losses(true)? != losses(false)? {
        return wrong("a training by data parallelism has other losses".into());
    }
    println!("all-reduce and 50 steps of data parallelism are the same");
    Ok(())
}

/// A training by its device and its length, and the length.
type Training = (&'static str, fn(&Device, usize) -> Result<Course>, usize, f64);

fn train(log: &mut Log, device: Device) {
    let all: [Training; 3] = [
        ("digits", training::digits, 5, 0.02),
        ("cnn", training::cnn, 2, 0.02),
        ("gpt", training::gpt, 150, 0.05),
    ];
    for (name, course, length, margin) in all {
        log.part(&format!("training: {name}"));
        let timed = |device: Device| {
            let start = Instant::now();
            let course = course(&device, length)?;
            let (steps, seconds) = (course.losses.len(), start.elapsed().as_secs_f64());
            let speed = steps as f64 / seconds;
            println!("{}: {:.4} at the end, {speed:.0} steps/s", device.name(), course.score);
            Ok(course)
        };
        let compared = timed(device)
            .and_then(|actual| training::compare(name, [&actual, &timed(Device::cpu())?], margin));
        log.result(compared);
    }
}
