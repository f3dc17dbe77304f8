//! The digits example and PyTorch agree on a trained network.
//!
//! The fixtures come from
//!
//! ```text
//! cargo run --release --example digits -- --epochs 3 --out tests/fixtures
//! rm tests/fixtures/digits.svg
//! python examples/digits/pytorch.py tests/fixtures/digits.safetensors tests/fixtures/digits_logits.safetensors
//! ```

#[allow(dead_code)]
#[path = "../examples/digits/dataset.rs"]
mod dataset;
#[allow(dead_code)]
#[path = "../examples/digits/model.rs"]
mod model;

use dataset::Digits;
use kiln::nn::StateDict;
use kiln::prelude::*;
use kiln::tensor::Tolerance;
use model::Net;

fn fixture(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[test]
fn a_trained_network_gives_the_logits_of_pytorch() {
    let device = Device::cpu();
    let mut model = Net::new(&device);
    model.load_file(fixture("digits.safetensors")).unwrap();
    model.eval();
    let (_, test) = Digits::load(&device).unwrap();
    let logits = no_grad(|| model.forward(&test.images));
    let expected = StateDict::load(fixture("digits_logits.safetensors")).unwrap();
    let expected = expected.get("logits").unwrap();
    logits.into_data().assert_approx_eq::<f32>(expected, Tolerance::absolute(1e-4));
}

#[test]
fn the_dataset_holds_what_it_should() {
    let (train, test) = Digits::load(&Device::cpu()).unwrap();
    assert_eq!((train.images.dims(), test.images.dims()), ([1437, 1, 8, 8], [360, 1, 8, 8]));
    for digits in [&train, &test] {
        let pixels = digits.images.to_data();
        assert!(pixels.iter::<f32>().all(|pixel| (0.0..=1.0).contains(&pixel)));
        let mut counts = [0; dataset::CLASSES];
        digits.labels.to_data().iter::<i64>().for_each(|label| counts[label as usize] += 1);
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(*most - *least <= digits.len() / 100 + 3, "classes are balanced: {counts:?}");
    }
}

#[test]
fn a_few_epochs_learn_the_digits() {
    let device = Device::cpu();
    let (train, test) = Digits::load(&device).unwrap();
    let mut model = Net::new(&device);
    let mut optim = AdamWConfig::new(0.004).init();
    let batches = kiln::data::Batches::new(train.len(), 64).shuffled(1);
    for epoch in 0..3 {
        for batch in batches.epoch(epoch) {
            let images = kiln::data::take(&train.images, &batch);
            let labels = kiln::data::take(&train.labels, &batch);
            let loss = CrossEntropyLoss::new().forward(&model.forward(&images), &labels);
            let grads = loss.backward();
            optim.step(&mut model, grads);
        }
    }
    model.eval();
    let predicted = no_grad(|| model.forward(&test.images)).argmax(1).reshape([test.len()]);
    let accuracy: f64 = predicted.equal(&test.labels).float().mean().into_scalar();
    assert!(accuracy > 0.9, "three epochs reach {accuracy}");
}
