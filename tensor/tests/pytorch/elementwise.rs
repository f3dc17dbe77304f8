//! Functions of each element, activations and losses: `fixtures/elementwise.py`.

use kiln_tensor::op::BinaryKind;
use kiln_tensor::{AnyTensor, Bool, DType, Float, Int, Tensor, TensorData, activation, loss};

use crate::fixture::{Fixture, SHORT, load};

static TORCH: Fixture =
    Fixture::new(|| load(include_bytes!("../fixtures/elementwise.safetensors")));

/// Every element within `relative` of the expected one, or within `absolute` of it; infinities and
/// NaN in the same places.
#[track_caller]
fn close(name: &str, y: &AnyTensor, relative: f64, absolute: f64) {
    let (actual, expected) = (y.to_data().unwrap(), TORCH.data(name));
    assert_eq!(actual.dtype(), expected.dtype(), "{name}");
    assert_eq!(actual.shape(), expected.shape(), "{name}");
    for (i, (a, e)) in actual.iter::<f64>().zip(expected.iter::<f64>()).enumerate() {
        let near = (a - e).abs() <= (relative * e.abs()).max(absolute);
        assert!(a == e || near || (a.is_nan() && e.is_nan()), "{name}[{i}]: {a:e}, PyTorch {e:e}");
    }
}

/// How exactly a function is computed.
#[derive(Clone, Copy)]
enum Exact {
    /// f32 within 2 units in the last place, f64 within 4.
    Kernel,
    /// As [`Exact::Kernel`], where nothing cancels; in f64 within 40 units.
    Special,
    /// A composition, which rounds between its parts.
    Composed,
}

/// `f` in f32 and f64 against what PyTorch computes in f64.
#[track_caller]
fn both(name: &str, inputs: &[&str], exact: Exact, f: impl Fn(&[AnyTensor]) -> AnyTensor) {
    for dtype in [DType::F32, DType::F64] {
        let inputs: Vec<_> = inputs.iter().map(|x| TORCH.any(x).cast(dtype)).collect();
        let (unit, least) = match dtype {
            DType::F32 => (f64::from(f32::EPSILON), f64::from(f32::MIN_POSITIVE)),
            _ => (f64::EPSILON, 1e-300),
        };
        let (relative, absolute) = match exact {
            Exact::Kernel if dtype == DType::F64 => (4.0 * unit, least),
            Exact::Special if dtype == DType::F64 => (40.0 * unit, 10.0 * unit),
            Exact::Kernel | Exact::Special => (2.0 * unit, least),
            Exact::Composed => (8.0 * unit, 8.0 * unit),
        };
        close(&format!("{name}.{dtype}"), &f(&inputs), relative, absolute);
    }
}

#[test]
fn functions_of_one_element() {
    for (name, f) in [
        ("exp2", AnyTensor::exp2 as fn(&AnyTensor) -> AnyTensor),
        ("atan", AnyTensor::atan),
        ("sinh", AnyTensor::sinh),
        ("cosh", AnyTensor::cosh),
        ("asinh", AnyTensor::asinh),
        ("acosh", AnyTensor::acosh),
        ("erfc", AnyTensor::erfc),
        ("frac", AnyTensor::frac),
        ("sign", AnyTensor::sign),
        ("deg2rad", |x| x.mul_scalar(std::f64::consts::PI / 180.0)),
        ("rad2deg", |x| x.mul_scalar(180.0 / std::f64::consts::PI)),
    ] {
        both(name, &["x"], Exact::Kernel, |x| f(&x[0]));
    }
    for (name, f) in [
        ("asin", AnyTensor::asin as fn(&AnyTensor) -> AnyTensor),
        ("acos", AnyTensor::acos),
        ("atanh", AnyTensor::atanh),
        ("erfinv", AnyTensor::erfinv),
    ] {
        both(name, &["unit"], Exact::Kernel, |x| f(&x[0]));
    }
}

#[test]
fn functions_that_cancel_near_their_zeros() {
    both("logit", &["unit"], Exact::Composed, |x| x[0].logit(None));
    both("logit_eps", &["unit"], Exact::Composed, |x| x[0].logit(Some(0.125)));
    both("sinc", &["sinc.x"], Exact::Composed, |x| x[0].sinc());
    both("lgamma", &["gamma.finite"], Exact::Special, |x| x[0].lgamma());
    both("digamma", &["gamma.finite"], Exact::Special, |x| x[0].digamma());
}

#[test]
fn gamma_functions_at_their_poles() {
    let x = ints_and_infinities();
    close("lgamma.edges", &x.lgamma(), 0.0, 0.0);
    close("digamma.edges", &x.digamma(), 0.0, 0.0);
}

