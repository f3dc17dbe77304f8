//! Every layer against PyTorch: names of parameters and buffers, outputs, gradients of inputs and
//! parameters, buffers after training. `fixtures/catalogue.py` says how the numbers were made.

mod activation;
mod config;
mod containers;
mod conv;
mod embedding;
mod norm;
mod pool;
mod random;
mod resample;

use std::path::Path;
use std::sync::LazyLock;

use kiln_autograd::{Backward, leaf};
use kiln_nn::{Layer, Module, StateDict};
use kiln_tensor::{AnyTensor, Device, Float, Int, Kind, Tensor, TensorData, Tolerance};

static FIXTURE: LazyLock<StateDict> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/catalogue");
    let mut all = StateDict::default();
    for family in
        ["activation", "conv", "embedding", "norm", "pool", "pool_options", "resample", "shape"]
    {
        let file = StateDict::load(folder.join(format!("{family}.safetensors"))).unwrap();
        file.iter().for_each(|(name, data)| all.insert(name, data.clone()));
    }
    all
});

fn cpu() -> Device {
    Device::cpu()
}

fn expected(name: &str) -> &'static TensorData {
    FIXTURE.get(name).unwrap_or_else(|| panic!("{name} is not in the fixture"))
}

/// Input `i` of a case, a leaf if it is of floats.
fn input(case: &str, i: usize) -> AnyTensor {
    let data = expected(&format!("{case}.x{i}"));
    let x = AnyTensor::from_data(data, &cpu()).unwrap();
    if x.dtype().is_float() { leaf(&x) } else { x }
}

fn floats<const D: usize>(x: &AnyTensor) -> Tensor<D> {
    Tensor::<D, Float>::from_any(x.clone())
}

fn ints<const D: usize>(x: &AnyTensor) -> Tensor<D, Int> {
    typed(x)
}

fn typed<const D: usize, K: Kind>(x: &AnyTensor) -> Tensor<D, K> {
    Tensor::from_any(x.clone())
}

/// Whether a tensor has the expected values, to 1e-5 relative, or absolute for numbers below one.
#[track_caller]
fn same(name: &str, actual: &AnyTensor) {
    println!("{name}");
    let actual = actual.to_data().unwrap();
    actual.assert_approx_eq(expected(name), Tolerance::<f32>::rel_abs(1e-5, 1e-5));
}

/// Gives `model` the values of a case; they must be exactly its parameters and buffers.
fn load<M: Module + ?Sized>(case: &str, model: &mut M) {
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

/// One forward and backward pass from the values of a case.
fn check<M: Module + ?Sized>(
    case: &str,
    model: &mut M,
    forward: impl Fn(&M, &[AnyTensor]) -> AnyTensor,
) {
    load(case, model);
    let count = (0..).take_while(|i| FIXTURE.get(&format!("{case}.x{i}")).is_some()).count();
    let inputs: Vec<AnyTensor> = (0..count).map(|i| input(case, i)).collect();
    let y = forward(model, &inputs);
    assert_eq!(y.shape(), expected(&format!("{case}.y")).shape(), "{case}");
    same(&format!("{case}.y"), &y);
    let flat = |x: &AnyTensor| floats::<1>(&x.reshape([x.num_elements()]));
    let dy = AnyTensor::from_data(expected(&format!("{case}.dy")), &cpu()).unwrap();
    let grads = Backward::new().seed(flat(&dy)).run(&flat(&y));
    for (i, x) in inputs.iter().enumerate().filter(|(_, x)| x.dtype().is_float()) {
        same(&format!("{case}.dx{i}"), grads.get(x).expect("a gradient"));
    }
    for (path, param) in model.named_params() {
        same(&format!("{case}.grad.{path}"), grads.get(&param).expect("a gradient"));
    }
    for (path, buffer) in model.named_buffers() {
        let after = format!("{case}.after.{path}");
        let changed = FIXTURE.get(&after).is_some();
        same(&if changed { after } else { format!("{case}.state.{path}") }, &buffer);
    }
}

/// A layer of one input.
fn layer(case: &str, layer: impl Layer + 'static) {
    boxed(case, Box::new(layer));
}

/// A layer of one input and of any type.
fn boxed(case: &str, mut layer: Box<dyn Layer>) {
    check(case, &mut *layer, |layer, inputs| layer.forward_any(&inputs[0]));
}

/// Two steps in training and one pass in evaluation.
fn steps(case: &str, mut layer: impl Layer) {
    for step in ["first", "second", "eval"] {
        if step == "eval" {
            layer.eval();
        }
        let forward = |layer: &_, inputs: &[AnyTensor]| Layer::forward_any(layer, &inputs[0]);
        check(&format!("{case}.{step}"), &mut layer, forward);
    }
}
