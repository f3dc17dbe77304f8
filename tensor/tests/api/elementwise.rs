//! Arithmetic, comparisons, functions of each element, activations and losses.

use kiln_tensor::{
    Bool, DEFAULT_ATOL, DEFAULT_RTOL, DType, Device, Float, Int, Tensor, activation, bf16, f16,
    guard, loss,
};

use crate::common::{bools, close, equals, floats, ints, text};

#[test]
fn remainders_and_whole_quotients() {
    let (a, b) = (floats([5.5, -5.5, 5.5, -5.5]), floats([2.0, 2.0, -2.0, -2.0]));
    equals(a.fmod(&b), [1.5f32, -1.5, 1.5, -1.5]);
    equals(a.remainder(&b), [1.5f32, 0.5, -0.5, -1.5]);
    equals(a.floor_divide(&b), [2.0f32, -3.0, -3.0, 2.0]);
    equals(a.fmod_scalar(2), [1.5f32, -1.5, 1.5, -1.5]);
    equals(floats([1.0, 0.0]).floor_divide(floats([0.1, 0.0])).slice(0..1), [9.0f32]);
    let (a, b) = (ints([7, -7, 7, -7]), ints([3, 3, -3, -3]));
    equals(a.fmod(&b), [1i64, -1, 1, -1]);
    equals(a.floor_divide(b), [2i64, -3, -3, 2]);
    equals(a.floor_divide_scalar(2), [3i64, -4, 3, -4]);
    // The divisor's magnitude is infinite: nothing is taken away.
    equals(floats([3.0, -3.0]).fmod_scalar(f64::INFINITY), [3.0f32, -3.0]);
}

#[test]
fn division_of_integers_by_zero_is_an_error() {
    for (name, work) in [
        ("div", (|| ints([1]).div(ints([0]))) as fn() -> Tensor<1, Int>),
        ("remainder", || ints([1]).remainder(ints([0]))),
        ("fmod", || ints([1]).fmod(ints([0]))),
        ("fmod", || ints([1]).fmod_scalar(0)),
        ("floor_divide", || ints([1]).floor_divide(ints([0]))),
        ("floor_divide", || ints([1]).floor_divide_scalar(0)),
    ] {
        assert_eq!(text(work), format!("{name}: division by zero"));
    }
}

#[test]
fn whole_powers() {
    equals(ints([2, -3, 0]).powi(ints([3, 3, 0])), [8i64, -27, 1]);
    equals(ints([2, -1, 1]).powi(ints([-1, -3, -2])), [0i64, -1, 1]);
    equals(ints([2, 3]).powi_scalar(2), [4i64, 9]);
    equals(floats([2.0, -2.0]).powi(ints([-1, 3])), [0.5f32, -8.0]);
    equals(floats([2.0, -2.0]).powi_scalar(-2), [0.25f32, 0.25]);
    equals(
        Tensor::<2, Int>::from([[1, 2, 3]]).powi(Tensor::from([[2, 2, 2], [3, 3, 3]])),
        [[1i64, 4, 9], [1, 8, 27]],
    );
    assert_eq!(
        text(|| ints([2]).powi_scalar(-1)),
        "pow: the power -1 of integers is no integer; convert the tensor with `float()`"
    );
    let fraction = text(|| floats([2.0]).powi_scalar(0.5));
    assert_eq!(fraction, "powi_scalar: the power 0.5 is no integer; use `powf_scalar`");
}

#[test]
fn integers_and_fractions() {
    equals(ints([1, 2]) * 2.0, [2i64, 4]);
    assert_eq!(
        text(|| ints([1, 2]) + 1.5),
        "add: 1.5 is no integer, but the tensor is i64; convert it with `float()`"
    );
    assert!(guard(|| ints([1]).clamp_min(f64::NAN)).is_err());
    // Comparisons are exact.
    equals(ints([2, 3]).greater_elem(2.5), [false, true]);
    equals(ints([2, 3]).lower_equal_scalar(2.5), [true, false]);
    equals(ints([2, 3]).equal_elem(2.5), [false, false]);
    equals(ints([i64::MAX]).lower_elem(1e30), [true]);
}

