//! Trainings: what the settings do, and what is told of them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use kiln::data::{DataLoader, DataLoaderBuilder, InMemDataset, Stack};
use kiln::prelude::*;
use kiln::train::{
    Accuracy, Checkpoint, Checkpoints, ConfusionMatrix, Event, Flow, JsonLines, LrFinderConfig,
    Report, Step, Stop, Trainer, TrainerConfig,
};

use crate::checkpoint::Folder;

type Batch = (Tensor<2>, Tensor<1, Int>);

/// Points of two classes, left and right, in batches of `size`.
fn points(count: usize, size: usize) -> DataLoader<Batch> {
    let point = |i: usize| {
        let (x, y) = (i as f32 / count as f32 - 0.5, ((i * 7) % 5) as f32 / 5.0);
        ([x * 4.0, y], i64::from(x > 0.0))
    };
    let points = InMemDataset::new((0..count).map(point).collect::<Vec<_>>());
    DataLoaderBuilder::new(Stack).batch_size(size).build(points)
}

/// The same in each test, whatever the others draw.
fn model() -> Linear {
    let mut model = LinearConfig::new(2, 2).init(&Device::cpu());
    model.weight.set(Tensor::<2>::from([[0.1, -0.2], [0.05, 0.3]]));
    model.bias.as_mut().unwrap().set(Tensor::<1>::from([0.0, 0.1]));
    model
}

fn step(model: &Linear, (x, y): &Batch) -> Step {
    let logits = model.forward(x);
    Step::new(CrossEntropyLoss::new().forward(&logits, y)).with_output(logits, y)
}

fn quiet(epochs: usize) -> TrainerConfig {
    TrainerConfig::new(epochs).with_progress(false).with_handle_interrupt(false)
}

fn weights(model: &Linear) -> Vec<f32> {
    model.weight.to_data().iter().chain(model.bias.as_ref().unwrap().to_data().iter()).collect()
}

/// Trains with SGD, and gives the weights and the report.
fn run(mut trainer: Trainer, train: &DataLoader<Batch>) -> (Vec<f32>, Report) {
    let (mut model, mut optim) = (model(), SgdConfig::new(0.1).init());
    let report = trainer.fit(&mut model, &mut optim, train, None, step).unwrap();
    (weights(&model), report)
}

#[test]
fn fit_is_the_plain_loop() {
    let train = points(40, 8);
    let (mut plain, mut optim) = (model(), AdamWConfig::new(0.05).init());
    for epoch in 0..3 {
        for batch in train.epoch(epoch) {
            let grads = step(&plain, &batch.unwrap()).loss_tensor().backward();
            optim.step(&mut plain, grads);
        }
    }
    let (mut fitted, mut optim) = (model(), AdamWConfig::new(0.05).init());
    let mut trainer = quiet(3).init().metric(Accuracy::new());
    let report = trainer.fit(&mut fitted, &mut optim, &train, Some(&train), step).unwrap();
    assert_eq!(weights(&fitted), weights(&plain));
    assert_eq!(report.stop, Stop::Finished);
    assert_eq!((report.steps, report.epochs.len()), (15, 3));
    let loss = |epoch: usize| report.epochs[epoch].get("valid loss").unwrap();
    assert!(loss(2) < loss(1) && loss(1) < loss(0));
    assert_eq!(report.best[0].value, loss(2));
    assert!(report.epochs[2].get("valid accuracy").unwrap() > 0.9);
    let svg = report.chart("Points").to_svg();
    assert!(svg.contains("accuracy") && svg.contains("valid") && svg.contains("train"));
}

#[test]
fn accumulated_batches_are_one_large_batch_also_where_they_are_uneven() {
    let clipping = || GradientClipping::GlobalNorm(0.3);
    for (count, parts) in [(32, 4), (30, 4), (70, 4), (33, 5)] {
        // 8 8 8 8; 8 8 8 6; and ends of an epoch with fewer batches.
        let small = quiet(4).with_accumulate(parts).with_clipping(clipping());
        let (small, report) = run(small.init(), &points(count, 8));
        let (large, whole) =
            run(quiet(4).with_clipping(clipping()).init(), &points(count, 8 * parts));
        assert_eq!(report.steps, whole.steps);
        for (a, b) in small.iter().zip(&large) {
            assert!((a - b).abs() < 1e-6, "{count} in {parts}: {small:?} and {large:?}");
        }
        let losses = |report: &Report| report.epochs[3].get("train loss").unwrap();
        assert!((losses(&report) - losses(&whole)).abs() < 1e-6);
    }
}

