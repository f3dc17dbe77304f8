//! Every kernel runs on the host, driven by the backend, against the CPU backend: all samples of
//! all operations, on odd sizes and any strides, and all gradients. Needs g++. By default in f32 alone;
//! with KILN_TEST_SLOW set in every dtype, gradients too, and under the sanitizers, which takes many
//! minutes.

mod emulator;
#[allow(dead_code)]
mod samples;

use std::io::Write;
use std::process::Command;

use emulator::{Emulator, has_compiler};
use kiln_cuda::CudaBackend;
use kiln_tensor::num_complex::Complex;
use kiln_tensor::op::samples::{Case, Values};
use kiln_tensor::op::{
    Factor, FactorKind, GatherBackward, IndexingUpdateOp, Multinomial, Op, Scatter, SelectBackward,
    Unview, View, all_samples,
};
use kiln_tensor::{AnyTensor, DType, Device, Shape, Tensor, TensorData, apply};

/// Which sanitizer runs, if one does: the variable that a test sets for itself.
const SANITIZER: &str = "KILN_TEST_SANITIZER";

fn device(capability: (u32, u32)) -> Device {
    let options: &[&str] = match std::env::var(SANITIZER).as_deref() {
        Ok("address") => {
            &["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-DEMU_THREADS"]
        }
        Ok("thread") => &["-fsanitize=thread", "-DEMU_THREADS"],
        Ok("thread without barriers") => {
            &["-fsanitize=thread", "-DEMU_THREADS", "-DEMU_NO_BARRIERS"]
        }
        _ => &[],
    };
    // Few kernels run under a sanitizer, and each takes long to compile.
    let together = if options.is_empty() { 64 } else { 1 };
    Device::custom(CudaBackend::new(Emulator::new(options, together, capability)).unwrap())
}

/// Says, past the capture of the test harness, that a test did nothing.
fn skip(reason: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}

/// Whether the kernels can be compiled; says so if not.
fn can_run() -> bool {
    let can = has_compiler();
    if !can {
        skip("there is no g++ to compile the kernels for the host");
    }
    can
}

/// [`can_run`] for tests that take long.
fn can_run_slow() -> bool {
    let wanted = std::env::var_os("KILN_TEST_SLOW").is_some();
    if !wanted {
        skip("it takes minutes; set KILN_TEST_SLOW to run it");
    }
    wanted && can_run()
}

/// All samples, or those of the operation that KILN_TEST_OP names.
fn cases() -> Vec<Case> {
    let mut cases = all_samples().cases;
    if let Ok(only) = std::env::var("KILN_TEST_OP") {
        cases.retain(|case| case.op.spec().name() == only);
    }
    cases
}

fn check(float: DType, int: DType, few: bool) {
    let runs = if few { can_run_slow() } else { can_run() };
    if runs {
        let table = samples::check(&cases(), float, int, device((8, 0)), few);
        let [passed, missing, failed] = samples::print(&table);
        println!("{passed} samples agree, {missing} have no kernel");
        assert_eq!(failed, 0, "samples differ, each printed above");
    }
}

#[test]
fn samples_agree_in_f32() {
    check(DType::F32, DType::I64, false);
}

#[test]
fn samples_agree_in_f64() {
    check(DType::F64, DType::I32, true);
}

#[test]
fn samples_agree_in_bf16() {
    check(DType::BF16, DType::U8, true);
}

#[test]
fn samples_agree_in_f16() {
    check(DType::F16, DType::I16, true);
}

#[test]
fn gradients_agree_in_f64() {
    if can_run_slow() {
        let table = samples::gradients(&cases(), device((8, 0)));
        let [passed, missing, failed] = samples::print(&table);
        println!("{passed} gradients agree, {missing} have no kernel");
        assert_eq!(failed, 0, "gradients differ, each printed above");
        assert!(passed > 300 || std::env::var_os("KILN_TEST_OP").is_some(), "{passed}");
    }
}

/// Halves without tensor cores, as before Ampere.
#[test]
fn halves_are_multiplied_without_tensor_cores() {
    if can_run() {
        let products: Vec<Case> =
            cases().into_iter().filter(|case| matches!(case.op, Op::MatMul(_))).collect();
        let table = samples::check(&products, DType::F16, DType::I64, device((7, 5)), true);
        assert_eq!(samples::print(&table)[2], 0);
    }
}

