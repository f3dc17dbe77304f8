//! The seam to devices: memory that comes back, copies on write, and a backend brought by a user.

use kiln_tensor::op::{Op, Rule, SgdRule, UnaryKind, Update, all_samples};
use kiln_tensor::{
    AnyTensor, Backend, Device, MemoryStats, Result, Tensor, Tolerance, activation, apply, module,
    trace,
};

mod common;

use common::{Numbers, values};

/// Computes with the kernels of the CPU, but only those that a device needs at least: whatever can
/// be decomposed is not supported.
struct Minimal;

fn decomposes(op: &Op) -> bool {
    match op {
        Op::MatMul(op) => op.bias || op.activation.is_some(),
        Op::Dropout(_) | Op::Softmax(_) | Op::SoftmaxBackward(_) | Op::ActivationBackward(_) => {
            true
        }
        Op::Attention(_) | Op::AttentionBackward(_) => true,
        Op::LayerNorm(_) | Op::LayerNormBackward(_) => true,
        Op::BatchNorm(_) | Op::BatchNormBackward(_) => true,
        Op::CrossEntropy(_) | Op::CrossEntropyBackward(_) => true,
        Op::Fused(_) | Op::Update(_) | Op::MatMulSums(_) => true,
        _ => false,
    }
}

impl Backend for Minimal {
    fn name(&self) -> &str {
        "minimal"
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
        !decomposes(op)
    }
    fn execute(&self, op: &Op, inputs: &[&AnyTensor], outputs: &[AnyTensor]) -> Result<()> {
        assert!(self.supports(op), "{op:?} arrived though it is not supported");
        Device::cpu().backend().execute(op, inputs, outputs)
    }
}

#[test]
fn what_a_backend_lacks_is_composed_of_what_it_has() {
    let device = Device::custom(Minimal);
    let mut composed = 0;
    for (case, seed) in all_samples().cases.iter().zip(1..) {
        if !decomposes(&case.op) {
            continue;
        }
        composed += 1;
        let mut numbers = Numbers(seed);
        let (f32, i64) = (kiln_tensor::DType::F32, kiln_tensor::DType::I64);
        let data: Vec<_> = case.inputs.iter().map(|x| values(x, f32, i64, &mut numbers)).collect();
        let run = |device| {
            let x: Vec<_> =
                data.iter().map(|x| AnyTensor::from_data(x, &device).unwrap()).collect();
            apply(&case.op, &x.iter().collect::<Vec<_>>()).unwrap()
        };
        let (expected, found) = (run(Device::cpu()), run(device));
        assert_eq!(expected.len(), found.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.meta(), expected.meta(), "{:?}", case.op);
            let (found, expected) = (found.to_data().unwrap(), expected.to_data().unwrap());
            found.assert_approx_eq(&expected, Tolerance::<f32>::rel_abs(1e-4, 1e-4));
        }
    }
    assert!(composed > 60, "{composed}");
    let x = Tensor::<2>::from_data([[1.0, 2.0], [3.0, 4.0]], &device);
    let ((), steps) = trace(|| drop(activation::softmax(&x, 1)));
    let names: Vec<_> = steps.iter().map(|step| step.op.spec().name()).collect();
    assert_eq!(names, ["max", "sub", "exp", "sum", "div"]);
    // What is neither supported nor composed of anything is an error.
    struct Nothing;
    impl Backend for Nothing {
        fn name(&self) -> &str {
            "nothing"
        }
        fn alloc(&self, _: usize) -> Option<usize> {
            Some(64)
        }
        unsafe fn free(&self, _: usize, _: usize) {}
        unsafe fn upload(&self, _: &[u8], _: usize) -> Result<()> {
            Ok(())
        }
        unsafe fn download(&self, _: usize, _: &mut [u8]) -> Result<()> {
            Ok(())
        }
        fn supports(&self, _: &Op) -> bool {
            false
        }
        fn execute(&self, _: &Op, _: &[&AnyTensor], _: &[AnyTensor]) -> Result<()> {
            unreachable!()
        }
    }
    let x = Tensor::<1>::from_data([1.0], &Device::custom(Nothing));
    let error = kiln_tensor::guard(|| x.exp()).unwrap_err().to_string();
    assert_eq!(error, "exp: nothing has neither a kernel nor smaller parts for it");
}

