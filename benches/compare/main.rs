//! Kiln and PyTorch side by side.
//!
//! `benches/compare/run` installs PyTorch if there is none and runs this; `benches/compare/run
//! --filter matmul --threads 2 --turns 7` limits it. It prints a line for each workload:
//!
//! ```text
//! workload                       kiln us     torch us    ratio
//! matmul_f32_256                   262.1        281.0     1.07
//! ```
//!
//! The ratio is PyTorch's time over Kiln's: above 1 Kiln is faster. The lines also go to
//! `target/compare.jsonl`, one object each. `cargo bench --bench compare` alone, without
//! `-- --python PATH`, times Kiln only.
//!
//! The last rows are about whole processes (`process.rs`): microseconds to a first result, megabytes
//! of memory at most.
//!
//! Both sides take turns in one run, so that what else the machine does hits both alike: this
//! process times a workload, then asks the PyTorch process (`torch_side.py`) to time it, several
//! times over; the medians are compared. A turn during which other programs took processor time is
//! repeated; a line that ends in `busy` has turns in it for which no quiet moment came.

// The block is for the criterion benches.
#[allow(dead_code)]
#[path = "../models/mod.rs"]
mod models;
mod process;
mod quiet;
#[path = "../../examples/resnet18/model.rs"]
mod resnet;
mod workloads;

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use quiet::Usage;
use workloads::{WORKLOADS, Workload};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Batches of calls in a turn, and how long one of them should take.
const BATCHES: usize = 5;
const BATCH_SECONDS: f64 = 0.02;
/// How long a workload waits for quiet moments in all.
const PATIENCE: Duration = Duration::from_secs(60);

struct Args {
    /// A Python that has PyTorch.
    python: Option<String>,
    threads: usize,
    /// Only workloads whose name contains this.
    filter: String,
    turns: usize,
    /// The row of [`process`] that is all this process is to do.
    process: Option<String>,
    /// Whether cargo runs this as a bench rather than as a test.
    bench: bool,
}

impl Args {
    fn parse() -> Result<Self> {
        use lexopt::prelude::*;
        let mut args = Self {
            python: None,
            threads: 2,
            filter: String::new(),
            turns: 7,
            process: None,
            bench: false,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                Long("python") => args.python = Some(parser.value()?.string()?),
                Long("threads") => args.threads = parser.value()?.parse()?,
                Long("filter") | Short('f') => args.filter = parser.value()?.string()?,
                Long("turns") => args.turns = parser.value()?.parse()?,
                Long("process") => args.process = Some(parser.value()?.string()?),
                Long("bench") => args.bench = true,
                _ => return Err(arg.unexpected().into()),
            }
        }
        if args.turns == 0 || args.threads == 0 {
            return Err("--turns and --threads must be at least 1".into());
        }
        Ok(args)
    }
}

