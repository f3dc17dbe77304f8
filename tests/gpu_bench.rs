//! `gpu_bench` on the CPU: every workload of it runs, and whatever fails becomes a row.

#[path = "../examples/gpu_bench/answer.rs"]
mod answer;
#[allow(dead_code)]
#[path = "../examples/gpu_bench/kiln_side.rs"]
mod kiln_side;
#[allow(dead_code)]
#[path = "../benches/models/mod.rs"]
mod models;
#[path = "../examples/gpu_bench/peer.rs"]
mod peer;
#[path = "../examples/gpu_bench/resnet50.rs"]
mod resnet50;
#[path = "../examples/gpu_bench/table.rs"]
mod table;
#[allow(dead_code)]
#[path = "../benches/compare/timing.rs"]
mod timing;
#[path = "../examples/gpu_bench/workload.rs"]
mod workload;

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use answer::{Answer, Measure};
use kiln::prelude::*;
use peer::Peer;
use table::{Ceilings, HEADER, Row};
use workload::{Request, Workload};

#[test]
fn every_workload_runs_and_keeps_its_sizes_on_the_way() {
    for workload in Workload::all(true) {
        let request = workload.request(true);
        let line = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), request, "{line}");
        // One call for each set of inputs.
        kiln_side::make(&request, &Device::cpu())(request.sets as u64);
    }
}

#[test]
fn each_row_has_a_name_that_fits_and_a_side_in_pytorch() {
    let script = include_str!("../examples/gpu_bench/torch_side.py");
    for small in [false, true] {
        let all = Workload::all(small);
        let names: HashSet<String> = all.iter().map(Workload::name).collect();
        assert_eq!(names.len(), all.len());
        assert!(names.iter().all(|name| name.len() <= 29), "{names:?}");
        for workload in all {
            let json = serde_json::to_value(&workload).unwrap();
            let op = json["op"].as_str().unwrap();
            let function = script.split(&format!("\ndef {op}(")).nth(1);
            let arguments = function.unwrap_or_else(|| panic!("{op}")).split(')').next().unwrap();
            let expected = json.as_object().unwrap().keys().filter(|key| *key != "op");
            let expected: HashSet<&str> = expected.map(String::as_str).chain(["sets"]).collect();
            assert_eq!(arguments.split(", ").collect::<HashSet<_>>(), expected, "{op}");
        }
    }
}

#[test]
fn inputs_are_larger_than_the_cache_all_together() {
    let sets = |name: &str| {
        let all = Workload::all(false);
        all.iter().find(|row| row.name() == name).unwrap().request(false).sets
    };
    assert_eq!(sets("matmul_bf16_8192"), 1);
    assert_eq!(sets("matmul_bf16_1024"), 32);
    assert_eq!(sets("train_gpt2_bf16_16x1024"), 1);
}

#[test]
fn work_that_memory_limits_says_what_it_moves() {
    let bytes: Vec<(String, usize)> =
        Workload::all(false).iter().map(|row| (row.name(), row.least_bytes())).collect();
    let of = |name: &str| bytes.iter().find(|row| row.0.starts_with(name)).unwrap().1;
    assert_eq!(of("copy"), 2 << 30);
    assert_eq!(of("softmax_bf16"), 2 * 2 * 16 * 12 * 1024 * 1024);
    assert_eq!(of("adamw"), 7 * 4 * 124_439_808);
    assert_eq!(of("matmul"), 0);
}

#[test]
fn products_are_not_worth_a_compilation_and_trainings_are() {
    for workload in Workload::all(false) {
        let name = workload.name();
        if name.starts_with("matmul") || name.starts_with("train") {
            assert_eq!(workload.is_one_kernel(), name.starts_with("matmul"), "{name}");
        }
    }
}

#[test]
fn the_gpt_has_the_parameters_that_are_counted() {
    let gpts: Vec<_> = [false, true]
        .into_iter()
        .flat_map(Workload::all)
        .filter_map(|row| match row {
            Workload::Adamw { gpt } => Some(gpt),
            _ => None,
        })
        .collect();
    assert_eq!(gpts[0].params(), 124_439_808);
    let activation = kiln::nn::FeedForwardActivation::GeluTanh;
    let model = models::Gpt::of(&gpts[1], activation, &Device::cpu());
    assert_eq!(model.num_params(), gpts[1].params());
}

