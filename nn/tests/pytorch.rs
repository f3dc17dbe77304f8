//! Layers and losses against PyTorch: outputs, gradients of inputs and of all parameters, running
//! statistics. `fixtures/layers.py` says how the numbers were made.

use std::path::Path;
use std::sync::LazyLock;

use kiln_autograd::{Autograd, Backward};
use kiln_nn::{
    AvgPool2dConfig, BatchNorm2dConfig, Conv2d, Conv2dConfig, CrossEntropyLoss, EmbeddingConfig,
    Flatten, Gelu, LayerNormConfig, Linear, LinearConfig, MaxPool2dConfig, Module, MseLoss,
    Reduction, Relu, Sequential, StateDict,
};
use kiln_tensor::op::Activation;
use kiln_tensor::{AnyTensor, Device, Float, Int, Kind, Tensor, TensorData, Tolerance};

static FIXTURE: LazyLock<StateDict> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    StateDict::load(folder.join("layers.safetensors")).unwrap()
});

/// A few roundings of f32. The values of the fixture are about one and are exact.
const TIGHT: f64 = 1e-6;
/// Where rounding errors add up: gradients that sum over a batch of images, or a chain of layers.
const SUMS: f64 = 1e-5;

fn cpu() -> Device {
    Device::cpu()
}

fn expected(name: &str) -> &'static TensorData {
    FIXTURE.get(name).unwrap_or_else(|| panic!("{name} is not in the fixture"))
}

fn tensor<const D: usize, K: Kind>(name: &str) -> Tensor<D, K> {
    Tensor::from_data(expected(name).clone(), &cpu())
}

/// Whether a tensor has the expected values, to `bound` relative, or absolute for numbers below one.
#[track_caller]
fn same(name: &str, actual: &AnyTensor, bound: f64) {
    let (actual, expected) = (actual.to_data().unwrap(), expected(name));
    println!("{name}");
    actual.assert_approx_eq(expected, Tolerance::<f32>::rel_abs(bound, bound));
}

/// Gives `model` the values of a case; they must be exactly its parameters and buffers.
fn load(case: &str, model: &mut impl Module) {
    let prefix = format!("{case}.state.");
    let mut state = StateDict::default();
    for (name, data) in FIXTURE.iter() {
        if let Some(path) = name.strip_prefix(&prefix) {
            state.insert(path, data.clone());
        }
    }
    let report = model.load_state_dict(&state);
    assert!(report.is_complete() && report.converted.is_empty(), "{case}: {report}");
}

/// The parameters and buffers of `model` are those that a case starts from.
fn state_is(case: &str, model: &impl Module) {
    for (path, tensor) in model.named_params().iter().chain(&model.named_buffers()) {
        same(&format!("{case}.state.{path}"), tensor, TIGHT);
    }
}

/// One forward and backward pass with the parameters that `model` has.
fn run<M: Module, const D: usize, const D2: usize>(
    case: &str,
    bound: f64,
    model: &M,
    forward: impl Fn(&M, &Tensor<D>) -> Tensor<D2>,
) {
    let x = tensor::<D, Float>(&format!("{case}.x")).require_grad();
    let y = forward(model, &x);
    same(&format!("{case}.y"), y.as_any(), bound);
    let dy: Tensor<D2> = tensor(&format!("{case}.dy"));
    let grads = Backward::new().seed(&dy).run(&y);
    same(&format!("{case}.dx"), x.grad(&grads).unwrap().as_any(), bound);
    let params = model.named_params();
    assert_eq!(grads.len(), 1 + params.len(), "{case}: a gradient for each leaf");
    for (path, param) in params {
        same(&format!("{case}.grad.{path}"), grads.get(&param).unwrap(), bound);
    }
}

fn check<M: Module, const D: usize, const D2: usize>(
    case: &str,
    bound: f64,
    mut model: M,
    forward: impl Fn(&M, &Tensor<D>) -> Tensor<D2>,
) -> M {
    load(case, &mut model);
    run(case, bound, &model, forward);
    model
}

