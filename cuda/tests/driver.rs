//! The calls of the driver: a stand-in for it (`fake/cuda.c`) notes what a GPU would run, in that order,
//! and refuses what the driver refuses. Kernels compute nothing. Needs a C compiler.

#![cfg(target_os = "linux")]

mod fake;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kiln_autograd::Gradients;
use kiln_cuda::nccl::{Communicator, Reduction, UniqueId};
use kiln_cuda::{Cuda, Graph, Timer, reset_peak_memory};
use kiln_nn::Param;
use kiln_optim::{AdamWConfig, GradScalerConfig, GradientClipping, Optimizer, clip_grad_norm};
use kiln_tensor::op::samples::{Input, Values};
use kiln_tensor::op::{BatchNorm, BatchNormBackward, BatchNormEval, Meta, Op, all_samples};
use kiln_tensor::{AnyTensor, DType, Device, Int, Tensor, TensorData, activation, apply, fuse};

/// The log of the stand-in; where it is set, this process has the stand-in for a driver.
const LOG: &str = "FAKE_CUDA_LOG";

/// What was noted since the last call.
fn noted() -> Vec<String> {
    let file = std::env::var(LOG).unwrap();
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let _ = std::fs::remove_file(file);
    text.lines().map(String::from).collect()
}

/// Only the kernels and copies of a log.
fn work(log: &[String]) -> Vec<&str> {
    let graphs = ["instantiate", "update", "destroy"];
    log.iter().map(String::as_str).filter(|line| !graphs.contains(line)).collect()
}

fn count(log: &[String], line: &str) -> usize {
    log.iter().filter(|other| *other == line).count()
}

/// Runs `steps` by itself and then three times as a graph, where each time the device has to do the
/// same. Gives the logs of the last two.
fn same_each_time(device: &Device, mut steps: impl FnMut()) -> [Vec<String>; 2] {
    steps(); // compiles, and takes memory
    noted();
    steps();
    let plain = noted();
    assert!(plain.iter().any(|line| line.starts_with("kernel")), "{plain:?}");
    let mut graph = Graph::new(device);
    let mut run = || {
        graph.run(&mut steps).unwrap();
        let log = noted();
        assert_eq!(work(&log), work(&plain));
        log
    };
    assert_eq!(run(), plain, "the first run is not recorded");
    [run(), run()]
}

fn kernels_are_started_together(device: &Device) {
    let x = Tensor::<1>::ones([1000], device);
    let [first, second] = same_each_time(device, || drop((x.exp() * 2.0 + &x).sum()));
    assert_eq!((count(&first, "instantiate"), count(&first, "update")), (1, 0));
    assert_eq!((count(&second, "instantiate"), count(&second, "update")), (0, 1));
}

fn a_chain_is_one_kernel(device: &Device) {
    let x = Tensor::<1>::ones([1000], device);
    let row = Tensor::<1>::ones([1], device).expand([1000]);
    let kernels = |number: f32, y: &Tensor<1>| {
        noted();
        drop(fuse(|| activation::gelu(&x * y + number) * &x));
        let log: Vec<String> =
            noted().into_iter().filter(|line| line.starts_with("kernel")).collect();
        assert_eq!(log.len(), 1, "{log:?}");
        log
    };
    let first = kernels(1.0, &x);
    assert_eq!(kernels(2.0, &x), first, "numbers are parameters");
    assert_ne!(kernels(1.0, &row), first, "what lies otherwise is read otherwise");
}

fn what_can_not_be_recorded_is_done_in_its_place(device: &Device) {
    let x = Tensor::<1>::ones([10], device);
    // A number that the host reads, and one that it brings.
    let [first, second] = same_each_time(device, || {
        let _: f32 = x.exp().sum().into_scalar();
        let y = Tensor::<1>::from_data([1.0, 2.0], device);
        drop(y.log() * 3.0);
    });
    assert_eq!(count(&first, "instantiate"), 2, "{first:?}");
    assert_eq!(count(&second, "update"), 2, "{second:?}");
    assert_eq!((count(&second, "upload"), count(&second, "download")), (1, 2));

    // A wait, and memory that the device has to give and take.
    same_each_time(device, || {
        let y = x.exp();
        device.sync().unwrap();
        drop(y.log());
        device.empty_cache();
        drop(Tensor::<1>::ones([1 << 20], device).exp());
    });

    // Another thread.
    same_each_time(device, || {
        let y = x.exp();
        std::thread::scope(|threads| {
            threads.spawn(|| y.log().into_data());
        });
        drop(y.log());
    });
}

