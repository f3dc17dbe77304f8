//! The functions behind layers against PyTorch, value and gradient: `module.py` beside the fixture
//! of the tensor crate wrote both.

#[path = "../../tensor/tests/pytorch/fixture.rs"]
#[allow(dead_code)] // Shared: no test file uses all of it.
mod fixture;

use fixture::{Fixture, load};
use kiln_autograd::{Autograd, leaf};
use kiln_tensor::module::{
    AttentionMask, AttentionModuleOptions, ConvTransposeOptions, CrossEntropyOptions,
    DeformConvOptions, GridSampleOptions, GridSamplePaddingMode, InterpolateMode,
    InterpolateOptions, PaddedConvOptions, Reduction, UnfoldOptions,
};
use kiln_tensor::op::ConvOptions;
use kiln_tensor::{AnyTensor, Float, Int, Tensor, activation, module};

static TORCH: Fixture =
    Fixture::new(|| load(include_bytes!("../../tensor/tests/fixtures/module.safetensors")));

const NEAR: f64 = 1e-5;

/// Compares `function` of the inputs `name.input` with `name.y`, and its gradients with
/// `name.input.grad`.
#[track_caller]
fn check(name: &str, inputs: &[&str], function: impl Fn(&[AnyTensor]) -> AnyTensor) {
    let leaves: Vec<AnyTensor> =
        inputs.iter().map(|input| leaf(&TORCH.any(&format!("{name}.{input}")))).collect();
    let y = function(&leaves);
    TORCH.near(&format!("{name}.y"), &y, NEAR);
    let dy = TORCH.any(&format!("{name}.dy"));
    let total = Tensor::<1>::from_any(y.mul(&dy).reshape([y.num_elements()])).sum();
    let grads = total.backward();
    for (input, leaf) in inputs.iter().zip(&leaves) {
        let grad = grads.get(leaf).cloned().unwrap_or_else(|| leaf.detach().zeros_like());
        TORCH.near(&format!("{name}.{input}.grad"), &grad, NEAR);
    }
}

fn t<const D: usize>(x: &AnyTensor) -> Tensor<D> {
    Tensor::from_any(x.clone())
}

const XWB: [&str; 3] = ["x", "w", "b"];

#[test]
fn convolutions() {
    let conv1d = |options: ConvOptions<1>| {
        move |i: &[AnyTensor]| {
            module::conv1d(t(&i[0]), t(&i[1]), Some(t(&i[2])), options).into_any()
        }
    };
    check("conv1d.plain", &XWB, conv1d(ConvOptions::default()));
    check("conv1d.options", &XWB, conv1d(ConvOptions::new([2], [2], [2], 2)));
    let conv3d = |options: ConvOptions<3>| {
        move |i: &[AnyTensor]| {
            module::conv3d(t(&i[0]), t(&i[1]), Some(t(&i[2])), options).into_any()
        }
    };
    check("conv3d.plain", &XWB, conv3d(ConvOptions::default()));
    let options = ConvOptions::new([2, 1, 2], [1, 0, 2], [2, 1, 2], 2);
    check("conv3d.options", &XWB, conv3d(options));
    let options = PaddedConvOptions::asymmetric([1, 2], [1, 2], [3, 0], [1, 1], 1);
    check("conv2d.asymmetric", &XWB, |i| {
        module::conv2d(t(&i[0]), t(&i[1]), Some(t(&i[2])), options).into_any()
    });
}

#[test]
fn transposed_convolutions() {
    fn new<const N: usize>(
        stride: [usize; N],
        padding: [usize; N],
        padding_out: [usize; N],
        groups: usize,
        dilation: [usize; N],
    ) -> ConvTransposeOptions<N> {
        ConvTransposeOptions::new(stride, padding, padding_out, dilation, groups)
    }
    for (name, options) in [
        ("plain", ConvTransposeOptions::default()),
        ("options", new([3], [1], [2], 2, [2])),
        ("dilation", new([1], [1], [2], 1, [3])),
    ] {
        check(&format!("conv_transpose1d.{name}"), &XWB, |i| {
            module::conv_transpose1d(t(&i[0]), t(&i[1]), Some(t(&i[2])), options).into_any()
        });
    }
    for (name, options) in [
        ("options", new([2, 1], [1, 0], [1, 0], 2, [1, 2])),
        ("dilation", new([1, 2], [0, 1], [2, 1], 1, [3, 2])),
    ] {
        check(&format!("conv_transpose2d.{name}"), &XWB, |i| {
            module::conv_transpose2d(t(&i[0]), t(&i[1]), Some(t(&i[2])), options).into_any()
        });
    }
    for (name, options) in [
        ("plain", ConvTransposeOptions::default()),
        ("options", new([2, 1, 2], [1, 0, 1], [1, 0, 1], 2, [1, 2, 1])),
        ("dilation", new([1, 1, 1], [1, 0, 0], [2, 0, 0], 1, [3, 1, 1])),
    ] {
        check(&format!("conv_transpose3d.{name}"), &XWB, |i| {
            module::conv_transpose3d(t(&i[0]), t(&i[1]), Some(t(&i[2])), options).into_any()
        });
    }
}

