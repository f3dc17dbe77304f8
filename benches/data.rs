//! What a data loader costs beside a training step: the CNN of `train_cnn_mnist_b64`, on batches of
//! 64 images of 28 x 28 bytes, shuffled and made floats.
//!
//! `cargo bench --bench data` prints the time of a batch alone, then that of a step with one batch
//! that is always there and, in turns with it, with batches of a loader; about 40 seconds.

// Each bench uses its part.
#[allow(dead_code)]
mod models;

use std::hint::black_box;
use std::time::{Duration, Instant};

use kiln::data::{DataLoader, DataLoaderBuilder, Epoch, InMemDataset};
use kiln::prelude::*;
use models::Cnn;

type Batch = (Tensor<4>, Tensor<1, Int>);
type Image = ([u8; PIXELS], u8);

const PIXELS: usize = 28 * 28;
const IMAGES: usize = 60_000;
/// Rounds of all ways to get batches, and steps of each in a round.
const ROUNDS: usize = 15;
const STEPS: usize = 12;

fn collate(items: Vec<Image>, device: &Device) -> Batch {
    let mut pixels = Vec::with_capacity(items.len() * PIXELS); // [batch, 1, 28, 28]
    for (image, _) in &items {
        pixels.extend(image.iter().map(|&pixel| (pixel as f32 / 255.0 - 0.1307) / 0.3081));
    }
    let labels: Vec<i64> = items.iter().map(|&(_, label)| label as i64).collect();
    let pixels = TensorData::new(pixels, [items.len(), 1, 28, 28]);
    (Tensor::from_data(pixels, device), Tensor::from_data(labels, device))
}

fn loader(workers: usize) -> DataLoader<Batch> {
    let image = |i: usize| (std::array::from_fn(|p| (i * 31 + p * 7) as u8), (i % 10) as u8);
    let builder = DataLoaderBuilder::new(collate).batch_size(64).shuffle(1).drop_last();
    builder.num_workers(workers).build(InMemDataset::new((0..IMAGES).map(image).collect()))
}

/// Batches without an end.
struct Endless {
    loader: DataLoader<Batch>,
    epoch: Epoch<Batch>,
}

impl Endless {
    fn new(workers: usize) -> Self {
        let loader = loader(workers);
        Self { epoch: loader.epoch(0), loader }
    }

    fn next(&mut self) -> Batch {
        loop {
            match self.epoch.next() {
                Some(batch) => return batch.expect("images in memory"),
                None => self.epoch = self.loader.epoch(1),
            }
        }
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn main() {
    let device = Device::cpu();
    let mut model = Cnn::new(&device);
    let mut optim = AdamConfig::new(1e-3).init();
    let mut step = |(x, y): &Batch| {
        let loss = CrossEntropyLoss::new().forward(&model.forward(x), y);
        optim.step(&mut model, loss.backward());
    };
    let mut ways: Vec<(String, Endless)> =
        [0, 1, 2].map(|n| (format!("{n} workers"), Endless::new(n))).into();

    for (name, batches) in &mut ways {
        let start = Instant::now();
        (0..900).for_each(|_| drop(black_box(batches.next())));
        println!("a batch alone, {name}: {:.1} us", start.elapsed().as_secs_f64() * 1e6 / 900.0);
    }
    let there = ways[0].1.next();
    (0..STEPS).for_each(|_| step(&there));

    let mut times = vec![Vec::new(); 1 + ways.len()];
    for _ in 0..ROUNDS {
        let mut timed = |way: usize, work: &mut dyn FnMut()| {
            let start = Instant::now();
            (0..STEPS).for_each(|_| work());
            times[way].push(start.elapsed() / STEPS as u32);
        };
        timed(0, &mut || step(&there));
        for (way, (_, batches)) in ways.iter_mut().enumerate() {
            timed(way + 1, &mut || step(&batches.next()));
        }
    }
    let mut times = times.into_iter().map(median);
    let without = times.next().unwrap_or_default();
    println!("a step without a loader: {without:.0} us");
    for ((name, _), with) in ways.iter().zip(times) {
        println!("a step, {name}: {with:.0} us ({:+.2} %)", 100.0 * (with / without - 1.0));
    }
}
