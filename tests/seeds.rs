//! The same seed gives the same bits: run after run, and whatever the number of threads.

use kiln::data::{Batches, take};
use kiln::prelude::*;
use rayon::ThreadPoolBuilder;

/// Everything that a training leaves: its losses, then every parameter and buffer, as bytes.
#[derive(PartialEq)]
struct Outcome {
    losses: Vec<u32>,
    state: Vec<(String, Vec<u8>)>,
}

/// Trains a small CNN with dropout on images that are drawn from the device's generator too. The
/// sizes are large enough for every kernel to split its work over threads.
fn train(device: &Device, seed: u64) -> Outcome {
    device.seed(seed);
    let images = Tensor::<4>::random([96, 3, 24, 24], Distribution::Normal(0.0, 1.0), device);
    let labels = images.slice(s![.., 0, 12, 0..10]).reshape::<2, _>([96, 10]).argmax(1);
    let labels = labels.reshape::<1, _>([96]);
    let mut model = Sequential::new()
        .add(Conv2dConfig::new([3, 16], [3, 3]).with_padding([1, 1]).init(device))
        .add(BatchNorm2dConfig::new(16).init(device))
        .add(Relu::new())
        .add(MaxPool2dConfig::new([2, 2]).init())
        .add(DropoutConfig::new(0.1).init())
        .add(Conv2dConfig::new([16, 32], [3, 3]).init(device))
        .add(Gelu::new())
        .add(AvgPool2dConfig::new([2, 2]).init())
        .add(Flatten::new())
        .add(DropoutConfig::new(0.3).init())
        .add(LinearConfig::new(32 * 25, 10).init(device));
    let mut optim = AdamWConfig::new(1e-3).init();
    let mut losses = Vec::new();
    for epoch in 0..2 {
        for batch in Batches::new(96, 40).shuffled(seed).epoch(epoch) {
            let (x, y) = (take(&images, &batch), take(&labels, &batch));
            let loss = CrossEntropyLoss::new().forward(&model.forward(&x), &y);
            losses.push(loss.item::<f32>().to_bits());
            optim.step(&mut model, loss.backward());
        }
    }
    let state = model.state_dict();
    let state = state.iter().map(|(path, data)| (path.to_string(), data.bytes().to_vec()));
    Outcome { losses, state: state.collect() }
}

#[track_caller]
fn assert_same(what: &str, actual: &Outcome, expected: &Outcome) {
    assert_eq!(actual.losses, expected.losses, "{what}: the losses, as bits");
    for (actual, expected) in actual.state.iter().zip(&expected.state) {
        assert!(actual == expected, "{what}: {} ends with other bits", expected.0);
    }
    assert!(actual == expected, "{what}: other entries");
}

// One test: the generator of a device is shared by all threads of the program.
#[test]
fn same_bits_in_every_run_and_on_one_two_and_three_threads() {
    let device = Device::cpu();
    let expected = train(&device, 7);
    assert!(expected.losses.iter().all(|&loss| f32::from_bits(loss).is_finite()));
    assert_same("a second run", &train(&device, 7), &expected);
    for threads in [1, 2, 3] {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let actual = pool.install(|| train(&device, 7));
        assert_same(&format!("{threads} threads"), &actual, &expected);
    }
    assert!(train(&device, 8).losses != expected.losses, "another seed is another training");
}
