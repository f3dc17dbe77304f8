//! What a side answers to a request.

use serde::{Deserialize, Serialize};

/// A measure, or why there is none.
pub type Answer = Result<Measure, String>;

/// What one turn gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Measure {
    /// In the first line of a process: what measures, in words.
    pub about: String,
    /// Microseconds of one call.
    pub us: f64,
    /// Floating-point operations of one call. Kiln alone counts them.
    pub flops: u64,
    /// The most memory in use so far, in millions of bytes, with the inputs.
    pub peak_mb: Option<f64>,
}
