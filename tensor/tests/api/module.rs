//! The functions behind layers: calls as they are written for Burn, edges, and error texts.

use kiln_tensor::module::{
    AttentionModuleOptions, ConvOptions, ConvTransposeOptions, CrossEntropyOptions,
    DeformConvOptions, GridSampleOptions, InterpolateMode, InterpolateOptions, Reduction,
    UnfoldOptions, adaptive_avg_pool2d, adaptive_max_pool1d_with_indices, attention, avg_pool2d,
    batch_norm, conv_transpose2d, conv1d, conv2d, conv3d, cross_entropy_loss, ctc_loss,
    ctc_loss_reduced, deform_conv2d, embedding, fold4d, group_norm, instance_norm, interpolate,
    layer_norm, max_pool2d_with_indices, max_pool3d_with_indices, max_unpool2d, nll_loss,
    pixel_shuffle, pixel_unshuffle, rms_norm, scaled_dot_product_attention, unfold4d,
};
use kiln_tensor::{Bool, DType, Device, Int, Tensor};

use crate::common::{close, equals, floats, ints, text};

fn count<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let n: usize = shape.iter().product();
    Tensor::<1, Int>::arange(0..n as i64, &Device::cpu()).float().reshape(shape)
}

#[test]
fn convolution_takes_tensors_owned_or_borrowed() {
    let (x, w) = (count([1, 2, 4]), Tensor::<3>::ones([1, 2, 2], &Device::cpu()));
    let options = ConvOptions::new([1], [0], [1], 1);
    equals(conv1d(&x, &w, None, options), [[[10, 14, 18]]]);
    equals(conv1d(x, w, Some(floats([1.0])), options), [[[11, 15, 19]]]);
    let x = count([1, 1, 2, 2, 2]);
    let w = Tensor::<5>::ones([1, 1, 2, 2, 2], &Device::cpu());
    equals(conv3d(x, w, None, ConvOptions::new([1; 3], [0; 3], [1; 3], 1)), [[[[[28]]]]]);
}

#[test]
fn transposed_convolution_spreads_each_pixel() {
    let (x, w) = (count([1, 1, 2, 2]), Tensor::<4>::ones([1, 1, 2, 2], &Device::cpu()));
    let options = ConvTransposeOptions::new([2, 2], [0, 0], [0, 1], [1, 1], 1);
    let y = conv_transpose2d(x, w, None, options);
    equals(y, [[[[0, 0, 1, 1, 0], [0, 0, 1, 1, 0], [2, 2, 3, 3, 0], [2, 2, 3, 3, 0]]]]);
}

#[test]
fn a_deformable_convolution_without_offsets_is_a_convolution() {
    let (x, w) = (count([1, 2, 3, 3]), count([2, 2, 2, 2]));
    let still = Tensor::<4>::zeros([1, 8, 2, 2], &Device::cpu());
    let options = DeformConvOptions::new([1, 1], [0, 0], [1, 1], 1, 1);
    let plain = conv2d(&x, &w, None, ConvOptions::default());
    close(deform_conv2d(&x, &still, &w, None, None, options), plain.into_data());
    let far = still.add_scalar(f32::NAN);
    equals(deform_conv2d(x, far, w, None, None, options).slice(0..1).is_nan().any(), [true]);
}

#[test]
fn pooling_prefers_the_first_of_equals_and_nan() {
    let x = Tensor::<4>::from([[[[1.0, 1.0], [0.0, 1.0]]]]);
    let (y, at) = max_pool2d_with_indices(&x, [2, 2], [1, 1], [0, 0], [1, 1], false);
    equals(y, [[[[1]]]]);
    assert_eq!(at.dtype(), DType::I64);
    equals(at, [[[[0]]]]);
    let x = Tensor::<5>::ones([1, 1, 2, 2, 2], &Device::cpu());
    let (_, at) = max_pool3d_with_indices(x, [2; 3], [2; 3], [0; 3], [1; 3], false);
    equals(at, [[[[[0]]]]]);
    let (y, at) = adaptive_max_pool1d_with_indices(Tensor::<3>::from([[[1.0, f32::NAN, 3.0]]]), 1);
    assert!(y.into_scalar::<f32>().is_nan());
    equals(at, [[[1]]]);
}

#[test]
fn a_window_may_hang_over_the_end() {
    let x = count([1, 1, 1, 5]);
    equals(avg_pool2d(&x, [1, 2], [1, 2], [0, 0], true, true), [[[[0.5, 2.5, 4.0]]]]);
    // The border counts, what lies beyond does not.
    equals(avg_pool2d(&x, [1, 2], [1, 2], [0, 1], true, true), [[[[0.0, 1.5, 3.5]]]]);
    equals(avg_pool2d(x.narrow(3, 0, 2), [1, 3], [1, 2], [0, 0], true, true), [[[[0.5]]]]);
}

