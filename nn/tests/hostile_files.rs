//! Files that were made to do harm: whatever is in them, reading gives an error or values, never a
//! panic, never runs anything, and takes no more memory than a small multiple of the file's size.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use kiln_nn::store::parsers;
use kiln_nn::{Module, Param, StateDict, WeightFile};
use kiln_tensor::{Device, Result, Tensor, TensorData};
use proptest::prelude::*;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// The system's allocator; it counts the bytes of each thread.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    let live = LIVE.get() + bytes;
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
}

// SAFETY: forwards to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` gives, and the most bytes that it had allocated at once.
fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = work();
    (result, (PEAK.get() - before) as usize)
}

/// What reading these bytes gives, within `factor` times their number and a bit for buffers.
#[track_caller]
fn load_within(factor: usize, bytes: &[u8]) -> Result<StateDict> {
    let bytes = bytes.to_vec();
    let len = bytes.len();
    let (result, peak) = peak(|| WeightFile::from_bytes(bytes)?.into_state_dict());
    assert!(peak <= factor * len + (128 << 10), "{peak} bytes for a file of {len}");
    result
}

#[track_caller]
fn load(bytes: &[u8]) -> Result<StateDict> {
    load_within(16, bytes)
}

#[track_caller]
fn refused(bytes: &[u8]) -> String {
    load(bytes).expect_err("a hostile file").to_string()
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/files").join(name)).unwrap()
}

/// A file of each format.
fn valid() -> [Vec<u8>; 5] {
    let state = StateDict::load(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/files/plain.pt"),
    )
    .unwrap();
    let path = std::env::temp_dir().join(format!("kiln-hostile-{}", std::process::id()));
    state.save(&path).unwrap();
    let safetensors = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let others = ["plain.pt", "protocol4.pth", "stored.npz", "deflated.npz"].map(fixture);
    let [a, b, c, d] = others;
    [safetensors, a, b, c, d]
}

// The pieces of a pickle.

fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

fn int(number: i64) -> Vec<u8> {
    [&[0x8a, 8], &number.to_le_bytes()[..]].concat()
}

fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(", &items.concat()[..], b"t"].concat()
}

fn ints(numbers: &[i64]) -> Vec<u8> {
    tuple(&numbers.iter().map(|&n| int(n)).collect::<Vec<_>>())
}

fn storage(kind: &str, key: &str, len: i64) -> Vec<u8> {
    let kind = format!("ctorch\n{kind}\n").into_bytes();
    [tuple(&[text("storage"), kind, text(key), text("cpu"), int(len)]), b"Q".to_vec()].concat()
}

fn tensor(storage: Vec<u8>, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let arguments =
        tuple(&[storage, int(offset), ints(shape), ints(strides), vec![0x89], b"}".to_vec()]);
    [b"ctorch._utils\n_rebuild_tensor_v2\n", &arguments[..], b"R"].concat()
}

