//! Processes with a GPU each: stand-ins for the driver and for NCCL bring real values together, and the
//! results are those of the connection over TCP. Needs a C compiler.

#![cfg(target_os = "linux")]

#[path = "../cuda/tests/fake/mod.rs"]
mod fake;

use std::io::Write;
use std::path::Path;
use std::process::Command;

use kiln::dist::{DataParallelConfig, ProcessGroup, ReduceOp, spawn_local};
use kiln::prelude::*;

/// What the stand-ins noted since the last call.
fn noted() -> Vec<String> {
    let file = std::env::var("FAKE_CUDA_LOG").unwrap();
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let _ = std::fs::remove_file(file);
    text.lines().map(String::from).collect()
}

#[test]
fn two_ranks_with_gpus_do_what_two_without_do() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fake_nccl");
    if !fake::build(&folder) {
        let _ = writeln!(std::io::stderr(), "skipped: there is no C compiler");
        return;
    }
    spawn_local(2, |rank| {
        let log = folder.join(format!("rank{rank}"));
        let _ = std::fs::remove_file(&log);
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "a_started_process", "--ignored"]);
        fake::give(&mut command, &folder, &log);
        command
    })
    .unwrap();
}

#[test]
#[ignore = "two_ranks_with_gpus_do_what_two_without_do starts it"]
fn a_started_process() {
    let group = ProcessGroup::from_env().unwrap();
    // Each has its own, all of which are the stand-in's only one.
    let gpu = Device::cuda(0).unwrap();
    values_come_together(&group, &gpu);
    steps_are_those_of_tcp(&group, &gpu);
    what_differs_is_told(&group, &gpu);
    drop(group);
    assert_eq!(noted().last().unwrap(), "abort", "nothing is left");
}

fn values_come_together(group: &ProcessGroup, gpu: &Device) {
    let rank = group.rank() as f32;
    let x = Tensor::<2>::from_data([[1.0 + rank, 2.0, 3.5]], gpu);
    let sum = group.all_reduce(&x, ReduceOp::Sum).unwrap();
    assert_eq!(sum.dims(), [1, 3]);
    assert_eq!(sum.into_data().to_vec::<f32>().unwrap(), [3.0, 4.0, 7.0]);
    let log = noted();
    assert!(log.contains(&"all_reduce 3 of type 7, sum".into()), "{log:?}");
    let x = Tensor::<1>::from_data(TensorData::from([f64::from(rank), 0.5]), (gpu, DType::F64));
    let mean = group.all_reduce(&x, ReduceOp::Mean).unwrap();
    assert_eq!(mean.into_data().to_vec::<f64>().unwrap(), [0.5, 0.5]);
    let last = Tensor::<1, Int>::from_data([7 + group.rank() as i64], gpu);
    assert_eq!(group.broadcast(&last, 1).unwrap().into_data().to_vec::<i64>().unwrap(), [8]);
    let log = noted();
    assert!(log.contains(&"all_reduce 2 of type 8, mean".into()), "{log:?}");
    assert!(log.contains(&"broadcast 8 of type 1 from 1".into()), "{log:?}");
    assert_eq!(log.iter().filter(|line| *line == "init").count(), 0, "one communicator");
}

/// Three parameters of two dtypes, of which those of rank 0 count.
fn params(group: &ProcessGroup, device: &Device) -> [Param<Tensor<1>>; 3] {
    [(5, DType::F32), (3, DType::F64), (7, DType::F32)].map(|(len, dtype)| {
        let values: Vec<f64> = (0..len).map(|i| (i + 10 * group.rank()) as f64 / 3.0).collect();
        Param::new(Tensor::from_data(values.as_slice(), (device, dtype)))
    })
}

/// The parameters after the start, and the means of gradients that differ from rank to rank.
fn step(group: &ProcessGroup, device: &Device, megabytes: f64) -> Vec<TensorData> {
    let mut model = params(group, device);
    let config = DataParallelConfig::new().with_bucket_megabytes(megabytes);
    let mut parallel = config.init(group, &mut model).unwrap();
    let mut grads = Gradients::default();
    for (i, param) in model.iter().enumerate() {
        let value = param.val();
        let like = |k: usize| ((k + i) as f64).sin() * (1.0 + group.rank() as f64);
        let values: Vec<f64> = (0..value.num_elements()).map(like).collect();
        let gradient = Tensor::<1>::from_data(values.as_slice(), (device, value.dtype()));
        grads.insert(value.as_any(), gradient.into_any());
    }
    let grads = parallel.reduce(&model, grads).unwrap();
    let gradient = |param: &Param<Tensor<1>>| param.grad(&grads).unwrap().into_data();
    model.iter().flat_map(|param| [param.val().into_data(), gradient(param)]).collect()
}

fn steps_are_those_of_tcp(group: &ProcessGroup, gpu: &Device) {
    for megabytes in [0.0, 25.0] {
        noted();
        let on_gpu = step(group, gpu, megabytes);
        let log = noted();
        let reductions: Vec<_> = log.iter().filter(|line| line.contains("mean")).collect();
        let of = |len: usize, kind: usize| format!("all_reduce {len} of type {kind}, mean");
        match megabytes {
            // The last parameter first, as backward has its gradient first.
            0.0 => assert_eq!(reductions, [&of(7, 7), &of(3, 8), &of(5, 7)]),
            _ => assert_eq!(reductions, [&of(12, 7), &of(3, 8)]),
        }
        assert_eq!(on_gpu, step(group, &Device::cpu(), megabytes), "the same bits");
        assert_eq!(noted().len(), 0, "tensors of the CPU go by TCP");
    }
}

fn what_differs_is_told(group: &ProcessGroup, gpu: &Device) {
    // On rank 1, a parameter has no gradient.
    let mut model = params(group, gpu);
    let mut parallel = DataParallelConfig::new().init(group, &mut model).unwrap();
    let mut grads = Gradients::default();
    for param in &model[group.rank()..] {
        grads.insert(param.val().as_any(), param.val().detach().into_any());
    }
    let error = parallel.reduce(&model, grads).unwrap_err().to_string();
    assert!(error.contains("\n  0: on 1 of 2 ranks"), "{error}");
    group.barrier().unwrap();

    // Other shapes, before NCCL would wait for ever; and nothing after it.
    let x = Tensor::<1>::from_data(vec![1f32; 3 + group.rank()].as_slice(), gpu);
    let error = group.all_reduce(&x, ReduceOp::Sum).unwrap_err().to_string();
    assert!(error.contains("Sum of [3] f32") && error.contains("[4]"), "{error}");
    assert!(group.barrier().is_err());
    assert_eq!(x.into_data().to_vec::<f32>().unwrap()[..2], [1.0, 1.0], "the GPU goes on");
}
