//! A report as tables.

use std::fmt;
use std::time::Duration;

use super::ledger::MemoryReport;
use super::report::{Limit, OperationReport, Report};
use super::{Pass, peak};
use crate::text::{end, grouped};
use crate::{DType, MemoryStats};

/// Rows of the table of operations, of scopes and of holders of memory; the rest is summed up.
const OPERATIONS: usize = 30;
const SCOPES: usize = 12;
const HOLDERS: usize = 5;
/// Columns of the widest lines.
const WIDTH: usize = 100;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (total, calls) = (self.time(), self.operations.iter().map(|row| row.calls).sum());
        writeln!(
            f,
            "{} of wall time; {} in {} operations of {} FLOPs\n",
            seconds(self.wall),
            seconds(total),
            grouped(calls),
            short(self.flops() as f64, DECIMAL)
        )?;
        let line = "-".repeat(WIDTH);
        writeln!(
            f,
            "{:22} {:4} {:9}{:>7}{:>9}{:>6}{:>8}{:>6}{:>8} {:8}{:>10}\n{line}",
            "operation",
            "type",
            "pass",
            "calls",
            "time",
            "share",
            "GFLOP/s",
            "GB/s",
            "of peak",
            "limit",
            "memory"
        )?;
        let share = |time: Duration| share_of(time, total);
        let shown = self.operations.len().min(OPERATIONS);
        for row in &self.operations[..shown] {
            operation(f, row, &share(row.time))?;
        }
        let rest = &self.operations[shown..];
        if !rest.is_empty() {
            let time = rest.iter().map(|row| row.time).sum();
            let calls = rest.iter().map(|row| row.calls).sum();
            let name = format!("{} more", rest.len());
            let (calls, time, share) = (grouped_or_short(calls), seconds(time), share(time));
            writeln!(f, "{name:36} {calls:>7}{time:>9}{share:>6}")?;
        }
        writeln!(f, "{line}")?;
        for pass in [Pass::Forward, Pass::Backward, Pass::Optimizer] {
            let rows = self.operations.iter().filter(|row| row.pass == pass);
            let (calls, time) = rows.fold((0, Duration::ZERO), |(calls, time), row| {
                (calls + row.calls, time + row.time)
            });
            if calls > 0 {
                let (calls, time, share) = (grouped_or_short(calls), seconds(time), share(time));
                writeln!(f, "{:27} {pass:9}{calls:>7}{time:>9}{share:>6}", "")?;
            }
        }
        self.peaks(f)?;
        self.scopes(f)?;
        self.memory.iter().try_for_each(|memory| memory_of(f, memory))
    }
}

