//! Training on a GPU, where there is one, as on the CPU.

#[allow(dead_code)]
#[path = "../examples/digits/dataset.rs"]
mod dataset;
#[path = "../examples/digits/model.rs"]
mod digits_net;
#[path = "../examples/mnist/model.rs"]
mod mnist_net;
#[allow(dead_code)]
#[path = "../examples/gpt/model.rs"]
mod model;
#[allow(dead_code)]
#[path = "../examples/gpt/run.rs"]
mod run;
#[allow(dead_code)]
#[path = "../examples/gpt/text.rs"]
mod text;
#[allow(dead_code)]
#[path = "../examples/gpu_check/training.rs"]
mod training;

use std::io::Write;

use kiln::Result;
use kiln::prelude::*;
use training::Course;

/// Trains on both devices; without a GPU says, past the capture of the test harness, that it did
/// nothing.
fn check(name: &str, course: fn(&Device, usize) -> Result<Course>, length: usize, margin: f64) {
    match kiln::device("cuda") {
        Ok(gpu) => {
            let [actual, expected] = [gpu, Device::cpu()].map(|on| course(&on, length).unwrap());
            training::compare(name, [&actual, &expected], margin).unwrap();
        }
        Err(reason) => {
            let _ = writeln!(std::io::stderr(), "skipped: {reason}");
        }
    }
}

#[test]
fn digits_are_learned_as_on_the_cpu() {
    check("digits", training::digits, 5, 0.02);
}

#[test]
fn the_network_of_mnist_learns_as_on_the_cpu() {
    check("cnn", training::cnn, 1, 0.05);
}

#[test]
fn a_gpt_learns_as_on_the_cpu() {
    check("gpt", training::gpt, 150, 0.05);
}
