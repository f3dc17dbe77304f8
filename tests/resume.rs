//! A training that was killed and goes on ends with the same bits as one that was not, and an
//! interrupt loses nothing.
//!
//! The trainings run in processes of their own: this program again, told what to do by variables of
//! the environment (see [`child`]).

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use kiln::Result;
use kiln::data::rand::{RngExt, SeedableRng};
use kiln::data::{DataLoader, DataLoaderBuilder, Dataset, InMemDataset, Stack, StdRng};
use kiln::prelude::*;
use kiln::train::{Accuracy, Auroc, Perplexity, Precision, Report, Step, TrainerConfig};

const FOLDER: &str = "KILN_TEST_FOLDER";
const PAUSE: &str = "KILN_TEST_PAUSE_MS";
const STEPS: usize = 100;

type Batch = (Tensor<2>, Tensor<1, Int>);

/// Points in two noisy rings, moved a little at random in each epoch, made by two threads: 19
/// batches, the last one smaller, so 10 steps of two batches in an epoch.
fn rings(augment: bool) -> DataLoader<Batch> {
    let mut random = StdRng::seed_from_u64(1);
    let mut point = |i: usize| {
        let angle = random.random_range(0.0..std::f32::consts::TAU);
        let radius = 1.0 + (i % 2) as f32 + random.random_range(-0.4..0.4);
        ([radius * angle.cos(), radius * angle.sin()], (i % 2) as i64)
    };
    let points = InMemDataset::new((0..300).map(&mut point).collect::<Vec<_>>());
    let loader = DataLoaderBuilder::new(Stack).batch_size(16).num_workers(2);
    if !augment {
        return loader.build(points);
    }
    let moved = points.map_random(5, |(point, label), random| {
        (point.map(|x| x + random.random_range(-0.1..0.1f32)), label)
    });
    loader.shuffle(3).build(moved)
}

#[derive(Module)]
struct Net {
    fc1: Linear,
    norm: BatchNorm1d,
    dropout: Dropout,
    fc2: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        Self {
            fc1: LinearConfig::new(2, 32).init(device),
            norm: BatchNorm1dConfig::new(32).init(device),
            dropout: DropoutConfig::new(0.2).init(),
            fc2: LinearConfig::new(32, 2).init(device),
        }
    }

    fn forward(&self, x: &Tensor<2>) -> Tensor<2> {
        let x = activation::relu(self.norm.forward(&self.fc1.forward(x)));
        self.fc2.forward(&self.dropout.forward(&x))
    }
}

/// Everything that a training leaves, as bytes: the model, its optimizer, and each number that it
/// reported.
fn outcome(model: &Net, optim: &impl Optimizer, report: &Report) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (path, data) in model.state_dict().iter().chain(optim.state_dict().iter()) {
        bytes.extend_from_slice(path.as_bytes());
        bytes.extend_from_slice(data.bytes());
    }
    for epoch in &report.epochs {
        let values = epoch.train.iter().chain(&epoch.valid);
        bytes.extend(values.flat_map(|(_, value)| value.to_le_bytes()));
    }
    bytes
}

fn config(folder: &Path) -> TrainerConfig {
    TrainerConfig::new(10)
        .with_folder(folder)
        .with_resume(true)
        .with_accumulate(2)
        .with_clipping(GradientClipping::GlobalNorm(1.0))
        .with_ema(0.9)
        .with_checkpoint_every(7)
        .with_validate_every(4)
}

fn train(config: TrainerConfig, pause: Duration) -> Result<(Report, Vec<u8>)> {
    let device = Device::cpu();
    device.seed(11);
    let mut model = Net::new(&device);
    let mut optim = AdamWConfig::new(0.01).init();
    let schedule = OneCycle::new();
    let report = config
        .init()
        .metric(Accuracy::new())
        .metric(Auroc::multiclass(2))
        .metric(Perplexity::new())
        .schedule(move |step| schedule.lr_at(step))
        .fit(&mut model, &mut optim, &rings(true), Some(&rings(false)), |model, (x, y)| {
            std::thread::sleep(pause);
            let logits = model.forward(x);
            let loss = CrossEntropyLoss::new().forward(&logits, y);
            let confidence = logits.detach().abs().mean().item();
            Step::new(loss).with_output(logits, y).with_value("confidence", confidence)
        })?;
    let bytes = outcome(&model, &optim, &report);
    Ok((report, bytes))
}

