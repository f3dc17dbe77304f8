//! Profiles: what is counted, by whom memory is held, and what they leave behind.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kiln_tensor::op::{IndexingUpdateOp, Op};
use kiln_tensor::profile::{OperationReport, Pass, Profiler, Report, pass, scope};
use kiln_tensor::{
    AnyTensor, Backend, Device, Result, Tensor, activation, deterministic, guard, profile, trace,
};

/// One test at a time: operations of all threads count.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn row<'a>(report: &'a Report, name: &str) -> &'a OperationReport {
    let names: Vec<_> = report.operations.iter().map(|row| row.name).collect();
    let row = report.operations.iter().find(|row| row.name == name);
    row.unwrap_or_else(|| panic!("{name} is not among {names:?}"))
}

fn calls(report: &Report) -> u64 {
    report.operations.iter().map(|row| row.calls).sum()
}

#[test]
fn rows_have_the_calls_the_work_and_the_memory() {
    let _alone = alone();
    let device = Device::cpu();
    let (a, b) = (Tensor::<2>::ones([32, 48], &device), Tensor::<2>::ones([48, 16], &device));
    let report = profile(|| {
        let _first = a.matmul(&b);
        let mut y = a.matmul(&b);
        y += 1.0;
        let rows = Tensor::<1, kiln_tensor::Int>::from([3, 5]);
        a.select(0, &rows)
    });
    let matmul = row(&report, "matmul");
    assert_eq!((matmul.calls, matmul.flops), (2, 2 * 2 * 32 * 48 * 16));
    assert_eq!(matmul.bytes, 2 * 4 * (32 * 48 + 48 * 16 + 32 * 16));
    assert_eq!(matmul.memory, 2 * 4 * 32 * 16);
    assert!(matmul.time.as_nanos() > 0 && matmul.time <= report.wall);
    assert_eq!(row(&report, "add").memory, 0, "it writes over its input");
    // Two rows read and written, of 32, and their numbers.
    assert_eq!(row(&report, "select").bytes, 2 * 2 * 48 * 4 + 2 * 8);
    assert_eq!(report.flops(), matmul.flops + 32 * 16);
}

#[test]
fn the_same_bytes_read_again_count_once() {
    let _alone = alone();
    let wide = Tensor::<2>::ones([1, 64], &Device::cpu()).expand([1000, 64]);
    let report = profile(|| wide.sum());
    assert!(row(&report, "sum").bytes < 1000, "{}", row(&report, "sum").bytes);
}

#[test]
fn operations_of_other_threads_count() {
    let _alone = alone();
    let report = profile(|| {
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    let _scope = scope("worker");
                    (0..25).for_each(|_| drop(Tensor::<1>::from([1.0]).sinh()));
                });
            }
        });
    });
    assert_eq!(row(&report, "sinh").calls, 100);
    assert_eq!((&*report.scopes[0].path, report.scopes[0].calls), ("worker", 4));
}

#[test]
fn a_profile_inside_of_a_profile_counts_in_both() {
    let _alone = alone();
    let x = Tensor::<1>::from([1.0]);
    let mut inner = None;
    let outer = profile(|| {
        drop(x.exp());
        inner = Some(profile(|| x.tan()));
        drop(x.exp());
    });
    assert_eq!((calls(&inner.unwrap()), calls(&outer)), (1, 3));
    // Ended in another order than begun.
    let first = Profiler::start();
    drop(x.exp());
    let second = Profiler::start();
    drop(x.exp());
    assert_eq!(calls(&first.finish()), 2);
    drop(x.exp());
    assert_eq!(calls(&second.finish()), 2);
}

#[test]
fn a_panic_ends_the_profile_and_its_scopes() {
    let _alone = alone();
    let x = Tensor::<1>::from([1.0]);
    let panics = || {
        profile(|| {
            let _pass = pass(Pass::Backward);
            let _scope = scope("doomed");
            x.sum_dim(7)
        })
    };
    assert!(catch_unwind(AssertUnwindSafe(|| guard(panics).map(|_| ()))).unwrap().is_err());
    let report = profile(|| {
        let _scope = scope("next");
        x.exp()
    });
    assert_eq!(report.scopes[0].path, "next");
    assert_eq!(row(&report, "exp").pass, Pass::Forward);
    assert_eq!(calls(&report), 1);
    // A trace goes on beside a profile and after it.
    let ((), steps) = trace(|| drop((profile(|| x.exp()), x.exp())));
    assert_eq!(steps.len(), 2);
}

#[test]
fn what_is_composed_is_counted_by_its_parts_once() {
    let _alone = alone();
    let device = Device::custom(Unsure);
    let x = Tensor::<2>::from_data([[1.0, 2.0], [3.0, 4.0]], &device);
    let report = profile(|| activation::softmax(&x, 1));
    let mut names: Vec<_> = report.operations.iter().map(|row| row.name).collect();
    names.sort();
    assert_eq!(names, ["div", "exp", "max", "sub", "sum"]);
    let unclaimed = report.memory[0].holders.iter().find(|holder| holder.operation == "data");
    assert!(unclaimed.is_none(), "{unclaimed:?}");
    assert!(report.to_chrome_trace().contains("\"softmax\""), "but the trace shows what it is");
}

