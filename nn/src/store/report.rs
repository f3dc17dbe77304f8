//! What became of each entry when weights were loaded.

use std::fmt;

use kiln_tensor::{DType, Error, Result, Shape};

use super::file_error;

/// What became of each entry when weights were loaded into a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Paths that took their values.
    pub loaded: Vec<String>,
    /// Paths of the model that the file lacks; they keep their values.
    pub missing: Vec<String>,
    /// Paths of the file that the model lacks.
    pub unexpected: Vec<String>,
    /// Paths whose shapes differ: in the model, and in the file. They keep their values.
    pub misshapen: Vec<(String, Shape, Shape)>,
    /// Paths whose values were converted: from the dtype of the file to that of the model.
    pub converted: Vec<(String, DType, DType)>,
}

impl LoadReport {
    /// Whether model and file have the same entries of the same shapes.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misshapen.is_empty()
    }

    /// An error that names every difference, if there is one.
    pub(crate) fn strict(&self, path: &str) -> Result<(), Error> {
        if self.is_complete() {
            return Ok(());
        }
        let what = format!(
            "does not fit the model: {self}; load it with `load_file_partial` to take what fits"
        );
        Err(file_error(path, what))
    }
}

/// `12 loaded, missing a.weight, unexpected b.weight, fc.weight is [2, 3] but [4, 3] in the file`.
impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} loaded", self.loaded.len())?;
        for (what, paths) in [("missing", &self.missing), ("unexpected", &self.unexpected)] {
            if !paths.is_empty() {
                write!(f, ", {what} {}", paths.join(" "))?;
            }
        }
        for (path, model, file) in &self.misshapen {
            write!(f, ", {path} is {model} but {file} in the file")?;
        }
        for (path, from, to) in &self.converted {
            write!(f, ", {path} converted from {from} to {to}")?;
        }
        Ok(())
    }
}
