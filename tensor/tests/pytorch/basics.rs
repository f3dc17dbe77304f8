//! The operations of the training path: `fixtures/operations.py`.

use kiln_tensor::op::{
    AdamRule, BatchNorm, Conv2dInputGrad, Conv2dOptions, Conv2dWeightGrad, Op, Rule, SgdRule,
    UnaryKind, Update,
};
use kiln_tensor::{AnyTensor, Float, Int, Tensor, activation, apply, module, update};

use crate::fixture::{Fixture, LONG, SHORT, load};

static TORCH: Fixture = Fixture::new(|| load(include_bytes!("../fixtures/operations.safetensors")));

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
        let part = |part: &str| TORCH.get::<4, _>(&format!("conv.{name}.{part}"));
        let (x, w, dy) = (part("x"), part("w"), part("dy"));
        let y = module::conv2d(&x, &w, Some(TORCH.get(&format!("conv.{name}.b"))), options);
        TORCH.near(&format!("conv.{name}.y"), y.as_any(), LONG);
        let ([_, _, h, width], [_, _, kh, kw]) = (x.dims(), w.dims());
        let op = Conv2dInputGrad { options, size: [h, width] };
        TORCH.near(&format!("conv.{name}.dx"), &dy.as_any().apply(op, &[w.as_any()]), LONG);
        let op = Conv2dWeightGrad { options, kernel: [kh, kw] };
        TORCH.near(&format!("conv.{name}.dw"), &x.as_any().apply(op, &[dy.as_any()]), LONG);
    }
}

#[test]
fn pooling() {
    let x = TORCH.get("pool.x");
    let (max, index) = module::max_pool2d_with_indices(&x, [3, 2], [2, 1], [1, 1], [1, 1], false);
    TORCH.same("pool.max", max.as_any());
    index.into_data().assert_eq(TORCH.data("pool.max.index"), false);
    for (name, include) in [("pool.avg.True", true), ("pool.avg.False", false)] {
        let mean = module::avg_pool2d(&x, [3, 2], [2, 1], [1, 1], include, false);
        TORCH.near(name, mean.as_any(), SHORT);
    }
}

#[test]
fn normalisation() {
    let x = TORCH.any("norm.x");
    let affine =
        Some((&TORCH.any("norm.w"), &TORCH.any("norm.b"))).map(|(w, b)| (w.clone(), b.clone()));
    let affine = affine.as_ref().map(|(w, b)| (w, b));
    TORCH.near("norm.layer", &module::layer_norm_any(&x, &[6].into(), affine, 1e-5), SHORT);
    TORCH.near("norm.layer.plain", &module::layer_norm_any(&x, &[3, 6].into(), None, 1e-3), SHORT);
    let affine = [TORCH.any("norm.batch.w"), TORCH.any("norm.batch.b")];
    let y = x.apply(BatchNorm { epsilon: 1e-5 }, &[&affine[0], &affine[1]]);
    TORCH.near("norm.batch", &y, SHORT);
}

#[test]
fn softmax_at_its_edges_and_cross_entropy() {
    let x = TORCH.get::<2, _>("softmax.x");
    for dim in [0, 1] {
        TORCH.near(&format!("softmax.{dim}"), activation::softmax(&x, dim).as_any(), SHORT);
        TORCH.near(&format!("log_softmax.{dim}"), activation::log_softmax(&x, dim).as_any(), SHORT);
    }
    let losses = module::cross_entropy(TORCH.get("loss.x"), TORCH.get("loss.targets"));
    TORCH.near("loss.y", losses.as_any(), SHORT);
}

#[test]
fn functions_of_each_element() {
    use UnaryKind::*;
    let x = TORCH.any("unary.x");
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
        TORCH.near(&format!("unary.{name}"), &x.unary(kind), SHORT);
    }
}

#[test]
fn picking_by_index() {
    let table = TORCH.get::<2, _>("embedding.table");
    let rows: Tensor<3> = module::embedding(&table, &TORCH.get::<2, Int>("embedding.index"));
    TORCH.same("embedding.y", rows.as_any());
    TORCH.same("gather.y", table.gather(0, TORCH.get::<2, Int>("gather.index")).as_any());
}

#[test]
fn batched_products() {
    TORCH.near("matmul.y", &TORCH.any("matmul.a").matmul(&TORCH.any("matmul.b")), LONG);
}