#[test]
fn rounding_to_decimals() {
    let x = floats([0.125, -0.375, 1234.5678, -0.04]);
    close(x.round_to(2), [0.12, -0.38, 1234.57, -0.04]);
    equals(x.round_to(0), x.round().to_data());
    // Nothing is lost where there are no such decimals, or no number of them.
    let large = floats([3.5, 1e30, -1e30, f32::INFINITY, 0.0]);
    equals(large.round_to(20), large.to_data());
    equals(large.round_to(u32::MAX), large.to_data());
    assert!(floats([f32::NAN]).round_to(1).into_scalar::<f32>().is_nan());
}

#[test]
fn different_dtypes_meet_at_the_wider() {
    let wide = Tensor::<1, Int>::from_data([1i64 << 40, 2], (&Device::cpu(), DType::I64));
    let narrow = Tensor::<1, Int>::from_data([1i64, 2], (&Device::cpu(), DType::I32));
    equals(narrow.lower(&wide), [true, false]);
    equals(narrow.equal(&wide), [false, true]);
    assert_eq!((&narrow + &wide).dtype(), DType::I64);
    let half = Tensor::<1>::from_data([1.0, 2.0], (&Device::cpu(), DType::F16));
    let bfloat = Tensor::<1>::from_data([1.0, 3.0], (&Device::cpu(), DType::BF16));
    equals(half.greater_equal(bfloat), [true, false]);
}

#[test]
fn shifts_and_bits() {
    let x = ints([3, -4, 1]);
    equals(&x << 2, [12i64, -16, 4]);
    equals(&x >> 1, [1i64, -2, 0]);
    equals(&x << ints([1, 64, -1]), [6i64, 0, 0]);
    equals(x.bitwise_right_shift(ints([100, 100, -1])), [0i64, -1, 0]);
    equals(x.bitwise_left_shift_scalar(1), [6i64, -8, 2]);
    equals(x.bitwise_right_shift_scalar(1), [1i64, -2, 0]);
    equals(&x & 1, [1i64, 0, 1]);
    equals(&x | ints([4, 0, 2]), [7i64, -4, 3]);
    equals(x.clone() ^ &x, [0i64, 0, 0]);
    equals(!&x, [-4i64, 3, -2]);
    equals(!x, [-4i64, 3, -2]);
    let bytes = Tensor::<1, Int>::from_data([255i64, 7], (&Device::cpu(), DType::U8));
    equals(bytes << 1, [254i64, 14]);
}

#[test]
fn logic_of_bools() {
    let (a, b) = (bools([true, true, false, false]), bools([true, false, true, false]));
    equals(&a & &b, [true, false, false, false]);
    equals(a.clone() | b.clone(), [true, true, true, false]);
    equals(&a ^ b.clone(), [false, true, true, false]);
    equals(a.bool_xor(&b), [false, true, true, false]);
    equals(!&a, [false, false, true, true]);
    equals(a.equal_elem(false), [false, false, true, true]);
    equals(a.not_equal(&b), [false, true, true, false]);
}

#[test]
fn operators_in_place_keep_the_memory() {
    let mut x = floats([1.0, 2.0, 7.0]);
    let address = x.as_any().buffer().address();
    x += 1;
    x *= 2.0f32;
    x -= floats([1.0, 1.0, 1.0]);
    x /= &floats([1.0, 5.0, 3.0]);
    x %= 4u8;
    x += f16::ONE;
    x -= bf16::ONE;
    equals(&x, [3.0f32, 1.0, 1.0]);
    assert_eq!(x.as_any().buffer().address(), address);
    // Somebody else looks at the memory: a copy is changed.
    let other = x.clone();
    x += 1;
    equals(&x, [4.0f32, 2.0, 2.0]);
    equals(&other, [3.0f32, 1.0, 1.0]);
    let mut n = ints([5, 6]);
    n %= 4;
    n -= 1i8;
    equals(n, [0i64, 1]);
}

