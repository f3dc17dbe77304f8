//! Small trainings that a device must get through as the CPU does.

use kiln::data::{Batches, take};
use kiln::prelude::*;
use kiln::{Error, Result};

use crate::dataset::Digits;
use crate::model::GptConfig;
use crate::run::{Run, Settings};
use crate::text::Vocabulary;
use crate::{digits_net, mnist_net};

/// How a training went.
#[derive(Debug)]
pub struct Course {
    /// The loss of each step.
    pub losses: Vec<f64>,
    /// The share of test images that are recognised, or of the text, the loss at the end.
    pub score: f64,
}

/// The network of the digits example.
pub fn digits(device: &Device, epochs: usize) -> Result<Course> {
    device.seed(1);
    let (train, test) = Digits::load(device)?;
    let mut net = digits_net::Net::new(device);
    Ok(classify(&mut net, digits_net::Net::forward, [&train, &test], epochs))
}

/// The network of the MNIST example, on the digits enlarged to 28 x 28.
pub fn cnn(device: &Device, epochs: usize) -> Result<Course> {
    device.seed(1);
    let (mut train, mut test) = Digits::load(device)?;
    (train.images, test.images) = (enlarged(&train.images), enlarged(&test.images));
    let mut net = mnist_net::Net::new(device);
    Ok(classify(&mut net, mnist_net::Net::forward, [&train, &test], epochs))
}

/// `[n, 1, 8, 8]` to `[n, 1, 28, 28]`: each pixel three times, and paper around.
fn enlarged(images: &Tensor<4>) -> Tensor<4> {
    let n = images.dims()[0];
    let large = images.reshape([n, 8, 1, 8, 1]).expand([n, 8, 3, 8, 3]).reshape([n, 1, 24, 24]);
    let side = Tensor::zeros([n, 1, 24, 2], &images.device());
    let wide = Tensor::cat(vec![side.clone(), large, side], 3); // [n, 1, 24, 28]
    let above = Tensor::zeros([n, 1, 2, 28], &images.device());
    Tensor::cat(vec![above.clone(), wide, above], 2)
}

fn classify<M: Module>(
    net: &mut M,
    forward: impl Fn(&M, &Tensor<4>) -> Tensor<2>,
    [train, test]: [&Digits; 2],
    epochs: usize,
) -> Course {
    let mut optim = AdamWConfig::new(0.002).init();
    let batches = Batches::new(train.len(), 64).shuffled(1);
    let mut losses = Vec::new();
    for batch in (0..epochs).flat_map(|epoch| batches.epoch(epoch)) {
        let (images, labels) = (take(&train.images, &batch), take(&train.labels, &batch));
        let loss = CrossEntropyLoss::new().forward(&forward(net, &images), &labels);
        optim.step(net, loss.backward());
        losses.push(loss.item());
    }
    net.eval();
    let said = no_grad(|| forward(net, &test.images)).argmax(1).reshape([test.len()]);
    Course { losses, score: said.equal(&test.labels).float().mean().into_scalar() }
}

const TEXT: &str = "the cat sat on the mat and the dog sat on the cat; ";

/// The network of the GPT example, on one sentence again and again.
pub fn gpt(device: &Device, steps: usize) -> Result<Course> {
    device.seed(1);
    let vocabulary = Vocabulary::of(TEXT);
    let tokens = vocabulary.encode(&TEXT.repeat(16))?;
    let config = GptConfig::new(vocabulary.len(), 32, 2, 2, 64);
    let mut run = Run::new(config, vocabulary, device);
    let settings = Settings { steps, batch_size: 8, lr: 0.005, seed: 1 };
    let mut losses = Vec::new();
    run.train(&tokens, &settings, steps, device, |loss| losses.push(loss));
    let score = run.test(&tokens, device);
    Ok(Course { losses, score })
}

/// Whether two devices took one way: the same first steps but for rounding, and the same end within
/// `margin`.
pub fn compare(name: &str, [actual, expected]: [&Course; 2], margin: f64) -> Result<()> {
    let wrong =
        |what: String| Err(Error::Argument { op: "training", rule: format!("{name}: {what}") });
    for (step, (a, e)) in actual.losses.iter().zip(&expected.losses).take(5).enumerate() {
        // Nothing is near NaN.
        let near = (a - e).abs() <= 2e-3 * e.abs().max(0.1);
        if !near {
            return wrong(format!("the loss of step {step} is {a} instead of {e}"));
        }
    }
    let near = (actual.score - expected.score).abs() <= margin;
    if !near {
        return wrong(format!("it ends with {} instead of {}", actual.score, expected.score));
    }
    Ok(())
}

/// So many steps of a small network; then the memory that was taken from the device after a
/// hundredth of them, and at the end.
pub fn memory(device: &Device, steps: usize) -> Result<[usize; 2]> {
    device.seed(1);
    let mut net = LinearConfig::new(64, 64).init(device);
    let mut optim = AdamWConfig::new(1e-4).init();
    let x = Tensor::<2>::random([32, 64], Distribution::Default, device);
    let taken = || {
        let memory = device.memory();
        memory.in_use + memory.cached
    };
    let mut early = 0;
    for step in 0..steps {
        let loss = (net.forward(&x).tanh() - &x).square().mean();
        optim.step(&mut net, loss.backward());
        if step == steps / 100 {
            device.sync()?;
            early = taken();
        }
    }
    device.sync()?;
    Ok([early, taken()])
}
