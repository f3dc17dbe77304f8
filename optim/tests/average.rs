//! Averages of weights; the numbers are those of `torch.optim.swa_utils.AveragedModel`.

use kiln_nn::{BatchNorm2d, BatchNorm2dConfig, LinearConfig, Module};
use kiln_optim::{Ema, Swa};
use kiln_tensor::{DType, Device, Tensor, guard};

fn model(value: f32) -> BatchNorm2d {
    let mut model = BatchNorm2dConfig::new(1).init(&Device::cpu());
    set(&mut model, value);
    model
}

/// All parameters and buffers.
fn set(model: &mut BatchNorm2d, value: f32) {
    let mut state = model.state_dict();
    let names: Vec<String> = state.iter().map(|(name, _)| name.into()).collect();
    for name in names {
        let old = state.get(&name).unwrap();
        let new = kiln_tensor::TensorData::full_dtype(old.shape(), value, old.dtype());
        state.insert(name, new);
    }
    assert!(model.load_state_dict(&state).is_complete());
}

fn get(model: &BatchNorm2d, name: &str) -> f64 {
    model.state_dict().get(name).unwrap().iter::<f64>().next().unwrap()
}

#[test]
fn an_exponential_average_forgets() {
    let mut current = model(0.0);
    let (mut ema, mut all) =
        (Ema::new(&current, 0.9), Ema::new(&current, 0.9).with_average_buffers(true));
    let mut expected = 0.0;
    for step in 0..5 {
        set(&mut current, step as f32 + 1.0);
        ema.update(&current);
        all.update(&current);
        let value = step as f64 + 1.0;
        expected = if step == 0 { value } else { 0.9 * expected + 0.1 * value };
    }
    let mut average = model(0.0);
    ema.apply_to(&mut average);
    assert!((get(&average, "weight") - expected).abs() < 1e-6);
    assert_eq!(get(&average, "running_mean"), 5.0, "copied");
    assert_eq!(get(&average, "num_batches_tracked"), 5.0);
    all.apply_to(&mut average);
    assert!((get(&average, "running_mean") - expected).abs() < 1e-6);
    assert_eq!(get(&current, "weight"), 5.0, "the model stays");
}

#[test]
fn warm_up_forgets_the_first_values() {
    let mut current = model(0.0);
    let mut ema = Ema::new(&current, 0.999).with_warm_up(true);
    ema.update(&current);
    set(&mut current, 11.0);
    ema.update(&current);
    let mut average = model(0.0);
    ema.apply_to(&mut average);
    // The decay is 2 / 11.
    assert!((get(&average, "weight") - 9.0).abs() < 1e-5);
}

#[test]
fn a_mean_weighs_all_alike() {
    let mut current = model(0.0);
    let mut swa = Swa::new(&current);
    for value in [3.0, 5.0, 10.0] {
        set(&mut current, value);
        swa.update(&current);
    }
    swa.swap(&mut current);
    assert!((get(&current, "weight") - 6.0).abs() < 1e-6);
    assert!(current.named_params()[0].1.tracked().is_some(), "still trained");
    swa.swap(&mut current);
    assert_eq!(get(&current, "weight"), 10.0);
}

#[test]
fn averages_of_halves_are_kept_in_f32() {
    let mut model = LinearConfig::new(1, 1).init(&Device::cpu());
    model.bias = None;
    model.weight = Tensor::<2>::from([[1.0]]).cast(DType::BF16).into();
    let mut ema = Ema::new(&model, 0.999);
    ema.update(&model);
    model.weight = Tensor::<2>::from([[2.0]]).cast(DType::BF16).into();
    (0..100).for_each(|_| ema.update(&model));
    ema.apply_to(&mut model);
    assert_eq!(model.weight.dtype(), DType::BF16);
    let expected = 2.0 - 0.999f32.powi(100);
    assert!((model.weight.clone().item::<f32>() - expected).abs() < 0.01, "bf16 alone stays at 1");
}

#[test]
fn averages_are_saved_and_another_model_is_refused() {
    let current = model(4.0);
    let mut ema = Ema::new(&current, 0.5);
    ema.update(&current);
    let state = ema.state_dict();
    assert_eq!(state.get("n_averaged").unwrap().iter::<i64>().next(), Some(1));
    let mut fresh = Ema::new(&model(0.0), 0.5);
    fresh.load_state_dict(&state).unwrap();
    fresh.update(&model(2.0));
    let mut average = model(0.0);
    fresh.apply_to(&mut average);
    assert_eq!(get(&average, "weight"), 3.0);

    let linear = LinearConfig::new(1, 1).init(&Device::cpu());
    let error = guard(|| ema.update(&linear)).unwrap_err().to_string();
    assert!(error.contains("the model has 2 tensors, the average 5"), "{error}");
    let error = Ema::new(&linear, 0.5).load_state_dict(&state).unwrap_err().to_string();
    assert!(error.contains("module.weight is [1, 1] but [1] in the file"), "{error}");
    assert!(guard(|| Ema::new(&linear, 1.5)).is_err());
}
