//! Weights in several files, with an index that says which entry is in which: Hugging Face's format.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

use kiln_tensor::{Result, TensorData, atomic_write};
use serde::{Deserialize, Serialize};

use super::source::Source;
use super::weight_file::{Entry, WeightFile, WeightFormat};
use super::{file_error, safetensors};

/// The longest index that is read; those of the largest models have a few megabytes.
const LONGEST_INDEX: u64 = 100_000_000;

#[derive(Deserialize, Serialize)]
struct Index {
    /// Of all sizes Hugging Face's library wants this one. Reading ignores it: there are models
    /// whose number is wrong.
    #[serde(skip_deserializing)]
    metadata: Sizes,
    /// The file of each entry.
    weight_map: BTreeMap<String, String>,
}

#[derive(Default, Serialize)]
struct Sizes {
    total_size: usize,
}

/// The index beside a file of this path.
pub(super) fn index_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".index.json");
    name.into()
}

/// Whether these bytes are an index, for fuzzing.
pub fn parse_any(bytes: &[u8]) -> bool {
    parse(bytes).is_ok()
}

/// The file of each entry. The names of files are those of files beside the index: none leads
/// elsewhere.
fn parse(bytes: &[u8]) -> Result<BTreeMap<String, String>, String> {
    let index: Index = serde_json::from_slice(bytes)
        .map_err(|cause| format!("is no valid index of weight files: {cause}"))?;
    for name in index.weight_map.values() {
        let mut parts = Path::new(name).components();
        let plain = matches!(parts.next(), Some(Component::Normal(_))) && parts.next().is_none();
        // On some systems these are parts of paths, on some of names.
        if !plain || name.contains(['/', '\\', ':', '\0']) {
            return Err(format!("names the file {name:?}, which is not one beside it"));
        }
    }
    Ok(index.weight_map)
}

/// Opens the files that the index names, each by `open`, as one.
pub(super) fn open(
    path: &Path,
    index: &Source,
    open: impl Fn(&Path) -> Result<WeightFile>,
) -> Result<WeightFile> {
    if index.len() > LONGEST_INDEX {
        return Err(index.error(format!("an index of {} bytes is too long", index.len())));
    }
    let map = parse(&index.read_vec(0, index.len())?).map_err(|what| index.error(what))?;
    let mut all = WeightFile::empty(index.name.clone(), WeightFormat::Index);
    let mut entries = HashMap::new();
    for name in map.values().collect::<BTreeSet<_>>() {
        let shard = open(&path.with_file_name(name))?;
        let first = all.sources.len();
        all.sources.extend(shard.sources);
        // What files say of themselves is mostly the same in all of them.
        all.metadata.extend(shard.metadata);
        for (entry_name, mut entry) in shard.entries {
            if let Entry::Stored(source, _) = &mut entry {
                *source += first;
            }
            entries.insert((entry_name, name), entry);
        }
    }
    for (entry_name, name) in &map {
        let Some(entry) = entries.remove(&(entry_name.clone(), name)) else {
            return Err(index.error(format!("names {entry_name} in {name}, which lacks it")));
        };
        all.entries.push((entry_name.clone(), entry));
    }
    Ok(all)
}

/// See [`StateDict::save_sharded`](super::StateDict::save_sharded).
pub(super) fn save(
    path: &Path,
    entries: &[(&str, &TensorData)],
    metadata: &BTreeMap<String, String>,
    max_bytes: usize,
) -> Result<()> {
    let error = |what: String| file_error(&path.display().to_string(), what);
    let index = index_of(path);
    let stem = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".safetensors"));
    let stem = stem.ok_or_else(|| error("the name must end in `.safetensors`".into()))?;
    let shards = split(entries, max_bytes);
    remove(&index)?;
    let write = |path: &Path, shard: &[(&str, &TensorData)]| {
        safetensors::save(path, shard.iter().copied(), metadata)
    };
    if let [shard] = shards[..] {
        return write(path, shard);
    }
    let mut map = BTreeMap::new();
    for (i, shard) in shards.iter().enumerate() {
        let name = format!("{stem}-{:05}-of-{:05}.safetensors", i + 1, shards.len());
        write(&path.with_file_name(&name), shard)?;
        map.extend(shard.iter().map(|(entry, _)| (entry.to_string(), name.clone())));
    }
    let total_size = entries.iter().map(|(_, data)| data.bytes().len()).sum();
    let contents = Index { metadata: Sizes { total_size }, weight_map: map };
    let json = serde_json::to_vec_pretty(&contents).map_err(|cause| error(cause.to_string()))?;
    atomic_write(&index, |file| file.write_all(&json))?;
    // It would be taken for the newer one.
    remove(path)
}

/// Entries in groups of at most `max_bytes`, or of one entry; at least one group.
fn split<'a, 'b>(
    entries: &'a [(&'b str, &'b TensorData)],
    max_bytes: usize,
) -> Vec<&'a [(&'b str, &'b TensorData)]> {
    let (mut groups, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (i, (_, data)) in entries.iter().enumerate() {
        let more = data.bytes().len();
        if i > start && bytes + more > max_bytes {
            groups.push(&entries[start..i]);
            (start, bytes) = (i, 0);
        }
        bytes += more;
    }
    groups.push(&entries[start..]);
    groups
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(file_error(&path.display().to_string(), format!("can not be removed: {cause}")))
        }
        _ => Ok(()),
    }
}
