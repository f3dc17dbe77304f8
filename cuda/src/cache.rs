//! Machine code that was compiled before, kept on disk.
//!
//! A file is named by a hash of all that its content depends on: source, architecture, version of
//! NVRTC and of this format. It is written under another name and renamed, and carries a hash of
//! its content, so a file that is cut short or altered counts as absent.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use kiln_tensor::atomic_write;

/// Changes with the format of the files and with the options of the compiler.
const FORMAT: &str = "kiln cubin 1\n";

/// A folder of compiled kernels.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The cache of the user: `$KILN_CACHE`, or `kiln` in `$XDG_CACHE_HOME` or `~/.cache`. None if
    /// there is no such place, or KILN_CACHE is empty.
    pub fn of_user() -> Option<Self> {
        Self::in_environment(|name| std::env::var_os(name))
    }

    fn in_environment(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let full = |value: OsString| (!value.is_empty()).then(|| PathBuf::from(value));
        let root = match variable("KILN_CACHE") {
            Some(own) => full(own)?,
            None => match variable("XDG_CACHE_HOME").and_then(full) {
                Some(caches) => caches.join("kiln"),
                None => variable("HOME").and_then(full)?.join(".cache/kiln"),
            },
        };
        Some(Self::new(&root))
    }

    /// The cache under a folder, which need not exist.
    pub fn new(root: &Path) -> Self {
        Self { folder: root.join("cubin") }
    }

    /// The file for a source, an architecture and a version of NVRTC.
    pub fn file(&self, source: &str, architecture: &str, compiler: (u32, u32)) -> PathBuf {
        let version = format!("{}.{}", compiler.0, compiler.1);
        let hash = hash([FORMAT, &version, architecture, source]);
        self.folder.join(format!("{hash:032x}.cubin"))
    }

    /// The content of a file, if it is whole.
    pub fn read(&self, file: &Path) -> Option<Vec<u8>> {
        let bytes = std::fs::read(file).ok()?;
        let (hash, code) = bytes.strip_prefix(FORMAT.as_bytes())?.split_first_chunk()?;
        (hash_on(FNV_OFFSET, code) == u128::from_le_bytes(*hash)).then(|| code.to_vec())
    }

    /// Keeps `code`. A cache that can not be written is no error: the kernel is compiled again
    /// next time.
    pub fn write(&self, file: &Path, code: &[u8]) {
        if std::fs::create_dir_all(&self.folder).is_ok() {
            let _ = atomic_write(file, |to| {
                to.write_all(FORMAT.as_bytes())?;
                to.write_all(&hash_on(FNV_OFFSET, code).to_le_bytes())?;
                to.write_all(code)
            });
        }
    }

    /// Forgets a file whose content the driver refused.
    pub fn remove(&self, file: &Path) {
        let _ = std::fs::remove_file(file);
    }
}

// FNV-1a in 128 bits (Fowler, Noll and Vo): the same in every version of Rust.
const FNV_OFFSET: u128 = 0x6c62272e07bb014262b821756295c58d;
const FNV_PRIME: u128 = 0x0000000001000000000000000000013b;

/// The same for the same texts in the same order.
pub(crate) fn hash<'a>(texts: impl IntoIterator<Item = &'a str>) -> u128 {
    texts.into_iter().fold(FNV_OFFSET, |hash, text| {
        // The length keeps neighbours apart.
        hash_on(hash_on(hash, &text.len().to_le_bytes()), text.as_bytes())
    })
}

fn hash_on(hash: u128, bytes: &[u8]) -> u128 {
    bytes.iter().fold(hash, |hash, &byte| (hash ^ u128::from(byte)).wrapping_mul(FNV_PRIME))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("kiln-cache-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        root
    }

    #[test]
    fn what_was_written_is_read_and_everything_else_is_absent() {
        let root = scratch("whole");
        let cache = Cache::new(&root);
        let file = cache.file("source", "sm_90", (13, 0));
        assert_eq!(cache.read(&file), None);
        cache.write(&file, b"machine code");
        assert_eq!(cache.read(&file).unwrap(), b"machine code");
        let whole = std::fs::read(&file).unwrap();
        for end in 0..whole.len() {
            std::fs::write(&file, &whole[..end]).unwrap();
            assert_eq!(cache.read(&file), None, "cut to {end} bytes");
        }
        for at in 0..whole.len() {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            std::fs::write(&file, &altered).unwrap();
            assert_eq!(cache.read(&file), None, "byte {at} altered");
        }
        cache.write(&file, b"again");
        assert_eq!(cache.read(&file).unwrap(), b"again");
        cache.remove(&file);
        assert_eq!(cache.read(&file), None);
        let left: Vec<_> = std::fs::read_dir(root.join("cubin")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_cache_that_can_not_be_written_is_no_error() {
        let root = scratch("file");
        std::fs::write(&root, "no folder").unwrap();
        let cache = Cache::new(&root);
        let file = cache.file("source", "sm_90", (13, 0));
        cache.write(&file, b"code");
        assert_eq!(cache.read(&file), None);
        std::fs::remove_file(root).unwrap();
    }

    #[test]
    fn the_environment_names_the_folder() {
        let cache = |set: &[(&str, &str)]| {
            let find = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, v)| v.into());
            Cache::in_environment(find).map(|cache| cache.folder)
        };
        let home = ("HOME", "/home/me");
        assert_eq!(cache(&[home]), Some("/home/me/.cache/kiln/cubin".into()));
        assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/c")]), Some("/c/kiln/cubin".into()));
        assert_eq!(cache(&[home, ("KILN_CACHE", "/k")]), Some("/k/cubin".into()));
        assert_eq!(cache(&[home, ("KILN_CACHE", "")]), None);
        assert_eq!(cache(&[]), None);
    }

    proptest! {
        #[test]
        fn each_part_of_the_key_makes_another_file(
            a in "[a-c]{0,3}", b in "[a-c]{0,3}", c in "[a-c]{0,3}", d in "[a-c]{0,3}",
            minor in 0u32..3, other in 0u32..3,
        ) {
            let cache = Cache::new(Path::new("/c"));
            let same = (&a, &b, minor) == (&c, &d, other);
            let files = [cache.file(&a, &b, (13, minor)), cache.file(&c, &d, (13, other))];
            prop_assert_eq!(files[0] == files[1], same);
        }
    }
}