fn ints_and_infinities() -> AnyTensor {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    Tensor::<1>::from([0.0f32, -0.0, -1.0, -2.0, inf, -inf, nan]).into_any()
}

#[test]
fn derivatives_of_digamma() {
    for order in [1, 2, 3, 7, 40] {
        let name = format!("polygamma.{order}");
        both(&name, &["gamma.positive"], Exact::Special, |x| x[0].polygamma(order));
    }
    for order in [1, 2, 3] {
        let name = format!("polygamma.{order}.negative");
        both(&name, &["gamma.negative"], Exact::Special, |x| x[0].polygamma(order));
    }
}

#[test]
fn masks_of_special_values() {
    let x = TORCH.get::<1, Float>("x");
    TORCH.same("isnan.f64", x.is_nan().as_any());
    TORCH.same("isinf.f64", x.is_inf().as_any());
    TORCH.same("isfinite.f64", x.is_finite().as_any());
    TORCH.same("nan_to_num.default", x.nan_to_num(0.0, None, None).as_any());
    TORCH.same("nan_to_num.given", x.nan_to_num(7.0, Some(8.0), Some(9.0)).as_any());
    let (a, b) = (TORCH.get::<1, Float>("a"), TORCH.get::<1, Float>("b"));
    TORCH.same("isclose.f64", a.is_close(b, None, None).as_any());
}

#[test]
fn functions_of_two_elements() {
    use BinaryKind::*;
    for (name, kind) in [("atan2", Atan2), ("hypot", Hypot), ("fmod", Fmod), ("copysign", CopySign)]
    {
        both(name, &["a", "b"], Exact::Kernel, |x| x[0].binary(kind, &x[1]));
    }
    both("logaddexp", &["a", "b"], Exact::Composed, |x| x[0].binary(LogAddExp, &x[1]));
    both("xlogy", &["a", "b"], Exact::Kernel, |x| x[0].xlogy(&x[1]));
    both("heaviside", &["a", "b"], Exact::Kernel, |x| x[0].heaviside(&x[1]));
    for dtype in [DType::F32, DType::F64] {
        let [a, b] = ["a", "b"].map(|x| TORCH.any(x).cast(dtype));
        close(&format!("floor_divide.{dtype}"), &a.binary(FloorDiv, &b), 0.0, 0.0);
    }
    let ends = ["lerp.start", "lerp.end", "lerp.weight"];
    both("lerp", &ends, Exact::Composed, |x| x[0].lerp(&x[1], &x[2]));
    both("lerp.0.3", &ends, Exact::Composed, |x| x[0].lerp_scalar(&x[1], 0.3));
    both("lerp.0.7", &ends, Exact::Composed, |x| x[0].lerp_scalar(&x[1], 0.7));
    both("addcmul", &ends, Exact::Composed, |x| {
        typed(&x[0]).addcmul(typed(&x[1]), typed(&x[2]), 0.5).into_any()
    });
    both("addcdiv", &ends, Exact::Composed, |x| {
        typed(&x[0]).addcdiv(typed(&x[1]), typed(&x[2]), 0.5).into_any()
    });
    both("logsumexp", &["rows"], Exact::Composed, |x| x[0].logsumexp(1));
}

fn typed(x: &AnyTensor) -> Tensor<1> {
    Tensor::from_any(x.clone())
}

#[test]
fn integers_of_every_width() {
    for dtype in ["i64", "i32", "u8"] {
        let int = |name: &str| TORCH.get::<1, Int>(&format!("int.{name}.{dtype}"));
        let same = |name: &str, y: Tensor<1, Int>| {
            TORCH.same(&format!("int.{name}.{dtype}"), y.as_any());
        };
        let (a, b) = (int("a"), int("b"));
        same("fmod", a.fmod(&b));
        same("floor_divide", a.floor_divide(&b));
        same("remainder", &a % &b);
        same("sign", a.sign());
        same("abs", a.abs());
        same("square", a.square());
        same("neg", -&a);
        let (c, shift) = (int("c"), int("shift"));
        same("left", c.bitwise_left_shift(&shift));
        same("right", &c >> &shift);
    }
    let (a, b) = (TORCH.get::<1, Int>("pow.a"), TORCH.get::<1, Int>("pow.b"));
    TORCH.same("pow.y", a.powi(b).as_any());
}

