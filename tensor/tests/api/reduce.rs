//! Reductions and statistics.

use kiln_tensor::{Bool, DType, Float, Int, Tensor};

use crate::common::{bools, close, equals, floats, ints, text, two_by_three};

#[test]
fn several_axes_at_once() {
    let x = two_by_three();
    equals(x.sum_dims(&[0, 1]), [[15.0]]);
    equals(x.sum_dims(&[-1]), [[3.0], [12.0]]);
    equals(x.mean_dims(&[0]), [[1.5, 2.5, 3.5]]);
    equals(x.prod_dims(&[0, -1]), [[0.0]]);
    equals(x.max_dims(&[0, 1]), [[5.0]]);
    equals(x.min_dims(&[1]), [[0.0], [3.0]]);
    equals(x.sum_dims_squeeze::<1, _>(&[0]), [3.0, 5.0, 7.0]);
    equals(x.sum_dims::<usize>(&[]), [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]);
    assert!(text(|| x.max_dims(&[0, 2])).contains("max_dims: axis 2 is out of range"));
}

#[test]
fn extrema() {
    let x = Tensor::<2>::from([[0.0, 1.0, -2.0], [-5.0, 6.0, 1.0]]);
    let (values, indices) = x.max_dim_with_indices(0);
    equals(values, [[0.0, 6.0, 1.0]]);
    equals(indices, [[0, 1, 1]]);
    let (values, indices) = x.min_dim_with_indices(-1);
    equals(values, [[-2.0], [-5.0]]);
    equals(indices, [[2], [0]]);
    equals(x.max_abs(), [6.0]);
    equals(x.max_abs_dim(0), [[5.0, 6.0, 2.0]]);
    equals(x.max_abs_dims(&[-2, 1]), [[6.0]]);
    equals(ints([-7, 3]).max_abs(), [7]);
    let (min, max) = x.aminmax();
    equals(min, [-5.0]);
    equals(max, [6.0]);
    let (min, max) = x.aminmax_dim(1);
    equals(min, [[-2.0], [-5.0]]);
    equals(max, [[1.0], [6.0]]);
    // The first of several NaN.
    let (value, index) = floats([1.0, f32::NAN, f32::NAN]).max_dim_with_indices(0);
    equals(value, [f32::NAN]);
    equals(index, [1]);
}

#[test]
fn truth() {
    let x = Tensor::<2>::from([[0.0, 0.0], [f32::NAN, 1.0]]);
    equals(x.any_dim(1), [[false], [true]]);
    equals(x.all_dim(1), [[false], [true]]);
    equals(x.any(), [true]);
    equals(x.all(), [false]);
    equals(x.any_dims(&[0, 1]), [[true]]);
    equals(x.int().all_dims(&[0]), [[false, false]]);
    equals(ints([0, -1]).any(), [true]);
    equals(bools([true, false]).all(), [false]);
    // Nothing is false among nothing.
    let nothing = x.slice([0..2, 0..0]);
    equals(nothing.any_dim(1), [[false], [false]]);
    equals(nothing.all_dim(1), [[true], [true]]);
    equals(nothing.any(), [false]);
    equals(x.count_nonzero(), [2]);
    equals(bools([true, false, true]).count_nonzero(), [2]);
    equals(x.count_nonzero_dim(0), [[1, 1]]);
}

#[test]
fn passing_over_nan() {
    let x = Tensor::<2>::from([[1.0, f32::NAN, 3.0], [f32::NAN; 3]]);
    equals(x.nansum(), [4.0]);
    equals(x.nansum_dim(1), [[4.0], [0.0]]);
    equals(x.nanmean_dim(-1), [[2.0], [f32::NAN]]);
    equals(x.nanmean(), [2.0]);
    // The sum of these has no place in f16, their mean has.
    let large = floats([60000.0, 50080.0, f32::NAN]).cast(DType::F16);
    equals(large.nanmean(), [55040.0]);
}

#[test]
fn variances() {
    let x = Tensor::<2>::from([[1.0, 3.0], [2.0, 6.0]]);
    equals(x.var(1), [[2.0], [8.0]]);
    equals(x.var_bias(1), [[1.0], [4.0]]);
    equals(x.std_bias(1), [[1.0], [2.0]]);
    close(x.std(-1), [[2f32.sqrt()], [8f32.sqrt()]]);
    let (variance, mean) = x.var_mean(0);
    equals(variance, [[0.5, 4.5]]);
    equals(mean, [[1.5, 4.5]]);
    equals(x.var_mean_bias(0).0, [[0.25, 2.25]]);
    equals(floats([1.0]).var(0), [f32::NAN]);
    // The squares of these have no place in f16.
    let large = floats([-300.0, 300.0]).cast(DType::F16);
    equals(large.std_bias(0), [300.0]);
    assert!(text(|| x.var(2)).contains("var: axis 2 is out of range"));
}

#[test]
fn covariances() {
    let x = Tensor::<2>::from([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]]);
    equals(x.cov(1, 1), [[1.0, 2.0], [2.0, 4.0]]);
    close(x.corrcoef(), [[1.0, 1.0], [1.0, 1.0]]);
    let same = Tensor::<3>::from([[[0.5, 1.8], [3.0, -4.0]]; 4]);
    equals(same.cov(0, 1), [[[0.0; 2]; 2]; 4]);
}

#[test]
fn kinds() {
    let _: Tensor<1, Int> = ints([1]).sum();
    let _: Tensor<1, Bool> = floats([1.0]).any();
    let _: Tensor<1, Float> = floats([1.0]).max_abs();
}
