//! Event files for TensorBoard.

use std::path::Path;
use std::process::Command;

use kiln::train::{Accuracy, TensorBoard};

use crate::checkpoint::Folder;
use crate::page::{config, fit};

/// The data of the records of a file.
fn records(path: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let (mut rest, mut records) = (&bytes[..], Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<8>() {
        let length = u64::from_le_bytes(*length) as usize;
        records.push(after[4..4 + length].to_vec());
        rest = &after[4 + length + 4..];
    }
    assert!(rest.is_empty());
    records
}

/// Whether a record has a number under a tag: a `Summary.Value`.
fn has(record: &[u8], tag: &str, number: f32) -> bool {
    let mut value = vec![0x0a, tag.len() as u8];
    value.extend(tag.bytes());
    value.push(0x15);
    value.extend(number.to_le_bytes());
    record.windows(value.len()).any(|bytes| bytes == value)
}

#[test]
fn each_step_and_each_epoch_is_an_event() {
    let folder = Folder::new("tensorboard");
    let trainer = config(2, &folder.0).init().metric(Accuracy::new());
    let report = fit(trainer.callback(TensorBoard::new())).unwrap();
    let file = |set: &str| {
        records(&folder.0.join(format!("tensorboard/{set}/events.out.tfevents.000001.kiln")))
    };
    // The version, the start, five steps and their epoch, twice.
    let (train, valid) = (file("train"), file("valid"));
    assert_eq!((train.len(), valid.len()), (2 + 2 * 6, 2 + 2));
    assert!(train[0].ends_with(b"\x1a\x0dbrain.Event:2"));
    let value = |epoch: usize, name: &str| report.epochs[epoch].get(name).unwrap() as f32;
    assert!(has(&train[2], "step/lr", 0.05));
    assert!(has(&train[7], "loss", value(0, "train loss")));
    assert!(has(&train[13], "accuracy", value(1, "train accuracy")));
    assert!(has(&valid[3], "loss", value(1, "valid loss")));
    // The step, after eight bytes of time.
    assert_eq!((&train[2][9..11], &train[13][9..11]), (&[0x10, 1][..], &[0x10, 10][..]));
}

/// With `python3` that has the package `tensorboard`.
#[test]
fn tensorboard_reads_what_the_log_says_also_after_an_interruption() {
    let python = |args: &[&str]| Command::new("python3").args(args).output();
    if !python(&["-c", "import tensorboard"]).is_ok_and(|output| output.status.success()) {
        println!("skipped: there is no `python3` with the package `tensorboard`");
        return;
    }
    let folder = Folder::new("tensorboard-read");
    let run = |steps: usize, checkpoint: usize| {
        let config = config(4, &folder.0).with_max_steps(steps).with_checkpoint_every(checkpoint);
        let trainer = config.init().metric(Accuracy::new());
        fit(trainer.callback(TensorBoard::new().with_histograms(4))).unwrap();
    };
    run(8, 7);
    // As if it had been killed after the checkpoint of step 7: what came later is done again.
    let last = folder.0.join("checkpoints/step-00000008.safetensors");
    std::fs::remove_file(last).unwrap();
    run(1000, 7);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/train/read_events.py");
    let output = python(&[script, folder.0.to_str().unwrap()]).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // 20 steps of six numbers each, the epochs, and the parameters of every fourth step.
    assert!(said.starts_with("equal: ") && said.ends_with("histograms: 10\n"), "{said}");
}
