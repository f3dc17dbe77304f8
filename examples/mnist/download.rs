//! Gets the files of MNIST.

use std::path::Path;
use std::process::Command;

use kiln::{Error, Result};
use sha2::{Digest, Sha256};

const MIRROR: &str = "https://ossci-datasets.s3.amazonaws.com/mnist";
/// What is downloaded, and its SHA-256 sums.
const FILES: [(&str, &str); 4] = [
    (
        "train-images-idx3-ubyte.gz",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    (
        "train-labels-idx1-ubyte.gz",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    (
        "t10k-images-idx3-ubyte.gz",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    (
        "t10k-labels-idx1-ubyte.gz",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
];

/// Brings those files into the folder that it does not have, by `curl`. A file whose sum is wrong is
/// not kept.
pub fn download(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|cause| error(folder, format!("{cause}")))?;
    for (name, sum) in FILES {
        let plain = folder.join(name.trim_end_matches(".gz"));
        let path = folder.join(name);
        if !path.exists() && !plain.exists() {
            println!("getting {name}");
            fetch(&format!("{MIRROR}/{name}"), &path, sum)?;
        }
    }
    Ok(())
}

fn fetch(url: &str, path: &Path, sum: &str) -> Result<()> {
    let curl = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--location", "--max-time", "300", url])
        .output()
        .map_err(|cause| error(path, format!("`curl` can not be started: {cause}")))?;
    if !curl.status.success() {
        let message = String::from_utf8_lossy(&curl.stderr);
        let reason = message.trim().lines().last().unwrap_or("it does not say why").to_string();
        return Err(error(path, format!("{url} can not be had: {reason}")));
    }
    check(&curl.stdout, sum).map_err(|what| error(path, format!("{url} {what}")))?;
    kiln::nn::atomic_write(path, |file| file.write_all(&curl.stdout))
}

/// An error in words unless the bytes have this SHA-256 sum.
pub fn check(bytes: &[u8], expected: &str) -> std::result::Result<(), String> {
    let sum: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if sum == expected {
        return Ok(());
    }
    Err(format!("is not the file that is known: its SHA-256 sum is {sum}, not {expected}"))
}

fn error(path: &Path, what: String) -> Error {
    Error::File { path: path.display().to_string(), what }
}
