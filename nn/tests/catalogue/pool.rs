//! Pools.

use kiln_nn::{
    AdaptiveAvgPool1dConfig, AdaptiveAvgPool2dConfig, AdaptiveAvgPool3dConfig,
    AdaptiveMaxPool1dConfig, AdaptiveMaxPool2dConfig, AdaptiveMaxPool3dConfig, AvgPool1dConfig,
    AvgPool2dConfig, AvgPool3dConfig, FractionalMaxPool2d, FractionalMaxPool2dConfig,
    FractionalMaxPool3d, FractionalMaxPool3dConfig, LpPool1dConfig, LpPool2dConfig,
    MaxPool1dConfig, MaxPool2dConfig, MaxPool3dConfig, MaxUnpool1d, MaxUnpool1dConfig, MaxUnpool2d,
    MaxUnpool2dConfig, MaxUnpool3d, MaxUnpool3dConfig, PaddingConfig1d, PaddingConfig2d,
};
use kiln_tensor::{AnyTensor, Tensor, guard};

use super::{check, cpu, expected, floats, ints, layer, same};

#[test]
fn max_pool() {
    let new = MaxPool1dConfig::new;
    layer("max_pool1d", new(2).init());
    let options = new(3).with_stride(2).with_padding(1).with_ceil_mode(true);
    layer("max_pool1d.options", options.init());
    let dilated = new(3).with_stride(1).with_padding(1).with_dilation(2);
    layer("max_pool1d.dilated", dilated.init());
    let options = MaxPool2dConfig::new([3, 2]).with_strides([2, 1]).with_padding([1, 1]);
    let options = options.with_dilation([1, 2]).with_ceil_mode(true);
    layer("max_pool2d.options", options.init());
    layer("max_pool3d", MaxPool3dConfig::new([2, 2, 2]).init());
    let options = MaxPool3dConfig::new([2, 3, 2]).with_strides([1, 2, 2]);
    layer("max_pool3d.options", options.with_padding([1, 1, 1]).init());
}

#[test]
fn avg_pool() {
    layer("avg_pool1d", AvgPool1dConfig::new(2).init());
    let options = AvgPool1dConfig::new(3).with_stride(2).with_padding(1).with_ceil_mode(true);
    layer("avg_pool1d.options", options.with_count_include_pad(false).init());
    let options = AvgPool2dConfig::new([3, 2]).with_strides([2, 1]).with_padding([1, 1]);
    layer("avg_pool2d.options", options.with_ceil_mode(true).init());
    layer("avg_pool3d", AvgPool3dConfig::new([2, 2, 2]).with_count_include_pad(false).init());
    let options = AvgPool3dConfig::new([2, 3, 2]).with_strides([1, 2, 2]);
    layer("avg_pool3d.options", options.with_padding([1, 1, 1]).init());
}

#[test]
fn adaptive_pools() {
    layer("adaptive_avg_pool1d", AdaptiveAvgPool1dConfig::new(4).init());
    layer("adaptive_avg_pool2d", AdaptiveAvgPool2dConfig::new([4, 3]).init());
    layer("adaptive_avg_pool3d", AdaptiveAvgPool3dConfig::new([3, 1, 4]).init());
    layer("adaptive_max_pool1d", AdaptiveMaxPool1dConfig::new(4).init());
    layer("adaptive_max_pool2d", AdaptiveMaxPool2dConfig::new([4, 3]).init());
    layer("adaptive_max_pool3d", AdaptiveMaxPool3dConfig::new([3, 1, 4]).init());
}

#[test]
fn power_means() {
    layer("lp_pool1d", LpPool1dConfig::new(3).init());
    layer("lp_pool1d.options", LpPool1dConfig::new(3).with_p(3.0).with_stride(2).init());
    layer("lp_pool2d", LpPool2dConfig::new([2, 3]).with_strides([1, 2]).init());
    assert!(guard(|| LpPool1dConfig::new(3).with_p(0.0).init()).is_err());
}

#[test]
fn maxima_back_at_their_places() {
    let mut layer = MaxUnpool2dConfig::new([2, 2]).init();
    check("max_unpool2d", &mut layer, |layer: &MaxUnpool2d, x| {
        layer.forward(&floats(&x[0]), &ints(&x[1]), None).into_any()
    });
    check("max_unpool2d.size", &mut layer, |layer: &MaxUnpool2d, x| {
        layer.forward(&floats(&x[0]), &ints(&x[1]), Some([6, 7])).into_any()
    });
    let x = Tensor::<4>::from([[[[1.0, 2.0], [4.0, 3.0]]]]);
    let (y, index) = MaxPool2dConfig::new([2, 2]).init().forward_with_indices(&x);
    let back = layer.forward(&y, &index, None);
    assert_eq!(back.to_vec::<f32>(), [0.0, 0.0, 4.0, 0.0]);
}