#[test]
fn kernels_report_what_they_can_not_do() {
    if !can_run() {
        return;
    }
    let device = device((8, 0));
    let x = Tensor::<1>::from_data([1.0, 2.0, 3.0], &device);
    let at = |i: i64| Tensor::<1, kiln_tensor::Int>::from_data([i], &device);
    // The error comes when values are read, and only once.
    let error = x.select(0, at(3)).as_any().to_data().unwrap_err().to_string();
    assert_eq!(error, "select: index 3 is out of range for 3 entries");
    assert!(x.select(0, at(2)).as_any().to_data().is_ok());
    let ints = TensorData::new(vec![7i64, 0], [2]);
    let ints = AnyTensor::from_data(&ints, &device).unwrap();
    let quotient = ints.binary(kiln_tensor::op::BinaryKind::Div, &ints);
    let error = device.sync().unwrap_err().to_string();
    assert_eq!(error, "div: division by zero");
    drop(quotient);
    assert!(device.sync().is_ok());
    // What has no kernel says so, and is never computed elsewhere.
    let x = Tensor::<2>::ones([2, 2], &device);
    let factor = Factor { kind: FactorKind::Lu };
    let error = apply(&factor.into(), &[x.as_any()]).unwrap_err().to_string();
    assert!(error.contains("emulated has neither a kernel nor smaller parts"), "{error}");
}

#[test]
fn memory_is_kept_and_comes_back() {
    if !can_run() {
        return;
    }
    let device = device((8, 0));
    let x = Tensor::<1>::ones([1000], &device);
    let y = (&x + &x).sum();
    assert!(device.memory().in_use >= 4000, "{:?}", device.memory());
    drop((x, y));
    let memory = device.memory();
    assert_eq!(memory.in_use, 0);
    assert!(memory.cached >= memory.peak && memory.peak > 0, "{memory:?}");
    device.empty_cache();
    assert_eq!(device.memory().cached, 0);
}

/// Real and imaginary parts go where whole numbers went: what is composed of real kernels.
#[test]
fn complex_numbers_are_moved_and_added_up_as_on_the_cpu() {
    if !can_run() {
        return;
    }
    let ops = |x: &AnyTensor, device: &Device| -> Vec<TensorData> {
        let ints = |values: Vec<i64>, shape: &[usize]| {
            AnyTensor::from_data(&TensorData::new(values, shape), device).unwrap()
        };
        let along = ints(vec![2, 0, 2, 1], &[4]);
        let at = ints(vec![0, 1, 1, 3, 2, 2, 1, 0, 1, 2, 3, 3], &[3, 4]);
        let select = SelectBackward { axis: 1, extent: 5 };
        let gather = GatherBackward { axis: 1, shape: Shape::new([3, 6]) };
        let scatter = Scatter { axis: 1, update: IndexingUpdateOp::Add };
        let windows = Unview {
            view: View::Unfold { axis: 0, size: 4, step: 2 }.into(),
            shape: Shape::new([8]),
        };
        let results = [
            apply(&select.into(), &[x, &along]),
            apply(&gather.into(), &[x, &at]),
            apply(&scatter.into(), &[x, &at, x]),
            apply(&windows.into(), &[x]),
        ];
        results.into_iter().map(|y| y.unwrap()[0].to_data().unwrap()).collect()
    };
    let numbers: Vec<Complex<f32>> =
        (1..13).map(|i| Complex::new(i as f32, 0.5 - i as f32)).collect();
    let numbers = TensorData::new(numbers, [3, 4]);
    let emulated = device((8, 0));
    let results = |device: &Device| ops(&AnyTensor::from_data(&numbers, device).unwrap(), device);
    assert_eq!(results(&emulated), results(&Device::cpu()));
}

#[test]
fn weights_that_are_none_are_reported() {
    if !can_run() {
        return;
    }
    let device = device((8, 0));
    let draw = |weights: [f32; 3], samples, replacement| {
        let weights = Tensor::<1>::from_data(weights, &device);
        let op = Multinomial { samples, replacement, seed: 1, offset: 0 };
        apply(&op.into(), &[weights.as_any()]).unwrap()[0].to_data().map_err(|e| e.to_string())
    };
    let text = |result: Result<TensorData, String>| result.unwrap_err();
    assert!(text(draw([1.0, -1.0, 2.0], 1, true)).ends_with("not negative, found -1"));
    assert!(text(draw([0.0, 0.0, 0.0], 1, true)).ends_with("positive and finite, found 0"));
    let few = text(draw([0.0, 3.0, 0.0], 2, false));
    assert!(few.ends_with("2 samples can not be drawn from 1 weights above zero"), "{few}");
    assert!(draw([0.0, 3.0, 0.0], 1, false).is_ok());
}

#[test]
fn running_out_of_memory_says_what_it_is_used_for() {
    if !can_run() {
        return;
    }
    let device = device((8, 0));
    let _x = Tensor::<1>::ones([1 << 20], &device);
    let whole = kiln_tensor::guard(|| Tensor::<1>::ones([1 << 55], &device));
    let error = whole.unwrap_err().to_string();
    assert!(error.starts_with("out of memory on emulated: 144115188075855872 bytes"), "{error}");
    assert!(error.contains("4.0 MiB in use by tensors"), "{error}");
}

