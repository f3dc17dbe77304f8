//! Numbers as people read them.

use std::time::Duration;

/// A value by the name of its metric: those that end in `accuracy` are fractions, and shown in percent.
pub(super) fn metric(name: &str, value: f64, decimals: usize) -> String {
    if name.ends_with("accuracy") {
        format!("{:.decimals$} %", 100.0 * value)
    } else if value == 0.0 || (1e-3..1e4).contains(&value.abs()) || !value.is_finite() {
        format!("{value:.4}")
    } else {
        format!("{value:.3e}")
    }
}

/// How long an epoch took: to a tenth of a second as long as that says something.
pub(super) fn seconds(time: Duration) -> String {
    if time.as_secs() < 60 { format!("{:.1} s", time.as_secs_f64()) } else { clock(time) }
}

/// Minutes and seconds, and hours if there are any.
pub(super) fn clock(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// A size with three digits.
pub(super) fn bytes(count: usize) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut size = count as f64;
    let mut unit = 0;
    while size >= 999.5 && unit + 1 < units.len() {
        size /= 1000.0;
        unit += 1;
    }
    let decimals = if unit == 0 || size >= 99.95 { 0 } else { 1 };
    format!("{size:.decimals$} {}", units[unit])
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let sizes = [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_234_567, "1.2 MB")];
        let more = [(99_940_000, "99.9 MB"), (123_456_789_000, "123 GB")];
        for (count, text) in sizes.into_iter().chain(more) {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(metric("loss", 12345.678, 2), "1.235e4");
        assert_eq!(metric("loss", 0.00012, 2), "1.200e-4");
        assert_eq!(metric("loss", f64::NAN, 2), "NaN");
        assert_eq!(clock(Duration::from_secs(3)), "0:03");
        assert_eq!(clock(Duration::from_secs(3600 + 62)), "1:01:02");
        assert_eq!(seconds(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(75)), "1:15");
    }

    #[test]
    fn digits_are_grouped_by_three() {
        let numbers = [0, 999, 1000, 123456, 1234567].map(grouped);
        assert_eq!(numbers, ["0", "999", "1,000", "123,456", "1,234,567"]);
    }
}
