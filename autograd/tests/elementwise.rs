//! Gradients of activations, losses and other compositions: PyTorch's at the kinks (written by
//! `tensor/tests/fixtures/elementwise.py`), and finite differences elsewhere, of both orders.

use kiln_autograd::Autograd;
use kiln_autograd::check::Check;
use kiln_tensor::{AnyTensor, DType, Device, Outputs, Tensor, TensorData, activation, loss};
use safetensors::SafeTensors;

type Function = fn(&Tensor<1>) -> Tensor<1>;

const ACTIVATIONS: [(&str, Function); 23] = [
    ("leaky_relu", |x| activation::leaky_relu(x, 0.1)),
    ("relu6", |x| activation::relu6(x)),
    ("hardtanh", |x| activation::hardtanh(x, -0.5, 1.25)),
    ("hard_sigmoid", |x| activation::hard_sigmoid(x, 1.0 / 6.0, 0.5)),
    ("hard_swish", |x| activation::hard_swish(x)),
    ("hard_shrink", |x| activation::hard_shrink(x, 0.5)),
    ("soft_shrink", |x| activation::soft_shrink(x, 0.5)),
    ("tanhshrink", |x| activation::tanhshrink(x)),
    ("threshold", |x| activation::threshold(x, 1.0, 20.0)),
    ("elu", |x| activation::elu(x, 1.5)),
    ("celu", |x| activation::celu(x, 1.5)),
    ("selu", |x| activation::selu(x)),
    ("softplus", |x| activation::softplus(x, 1.0)),
    ("softplus_2", |x| activation::softplus(x, 2.0)),
    ("softsign", |x| activation::softsign(x)),
    ("mish", |x| activation::mish(x)),
    ("log_sigmoid", |x| activation::log_sigmoid(x)),
    ("silu", |x| activation::silu(x)),
    ("gelu", |x| activation::gelu(x)),
    ("gelu_approximate", |x| activation::gelu_approximate(x)),
    ("relu", |x| activation::relu(x)),
    ("abs", |x| x.abs()),
    ("clamp", |x| x.clamp(-0.5, 1.25)),
];

fn fixture(file: &SafeTensors<'_>, name: &str) -> Vec<f64> {
    let view = file.tensor(name).unwrap();
    let bytes = view.data();
    match view.dtype() {
        safetensors::Dtype::F32 => {
            bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect()
        }
        _ => bytes.chunks(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
    }
}

fn doubles(values: Vec<f64>) -> Tensor<1> {
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), (&Device::cpu(), DType::F64))
}

#[test]
fn gradients_at_kinks_are_those_of_pytorch() {
    let bytes = include_bytes!("../../tensor/tests/fixtures/elementwise.safetensors");
    let file = SafeTensors::deserialize(bytes).unwrap();
    for (name, f) in ACTIVATIONS {
        let mut values = fixture(&file, "act.x");
        if name.starts_with("softplus") {
            values.retain(|x| x.abs() < 300.0);
        }
        let x = doubles(values.clone()).require_grad();
        let gradient = x.grad(&f(&x).backward()).unwrap().to_data();
        let expected = fixture(&file, &format!("act.{name}.grad"));
        assert_eq!(expected.len(), values.len());
        for ((x, a), e) in values.iter().zip(gradient.iter::<f64>()).zip(expected) {
            // PyTorch has a constant of f32 in the gradient of some.
            let close = (a - e).abs() <= 1e-8 * e.abs().max(1.0) || (a.is_nan() && e.is_nan());
            assert!(close, "{name} at {x}: {a}, PyTorch {e}");
        }
    }
}

/// First- and second-order gradients of a function of tensors of these values.
fn check(name: &str, inputs: &[&[f64]], f: impl Fn(&[Tensor<1>]) -> Tensor<1>) {
    let inputs: Vec<AnyTensor> = inputs.iter().map(|x| doubles(x.to_vec()).into_any()).collect();
    let function = |inputs: &[AnyTensor]| {
        let inputs: Vec<Tensor<1>> = inputs.iter().cloned().map(Tensor::from_any).collect();
        Outputs::from_buf([f(&inputs).into_any()])
    };
    Check::default().first_order(&inputs, function).unwrap_or_else(|e| panic!("{name}: {e}"));
    Check::default().second_order(&inputs, function).unwrap_or_else(|e| panic!("{name}: {e}"));
}