fn main() -> Result<()> {
    let args = Args::parse()?;
    if let Some(name) = &args.process {
        process::run(name);
        return Ok(());
    }
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", args.threads.to_string()) };
    let selected = WORKLOADS.iter().filter(|(name, _)| name.contains(&args.filter));
    if !args.bench {
        // `cargo test --benches`: each workload runs.
        selected.for_each(|(_, make)| make()(1));
        return Ok(());
    }
    let mut torch = match &args.python {
        Some(python) => Some(Torch::start(python, args.threads)?),
        None => None,
    };
    std::fs::create_dir_all("target")?;
    let mut file = File::create("target/compare.jsonl")?;
    let mut processes = vec![std::process::id()];
    processes.extend(torch.as_ref().map(|torch| torch.child.id()));
    println!("{:<26} {:>12} {:>12} {:>8}", "workload", "kiln us", "torch us", "ratio");
    for &(name, make) in selected {
        let mut workload = make();
        let mut quiet = Quiet { processes: &processes, patience: PATIENCE, busy: false };
        let (mut kiln_us, mut torch_us) = (Vec::new(), Vec::new());
        for _ in 0..args.turns {
            kiln_us.push(quiet.measure(|| Ok(turn(&mut workload)))?);
            if let Some(torch) = &mut torch {
                torch_us.push(quiet.measure(|| torch.turn(name))?);
            }
        }
        let kiln_us = median(&mut kiln_us);
        let busy = if quiet.busy { "  busy" } else { "" };
        if torch.is_none() {
            println!("{name:<26} {kiln_us:>12.3}{busy}");
            continue;
        }
        let torch_us = median(&mut torch_us);
        let ratio = torch_us / kiln_us;
        println!("{name:<26} {kiln_us:>12.3} {torch_us:>12.3} {ratio:>8.2}{busy}");
        writeln!(
            file,
            r#"{{"workload":"{name}","kiln_us":{kiln_us:.4},"torch_us":{torch_us:.4},"ratio":{ratio:.4}}}"#
        )?;
    }
    let rows = process::ROWS.iter().filter(|(name, ..)| name.contains(&args.filter));
    for &(name, unit, _) in rows {
        let kiln = process::measure(name, None, args.threads)?;
        let Some(python) = &args.python else {
            println!("{name:<26} {kiln:>12.3}");
            continue;
        };
        let torch = process::measure(name, Some(python), args.threads)?;
        let ratio = torch / kiln;
        println!("{name:<26} {kiln:>12.3} {torch:>12.3} {ratio:>8.2}");
        writeln!(
            file,
            r#"{{"workload":"{name}","kiln_{unit}":{kiln:.4},"torch_{unit}":{torch:.4},"ratio":{ratio:.4}}}"#
        )?;
    }
    Ok(())
}

/// Measures in quiet moments, as long as there is patience.
struct Quiet<'a> {
    processes: &'a [u32],
    patience: Duration,
    /// Whether patience ran out.
    busy: bool,
}

impl Quiet<'_> {
    fn measure(&mut self, mut work: impl FnMut() -> Result<f64>) -> Result<f64> {
        loop {
            let (start, before) = (Instant::now(), Usage::now(self.processes));
            let result = work()?;
            let seconds = start.elapsed().as_secs_f64();
            let quiet = match (before, Usage::now(self.processes)) {
                (Some(before), Some(after)) => after.quiet_since(&before, seconds),
                _ => true,
            };
            if quiet {
                return Ok(result);
            }
            if self.patience.is_zero() {
                self.busy = true;
                return Ok(result);
            }
            std::thread::sleep(Duration::from_millis(200));
            self.patience = self.patience.saturating_sub(start.elapsed());
        }
    }
}

/// Microseconds of one call: the median over a few batches, after one that warms up.
fn turn(workload: &mut Workload) -> f64 {
    let mut seconds = |calls: u64| {
        let start = Instant::now();
        workload(calls);
        start.elapsed().as_secs_f64()
    };
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

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The process that runs the same workloads with PyTorch: it reads the name of one from stdin,
/// times a turn of it in the same way and writes the microseconds to stdout.
struct Torch {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Torch {
    fn start(python: &str, threads: usize) -> Result<Self> {
        let mut child = Command::new(python)
            .args(["-u", "benches/compare/torch_side.py", &threads.to_string()])
            .env("OMP_NUM_THREADS", threads.to_string())
            // Large tensors from the heap instead of fresh pages: faster for PyTorch.
            .env(
                "GLIBC_TUNABLES",
                "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=4294967296",
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{python} does not start: {error}"))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Ok(Self { child, input, output })
    }

    fn turn(&mut self, name: &str) -> Result<f64> {
        let input = self.input.as_mut().expect("it is open until the drop");
        let mut answer = String::new();
        let asked = writeln!(input, "{name}");
        self.output.read_line(&mut answer)?;
        match (asked, answer.trim().parse()) {
            (Ok(()), Ok(microseconds)) => Ok(microseconds),
            _ => Err(format!("the PyTorch process did not time {name}; its error is above").into()),
        }
    }
}

impl Drop for Torch {
    fn drop(&mut self) {
        // It ends with its input.
        self.input = None;
        let _ = self.child.wait();
    }
}
