//! What settings must be, with the error texts.

use kiln_tensor::{Error, Result};

/// An error of `op` unless `holds`.
pub(crate) fn rule(op: &'static str, holds: bool, rule: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Argument { op, rule: rule() }) }
}

/// Each of these settings must be a number that is not negative.
pub(crate) fn not_negative<const N: usize>(
    op: &'static str,
    settings: [(&str, f64); N],
) -> Result<()> {
    settings.into_iter().try_for_each(|(name, value)| {
        let holds = value >= 0.0 && value.is_finite();
        rule(op, holds, || format!("{name} must be a number from 0, found {value}"))
    })
}

/// Each of these settings must be in `0..1`.
pub(crate) fn shares<const N: usize>(op: &'static str, settings: [(&str, f64); N]) -> Result<()> {
    settings.into_iter().try_for_each(|(name, value)| {
        rule(op, (0.0..1.0).contains(&value), || format!("{name} must be in 0..1, found {value}"))
    })
}

/// Each of these settings must be a positive number.
pub(crate) fn positive<const N: usize>(op: &'static str, settings: [(&str, f64); N]) -> Result<()> {
    settings.into_iter().try_for_each(|(name, value)| {
        let holds = value > 0.0 && value.is_finite();
        rule(op, holds, || format!("{name} must be a positive number, found {value}"))
    })
}
