//! The seeds of the fuzz targets in `fuzz/`, through the same functions: none of them panics.

use std::fs;
use std::path::Path;

use kiln_nn::store::parsers;

/// The seeds of a target that `parse` takes, by name, and those that it refuses.
fn run(target: &str, parse: fn(&[u8]) -> bool) -> [Vec<String>; 2] {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut results = [Vec::new(), Vec::new()];
    for seed in fs::read_dir(folder).unwrap() {
        let seed = seed.unwrap();
        let parsed = parse(&fs::read(seed.path()).unwrap());
        results[usize::from(!parsed)].push(seed.file_name().into_string().unwrap());
    }
    results.iter_mut().for_each(|names| names.sort());
    results
}

#[test]
fn seeds_are_taken_or_refused() {
    for (target, parse, taken, refused) in [
        (
            "safetensors",
            parsers::file as fn(&[u8]) -> bool,
            &["bool", "empty", "two"][..],
            &["huge-header", "overflow", "overlap"][..],
        ),
        (
            "pt",
            parsers::file,
            &["plain.pt", "protocol4.pth", "views.pt"],
            &["attack.pt", "compressed.pt", "script.pt"],
        ),
        ("npz", parsers::file, &["deflated.npz", "stored.npz"], &[]),
        ("index", parsers::index, &["two"], &["absolute", "deep", "escape", "wrong"]),
        (
            "pickle",
            parsers::pickle,
            &["checkpoint", "cycle", "dtypes", "list", "plain", "protocol4", "views"],
            &["attack", "attack4", "conjugated", "inst", "module", "sparse"],
        ),
    ] {
        assert_eq!(run(target, parse), [taken, refused], "{target}");
    }
}