#[test]
fn deformable_convolution() {
    for (name, options) in [
        ("plain", DeformConvOptions::new([1, 1], [0, 0], [1, 1], 1, 1)),
        ("options", DeformConvOptions::new([2, 1], [1, 2], [1, 2], 2, 2)),
    ] {
        check(&format!("deform.{name}"), &["x", "offset", "w", "mask", "b"], |i| {
            let (mask, bias) = (Some(t(&i[3])), Some(t(&i[4])));
            module::deform_conv2d(t(&i[0]), t(&i[1]), t(&i[2]), mask, bias, options).into_any()
        });
    }
}

#[test]
fn pooling() {
    for (name, ceil) in [("False", false), ("True", true)] {
        check(&format!("max_pool1d.{name}"), &["x"], |i| {
            module::max_pool1d(t(&i[0]), 3, 2, 1, 2, ceil).into_any()
        });
        check(&format!("max_pool2d.{name}"), &["x"], |i| {
            module::max_pool2d(t(&i[0]), [3, 2], [2, 3], [1, 1], [2, 3], ceil).into_any()
        });
        let (kernel, stride, padding) = ([2, 3, 2], [2, 2, 3], [1, 1, 0]);
        check(&format!("max_pool3d.{name}"), &["x"], |i| {
            module::max_pool3d(t(&i[0]), kernel, stride, padding, [1, 2, 3], ceil).into_any()
        });
        for (count, include) in [("False", false), ("True", true)] {
            check(&format!("avg_pool1d.{name}.{count}"), &["x"], |i| {
                module::avg_pool1d(t(&i[0]), 3, 2, 1, include, ceil).into_any()
            });
            check(&format!("avg_pool2d.{name}.{count}"), &["x"], |i| {
                module::avg_pool2d(t(&i[0]), [3, 2], [2, 3], [1, 1], include, ceil).into_any()
            });
            check(&format!("avg_pool3d.{name}.{count}"), &["x"], |i| {
                module::avg_pool3d(t(&i[0]), kernel, stride, padding, include, ceil).into_any()
            });
        }
    }
    check("lp_pool1d", &["x"], |i| module::lp_pool1d(t(&i[0]), 2.0, 3, 2, true).into_any());
    check("lp_pool2d", &["x"], |i| {
        module::lp_pool2d(t(&i[0]), 3.0, [2, 3], [1, 2], false).into_any()
    });
}

#[test]
fn adaptive_pooling() {
    for (name, size) in [("1d", 4), ("1d_one", 1)] {
        let x = |i: &[AnyTensor]| t::<3>(&i[0]);
        check(&format!("adaptive_avg.{name}"), &["x"], |i| {
            module::adaptive_avg_pool1d(x(i), size).into_any()
        });
        check(&format!("adaptive_max.{name}"), &["x"], |i| {
            module::adaptive_max_pool1d(x(i), size).into_any()
        });
    }
    for (name, size) in [("2d", [3, 7]), ("2d_up", [5, 6])] {
        let x = |i: &[AnyTensor]| t::<4>(&i[0]);
        check(&format!("adaptive_avg.{name}"), &["x"], |i| {
            module::adaptive_avg_pool2d(x(i), size).into_any()
        });
        check(&format!("adaptive_max.{name}"), &["x"], |i| {
            module::adaptive_max_pool2d(x(i), size).into_any()
        });
    }
    let size = [2, 3, 4];
    check("adaptive_avg.3d", &["x"], |i| module::adaptive_avg_pool3d(t(&i[0]), size).into_any());
    check("adaptive_max.3d", &["x"], |i| module::adaptive_max_pool3d(t(&i[0]), size).into_any());
}

