//! Arrays in idx, npy, npz and safetensors files.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use kiln::data::{read_arrays, read_idx};
use kiln::nn::StateDict;
use kiln::tensor::{TensorData, npy};
use proptest::prelude::*;

use crate::Folder;

/// An idx file.
fn idx(kind: u8, dims: &[u32], elements: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, kind, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|n| n.to_be_bytes()));
    bytes.extend(elements);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn idx_files_of_every_type_are_read_plain_and_compressed() {
    let folder = Folder::new("idx");
    let cases = [
        (0x08, vec![1u8, 0, 255, 7], TensorData::from([[1u8, 0], [255, 7]])),
        (0x09, vec![1, 0, 255, 7], TensorData::from([[1i8, 0], [-1, 7]])),
        (0x0b, vec![1, 0, 255, 255], TensorData::from([256i16, -1])),
        (0x0c, vec![0, 0, 1, 2, 255, 255, 255, 254], TensorData::from([258i32, -2])),
        (0x0d, vec![0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0], TensorData::from([1.0f32, -2.0])),
        (0x0e, vec![0x3f, 0xf0, 0, 0, 0, 0, 0, 0], TensorData::from([1.0f64])),
    ];
    for (kind, elements, expected) in cases {
        let dims: Vec<u32> = expected.dims().iter().map(|&n| n as u32).collect();
        let bytes = idx(kind, &dims, &elements);
        read_idx(folder.file("a-ubyte", &bytes)).unwrap().assert_eq(&expected, true);
        read_idx(folder.file("a.gz", gzip(&bytes))).unwrap().assert_eq(&expected, true);
    }
}

#[test]
fn damaged_idx_files_are_an_error_that_says_why() {
    let folder = Folder::new("idx-errors");
    let good = idx(8, &[2, 3], &[0; 6]);
    let error = |bytes: &[u8]| {
        let plain = read_idx(folder.file("a", bytes)).unwrap_err().to_string();
        let packed = read_idx(folder.file("a", gzip(bytes))).unwrap_err().to_string();
        assert_eq!(plain, packed);
        plain
    };
    assert!(error(&good[..15]).ends_with("6 bytes of [2, 3] are needed, there are 3"));
    assert!(error(&[&good[..], &[0]].concat()).ends_with("there are more"));
    assert!(error(b"PK\x03\x04").ends_with("a: is no idx file: it does not start as one"));
    assert!(error(&idx(7, &[1], &[0])).ends_with("elements of type 0x07 are not known"));
    // Sizes that nobody has the memory for.
    assert!(error(&idx(0x0e, &[u32::MAX, u32::MAX], &[0; 64])).contains("shape"));
    assert!(error(&idx(0x0e, &[1 << 30, 1 << 20], &[0; 64])).ends_with("there are 64"));
    assert!(error(&idx(8, &[1; 200], &[0])).contains("at most"));
    // A checksum that does not fit.
    let mut packed = gzip(&good);
    let n = packed.len();
    packed[n - 6] ^= 1;
    let error = read_idx(folder.file("a", packed)).unwrap_err().to_string();
    assert!(error.contains("a: "), "{error}");
}

#[test]
fn every_cut_of_an_idx_file_is_refused() {
    let folder = Folder::new("idx-cuts");
    let plain = idx(0x0c, &[2, 2], &[9; 16]);
    for bytes in [gzip(&plain), plain] {
        for end in 0..bytes.len() {
            assert!(read_idx(folder.file("a", &bytes[..end])).is_err(), "cut at {end}");
        }
    }
}

#[test]
fn arrays_are_read_by_name_from_each_kind_of_file() {
    let folder = Folder::new("arrays");
    let (x, y) = (TensorData::from([[1.0f32, 2.0]]), TensorData::from([3i64]));
    let read = |name: &str| read_arrays(folder.path(name)).unwrap();
    npy::write_archive(folder.path("a.npz"), [("x", &x), ("y", &y)], true).unwrap();
    npy::write(folder.path("x.npy"), &x).unwrap();
    let mut dict = StateDict::default();
    dict.insert("x", x.clone());
    dict.insert("y", y.clone());
    dict.save(folder.path("a.safetensors")).unwrap();
    folder.file("labels.gz", gzip(&idx(8, &[2], &[4, 5])));
    for name in ["a.npz", "a.safetensors", "x.npy"] {
        read(name).get("x").unwrap().assert_eq(&x, true);
    }
    for name in ["a.npz", "a.safetensors"] {
        read(name).get("y").unwrap().assert_eq(&y, true);
    }
    read("labels.gz").get("labels").unwrap().assert_eq(&TensorData::from([4u8, 5]), true);
    let error = read_arrays(folder.path("none.idx")).unwrap_err().to_string();
    assert!(error.contains("none.idx: can not be read"), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_after_a_good_start_are_read_or_refused(
        kind in 7u8..16,
        dims in prop::collection::vec(prop_oneof![0u32..4, any::<u32>()], 0..4),
        rest in prop::collection::vec(any::<u8>(), 0..64),
        packed in any::<bool>(),
    ) {
        let folder = Folder::new("idx-any");
        let bytes = idx(kind, &dims, &rest);
        let path = folder.file("a", if packed { gzip(&bytes) } else { bytes });
        if let Ok(data) = read_idx(path) {
            prop_assert_eq!(data.bytes().len(), rest.len());
        }
    }

    #[test]
    fn any_damage_of_a_compressed_file_is_read_or_refused(
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let folder = Folder::new("idx-damage");
        let mut bytes = gzip(&idx(8, &[16, 16], &[3; 256]));
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let _ = read_idx(folder.file("a", bytes));
    }
}