fn other_kernels_are_another_graph(device: &Device) {
    let x = Tensor::<1>::ones([10], device);
    noted();
    let (mut graph, mut turn) = (Graph::new(device), 0);
    let mut run = || {
        turn += 1;
        graph.run(|| if turn < 4 { x.exp() } else { x.log() }).unwrap();
        noted()
    };
    let logs = [(); 5].map(|()| run());
    let graphs = logs
        .each_ref()
        .map(|log| ["instantiate", "update", "destroy"].map(|line| count(log, line)));
    assert_eq!(graphs, [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 1], [0, 1, 0]]);
    drop(graph);
    assert_eq!(noted(), ["destroy"]);
}

fn a_panic_ends_the_recording(device: &Device) {
    let x = Tensor::<1>::ones([10], device);
    let mut graph = Graph::new(device);
    graph.run(|| x.exp()).unwrap();
    noted();
    let run = || {
        graph.run(|| {
            drop(x.exp());
            panic!("planted")
        })
    };
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
    assert_eq!(work(&noted()).len(), 1, "what was started before it is done");
    drop(x.exp());
    assert_eq!(noted().len(), 1, "not recorded");
}

fn a_timer_has_the_clock_of_the_device(device: &Device) {
    let x = Tensor::<1>::ones([10], device);
    // The stand-in's clock goes on by a millisecond with each kernel.
    let timed = || {
        drop(x.exp());
        let timer = Timer::start(device).unwrap();
        drop((x.exp(), x.exp()));
        timer.seconds().unwrap()
    };
    let mut graph = Graph::new(device);
    for seconds in [timed(), graph.run(timed).unwrap(), graph.run(timed).unwrap()] {
        assert!((seconds - 0.002).abs() < 1e-9, "{seconds}");
    }
}

fn the_peak_starts_anew(device: &Device) {
    drop(Tensor::<1>::ones([1 << 20], device));
    assert!(device.memory().peak >= 4 << 20);
    reset_peak_memory(device);
    assert_eq!(device.memory().peak, device.memory().in_use);
    reset_peak_memory(&Device::cpu());
}

fn batch_norm_is_one_kernel_or_two(device: &Device) {
    let op = BatchNorm { epsilon: 1e-5 };
    let channels = Tensor::<1>::ones([8], device);
    let channels = channels.as_any();
    let kernels = |op: Op, inputs: &[&AnyTensor]| {
        noted();
        apply(&op, inputs).unwrap();
        let log = noted();
        assert!(log.iter().all(|line| line.starts_with("kernel batch_norm")), "{log:?}");
        log.len()
    };
    // As many as the parts of a channel need: one, or one for their sums and one for the rest.
    for (images, most) in [(2, 1), (64, 2)] {
        let x = Tensor::<4>::ones([images, 8, 16, 16], device);
        let x = x.as_any();
        let backward = [x, channels, channels, x, channels];
        assert_eq!(kernels(op.into(), &[x, channels, channels]), most);
        assert_eq!(kernels(BatchNormBackward.into(), &backward), most);
        let eval = BatchNormEval { epsilon: 1e-5 };
        assert_eq!(kernels(eval.into(), &[x, channels, channels, channels, channels]), 1);
    }
}

/// GPT-2's number of parameters, without gaps between small and large ones.
fn parameters(device: &Device) -> Vec<Param<Tensor<1>>> {
    (0..148).map(|i| Param::new(Tensor::ones([1 + 37 * i], device))).collect()
}

fn gradients(model: &[Param<Tensor<1>>]) -> Gradients {
    let mut grads = Gradients::default();
    for param in model {
        grads.insert(param.as_any(), param.as_any().detach().mul_scalar(2));
    }
    grads
}

