//! Activations.

use kiln_nn::{
    CeluConfig, EluConfig, GeGluConfig, Gelu, Glu, HardShrinkConfig, HardSigmoidConfig, HardSwish,
    HardTanhConfig, Layer, LeakyReluConfig, LogSigmoid, LogSoftmax, Mish, Module, PReluConfig,
    RReluConfig, Relu, Relu6, Selu, ShrinkConfig, Sigmoid, Silu, SoftShrinkConfig, Softmax,
    Softmax2d, Softmin, SoftplusConfig, Softsign, SwiGluConfig, Tanh, TanhShrink, ThresholdConfig,
    ThresholdedReluConfig,
};
use kiln_tensor::Tensor;

use super::{boxed, cpu};

#[test]
fn activations() {
    let mut rrelu = RReluConfig::new().with_lower(0.1).with_upper(0.4).init();
    rrelu.eval();
    let soft = SoftplusConfig::new().with_beta(2.0).with_threshold(5.0);
    let hard = HardTanhConfig::new().with_min_val(-2.0).with_max_val(0.5);
    let cases: Vec<(&str, Box<dyn Layer>)> = vec![
        ("relu", Box::new(Relu::new())),
        ("relu6", Box::new(Relu6::new())),
        ("leakyrelu", Box::new(LeakyReluConfig::new().init())),
        ("leakyrelu.options", Box::new(LeakyReluConfig::new().with_negative_slope(0.2).init())),
        ("prelu", Box::new(PReluConfig::new().init(&cpu()))),
        ("prelu.options", Box::new(PReluConfig::new().with_num_parameters(3).init(&cpu()))),
        ("rrelu", Box::new(rrelu)),
        ("elu", Box::new(EluConfig::new().init())),
        ("elu.options", Box::new(EluConfig::new().with_alpha(0.7).init())),
        ("selu", Box::new(Selu::new())),
        ("celu", Box::new(CeluConfig::new().init())),
        ("celu.options", Box::new(CeluConfig::new().with_alpha(1.7).init())),
        ("gelu", Box::new(Gelu::new())),
        ("gelu.options", Box::new(Gelu::new_approximate())),
        ("silu", Box::new(Silu::new())),
        ("mish", Box::new(Mish::new())),
        ("sigmoid", Box::new(Sigmoid::new())),
        ("logsigmoid", Box::new(LogSigmoid::new())),
        ("hardsigmoid", Box::new(HardSigmoidConfig::new().init())),
        ("hardswish", Box::new(HardSwish::new())),
        ("hardtanh", Box::new(HardTanhConfig::new().init())),
        ("hardtanh.options", Box::new(hard.init())),
        ("hardshrink", Box::new(HardShrinkConfig::new().init())),
        ("hardshrink.options", Box::new(HardShrinkConfig::new().with_lambda(1.5).init())),
        ("softshrink", Box::new(SoftShrinkConfig::new().init())),
        ("softshrink.options", Box::new(SoftShrinkConfig::new().with_lambda(1.5).init())),
        ("tanhshrink", Box::new(TanhShrink::new())),
        ("softplus", Box::new(SoftplusConfig::new().init())),
        ("softplus.options", Box::new(soft.init())),
        ("softsign", Box::new(Softsign::new())),
        ("softmax", Box::new(Softmax::new(1))),
        ("logsoftmax", Box::new(LogSoftmax::new(-1))),
        ("softmin", Box::new(Softmin::new(0))),
        ("tanh", Box::new(Tanh::new())),
        ("threshold", Box::new(ThresholdConfig::new(0.3, -2.0).init())),
        ("softmax2d", Box::new(Softmax2d::new())),
        ("glu", Box::new(Glu::new(-1))),
        ("glu.dim", Box::new(Glu::new(1))),
        ("swiglu", Box::new(SwiGluConfig::new(4, 6).with_bias(true).init(&cpu()))),
        ("geglu", Box::new(GeGluConfig::new(4, 6).with_bias(true).init(&cpu()))),
    ];
    for (name, activation) in cases {
        boxed(name, activation);
    }
}

#[test]
fn layers_of_onnx() {
    let x = Tensor::<1>::from([-2.0, -0.5, 0.5, 2.0]);
    let shrink = ShrinkConfig::new().with_lambda(1.0).with_bias(0.5).init();
    assert_eq!(shrink.forward(&x).to_vec::<f32>(), [-1.5, 0.0, 0.0, 1.5]);
    let thresholded = ThresholdedReluConfig::new().init();
    assert_eq!(thresholded.forward(&x).to_vec::<f32>(), [0.0, 0.0, 0.0, 2.0]);
}