#[test]
fn the_schedule_sets_the_rate_of_each_step_or_epoch() {
    let lrs = |trainer: Trainer| {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let heard = seen.clone();
        let trainer = trainer.callback(move |event: &Event<'_>| {
            if let Event::Step(step) = event {
                heard.borrow_mut().push(step.lr);
            }
            Ok(Flow::Continue)
        });
        run(trainer, &points(16, 8));
        seen.take()
    };
    let falling = |at: usize| 1.0 / (at + 1) as f64;
    assert_eq!(lrs(quiet(2).init().schedule(falling)), [1.0, 1.0 / 2.0, 1.0 / 3.0, 1.0 / 4.0]);
    assert_eq!(lrs(quiet(2).init().schedule_epochs(falling)), [1.0, 1.0, 1.0 / 2.0, 1.0 / 2.0]);
    assert_eq!(lrs(quiet(1).init()), [0.1, 0.1]);
    // The loss falls, so a plateau that wants an accuracy of it sees none.
    let plateau = schedule::ReduceLrOnPlateauConfig::new(0.5)
        .with_mode(schedule::PlateauMode::Max)
        .with_patience(0);
    assert_eq!(lrs(quiet(3).init().schedule_plateau(&plateau))[..4], [0.5, 0.5, 0.5, 0.5]);
    let last = lrs(quiet(3).init().schedule_plateau(&plateau))[4];
    assert!((last - 0.05).abs() < 1e-12, "{last}");
}

#[test]
fn the_average_is_validated_and_is_what_the_model_ends_with() {
    let (train, mut plain) = (points(40, 8), model());
    let (mut optim, mut ema) = (SgdConfig::new(0.1).init(), Ema::new(&plain, 0.8));
    for epoch in 0..2 {
        for batch in train.epoch(epoch) {
            let grads = step(&plain, &batch.unwrap()).loss_tensor().backward();
            optim.step(&mut plain, grads);
            ema.update(&plain);
        }
    }
    ema.apply_to(&mut plain);
    let (mut fitted, mut optim) = (model(), SgdConfig::new(0.1).init());
    let mut trainer = quiet(2).with_ema(0.8).init();
    let report = trainer.fit(&mut fitted, &mut optim, &train, Some(&train), step).unwrap();
    assert_eq!(weights(&fitted), weights(&plain));
    let valid = quiet(1).init().validate(&mut plain, &train, step).unwrap();
    assert_eq!(report.epochs[1].get("valid loss"), Some(valid.loss()));
}

#[test]
fn limits_and_flags_do_what_they_say() {
    let train = points(80, 8);
    let steps = |config: TrainerConfig| run(config.init(), &train).1;
    assert_eq!(steps(quiet(3).with_limit_train_batches(4)).steps, 12);
    let stopped = steps(quiet(100).with_max_steps(25));
    assert_eq!((stopped.steps, stopped.stop), (25, Stop::MaxSteps));
    let stopped = steps(quiet(usize::MAX).with_max_seconds(0.05));
    assert_eq!(stopped.stop, Stop::MaxTime);
    assert!((0.05..10.0).contains(&stopped.seconds), "{}", stopped.seconds);
    assert_eq!(steps(quiet(5).with_fast_dev_run(true)).steps, 1);

    // The same batch again and again is learned by heart.
    let (mut model, mut optim) = (model(), AdamWConfig::new(0.1).init());
    let seen = Cell::new(0);
    let mut trainer = quiet(300).with_overfit_batches(1).init();
    let report = trainer.fit(&mut model, &mut optim, &points(8, 4), None, |model, batch| {
        let first = batch.0.slice(s![0, 0]).into_scalar::<f32>();
        seen.set(seen.get() + usize::from(first != -2.0));
        step(model, batch)
    });
    let report = report.unwrap();
    assert_eq!((report.steps, seen.get()), (300, 0));
    assert!(report.epochs[299].get("valid loss").unwrap() < 0.01);
}

