//! Writing files so that nothing is lost.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_tensor::{Error, Result};

/// Writes a file that appears whole or not at all: to a temporary name beside it, synced, renamed
/// over `path`, and the folder synced. What was at `path` before stays until then.
pub fn atomic_write(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let error = |what: &str, error: io::Error| Error::File {
        path: path.display().to_string(),
        what: format!("{what}: {error}"),
    };
    let temporary = temporary_beside(path)
        .ok_or_else(|| error("can not be written", io::Error::other("it is not a file name")))?;
    let result = (|| {
        let mut file = io::BufWriter::new(File::create_new(&temporary)?);
        write(&mut file)?;
        file.into_inner().map_err(|error| error.into_error())?.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if let Err(cause) = result {
        // Best effort: the error that matters is the first one.
        let _ = fs::remove_file(&temporary);
        return Err(error("can not be written", cause));
    }
    // The rename itself becomes durable with the folder. Not every system can sync one.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Ok(folder) = File::open(folder.unwrap_or(Path::new("."))) {
        let _ = folder.sync_all();
    }
    Ok(())
}

fn temporary_beside(path: &Path) -> Option<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name()?.to_os_string();
    name.push(format!(".{}-{count}.tmp", std::process::id()));
    Some(path.with_file_name(name))
}