fn a_step_of_an_optimizer_is_few_kernels(device: &Device) {
    let mut model = parameters(device);
    let mut optim = AdamWConfig::new(1e-3).init();
    let mut step = |optim: &mut kiln_optim::AdamW| {
        let grads = gradients(&model);
        noted();
        optim.step(&mut model, grads);
        noted()
    };
    step(&mut optim); // makes the states
    assert_eq!(step(&mut optim), ["kernel update_many_adam_3_f32_f32"; 2]);
    // Clipped: the host waits for nothing, and most is of one kernel for all.
    let mut clipped = optim.with_grad_clipping(GradientClipping::GlobalNorm(1.0));
    let log = step(&mut clipped);
    assert_eq!((count(&log, "download"), count(&log, "upload")), (0, 0));
    assert_eq!(count(&log, "kernel update_many_scale_1_f32_f32"), 2);
    assert!(log.len() < 20, "{log:?}");
    // A number for each gradient instead of one for all.
    let mut each = clipped.with_grad_clipping(GradientClipping::Norm(1.0));
    let log = step(&mut each);
    assert!(count(&log, "download") == 0 && log.len() < 20, "{log:?}");
    // Recorded as what it is.
    same_each_time(device, || {
        let grads = gradients(&model);
        each.step(&mut model, grads);
    });
}

fn gradients_are_looked_at_with_one_wait(device: &Device) {
    let model = parameters(device);
    let waits = |look: &mut dyn FnMut(Gradients)| {
        let grads = gradients(&model);
        noted();
        look(grads);
        let log = noted();
        assert!(log.len() < 10, "{log:?}");
        // What kernels reported is read with the numbers.
        count(&log, "download")
    };
    let one = waits(&mut |_| drop(Tensor::<1>::ones([1], device).into_data()));
    assert_eq!(waits(&mut |mut grads| drop(clip_grad_norm(&mut grads, 1.0))), one);
    let mut scaler = GradScalerConfig::new().init();
    assert_eq!(waits(&mut |grads| drop(scaler.unscale(grads))), one);
}

fn a_step_of_a_recurrent_layer_is_a_product_and_a_cell(device: &Device) {
    let mut layers = 0;
    for case in all_samples().cases {
        let backward = match case.op {
            Op::Recurrent(_) => false,
            Op::RecurrentBackward(_) => true,
            _ => continue,
        };
        let ones = |input: &Input| {
            let int = matches!(input.values, Values::Int(..));
            let dtype = if int { DType::I32 } else { DType::F32 };
            AnyTensor::full(Meta::new(input.shape, dtype), 1, *device)
        };
        let inputs: Vec<AnyTensor> = case.inputs.iter().map(ones).collect();
        let time = inputs.iter().find(|x| x.rank() == 3).unwrap().shape()[0];
        noted();
        apply(&case.op, &inputs.iter().collect::<Vec<_>>()).unwrap();
        let log = noted();
        let named = |name: &str| log.iter().filter(|line| line.starts_with(name)).count();
        let (products, steps) = (named("kernel matmul_"), named("kernel recurrent_cell_"));
        // One more product gives the gradient of the weight over all steps.
        assert_eq!([products, steps], [time + backward as usize, time], "{:?}", case.op);
        // The rest is done once, however many steps there are.
        assert!(log.len() - products - steps <= 7, "{log:?}");
        layers += 1;
    }
    assert!(layers >= 36, "{layers}");
}

/// What streams were given since the last call: `kernels: wait 3`.
fn noted_of_streams() -> Vec<String> {
    let file = format!("{}.streams", std::env::var(LOG).unwrap());
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let _ = std::fs::remove_file(file);
    text.lines().map(String::from).collect()
}

