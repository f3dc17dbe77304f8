//! Kiln and PyTorch side by side on one GPU.
//!
//! ```text
//! cargo run --release --features cuda --example gpu_bench -- --python python3 --compile
//! # a rehearsal without a GPU, of everything but the figures
//! cargo run --release --features cuda --example gpu_bench -- --device cpu --small --rounds 1 \
//!     --limit 120 --minutes 30 --python python3 --compile
//! ```
//!
//! | option | effect |
//! | --- | --- |
//! | `--python PATH` | a Python with PyTorch, for the columns `eager` and `compiled`; else Kiln alone |
//! | `--compile` | `torch.compile` too where it could join kernels: minutes more |
//! | `--filter TEXT` | only workloads whose name contains it, behind the two ceilings |
//! | `--rounds N` | turns of each side, of which the median counts: 3 |
//! | `--small` | tiny sizes of everything |
//! | `--device NAME` | `cuda`, `cuda:1`, `cpu` |
//! | `--limit SECONDS` | for one turn of one side: 20, and six times that to compile |
//! | `--minutes N` | for all; what is not done by then says so: 6 |
//!
//! Each side is a process of its own (`peer.rs`), and they take turns, workload by workload. A
//! process that fails, or takes too long, is started anew for the next workload, and the row says what
//! happened. Times are those of the GPU, by events in its stream, over batches of calls that are not
//! waited for; inputs are taken in turn from so many copies that its cache holds none of them. The
//! two ceilings come first: a copy, and a product of bf16 of 8192. `ceil` is the share of the nearer of
//! them that Kiln reaches, by the numbers that the work has to move or the operations it takes; f32
//! can not come near to that of bf16.
//!
//! The rows also go to `target/gpu_bench.jsonl`, one object each behind one about the machine, and
//! what the processes say on stderr to `target/gpu_bench.log`.

mod answer;
mod kiln_side;
#[allow(dead_code)]
#[path = "../../benches/models/mod.rs"]
mod models;
mod peer;
mod resnet50;
mod table;
#[path = "../../benches/compare/timing.rs"]
mod timing;
mod workload;

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, UNIX_EPOCH};

use answer::Answer;
use peer::Peer;
use table::{Ceilings, HEADER, Row};
use workload::Workload;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const LOG: &str = "target/gpu_bench.log";
const ROWS: &str = "target/gpu_bench.jsonl";

/// The script is in the program, which may be carried to where the sources are not.
const TORCH_SIDE: &str = include_str!("torch_side.py");
const SCRIPT: &str = "target/gpu_bench.py";

struct Args {
    python: Option<String>,
    compile: bool,
    filter: String,
    rounds: usize,
    small: bool,
    device: String,
    limit: Duration,
    minutes: f64,
    /// This process is the side of Kiln.
    serve: bool,
}

impl Args {
    fn parse() -> Result<Self> {
        use lexopt::prelude::*;
        let mut args = Self {
            python: None,
            compile: false,
            filter: String::new(),
            rounds: 3,
            small: false,
            device: "cuda".into(),
            limit: Duration::from_secs(20),
            minutes: 6.0,
            serve: false,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                Long("python") => args.python = Some(parser.value()?.string()?),
                Long("compile") => args.compile = true,
                Long("filter") | Short('f') => args.filter = parser.value()?.string()?,
                Long("rounds") => args.rounds = parser.value()?.parse()?,
                Long("small") => args.small = true,
                Long("device") => args.device = parser.value()?.string()?,
                Long("limit") => args.limit = Duration::from_secs(parser.value()?.parse()?),
                Long("minutes") => args.minutes = parser.value()?.parse()?,
                Long("serve") => args.serve = true,
                _ => return Err(arg.unexpected().into()),
            }
        }
        if args.rounds == 0 || !args.minutes.is_finite() || args.minutes <= 0.0 {
            return Err("--rounds and --minutes must be above zero".into());
        }
        if args.compile && args.python.is_none() {
            return Err("--compile needs --python".into());
        }
        Ok(args)
    }

    /// The sides, in the order of the columns, with how long a turn of each may take.
    fn sides(&self) -> Result<Vec<(Peer, Duration)>> {
        let mut kiln = Command::new(std::env::current_exe()?);
        kiln.args(["--serve", "--device", &self.device]);
        let mut sides = vec![(Peer::new(kiln, Path::new(LOG)), self.limit)];
        if let Some(python) = &self.python {
            for (mode, limit) in [("eager", self.limit), ("compiled", 6 * self.limit)] {
                if mode == "eager" || self.compile {
                    let mut torch = Command::new(python);
                    torch.args(["-u", SCRIPT, &self.device, mode]);
                    sides.push((Peer::new(torch, Path::new(LOG)), limit));
                }
            }
        }
        Ok(sides)
    }
}

/// Asks each side in turn, several times over. A side that failed is not asked again.
fn measure(
    request: &str,
    sides: &mut [(Peer, Duration)],
    rounds: usize,
    end: Instant,
) -> [Vec<Answer>; 3] {
    let mut turns: [Vec<Answer>; 3] = Default::default();
    for _ in 0..rounds {
        for ((peer, limit), turns) in sides.iter_mut().zip(&mut turns) {
            if turns.iter().any(Answer::is_err) {
                continue;
            }
            let left = end.saturating_duration_since(Instant::now());
            match (left.is_zero(), turns.is_empty()) {
                (true, true) => turns.push(Err("the time was up".into())),
                (true, false) => {}
                (false, _) => turns.push(peer.ask(request, left.min(*limit))),
            }
        }
    }
    turns
}

fn main() -> Result<()> {
    let args = Args::parse()?;
    if args.serve {
        return Ok(kiln_side::serve(&kiln::device(&args.device)?)?);
    }
    std::fs::create_dir_all("target")?;
    File::create(LOG)?;
    std::fs::write(SCRIPT, TORCH_SIDE)?;
    let mut sides = args.sides()?;
    let mut about = Vec::new();
    for (peer, _) in &mut sides {
        let started = peer.start(Duration::from_secs(60));
        about.push(started.map_err(|error| format!("{error}; {LOG} may say more"))?.about);
    }
    println!("{}\n{HEADER}", about.join("\n"));
    let time = UNIX_EPOCH.elapsed()?.as_secs();
    let mut file = File::create(ROWS)?;
    writeln!(file, "{}", serde_json::json!({ "about": about, "time": time }))?;

    let start = Instant::now();
    let end = start + Duration::from_secs_f64(60.0 * args.minutes);
    let mut ceilings = Ceilings::default();
    let highest = Workload::ceilings(args.small);
    let (mut rows, mut failures) = (0, 0);
    for workload in Workload::all(args.small) {
        let (name, is_ceiling) = (workload.name(), highest.contains(&workload));
        if !is_ceiling && !name.contains(&args.filter) {
            continue;
        }
        let request = serde_json::to_string(&workload.request(args.small))?;
        let asked = if workload.is_one_kernel() { sides.len().min(2) } else { sides.len() };
        let turns = measure(&request, &mut sides[..asked], args.rounds, end);
        let mut row = Row::new(name, workload.least_bytes(), turns);
        if is_ceiling {
            ceilings.raise(&row);
        }
        row.set_share(&ceilings);
        println!("{row}");
        writeln!(file, "{}", row.json())?;
        rows += 1;
        failures += row.errors().count();
    }
    let Ceilings { bytes, flops } = ceilings;
    println!("ceilings: {:.0} GB/s, {:.1} TFLOP/s", bytes / 1e9, flops / 1e12);
    println!("{rows} workloads, {failures} failures, {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}
