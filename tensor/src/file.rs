//! Writing files so that nothing is lost.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

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
    let (file, temporary) =
        create_beside(path).map_err(|cause| error("can not be written", cause))?;
    let result = (|| {
        let mut file = io::BufWriter::new(file);
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

/// A new file beside `path`. A name that is taken is not ours: another process may be writing it,
/// or have left it when it was killed.
fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or_else(|| io::Error::other("it is not a file name"))?;
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut name = name.to_os_string();
        name.push(format!(".{}-{count}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        match File::create_new(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            result => return Ok((result?, temporary)),
        }
    }
}