#[test]
fn unpooling_puts_each_maximum_back() {
    let x = count([1, 1, 3, 3]);
    let (y, at) = max_pool2d_with_indices(&x, [2, 2], [1, 1], [0, 0], [1, 1], false);
    equals(max_unpool2d(y, at, [3, 3]), [[[[0, 0, 0], [0, 4, 5], [0, 7, 8]]]]);
}

#[test]
fn folding_adds_what_overlaps() {
    let options = UnfoldOptions::new([1, 1], [0, 0], [1, 1]);
    let ones = Tensor::<4>::ones([1, 1, 3, 3], &Device::cpu());
    let back = fold4d(unfold4d(ones, [2, 2], options), [3, 3], [2, 2], options);
    equals(back, [[[[1, 2, 1], [2, 4, 2], [1, 2, 1]]]]);
    let x = count([1, 4, 2, 2]);
    equals(pixel_unshuffle(pixel_shuffle(&x, 2), 2), x.into_data());
}

#[test]
fn a_flat_image_stays_flat() {
    let flat = Tensor::<4>::full([1, 1, 3, 5], 7.0, &Device::cpu());
    for mode in [
        InterpolateMode::Nearest,
        InterpolateMode::Bilinear,
        InterpolateMode::Bicubic,
        InterpolateMode::Lanczos3,
    ] {
        for align in [false, true] {
            let options = InterpolateOptions::new(mode).with_align_corners(align);
            let y = interpolate(&flat, [7, 4], options);
            close(y, Tensor::<4>::full([1, 1, 7, 4], 7.0, &Device::cpu()).into_data());
        }
    }
}

#[test]
fn lanczos_goes_through_the_pixels() {
    let x = count([1, 1, 4, 4]);
    let options = InterpolateOptions::new(InterpolateMode::Lanczos3);
    let y = interpolate(&x, [7, 7], options);
    close(y.slice([0..1, 0..1, 0..1, 0..1]), [[[[0.0]]]]);
    close(y.slice([0..1, 0..1, 2..3, 4..5]), [[[[6.0]]]]);
    close(y.slice([0..1, 0..1, 6..7, 6..7]), [[[[15.0]]]]);
}

#[test]
fn a_grid_of_the_corners_reads_the_corners() {
    let x = count([1, 1, 3, 4]);
    let grid = Tensor::<4>::from([[[[-1.0, -1.0], [1.0, 1.0], [0.0, 9.0]]]]);
    let options = GridSampleOptions::default().with_align_corners(true);
    close(x.grid_sample_2d(&grid, options), [[[[0.0, 11.0, 0.0]]]]);
    let nearest = GridSampleOptions::new(InterpolateMode::Nearest).with_align_corners(true);
    close(x.grid_sample_2d(&grid, nearest), [[[[0.0, 11.0, 0.0]]]]);
    // Half a pixel outside rounds to the even neighbour, as in PyTorch: 3.5 is 4.
    close(x.grid_sample_2d(grid, InterpolateMode::Nearest), [[[[0.0, 0.0, 0.0]]]]);
}

#[test]
fn embedding_adds_an_axis() {
    let table = count([3, 2]);
    let pairs = Tensor::<2, Int>::from([[2, 0]]);
    equals(embedding(&table, &pairs), [[[4, 5], [0, 1]]]);
    equals(embedding(table, ints([1])), [[2, 3]]);
}

#[test]
fn a_query_that_sees_nothing_gives_zeros() {
    let x = count([1, 1, 2, 2]);
    let hidden = Tensor::<4, Bool>::from([[[[true, true], [false, true]]]]);
    let y = attention(&x, &x, &x, Some(hidden.clone()), None, Default::default());
    equals(y, [[[[0, 0], [0, 1]]]]);
    let seen = hidden.bool_not();
    let y = scaled_dot_product_attention(&x, &x, &x, Some(seen.into()), 0.0, false, None);
    equals(y, [[[[0, 0], [0, 1]]]]);
    // More keys than queries: the last query sees them all.
    let causal = AttentionModuleOptions { is_causal: true, scale: Some(0.0), softcap: None };
    let y = attention(x.narrow(2, 1, 1), &x, &x, None, None, causal);
    equals(y, [[[[1, 2]]]]);
}

