//! NumPy's archives of arrays.

use std::io::BufReader;
use std::path::Path;

use kiln_tensor::{Result, TensorData, npy};

use super::source::{Reader, Source};
use super::weight_file::{Entry, WeightFile};

/// Reads all arrays: most are compressed.
pub(super) fn open(source: &Source, file: &mut WeightFile) -> Result<()> {
    let arrays = npy::read_archive_from(BufReader::new(Reader::new(source)), &source.name)?;
    file.entries = arrays.into_iter().map(|(name, data)| (name, Entry::Held(data))).collect();
    Ok(())
}

pub(super) fn save<'a>(
    path: &Path,
    entries: impl Iterator<Item = (&'a str, &'a TensorData)>,
) -> Result<()> {
    // Weights look like noise: compression would take time and save little.
    npy::write_archive(path, entries, false)
}
