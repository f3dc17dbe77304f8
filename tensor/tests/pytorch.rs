//! Operations against values that PyTorch computed: `fixtures/operations.py` wrote them.

use std::collections::HashMap;
use std::sync::LazyLock;

use kiln_tensor::op::{
    AdamUpdate, BatchNorm, Conv2dInputGrad, Conv2dOptions, Conv2dWeightGrad, Op, Pool2dOptions,
    SgdUpdate, UnaryKind,
};
use kiln_tensor::{
    AnyTensor, DType, Device, Int, Kind, Shape, Tensor, TensorData, Tolerance, activation, apply,
    module, update,
};
use safetensors::{Dtype, SafeTensors};

static FIXTURE: LazyLock<HashMap<String, TensorData>> = LazyLock::new(|| {
    let file = include_bytes!("fixtures/operations.safetensors");
    let load = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let dtype = match view.dtype() {
            Dtype::F32 => DType::F32,
            Dtype::I64 => DType::I64,
            other => panic!("{name} has {other:?}"),
        };
        let shape = Shape::new(view.shape());
        (name, TensorData::from_bytes(view.data().to_vec(), shape, dtype).unwrap())
    };
    SafeTensors::deserialize(file).unwrap().tensors().into_iter().map(load).collect()
});

fn data(name: &str) -> &'static TensorData {
    FIXTURE.get(name).unwrap_or_else(|| panic!("no {name} in the fixture"))
}

fn any(name: &str) -> AnyTensor {
    AnyTensor::from_data(data(name), &Device::cpu()).unwrap()
}

fn get<const D: usize, K: Kind>(name: &str) -> Tensor<D, K> {
    Tensor::from_any(any(name))
}

/// Within `relative` of PyTorch, where numbers below 1 are sums that cancelled and count as 1.
#[track_caller]
fn near(name: &str, y: &AnyTensor, relative: f64) {
    println!("{name}");
    let tolerance = Tolerance::<f32>::rel_abs(relative, relative);
    y.to_data().unwrap().assert_approx_eq(data(name), tolerance);
}

/// One rounding on each side, and few in between.
const SHORT: f64 = 1e-6;
/// Sums of many products.
const LONG: f64 = 1e-5;

#[track_caller]
fn same(name: &str, y: &AnyTensor) {
    println!("{name}");
    y.to_data().unwrap().assert_eq(data(name), true);
}

#[test]
fn convolution_and_its_gradients() {
    let options =
        |stride, padding, dilation, groups| Conv2dOptions { stride, padding, dilation, groups };
    for (name, options) in [
        ("plain", options([1, 1], [0, 0], [1, 1], 1)),
        ("strided", options([2, 3], [1, 0], [1, 1], 1)),
        ("dilated", options([1, 1], [2, 1], [2, 3], 1)),
        ("grouped", options([1, 2], [1, 1], [1, 1], 2)),
        ("depthwise", options([1, 1], [1, 1], [1, 1], 5)),
    ] {
        let part = |part: &str| get::<4, _>(&format!("conv.{name}.{part}"));
        let (x, w, dy) = (part("x"), part("w"), part("dy"));
        let y = module::conv2d(&x, &w, Some(&get(&format!("conv.{name}.b"))), options);
        near(&format!("conv.{name}.y"), y.as_any(), LONG);
        let ([_, _, h, width], [_, _, kh, kw]) = (x.dims(), w.dims());
        let op = Conv2dInputGrad { options, size: [h, width] };
        near(&format!("conv.{name}.dx"), &dy.as_any().apply(op, &[w.as_any()]), LONG);
        let op = Conv2dWeightGrad { options, kernel: [kh, kw] };
        near(&format!("conv.{name}.dw"), &x.as_any().apply(op, &[dy.as_any()]), LONG);
    }
}

#[test]
fn pooling() {
    let x = get("pool.x");
    let options = Pool2dOptions { kernel: [3, 2], stride: [2, 1], padding: [1, 1] };
    let (max, index) = module::max_pool2d_with_indices(&x, options);
    same("pool.max", max.as_any());
    index.into_data().assert_eq(data("pool.max.index"), false);
    near("pool.avg.True", module::avg_pool2d(&x, options, true).as_any(), SHORT);
    near("pool.avg.False", module::avg_pool2d(&x, options, false).as_any(), SHORT);
}

#[test]
fn normalisation() {
    let x = any("norm.x");
    let affine = Some((&any("norm.w"), &any("norm.b"))).map(|(w, b)| (w.clone(), b.clone()));
    let affine = affine.as_ref().map(|(w, b)| (w, b));
    near("norm.layer", &module::layer_norm(&x, &[6].into(), affine, 1e-5), SHORT);
    near("norm.layer.plain", &module::layer_norm(&x, &[3, 6].into(), None, 1e-3), SHORT);
    let affine = [any("norm.batch.w"), any("norm.batch.b")];
    let y = x.apply(BatchNorm { epsilon: 1e-5 }, &[&affine[0], &affine[1]]);
    near("norm.batch", &y, SHORT);
}

#[test]
fn softmax_at_its_edges_and_cross_entropy() {
    let x = get::<2, _>("softmax.x");
    for dim in [0, 1] {
        near(&format!("softmax.{dim}"), activation::softmax(&x, dim).as_any(), SHORT);
        near(&format!("log_softmax.{dim}"), activation::log_softmax(&x, dim).as_any(), SHORT);
    }
    let losses = module::cross_entropy(&get("loss.x"), &get("loss.targets"));
    near("loss.y", losses.as_any(), SHORT);
}

