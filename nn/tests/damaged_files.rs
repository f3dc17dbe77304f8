//! Nothing in a weight file is trusted: a damaged one is an error, never a panic, and never makes
//! the loader allocate more than a small multiple of the file.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_nn::{LinearConfig, Module, StateDict};
use kiln_tensor::Device;
use proptest::prelude::*;

/// The system's allocator; it remembers the largest request.
struct Largest;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: forwards to the system's allocator.
unsafe impl GlobalAlloc for Largest {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Largest = Largest;

/// No test file comes near this size, and nothing else in this program does.
const HUGE: usize = 64 << 20;

fn path(test: &str) -> PathBuf {
    std::env::temp_dir().join(format!("kiln-damaged-{}-{test}", std::process::id()))
}

/// What loading these bytes gives.
fn load(test: &str, bytes: &[u8]) -> kiln_tensor::Result<StateDict> {
    let path = path(test);
    fs::write(&path, bytes).unwrap();
    let result = StateDict::load(&path);
    fs::remove_file(&path).unwrap();
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest < HUGE, "{largest} bytes were allocated at once");
    result
}

#[track_caller]
fn refused(test: &str, bytes: &[u8]) {
    let error = load(test, bytes).expect_err("a damaged file").to_string();
    assert!(error.contains(path(test).to_str().unwrap()), "the error names the file: {error}");
}

/// A small valid file.
fn valid(test: &str) -> Vec<u8> {
    let path = path(&format!("{test}-valid"));
    LinearConfig::new(3, 2).init(&Device::cpu()).save_file(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    bytes
}

/// A file with this header and as many bytes of data.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn truncated_at_every_byte() {
    let bytes = valid("truncated");
    assert!(load("truncated", &bytes).is_ok());
    for len in 0..bytes.len() {
        refused("truncated", &bytes[..len]);
    }
    refused("truncated", &[&bytes[..], &[0]].concat());
}

#[test]
fn a_header_length_that_is_huge() {
    for len in [u64::MAX, u64::MAX - 7, i64::MAX as u64, 1 << 40, 100_000_001, 99_999_999] {
        let mut bytes = valid("header");
        bytes[..8].copy_from_slice(&len.to_le_bytes());
        refused("header", &bytes);
    }
}

#[test]
fn headers_that_lie() {
    let entry = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    assert!(load("lies", &file(&entry("F32", "[2]", "[0,8]"), 8)).is_ok());
    for (dtype, shape, offsets, data) in [
        // Offsets out of range, backwards, with a hole, or of another size.
        ("F32", "[2]", "[0,8]", 4),
        ("F32", "[2]", "[8,0]", 8),
        ("F32", "[2]", "[8,16]", 16),
        ("F32", "[2]", "[0,4]", 4),
        ("F32", "[2]", "[0,18446744073709551615]", 8),
        ("F32", "[2]", "[18446744073709551608,0]", 8),
        // Shapes that overflow, that are negative, or that have too many axes.
        ("F32", "[4611686018427387904,4]", "[0,0]", 0),
        ("F32", "[9223372036854775807]", "[0,8]", 8),
        ("U8", "[4294967296,4294967296]", "[0,0]", 0),
        ("F32", "[0,4611686018427387904,4]", "[0,0]", 0),
        ("F32", "[-2]", "[0,8]", 8),
        ("F32", "[1,1,1,1,1,1,1,1,1,2]", "[0,8]", 8),
        ("F32", "[1.5]", "[0,8]", 8),
        // Dtypes that nobody or only others have.
        ("F33", "[2]", "[0,8]", 8),
        ("F8_E5M2", "[8]", "[0,8]", 8),
        ("F8_E4M3", "[8]", "[0,8]", 8),
    ] {
        refused("lies", &file(&entry(dtype, shape, offsets), data));
    }
    let two = |second: &str| {
        let entry = |offsets| format!(r#"{{"dtype":"F32","shape":[2],"data_offsets":{offsets}}}"#);
        format!(r#"{{"a":{},"b":{}}}"#, entry("[0,8]"), entry(second))
    };
    assert!(load("lies", &file(&two("[8,16]"), 16)).is_ok());
    for second in ["[0,8]", "[4,12]", "[12,20]"] {
        refused("lies", &file(&two(second), 16));
    }
}

#[test]
fn a_bool_that_is_neither_true_nor_false() {
    let header = r#"{"a":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}}"#;
    let mut bytes = file(header, 3);
    assert!(load("bool", &bytes).is_ok());
    *bytes.last_mut().unwrap() = 2;
    refused("bool", &bytes);
}

#[test]
fn an_unknown_dtype_is_named() {
    let header = r#"{"scale":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}"#;
    let error = load("dtype", &file(header, 8)).unwrap_err().to_string();
    assert!(error.contains("scale has the dtype F8_E4M3"), "{error}");
}

#[test]
fn what_is_no_weight_file() {
    for bytes in [
        &b""[..],
        b"\0",
        b"PK\x03\x04 a zip archive, as torch.save writes",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"{\"a\": 1}",
        &[0xFF; 100],
        &[0; 100],
    ] {
        refused("other", bytes);
    }
    for header in ["", "{", "[]", "null", "{\"a\":{}}", "{\"a\":null}", "\u{FEFF}{}"] {
        refused("other", &file(header, 0));
    }
    let deep = "[".repeat(100_000);
    refused("other", &file(&deep, 0));
    assert!(load("other", &file("{}", 0)).unwrap().is_empty());
}

#[test]
fn what_is_no_file() {
    let missing = path("missing");
    let error = StateDict::load(&missing).unwrap_err().to_string();
    assert!(error.contains(missing.to_str().unwrap()), "{error}");
    assert!(StateDict::load(std::env::temp_dir()).is_err(), "a folder");
    assert!(StateDict::load("").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any bytes of a valid file changed: the result is an error, or values of the same layout.
    #[test]
    fn flipped_bytes(flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 1..6)) {
        let mut bytes = valid("flipped");
        for (index, flip) in flips {
            let at = index.index(bytes.len());
            bytes[at] ^= flip;
        }
        if let Ok(state) = load("flipped", &bytes) {
            let mut model = LinearConfig::new(3, 2).init(&Device::cpu());
            model.load_state_dict(&state);
            prop_assert_eq!(model.num_params(), 8);
        }
    }

    /// Any bytes behind a header length that is right.
    #[test]
    fn noise(header in prop::collection::vec(any::<u8>(), 0..200), data in 0..64usize) {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(&header);
        bytes.resize(bytes.len() + data, 0);
        let _ = load("noise", &bytes);
    }
}
