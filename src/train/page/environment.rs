//! Where a run took place.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::train::event::Start;

pub(super) fn environment(start: &Start<'_>) -> Vec<(&'static str, String)> {
    let os = std::env::consts::OS;
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    vec![
        ("Kiln", env!("CARGO_PKG_VERSION").to_string()),
        ("Device", start.device.to_string()),
        ("Threads", kiln_tensor::num_threads().to_string()),
        ("Processor", processor()),
        ("System", kernel().map_or(os.to_string(), |kernel| format!("{os} {kernel}"))),
        ("Seed", start.device.generator().seed.to_string()),
        ("Optimizer", start.optimizer.to_string()),
        (
            "Started",
            if start.step == 0 { date(seconds) } else { format!("{} (resumed)", date(seconds)) },
        ),
    ]
}

/// The name of the processor where the system tells it, and the instructions that kernels use.
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let name = name.map_or(std::env::consts::ARCH, |(_, name)| name.trim());
    format!("{name} ({:?})", kiln_tensor::level())
}

fn kernel() -> Option<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    Some(release.trim().to_string())
}

/// The time so many seconds after 1970 began: `2026-11-20 20:14 UTC`.
fn date(seconds: u64) -> String {
    let (mut day, time) = (seconds / 86_400, seconds % 86_400);
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < length {
            break;
        }
        (day, month) = (day - length, month + 1);
    }
    let (hour, minute) = (time / 3600, time / 60 % 60);
    format!("{year}-{month:02}-{:02} {hour:02}:{minute:02} UTC", day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_know_leap_years_and_ends_of_months() {
        // From `date -u -d @N`.
        let dates = [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59 UTC"),
            (1_735_689_599, "2024-12-31 23:59 UTC"),
            (1_735_689_600, "2025-01-01 00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ];
        for (seconds, text) in dates {
            assert_eq!(date(seconds), text);
        }
    }
}
