//! First values of parameters: their law, shape by shape, and that a seed decides them.

use kiln_autograd::Autograd;
use kiln_nn::{Initializer, Linear, LinearConfig, Nonlinearity, Param};
use kiln_tensor::{DType, Device, Tensor, TensorData, guard, module};

fn cpu() -> Device {
    Device::cpu()
}

/// Mean, standard deviation, least and largest of `[400, 250]` values.
fn moments(initializer: Initializer) -> (f64, f64, f64, f64) {
    // The generator belongs to the device, and tests run side by side: bounds are wide enough for
    // any seed.
    let values = initializer.init::<2>([400, 250], &cpu()).to_data();
    let values: Vec<f64> = values.iter().collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let var = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64;
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    (mean, var.sqrt(), least, values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

#[track_caller]
fn uniform(initializer: Initializer, bound: f64) {
    let (mean, std, least, largest) = moments(initializer);
    assert!(mean.abs() < 0.02 * bound, "mean {mean}");
    assert!((std / (bound / 3f64.sqrt()) - 1.0).abs() < 0.02, "deviation {std}");
    assert!(-bound <= least && least < -0.99 * bound, "least {least}");
    assert!(0.99 * bound < largest && largest <= bound, "largest {largest}");
}

#[track_caller]
fn normal(initializer: Initializer, expected: f64) {
    let (mean, std, least, largest) = moments(initializer);
    assert!(mean.abs() < 0.02 * expected, "mean {mean}");
    assert!((std / expected - 1.0).abs() < 0.02, "deviation {std}");
    assert!(least < -3.0 * expected && 3.0 * expected < largest, "{least} {largest}");
}

#[test]
fn uniform_and_normal_have_their_moments() {
    uniform(Initializer::Uniform { min: -0.3, max: 0.3 }, 0.3);
    normal(Initializer::Normal { mean: 0.0, std: 2.0 }, 2.0);
    let (mean, ..) = moments(Initializer::Normal { mean: 5.0, std: 0.1 });
    assert!((mean - 5.0).abs() < 0.01);
}

#[test]
fn kaiming_takes_the_fan_it_is_told() {
    // [out, in] = [400, 250]
    let gain = Nonlinearity::Relu.gain();
    let uniformly = |fan_out_only| Initializer::KaimingUniform { gain, fan_out_only };
    let normally = |fan_out_only| Initializer::KaimingNormal { gain, fan_out_only };
    uniform(uniformly(false), (6.0 / 250f64).sqrt());
    uniform(uniformly(true), (6.0 / 400f64).sqrt());
    normal(normally(false), (2.0 / 250f64).sqrt());
    normal(normally(true), (2.0 / 400f64).sqrt());
    uniform(Initializer::layer_default(), 1.0 / 250f64.sqrt());
}

#[test]
fn xavier_takes_both_fans() {
    uniform(Initializer::XavierUniform { gain: 2.0 }, 2.0 * (6.0 / 650f64).sqrt());
    normal(Initializer::XavierNormal { gain: 1.0 }, (2.0 / 650f64).sqrt());
}

#[test]
fn the_window_of_a_convolution_counts_in_its_fans() {
    let bound = |initializer: Initializer| {
        let values = initializer.init::<4>([64, 16, 3, 5], &cpu());
        values.abs().max().into_scalar::<f64>()
    };
    let near = |found: f64, expected: f64| (found / expected - 1.0).abs() < 0.01;
    let kaiming = |fan_out_only| Initializer::KaimingUniform { gain: 1.0, fan_out_only };
    assert!(near(bound(kaiming(false)), (3.0 / 240f64).sqrt()));
    assert!(near(bound(kaiming(true)), (3.0 / 960f64).sqrt()));
    assert!(near(bound(Initializer::XavierUniform { gain: 1.0 }), (6.0 / 1200f64).sqrt()));
}

#[test]
fn a_truncated_normal_stays_within_its_bounds() {
    let (min, max) = (-2.0, 2.0);
    let (mean, std, least, largest) =
        moments(Initializer::TruncatedNormal { mean: 0.0, std: 1.0, min, max });
    assert!(mean.abs() < 0.02 && (std - 0.8796).abs() < 0.02, "{mean} {std}");
    assert!(min <= least && least < -1.98 && 1.98 < largest && largest <= max);
}

#[cfg(feature = "linalg")]
#[test]
fn orthogonal_rows_or_columns_have_one_length_at_right_angles() {
    let gain = 1.5;
    let initializer = Initializer::Orthogonal { gain };
    let near = kiln_tensor::Tolerance::<f32>::absolute(1e-5);
    for [rows, columns] in [[6, 6], [9, 4], [4, 9], [1, 5], [5, 1]] {
        let a = initializer.init::<2>([rows, columns], &cpu());
        assert_eq!(a.dims(), [rows, columns]);
        let product =
            if rows > columns { a.transpose().matmul(&a) } else { a.matmul(a.transpose()) };
        let identity = Tensor::<2>::eye(rows.min(columns), &cpu()) * (gain * gain);
        product.to_data().assert_approx_eq(&identity.to_data(), near);
    }
    let kernel = initializer.init::<4>([4, 3, 2, 2], &cpu()).reshape([4, 12]);
    let identity = Tensor::<2>::eye(4, &cpu()) * (gain * gain);
    kernel.matmul(kernel.transpose()).to_data().assert_approx_eq(&identity.to_data(), near);
}

#[cfg(feature = "linalg")]
#[test]
fn orthogonal_matrices_have_no_preferred_sign() {
    let sum: f64 = (0..200)
        .map(|_| Initializer::Orthogonal { gain: 1.0 }.init::<2>([2, 2], &cpu()))
        .map(|a| a.narrow(0, 0, 1).narrow(1, 0, 1).into_scalar::<f64>().signum())
        .sum();
    assert!(sum.abs() < 80.0, "{sum}");
}

#[test]
fn constants_ones_zeros_and_the_identity() {
    let values = |initializer: Initializer| initializer.init::<2>([2, 3], &cpu()).to_data();
    assert_eq!(values(Initializer::Constant { value: 0.5 }), TensorData::from([[0.5f32; 3]; 2]));
    assert_eq!(values(Initializer::Ones), TensorData::from([[1f32; 3]; 2]));
    assert_eq!(values(Initializer::Zeros), TensorData::from([[0f32; 3]; 2]));
    assert_eq!(values(Initializer::Eye), TensorData::from([[1f32, 0.0, 0.0], [0.0, 1.0, 0.0]]));
}

#[test]
fn a_dirac_convolution_passes_its_inputs_on() {
    let x = Tensor::<4>::random([2, 4, 5, 6], kiln_tensor::Distribution::Default, &cpu());
    for groups in [1, 2] {
        let kernel = Initializer::Dirac { groups }.init::<4>([4, 4 / groups, 3, 3], &cpu());
        let options = kiln_tensor::op::ConvOptions::new([1, 1], [1, 1], [1, 1], groups);
        let y = module::conv2d(&x, kernel, None, options);
        assert_eq!(y.to_data(), x.to_data(), "{groups} groups");
    }
    // More outputs than inputs: the rest of each group is zero.
    let kernel = Initializer::Dirac { groups: 1 }.init::<3>([3, 2, 2], &cpu());
    let expected = [[[0f32, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]], [[0.0; 2]; 2]];
    assert_eq!(kernel.to_data(), TensorData::from(expected));
}

#[test]
fn sparse_columns_have_their_share_of_zeros() {
    let a = Initializer::Sparse { sparsity: 0.3, std: 0.5 }.init::<2>([10, 50], &cpu());
    let nonzero = a.count_nonzero_dim(0).to_data();
    assert!(nonzero.iter::<i64>().all(|count| count == 7), "{nonzero}");
    let rows = a.count_nonzero_dim(1).to_data();
    assert!(rows.iter::<i64>().collect::<std::collections::BTreeSet<_>>().len() > 1);
    let std = (a.square().sum().into_scalar::<f64>() / 350.0).sqrt();
    assert!((std - 0.5).abs() < 0.1, "{std}");
}

#[test]
fn gains_are_those_of_pytorch() {
    for (nonlinearity, gain) in [
        (Nonlinearity::Linear, 1.0),
        (Nonlinearity::Sigmoid, 1.0),
        (Nonlinearity::Tanh, 5.0 / 3.0),
        (Nonlinearity::Relu, 2f64.sqrt()),
        (Nonlinearity::LeakyRelu(0.2), 1.386750491),
        (Nonlinearity::Selu, 0.75),
    ] {
        assert!((nonlinearity.gain() - gain).abs() < 1e-9, "{nonlinearity:?}");
    }
}

#[test]
fn fill_keeps_the_leaf_its_dtype_and_whether_it_is_trained() {
    let mut layer: Linear = LinearConfig::new(3, 2).init(&cpu());
    let loss = layer.forward(&Tensor::<2>::ones([1, 3], &cpu())).sum();
    Initializer::Zeros.fill(&mut layer.weight);
    assert_eq!(layer.weight.abs().max().into_scalar::<f32>(), 0.0);
    assert!(layer.weight.grad(&loss.backward()).is_some(), "still the leaf of the forward pass");
    let half = Tensor::<1>::zeros([2], (&cpu(), DType::BF16));
    let mut half = Param::new(half);
    Initializer::Ones.fill(&mut half);
    assert_eq!((half.dtype(), half.is_tracked()), (DType::BF16, true));
    let error = guard(|| half.set(Tensor::<1>::zeros([3], &cpu()))).unwrap_err();
    assert!(error.to_string().contains("keeps its shape"), "{error}");
}

#[test]
fn rules_refuse_shapes_that_they_are_not_for() {
    let refused = |initializer: Initializer, part: &str| {
        let error = guard(|| initializer.init::<1>([4], &cpu())).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(Initializer::Orthogonal { gain: 1.0 }, "two axes");
    refused(Initializer::Eye, "a matrix");
    refused(Initializer::Dirac { groups: 1 }, "a kernel");
    refused(Initializer::Sparse { sparsity: 0.5, std: 1.0 }, "a matrix");
    let groups = Initializer::Dirac { groups: 3 };
    assert!(guard(|| groups.init::<3>([4, 4, 3], &cpu())).is_err());
    let share = Initializer::Sparse { sparsity: 1.5, std: 1.0 };
    assert!(guard(|| share.init::<2>([4, 4], &cpu())).is_err());
}