fn a_batch_is_fetched_beside_the_step_before_it(device: &Device) {
    const PIECE: usize = 4 << 20;
    const PIECES: usize = 5; // one more than there are slots
    let data = vec![1f32; PIECES * PIECE / 4];
    let upload = || Tensor::<1>::from_data(TensorData::new(data.clone(), [data.len()]), device);
    let numbers = |log: &[String], what: &str| -> Vec<usize> {
        log.iter().filter_map(|line| line.strip_prefix(what)?.trim().parse().ok()).collect()
    };
    device.empty_cache();
    noted_of_streams();
    let (mut x, mut mark) = (upload(), None);
    let mut fetched = numbers(&noted_of_streams(), "other: record");
    for step in 0..20 {
        // The second half of a turn and the first of the next: the batch is there, and read.
        drop(x.sum());
        let next = upload();
        drop(std::mem::replace(&mut x, next));
        let log = noted_of_streams();
        // The last batch but one was given back before this step was started, and the copy waits
        // for that moment alone. The first two have memory that nobody had.
        assert_eq!(numbers(&log, "other: wait"), Vec::from_iter(mark), "{log:#?}");
        let of_copies = numbers(&log, "other: record");
        fetched.extend(&of_copies);
        let last = log.iter().rposition(|line| line.starts_with("other")).unwrap();
        let end = [
            format!("other: record {}", fetched.last().unwrap()),
            format!("kernels: wait {}", fetched.last().unwrap()),
            format!("kernels: record {}", fetched.last().unwrap() + 1),
        ];
        assert_eq!(log[last..], end, "kernels wait for the last piece");
        let place = |line: &str| log.iter().position(|other| other.starts_with(line));
        assert!(mark.is_none() || place("other: wait") < place("other: upload"));
        assert!(place("kernels: reduce") < place("other"), "{log:#?}");
        assert_eq!(count(&log, &format!("other: upload {PIECE}")), PIECES);
        // The host waits for slots alone.
        assert!(numbers(&log, "host: wait").iter().all(|event| fetched.contains(event)));
        mark = numbers(&log, "kernels: record").pop();
        assert!(mark.is_some(), "step {step}: {log:#?}");
    }
    // In the middle of a recording, after what was recorded before it.
    let y = Tensor::<1>::ones([10], device);
    let [_, log] = same_each_time(device, || {
        drop(y.exp());
        drop(upload().sum());
    });
    assert_eq!(count(&log, "upload"), PIECES);

    // Small ones are in line with kernels, and wait for nobody.
    noted_of_streams();
    for _ in 0..20 {
        drop(Tensor::<1>::from_data(TensorData::new(vec![1f32; 1 << 14], [1 << 14]), device));
    }
    assert_eq!(noted_of_streams(), vec!["kernels: upload 65536"; 20]);
}

fn values_of_processes_come_together_between_kernels(device: &Device) {
    let timeout = Duration::from_secs(10);
    noted();
    let join = || Communicator::new(device, UniqueId::new().unwrap(), [0, 1], timeout).unwrap();
    let communicator = join();
    let log = noted();
    assert_eq!(log[..2], ["id", "init"]);
    assert_eq!(count(&log, "all_reduce 1 of type 7, sum"), 1, "it is tried");
    for (dtype, kind) in [(DType::F16, 6), (DType::F32, 7), (DType::F64, 8), (DType::BF16, 9)] {
        let x = Tensor::<1>::ones([1000], (device, dtype)).into_any();
        noted();
        let reduction = communicator.all_reduce(&[x.clone(), x], true).unwrap();
        let log = noted();
        let mean = format!("all_reduce 2000 of type {kind}, mean");
        assert!(log[0].starts_with("kernel fill"), "{log:?}");
        assert_eq!(log[1..], ["copy", "copy", "wait", &mean], "it waits for what it reads");
        let values = reduction.finish().unwrap();
        assert_eq!(noted(), ["wait"], "what follows waits for it");
        assert_eq!((values.num_elements(), values.dtype()), (2000, dtype));
    }
    let whole = Tensor::<2, Int>::from_data([[1, 2, 3]], device).into_any();
    let given = communicator.broadcast(&whole, 0).unwrap().finish().unwrap();
    assert_eq!(count(&noted(), "broadcast 24 of type 1 from 0"), 1);
    assert_eq!(given.to_data().unwrap(), whole.to_data().unwrap());

    let text = |result: kiln_tensor::Result<Reduction>| result.err().unwrap().to_string();
    let error = text(communicator.all_reduce(&[whole], false));
    assert!(error.contains("i64 can not be reduced"), "{error}");
    let elsewhere = Tensor::<1>::ones([1], &Device::cpu()).into_any();
    let error = text(communicator.all_reduce(&[elsewhere], false));
    assert!(error.contains("f32 on cpu, where f32 on cuda:0"), "{error}");
    // More than the stand-in has room for.
    let large = Tensor::<1>::ones([1 << 20], device).into_any();
    let error = text(communicator.all_reduce(&[large], false));
    assert!(error.contains("ncclAllReduce returned error 4, invalid argument"), "{error}");

    // In the middle of a recording, in its place.
    let x = Tensor::<1>::ones([10], device);
    same_each_time(device, || {
        let sum = communicator.all_reduce(&[x.exp().into_any()], false).unwrap();
        drop(x.log());
        drop(Tensor::<1>::from_any(sum.finish().unwrap()).exp());
    });

    // What is not taken is waited for, too, before somebody else gets its memory.
    noted();
    drop(communicator.all_reduce(&[x.into_any()], false).unwrap());
    assert_eq!(noted().last().unwrap(), "wait");
    drop(communicator);
    assert_eq!(noted(), ["abort"]);
}

