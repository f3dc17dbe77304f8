//! Updates and looks at many tensors at once give what those one by one do. Kernels run on the host.
//! Needs g++.

#[allow(dead_code)]
mod emulator;

use std::io::Write;

use emulator::{Emulator, has_compiler};
use kiln_autograd::Gradients;
use kiln_cuda::CudaBackend;
use kiln_nn::Param;
use kiln_optim::{GradScalerConfig, GradientClipping, clip_grad_norm, grad_norm};
use kiln_tensor::op::{
    AdamRule, AdanRule, Meta, Op, RmsPropRule, Rule, ScaleRule, SgdRule, Total, Totals, Update,
};
use kiln_tensor::{
    AnyTensor, DType, Device, Tensor, TensorData, Tolerance, Updates, apply, update,
};
use proptest::prelude::*;

/// None, and a word past the capture of the test harness, if the kernels can not be compiled.
fn device() -> Option<Device> {
    if !has_compiler() {
        let _ = writeln!(std::io::stderr(), "skipped: there is no g++");
        return None;
    }
    Some(Device::custom(CudaBackend::new(Emulator::new(&[], 64, (8, 0))).unwrap()))
}

/// How a gradient lies.
#[derive(Clone, Copy, Debug)]
enum Lie {
    Dense,
    /// Not on a boundary of 16 bytes.
    Shifted,
    Turned,
    /// One number for all elements.
    Number,
}

#[derive(Clone, Debug)]
struct Sample {
    op: Update,
    dtypes: (DType, DType),
    count: usize,
    lie: Lie,
}

fn rules() -> Vec<Rule> {
    let adan = AdanRule {
        beta_1: 0.98,
        beta_2: 0.92,
        beta_3: 0.99,
        epsilon: 1e-8,
        rate: 0.01,
        change_rate: 0.02,
        root: 1.5,
        shrink_after: 0.99,
        first: false,
    };
    let adam = |step| AdamRule::new(0.01, 0.9, 0.999, 1e-8, step);
    let rms = RmsPropRule { lr: 0.1, alpha: 0.9, epsilon: 1e-3, momentum: 0.9, centered: false };
    vec![
        Rule::Adam(adam(1)),
        Rule::Adam(adam(7)),
        Rule::Adam(AdamRule { amsgrad: true, ..adam(7) }),
        Rule::Sgd(SgdRule::new(0.1)),
        Rule::Sgd(SgdRule { momentum: 0.9, ..SgdRule::new(0.1) }),
        Rule::RmsProp(rms),
        Rule::Adan(adan),
        Rule::Scale(ScaleRule),
    ]
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    use DType::*;
    let rule = proptest::sample::select(rules());
    let dtypes = proptest::sample::select(vec![
        (F32, F32),
        (F32, F32),
        (F64, F64),
        (F16, F32),
        (BF16, F32),
        (BF16, BF16),
    ]);
    let count = prop_oneof![Just(0usize), Just(1), 2usize..40, 4090usize..4110, 8100usize..12400];
    let lie = proptest::sample::select(vec![Lie::Dense, Lie::Shifted, Lie::Turned, Lie::Number]);
    let sample =
        (rule, dtypes, count, lie, any::<bool>()).prop_map(|(rule, dtypes, count, lie, mixed)| {
            let plain = Update::new(rule);
            let op = match mixed {
                true => Update { maximize: true, penalty: 0.1, shrink: 0.9, ..plain },
                false => plain,
            };
            Sample { op, dtypes, count, lie }
        });
    proptest::collection::vec(sample, 1..40)
}

/// Numbers in `low..1`, other ones for each seed.
fn values(count: usize, low: f64, seed: usize, dtype: DType, device: &Device) -> AnyTensor {
    let number = |i: usize| (i * 7919 + seed * 104_729) % 1009;
    let numbers: Vec<f64> =
        (0..count).map(|i| low + (1.0 - low) * number(i) as f64 / 1009.0).collect();
    let data = TensorData::new(numbers, [count]).convert_dtype(dtype);
    AnyTensor::from_data(&data, device).unwrap()
}

impl Sample {
    /// The gradient, and the parameter with its states.
    fn tensors(&self, seed: usize, device: &Device) -> (AnyTensor, Vec<AnyTensor>) {
        let (dtype, state) = self.dtypes;
        // Twice as long as it could be, so that it may have two axes.
        let shape = [2, self.count];
        let of = |low, seed, dtype| values(2 * self.count, low, seed, dtype, device);
        let grad = match self.lie {
            Lie::Dense => of(-1.0, seed, dtype).reshape(shape),
            Lie::Shifted => {
                let long = values(2 * self.count + 1, -1.0, seed, dtype, device);
                long.narrow(0, 1, 2 * self.count).reshape(shape)
            }
            Lie::Turned => of(-1.0, seed, dtype).reshape([self.count, 2]).transpose(),
            Lie::Number => {
                values(3, 0.5, seed, dtype, device).narrow(0, 1, 1).reshape([1, 1]).expand(shape)
            }
        };
        let states = (0..self.op.states()).map(|i| of(0.5, seed + i + 2, state).reshape(shape));
        let parameter = of(-1.0, seed + 1, dtype).reshape(shape);
        // Copies, of which nobody else has the memory.
        let targets = std::iter::once(parameter).chain(states);
        (grad, targets.map(|x| x.mul_scalar(1)).collect())
    }
}

