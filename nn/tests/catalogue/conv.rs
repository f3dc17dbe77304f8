//! Convolutions.

use kiln_nn::{
    Conv1dConfig, Conv2dConfig, Conv3dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig,
    ConvTranspose3dConfig, DeformConv2d, DeformConv2dConfig, PaddingConfig1d, PaddingConfig2d,
    PaddingConfig3d, PaddingMode,
};
use kiln_tensor::{Tensor, guard};

use super::{check, cpu, floats, layer};

const MODES: [(&str, PaddingMode); 3] = [
    ("reflect", PaddingMode::Reflect),
    ("replicate", PaddingMode::Replicate),
    ("circular", PaddingMode::Circular),
];

#[test]
fn conv1d() {
    let new = Conv1dConfig::new;
    let options = new(4, 6, 3).with_stride(2).with_padding(2).with_dilation(2).with_groups(2);
    let same = new(4, 3, 4).with_padding(PaddingConfig1d::Same).with_dilation(2);
    for (name, config) in [
        ("conv1d", new(4, 3, 3)),
        ("conv1d.options", options),
        ("conv1d.same", same),
        ("conv1d.depthwise", new(4, 4, 3).with_groups(4).with_bias(false)),
    ] {
        layer(name, config.init(&cpu()));
    }
    for (name, mode) in MODES {
        let config = new(4, 2, 3).with_padding(2).with_padding_mode(mode);
        layer(&format!("conv1d.{name}"), config.init(&cpu()));
    }
}

#[test]
fn conv2d() {
    let new = Conv2dConfig::new;
    for (name, mode) in MODES {
        let config = new([4, 2], [3, 3]).with_padding([1, 2]).with_padding_mode(mode);
        layer(&format!("conv2d.{name}"), config.init(&cpu()));
    }
    let same = |kernel| new([4, 3], kernel).with_padding(PaddingConfig2d::Same);
    layer("conv2d.same", same([4, 3]).with_dilation([1, 2]).init(&cpu()));
    let circular = new([4, 2], [4, 4]).with_padding(PaddingConfig2d::Same);
    layer("conv2d.same.circular", circular.with_padding_mode(PaddingMode::Circular).init(&cpu()));
}

#[test]
fn conv3d() {
    let new = Conv3dConfig::new;
    layer("conv3d", new([4, 2], [2, 3, 2]).init(&cpu()));
    let config = new([4, 4], [3, 3, 3]).with_stride([1, 2, 1]).with_padding([1, 1, 1]);
    let config = config.with_dilation([1, 1, 2]).with_groups(2).with_bias(false);
    layer("conv3d.options", config.init(&cpu()));
    let config = new([4, 2], [2, 2, 2]).with_padding([1, 1, 1]);
    layer("conv3d.circular", config.with_padding_mode(PaddingMode::Circular).init(&cpu()));
}

#[test]
fn conv_transpose() {
    layer("conv_transpose1d", ConvTranspose1dConfig::new([4, 3], 3).init(&cpu()));
    let config = ConvTranspose1dConfig::new([4, 6], 3).with_stride(3).with_padding(1);
    let config = config.with_padding_out(2).with_groups(2).with_dilation(2);
    layer("conv_transpose1d.options", config.init(&cpu()));
    let config = ConvTranspose2dConfig::new([4, 3], [2, 3]).with_bias(false);
    layer("conv_transpose2d", config.init(&cpu()));
    let config = ConvTranspose2dConfig::new([4, 6], [3, 3]).with_stride([2, 3]);
    let config = config.with_padding([1, 0]).with_padding_out([1, 2]).with_groups(2);
    layer("conv_transpose2d.options", config.with_dilation([2, 1]).init(&cpu()));
    let config = ConvTranspose3dConfig::new([4, 2], [3, 3, 3]).with_stride([2, 2, 2]);
    let config = config.with_padding([1, 1, 1]).with_padding_out([1, 1, 1]).with_groups(2);
    layer("conv_transpose3d", config.init(&cpu()));
}

#[test]
fn deformable_convolution() {
    let config = DeformConv2dConfig::new([4, 6], [3, 2]).with_weight_groups(2);
    let config = config.with_offset_groups(2).with_stride([2, 2]).with_padding([1, 1]);
    check("deform_conv2d", &mut config.init(&cpu()), |layer: &DeformConv2d, x| {
        layer.forward(&floats(&x[0]), &floats(&x[1]), Some(&floats(&x[2]))).into_any()
    });
    let mut plain = DeformConv2dConfig::new([4, 2], [2, 2]).init(&cpu());
    check("deform_conv2d.plain", &mut plain, |layer: &DeformConv2d, x| {
        layer.forward(&floats(&x[0]), &floats(&x[1]), None).into_any()
    });
}

#[test]
fn padding_may_differ_between_two_sides() {
    let x = Tensor::<4>::ones([1, 1, 2, 2], &cpu());
    let config =
        Conv2dConfig::new([1, 1], [1, 1]).with_padding(PaddingConfig2d::Explicit(1, 0, 0, 2));
    let layer = config.init(&cpu());
    let padded = x.pad([(1, 0), (0, 2)], 0.0);
    let expected = kiln_tensor::module::conv2d(
        &padded,
        &layer.weight,
        layer.bias.as_deref().cloned(),
        kiln_tensor::module::ConvOptions::default(),
    );
    layer.forward(&x).into_data().assert_eq(&expected.into_data(), true);
}

#[test]
fn same_padding_divides_extents_by_the_stride() {
    let x = Tensor::<5>::ones([1, 2, 7, 8, 9], &cpu());
    let config = Conv3dConfig::new([2, 3], [3, 4, 1]).with_padding(PaddingConfig3d::Same);
    let y = config.with_stride([2, 3, 4]).init(&cpu()).forward(&x);
    assert_eq!(y.dims(), [1, 3, 4, 3, 3]);
}

#[test]
fn groups_that_do_not_divide_the_channels_are_refused() {
    let error = guard(|| Conv1dConfig::new(3, 4, 1).with_groups(2).init(&cpu())).unwrap_err();
    assert_eq!(error.to_string(), "conv: 2 groups do not divide 4 and 3 channels");
    let config = DeformConv2dConfig::new([3, 3], [1, 1]).with_offset_groups(2);
    let error = guard(|| config.init(&cpu())).unwrap_err().to_string();
    assert_eq!(error, "deform_conv2d: 2 offset groups do not divide 3");
}