#[test]
fn linear() {
    let layer = |inputs, outputs| LinearConfig::new(inputs, outputs).init(&cpu());
    check("linear", TIGHT, layer(7, 5), Linear::forward::<2>);
    check("linear.rank3", TIGHT, layer(3, 2), Linear::forward::<3>);
    check("linear.vector", TIGHT, layer(3, 2), Linear::forward::<1>);
    let plain = LinearConfig::new(6, 3).with_bias(false).init(&cpu());
    check("linear.plain", TIGHT, plain, Linear::forward::<2>);
}

#[test]
fn linear_with_an_activation() {
    for (name, activation) in [("relu", Activation::Relu), ("gelu", Activation::Gelu)] {
        let layer = LinearConfig::new(6, 8).init(&cpu());
        let forward = |layer: &Linear, x: &Tensor<2>| layer.forward_activation(x, activation);
        check(&format!("linear.{name}"), TIGHT, layer, forward);
    }
}

#[test]
fn conv2d() {
    let new = Conv2dConfig::new;
    for (name, config) in [
        ("conv", new([3, 4], [3, 3])),
        ("conv.point", new([5, 3], [1, 1])),
        ("conv.padded", new([2, 3], [3, 5]).with_padding([1, 2])),
        (
            "conv.strided",
            new([3, 4], [3, 2]).with_stride([2, 3]).with_padding([1, 0]).with_bias(false),
        ),
        ("conv.dilated", new([2, 3], [3, 3]).with_padding([2, 1]).with_dilation([2, 3])),
        ("conv.grouped", new([4, 6], [3, 3]).with_padding([1, 1]).with_groups(2)),
        ("conv.depthwise", new([5, 5], [3, 3]).with_padding([1, 1]).with_groups(5)),
        (
            "conv.all",
            new([4, 8], [3, 3])
                .with_stride([2, 2])
                .with_padding([2, 2])
                .with_dilation([2, 2])
                .with_groups(4),
        ),
    ] {
        // PyTorch's own f32 gradients are off by 2e-6 here.
        check(name, SUMS, config.init(&cpu()), Conv2d::forward);
    }
}

#[test]
fn batch_norm_over_two_batches_and_in_evaluation() {
    let layer = BatchNorm2dConfig::new(3).init(&cpu());
    let mut layer =
        check("batch_norm.first", TIGHT, layer, |layer, x: &Tensor<4>| layer.forward(x));
    state_is("batch_norm.second", &layer);
    run("batch_norm.second", TIGHT, &layer, |layer, x: &Tensor<4>| layer.forward(x));
    state_is("batch_norm.eval", &layer);
    assert_eq!(layer.num_batches_tracked.as_ref().unwrap().get().item::<i64>(), 2);
    layer.eval();
    run("batch_norm.eval", TIGHT, &layer, |layer, x: &Tensor<4>| layer.forward(x));
    state_is("batch_norm.eval", &layer);
}

#[test]
fn batch_norm_with_other_epsilon_and_momentum() {
    let layer = BatchNorm2dConfig::new(2).with_epsilon(1e-2).with_momentum(0.3).init(&cpu());
    let mut layer =
        check("batch_norm.options", TIGHT, layer, |layer, x: &Tensor<4>| layer.forward(x));
    state_is("batch_norm.options.after", &layer);
    layer.eval();
    run("batch_norm.options.after", TIGHT, &layer, |layer, x: &Tensor<4>| layer.forward(x));
}

#[test]
fn layer_norm() {
    let layer = LayerNormConfig::new([6]).init(&cpu());
    check("layer_norm", TIGHT, layer, |layer, x: &Tensor<3>| layer.forward(x));
    let layer = LayerNormConfig::new([3, 6]).init(&cpu());
    check("layer_norm.axes", TIGHT, layer, |layer, x: &Tensor<3>| layer.forward(x));
    let layer = LayerNormConfig::new([6]).with_epsilon(1e-3).with_affine(false).init(&cpu());
    check("layer_norm.plain", TIGHT, layer, |layer, x: &Tensor<2>| layer.forward(x));
}