/// Runs a part of these tests in a process of its own under a sanitizer. Gives what it said, and
/// whether it found nothing; none if it can not run here.
fn sanitized(sanitizer: &str, library: &str, switches: (&str, &str)) -> Option<(bool, String)> {
    if !can_run_slow() {
        return None;
    }
    let compiler = if sanitizer.starts_with("thread") { "thread" } else { sanitizer };
    let name = format!("-print-file-name={library}");
    let found = Command::new("g++").arg(name).output().unwrap().stdout;
    let found = String::from_utf8(found).unwrap().trim().to_string();
    if !found.contains('/') {
        skip(&format!("g++ has no {library} for the {compiler} sanitizer"));
        return None;
    }
    // One address space layout for all: the sanitizers reserve their own parts of it.
    let output = Command::new("setarch")
        .args(["-R".as_ref(), std::env::current_exe().unwrap().as_os_str()])
        .args(["--exact", "--ignored", "--test-threads=1", "a_sample_of_each_family_runs"])
        .env(SANITIZER, sanitizer)
        .env("LD_PRELOAD", found)
        .env("KILN_CUDA_NO_CACHE", "1")
        .env(switches.0, switches.1)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let passed = output.status.success() && text.contains("1 passed");
    Some((passed, format!("{text}\n{errors}")))
}

#[test]
fn kernels_stay_inside_of_their_memory() {
    let switches = ("ASAN_OPTIONS", "detect_leaks=0");
    if let Some((passed, text)) = sanitized("address", "libasan.so", switches) {
        assert!(passed, "{text}");
    }
}

/// Only the kernels are compiled for the sanitizer, and so only they are watched.
const RACES: (&str, &str) = ("TSAN_OPTIONS", "halt_on_error=1:ignore_noninstrumented_modules=1");

#[test]
fn kernels_have_no_races() {
    if let Some((passed, text)) = sanitized("thread", "libtsan.so", RACES) {
        assert!(passed, "{text}");
    }
}

#[test]
fn kernels_without_their_barriers_have_races() {
    if let Some((passed, text)) = sanitized("thread without barriers", "libtsan.so", RACES) {
        assert!(!passed && text.contains("data race"), "{text}");
    }
}

/// Operations that between them use every family of kernels, those with barriers first.
const FAMILIES: [&str; 30] = [
    "sum",
    "square_totals",
    "argmax",
    "matmul",
    "softmax",
    "layer_norm",
    "layer_norm_backward",
    "batch_norm",
    "batch_norm_backward",
    "cross_entropy",
    "attention",
    "attention_backward",
    "conv2d_weight_grad",
    "nonzero",
    "conv2d",
    "max_pool2d",
    "max_pool2d_backward",
    "mul",
    "fused",
    "cat",
    "unview",
    "gather",
    "scatter",
    "select_backward",
    "adam_update",
    "cummax",
    "sort",
    "searchsorted",
    "lstm",
    "lstm_backward",
];

/// How many of them wait at barriers.
const WITH_BARRIERS: usize = 14;

/// One sample of each family.
#[test]
#[ignore = "what the tests with sanitizers run in a process of their own"]
fn a_sample_of_each_family_runs() {
    let families = match std::env::var(SANITIZER).as_deref() {
        Ok("thread") => &FAMILIES[..WITH_BARRIERS],
        Ok("thread without barriers") => &["softmax"],
        _ => &FAMILIES[..],
    };
    // Real threads are slow: the largest of the small samples.
    let size = |case: &&Case| case.inputs.iter().map(|x| x.shape.num_elements()).sum::<usize>();
    let all = cases();
    let chosen = families.iter().map(|name| {
        let real =
            |case: &Case| !case.inputs.iter().any(|x| matches!(x.values, Values::Complex(..)));
        let fits = |case: &&Case| case.op.spec().name() == *name && size(case) < 700 && real(case);
        let samples = all.iter().filter(fits);
        samples.max_by_key(size).unwrap_or_else(|| panic!("no sample of {name}")).clone()
    });
    let chosen: Vec<Case> = chosen.collect();
    let device = device((8, 0));
    let table = samples::check(&chosen, DType::F32, DType::I64, device, true);
    let products: Vec<Case> =
        chosen.into_iter().filter(|case| matches!(case.op, Op::MatMul(_))).collect();
    let halves = samples::check(&products, DType::BF16, DType::I64, device, true);
    for table in [table, halves] {
        assert_eq!(samples::print(&table)[1..], [0, 0]);
    }
}
