//! Text as numbers, in a file that is not read into memory.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use kiln_tensor::{Device, Error, Int, Result, Tensor, atomic_write};
use memmap2::Mmap;

use super::Dataset;
use super::subset::out_of_range;

const MAGIC: &[u8; 8] = b"KILNTOK1";
/// The magic, the size of the vocabulary and the bytes of a token.
const HEADER: usize = 16;
/// The number of tokens, at the end: it is known when they are written.
const TRAILER: usize = 8;

/// A file of tokens, mapped into memory: its pages are read as they are needed, and shared by all
/// processes that use them.
///
/// ```
/// use kiln::data::{DataLoaderBuilder, Stack, TokenFile};
/// # let path = std::env::temp_dir().join(format!("kiln-tokens-{}", std::process::id()));
/// TokenFile::write(&path, 256, "to be or not to be, that is the question".bytes().map(u32::from))?;
/// let windows = TokenFile::open(&path)?.windows(8);
/// let loader = DataLoaderBuilder::new(Stack).batch_size(2).shuffle(7).build(windows);
/// let (input, target) = loader.epoch(0).next().expect("a batch")?;
/// assert_eq!((input.dims(), target.dims()), ([2, 8], [2, 8]));
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), kiln::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TokenFile {
    map: Arc<Mmap>,
    path: String,
    /// Where the tokens are; whole tokens inside of the map.
    place: Range<usize>,
    /// Bytes of a token: 2 or 4, the lowest first.
    width: usize,
    vocabulary: u32,
}

impl TokenFile {
    /// Writes a file that appears whole or not at all. Tokens take two bytes if the vocabulary has
    /// at most 65536, else four. An error if a token is not below `vocabulary`.
    pub fn write(
        path: impl AsRef<Path>,
        vocabulary: u32,
        tokens: impl IntoIterator<Item = u32>,
    ) -> Result<()> {
        let width = if vocabulary <= 1 << 16 { 2 } else { 4 };
        atomic_write(path.as_ref(), |file| {
            file.write_all(MAGIC)?;
            file.write_all(&vocabulary.to_le_bytes())?;
            file.write_all(&(width as u32).to_le_bytes())?;
            let mut count = 0u64;
            for token in tokens {
                if token >= vocabulary {
                    return Err(io::Error::other(too_large(token, count, vocabulary)));
                }
                file.write_all(&token.to_le_bytes()[..width])?;
                count += 1;
            }
            file.write_all(&count.to_le_bytes())
        })
    }

