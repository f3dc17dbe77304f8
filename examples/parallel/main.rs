//! Trains the network of the example `digits` by several processes, each with a share of every batch.
//!
//! ```text
//! cargo run --release --example parallel -- --processes 2
//! ```
//!
//! It ends with (two cores; losses and accuracies are the same in every run with as many processes)
//!
//! ```text
//! epoch  8  loss 0.0071  test accuracy 99.44 %  0.16 s
//! epoch  9  loss 0.0057  test accuracy 98.33 %  0.17 s
//! epoch 10  loss 0.0048  test accuracy 99.44 %  0.14 s
//! ```

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code)]
#[path = "../digits/dataset.rs"]
mod dataset;
#[path = "../digits/model.rs"]
mod model;

use std::process::ExitCode;
use std::time::Instant;

use common::Flags;
use dataset::Digits;
use kiln::Result;
use kiln::data::{Batches, take};
use kiln::dist::{DataParallel, ProcessGroup, launch};
use kiln::prelude::*;
use model::Net;

const HELP: &str = "\
Trains the network of the example `digits` by several processes.

usage: parallel [flags]

  --processes N   processes, which share the cores      [2]
  --epochs N      times that every image is seen        [10]
  --batch-size N  images of one step, of all processes  [64]
  --help          this text
";

const RATE: f64 = 0.004;
const SEED: u64 = 0;

struct Args {
    processes: usize,
    epochs: usize,
    batch_size: usize,
}

impl Args {
    /// `None` if the user asked for help.
    fn parse() -> Result<Option<Self>, String> {
        let mut args = Self { processes: 2, epochs: 10, batch_size: 64 };
        let mut flags = Flags::from_env();
        while let Some(flag) = flags.next()? {
            match flag.as_str() {
                "--help" | "-h" => return Ok(None),
                "--processes" => args.processes = flags.count()?,
                "--epochs" => args.epochs = flags.count()?,
                "--batch-size" => args.batch_size = flags.count()?,
                _ => return flags.unknown(),
            }
        }
        Ok(Some(args))
    }
}

fn main() -> ExitCode {
    common::run(|| {
        let Some(args) = Args::parse()? else {
            print!("{HELP}");
            return Ok(());
        };
        // This process starts the others, which come by here with a group.
        match launch(args.processes) {
            Ok(Some(group)) => train(&args, &group),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        }
        .map_err(|error| error.to_string())
    })
}

fn train(args: &Args, group: &ProcessGroup) -> Result<()> {
    let (rank, world) = (group.rank(), group.world_size());
    let device = Device::cpu();
    // Each rank drops out other values. The weights are those of rank 0.
    device.seed(SEED + rank as u64);
    let (train, test) = Digits::load(&device)?;
    let mut model = Net::new(&device);
    let mut parallel = DataParallel::new(group, &mut model)?;
    let mut optim = AdamWConfig::new(RATE).with_weight_decay(0.01).init();

    let share = args.batch_size.div_ceil(world);
    let batches = Batches::new(train.len(), share).shuffled(SEED).share(rank, world);
    for epoch in 0..args.epochs {
        let start = Instant::now();
        model.train();
        let mut loss_sum = 0.0;
        for batch in batches.epoch(epoch) {
            let (images, labels) = (take(&train.images, &batch), take(&train.labels, &batch));
            let loss = CrossEntropyLoss::new().forward(&model.forward(&images), &labels);
            let grads = parallel.backward(&model, &loss)?;
            optim.step(&mut model, grads);
            loss_sum += loss.item::<f64>();
        }
        // Batch normalisation has seen other images on each rank.
        parallel.sync_buffers(&mut model)?;
        let right = count_right(&mut model, &test, rank, world);
        let sums = group.sum(&[loss_sum, right as f64])?;
        if rank == 0 {
            let loss = sums[0] / (world * batches.len()) as f64;
            let accuracy = 100.0 * sums[1] / test.len() as f64;
            let seconds = start.elapsed().as_secs_f64();
            println!(
                "epoch {:2}  loss {loss:.4}  test accuracy {accuracy:.2} %  {seconds:.2} s",
                epoch + 1
            );
        }
    }
    Ok(())
}

/// How many of this rank's part of the images the network recognises.
fn count_right(model: &mut Net, test: &Digits, rank: usize, world: usize) -> i64 {
    let mine: Vec<usize> = (rank..test.len()).step_by(world).collect();
    let (images, labels) = (take(&test.images, &mine), take(&test.labels, &mine));
    model.eval();
    let found = no_grad(|| model.forward(&images).argmax(1).reshape([mine.len()]));
    found.equal(labels).int().sum().item()
}