#[test]
fn windows_and_pixels() {
    let options = UnfoldOptions::new([2, 1], [1, 2], [1, 2]);
    check("unfold", &["x"], |i| module::unfold4d(t(&i[0]), [2, 3], options).into_any());
    check("fold", &["x"], |i| module::fold4d(t(&i[0]), [5, 6], [2, 3], options).into_any());
    check("pixel_shuffle", &["x"], |i| module::pixel_shuffle(t(&i[0]), 2).into_any());
    check("pixel_unshuffle", &["x"], |i| module::pixel_unshuffle(t(&i[0]), 2).into_any());
}

#[test]
fn interpolation() {
    use InterpolateMode::*;
    for (name, mode) in [("nearest", Nearest), ("nearest-exact", NearestExact)] {
        check(&format!("interpolate.{name}.2"), &["x"], |i| {
            module::interpolate(t(&i[0]), [8, 3], InterpolateOptions::new(mode)).into_any()
        });
    }
    let options = InterpolateOptions::new(Nearest);
    check("interpolate.nearest.1", &["x"], |i| {
        module::interpolate1d(t(&i[0]), 13, options).into_any()
    });
    check("interpolate.nearest.3", &["x"], |i| {
        module::interpolate3d(t(&i[0]), [4, 2, 5], options).into_any()
    });
    for (name, align) in [("False", false), ("True", true)] {
        let linear = InterpolateOptions::new(Bilinear).with_align_corners(align);
        check(&format!("interpolate.linear.{name}"), &["x"], |i| {
            module::interpolate1d(t(&i[0]), 8, linear).into_any()
        });
        check(&format!("interpolate.trilinear.{name}"), &["x"], |i| {
            module::interpolate3d(t(&i[0]), [4, 2, 5], linear).into_any()
        });
        for (mode, options) in [
            ("bilinear", linear),
            ("bicubic", InterpolateOptions::new(Bicubic).with_align_corners(align)),
        ] {
            check(&format!("interpolate.{mode}.{name}"), &["x"], |i| {
                module::interpolate(t(&i[0]), [8, 3], options).into_any()
            });
        }
    }
}

#[test]
fn sampling_by_a_grid() {
    for (mode_name, mode) in [
        ("bilinear", InterpolateMode::Bilinear),
        ("nearest", InterpolateMode::Nearest),
        ("bicubic", InterpolateMode::Bicubic),
    ] {
        for (padding_name, padding) in [
            ("zeros", GridSamplePaddingMode::Zeros),
            ("border", GridSamplePaddingMode::Border),
            ("reflection", GridSamplePaddingMode::Reflection),
        ] {
            for (name, align) in [("False", false), ("True", true)] {
                let options = GridSampleOptions::new(mode)
                    .with_padding_mode(padding)
                    .with_align_corners(align);
                let name = format!("{mode_name}.{padding_name}.{name}");
                check(&format!("grid2.{name}"), &["x", "grid"], |i| {
                    t::<4>(&i[0]).grid_sample_2d(t::<4>(&i[1]), options).into_any()
                });
                if mode != InterpolateMode::Bicubic {
                    check(&format!("grid3.{name}"), &["x", "grid"], |i| {
                        t::<5>(&i[0]).grid_sample_3d(t::<5>(&i[1]), options).into_any()
                    });
                }
            }
        }
    }
}

#[test]
fn attention() {
    let attend = |mask: Option<AttentionMask>, causal, scale| {
        move |i: &[AnyTensor]| {
            let (q, k, v) = (t(&i[0]), t(&i[1]), t(&i[2]));
            module::scaled_dot_product_attention(q, k, v, mask.clone(), 0.0, causal, scale)
                .into_any()
        }
    };
    const QKV: [&str; 3] = ["q", "k", "v"];
    check("attention.plain", &QKV, attend(None, false, None));
    check("attention.groups", &QKV, attend(None, false, None));
    check("attention.causal", &QKV, attend(None, true, Some(0.3)));
    let keep = AttentionMask::Keep(TORCH.get("attention.keep.mask"));
    check("attention.keep", &QKV, attend(Some(keep), false, None));
    let add = AttentionMask::Add(TORCH.get("attention.add.mask"));
    check("attention.add", &QKV, attend(Some(add), false, None));
    check("attention.all", &QKV, |i| {
        let (mask, bias) = (TORCH.get("attention.all.mask"), TORCH.get("attention.all.bias"));
        let options =
            AttentionModuleOptions { scale: Some(0.4), softcap: Some(3.0), is_causal: true };
        module::attention(t(&i[0]), t(&i[1]), t(&i[2]), Some(mask), Some(bias), options).into_any()
    });
}