/// Up and down again within the run.
struct OneCycle(schedule::WarmupLr<schedule::CosineAnnealingLr>);

impl OneCycle {
    fn new() -> Self {
        let down = schedule::CosineAnnealingLr::new(0.02, STEPS - 10);
        Self(schedule::WarmupLr::new(10, down).with_start_factor(0.1))
    }

    fn lr_at(&self, step: usize) -> f64 {
        self.0.lr_at(step)
    }
}

/// What the other tests start as a process: trains in a folder, and writes what it led to.
#[test]
#[ignore = "the process that the other tests start and kill"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let pause = std::env::var(PAUSE).unwrap().parse().unwrap();
    match train(config(&folder), Duration::from_millis(pause)) {
        Ok((_, bytes)) => std::fs::write(folder.join("outcome"), bytes).unwrap(),
        Err(error) => {
            eprintln!("error: {error}");
            std::process::exit(2);
        }
    }
}

fn start(folder: &Path, pause: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(PAUSE, pause.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for the end, and gives what was said on standard error.
fn end(child: Child) -> (ExitStatus, String) {
    let output = child.wait_with_output().unwrap();
    (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Waits until the log has so many lines.
fn wait_for_lines(folder: &Path, lines: usize, child: &mut Child) {
    let start = Instant::now();
    loop {
        let log = std::fs::read(folder.join("metrics.jsonl")).unwrap_or_default();
        if log.iter().filter(|&&byte| byte == b'\n').count() >= lines {
            return;
        }
        assert!(child.try_wait().unwrap().is_none(), "the training ended before line {lines}");
        assert!(start.elapsed() < Duration::from_secs(60), "no line {lines} after a minute");
        std::thread::sleep(Duration::from_micros(200));
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("kiln-resume-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::remove_dir_all(&path).ok();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// The log without what differs between runs: times and memory.
fn log(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let timed = ["seconds", "memory", "per_second"];
    let untimed = |line: &str| {
        let fields = line.split(',').filter(|field| !timed.iter().any(|word| field.contains(word)));
        fields.collect::<Vec<_>>().join(",")
    };
    text.lines().map(untimed).collect()
}

/// What a run that nobody disturbs leads to.
fn undisturbed() -> (Vec<u8>, Vec<String>) {
    let folder = Folder::new("undisturbed");
    let (status, said) = end(start(&folder.0, 0));
    assert!(status.success(), "{said}");
    assert!(!said.contains("goes on"), "{said}");
    (std::fs::read(folder.0.join("outcome")).unwrap(), log(&folder.0))
}

/// Rounds of kills at random moments; more of them with `KILN_TEST_KILLS`.
#[test]
fn a_run_that_was_killed_again_and_again_ends_with_the_same_bits() {
    let rounds = std::env::var("KILN_TEST_KILLS").map_or(3, |rounds| rounds.parse().unwrap());
    let (bytes, lines) = undisturbed();
    let seed = Instant::now().elapsed().as_nanos() as u64 ^ std::process::id() as u64;
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..rounds {
        let folder = Folder::new(&format!("killed-{round}"));
        // Twice, at moments in the first and in the second half of the run.
        let (first, second) = (random.random_range(12..50), random.random_range(60..105));
        for line in [first, second] {
            let mut child = start(&folder.0, 1);
            wait_for_lines(&folder.0, line, &mut child);
            std::thread::sleep(Duration::from_micros(random.random_range(0..8000)));
            child.kill().unwrap(); // SIGKILL: nothing can be saved any more.
            end(child);
        }
        let (status, said) = end(start(&folder.0, 0));
        assert!(status.success(), "{said}");
        assert!(said.contains("goes on after step"), "{said}");
        let found = std::fs::read(folder.0.join("outcome")).unwrap();
        assert!(found == bytes, "killed at lines {first} and {second}: other bits");
        assert_eq!(log(&folder.0), lines, "killed at lines {first} and {second}: another log");
    }
}

#[cfg(unix)]
fn interrupt(child: &Child) {
    let kill = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

#[test]
#[cfg(unix)]
fn an_interrupt_saves_and_a_second_one_ends_at_once() {
    let (bytes, _) = undisturbed();
    let folder = Folder::new("interrupted");
    let mut child = start(&folder.0, 1);
    wait_for_lines(&folder.0, 30, &mut child);
    interrupt(&child);
    let (status, said) = end(child);
    assert_eq!(status.code(), Some(2), "{said}");
    let after = said.split("error: fit: interrupted after step ").nth(1).expect("the error");
    let step: usize = after.split(';').next().unwrap().parse().unwrap();
    assert!(after.contains("saved as ") && after.contains("go on with"), "{said}");
    let saved = folder.0.join(format!("checkpoints/step-{step:08}.safetensors"));
    assert!(saved.exists(), "{saved:?} is missing");

    let (status, said) = end(start(&folder.0, 0));
    assert!(status.success() && said.contains(&format!("goes on after step {step}")), "{said}");
    assert!(std::fs::read(folder.0.join("outcome")).unwrap() == bytes, "other bits");

    // A step that takes a minute.
    let folder = Folder::new("interrupted-twice");
    let child = start(&folder.0, 60_000);
    while !folder.0.join("trainer.json").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(200));
    let pressed = Instant::now();
    interrupt(&child);
    std::thread::sleep(Duration::from_millis(200));
    interrupt(&child);
    let (status, said) = end(child);
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("stopping after this step"), "{said}");
    assert!(pressed.elapsed() < Duration::from_secs(30));
}

/// Within one process, and with all that has a state: a loss scale, an average, a plateau, and the
/// end of a run before its time.
#[test]
fn a_run_in_pieces_ends_with_the_same_bits() {
    let device = Device::cpu();
    for precision in [None, Some(Precision::F16), Some(Precision::BF16)] {
        let run = |folder: &Path, max_steps: usize| {
            device.seed(3);
            let mut model = Net::new(&device);
            let mut optim = SgdConfig::new(0.1)
                .with_momentum(0.9)
                .init()
                .with_group("fc1.*", |fc1| SgdConfig { lr: 0.03, ..fc1 });
            let scaler = GradScalerConfig::new().with_interval(5);
            let mut trainer = TrainerConfig::new(4)
                .with_folder(folder)
                .with_resume(true)
                .with_precision(precision.clone())
                .with_scaler(scaler)
                .with_ema(0.95)
                .with_patience(50)
                .with_max_steps(max_steps)
                .with_progress(false)
                .init()
                .metric(Accuracy::new())
                .schedule_plateau(&schedule::ReduceLrOnPlateauConfig::new(0.1).with_patience(0));
            let (train, valid) = (rings(true), rings(false));
            let report =
                trainer.fit(&mut model, &mut optim, &train, Some(&valid), |model, (x, y)| {
                    let logits = model.forward(x);
                    Step::new(CrossEntropyLoss::new().forward(&logits, y)).with_output(logits, y)
                });
            let report = report.unwrap();
            (outcome(&model, &optim, &report), report.steps)
        };
        let whole = Folder::new("whole");
        let (expected, steps) = run(&whole.0, 1000);
        assert_eq!(steps, 4 * 19);
        let pieces = Folder::new("pieces");
        // In the middle of an epoch, at its end, one step later, and to the end.
        for (max_steps, done) in [(7, 7), (19, 19), (20, 20), (1000, 76)] {
            let (outcome, steps) = run(&pieces.0, max_steps);
            assert_eq!(steps, done);
            assert_eq!(outcome == expected, done == 76, "{precision:?} after step {done}");
        }
        // A run that is done is done.
        assert!(run(&pieces.0, 1000).0 == expected, "{precision:?}");
    }
}