#[test]
fn functions_of_each_element() {
    use UnaryKind::*;
    let x = any("unary.x");
    for (name, kind) in [
        ("relu", Relu),
        ("gelu", Gelu),
        ("gelu_tanh", GeluTanh),
        ("silu", Silu),
        ("softplus", Softplus),
        ("sigmoid", Sigmoid),
        ("tanh", Tanh),
        ("erf", Erf),
        ("expm1", ExpM1),
        ("sin", Sin),
        ("cos", Cos),
        ("tan", Tan),
        ("sign", Sign),
        ("round", Round),
        ("trunc", Trunc),
    ] {
        near(&format!("unary.{name}"), &x.unary(kind), SHORT);
    }
}

#[test]
fn picking_by_index() {
    let table = get::<2, _>("embedding.table");
    let rows: Tensor<3> = module::embedding(&table, &get::<2, Int>("embedding.index"));
    same("embedding.y", rows.as_any());
    same("gather.y", table.gather(0, get::<2, Int>("gather.index")).as_any());
}

#[test]
fn batched_products() {
    near("matmul.y", &any("matmul.a").matmul(&any("matmul.b")), LONG);
}

#[test]
fn reductions() {
    let x = get::<3, _>("reduce.x");
    for dim in 0..3 {
        let name = |name: &str| format!("reduce.{name}.{dim}");
        near(&name("sum"), x.sum_dim(dim).as_any(), SHORT);
        near(&name("mean"), x.mean_dim(dim).as_any(), SHORT);
        near(&name("var"), x.var(dim).as_any(), SHORT);
        near(&name("prod"), x.prod_dim(dim).as_any(), SHORT);
        same(&name("max"), x.max_dim(dim).as_any());
        same(&name("argmax"), x.argmax(dim).as_any());
        same(&name("argmin"), x.argmin(dim).as_any());
    }
    near("reduce.var_bias.1", x.var_bias(1).as_any(), SHORT);
    near("reduce.long.sum", get::<1, kiln_tensor::Float>("reduce.long").sum().as_any(), SHORT);
}

#[test]
fn nan_infinities_and_signs() {
    let (a, b) = (get::<1, _>("special.a"), get::<1, _>("special.b"));
    same("special.max", a.max_pair(&b).as_any());
    same("special.min", a.min_pair(&b).as_any());
    same("special.remainder", a.remainder(&b).as_any());
    near("special.pow", a.powf(&b).as_any(), SHORT);
    let x = get::<1, _>("special.x");
    same("special.relu", activation::relu(&x).as_any());
    // `torch.sign` of NaN is 0; here it stays NaN.
    assert!(x.sign().slice(0..1).item::<f32>().is_nan());
    same("special.clamp", x.clamp(-1, 1).as_any());
    let rows = get::<2, kiln_tensor::Float>("special.rows");
    same("special.argmax", rows.argmax(1).as_any());
    same("special.row_max", rows.max_dim(1).as_any());
}

#[test]
fn quotients_and_remainders_of_negative_numbers() {
    let (a, b) = (get::<1, Int>("int.a"), get::<1, Int>("int.b"));
    same("int.remainder", (&a % &b).as_any());
    same("int.div", (&a / &b).as_any());
    let (a, b) = (get::<1, kiln_tensor::Float>("float.a"), get("float.b"));
    near("float.remainder", a.remainder(b).as_any(), SHORT);
}

/// Runs two updates, in place and as a function, and compares parameter and state after each.
fn optimizer(name: &str, states: &[&str], op: impl Fn(u64) -> Op) {
    let mut param = any(&format!("{name}.0"));
    let mut state: Vec<AnyTensor> = states.iter().map(|_| param.zeros_like()).collect();
    for step in [1, 2] {
        let (op, grad) = (op(step), any(&format!("{name}.grad.{step}")));
        let inputs: Vec<&AnyTensor> = [&grad, &param].into_iter().chain(&state).collect();
        let fresh = apply(&op, &inputs).unwrap();
        let mut targets: Vec<&mut AnyTensor> = vec![&mut param];
        targets.extend(&mut state);
        update(&op, &grad, &mut targets).unwrap();
        near(&format!("{name}.{step}"), &param, SHORT);
        assert_eq!(fresh[0].to_data(), param.to_data(), "in place and fresh");
        for ((key, value), fresh) in states.iter().zip(&state).zip(&fresh[1..]) {
            near(&format!("{name}.{key}.{step}"), value, SHORT);
            assert_eq!(fresh.to_data(), value.to_data(), "in place and fresh");
        }
    }
}

#[test]
fn optimizer_updates() {
    let sgd = SgdUpdate {
        lr: 0.1,
        momentum: 0.0,
        dampening: 0.0,
        weight_decay: 0.01,
        nesterov: false,
        first: false,
    };
    optimizer("sgd", &[], |_| sgd.into());
    optimizer("momentum", &["momentum_buffer"], |step| {
        SgdUpdate { momentum: 0.9, dampening: 0.5, first: step == 1, ..sgd }.into()
    });
    let nesterov = SgdUpdate { momentum: 0.9, nesterov: true, weight_decay: 0.0, ..sgd };
    optimizer("nesterov", &["momentum_buffer"], |step| {
        SgdUpdate { first: step == 1, ..nesterov }.into()
    });
    for (name, decoupled) in [("adam", false), ("adamw", true)] {
        optimizer(name, &["exp_avg", "exp_avg_sq"], |step| {
            AdamUpdate {
                lr: 0.01,
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                weight_decay: 0.1,
                decoupled,
                step,
            }
            .into()
        });
    }
}