#[test]
fn reductions() {
    let x = TORCH.get::<3, _>("reduce.x");
    for dim in 0..3 {
        let name = |name: &str| format!("reduce.{name}.{dim}");
        TORCH.near(&name("sum"), x.sum_dim(dim).as_any(), SHORT);
        TORCH.near(&name("mean"), x.mean_dim(dim).as_any(), SHORT);
        TORCH.near(&name("var"), x.var(dim).as_any(), SHORT);
        TORCH.near(&name("prod"), x.prod_dim(dim).as_any(), SHORT);
        TORCH.same(&name("max"), x.max_dim(dim).as_any());
        TORCH.same(&name("argmax"), x.argmax(dim).as_any());
        TORCH.same(&name("argmin"), x.argmin(dim).as_any());
    }
    TORCH.near("reduce.var_bias.1", x.var_bias(1).as_any(), SHORT);
    TORCH.near(
        "reduce.long.sum",
        TORCH.get::<1, kiln_tensor::Float>("reduce.long").sum().as_any(),
        SHORT,
    );
}

#[test]
fn nan_infinities_and_signs() {
    let (a, b) = (TORCH.get::<1, Float>("special.a"), TORCH.get::<1, _>("special.b"));
    TORCH.same("special.max", a.max_pair(&b).as_any());
    TORCH.same("special.min", a.min_pair(&b).as_any());
    TORCH.same("special.remainder", a.remainder(&b).as_any());
    TORCH.near("special.pow", a.powf(&b).as_any(), SHORT);
    let x = TORCH.get::<1, _>("special.x");
    TORCH.same("special.relu", activation::relu(&x).as_any());
    TORCH.same("special.clamp", x.clamp(-1, 1).as_any());
    let rows = TORCH.get::<2, kiln_tensor::Float>("special.rows");
    TORCH.same("special.argmax", rows.argmax(1).as_any());
    TORCH.same("special.row_max", rows.max_dim(1).as_any());
}

#[test]
fn quotients_and_remainders_of_negative_numbers() {
    let (a, b) = (TORCH.get::<1, Int>("int.a"), TORCH.get::<1, Int>("int.b"));
    TORCH.same("int.remainder", (&a % &b).as_any());
    TORCH.same("int.div", (&a / &b).as_any());
    let (a, b) = (TORCH.get::<1, kiln_tensor::Float>("float.a"), TORCH.get("float.b"));
    TORCH.near("float.remainder", a.remainder(b).as_any(), SHORT);
}

/// Runs two updates, in place and as a function, and compares parameter and state after each.
fn optimizer(name: &str, states: &[&str], op: impl Fn(u64) -> Op) {
    let mut param = TORCH.any(&format!("{name}.0"));
    let mut state: Vec<AnyTensor> = states.iter().map(|_| param.zeros_like()).collect();
    for step in [1, 2] {
        let (op, grad) = (op(step), TORCH.any(&format!("{name}.grad.{step}")));
        let inputs: Vec<&AnyTensor> = [&grad, &param].into_iter().chain(&state).collect();
        let fresh = apply(&op, &inputs).unwrap();
        let mut targets: Vec<&mut AnyTensor> = vec![&mut param];
        targets.extend(&mut state);
        update(&op, &grad, &mut targets).unwrap();
        TORCH.near(&format!("{name}.{step}"), &param, SHORT);
        assert_eq!(fresh[0].to_data(), param.to_data(), "in place and fresh");
        for ((key, value), fresh) in states.iter().zip(&state).zip(&fresh[1..]) {
            TORCH.near(&format!("{name}.{key}.{step}"), value, SHORT);
            assert_eq!(fresh.to_data(), value.to_data(), "in place and fresh");
        }
    }
}

#[test]
fn optimizer_updates() {
    let sgd = |rule: SgdRule| Update { penalty: 0.01, ..Update::new(Rule::Sgd(rule)) };
    optimizer("sgd", &[], |_| sgd(SgdRule::new(0.1)).into());
    let momentum = SgdRule { momentum: 0.9, ..SgdRule::new(0.1) };
    optimizer("momentum", &["momentum_buffer"], |step| {
        sgd(SgdRule { dampening: 0.5, first: step == 1, ..momentum }).into()
    });
    optimizer("nesterov", &["momentum_buffer"], |step| {
        let rule = SgdRule { nesterov: true, first: step == 1, ..momentum };
        Update::new(Rule::Sgd(rule)).into()
    });
    let states = ["exp_avg", "exp_avg_sq"];
    let adam = |step| Update::new(Rule::Adam(AdamRule::new(0.01, 0.9, 0.999, 1e-8, step)));
    optimizer("adam", &states, |step| Update { penalty: 0.1, ..adam(step) }.into());
    optimizer("adamw", &states, |step| Update { shrink: 1.0 - 0.01 * 0.1, ..adam(step) }.into());
}
