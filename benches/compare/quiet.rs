//! Whether other programs took processor time while something was measured.

use std::fs::read_to_string;

/// Processor time so far, in hundredths of a second, as Linux counts it.
pub struct Usage {
    /// Of all programs, and what a hypervisor took.
    all: u64,
    /// Of the processes that are being measured.
    own: u64,
}

impl Usage {
    /// The usage now, where `processes` are ours. `None` where there is no `/proc`.
    pub fn now(processes: &[u32]) -> Option<Self> {
        let stat = read_to_string("/proc/stat").ok()?;
        // user nice system idle iowait irq softirq steal
        let times: Vec<u64> = numbers(stat.lines().next()?.strip_prefix("cpu")?);
        let all = times.iter().take(8).sum::<u64>() - times.get(3)? - times.get(4)?;
        let mut own = 0;
        for process in processes {
            let stat = read_to_string(format!("/proc/{process}/stat")).ok()?;
            // The name in front may hold spaces; user and system time are the 12th and 13th number
            // after it and the state.
            let times = numbers(stat.rsplit(')').next()?.trim_start().get(1..)?);
            own += times.get(10)? + times.get(11)?;
        }
        Some(Self { all, own })
    }

    /// Whether others have taken less than a tenth of one core since `before`, `seconds` ago.
    pub fn quiet_since(&self, before: &Self, seconds: f64) -> bool {
        let others = (self.all - before.all).saturating_sub(self.own - before.own);
        // Either count may be late by a tick.
        others as f64 <= 2.0 + 10.0 * seconds
    }
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().map(|number| number.parse().unwrap_or(0)).collect()
}