#[test]
fn it_stops_when_there_is_no_progress_and_ends_with_the_best() {
    let folder = Folder::new("early");
    let (train, valid) = (points(40, 8), points(40, 8));
    let mut config = quiet(100).with_folder(&folder.0).with_patience(3).with_restore_best(true);
    config = config.with_keep_best(2).with_monitor("valid accuracy");
    let (mut model, mut optim) = (model(), SgdConfig::new(0.0).init());
    // The first epoch moves the weights, and no other one does.
    let schedule = |epoch: usize| if epoch == 0 { 0.5 } else { 0.0 };
    let mut trainer = config.init().metric(Accuracy::new()).schedule_epochs(schedule);
    let report = trainer.fit(&mut model, &mut optim, &train, Some(&valid), step).unwrap();
    assert_eq!(report.stop, Stop::Callback("3 validations in a row brought no progress".into()));
    assert_eq!((report.epochs.len(), report.steps), (4, 20));
    assert_eq!(report.best[0].step, 5, "the first of equal ones");
    let best = report.best_checkpoint.as_ref().unwrap();
    assert!(best.ends_with("step-00000005.safetensors"));
    // Two of the best and two of the last are kept.
    let checkpoints = Checkpoints::new(folder.0.join("checkpoints")).unwrap();
    assert_eq!(checkpoints.steps().unwrap(), [5, 10, 15, 20]);
    let saved = Checkpoint::load(best).unwrap();
    assert_eq!(
        saved.part("model").get("weight").unwrap().to_vec::<f32>().unwrap(),
        weights(&model)[..4]
    );

    // Going on, it has no more patience than before.
    let mut trainer = config.with_resume(true).init().metric(Accuracy::new());
    let again = trainer.fit(&mut model, &mut optim, &train, Some(&valid), step).unwrap();
    assert_eq!((again.steps, again.stop), (20, report.stop));
}

#[test]
fn a_validation_counts_once_and_the_last_weights_are_validated() {
    let data = points(40, 8);
    let (mut model, mut optim) = (model(), SgdConfig::new(0.1).init());
    let judged = Rc::new(RefCell::new(Vec::new()));
    let heard = judged.clone();
    // After steps 5, 10, .. an epoch ends; step 17 is in the middle of one.
    let config = quiet(10).with_validate_every(5).with_keep_best(2).with_max_steps(17);
    let mut trainer = config.init().callback(move |event: &Event<'_>| {
        if let Event::Judged(event) = event {
            heard.borrow_mut().push(event.step);
        }
        Ok(Flow::Continue)
    });
    let report = trainer.fit(&mut model, &mut optim, &data, Some(&data), step).unwrap();
    assert_eq!(judged.take(), [5, 10, 15, 17]);
    assert_eq!([report.best[0].step, report.best[1].step], [17, 15]);
    assert_eq!(report.valid.unwrap().loss(), report.best[0].value);
    assert_eq!(report.epochs.len(), 3);
}