#[test]
fn passes_are_apart_and_scopes_nest() {
    let _alone = alone();
    let x = Tensor::<1>::from([1.0]);
    let report = profile(|| {
        drop(x.exp());
        let _outer = scope(format!("epoch {}", 1));
        let _pass = pass(Pass::Optimizer);
        drop(x.exp());
        let _inner = scope("inner");
        drop(x.exp());
    });
    let calls = |pass| report.operations.iter().find(|row| row.pass == pass).unwrap().calls;
    assert_eq!((calls(Pass::Forward), calls(Pass::Optimizer)), (1, 2));
    let mut paths: Vec<_> = report.scopes.iter().map(|scope| &*scope.path).collect();
    paths.sort();
    assert_eq!(paths, ["epoch 1", "epoch 1/optimizer", "epoch 1/optimizer/inner"]);
}

#[test]
fn the_peak_of_memory_is_known_with_its_holders() {
    let _alone = alone();
    let device = Device::cpu();
    let kept = Tensor::<1>::ones([10_000], &device);
    let report = profile(|| {
        let small = Tensor::<1>::zeros([1_000], &device);
        {
            let _scope = scope("large");
            let first = Tensor::<1>::zeros([100_000], &device).exp();
            let second = first.exp();
            drop((second.exp(), first));
        }
        drop(small);
        Tensor::<1>::zeros([50_000], &device)
    });
    let [memory] = &report.memory[..] else { panic!("{:?}", report.memory) };
    assert_eq!(memory.device, device);
    assert!(memory.start >= 40_000, "what was there before counts: {}", memory.start);
    assert_eq!(memory.peak, memory.start + 4_000 + 3 * 400_000);
    assert_eq!(memory.end, memory.start + 200_000);
    let largest = &memory.holders[0];
    assert_eq!((largest.operation, &*largest.scope), ("exp", "large"));
    assert_eq!(largest.bytes, 3 * 400_000);
    let held: usize = memory.holders.iter().map(|holder| holder.bytes).sum();
    assert_eq!(held, memory.peak, "nothing is held by nobody");
    assert!(memory.holders.iter().any(|holder| holder.operation.is_empty()));
    drop(kept);
}

#[test]
fn tables_fit_a_hundred_columns() {
    let _alone = alone();
    let device = Device::cpu();
    let report = profile(|| {
        let _scope =
            scope("a name that is longer than a line of the table has room for ".repeat(3));
        let x = Tensor::<2>::ones([300, 300], &device);
        x.matmul(&x).exp().cast(kiln_tensor::DType::F64).log().sum_dim(1)
    });
    let text = report.to_string();
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(text.contains("matmul") && text.contains("measured peak of cpu"), "{text}");
    let shares: f64 = report.operations.iter().map(|row| row.limit().1).sum();
    assert!(shares > 0.0 && shares.is_finite());
    // The probe of the peaks is not seen by a profile around it.
    let around = profile(|| report.to_string());
    assert_eq!((calls(&around), around.memory.len()), (0, 0));
    assert!(profile(|| ()).to_string().contains("0 operations"));
}

/// The CPU, but unsure of scatter, and without softmax.
struct Unsure;

impl Backend for Unsure {
    fn name(&self) -> &str {
        "unsure"
    }
    fn alloc(&self, bytes: usize) -> Option<usize> {
        Device::cpu().backend().alloc(bytes)
    }
    unsafe fn free(&self, address: usize, bytes: usize) {
        // SAFETY: passed on to the caller.
        unsafe { Device::cpu().backend().free(address, bytes) }
    }
    unsafe fn upload(&self, source: &[u8], address: usize) -> Result<()> {
        // SAFETY: passed on to the caller.
        unsafe { Device::cpu().backend().upload(source, address) }
    }
    unsafe fn download(&self, address: usize, target: &mut [u8]) -> Result<()> {
        // SAFETY: passed on to the caller.
        unsafe { Device::cpu().backend().download(address, target) }
    }
    fn supports(&self, op: &Op) -> bool {
        !matches!(op, Op::Softmax(_))
    }
    fn is_deterministic(&self, op: &Op) -> bool {
        !matches!(op, Op::Scatter(_))
    }
    fn execute(&self, op: &Op, inputs: &[&AnyTensor], outputs: &[AnyTensor]) -> Result<()> {
        Device::cpu().backend().execute(op, inputs, outputs)
    }
}

#[test]
fn what_is_not_deterministic_is_an_error_where_that_is_asked_for() {
    let _alone = alone();
    let scatter = |device: &Device| {
        let x = Tensor::<1>::from_data([1.0, 2.0, 3.0], device);
        let indices = Tensor::<1, kiln_tensor::Int>::from_data([0, 0], device);
        let values = Tensor::<1>::from_data([5.0, 6.0], device);
        guard(|| x.scatter(0, &indices, &values, IndexingUpdateOp::Add).into_data())
    };
    let unsure = Device::custom(Unsure);
    assert!(scatter(&unsure).is_ok());
    deterministic(true);
    let (here, there) = (scatter(&Device::cpu()), scatter(&unsure));
    deterministic(false);
    assert!(here.is_ok() && scatter(&unsure).is_ok());
    assert_eq!(
        there.unwrap_err().to_string(),
        "scatter: its kernel on unsure may give other bits from run to run, and \
         `deterministic(true)` forbids that"
    );
}

#[test]
fn one_seed_is_for_devices_that_are_there_and_those_that_come() {
    let _alone = alone();
    let there = Device::custom(Unsure);
    kiln_tensor::seed(42);
    let later = Device::custom(Unsure);
    let seeds = [Device::cpu(), there, later].map(|device| device.generator().seed);
    kiln_tensor::seed(0);
    assert_eq!(seeds, [42; 3]);
}
