//! The LSTM example learns to forecast its series.

#[path = "../examples/lstm/model.rs"]
mod model;
#[path = "../examples/lstm/series.rs"]
mod series;

use kiln::data::Batches;
use kiln::prelude::*;
use model::Forecaster;
use series::{mackey_glass, pieces};

#[test]
fn the_series_is_standardised_and_goes_on_without_repeating() {
    let series = &mackey_glass(2000);
    let mean = series.iter().sum::<f32>() / 2000.0;
    let variance = series.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 2000.0;
    assert!(mean.abs() < 1e-4 && (variance - 1.0).abs() < 1e-3, "{mean} {variance}");
    // Chaos comes near to its past, but not back to it.
    let distance = |period: usize| (0..200).map(move |i| (series[i + period] - series[i]).abs());
    let nearest = (100..1800).map(|period| distance(period).fold(0.0, f32::max));
    assert!(nearest.fold(f32::INFINITY, f32::min) > 0.05);
}

#[test]
fn a_few_epochs_beat_the_last_value() {
    let device = Device::cpu();
    let series = mackey_glass(1200);
    let mut model = Forecaster::new(16, &device);
    let mut optim = AdamConfig::new(0.01).init();
    let batches = Batches::new(950, 16).shuffled(0);
    for starts in (0..3).flat_map(|epoch| batches.epoch(epoch)) {
        let piece = pieces(&series, &starts, 51, &device);
        let (x, y) = (piece.narrow(1, 0, 50), piece.narrow(1, 1, 50));
        let loss = MseLoss::new().forward(model.forward(&x), y, Reduction::Mean);
        optim.step(&mut model, loss.backward());
    }
    let starts: Vec<usize> = (1000..1130).step_by(13).collect();
    let test = pieces(&series, &starts, 60, &device);
    let (known, truth) = (test.narrow(1, 0, 50), test.narrow(1, 50, 10));
    let error = |guess: Tensor<3>| (guess - &truth).square().mean().sqrt().item::<f32>();
    let ours = error(model.forecast(&known, 10));
    let last = error(known.narrow(1, 49, 1).expand([starts.len(), 10, 1]));
    assert!(ours < 0.5 * last, "{ours}, the last value {last}");
}

#[test]
fn a_forecast_value_by_value_is_that_of_the_whole_sequence() {
    let device = Device::cpu();
    let model = Forecaster::new(8, &device);
    let known = pieces(&mackey_glass(100), &[0, 30], 20, &device);
    let forecast = model.forecast(&known, 3);
    assert_eq!(forecast.dims(), [2, 3, 1]);
    let mut whole = known;
    for _ in 0..3 {
        let next = model.forward(&whole).narrow(1, whole.dims()[1] - 1, 1);
        whole = Tensor::cat(vec![whole, next], 1);
    }
    let expected = whole.narrow(1, 20, 3).detach().into_data();
    forecast.into_data().assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
}