fn what_hangs_is_given_up(device: &Device) {
    let hangs = std::env::var("FAKE_CUDA_HANGS").unwrap();
    let (id, timeout) = (UniqueId::new().unwrap(), Duration::from_secs(10));
    let communicator = Communicator::new(device, id, [0, 1], timeout).unwrap();
    let x = Tensor::<1>::ones([10], device);
    let reduction = communicator.all_reduce(&[x.as_any().clone()], false).unwrap();
    noted();
    std::fs::write(&hangs, "").unwrap();
    let text = communicator.wait(Duration::from_millis(20)).unwrap_err().to_string();
    assert!(text.contains("cuda:0 was not done in 0.0 s: the other processes"), "{text}");
    assert_eq!(noted(), ["abort"]);
    std::fs::remove_file(hangs).unwrap();
    // Nothing that is read after it can be trusted, and nothing else is begun.
    let sum = reduction.finish().unwrap();
    for error in [sum.to_data().map(drop), device.sync()] {
        assert!(error.unwrap_err().to_string().contains("was not done"));
    }
    let gone = communicator.all_reduce(&[x.into_any()], false).err().unwrap().to_string();
    assert!(gone.contains("of no more use"), "{gone}");
    drop(communicator);
    assert_eq!(count(&noted(), "abort"), 0, "once");
}

/// One test, which runs itself anew in a process that finds the stand-in.
#[test]
fn the_driver_is_asked_for_the_same_in_the_same_order() {
    if std::env::var_os(LOG).is_none() {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fake_cuda");
        let _ = std::fs::remove_file(folder.join("log"));
        if !fake::build(&folder) {
            let _ = writeln!(std::io::stderr(), "skipped: there is no C compiler");
            return;
        }
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "the_driver_is_asked_for_the_same_in_the_same_order"]);
        fake::give(&mut child, &folder, &folder.join("log"));
        let output = child.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}");
        return;
    }
    let device = &Device::cuda(0).unwrap();
    kernels_are_started_together(device);
    a_chain_is_one_kernel(device);
    what_can_not_be_recorded_is_done_in_its_place(device);
    other_kernels_are_another_graph(device);
    a_panic_ends_the_recording(device);
    a_timer_has_the_clock_of_the_device(device);
    the_peak_starts_anew(device);
    batch_norm_is_one_kernel_or_two(device);
    a_step_of_a_recurrent_layer_is_a_product_and_a_cell(device);
    a_batch_is_fetched_beside_the_step_before_it(device);
    values_of_processes_come_together_between_kernels(device);
    a_step_of_an_optimizer_is_few_kernels(device);
    gradients_are_looked_at_with_one_wait(device);
    // The last one: the device is of no more use after it.
    what_hangs_is_given_up(device);
}
