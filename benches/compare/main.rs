//! Kiln and PyTorch side by side, and candle and Burn if asked for.
//!
//! `benches/compare/run` installs PyTorch if there is none and runs this; `benches/compare/run
//! --filter matmul --threads 2 --turns 7` limits it, `--peers candle,burn` builds and adds these two.
//! It prints a line for each workload:
//!
//! ```text
//! workload                        kiln us     torch us    ratio
//! matmul_f32_256                  262.100      281.000     1.07
//! ```
//!
//! A ratio is the other one's time over Kiln's: above 1 Kiln is faster. The lines also go to
//! `target/compare.jsonl`, one object each. `cargo bench --bench compare` alone, without
//! `-- --python PATH`, times Kiln only.
//!
//! The last rows are about whole processes (`process.rs`) of Kiln and PyTorch: microseconds to a
//! first result, megabytes of memory at most.
//!
//! All sides take turns in one run, so that what else the machine does hits all alike: this
//! process times a workload, then asks each other process (`peer.rs`) to time it, several times
//! over; the medians are compared. A turn during which other programs took processor time is
//! repeated; a line that ends in `busy` has turns in it for which no quiet moment came.

// The block is for the criterion benches.
#[allow(dead_code)]
#[path = "../models/mod.rs"]
mod models;
mod peer;
mod process;
mod quiet;
#[path = "../../examples/resnet18/model.rs"]
mod resnet;
mod timing;
mod workloads;

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use peer::Peer;
use quiet::Usage;
use timing::{median, turn};
use workloads::WORKLOADS;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How long a workload waits for quiet moments in all.
const PATIENCE: Duration = Duration::from_secs(60);

struct Args {
    /// A Python that has PyTorch.
    python: Option<String>,
    /// `candle`, `burn`.
    peers: Vec<String>,
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
            peers: Vec::new(),
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
                Long("peers") => {
                    args.peers = parser.value()?.string()?.split(',').map(String::from).collect();
                }
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
    let mut peers = Vec::new();
    if let Some(python) = &args.python {
        peers.push(Peer::torch(python, args.threads)?);
    }
    for name in &args.peers {
        peers.push(Peer::rust(name, args.threads)?);
    }
    std::fs::create_dir_all("target")?;
    let mut file = File::create("target/compare.jsonl")?;
    let mut processes = vec![std::process::id()];
    processes.extend(peers.iter().map(Peer::id));
    print!("{:<26} {:>12}", "workload", "kiln us");
    peers.iter().for_each(|peer| print!(" {:>12} {:>8}", format!("{} us", peer.name), "ratio"));
    println!();
    for &(name, make) in selected {
        let mut workload = make();
        let mut quiet = Quiet { processes: &processes, patience: PATIENCE, busy: false };
        let (mut kiln, mut others) = (Vec::new(), vec![Vec::new(); peers.len()]);
        for _ in 0..args.turns {
            kiln.push(quiet.measure(|| Ok(turn(&mut workload)))?);
            for (peer, times) in peers.iter_mut().zip(&mut others) {
                times.extend(quiet.measure(|| peer.turn(name))?);
            }
        }
        let middle = |times: &mut Vec<f64>| (!times.is_empty()).then(|| median(times));
        let others: Vec<_> = others.iter_mut().map(middle).collect();
        let row = Row { name, unit: "us", kiln: median(&mut kiln), busy: quiet.busy };
        row.write(&mut file, peers.iter().map(|peer| peer.name.as_str()).zip(others))?;
    }
    let rows = process::ROWS.iter().filter(|(name, ..)| name.contains(&args.filter));
    for &(name, unit, _) in rows {
        let kiln = process::measure(name, None, args.threads)?;
        let torch = match &args.python {
            Some(python) => {
                Some(("torch", Some(process::measure(name, Some(python), args.threads)?)))
            }
            None => None,
        };
        Row { name, unit, kiln, busy: false }.write(&mut file, torch)?;
    }
    Ok(())
}

/// A line of the table.
struct Row<'a> {
    name: &'a str,
    unit: &'a str,
    kiln: f64,
    busy: bool,
}

impl Row<'_> {
    /// Prints it, and writes it to `file` as JSON, with what the peers took: nothing where they do
    /// not have the workload.
    fn write<'a>(
        &self,
        file: &mut File,
        peers: impl IntoIterator<Item = (&'a str, Option<f64>)>,
    ) -> Result<()> {
        let Self { name, unit, kiln, busy } = self;
        let mut line = format!("{name:<26} {kiln:>12.3}");
        let mut json = format!(r#"{{"workload":"{name}","kiln_{unit}":{kiln:.4}"#);
        for (peer, time) in peers {
            let Some(time) = time else {
                line += &format!(" {:>12} {:>8}", "none", "");
                continue;
            };
            let ratio = time / kiln;
            line += &format!(" {time:>12.3} {ratio:>8.2}");
            json += &format!(r#","{peer}_{unit}":{time:.4}"#);
            if peer == "torch" {
                json += &format!(r#","ratio":{ratio:.4}"#);
            }
        }
        println!("{line}{}", if *busy { "  busy" } else { "" });
        writeln!(file, "{json}}}")?;
        Ok(())
    }
}

/// Measures in quiet moments, as long as there is patience.
struct Quiet<'a> {
    processes: &'a [u32],
    patience: Duration,
    /// Whether patience ran out.
    busy: bool,
}

impl Quiet<'_> {
    fn measure<T>(&mut self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
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