/// A side that runs a script of the shell.
fn side(script: &str) -> Peer {
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gpu_bench.log");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("echo '{{\"Ok\":{{\"about\":\"sh\"}}}}'; {script}")]);
    Peer::new(command, &log)
}

#[cfg(unix)]
#[test]
fn a_side_that_fails_is_started_anew() {
    let limit = Duration::from_secs(10);
    // It knows one request; another kills it.
    let mut peer =
        side("while read x; do [ $x = good ] || exit 1; echo '{\"Ok\":{\"us\":5}}'; done");
    assert_eq!(peer.start(limit).unwrap().about, "sh");
    assert_eq!(peer.ask("good", limit).unwrap().us, 5.0);
    assert!(peer.ask("bad", limit).unwrap_err().contains("ended"));
    assert_eq!(peer.ask("good", limit).unwrap().us, 5.0);

    let mut peer = side("read x; echo '{\"Err\":\"out of memory\"}'; read x; echo '{\"Ok\":{}}'");
    assert_eq!(peer.ask("x", limit), Err("out of memory".into()));
    assert_eq!(peer.ask("x", limit), Err("out of memory".into()), "the first answer of a new one");

    assert!(side("read x; echo hello").ask("x", limit).unwrap_err().contains("hello"));
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gpu_bench.log");
    let error = Peer::new(Command::new("/nowhere/python"), &log).ask("x", limit);
    assert!(error.unwrap_err().contains("/nowhere/python does not start"));
}

#[cfg(unix)]
#[test]
fn a_side_that_takes_too_long_is_ended() {
    let mut peer = side("read x; exec sleep 600");
    peer.start(Duration::from_secs(10)).unwrap();
    let error = peer.ask("x", Duration::from_millis(50)).unwrap_err();
    assert_eq!(error, "over 50.0ms");
}

fn measure(us: f64, flops: u64) -> Answer {
    Ok(Measure { us, flops, peak_mb: Some(1234.5), ..Measure::default() })
}

#[test]
fn a_row_has_medians_ratios_and_the_share_of_the_nearer_ceiling() {
    let mut ceilings = Ceilings::default();
    // 4000 GB/s by PyTorch, 500 TFLOP/s by Kiln.
    ceilings.raise(&Row::new(
        "copy".into(),
        4_000_000_000,
        [vec![measure(2000.0, 0)], vec![measure(1000.0, 0)], vec![]],
    ));
    ceilings.raise(&Row::new(
        "product".into(),
        0,
        [vec![measure(2.0, 1_000_000_000)], vec![], vec![]],
    ));
    assert_eq!(ceilings, Ceilings { bytes: 4e12, flops: 5e14 });

    let turns = [9.0, 10.0, 40.0].map(|us| measure(us, 1_000_000_000)).to_vec();
    let mut row = Row::new("softmax".into(), 32_000_000, [turns, vec![measure(15.0, 0)], vec![]]);
    row.set_share(&ceilings);
    assert_eq!(row.share, Some(0.8));
    let json: serde_json::Value = serde_json::from_str(&row.json()).unwrap();
    assert_eq!((&json["kiln_us"], &json["ratio_eager"]), (&10.0.into(), &1.5.into()));
    assert!(json["compiled_us"].is_null());
    let columns: Vec<String> = row.to_string().split_whitespace().map(String::from).collect();
    assert_eq!(columns, ["softmax", "10.0", "15.0", "-", "1.50", "-", "80", "1234", "1234"]);
    let widest = row.to_string().lines().chain(HEADER.lines()).map(str::len).max();
    assert!(widest <= Some(100), "{widest:?}");
}

#[test]
fn a_failure_is_in_the_row() {
    let turns = [vec![Err("out of memory\nof 139 GiB".into())], vec![measure(15.0, 0)], vec![]];
    let mut row = Row::new("huge".into(), 1, turns);
    row.set_share(&Ceilings { bytes: 1.0, flops: 1.0 });
    assert_eq!(row.share, None);
    let text = row.to_string();
    assert!(text.contains("failed      15.0") && text.ends_with("kiln: out of memory"), "{text}");
    assert!(row.json().contains(r#""errors":{"kiln":"out of memory\nof 139 GiB"}"#));
}