#[test]
fn a_number_that_is_not_there_can_not_be_monitored() {
    let mut trainer = quiet(1).with_monitor("valid acuracy").init().metric(Accuracy::new());
    let (mut model, mut optim, data) = (model(), SgdConfig::new(0.1).init(), points(8, 8));
    let error = trainer.fit(&mut model, &mut optim, &data, Some(&data), step).err().unwrap();
    let expected = "fit: there is no `valid acuracy` to monitor, but `train loss`, `train accuracy`, \
                    `valid loss`, `valid accuracy`";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn settings_that_make_no_sense_are_errors() {
    let error = |config: TrainerConfig| {
        let (mut model, mut optim) = (model(), SgdConfig::new(0.1).init());
        let fit = config.init().fit(&mut model, &mut optim, &points(8, 8), None, step);
        fit.err().unwrap().to_string()
    };
    assert_eq!(error(quiet(1).with_accumulate(0)), "fit: accumulate must be 1 or more");
    assert!(error(quiet(1).with_resume(true)).contains("need a folder"));
}

#[test]
fn a_loss_that_is_not_finite_names_the_operation_and_the_line() {
    let (mut model, mut optim) = (model(), SgdConfig::new(0.1).init());
    let mut batches = 0;
    let error =
        quiet(1).init().fit(&mut model, &mut optim, &points(40, 8), None, |model, (x, y)| {
            let logits = model.forward(x);
            batches += 1;
            // A mistake that shows in the third batch and when that is run again.
            let shift = if batches >= 3 { -1e4 } else { 1e4 };
            let loss = (logits + shift).log().mean();
            let _ = y;
            Step::new(loss)
        });
    let text = error.err().unwrap().to_string();
    assert!(
        text.starts_with("fit: the loss is NaN in epoch 1, step 3: log: output 0 is NaN"),
        "{text}"
    );
    assert!(text.contains("tests/train/fit.rs:"), "{text}");

    // A gradient that is infinite under a loss that is finite.
    let error = quiet(1).init().fit(
        &mut self::model(),
        &mut optim,
        &points(8, 8),
        None,
        |model, (x, _)| Step::new((model.forward(x) * 0.0).sqrt().sum()),
    );
    let text = error.err().unwrap().to_string();
    assert!(text.contains("the norm of the gradients is"), "{text}");
    assert!(text.contains("sqrt") && text.contains("tests/train/fit.rs:"), "{text}");
}

#[test]
fn checkpoints_that_can_not_be_written_do_not_end_the_training() {
    let folder = Folder::new("full");
    let (run_folder, moved) = (folder.0.join("run"), folder.0.join("moved"));
    let (from, to) = (run_folder.join("checkpoints"), moved.clone());
    let trainer = quiet(4).with_folder(&run_folder).with_checkpoint_every(2).init();
    let trainer = trainer.callback(move |event: &Event<'_>| {
        // From then on, the folder is a file: not even root can write below it.
        if matches!(event, Event::Step(step) if step.step == 7) {
            std::fs::rename(&from, &to).unwrap();
            std::fs::write(&from, "").unwrap();
        }
        Ok(Flow::Continue)
    });
    let (_, report) = run(trainer, &points(40, 8));
    assert_eq!((report.stop, report.steps), (Stop::Finished, 20));
    assert!(report.warnings[0].contains("step-00000008.safetensors: can not be written"));
    assert!(report.last_checkpoint.is_none());
    let (step, _) = Checkpoints::new(&moved).unwrap().latest().unwrap().unwrap();
    assert_eq!(step, 6);
}

#[test]
fn a_folder_with_a_run_is_not_overwritten_and_one_of_another_model_not_resumed() {
    let folder = Folder::new("taken");
    let config = quiet(1).with_folder(&folder.0);
    run(config.init(), &points(8, 8));
    let mut optim = SgdConfig::new(0.1).init();
    let again = config.init().fit(&mut model(), &mut optim, &points(8, 8), None, step);
    let error = again.err().unwrap().to_string();
    assert!(error.contains("holds a run; go on with it (`with_resume(true)`)"), "{error}");

    let config = config.with_resume(true);
    let mut wide = LinearConfig::new(2, 3).init(&Device::cpu());
    let other = config.init().fit(&mut wide, &mut optim, &points(8, 8), None, step);
    let error = other.err().unwrap().to_string();
    assert!(
        error.contains("step-00000001.safetensors: checkpoint: `model` does not fit"),
        "{error}"
    );
    assert!(error.contains("weight is [3, 2] but [2, 2] in the file"), "{error}");
}

