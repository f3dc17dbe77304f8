//! Trains a network to solve Burgers' equation, which has second derivatives, and compares it with
//! the exact solution: a physics-informed network (Raissi et al. 2019).
//!
//! ```text
//! cargo run --release --example pinn   # eight seconds on two cores
//! cargo run --release --example pinn -- --help
//! ```
//!
//! It ends with
//!
//! ```text
//! Adam    1000/1000  loss 5.19e-4  5.5 s
//! L-BFGS    15/15  loss 1.59e-5  7.5 s
//! relative error: 1.41e-3
//! wrote pinn.svg
//! ```
//!
//! `pinn.svg` shows the network and the exact solution at three times, and the loss.

mod args;
#[path = "../common/mod.rs"]
mod common;
mod exact;
mod model;

use std::process::ExitCode;
use std::time::Instant;

use args::Args;
use kiln::Result;
use kiln::prelude::*;
use kiln::train::{Chart, Series};
use model::{Net, Points, loss};

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
    let points = Points::random(args.points, &device);
    let mut model = Net::new(8, 20, &device);
    println!("{} points, {} parameters", args.points, model.num_params());
    let mut curve = Vec::new();
    let start = Instant::now();
    let report = |what: &str, done: usize, all: usize, loss: f64| {
        if done.is_multiple_of(all.div_ceil(10)) || done == all {
            let seconds = start.elapsed().as_secs_f64();
            println!("{what:6} {done:>5}/{all}  loss {loss:.2e}  {seconds:.1} s");
        }
    };

    let mut adam = AdamConfig::new(args.lr).init();
    for step in 1..=args.steps {
        // The learning rate falls to zero along a cosine (Loshchilov & Hutter 2016).
        let done = (step - 1) as f64 / args.steps as f64;
        adam.set_lr(args.lr * 0.5 * (1.0 + (std::f64::consts::PI * done).cos()));
        let loss = loss(&model, &points);
        adam.step(&mut model, loss.backward());
        curve.push((step as f64, loss.item::<f64>().log10()));
        report("Adam", step, args.steps, loss.item());
    }
    // L-BFGS sees the curvature, which the last digits need.
    let mut lbfgs = LbfgsConfig::new().with_line_search(LineSearch::StrongWolfe).init();
    for step in 1..=args.refine {
        let value = lbfgs.step_closure(&mut model, |model| loss(model, &points));
        curve.push(((args.steps + 20 * step) as f64, value.log10()));
        report("L-BFGS", step, args.refine, value);
    }

    let svg = draw(&model, curve, &device).to_svg();
    kiln::nn::atomic_write(&args.out, |file| file.write_all(svg.as_bytes()))?;
    println!("relative error: {:.2e}", error(&model, &device));
    println!("wrote {}", args.out.display());
    Ok(())
}

/// The network along x at a time.
fn evaluate(model: &Net, xs: &[f64], t: f64, device: &Device) -> Vec<f64> {
    let x: Vec<f32> = xs.iter().map(|&x| x as f32).collect();
    let x = Tensor::<2>::from_data(TensorData::new(x, [xs.len(), 1]), device);
    let u = no_grad(|| model.forward(&x, &x.full_like(t)));
    u.to_data().iter().collect()
}

/// `n` numbers from -1 to 1.
fn grid(n: usize) -> Vec<f64> {
    (0..n).map(|i| 2.0 * i as f64 / (n - 1) as f64 - 1.0).collect()
}

/// The distance to the exact solution over the whole domain, by the length of that one.
fn error(model: &Net, device: &Device) -> f64 {
    let xs = grid(201);
    let (mut distance, mut length) = (0.0, 0.0);
    for step in 0..=20 {
        let t = step as f64 / 20.0;
        for (&x, u) in xs.iter().zip(evaluate(model, &xs, t, device)) {
            let exact = exact::solution(x, t);
            distance += (u - exact).powi(2);
            length += exact.powi(2);
        }
    }
    (distance / length).sqrt()
}

fn draw(model: &Net, curve: Vec<(f64, f64)>, device: &Device) -> Chart {
    let xs = grid(401);
    let chart = [0.25, 0.5, 1.0].into_iter().fold(Chart::new("Burgers' equation"), |chart, t| {
        let exact = xs.iter().map(|&x| (x, exact::solution(x, t)));
        let network = xs.iter().copied().zip(evaluate(model, &xs, t, device));
        let series = vec![Series::new("exact", exact), Series::new("network", network)];
        chart.panel(format!("t = {t}"), "x", "u", series)
    });
    chart.panel("loss", "iteration", "log10", vec![Series::new("loss", curve)])
}