#[test]
fn numbers_on_the_left() {
    equals(1 - floats([3.0]), [-2.0f32]);
    equals(6u8 / &floats([3.0]), [2.0f32]);
    equals(2i16 + &floats([3.0]), [5.0f32]);
    equals(f16::ONE * floats([3.0]), [3.0f32]);
    equals(7isize % ints([4]), [3i64]);
    equals(1.0 / floats([4.0]), [0.25f32]);
}

#[test]
fn signs() {
    equals(floats([-2.0, -0.0, 0.0, 3.0, f32::NAN]).sign(), [-1.0f32, 0.0, 0.0, 1.0, 0.0]);
    equals(ints([-5, 0, 9]).sign(), [-1i64, 0, 1]);
    equals(ints([-5, i64::MIN]).abs(), [5, i64::MIN]);
    equals(floats([1.0, -2.0]).copysign(floats([-0.0, 3.0])), [-1.0f32, 2.0]);
    equals(floats([2.5, -2.5]).frac(), [0.5f32, -0.5]);
    equals(floats([-1.0, 0.0, 2.0]).heaviside(floats([9.0])), [0.0f32, 9.0, 1.0]);
}

#[test]
fn closeness() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let x = floats([1.0, inf, inf, nan, -inf, 1.0]);
    let y = floats([1.000_001, inf, -inf, nan, 3.0, inf]);
    equals(x.is_close(&y, None, None), [true, true, false, false, false, false]);
    let given = x.is_close(&y, Some(DEFAULT_RTOL), Some(DEFAULT_ATOL));
    equals(given, [true, true, false, false, false, false]);
    equals(floats([1.0]).is_close(floats([1.5]), None, Some(0.5)), [true]);
    equals(floats([1.0]).is_close(floats([1.5]), Some(0.2), None), [false]);
    assert!(floats([1.0, 2.0]).all_close(floats([1.0, 2.0]), None, None));
    assert!(!x.all_close(&y, None, None));
    assert!(ints([1000, 5]).all_close(ints([1001, 5]), Some(0.01), None));
    assert!(Tensor::<1>::zeros([0], &Device::cpu()).all_close(floats([1.0]), None, None));
}