#[test]
fn a_damaged_checkpoint_is_told_and_the_one_before_is_used() {
    let folder = Folder::new("damaged");
    let config = quiet(2).with_folder(&folder.0);
    let (expected, _) = run(config.init(), &points(40, 8));
    let last = folder.0.join("checkpoints/step-00000010.safetensors");
    let bytes = std::fs::read(&last).unwrap();
    std::fs::write(&last, &bytes[..bytes.len() / 2]).unwrap();
    let (weights, report) = run(config.with_resume(true).init(), &points(40, 8));
    assert_eq!((weights, report.steps), (expected, 10));
    assert!(report.warnings[0].contains("step-00000010.safetensors: is a damaged checkpoint"));
    assert!(Checkpoint::load(&last).is_ok(), "written again");
}

#[test]
fn the_folder_holds_settings_and_a_log_of_every_step_and_epoch() {
    let folder = Folder::new("log");
    let config = quiet(2).with_folder(&folder.0).with_clipping(GradientClipping::GlobalNorm(1.0));
    let extra = folder.0.join("extra.jsonl");
    let trainer = config.init().metric(Accuracy::new()).settings(&LinearConfig::new(2, 2));
    run(trainer.callback(JsonLines::to_file(&extra)), &points(16, 8));
    assert_eq!(TrainerConfig::load(folder.0.join("trainer.json")).unwrap(), config);
    assert_eq!(LinearConfig::load(folder.0.join("settings.json")).unwrap().inputs, 2);
    let text = std::fs::read_to_string(folder.0.join("metrics.jsonl")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 6, "{text}");
    for key in ["\"step\":1,", "\"loss\":0.", "\"lr\":0.1,", "\"grad_norm\":", "items_per_second"] {
        assert!(lines[0].contains(key), "{key} is missing: {}", lines[0]);
    }
    for key in ["\"epoch\":2,", "\"step\":4,", "\"train accuracy\":", "\"train loss\":"] {
        assert!(lines[5].contains(key), "{key} is missing: {}", lines[5]);
    }
    assert_eq!(std::fs::read_to_string(extra).unwrap().lines().count(), 6);
}

#[test]
fn validate_and_predict_do_not_train() {
    let (mut model, data) = (model(), points(20, 8));
    let before = weights(&model);
    let trainer = quiet(1).init().metric(Accuracy::new()).metric(ConfusionMatrix::new(2));
    let metrics = trainer.validate(&mut model, &data, step).unwrap();
    let matrix = metrics.metric::<ConfusionMatrix>().unwrap();
    assert_eq!((matrix.total(), metrics.get("accuracy")), (20, Some(matrix.accuracy())));
    assert_eq!(metrics.values().len(), 2, "a matrix is no number");
    let rows = trainer.predict(&mut model, &data, |model, (x, _)| {
        let logits = model.forward(x);
        assert!(!logits.is_tracked());
        logits.dims()[0]
    });
    assert_eq!(rows.unwrap(), [8, 8, 4]);
    assert_eq!(weights(&model), before);
}

#[test]
fn the_rate_finder_leaves_all_as_it_was() {
    let (mut model, mut optim, data) = (model(), AdamWConfig::new(0.05).init(), points(80, 8));
    let before = weights(&model);
    let found = LrFinderConfig::new().run(&mut model, &mut optim, &data, step).unwrap();
    let suggestion = found.suggestion().unwrap();
    assert!((1e-4..2.0).contains(&suggestion), "{suggestion}");
    assert!(found.chart().to_svg().contains("suggested"));
    assert_eq!((weights(&model), optim.lr()), (before, 0.05));
    assert_eq!(optim.state_dict().len(), 1, "only the rate");
    let backwards = LrFinderConfig::new().with_max_lr(1e-9);
    assert!(backwards.run(&mut model, &mut optim, &data, step).is_err());
}

#[test]
fn an_error_of_the_data_ends_the_training() {
    let failing = DataLoaderBuilder::new(Stack).batch_size(2).build_stream(|_| {
        (0..5).map(|i| match i {
            4 => Err(kiln::Error::Argument { op: "dataset", rule: "no such file".into() }),
            i => Ok(([i as f32, 1.0], i % 2)),
        })
    });
    let (mut model, mut optim) = (model(), SgdConfig::new(0.1).init());
    let fit = quiet(1).init().fit(&mut model, &mut optim, &failing, None, step);
    assert!(fit.err().unwrap().to_string().contains("no such file"));
}