#[test]
fn shapes_flow_without_values() {
    let device = Device::shape_only();
    let x = Tensor::<2>::zeros([1 << 20, 1 << 20], &device);
    let w = Tensor::<2>::zeros([1 << 20, 3], &device);
    let (y, steps) = trace(|| module::linear(&x, &w, None));
    assert_eq!(y.dims(), [1 << 20, 3]);
    let [step] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!(step.cost().flops, (2 * 3) << 40);
    assert_ne!(step.inputs[0].address, step.inputs[1].address);
}

#[test]
fn traces_nest_and_end_with_a_panic() {
    let x = Tensor::<1>::from([1.0]);
    let (inner, outer) = trace(|| {
        drop(x.exp());
        trace(|| drop(x.sin())).1.len()
    });
    assert_eq!((inner, outer.len()), (1, 2));
    assert!(kiln_tensor::guard(|| trace(|| x.sum_dim(5))).is_err());
    assert_eq!(trace(|| drop(x.as_any().unary(UnaryKind::Cos))).1.len(), 1);
    assert_eq!(trace(|| drop(x.reshape([1, 1]))).1.len(), 0);
}

/// Memory is counted for the whole process, so this runs in a process of its own.
#[test]
fn memory_comes_back_when_tensors_die() {
    const CHILD: &str = "KILN_TEST_MEMORY";
    if std::env::var_os(CHILD).is_none() {
        let name = "memory_comes_back_when_tensors_die";
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--test-threads=1"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let device = Device::cpu();
    let memory = || device.memory();
    let start = memory();
    assert_eq!(start, MemoryStats::default());
    let x = Tensor::<1>::zeros([1000], &device);
    assert!((4000..8192).contains(&memory().in_use), "{:?}", memory());
    let one = memory().in_use;
    let (view, clone) = (x.slice(..10), x.clone());
    assert_eq!(memory().in_use, one, "views and clones share");
    drop(x);
    assert_eq!(memory().in_use, one, "the last one frees");
    drop((view, clone));
    assert_eq!(memory().in_use, 0);
    assert!(memory().cached > 0, "and what is freed is kept for the next");
    let again = Tensor::<1>::zeros([1000], &device);
    assert_eq!((memory().in_use, memory().peak), (one, one));
    assert_eq!((memory().hits, memory().misses), (1, 1));
    drop(again);
    // Kernels that need memory of their own give it back too, also on other threads.
    for case in all_samples().cases {
        let mut numbers = Numbers(3);
        let (f16, i64) = (kiln_tensor::DType::F16, kiln_tensor::DType::I64);
        let x = case.inputs.iter().map(|x| values(x, f16, i64, &mut numbers));
        let x: Vec<_> = x.map(|x| AnyTensor::from_data(&x, &device).unwrap()).collect();
        if !x.is_empty() {
            let _ = apply(&case.op, &x.iter().collect::<Vec<_>>());
        }
    }
    let away = std::thread::spawn(|| Tensor::<1>::ones([5000], &Device::cpu()));
    drop(away.join().unwrap().exp());
    assert_eq!(memory().in_use, 0);
    assert!(memory().peak > one);
    let before = memory().cached;
    device.empty_cache();
    // Threads of the pool that took part keep a few small buffers to themselves.
    assert!(memory().cached < before / 4, "{} of {before} bytes are left", memory().cached);
}

#[test]
fn writing_in_place_never_changes_another_tensor() {
    let original = Tensor::<1>::from([1.0, 2.0, 3.0]);
    let values = |x: &Tensor<1>| x.to_data().to_vec::<f32>().unwrap();
    let mut clone = original.clone();
    clone += 1.0;
    let mut view = original.slice(0..2);
    view *= 10.0;
    let mut whole = original.reshape([3, 1]);
    whole /= 2.0;
    let summed = original.clone() + &original;
    assert_eq!(values(&original), [1.0, 2.0, 3.0]);
    assert_eq!(values(&clone), [2.0, 3.0, 4.0]);
    assert_eq!(values(&view), [10.0, 20.0]);
    assert_eq!(values(&whole.reshape([3])), [0.5, 1.0, 1.5]);
    assert_eq!(values(&summed), [2.0, 4.0, 6.0]);
    // An update of an optimizer, of a parameter that a checkpoint still holds.
    let mut param = original.clone().into_any();
    let op = Update::new(Rule::Sgd(SgdRule::new(1.0)));
    kiln_tensor::update(&op.into(), original.as_any(), &mut [&mut param]).unwrap();
    assert_eq!(param.to_data().unwrap().to_vec::<f32>().unwrap(), [0.0; 3]);
    assert_eq!(values(&original), [1.0, 2.0, 3.0]);
}