#[test]
fn embedding_with_repeated_indices() {
    let mut layer = EmbeddingConfig::new(11, 4).init(&cpu());
    load("embedding", &mut layer);
    let y = layer.forward::<2, 3>(&tensor::<2, Int>("embedding.x"));
    same("embedding.y", y.as_any(), 0.0);
    let grads = Backward::new().seed(tensor::<3, Float>("embedding.dy")).run(&y);
    same("embedding.grad.weight", layer.weight.grad(&grads).unwrap().as_any(), TIGHT);
}

#[test]
fn max_pool() {
    let new = MaxPool2dConfig::new;
    for (name, config) in [
        ("max_pool", new([2, 2])),
        ("max_pool.options", new([3, 2]).with_strides([2, 1]).with_padding([1, 1])),
        ("max_pool.ties", new([3, 3]).with_strides([2, 2])),
    ] {
        check(name, TIGHT, config.init(), |layer, x| layer.forward(x));
    }
}

#[test]
fn avg_pool() {
    let new = AvgPool2dConfig::new;
    let options = new([3, 2]).with_strides([2, 1]).with_padding([1, 1]);
    for (name, config) in [
        ("avg_pool", new([2, 2])),
        ("avg_pool.options", options.clone()),
        ("avg_pool.inside", options.with_count_include_pad(false)),
    ] {
        check(name, TIGHT, config.init(), |layer, x| layer.forward(x));
    }
}

#[test]
fn activations() {
    check("relu", 0.0, Relu::new(), Relu::forward::<1>);
    check("gelu", TIGHT, Gelu::new(), Gelu::forward::<1>);
}

#[test]
fn cross_entropy() {
    let targets: Tensor<1, Int> = tensor("loss.classes");
    for (name, reduction) in [("mean", Reduction::Mean), ("sum", Reduction::Sum)] {
        let loss = CrossEntropyLoss::new().with_reduction(reduction);
        // A loss has no parameters; any module without them stands for it.
        let forward = |_: &Flatten, logits: &Tensor<2>| loss.forward(logits, &targets);
        check(&format!("cross_entropy.{name}"), TIGHT, Flatten, forward);
    }
    // The backward pass keeps `log(sum(exp(logits)))`, which is rounded in the unit of the largest
    // logit, here 70.
    let loss = CrossEntropyLoss::new().with_reduction(Reduction::Sum);
    let forward = |_: &Flatten, logits: &Tensor<2>| loss.forward(logits, &targets);
    check("cross_entropy.wide", TIGHT, Flatten, forward);
}

#[test]
fn mean_squared_error() {
    let targets: Tensor<2> = tensor("loss.values");
    for (name, reduction) in [("mean", Reduction::Mean), ("sum", Reduction::Sum)] {
        let loss = MseLoss::new();
        let forward = |_: &Flatten, x: &Tensor<2>| loss.forward(x, &targets, reduction);
        check(&format!("mse.{name}"), TIGHT, Flatten, forward);
    }
}

#[test]
fn sequential_in_training_and_in_evaluation() {
    let model = Sequential::new()
        .add(Conv2dConfig::new([1, 4], [3, 3]).with_padding([1, 1]).init(&cpu()))
        .add(BatchNorm2dConfig::new(4).init(&cpu()))
        .add(Relu::new())
        .add(MaxPool2dConfig::new([2, 2]).init())
        .add(Conv2dConfig::new([4, 6], [3, 3]).init(&cpu()))
        .add(Gelu::new())
        .add(Flatten::new())
        .add(LinearConfig::new(24, 10).init(&cpu()));
    let forward = |model: &Sequential, x: &Tensor<4>| -> Tensor<2> { model.forward(x) };
    let mut model = check("model.train", SUMS, model, forward);
    state_is("model.eval", &model);
    model.eval();
    run("model.eval", SUMS, &model, forward);
}