#[test]
fn gradients_of_activations_follow_finite_differences() {
    let x = [-3.7, -1.9, -0.8, -0.3, 0.2, 0.7, 1.6, 4.2, 7.1];
    for (name, f) in ACTIVATIONS {
        check(name, &[&x], |x| f(&x[0]));
    }
    check("prelu", &[&x, &[0.3]], |x| activation::prelu(&x[0], &x[1]));
    check("glu", &[&x[..8]], |x| activation::glu(&x[0], 0));
    check("softmin", &[&x], |x| activation::softmin(&x[0], 0));
    check("quiet_softmax", &[&x], |x| activation::quiet_softmax(&x[0], 0));
    check("logsumexp", &[&x], |x| x[0].logsumexp(0));
}

#[test]
fn gradients_of_compositions_follow_finite_differences() {
    let (unit, any, other) = ([0.2, 0.5, 0.8], [-1.3, 0.4, 2.2], [0.7, -0.6, 1.1]);
    check("logit", &[&unit], |x| x[0].logit(None));
    // Zero is a removable singularity: all derivatives exist.
    check("sinc", &[&[-1.4, -0.05, 0.0, 1e-3, 0.4, 2.3]], |x| x[0].sinc());
    check("frac", &[&any], |x| x[0].frac());
    check("xlogy", &[&any, &unit], |x| x[0].xlogy(&x[1]));
    check("lerp", &[&any, &other, &unit], |x| x[0].lerp(&x[1], &x[2]));
    check("addcmul", &[&any, &other, &unit], |x| x[0].addcmul(&x[1], &x[2], 0.5));
    check("addcdiv", &[&any, &other, &unit], |x| x[0].addcdiv(&x[1], &x[2], 0.5));
    check("nan_to_num", &[&any], |x| x[0].nan_to_num(0.0, None, None));
    check("powi", &[&any], |x| x[0].powi(Tensor::from([3i64, -2, 2])));
    check("copysign", &[&any, &other], |x| x[0].copysign(&x[1]));
    check("polygamma", &[&[-0.4, 0.7, 3.0]], |x| x[0].polygamma(4));
    // Equal operands are no kink.
    check("logaddexp", &[&any, &any], |x| x[0].logaddexp(&x[1]));
}

#[test]
fn gradients_of_losses_follow_finite_differences() {
    let (x, t, unit) = ([-1.3, 0.4, 2.2], [0.7, 0.6, 1.1], [0.2, 0.5, 0.8]);
    check("mse", &[&x, &t], |x| loss::mse(&x[0], &x[1]));
    check("l1", &[&x, &t], |x| loss::l1(&x[0], &x[1]));
    check("huber", &[&x, &t], |x| loss::huber(&x[0], &x[1], 0.5));
    check("smooth_l1", &[&x, &t], |x| loss::smooth_l1(&x[0], &x[1], 0.5));
    check("bce", &[&unit, &t], |x| loss::bce(&x[0], &x[1]));
    check("bce_with_logits", &[&x, &unit], |x| loss::bce_with_logits(&x[0], &x[1]));
    check("kl_div", &[&x, &unit], |x| loss::kl_div(&x[0], &x[1]));
    check("cross_entropy", &[&x, &unit], |x| loss::cross_entropy_with_logits(&x[0], &x[1]));
}

#[test]
fn gradients_stay_finite_where_a_branch_is_not_taken() {
    let large = doubles(vec![1e4, -1e4, 0.0]);
    for (name, f) in ACTIVATIONS {
        let x = large.require_grad();
        let gradient = x.grad(&f(&x).backward()).unwrap();
        assert!(gradient.is_finite().all().item::<bool>(), "{name}: {gradient}");
    }
    let (x, y) = (doubles(vec![0.0, 0.0]).require_grad(), doubles(vec![0.0, 2.0]));
    let gradient = x.grad(&x.xlogy(&y).backward()).unwrap();
    gradient.to_data().assert_eq(&TensorData::from([0.0, 2f64.ln()]), false);
    let (p, t) = (doubles(vec![0.0, 1.0]).require_grad(), doubles(vec![0.0, 1.0]));
    let gradient = p.grad(&loss::bce(&p, t).backward()).unwrap();
    assert!(gradient.is_finite().all().item::<bool>(), "bce: {gradient}");
    let (x, y) = (doubles(vec![0.0]).require_grad(), doubles(vec![0.0]));
    assert_eq!(x.grad(&x.atan2(y).backward()).unwrap().item::<f64>(), 0.0);
}