/// An archive with a pickle and storages.
fn pt(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    archive.start_file("archive/data.pkl", options).unwrap();
    archive.write_all(&[b"\x80\x02", pickle, b"."].concat()).unwrap();
    for (key, bytes) in storages {
        archive.start_file(format!("archive/data/{key}"), options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// A window on a storage `0` of six floats that says it has `len`.
fn window(len: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    pt(&tensor(storage("FloatStorage", "0", len), offset, shape, strides), &[("0", &[0; 24])])
}

#[test]
fn every_beginning_of_a_file_is_an_error() {
    for file in valid() {
        assert!(load_within(64, &file).is_ok());
        for len in 0..file.len() {
            refused(&file[..len]);
        }
    }
}

#[test]
fn windows_reach_nowhere_but_into_their_storage() {
    const MAX: i64 = i64::MAX;
    let data = load(&window(6, 1, &[2, 2], &[3, 1])).unwrap();
    assert_eq!(data.get("").unwrap(), &TensorData::from([[0.0f32; 2]; 2]));
    assert!(load(&window(6, 6, &[0, 3], &[MAX, MAX])).is_ok(), "no element is anywhere");
    assert!(load(&window(6, 5, &[1, 1], &[MAX, MAX])).is_ok(), "the only element is there");
    for (len, offset, shape, strides) in [
        (6, 3, &[2, 2][..], &[3, 1][..]),
        (6, 6, &[], &[]),
        (6, 7, &[0], &[1]),
        (6, 0, &[7], &[1]),
        (6, 0, &[2, 2], &[MAX, MAX]),
        (6, MAX, &[1], &[1]),
        (6, -1, &[1], &[1]),
        (6, 0, &[2], &[-1]),
        (6, 0, &[-2], &[1]),
        (6, 0, &[2, 2], &[1]),
        (6, 0, &[MAX, MAX], &[0, 0]),
        (6, 0, &[1 << 40, 1 << 10], &[0, 0]),
        (6, 0, &[0, MAX, MAX], &[1, 1, 1]),
        (6, 0, &[1; 9], &[1; 9]),
        (5, 0, &[1], &[1]),
        (7, 0, &[1], &[1]),
        (MAX, 0, &[1], &[1]),
        (-6, 0, &[1], &[1]),
    ] {
        refused(&window(len, offset, shape, strides));
    }
    let absent = pt(&tensor(storage("FloatStorage", "1", 6), 0, &[6], &[1]), &[("0", &[0; 24])]);
    assert!(refused(&absent).contains("not in the file"));
    let outside = pt(&tensor(storage("FloatStorage", "../data.pkl", 6), 0, &[6], &[1]), &[]);
    assert!(refused(&outside).contains("not in the file"));
}

#[test]
fn few_bytes_do_not_become_many_values() {
    // One storage under many names: some are usual, as weights are tied, thousands are not.
    let shared = |count: usize| {
        let first = [storage("FloatStorage", "0", 4096), vec![b'q', 0]].concat();
        let items = (0..count).map(|i| {
            let storage = if i == 0 { first.clone() } else { vec![b'h', 0] };
            tensor(storage, 0, &[4096], &[1])
        });
        pt(&tuple(&items.collect::<Vec<_>>()), &[("0", &[0; 4 * 4096])])
    };
    assert_eq!(load(&shared(4)).unwrap().len(), 4);
    assert!(refused(&shared(1000)).contains("eight times"));
    // Strides of zero.
    assert_eq!(load(&window(6, 0, &[1000], &[0])).unwrap().get("").unwrap().dims(), [1000]);
    assert!(refused(&window(6, 0, &[1 << 30, 1 << 20], &[0, 0])).contains("eight times"));
    // Lists of lists of lists, each twice: 2^60 places, of which each costs four bytes.
    let laughs: Vec<u8> = (0..60u8).flat_map(|i| [b']', b'q', i, b'0']).collect();
    let doubled: Vec<u8> =
        (1..60u8).flat_map(|i| [b'h', i, b'h', i - 1, b'a', b'h', i - 1, b'a', b'0']).collect();
    let bomb = [&laughs[..], &doubled, b"h\x3b"].concat();
    assert!(refused(&pt(&bomb, &[])).contains("too many places"));
    // A list that holds itself; lists a hundred thousand deep.
    assert!(refused(&pt(b"]q\0h\0a", &[])).contains("nested deeper"));
    let deep = [vec![b']'; 100_000], vec![b'a'; 99_999]].concat();
    let error = load_within(128, &pt(&deep, &[])).unwrap_err().to_string();
    assert!(error.contains("nested deeper"), "{error}");
}

#[test]
fn pickles_of_a_million_instructions_stay_small() {
    for (unit, end) in [
        (&b"N"[..], &b""[..]),
        (b"]", b""),
        (b"}", b""),
        (b"(", b""),
        (b"]0", b"N"),
        (b"N\x94", b""),
        (b"]\x94", b""),
        (b"\x85", b""),
        (b"\x8c\0", b""),
        (b"c_codecs\nencode\n", b""),
    ] {
        let pickle = [b"N", &unit.repeat((1 << 20) / unit.len())[..], end].concat();
        let _ = load_within(192, &pt(&pickle, &[]));
    }
    // A list of many numbers is plain data.
    let numbers = [&b"]("[..], &b"K\x07".repeat(1 << 19), b"e"].concat();
    assert!(load_within(64, &pt(&numbers, &[])).unwrap().is_empty());
}

#[test]
fn wrong_pickles_are_errors() {
    for pickle in [
        &b""[..],
        b"0",
        b"a",
        b"s",
        b"t",
        b"R",
        b"Q",
        b"b",
        b"h\0",
        b"q\0",
        b"j\0\0\0\0",
        b"\x85",
        b"(\x85",
        b"N(a",
        b"Na",
        b"NNa",
        b"]NNs",
        b"}(Nu",
        b"(Nd",
        b"X\xff\xff\xff\xffa",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffa",
        b"\x8a\xffa",
        b"ctorch\nSize",
        b"cos\nsystem\n",
        b"cbuiltins\neval\n",
        b"c\xff\nx\n",
        b"X\x02\0\0\0osX\x06\0\0\0system\x93",
        b"N)R",
        b"ctorch\nSize\nNR",
        b"ctorch\nSize\n(NtR",
        b"ctorch\nTensor\n)R",
        b"ctorch\nFloatStorage\n)R",
        b"ccollections\nOrderedDict\n(K\x01tR",
        b"ctorch._utils\n_rebuild_parameter\n)R",
        b"ctorch._utils\n_rebuild_tensor_v2\n)R",
        b"ctorch._tensor\n_rebuild_from_type_v2\n)R",
        b"Nb",
        b"NNb",
        b"NQ",
        b")Q",
        b"I1\n",
        b"S'x'\n",
        b"P0\n",
        b"ios\nsystem\n",
        b"(cos\nsystem\no",
        b")\x81",
        b"))\x92",
        b"\x82\x01",
        b"\x80\x06N",
    ] {
        refused(&pt(pickle, &[]));
    }
    // Names of what is refused are cut short and without control characters.
    let long = format!("cevil\n{}\n", "\x1b[31m".repeat(10_000));
    let error = refused(&pt(long.as_bytes(), &[]));
    assert!(error.len() < 500 && !error.contains('\x1b'), "{error}");
}

/// Where bytes stand in others.
fn places(file: &[u8], bytes: &[u8]) -> Vec<usize> {
    (0..=file.len() - bytes.len()).filter(|&i| file[i..].starts_with(bytes)).collect()
}

#[test]
fn members_of_an_archive_do_not_share_bytes() {
    let files = [pt(b"N", &[("0", &[1; 64]), ("1", &[2; 64])]), {
        let options = SimpleFileOptions::default();
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        for name in ["a.npy", "b.npy"] {
            archive.start_file(name, options).unwrap();
            let array = kiln_tensor::npy::to_bytes(&TensorData::from([1.0f32]));
            archive.write_all(&array).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }];
    for mut file in files {
        assert!(load(&file).is_ok());
        // The last two entries of the directory, which have the place of their member at 42.
        let entries = places(&file, b"PK\x01\x02");
        let [.., from, to] = entries[..] else { panic!("two entries") };
        file.copy_within(from + 42..from + 46, to + 42);
        assert!(refused(&file).contains("same name or bytes"));
    }
}

#[test]
fn members_of_an_archive_are_all_there() {
    let file = pt(b"N", &[("0", &[1; 64])]);
    for entry in places(&file, b"PK\x01\x02") {
        for lengths in [[1 << 20, 1 << 20], [64, 1 << 30], [u32::MAX - 1, u32::MAX - 1]] {
            let mut file = file.clone();
            for (i, length) in lengths.into_iter().enumerate() {
                file[entry + 20 + 4 * i..][..4].copy_from_slice(&u32::to_le_bytes(length));
            }
            refused(&file);
        }
    }
}

#[test]
fn an_archive_of_something_else() {
    let options = SimpleFileOptions::default();
    for name in ["data.txt", "a/b/data.pkl", "archive/data.pkl.txt", "/data.pkl", "../data.pkl"] {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        archive.start_file(name, options).unwrap();
        archive.write_all(b"N.").unwrap();
        refused(&archive.finish().unwrap().into_inner());
    }
}

#[test]
fn a_model_loads_without_a_second_copy_of_itself() {
    const BYTES: usize = 1 << 20;
    let path = std::env::temp_dir().join(format!("kiln-hostile-model-{}", std::process::id()));
    let device = Device::cpu();
    let mut model: Vec<_> =
        (0..16).map(|_| Param::new(Tensor::<1>::ones([BYTES / 4], &device))).collect();
    model.save_file(&path).unwrap();
    let (report, peak) = peak(|| model.load_file(&path).unwrap());
    fs::remove_file(&path).unwrap();
    assert_eq!(report.loaded.len(), 16);
    assert!(peak < 4 * BYTES, "{peak} bytes for 16 tensors of {BYTES}");
}

/// Pieces of which pickles are made that get further than noise.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(&b"NN()]}tu0aesbRQ.\x85\x86\x87\x88\x89\x94\x93"[..]).prop_map(|b| vec![b]),
        2 => (prop::sample::select(&b"qhK"[..]), 0..4u8).prop_map(|(code, at)| vec![code, at]),
        1 => prop::sample::select(&["storage", "0", "cpu", "torch", "FloatStorage"][..]).prop_map(text),
        1 => any::<i64>().prop_map(int),
        1 => (-2..9i64).prop_map(int),
        1 => prop::collection::vec(-1..4i64, 0..4).prop_map(|numbers| ints(&numbers)),
        1 => Just(storage("FloatStorage", "0", 6)),
        1 => Just(storage("BoolStorage", "0", 24)),
        2 => prop::sample::select(&[
            "torch._utils\n_rebuild_tensor_v2", "torch._utils\n_rebuild_tensor_v3",
            "torch._utils\n_rebuild_parameter", "torch._tensor\n_rebuild_from_type_v2",
            "collections\nOrderedDict", "collections\nCounter", "torch\nSize", "torch\nuint16",
            "torch.storage\nUntypedStorage", "builtins\nset", "_codecs\nencode", "torch\nTensor",
        ][..]).prop_map(|name| format!("c{name}\n").into_bytes()),
        1 => (0..8i64, prop::collection::vec(0..4i64, 0..3)).prop_map(|(offset, shape)| {
            tensor(storage("FloatStorage", "0", 6), offset, &shape, &vec![1; shape.len()])
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        parsers::pickle(&bytes);
        parsers::index(&bytes);
        let _ = load(&bytes);
        let _ = load(&pt(&bytes, &[("0", &[1; 24])]));
        for start in [&b"PK\x03\x04"[..], b"PK\x05\x06", b"\x80\x02", b"{\"weight_map\":"] {
            let _ = load(&[start, &bytes].concat());
        }
    }

    /// Any bytes of valid files changed: an error, or values.
    #[test]
    fn flipped_bytes(
        file in 0..5usize,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 1..6),
    ) {
        let mut bytes = valid()[file].clone();
        for (index, flip) in flips {
            let at = index.index(bytes.len());
            bytes[at] ^= flip;
        }
        let _ = load_within(64, &bytes);
    }

    #[test]
    fn pickles_of_sensible_pieces(pieces in prop::collection::vec(piece(), 0..40)) {
        let _ = load(&pt(&pieces.concat(), &[("0", &[1; 24])]));
    }

    #[test]
    fn indices(name in "\\PC{0,12}", file in "[./\\\\a:]{0,6}", cut in any::<prop::sample::Index>()) {
        let index = format!("{{\"weight_map\": {{{name:?}: {file:?}}}}}");
        if parsers::index(index.as_bytes()) {
            prop_assert!(!file.contains(['/', '\\', ':']) && file != ".." && !file.is_empty());
        }
        parsers::index(&index.as_bytes()[..cut.index(index.len())]);
    }
}
