//! Other sizes, other shapes, distances.

use kiln_nn::{
    ChannelShuffleConfig, CosineSimilarity, CosineSimilarityConfig, Flatten, FlattenDims,
    Fold4dConfig, Identity, Interpolate1dConfig, Interpolate2dConfig, Interpolate3dConfig,
    InterpolateMode, PadConfig, PaddingMode, PairwiseDistance, PairwiseDistanceConfig,
    PixelShuffleConfig, PixelUnshuffleConfig, Unflatten, Unfold4dConfig,
};
use kiln_tensor::{Tensor, guard};

use super::{check, cpu, floats, layer};

#[test]
fn upsample() {
    use InterpolateMode::{Cubic, Linear, Nearest, NearestExact};
    let line = Interpolate1dConfig::new;
    for (name, mode) in [("nearest", Nearest), ("nearest-exact", NearestExact), ("linear", Linear)]
    {
        let config = line().with_mode(mode);
        layer(&format!("upsample1d.{name}"), config.clone().with_scale_factor(1.7).init());
        layer(&format!("upsample1d.{name}.size"), config.with_output_size(5).init());
    }
    let corners = line().with_mode(Linear).with_align_corners(true);
    layer("upsample1d.linear.corners", corners.with_scale_factor(2.3).init());
    let image = Interpolate2dConfig::new;
    for (name, mode) in [
        ("nearest", Nearest),
        ("nearest-exact", NearestExact),
        ("bilinear", Linear),
        ("bicubic", Cubic),
    ] {
        let config = image().with_mode(mode);
        layer(&format!("upsample2d.{name}"), config.clone().with_scale_factor([1.5, 2.3]).init());
        layer(&format!("upsample2d.{name}.size"), config.with_output_size([4, 9]).init());
    }
    let corners = image().with_mode(Cubic).with_align_corners(true).with_output_size([9, 5]);
    layer("upsample2d.bicubic.corners", corners.init());
    let volume = Interpolate3dConfig::new;
    let trilinear = volume().with_mode(Linear).with_scale_factor([1.3; 3]);
    layer("upsample3d.trilinear", trilinear.init());
    layer("upsample3d.nearest", volume().with_scale_factor([2.0; 3]).init());
}

#[test]
fn a_size_or_a_factor_is_needed() {
    let new = Interpolate1dConfig::new;
    for config in [new(), new().with_output_size(3).with_scale_factor(2.0)] {
        let error = guard(|| config.init()).unwrap_err().to_string();
        assert_eq!(error, "interpolate: either the output size or a factor is needed");
    }
    let x = Tensor::<3>::zeros([1, 1, 2], &cpu());
    for factor in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let layer = new().with_scale_factor(factor).init();
        assert!(guard(|| layer.forward(&x)).is_err(), "{factor}");
    }
}

#[test]
fn channels_and_pixels() {
    layer("pixel_shuffle", PixelShuffleConfig::new(2).init());
    layer("pixel_unshuffle", PixelUnshuffleConfig::new(2).init());
    layer("channel_shuffle", ChannelShuffleConfig::new(2).init());
    let x = Tensor::<4>::zeros([1, 4, 1, 1], &cpu());
    assert!(guard(|| ChannelShuffleConfig::new(3).init().forward(&x)).is_err());
}

#[test]
fn pads() {
    for (rank, padding) in
        [(1, vec![(2, 1)]), (2, vec![(0, 3), (2, 1)]), (3, vec![(1, 1), (2, 0), (1, 2)])]
    {
        for (name, mode) in [
            ("zero", PaddingMode::Zeros),
            ("constant", PaddingMode::Constant(1.5)),
            ("reflection", PaddingMode::Reflect),
            ("replication", PaddingMode::Replicate),
            ("circular", PaddingMode::Circular),
        ] {
            let config = PadConfig::new(padding.clone()).with_mode(mode);
            layer(&format!("{name}_pad{rank}d"), config.init());
        }
    }
    let x = Tensor::<1>::from([1.0, 2.0]);
    let long = PadConfig::new([(2, 0)]).with_mode(PaddingMode::Reflect).init();
    assert!(guard(|| long.forward(&x)).is_err());
    assert!(guard(|| PadConfig::new([(1, 1); 2]).init().forward(&x)).is_err());
}

#[test]
fn shapes() {
    layer("identity", Identity::new());
    layer("flatten", Flatten::new());
    layer("flatten.dims", FlattenDims::new(1, -2));
    layer("unflatten", Unflatten::new(1, [2, 2]));
    let unfold = Unfold4dConfig::new([2, 3]).with_dilation([1, 2]).with_padding([1, 1]);
    layer("unfold", unfold.with_stride([2, 1]).init());
    let fold = Fold4dConfig::new([6, 7], [2, 3]).with_dilation([1, 2]).with_padding([1, 1]);
    layer("fold", fold.with_stride([2, 1]).init());
    let x = Tensor::<2>::zeros([2, 6], &cpu());
    let error = guard(|| Unflatten::new(1, [4, 2]).forward::<2, 3>(&x)).unwrap_err().to_string();
    assert!(error.contains("axis 1 has not the extents [4, 2]"), "{error}");
    assert!(guard(|| FlattenDims::new(1, 0).forward::<2, 2>(&x)).is_err());
}

#[test]
fn distances() {
    let cosine = CosineSimilarityConfig::new();
    check("cosine_similarity", &mut cosine.init(), |layer: &CosineSimilarity, x| {
        layer.forward::<4, 3>(&floats(&x[0]), &floats(&x[1])).into_any()
    });
    let mut last = cosine.with_dim(-1).with_eps(1e-3).init();
    check("cosine_similarity.last", &mut last, |layer: &CosineSimilarity, x| {
        layer.forward::<3, 2>(&floats(&x[0]), &floats(&x[1])).into_any()
    });
    let distance = PairwiseDistanceConfig::new();
    check("pairwise_distance", &mut distance.init(), |layer: &PairwiseDistance, x| {
        layer.forward::<2, 1>(&floats(&x[0]), &floats(&x[1])).into_any()
    });
    let mut options = distance.with_p(3.0).with_eps(1e-2).init();
    check("pairwise_distance.options", &mut options, |layer: &PairwiseDistance, x| {
        layer.forward::<3, 2>(&floats(&x[0]), &floats(&x[1])).into_any()
    });
}