#[test]
fn integers_compared_with_any_float() {
    let x = TORCH.get::<1, Int>("compare.x");
    for (limit, name) in [
        (2.5, "2.5"),
        (-7.0, "-7.0"),
        (1e30, "1e+30"),
        (-1e30, "-1e+30"),
        (f64::NAN, "nan"),
        (f64::INFINITY, "inf"),
    ] {
        let same = |function: &str, y: Tensor<1, Bool>| {
            TORCH.same(&format!("compare.{function}.{name}"), y.as_any());
        };
        same("lt", x.lower_elem(limit));
        same("le", x.lower_equal_elem(limit));
        same("gt", x.greater_elem(limit));
        same("ge", x.greater_equal_elem(limit));
        same("eq", x.equal_elem(limit));
        same("ne", x.not_equal_elem(limit));
    }
}

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

#[test]
fn activations() {
    let all = TORCH.get::<1, Float>("act.x");
    for (name, f) in ACTIVATIONS {
        let x = if name.starts_with("softplus") {
            let kept = all.to_data().iter::<f64>().filter(|x| x.abs() < 300.0).collect::<Vec<_>>();
            let n = kept.len();
            Tensor::from_data(TensorData::new(kept, [n]), (&all.device(), DType::F32))
        } else {
            all.clone()
        };
        let wide = Tensor::from_any(x.as_any().cast(DType::F64));
        close(&format!("act.{name}.f64"), f(&wide).as_any(), 1e-13, 1e-14);
        // What is composed rounds between its parts.
        close(&format!("act.{name}.f32"), f(&x).as_any(), 8e-7, 4e-7);
        // PyTorch multiplies minus infinity by zero; here these have their limit.
        if !["silu", "gelu", "gelu_approximate"].contains(&name) {
            let y = f(&TORCH.get("act.extreme"));
            close(&format!("act.{name}.extreme"), y.as_any(), 1e-6, 0.0);
        }
    }
}

#[test]
fn activations_with_parameters_or_an_axis() {
    let x = TORCH.get::<3, Float>("prelu.x");
    let slopes = TORCH.get::<1, Float>("prelu.w");
    TORCH.near("prelu.3", activation::prelu(&x, &slopes).as_any(), SHORT);
    TORCH.near("prelu.1", activation::prelu(&x, slopes.slice(0..1)).as_any(), SHORT);
    let x = TORCH.get::<2, Float>("glu.x");
    TORCH.near("glu.0", activation::glu(&x, 0).as_any(), SHORT);
    TORCH.near("glu.1", activation::glu(&x, -1).as_any(), SHORT);
    TORCH.near("softmin.1", activation::softmin(&x, 1).as_any(), SHORT);
    TORCH.near("quiet_softmax.1", activation::quiet_softmax(&x, -1).as_any(), SHORT);
}

#[test]
fn losses_of_each_element() {
    let (x, t) = (TORCH.get::<1, Float>("loss.x"), TORCH.get::<1, Float>("loss.t"));
    TORCH.near("loss.mse", loss::mse(&x, &t).as_any(), SHORT);
    TORCH.near("loss.l1", loss::l1(&x, &t).as_any(), SHORT);
    TORCH.near("loss.smooth_l1", loss::smooth_l1(&x, &t, 0.5).as_any(), SHORT);
    TORCH.near("loss.huber", loss::huber(&x, &t, 0.5).as_any(), SHORT);
    TORCH.near("loss.bce_with_logits", loss::bce_with_logits(&x, &t).as_any(), SHORT);
    TORCH.near("loss.kl_div", loss::kl_div(&x, &t).as_any(), SHORT);
    let (p, u) = (TORCH.get::<1, Float>("loss.p"), TORCH.get::<1, Float>("loss.u"));
    TORCH.near("loss.bce", loss::bce(p, u).as_any(), SHORT);
    let (logits, probs) = (TORCH.get::<2, Float>("loss.logits"), TORCH.get("loss.probs"));
    let y = loss::cross_entropy_with_logits(logits, probs);
    TORCH.near("loss.cross_entropy", y.as_any(), SHORT);
}

#[test]
fn halves_are_rounded_once() {
    for dtype in ["f16", "bf16"] {
        let x = TORCH.any(&format!("half.x.{dtype}"));
        for (name, f) in [
            ("asinh", AnyTensor::asinh as fn(&AnyTensor) -> AnyTensor),
            ("atan", AnyTensor::atan),
            ("sinh", AnyTensor::sinh),
            ("erfc", AnyTensor::erfc),
            ("exp2", AnyTensor::exp2),
            ("digamma", AnyTensor::digamma),
        ] {
            TORCH.same(&format!("half.{name}.{dtype}"), &f(&x));
        }
    }
}
