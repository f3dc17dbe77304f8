//! Profiles of trainings, their traces, and `KILN_PROFILE`.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kiln::prelude::*;
use kiln::profile;
use kiln::profile::{Pass, Report};
use serde_json::Value;

/// One test at a time: operations of all threads count.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Some steps of a training.
fn train(steps: usize) {
    let device = Device::cpu();
    let mut model = Sequential::new()
        .add(LinearConfig::new(16, 32).init(&device))
        .add(Relu::new())
        .add(LinearConfig::new(32, 4).init(&device));
    let mut optim = AdamConfig::new(0.01).init();
    let x = Tensor::<2>::ones([64, 16], &device);
    let y = Tensor::<1, Int>::zeros([64], &device);
    for _ in 0..steps {
        let _step = profile::scope("step");
        let loss = {
            let _forward = profile::scope("forward");
            CrossEntropyLoss::new().forward(&model.forward(&x), &y)
        };
        optim.step(&mut model, loss.backward());
    }
}

#[test]
fn a_training_step_has_three_passes() {
    let _alone = alone();
    let report = profile(|| train(5));
    let calls = |name: &str, pass: Pass| {
        let rows = report.operations.iter().filter(|row| row.name == name && row.pass == pass);
        rows.map(|row| row.calls).sum::<u64>()
    };
    assert_eq!(calls("matmul", Pass::Forward), 10);
    // The gradients of both weights and of the first layer's result.
    assert_eq!(calls("matmul", Pass::Backward), 15);
    assert_eq!(calls("adam_update", Pass::Optimizer), 20);
    assert_eq!(calls("cross_entropy_backward", Pass::Backward), 5);
    let scope = |path: &str| report.scopes.iter().find(|scope| scope.path == path).unwrap();
    for path in ["step", "step/forward", "step/backward", "step/optimizer"] {
        assert_eq!(scope(path).calls, 5, "{path}");
        assert!(scope(path).time <= scope("step").time);
    }
}

/// An event of a trace.
struct Event<'a> {
    name: &'a str,
    category: &'a str,
    start: f64,
    end: f64,
}

fn events(trace: &Value) -> Vec<Event<'_>> {
    let all = trace["traceEvents"].as_array().expect("events");
    let whole = all.iter().filter(|event| event["ph"] == "X");
    whole
        .map(|event| {
            let start = event["ts"].as_f64().unwrap();
            Event {
                name: event["name"].as_str().unwrap(),
                category: event["cat"].as_str().unwrap(),
                start,
                end: start + event["dur"].as_f64().unwrap(),
            }
        })
        .collect()
}

#[track_caller]
fn assert_nested(trace: &Value, steps: usize) {
    let events = events(trace);
    let count = |name| events.iter().filter(|event| event.name == name).count();
    assert_eq!((count("step"), count("matmul")), (steps, 5 * steps));
    let inside = |event: &Event<'_>, name: &str| {
        // The numbers have three digits after the point.
        let around = events.iter().filter(|around| around.name == name);
        around
            .into_iter()
            .any(|around| event.start >= around.start - 0.002 && event.end <= around.end + 0.002)
    };
    for event in events.iter().filter(|event| event.category == "backward") {
        assert!(inside(event, "backward") && inside(event, "step"), "{}", event.name);
    }
    for event in events.iter().filter(|event| event.category == "optimizer") {
        assert!(inside(event, "optimizer") && inside(event, "step"), "{}", event.name);
    }
}

#[test]
fn traces_are_json_in_which_passes_nest() {
    let _alone = alone();
    let report = profile(|| {
        train(3);
        drop(profile::scope("\"quoted\"\\\n\t"));
    });
    let trace: Value = serde_json::from_str(&report.to_chrome_trace()).unwrap();
    assert_nested(&trace, 3);
    assert!(events(&trace).iter().any(|event| event.name == "\"quoted\"\\\n\t"));
    let counters = trace["traceEvents"].as_array().unwrap();
    assert!(counters.iter().any(|event| event["ph"] == "C" && event["args"]["held"] != 0));

    let path = std::env::temp_dir().join(format!("kiln-profile-{}.json", std::process::id()));
    report.write_trace(&path).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), report.to_chrome_trace());
    std::fs::remove_file(&path).unwrap();
    let nowhere = Path::new("no such folder").join("trace.json");
    assert!(report.write_trace(nowhere).unwrap_err().to_string().contains("no such folder"));
}

#[test]
fn a_report_of_nothing_is_empty() {
    let _alone = alone();
    let report: Report = profile(|| ());
    assert!(report.operations.is_empty() && report.scopes.is_empty() && report.memory.is_empty());
    let trace: Value = serde_json::from_str(&report.to_chrome_trace()).unwrap();
    assert!(events(&trace).is_empty());
}

/// Marks a process that is to train.
const CHILD: &str = "KILN_TEST_PROFILE_CHILD";

/// What this program prints when it is run with `KILN_PROFILE`.
fn child(profile: &str, name: &str, how: &str) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture"]).env(CHILD, how).env("KILN_PROFILE", profile);
    command.output().unwrap()
}

#[test]
fn any_program_prints_a_table_or_writes_a_trace_when_it_ends() {
    const NAME: &str = "any_program_prints_a_table_or_writes_a_trace_when_it_ends";
    let _alone = alone();
    match std::env::var(CHILD).as_deref() {
        Ok("exit") => {
            train(4);
            std::process::exit(3);
        }
        Ok(_) => return train(4),
        Err(_) => {}
    }
    let table = child("table", NAME, "return");
    let text = String::from_utf8_lossy(&table.stderr);
    assert!(table.status.success() && text.contains("matmul"), "{text}");
    assert!(text.contains("adam_update") && text.contains("memory of cpu"), "{text}");

    // The end by `exit`, as from inside of a library.
    let path = std::env::temp_dir().join(format!("kiln-env-{}.json", std::process::id()));
    let exit = child(path.to_str().unwrap(), NAME, "exit");
    assert_eq!(exit.status.code(), Some(3), "{}", String::from_utf8_lossy(&exit.stderr));
    let trace = std::fs::read_to_string(&path).unwrap();
    assert_nested(&serde_json::from_str(&trace).unwrap(), 4);
    std::fs::remove_file(&path).unwrap();

    let wrong = child("yes", NAME, "return");
    let text = String::from_utf8_lossy(&wrong.stderr);
    assert!(wrong.status.success() && text.contains("it can be `table` or"), "{text}");
    let nowhere = child("no such folder/trace.json", NAME, "return");
    let text = String::from_utf8_lossy(&nowhere.stderr);
    assert!(nowhere.status.success() && text.contains("no such folder"), "{text}");
    let off = child("", NAME, "return");
    assert!(off.status.success() && off.stderr.is_empty(), "nothing was asked for");
}
