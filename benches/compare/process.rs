//! Rows that are about a whole process: how long it takes to the first result, and its memory.

use std::process::Command;
use std::time::Instant;

use kiln::prelude::*;

use crate::Result;
use crate::models::train_gpt;
use crate::timing::median;

/// What a process is asked for, the unit of the number, and how often it is measured.
pub const ROWS: [(&str, &str, usize); 2] =
    [("cold_start", "us", 7), ("peak_rss_gpt_mini_mb", "mb", 3)];

/// Runs a row as the only thing that this process does.
pub fn run(name: &str) {
    match name {
        "cold_start" => {
            let model = LinearConfig::new(64, 10).init(&Device::cpu());
            let y = no_grad(|| model.forward(&Tensor::<2>::ones([1, 64], &Device::cpu())));
            println!("{}", y.sum().into_scalar::<f32>());
        }
        _ => {
            let mut step = train_gpt();
            (0..20).for_each(|_| step());
            println!("{}", peak_megabytes().unwrap_or(f64::NAN));
        }
    }
}

/// The most memory that this process ever had, as Linux counts it.
fn peak_megabytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? / 1024.0)
}

/// The median over several processes: microseconds from start to end, or what they print.
pub fn measure(name: &str, python: Option<&str>, threads: usize) -> Result<f64> {
    let (_, unit, turns) = ROWS.iter().find(|row| row.0 == name).ok_or("no such row")?;
    let mut command = match python {
        Some(python) => Command::new(python),
        None => Command::new(std::env::current_exe()?),
    };
    match python {
        Some(_) => command.args(["benches/compare/torch_side.py", &threads.to_string(), name]),
        None => command.args(["--process", name]),
    };
    command.env("RAYON_NUM_THREADS", threads.to_string());
    command.env("OMP_NUM_THREADS", threads.to_string());
    let mut once = || -> Result<f64> {
        let start = Instant::now();
        let output = command.output()?;
        let microseconds = start.elapsed().as_secs_f64() * 1e6;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            return Err(
                format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr)).into()
            );
        }
        Ok(if *unit == "us" { microseconds } else { text.trim().parse()? })
    };
    // The first one finds files that are not in memory yet.
    once()?;
    let mut numbers = (0..*turns).map(|_| once()).collect::<Result<Vec<_>>>()?;
    Ok(median(&mut numbers))
}