    /// A file that [`TokenFile::write`] made; an error if it is damaged.
    ///
    /// No process may change or shorten the file while it is open: reading what is gone ends the
    /// program. Replacing it, as [`TokenFile::write`] does, is fine.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let map = map(path)?;
        let word = |at: usize| u32::from_le_bytes(map[at..at + 4].try_into().expect("four bytes"));
        if map.len() < HEADER + TRAILER || !map.starts_with(MAGIC) {
            return Err(file_error(path, "is no file of tokens: it does not start as one"));
        }
        let (vocabulary, width) = (word(8), word(12) as usize);
        let place = HEADER..map.len() - TRAILER;
        let count = map[place.end..].try_into().map(u64::from_le_bytes).expect("eight bytes");
        if !matches!(width, 2 | 4) || count.checked_mul(width as u64) != Some(place.len() as u64) {
            let what = format!(
                "is damaged: {count} tokens of {width} bytes do not fit its {} bytes",
                map.len()
            );
            return Err(file_error(path, &what));
        }
        Ok(Self { path: path.display().to_string(), map, place, width, vocabulary })
    }

    /// A file of nothing but unsigned numbers of 2 or 4 bytes, the lowest byte first, each below
    /// `vocabulary`: the `train.bin` of nanoGPT has 2. Otherwise as [`TokenFile::open`]. Panics if
    /// `bytes` is another number.
    #[track_caller]
    pub fn open_raw(path: impl AsRef<Path>, bytes: usize, vocabulary: u32) -> Result<Self> {
        assert!(matches!(bytes, 2 | 4), "a token has 2 or 4 bytes, not {bytes}");
        let path = path.as_ref();
        let map = map(path)?;
        if !map.len().is_multiple_of(bytes) {
            let what = format!("{} bytes are no whole number of {bytes}-byte tokens", map.len());
            return Err(file_error(path, &what));
        }
        let (path, place) = (path.display().to_string(), 0..map.len());
        Ok(Self { map, path, place, width: bytes, vocabulary })
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.place.len() / self.width
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.place.is_empty()
    }

    /// The number that all tokens are below.
    pub fn vocabulary(&self) -> u32 {
        self.vocabulary
    }

    /// The tokens of a range. An error if it is out of range, or if the file has a token that is
    /// not below the size of the vocabulary.
    pub fn get(&self, range: Range<usize>) -> Result<Vec<i64>> {
        if range.start > range.end || range.end > self.len() {
            return Err(out_of_range(range.end, self.len()));
        }
        let all = &self.map[self.place.clone()];
        let bytes = &all[range.start * self.width..range.end * self.width];
        let token = |(i, bytes): (usize, &[u8])| {
            let mut word = [0; 4];
            word[..self.width].copy_from_slice(bytes);
            let token = u32::from_le_bytes(word);
            if token < self.vocabulary {
                return Ok(token as i64);
            }
            let what = too_large(token, (range.start + i) as u64, self.vocabulary);
            Err(Error::File { path: self.path.clone(), what })
        };
        bytes.chunks_exact(self.width).enumerate().map(token).collect()
    }

    /// The file as stretches of `block` tokens, one after the other, each with the tokens that
    /// follow its own. Panics if `block` is zero.
    #[track_caller]
    pub fn windows(self, block: usize) -> TokenWindows {
        assert!(block > 0, "windows: the block must not be zero");
        TokenWindows { tokens: self, block, step: block }
    }
}

fn map(path: &Path) -> Result<Arc<Mmap>> {
    let map = File::open(path).and_then(|file| {
        // SAFETY: the file must not change while it is mapped, which the documentation of `open`
        // asks for. Its bytes are never taken for more than numbers.
        unsafe { Mmap::map(&file) }
    });
    map.map(Arc::new).map_err(|cause| file_error(path, &format!("can not be read: {cause}")))
}

fn file_error(path: &Path, what: &str) -> Error {
    Error::File { path: path.display().to_string(), what: what.into() }
}

fn too_large(token: u32, place: u64, vocabulary: u32) -> String {
    format!("token {token} at {place} is not below {vocabulary}, the size of the vocabulary")
}

/// Stretches of a [`TokenFile`] to train a language model on: an item is the tokens of a stretch
/// and those one place further on, both `[block]`.
#[derive(Clone, Debug)]
pub struct TokenWindows {
    tokens: TokenFile,
    block: usize,
    step: usize,
}

impl TokenWindows {
    /// With stretches that begin `step` tokens after one another. With 1 there is one at every
    /// token; [`random`](super::DataLoaderBuilder::random) then draws from them without a list of
    /// all. Panics if it is zero.
    #[track_caller]
    pub fn step(mut self, step: usize) -> Self {
        assert!(step > 0, "windows: the step must not be zero");
        self.step = step;
        self
    }
}

impl Dataset for TokenWindows {
    type Item = (Tensor<1, Int>, Tensor<1, Int>);

    fn len(&self) -> usize {
        // The last token is only a target.
        let starts = self.tokens.len().saturating_sub(self.block);
        starts.div_ceil(self.step)
    }

    fn get(&self, index: usize) -> Result<Self::Item> {
        if index >= self.len() {
            return Err(out_of_range(index, self.len()));
        }
        let start = index * self.step;
        let mut input = self.tokens.get(start..start + self.block + 1)?;
        let target = input[1..].to_vec();
        input.pop();
        let device = Device::cpu();
        Ok((Tensor::from_data(input, &device), Tensor::from_data(target, &device)))
    }
}
