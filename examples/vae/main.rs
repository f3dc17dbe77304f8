//! Trains a variational autoencoder on handwritten digits and draws new ones.
//!
//! ```text
//! cargo run --release --example vae   # 3 s on two cores
//! cargo run --release --example vae -- --data train-images-idx3-ubyte.gz --hidden 400 --latent 20
//! cargo run --release --example vae -- --help
//! ```
//!
//! It ends with
//!
//! ```text
//! epoch 60/60  loss 24.2342  test bce 21.0978  test kl 3.3599  0.0 s
//! test loss of an image: 24.25 = 20.89 + 3.36
//! wrote vae.png
//! ```
//!
//! The picture has test images and below them how the network draws them again; new digits, from
//! random points; and ways from one test image to another.

mod args;
#[path = "../common/mod.rs"]
mod common;
mod dataset;
mod gallery;
mod model;

use std::process::ExitCode;

use args::Args;
use dataset::Images;
use gallery::Gallery;
use kiln::Result;
use kiln::data::{Batches, take};
use kiln::prelude::*;
use kiln::train::Progress;
use model::Vae;

/// Images in a row of the picture.
const COLUMNS: usize = 12;

fn main() -> ExitCode {
    common::run(|| match Args::parse()? {
        None => {
            print!("{}", args::HELP);
            Ok(())
        }
        Some(args) => train(&args).map_err(|error| error.to_string()),
    })
}

fn train(args: &Args) -> Result<()> {
    let device = kiln::device(&args.device)?;
    device.seed(args.seed);
    let images = match &args.data {
        None => Images::digits(&device)?,
        Some(path) => Images::read(path, &device)?,
    };
    let [n, pixels] = images.pixels.dims();
    // The last ones are not learned, to see whether they can be drawn all the same.
    let test = images.pixels.narrow(0, n - n.div_ceil(10), n.div_ceil(10));
    let batches = Batches::new(n - test.dims()[0], args.batch_size).shuffled(args.seed);
    let mut model = Vae::new(pixels, args.hidden, args.latent, &device);
    println!("{} images, {} parameters", images.len(), model.num_params());

    let mut optim = AdamConfig::new(args.lr).init();
    let mut progress = Progress::new(args.epochs, batches.len());
    for epoch in 0..args.epochs {
        for batch in batches.epoch(epoch) {
            let batch = take(&images.pixels, &batch);
            let (bce, kl) = model.losses(&batch, &noise(&batch, args.latent));
            let loss = (bce + kl) / batch.dims()[0] as f64;
            optim.step(&mut model, loss.backward());
            progress.step(loss.item(), None);
        }
        let (bce, kl) = evaluate(&model, &test, args.latent);
        progress.epoch_end(&[("test bce", bce), ("test kl", kl)]);
    }
    progress.finish();

    let png = picture(&model, &test, [images.height, images.width], args.latent).to_png()?;
    kiln::nn::atomic_write(&args.out, |file| file.write_all(&png))?;
    let (bce, kl) = evaluate(&model, &test, args.latent);
    println!("test loss of an image: {:.2} = {bce:.2} + {kl:.2}", bce + kl);
    println!("wrote {}", args.out.display());
    Ok(())
}

/// A random number for each image and dimension.
fn noise(images: &Tensor<2>, latent: usize) -> Tensor<2> {
    let shape = [images.dims()[0], latent];
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &images.device())
}

/// Both parts of the loss, of one image in the mean.
fn evaluate(model: &Vae, images: &Tensor<2>, latent: usize) -> (f64, f64) {
    no_grad(|| {
        let (bce, kl) = model.losses(images, &noise(images, latent));
        let n = images.dims()[0] as f64;
        (bce.item::<f64>() / n, kl.item::<f64>() / n)
    })
}

/// Test images and below them how they are drawn again; then new images; then in each row a way
/// from one test image to another.
fn picture(model: &Vae, test: &Tensor<2>, size: [usize; 2], latent: usize) -> Gallery {
    no_grad(|| {
        let mut gallery = Gallery::new(size, COLUMNS);
        let n = test.dims()[0];
        let shown = test.narrow(0, 0, n.min(COLUMNS));
        gallery.add(&shown);
        gallery.add(&model.draw(&model.encode(&shown).0));
        gallery.end_group();
        let points = Tensor::<2>::zeros([6 * COLUMNS, 1], &test.device());
        gallery.add(&model.draw(&noise(&points, latent)));
        gallery.end_group();
        for row in 0..4 {
            let end = |i: usize| model.encode(&test.narrow(0, i % n, 1)).0; // [1, latent]
            let (from, to) = (end(2 * row), end(2 * row + 1));
            let share = Tensor::<1>::linspace(0.0, 1.0, COLUMNS, &test.device());
            let share = share.unsqueeze_dim::<2>(1); // [columns, 1]
            gallery.add(&model.draw(&(&from + share * (to - &from))));
        }
        gallery.end_group();
        gallery
    })
}