impl Report {
    /// The peaks that the table compares with.
    fn peaks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut devices: Vec<_> = Vec::new();
        for row in &self.operations {
            if !devices.contains(&row.device) {
                devices.push(row.device);
            }
        }
        for device in devices {
            let Some(bandwidth) = peak::bandwidth(device) else { continue };
            write!(f, "measured peak of {device}: {} GB/s", rate(bandwidth))?;
            let rows =
                || self.operations.iter().filter(|row| row.device == device && row.flops > 0);
            for dtype in [DType::F64, DType::F32, DType::BF16, DType::F16] {
                if rows().any(|row| row.dtype == dtype)
                    && let Some(flops) = peak::flops(device, dtype)
                {
                    write!(f, ", {dtype} {} GFLOP/s", rate(flops))?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }

    fn scopes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scopes.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n{:70} {:>9}{:>9}{:>10}", "scope", "calls", "time", "of wall")?;
        for scope in self.scopes.iter().take(SCOPES) {
            let (calls, time) = (grouped(scope.calls), seconds(scope.time));
            let share = share_of(scope.time, self.wall);
            writeln!(f, "{:70} {calls:>9}{time:>9}{share:>10}", end(&scope.path, 70))?;
        }
        match self.scopes.len().saturating_sub(SCOPES) {
            0 => Ok(()),
            more => writeln!(f, "{more} more"),
        }
    }
}

fn operation(f: &mut fmt::Formatter<'_>, row: &OperationReport, share: &str) -> fmt::Result {
    let (limit, of_peak) = row.limit();
    let limit = match limit {
        Limit::Compute => "compute",
        Limit::Memory => "memory",
        Limit::Overhead => "overhead",
        Limit::Kernel => "kernel",
    };
    let dtype = match row.dtype {
        DType::Complex64 => "c64".into(),
        DType::Complex128 => "c128".into(),
        dtype => dtype.to_string(),
    };
    let rate_of = |work: u64, per_second: f64| match work {
        0 => String::new(),
        _ => rate(per_second),
    };
    writeln!(
        f,
        "{:22} {dtype:4} {:9}{:>7}{:>9}{share:>6}{:>8}{:>6}{:>8} {limit:8}{:>10}",
        end(row.name, 22),
        row.pass,
        grouped_or_short(row.calls),
        seconds(row.time),
        rate_of(row.flops, row.flop_rate()),
        rate_of(row.bytes, row.byte_rate()),
        format!("{:.0}%", 100.0 * of_peak),
        bytes(row.memory as usize)
    )
}

fn memory_of(f: &mut fmt::Formatter<'_>, memory: &MemoryReport) -> fmt::Result {
    let [start, peak, end] = [memory.start, memory.peak, memory.end].map(bytes);
    writeln!(
        f,
        "\nmemory of {}: {start} at the start, {peak} at most, {end} at the end",
        memory.device
    )?;
    for holder in memory.holders.iter().take(HOLDERS) {
        let share = format!("{:.0}%", 100.0 * holder.bytes as f64 / memory.peak.max(1) as f64);
        let (name, pass) = match holder.operation {
            "" => ("before the profile", ""),
            name => (name, holder.pass.name()),
        };
        let scope = match holder.scope.as_str() {
            "" => String::new(),
            scope => format!("in {}", self::end(scope, 40)),
        };
        let held = bytes(holder.bytes);
        let line = format!("{held:>12}{share:>6}  {name:22} {pass:9} {scope}");
        writeln!(f, "{}", line.trim_end())?;
    }
    let MemoryStats { hits, misses, cached, .. } = memory.pool;
    if hits + misses > 0 {
        let (hits, misses) = (grouped(hits), grouped(misses));
        writeln!(
            f,
            "pool: {hits} buffers were used again, {misses} came from the system; {} kept for later",
            bytes(cached)
        )?;
    }
    Ok(())
}

fn share_of(time: Duration, total: Duration) -> String {
    format!("{:.1}%", 100.0 * time.as_secs_f64() / total.as_secs_f64().max(1e-9))
}

/// Thousands of a unit.
const DECIMAL: [&str; 5] = ["", "k", "M", "G", "T"];

/// As [`grouped`], in seven columns.
fn grouped_or_short(number: u64) -> String {
    if number < 100_000 { grouped(number) } else { short(number as f64, DECIMAL) }
}

/// Three digits and a unit.
fn short(mut number: f64, units: [&str; 5]) -> String {
    let mut unit = 0;
    while number >= 999.5 && unit + 1 < units.len() {
        (number, unit) = (number / 1000.0, unit + 1);
    }
    let text = if unit == 0 { format!("{number:.0}") } else { digits(number) };
    format!("{text} {}", units[unit]).trim_end().into()
}

/// Three digits.
fn digits(number: f64) -> String {
    let decimals = if number < 9.995 { 2 } else { usize::from(number < 99.95) };
    format!("{number:.decimals$}")
}

/// Billions per second, in five columns.
fn rate(per_second: f64) -> String {
    let rate = per_second / 1e9;
    if rate < 0.005 { "0".into() } else { digits(rate) }
}

fn seconds(time: Duration) -> String {
    let nanos = time.as_nanos() as f64;
    let (value, unit) = match nanos {
        nanos if nanos < 1e6 => (nanos / 1e3, "us"),
        nanos if nanos < 1e9 => (nanos / 1e6, "ms"),
        nanos => (nanos / 1e9, "s"),
    };
    format!("{} {unit}", digits(value))
}

fn bytes(count: usize) -> String {
    let (mut value, mut unit) = (count as f64, 0);
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    while value >= 1023.5 && unit + 1 < units.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    let decimals = usize::from(unit > 0 && value < 99.95);
    format!("{value:.decimals$} {}", units[unit])
}