#[test]
fn nan_and_infinities() {
    let x = floats([1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
    equals(x.is_nan(), [false, true, false, false]);
    equals(x.is_inf(), [false, false, true, true]);
    equals(x.is_finite(), [true, false, false, false]);
    equals(x.contains_nan(), [true]);
    equals(floats([1.0]).contains_nan(), [false]);
    equals(x.nan_to_num(0.0, None, None), [1.0, 0.0, f32::MAX, f32::MIN]);
    let half = Tensor::<1>::from_data([f64::INFINITY], (&Device::cpu(), DType::F16));
    equals(half.nan_to_num(0.0, None, None), [65504.0f32]);
}

#[test]
fn inverse_functions() {
    let x = floats([-0.9, -0.1, 0.0, 0.3, 0.99]);
    close(x.asin().sin(), x.to_data());
    close(x.atanh().tanh(), x.to_data());
    close(x.erfinv().erf(), x.to_data());
    close(x.sinh().asinh(), x.to_data());
    close(x.tan().atan(), x.to_data());
    close(x.exp2().log2(), x.to_data());
    close(x.acos().cos(), x.to_data());
    close(x.deg2rad().rad2deg(), x.to_data());
    close(x.abs().cosh().acosh(), [0.9f32, 0.1, 0.0, 0.3, 0.99]);
    close(floats([3.0]).hypot(floats([4.0])), [5.0f32]);
    close(floats([1.0, -1.0]).atan2(floats([0.0, -1.0])), [1.5707964f32, -2.3561945]);
}

#[test]
fn gamma_and_its_derivatives() {
    close(floats([5.0, 0.5]).lgamma(), [24f32.ln(), 0.5723649]);
    close(floats([1.0]).digamma(), [-0.5772157f32]);
    close(floats([1.0]).trigamma(), [1.644934f32]);
    close(floats([1.0]).polygamma(2), [-2.4041138f32]);
    close(floats([1.0]).polygamma(0), [-0.5772157f32]);
    let text = text(|| floats([1.0]).polygamma(101));
    assert_eq!(text, "polygamma: the order must be from 1 to 100, found 101");
}

#[test]
fn sums_of_exponentials() {
    let inf = f32::INFINITY;
    let x = Tensor::<2>::from([[1000.0, 1000.0], [-inf, -inf], [inf, 0.0], [-inf, 3.0]]);
    let y = x.logsumexp(1);
    assert_eq!(y.dims(), [4, 1]);
    equals(y, [[1000.0 + 2f32.ln()], [-inf], [inf], [3.0]]);
    equals(Tensor::<2>::zeros([2, 0], &Device::cpu()).logsumexp(-1), [[-inf], [-inf]]);
    close(
        floats([1.0, -inf, 3e38]).logaddexp(floats([1.0, -inf, 3e38])),
        [1.0 + 2f32.ln(), -inf, 3e38],
    );
}

#[test]
fn interpolation_and_scaled_products() {
    let (a, b) = (floats([0.0, 10.0]), floats([4.0, 20.0]));
    equals(a.lerp_scalar(&b, 0.25), [1.0f32, 12.5]);
    equals(a.lerp(&b, floats([0.0, 1.0])), [0.0f32, 20.0]);
    equals(a.addcmul(&b, &b, 0.5), [8.0f32, 210.0]);
    equals(a.addcdiv(&b, floats([2.0, 5.0]), 3.0), [6.0f32, 22.0]);
}

#[test]
fn activations_by_eye() {
    let x = floats([-4.0, -1.0, 0.0, 0.5, 8.0]);
    equals(activation::leaky_relu(&x, 0.5), [-2.0f32, -0.5, 0.0, 0.5, 8.0]);
    equals(activation::relu6(&x), [0.0f32, 0.0, 0.0, 0.5, 6.0]);
    equals(activation::hardtanh(&x, -2.0, 0.25), [-2.0f32, -1.0, 0.0, 0.25, 0.25]);
    equals(activation::hard_sigmoid(&x, 0.25, 0.5), [0.0f32, 0.25, 0.5, 0.625, 1.0]);
    equals(activation::hard_shrink(&x, 0.75), [-4.0f32, -1.0, 0.0, 0.0, 8.0]);
    equals(activation::soft_shrink(&x, 0.75), [-3.25f32, -0.25, 0.0, 0.0, 7.25]);
    equals(activation::shrink(&x, 0.75, 0.5), [-3.5f32, -0.5, 0.0, 0.0, 7.5]);
    equals(activation::threshold(&x, 0.5, 9.0), [9.0f32, 9.0, 9.0, 9.0, 8.0]);
    equals(activation::thresholded_relu(&x, 1.0), [0.0f32, 0.0, 0.0, 0.0, 8.0]);
    close(activation::elu(&x, 1.0), [-0.9816844f32, -0.6321206, 0.0, 0.5, 8.0]);
    close(activation::softsign(&x), [-0.8f32, -0.5, 0.0, 1.0 / 3.0, 8.0 / 9.0]);
    close(activation::softplus(floats([0.0, 50.0]), 2.0), [0.3465736f32, 50.0]);
    let cut = activation::softplus_with_threshold(floats([0.0, 1.0, 50.0]), 2.0, 1.5);
    close(cut, [0.3465736f32, 1.0, 50.0]);
    close(activation::log_sigmoid(floats([-100.0, 0.0])), [-100.0, -(2f32.ln())]);
    let rows = Tensor::<2>::from([[1.0, 2.0, 0.0, 0.0]]);
    equals(activation::glu(&rows, 1), [[0.5f32, 1.0]]);
    close(activation::quiet_softmax(Tensor::<2>::from([[0.0, 0.0]]), 1), [[1.0f32 / 3.0; 2]]);
    close(activation::softmin(Tensor::<2>::from([[1.0, 1.0]]), -1), [[0.5f32, 0.5]]);
    equals(
        activation::prelu(Tensor::<2>::from([[-1.0, -1.0]]), floats([0.5, 2.0])),
        [[-0.5f32, -2.0]],
    );
}

#[test]
fn activations_refuse_what_makes_no_sense() {
    let x = Tensor::<2>::from([[1.0, 2.0, 3.0]]);
    let glu = text(|| activation::glu(&x, 1));
    assert_eq!(glu, "glu: shapes [1, 3] do not fit: the extent of axis 1 must be even");
    let prelu = text(|| activation::prelu(&x, floats([1.0, 2.0])));
    assert_eq!(
        prelu,
        "prelu: shapes [1, 3] and [2] do not fit: one slope or one for each channel (axis 1) is needed"
    );
    assert_eq!(text(|| activation::celu(&x, 0.0)), "celu: alpha must not be 0");
    assert_eq!(text(|| activation::softplus(&x, 0.0)), "softplus: beta must not be 0");
    let bounds = text(|| activation::hardtanh(&x, 2.0, 1.0));
    assert_eq!(bounds, "hardtanh: the bounds 2 and 1 are in the wrong order");
    let delta = text(|| loss::huber(&x, &x, 0.0));
    assert_eq!(delta, "huber: delta must be positive, found 0");
}

#[test]
fn activations_of_nothing() {
    let empty = Tensor::<2>::zeros([0, 4], &Device::cpu());
    assert_eq!(activation::glu(&empty, 1).dims(), [0, 2]);
    assert_eq!(activation::mish(&empty).dims(), [0, 4]);
    assert_eq!(activation::quiet_softmax(&empty, 1).dims(), [0, 4]);
    assert_eq!(empty.logsumexp(1).dims(), [0, 1]);
}

#[test]
fn losses_by_eye() {
    let (x, t) = (floats([1.0, 5.0]), floats([0.0, 2.0]));
    equals(loss::mse(&x, &t), [1.0f32, 9.0]);
    equals(loss::l1(&x, &t), [1.0f32, 3.0]);
    equals(loss::huber(&x, &t, 2.0), [0.5f32, 4.0]);
    equals(loss::smooth_l1(&x, &t, 2.0), [0.25f32, 2.0]);
    equals(loss::smooth_l1(&x, &t, 0.0), [1.0f32, 3.0]);
    close(loss::bce(floats([0.5, 0.0, 1.0]), floats([1.0, 1.0, 1.0])), [2f32.ln(), 100.0, 0.0]);
    // The loss of a sure and right answer does not vanish too early.
    let sure = loss::bce_with_logits(floats([50.0, -50.0]), floats([1.0, 0.0]));
    close(sure.mul_scalar(1e22), [1.928_75f32, 1.928_75]);
    let logits = Tensor::<2, Float>::from([[0.0, f32::NEG_INFINITY, 0.0]]);
    let probs = Tensor::from([[0.5, 0.0, 0.5]]);
    close(loss::cross_entropy_with_logits(logits, probs), [2f32.ln()]);
}

#[test]
fn comparisons_broadcast() {
    let (a, b) = (Tensor::<2, Int>::from([[2], [4]]), Tensor::<2, Int>::from([[1, 2, 3]]));
    let y: Tensor<2, Bool> = a.lower_equal(b);
    equals(y, [[false, true, true], [false, false, false]]);
}