#[test]
fn normalisation() {
    check("norm.batch", &XWB, |i| {
        let y = module::batch_norm_training::<4>(t(&i[0]), t(&i[1]), t(&i[2]), 1e-5);
        TORCH.near("norm.batch.var", y.variance.as_any(), NEAR);
        y.output.into_any()
    });
    check("norm.eval", &XWB, |i| {
        let (mean, var) = (TORCH.get("norm.eval.mean"), TORCH.get("norm.eval.var"));
        module::batch_norm::<4>(t(&i[0]), t(&i[1]), t(&i[2]), mean, var, 1e-3).into_any()
    });
    check("norm.group", &XWB, |i| {
        module::group_norm::<4>(t(&i[0]), Some(t(&i[1])), Some(t(&i[2])), 2, 1e-5).into_any()
    });
    check("norm.instance", &XWB, |i| {
        module::instance_norm::<4>(t(&i[0]), Some(t(&i[1])), Some(t(&i[2])), 1e-5).into_any()
    });
    check("norm.layer", &XWB, |i| {
        module::layer_norm::<2>(t(&i[0]), t(&i[1]), Some(t(&i[2])), 1e-5).into_any()
    });
    check("norm.rms", &["x", "w"], |i| {
        module::rms_norm::<3>(t(&i[0]), Some(t(&i[1])), 1e-6).into_any()
    });
    check("norm.response", &["x"], |i| {
        module::local_response_norm::<3>(t(&i[0]), 3, 0.5, 0.75, 1.5).into_any()
    });
    check("norm.response_even", &["x"], |i| {
        module::local_response_norm::<3>(t(&i[0]), 4, 0.5, 0.75, 1.0).into_any()
    });
}

#[test]
fn connectionist_temporal_classification() {
    let loss = |x: &AnyTensor, reduction, zero| {
        let targets: Tensor<2, Int> = TORCH.get("ctc.targets");
        let lengths = |name: &str| TORCH.get::<1, Int>(name);
        let (inputs, lengths) = (lengths("ctc.inputs"), lengths("ctc.lengths"));
        let x = activation::log_softmax(t::<3>(x), 2);
        module::ctc_loss_reduced(x, targets, inputs, lengths, 0, reduction, zero)
    };
    for (name, reduction) in
        [("none", Reduction::None), ("mean", Reduction::Mean), ("sum", Reduction::Sum)]
    {
        check(&format!("ctc.zero.{name}"), &["x"], |i| loss(&i[0], reduction, true).into_any());
    }
    let x = leaf(&TORCH.any("ctc.x"));
    let losses = loss(&x, Reduction::None, false);
    TORCH.near("ctc.none.y", losses.as_any(), NEAR);
    // An infinite loss asks for nothing.
    let gradient = losses.sum().backward().get(&x).cloned().unwrap();
    assert!(gradient.to_data().unwrap().iter::<f32>().all(f32::is_finite));
    let impossible = Tensor::<3, Float>::from_any(gradient).narrow(1, 3, 1);
    assert_eq!(impossible.abs().sum().into_scalar::<f32>(), 0.0);
}

#[test]
fn losses_of_classes() {
    for (name, reduction) in
        [("none", Reduction::None), ("mean", Reduction::Mean), ("sum", Reduction::Sum)]
    {
        let targets = || TORCH.get::<1, Int>("loss.targets");
        let plain = || CrossEntropyOptions {
            weight: Some(TORCH.get("loss.w")),
            ignore_index: Some(-100),
            label_smoothing: 0.0,
            reduction,
        };
        check(&format!("loss.nll.{name}"), &["x"], |i| {
            module::nll_loss(t::<2>(&i[0]), targets(), plain()).into_any()
        });
        check(&format!("loss.cross.{name}"), &["x"], |i| {
            let options = CrossEntropyOptions { label_smoothing: 0.2, ..plain() };
            module::cross_entropy_loss(t::<2>(&i[0]), targets(), options).into_any()
        });
    }
}
