//! The settings that something is made of, and files of them.

use std::path::Path;

use kiln_tensor::{Error, Result, atomic_write};
use serde::Serialize;
use serde::de::DeserializeOwned;

// For the code that the derive macro writes.
#[doc(hidden)]
pub use serde;

/// Settings with defaults, that a file can hold. Derive it: `#[derive(Config)]`.
///
/// `new` asks for the fields without a default, in order; `with_*` changes the others. Files are
/// JSON; a setting that a file lacks has its default, one that the config lacks is an error.
///
/// ```
/// # extern crate kiln_nn as kiln;
/// use kiln_nn::Config;
/// #[derive(Config, Debug, PartialEq)]
/// struct NetConfig {
///     inputs: usize,
///     #[config(default = 128)]
///     hidden: usize,
///     dropout: Option<f64>,
/// }
/// let config = NetConfig::new(784).with_hidden(256);
/// assert_eq!((config.inputs, config.hidden, config.dropout), (784, 256, None));
///
/// let path = std::env::temp_dir().join("kiln_config_doc.json");
/// config.save(&path)?;
/// assert_eq!(NetConfig::load(&path)?, config);
/// # std::fs::remove_file(path).ok();
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
pub trait Config: Serialize + DeserializeOwned + Clone {
    /// The settings as JSON.
    fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_else(|error| format!("not JSON: {error}"))
    }

    /// Reads settings from JSON.
    fn from_text(text: &str) -> Result<Self> {
        serde_json::from_str(text)
            .map_err(|error| Error::Argument { op: "config", rule: error.to_string() })
    }

    /// Writes the settings to a JSON file, which appears whole or not at all.
    fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        // Checked first, so that what can not be written leaves the old file.
        let text = serde_json::to_string_pretty(self).map_err(|error| file_error(path, error))?;
        atomic_write(path, |file| writeln!(file, "{text}"))
    }

    /// Reads settings from a JSON file.
    fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| file_error(path, error))?;
        serde_json::from_str(&text).map_err(|error| file_error(path, error))
    }
}

fn file_error(path: &Path, error: impl ToString) -> Error {
    Error::File { path: path.display().to_string(), what: error.to_string() }
}