#[test]
fn padding_may_differ_between_two_sides() {
    let x = Tensor::<4>::from([[[[-1.0, -2.0], [-4.0, -3.0]]]]);
    let padding = PaddingConfig2d::Explicit(1, 0, 0, 0);
    let config = MaxPool2dConfig::new([2, 2]).with_strides([1, 1]).with_padding(padding);
    assert_eq!(config.init().forward(&x).to_vec::<f32>(), [-1.0, -1.0]);
    assert!(guard(|| config.init().forward_with_indices(&x)).is_err());
    let x = Tensor::<3>::from([[[2.0, 4.0, 6.0]]]);
    let config = AvgPool1dConfig::new(2).with_stride(1).with_padding(PaddingConfig1d::Same);
    assert_eq!(config.init().forward(&x).to_vec::<f32>(), [3.0, 5.0, 3.0]);
    let without = config.with_count_include_pad(false).init();
    assert_eq!(without.forward(&x).to_vec::<f32>(), [3.0, 5.0, 6.0]);
    assert_eq!(without.forward(&Tensor::zeros([1, 1, 3], &cpu())).dims(), [1, 1, 3]);
}

#[test]
fn maxima_back_at_their_places_in_lines_and_volumes() {
    let line = |size: Option<usize>| {
        move |layer: &MaxUnpool1d, x: &[AnyTensor]| {
            layer.forward(&floats(&x[0]), &ints(&x[1]), size).into_any()
        }
    };
    let mut layer = MaxUnpool1dConfig::new(2).init();
    check("max_unpool1d", &mut layer, line(None));
    check("max_unpool1d.size", &mut layer, line(Some(9)));
    let mut layer = MaxUnpool1dConfig::new(3).with_stride(2).with_padding(1).init();
    check("max_unpool1d.padded", &mut layer, line(None));
    let volume = |size: Option<[usize; 3]>| {
        move |layer: &MaxUnpool3d, x: &[AnyTensor]| {
            layer.forward(&floats(&x[0]), &ints(&x[1]), size).into_any()
        }
    };
    let mut layer = MaxUnpool3dConfig::new([2, 1, 2]).init();
    check("max_unpool3d", &mut layer, volume(None));
    check("max_unpool3d.size", &mut layer, volume(Some([4, 3, 5])));
    let (x, indices) = (Tensor::zeros([1, 1, 2], &cpu()), Tensor::zeros([1, 1, 1], &cpu()));
    let layer = MaxUnpool1dConfig::new(2).init();
    let error = guard(|| layer.forward(&x, &indices, None)).unwrap_err().to_string();
    assert!(error.contains("an index for each element"), "{error}");
    let outside = indices.add_scalar(4).expand([1, 1, 2]);
    assert!(guard(|| layer.forward(&x, &outside, None)).is_err());
}

#[test]
fn windows_at_the_places_that_samples_say() {
    let new = FractionalMaxPool2dConfig::new;
    for (case, config) in [
        ("fractional_max_pool2d", new([2, 3]).with_output_size([4, 3])),
        ("fractional_max_pool2d.ratio", new([2, 2]).with_output_ratio([0.6, 0.5])),
        ("fractional_max_pool2d.one", new([3, 3]).with_output_size([1, 4])),
    ] {
        let samples = Tensor::from_data(expected(&format!("{case}.samples")).clone(), &cpu());
        check(case, &mut config.init(), |layer: &FractionalMaxPool2d, x| {
            let (y, indices) = layer.forward_with_samples(&floats(&x[0]), &samples);
            same(&format!("{case}.indices"), indices.as_any());
            y.into_any()
        });
    }
    let case = "fractional_max_pool3d";
    let samples = Tensor::from_data(expected("fractional_max_pool3d.samples").clone(), &cpu());
    let config = FractionalMaxPool3dConfig::new([2, 1, 2]).with_output_size([2, 2, 3]);
    check(case, &mut config.init(), |layer: &FractionalMaxPool3d, x| {
        let (y, indices) = layer.forward_with_samples(&floats(&x[0]), &samples);
        same("fractional_max_pool3d.indices", indices.as_any());
        y.into_any()
    });
}

#[test]
fn fractional_windows_are_drawn_and_what_does_not_fit_is_refused() {
    let x = Tensor::<4>::random([1, 2, 30, 30], kiln_tensor::Distribution::Default, &cpu());
    let config = FractionalMaxPool2dConfig::new([2, 2]);
    let layer = config.clone().with_output_size([20, 20]).init();
    assert_ne!(layer.forward(&x).to_data(), layer.forward(&x).to_data());
    assert!(guard(|| config.init()).is_err(), "neither size nor ratio");
    assert!(guard(|| config.clone().with_output_ratio([0.5, 1.0]).init()).is_err());
    let large = config.with_output_size([30, 3]).init();
    let error = guard(|| large.forward(&x)).unwrap_err().to_string();
    assert!(error.contains("[30, 3] windows of [2, 2]"), "{error}");
}

#[test]
fn means_by_another_divisor() {
    let options = AvgPool2dConfig::new([3, 2]).with_strides([2, 1]).with_padding([1, 1]);
    let options = options.with_ceil_mode(true).with_divisor_override(5);
    layer("avg_pool2d.divisor", options.init());
    let options = AvgPool2dConfig::new([2, 2]).with_padding([1, 1]).with_count_include_pad(false);
    layer("avg_pool2d.divisor.without_pad", options.with_divisor_override(3).init());
    let options = AvgPool3dConfig::new([2, 2, 2]).with_strides([2, 1, 2]).with_padding([1, 1, 1]);
    let options = options.with_ceil_mode(true).with_divisor_override(7);
    layer("avg_pool3d.divisor", options.init());
    assert!(guard(|| AvgPool1dConfig::new(2).with_divisor_override(0).init()).is_err());
}
