//! A hundred steps of every schedule against PyTorch: `fixtures/schedules.py`.

use std::path::Path;
use std::sync::LazyLock;

use kiln_nn::{Config, StateDict};
use kiln_optim::schedule::*;
use kiln_optim::{LrScheduler, Schedule};
use kiln_tensor::guard;

static FIXTURE: LazyLock<StateDict> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    StateDict::load(folder.join("schedules.safetensors")).unwrap()
});

#[track_caller]
fn compare(name: &str, actual: impl Fn(usize) -> f64) {
    let expected = FIXTURE.get(name).unwrap().to_vec::<f64>().unwrap();
    assert_eq!(expected.len(), 100);
    for (step, expected) in expected.into_iter().enumerate() {
        let actual = actual(step);
        let near = (actual - expected).abs() <= 1e-12;
        assert!(near, "{name}: {actual} not {expected} at step {step}");
    }
}

#[track_caller]
fn check(name: &str, schedule: impl Schedule) {
    compare(name, |step| schedule.lr_at(step));
    let first: Vec<f64> = (0..40).map(|step| schedule.lr_at(step)).collect();
    let mut scheduler = schedule.scheduler();
    scheduler.set_position(40);
    let rates: Vec<f64> = (40..100).map(|_| scheduler.step()).collect();
    assert_eq!(scheduler.position(), 100);
    compare(name, |step| if step < 40 { first[step] } else { rates[step - 40] });
}

#[test]
fn decays() {
    check("step", StepLr::new(0.1, 7).with_gamma(0.7));
    check("multi_step", MultiStepLr::new(0.1, vec![60, 10, 11]).with_gamma(0.3));
    check("exponential", ExponentialLr::new(0.1, 0.95));
    check("constant", ConstantLr::new(0.1).with_factor(0.25).with_total_iters(12));
    let linear = LinearLr::new(0.1).with_start_factor(0.1).with_end_factor(0.8);
    check("linear", linear.with_total_iters(40));
    check("polynomial", PolynomialLr::new(0.1).with_total_iters(70).with_power(2.5));
    check("noam", NoamLr::new(2.0).with_warmup_steps(30).with_model_size(64));
}

#[test]
fn cosines() {
    check("cosine", CosineAnnealingLr::new(0.1, 30).with_min_lr(0.01));
    check("restarts", CosineAnnealingWarmRestarts::new(0.1, 15).with_min_lr(0.001));
    check("longer_restarts", CosineAnnealingWarmRestarts::new(0.1, 10).with_factor(2));
}

#[test]
fn cycles() {
    let linear = OneCycleLr::new(0.5, 100).with_pct_start(0.25).with_anneal(Anneal::Linear);
    let linear = linear.with_div_factor(10.0).with_final_div_factor(100.0);
    for (name, schedule) in [
        ("one_cycle", OneCycleLr::new(0.5, 100)),
        ("one_cycle.linear", linear),
        ("one_cycle.three", OneCycleLr::new(0.5, 100).with_three_phase(true)),
    ] {
        compare(&format!("{name}.momentum"), |step| schedule.momentum_at(step));
        assert_eq!(schedule.lr_at(1000), schedule.lr_at(99));
        check(name, schedule);
    }
    let cyclic = || CyclicLr::new(0.1, 0.5).with_step_size_up(10);
    check("cyclic", cyclic().with_step_size_down(Some(15)));
    check("cyclic.triangular2", cyclic().with_mode(CyclicMode::Triangular2));
    check("cyclic.exp", cyclic().with_mode(CyclicMode::ExpRange(0.98)));
}

#[test]
fn schedules_of_schedules() {
    let cosine = CosineAnnealingLr::new(0.1, 80);
    check("warmup", WarmupLr::new(20, cosine).with_start_factor(0.1));
    let sequential = SequentialLr::new(ConstantLr::new(0.1).with_factor(0.5).with_total_iters(10))
        .then(15, StepLr::new(0.1, 5).with_gamma(0.5))
        .then(60, ExponentialLr::new(0.1, 0.9));
    check("sequential", sequential);
    check("exponential", |step: usize| 0.1 * 0.95f64.powi(step as i32));
}

#[test]
fn plateaus_and_their_state() {
    let metrics = FIXTURE.get("metrics").unwrap().to_vec::<f64>().unwrap();
    let new = || ReduceLrOnPlateauConfig::new(0.1);
    let abs = new().with_threshold_mode(ThresholdMode::Abs).with_threshold(0.2);
    let max = new().with_mode(PlateauMode::Max).with_patience(5).with_factor(0.5);
    for (name, config) in [
        ("plateau", new().with_patience(3)),
        ("plateau.max", max.with_cooldown(4)),
        ("plateau.abs", abs.with_patience(2).with_min_lr(1e-3)),
    ] {
        let mut plateau = config.init();
        let mut rates = Vec::new();
        for &metric in &metrics {
            rates.push(plateau.step(metric));
            // Resumed after every step.
            let mut fresh = config.init();
            fresh.load_state_dict(&plateau.state_dict()).unwrap();
            assert_eq!(fresh, plateau);
            plateau = fresh;
        }
        assert!(rates[99] < 0.1, "{name} fell");
        compare(name, |step| rates[step]);
    }
    let error = new().init().load_state_dict(&StateDict::default()).unwrap_err().to_string();
    assert!(error.contains("missing lr best"), "{error}");
}

#[test]
fn settings_are_files_and_senseless_ones_are_refused() {
    let schedule = OneCycleLr::new(0.5, 100).with_anneal(Anneal::Linear);
    assert_eq!(OneCycleLr::from_text(&schedule.to_text()).unwrap(), schedule);
    assert!(guard(|| StepLr::new(0.1, 0).lr_at(0)).is_err());
    assert!(guard(|| CosineAnnealingLr::new(0.1, 0).lr_at(0)).is_err());
    assert!(guard(|| CosineAnnealingWarmRestarts::new(0.1, 0).lr_at(0)).is_err());
    assert!(guard(|| OneCycleLr::new(0.1, 0).lr_at(0)).is_err());
    assert!(guard(|| CyclicLr::new(0.1, 0.5).with_step_size_up(0).lr_at(0)).is_err());
    assert!(guard(|| NoamLr::new(0.1).with_warmup_steps(0).lr_at(0)).is_err());
}
