//! Where the bytes of a weight file are.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Mutex;

use kiln_tensor::{Error, Result, TensorData};

use super::file_error;
use super::weight_file::Layout;

/// The bytes of one file, read when they are asked for.
pub(super) struct Source {
    /// The name of the file, for errors.
    pub(super) name: String,
    len: u64,
    bytes: Bytes,
}

enum Bytes {
    File(Mutex<File>),
    Memory(Box<dyn AsRef<[u8]> + Send + Sync>),
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let (name, file, len) = open(path)?;
        Ok(Self { name, len, bytes: Bytes::File(Mutex::new(file)) })
    }

    /// # Safety
    /// While the source is there, nobody changes the file or makes it shorter.
    pub(super) unsafe fn map(path: &Path) -> Result<Self> {
        let (name, file, _) = open(path)?;
        // SAFETY: the caller's promise.
        let map = unsafe { memmap2::Mmap::map(&file) }
            .map_err(|cause| file_error(&name, format!("can not be mapped: {cause}")))?;
        Ok(Self::memory(name, map))
    }

    pub(super) fn memory(name: String, bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let len = bytes.as_ref().len() as u64;
        Self { name, len, bytes: Bytes::Memory(Box::new(bytes)) }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn error(&self, what: impl fmt::Display) -> Error {
        file_error(&self.name, what)
    }

    /// All bytes from `start`, if they are in memory; else none.
    fn slice(&self, start: u64, len: usize) -> Option<&[u8]> {
        let Bytes::Memory(bytes) = &self.bytes else { return None };
        let start = usize::try_from(start).ok()?;
        (**bytes).as_ref().get(start..start.checked_add(len)?)
    }

    /// Fills `target` with the bytes from `start`.
    pub(super) fn read(&self, start: u64, target: &mut [u8]) -> Result<()> {
        let result = match &self.bytes {
            Bytes::File(file) => {
                // A panic of another reader leaves nothing but another position.
                let mut file = file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(target))
            }
            Bytes::Memory(_) => self
                .slice(start, target.len())
                .map(|bytes| target.copy_from_slice(bytes))
                .ok_or_else(|| io::ErrorKind::UnexpectedEof.into()),
        };
        result.map_err(|cause| self.error(format!("can not be read: {cause}")))
    }

    /// `len` bytes from `start`; no memory is taken for bytes that are not there.
    pub(super) fn read_vec(&self, start: u64, len: u64) -> Result<Vec<u8>> {
        if start.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(self.error("is truncated"));
        }
        let mut bytes = vec![0; len as usize];
        self.read(start, &mut bytes)?;
        Ok(bytes)
    }

    /// The values that lie at `layout`.
    pub(super) fn values(&self, layout: &Layout) -> Result<TensorData> {
        TensorData::filled(layout.shape, layout.dtype, |target| match &layout.strides {
            None => self.read(layout.start, target),
            Some(strides) => {
                let span = layout.span(strides);
                let read;
                let bytes = match self.slice(layout.start, span) {
                    Some(bytes) => bytes,
                    None => {
                        read = self.read_vec(layout.start, span as u64)?;
                        &read
                    }
                };
                gather(bytes, layout.dtype.size(), &layout.shape, strides, target);
                Ok(())
            }
        })
        .map_err(|cause| match cause {
            Error::File { .. } | Error::Memory { .. } => cause,
            cause => self.error(cause),
        })
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({}, {} bytes)", self.name, self.len)
    }
}

/// Opens a file: its name, and how many bytes it has.
fn open(path: &Path) -> Result<(String, File, u64)> {
    let name = path.display().to_string();
    let open = || -> io::Result<_> {
        // Before it is opened: a pipe would wait for someone who writes to it.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok((file, len))
    };
    match open() {
        Ok((file, len)) => Ok((name, file, len)),
        Err(cause) => Err(file_error(&name, format!("can not be read: {cause}"))),
    }
}

/// Copies elements of `size` bytes that lie in `bytes` at these strides, in elements, row by row.
fn gather(bytes: &[u8], size: usize, dims: &[usize], strides: &[usize], target: &mut [u8]) {
    let mut index = [0; kiln_tensor::MAX_RANK];
    let mut at = 0;
    for element in target.chunks_exact_mut(size) {
        element.copy_from_slice(&bytes[at * size..][..size]);
        for axis in (0..dims.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < dims[axis] {
                break;
            }
            at -= strides[axis] * dims[axis];
            index[axis] = 0;
        }
    }
}

/// A source as a stream.
pub(super) struct Reader<'a> {
    source: &'a Source,
    at: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Self { source, at: 0 }
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let left = self.source.len.saturating_sub(self.at).min(target.len() as u64) as usize;
        self.source.read(self.at, &mut target[..left]).map_err(io::Error::other)?;
        self.at += left as u64;
        Ok(left)
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(offset) => self.source.len.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.at.checked_add_signed(offset),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