#[test]
fn normalisation_of_nothing_and_of_halves() {
    let empty = Tensor::<3>::zeros([1, 4, 0], &Device::cpu());
    assert_eq!(group_norm(&empty, None, None, 2, 1e-5).dims(), [1, 4, 0]);
    let x = Tensor::<3>::from([[[10000.0, 10008.0], [10016.0, 10024.0]]]);
    let expected = [[[-1.341641, -0.447214], [0.447214, 1.341641]]];
    close(group_norm(&x, None, None, 1, 0.0), expected);
    close(instance_norm(&x, None, None, 0.0), [[[-1.0, 1.0], [-1.0, 1.0]]]);
    let half = Tensor::<1>::from([300.0, 400.0]).cast(DType::F16);
    let y = rms_norm(half, None, 0.0);
    assert_eq!(y.dtype(), DType::F16);
    close(y.cast(DType::F32).mul_scalar(1024).round(), [869.0, 1159.0]);
    let x = Tensor::<2>::from([[1.0, 3.0]]);
    close(layer_norm(&x, floats([2.0, 2.0]), None, 0.0), [[-2.0, 2.0]]);
    let [one, zero] = [floats([1.0, 1.0]), floats([0.0, 0.0])];
    close(batch_norm(&x, &one, &zero, &one, &one, 0.0), [[0.0, 2.0]]);
}

#[test]
fn ctc_of_sequences_that_can_not_spell_their_target() {
    let log_probs = Tensor::<3>::full([2, 1, 3], (1f64 / 3.0).ln(), &Device::cpu());
    let targets = Tensor::<2, Int>::from([[1, 1]]);
    let (two, none) = (ints([2]), ints([0]));
    equals(ctc_loss(&log_probs, &targets, &two, &two, 0), [f32::INFINITY]);
    let zero = |reduction| ctc_loss_reduced(&log_probs, &targets, &two, &two, 0, reduction, true);
    equals(zero(Reduction::Mean), [0.0]);
    close(ctc_loss(&log_probs, &targets, &two, &none, 0), [2.0 * 3f32.ln()]);
    equals(ctc_loss(&log_probs, &targets, &none, &none, 0), [0.0]);
    equals(ctc_loss(&log_probs, &targets, &none, &two, 0), [f32::INFINITY]);
    let half = ctc_loss(log_probs.cast(DType::F16), targets, ints([2]), ints([1]), 0);
    assert_eq!(half.dtype(), DType::F16);
    close(half.cast(DType::F32).mul_scalar(100).round(), [110.0]);
}

#[test]
fn ignored_targets_do_not_count() {
    let x = Tensor::<2>::from([[0.0, 0.0], [5.0, -5.0]]);
    let options = CrossEntropyOptions { ignore_index: Some(-1), ..Default::default() };
    close(cross_entropy_loss(&x, ints([1, -1]), options.clone()), [2f32.ln()]);
    let all = nll_loss(&x, ints([-1, -1]), options);
    assert!(all.into_scalar::<f32>().is_nan(), "the mean of nothing, as in PyTorch");
}

#[test]
fn errors_name_the_rule() {
    let x = count([1, 4, 3]);
    let error = text(|| group_norm(&x, Some(floats([1.0; 3])), None, 2, 1e-5));
    assert!(error.starts_with("group_norm: gamma must have shape [num_channels]"), "{error}");
    let error = text(|| ConvOptions::new([0], [0], [1], 1));
    assert_eq!(error, "conv_options: stride must be non-zero");
    let image = count([1, 1, 2, 2]);
    let error = text(|| adaptive_avg_pool2d(&image, [0, 1]));
    assert_eq!(
        error,
        "adaptive_avg_pool2d: shapes [1, 1, 2, 2] do not fit: neither the image nor the output \
         [0, 1] may be empty"
    );
    let options = ConvTransposeOptions::new([1, 1], [0, 0], [1, 0], [1, 1], 1);
    let error = text(|| conv_transpose2d(&image, &image, None, options));
    assert!(error.contains("padding_out must be smaller than stride or dilation"), "{error}");
    let error =
        text(|| attention(&image, &image, count([1, 1, 3, 2]), None, None, Default::default()));
    assert!(error.contains("heads a multiple of groups"), "{error}");
    let targets = Tensor::<2, Int>::from([[7]]);
    let error = text(|| ctc_loss(x.narrow(1, 0, 1), &targets, ints([1]), ints([1]), 0));
    assert_eq!(error, "ctc_loss: the target 7 is not in 0..=2");
    let error = text(|| pixel_shuffle(&image, 2));
    assert!(error.contains("the channels must be a multiple of 2 x 2"), "{error}");
    let options = UnfoldOptions::new([1, 1], [0, 0], [1, 1]);
    let error = text(|| fold4d(count([1, 4, 2]), [3, 3], [2, 2], options));
    assert!(error.contains("expected [n, c * 4, 4]"), "{error}");
}