fn bytes(x: &AnyTensor) -> Vec<u8> {
    x.to_data().unwrap().bytes().to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn many_updates_have_the_bits_of_each_by_itself(samples in samples()) {
        let Some(device) = device() else { return Ok(()) };
        let mut updates = Updates::default();
        let mut pairs = Vec::new();
        for (seed, sample) in samples.iter().enumerate() {
            let (grad, mut single) = sample.tensors(10 * seed, &device);
            let (_, mut many) = sample.tensors(10 * seed, &device);
            let op: Op = sample.op.into();
            update(&op, &grad, &mut single.iter_mut().collect::<Vec<_>>()).unwrap();
            updates.add(sample.op, grad, &mut many.iter_mut().collect::<Vec<_>>()).unwrap();
            pairs.push((sample, single, many));
        }
        updates.run().unwrap();
        for (sample, single, many) in pairs {
            for (single, many) in single.iter().zip(&many) {
                prop_assert_eq!(bytes(single), bytes(many), "{:?}", sample);
            }
        }
    }
}

/// More than one launch takes, and some without elements.
#[test]
fn any_number_of_parameters_is_updated() {
    let Some(device) = device() else { return };
    let op = Update::new(Rule::Scale(ScaleRule));
    let scalar = |value: f64| AnyTensor::full(Meta::new([1], DType::F32), value, device);
    let mut all: Vec<AnyTensor> = (0..400)
        .map(|i| AnyTensor::full(Meta::new([i % 5], DType::F32), i as f64, device))
        .collect();
    let mut updates = Updates::default();
    for tensor in &mut all {
        let factor = scalar(3.0).expand(tensor.shape());
        updates.add(op, factor, &mut [tensor]).unwrap();
    }
    updates.run().unwrap();
    for (i, tensor) in all.iter().enumerate() {
        let expected = vec![3.0 * i as f32; i % 5];
        assert_eq!(tensor.to_vec::<f32>().unwrap(), expected);
    }
    let totals = Totals { total: Total::Squares };
    let sums = apply(&totals.into(), &all.iter().collect::<Vec<_>>()).unwrap();
    let expected: Vec<f32> = (0..400).map(|i| (i % 5) as f32 * (3.0 * i as f32).powi(2)).collect();
    assert_eq!(sums[0].to_vec::<f32>().unwrap(), expected);
}

/// Gradients of one dtype or of two, on a device.
fn gradients(device: &Device, dtypes: [DType; 2], bad: Option<f64>) -> Gradients {
    let mut grads = Gradients::default();
    for (i, count) in [3, 0, 5000, 1, 40].into_iter().enumerate() {
        let param = Param::new(Tensor::<1>::zeros([count], device));
        let mut grad = values(count, -1.0, i, dtypes[i % 2], device);
        if let (Some(bad), 40) = (bad, count) {
            grad = grad.mul_scalar(bad);
        }
        grads.insert(param.as_any(), grad);
    }
    let scalar =
        Param::new(Tensor::<0>::from_any(AnyTensor::full(Meta::new([], DType::F32), 0, *device)));
    grads.insert(scalar.as_any(), AnyTensor::full(Meta::new([], DType::F32), 0.25, *device));
    grads
}

fn assert_same(found: &Gradients, expected: &Gradients) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected.iter()) {
        let tolerance = match found.dtype() {
            DType::F32 => Tolerance::<f32>::rel_abs(1e-5, 1e-6),
            _ => Tolerance::<f32>::rel_abs(8e-3, 1e-3),
        };
        found.to_data().unwrap().assert_approx_eq(&expected.to_data().unwrap(), tolerance);
    }
}

#[test]
fn gradients_are_clipped_and_scaled_as_on_the_cpu() {
    let Some(device) = device() else { return };
    use DType::*;
    for dtypes in [[F32, F32], [F32, BF16], [BF16, BF16]] {
        for bad in [None, Some(f64::NAN), Some(f64::INFINITY)] {
            let pair = || [&device, &Device::cpu()].map(|device| gradients(device, dtypes, bad));
            for max in [0.5, 1e9] {
                for clipping in [
                    GradientClipping::GlobalNorm(max),
                    GradientClipping::Norm(max),
                    GradientClipping::Value(max),
                ] {
                    let [mut found, mut expected] = pair();
                    clipping.clip(&mut found);
                    clipping.clip(&mut expected);
                    assert_same(&found, &expected);
                }
                let [mut found, mut expected] = pair();
                for p in [1.0, 2.0, f64::INFINITY] {
                    let [norm, other] = [grad_norm(&found, p), grad_norm(&expected, p)];
                    let same = (norm / other - 1.0).abs() < 1e-5 || norm.is_nan() && other.is_nan();
                    assert!(same || norm == other, "{norm} {other}");
                }
                let results = [&mut found, &mut expected].map(|grads| clip_grad_norm(grads, max));
                assert_eq!(results[0].is_ok(), bad.is_none());
                assert_eq!(results[1].is_ok(), bad.is_none());
                assert_same(&found, &expected);
            }
            let scaler = GradScalerConfig::new().with_scale(8.0).init();
            let [found, expected] = pair().map(|grads| scaler.clone().unscale(grads));
            assert_eq!(found.is_some(), bad.is_none());
            if let (Some(found), Some(expected)) = (found, expected) {
                assert_same(&found, &expected);
            }
        }
    }
}
