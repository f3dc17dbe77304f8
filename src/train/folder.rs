//! The checkpoints of a run, in one folder.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_tensor::{Error, Result};

use super::Checkpoint;

/// The checkpoints of a run, one file for each step at which one was taken:
/// `step-00000500.safetensors`.
///
/// ```
/// use kiln::train::{Checkpoint, Checkpoints};
/// # let folder = std::env::temp_dir().join("kiln_checkpoints_doc");
/// let mut checkpoints = Checkpoints::new(&folder)?;
/// if let Some((step, checkpoint)) = checkpoints.latest()? {
///     // Go on from there.
/// }
/// checkpoints.save(500, &Checkpoint::new())?;
/// checkpoints.keep(&[500]); // and no others up to that step
/// # std::fs::remove_dir_all(folder).ok();
/// # Ok::<(), kiln::Error>(())
/// ```
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    /// Files that [`Checkpoints::latest`] refused, and why.
    refused: Vec<(usize, Error)>,
}

impl Checkpoints {
    /// The checkpoints of a folder, which is made if it is not there. An error if it can not be
    /// written to: better now than when the first checkpoint is due.
    pub fn new(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref().to_path_buf();
        let error = |cause: std::io::Error| Error::File {
            path: folder.display().to_string(),
            what: format!("checkpoints can not be written there: {cause}"),
        };
        fs::create_dir_all(&folder).map_err(error)?;
        for name in names(&folder)? {
            // What a killed process was writing.
            if name.starts_with("step-") && name.ends_with(".tmp") {
                let _ = fs::remove_file(folder.join(name));
            }
        }
        let probe = folder.join(format!(".writable-{}", std::process::id()));
        fs::write(&probe, []).map_err(error)?;
        fs::remove_file(&probe).map_err(error)?;
        Ok(Self { folder, refused: Vec::new() })
    }

    /// The file for a step.
    pub fn path(&self, step: usize) -> PathBuf {
        self.folder.join(format!("step-{step:08}.safetensors"))
    }

    /// The steps of all files, the first one first.
    pub fn steps(&self) -> Result<Vec<usize>> {
        let number =
            |name: &str| name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok();
        let mut steps: Vec<usize> =
            names(&self.folder)?.iter().filter_map(|name| number(name)).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// The last checkpoint that is whole, and its step; `None` if there is no file at all. Damaged
    /// ones are passed over, and told by [`Checkpoints::refused`]; if there are no others, the first
    /// reason is the error.
    pub fn latest(&mut self) -> Result<Option<(usize, Checkpoint)>> {
        self.refused.clear();
        for step in self.steps()?.into_iter().rev() {
            match Checkpoint::load(self.path(step)) {
                Ok(checkpoint) => return Ok(Some((step, checkpoint))),
                Err(error) => self.refused.push((step, error)),
            }
        }
        self.refused.first().map_or(Ok(None), |(_, error)| Err(error.clone()))
    }

    /// Why files were passed over.
    pub fn refused(&self) -> impl Iterator<Item = &Error> {
        self.refused.iter().map(|(_, error)| error)
    }

    /// Writes the checkpoint of a step. What was saved before stays, whatever happens.
    pub fn save(&mut self, step: usize, checkpoint: &Checkpoint) -> Result<PathBuf> {
        let path = self.path(step);
        checkpoint.save(&path)?;
        // Now there is a whole one, the damaged ones are of no use.
        for (damaged, _) in std::mem::take(&mut self.refused) {
            if damaged != step {
                let _ = fs::remove_file(self.path(damaged));
            }
        }
        Ok(path)
    }

    /// Removes all files up to the last of these steps but those of `steps`. Call it after a
    /// [`Checkpoints::save`]; a file that can not be removed stays.
    pub fn keep(&self, steps: &[usize]) {
        let last = steps.iter().copied().max().unwrap_or(0);
        for step in self.steps().unwrap_or_default() {
            if step < last && !steps.contains(&step) {
                let _ = fs::remove_file(self.path(step));
            }
        }
    }
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let error = |cause: std::io::Error| Error::File {
        path: folder.display().to_string(),
        what: format!("the folder can not be read: {cause}"),
    };
    let entries = fs::read_dir(folder).map_err(error)?;
    let name = |entry: std::io::Result<fs::DirEntry>| {
        entry.map(|entry| entry.file_name().to_string_lossy().into_owned()).map_err(error)
    };
    entries.map(name).collect()
}
