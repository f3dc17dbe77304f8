//! Methods of the training path.

use kiln_tensor::op::{Activation, Conv2dOptions};
use kiln_tensor::{
    Bool, DType, Device, Distribution, Element, Float, FloatDType, Int, IntDType, Options, Shape,
    Slice, Tensor, TensorData, activation, bf16, f16, module, s,
};

use crate::common::*;

#[test]
fn tensors_are_made_of_numbers() {
    let device = Device::cpu();
    equals(Tensor::<2>::zeros([1, 2], &device), [[0.0, 0.0]]);
    equals(Tensor::<1, Int>::ones([2], &device), [1, 1]);
    equals(Tensor::<1, Bool>::full([2], true, &device), [true, true]);
    equals(Tensor::<2>::eye(2, &device), [[1.0, 0.0], [0.0, 1.0]]);
    equals(Tensor::<1, Int>::arange(-1..2, &device), [-1, 0, 1]);
    equals(Tensor::<1, Int>::arange_step(0..7, 3, &device), [0, 3, 6]);
    equals(Tensor::<1>::arange(3..3, &device), Vec::<f32>::new());
    equals(two_by_three().ones_like() + two_by_three().zeros_like(), [[1.0f32; 3]; 2]);
    // Numbers take the dtype that the options name, or the kind's own.
    assert_eq!(Tensor::<1>::from([1, 2]).dtype(), DType::F32);
    assert_eq!(Tensor::<1, Int>::from([1u8]).dtype(), DType::I64);
    let half = Tensor::<1>::from_data([1.0], (&device, DType::BF16));
    assert_eq!((half.dtype(), half.device(), half.num_elements()), (DType::BF16, device, 1));
    assert_eq!(Options::default().device, device);
    let scalar = Tensor::<0>::from_data(TensorData::new(vec![2.5f32], []), &device);
    assert_eq!((scalar.item::<f64>(), scalar.shape()), (2.5, Shape::SCALAR));
    assert_eq!(Tensor::<1, Int>::from(vec![7]).into_scalar::<i32>(), 7);
    assert_eq!(scalar.detach().into_any().dtype(), DType::F32);
}

#[test]
fn arithmetic_broadcasts_and_takes_numbers_on_both_sides() {
    let (a, b) = (floats([1.0, 2.0]), floats([4.0, 5.0]));
    equals(&a + &b, [5.0, 7.0]);
    equals(a.clone() - b.clone(), [-3.0, -3.0]);
    equals(&a * b.clone(), [4.0, 10.0]);
    equals(b.clone() / &a, [4.0, 2.5]);
    equals(&b % 3.0, [1.0, 2.0]);
    equals(10.0 - &a, [9.0, 8.0]);
    equals(1 / a.clone(), [1.0, 0.5]);
    equals(2u32 * &a + 1, [3.0, 5.0]);
    equals(-&a, [-1.0, -2.0]);
    equals(-a.clone(), [-1.0, -2.0]);
    equals(two_by_three() + Tensor::<2>::from([[10], [20]]), [[10, 11, 12], [23, 24, 25]]);
    equals(a.add(&b).sub(&b).mul(&b).div(&b).remainder(&b), [1.0, 2.0]);
    equals(a.add_scalar(1).sub_scalar(1.0).mul_scalar(4).div_scalar(2), [2.0, 4.0]);
    equals(b.remainder_scalar(-3), [-2.0, -1.0]);
    equals(a.max_pair(floats([1.5, 1.5])), [1.5, 2.0]);
    equals(a.min_pair(floats([1.5, 1.5])), [1.0, 1.5]);
    equals(floats([-2.0, 0.5, f32::NAN]).clamp(-1, 0.25), [-1.0, 0.25, f32::NAN]);
    equals(a.clamp_min(1.5).clamp_max(1.75), [1.5, 1.75]);
    // Integers stay integers, and a float argument is cut.
    equals(ints([-7, 7]) / 2, [-3, 3]);
    equals(ints([-7, 7]) % 3, [2, 1]);
    equals(ints([2, 3]).powi_scalar(3), [8, 27]);
    equals(ints([6, 3]).bitwise_and(ints([3, 5])), [2, 1]);
    equals(ints([6]).bitwise_or_scalar(1).bitwise_xor_scalar(2).bitwise_not(), [-6]);
    equals(ints([6]).bitwise_or(ints([1])).bitwise_xor(ints([7])).bitwise_and_scalar(1), [0]);
    // Different dtypes meet at the wider.
    let mixed = a.cast(DType::F16) + b.cast(DType::F64);
    assert_eq!(mixed.dtype(), DType::F64);
    equals(mixed, [5.0, 7.0]);
    assert_eq!(a.cast(DType::F16).add(b.cast(DType::BF16)).dtype(), DType::F32);
}

#[test]
fn assignment_works_in_place_and_never_changes_another_tensor() {
    let mut x = floats([1.0, 2.0]);
    let address = x.as_any().buffer().address();
    x += floats([1.0, 1.0]);
    x -= &floats([0.5, 0.5]);
    x *= 4.0;
    x /= 2;
    equals(&x, [3.0, 5.0]);
    assert_eq!(x.as_any().buffer().address(), address);
    let before = x.clone();
    x += 1.0;
    equals(&before, [3.0, 5.0]);
    equals(&x, [4.0, 6.0]);
    assert_ne!(x.as_any().buffer().address(), before.as_any().buffer().address());
    // A view shares memory too, and so does the right side.
    let mut part = x.slice(1..2);
    part *= 10.0;
    equals(&x, [4.0, 6.0]);
    equals(&part, [60.0]);
    let again = x.clone();
    x += &again;
    equals(x, [8.0, 12.0]);
    // The owned operand of an operator becomes the result.
    let owned = again.as_any().buffer().address();
    assert_eq!((again + 1.0).as_any().buffer().address(), owned);
    // A result of another shape or dtype takes new memory.
    let mut row = Tensor::<2>::from([[1.0, 2.0]]);
    row += Tensor::<2>::from([[1.0], [2.0]]);
    equals(row, [[2.0, 3.0], [3.0, 4.0]]);
}

#[test]
fn functions_of_each_element() {
    let x = floats([0.25, 1.0, 4.0]);
    close(x.sqrt(), [0.5, 1.0, 2.0]);
    close(x.rsqrt(), [2.0, 1.0, 0.5]);
    close(x.recip(), [4.0, 1.0, 0.25]);
    close(x.square(), [0.0625, 1.0, 16.0]);
    close(x.log2(), [-2.0, 0.0, 2.0]);
    close(floats([0.1, 1000.0]).log10(), [-1.0, 3.0]);
    close(floats([0.0, 1.0]).exp().log(), [0.0, 1.0]);
    close(floats([1e-8]).expm1().log1p() * 1e8, [1.0]);
    close(floats([0.0, 1.0]).sin(), [0.0, 0.841471]);
    close(floats([0.0, 1.0]).cos(), [1.0, 0.540302]);
    close(floats([0.0, 1.0]).tan(), [0.0, 1.557408]);
    close(floats([0.0, 1.0]).tanh(), [0.0, 0.761594]);
    close(floats([0.0, 1.0]).erf(), [0.0, 0.842701]);
    close(x.powf_scalar(0.5), [0.5, 1.0, 2.0]);
    close(x.powf(floats([2.0, 5.0, -1.0])), [0.0625, 1.0, 0.25]);
    let x = floats([-1.5, 0.5, 2.5]);
    equals(x.floor(), [-2.0, 0.0, 2.0]);
    equals(x.ceil(), [-1.0, 1.0, 3.0]);
    equals(x.round(), [-2.0, 0.0, 2.0]);
    equals(x.trunc(), [-1.0, 0.0, 2.0]);
    equals(x.abs(), [1.5, 0.5, 2.5]);
    equals(x.sign(), [-1.0, 1.0, 1.0]);
    equals(x.neg(), [1.5, -0.5, -2.5]);
    equals(ints([-3, 0]).abs().neg().sign(), [-1, 0]);
}

#[test]
fn comparisons_and_logic() {
    let (a, b) = (floats([1.0, 2.0, f32::NAN]), floats([2.0, 2.0, f32::NAN]));
    equals(a.equal(&b), [false, true, false]);
    equals(a.not_equal(&b), [true, false, true]);
    equals(a.lower(&b), [true, false, false]);
    equals(a.lower_equal(&b), [true, true, false]);
    equals(a.greater(&b), [false, false, false]);
    equals(a.greater_equal(&b), [false, true, false]);
    equals(a.is_nan(), [false, false, true]);
    equals(a.greater_elem(1).bool_or(a.lower_elem(1.5)), [true, true, false]);
    equals(a.greater_equal_elem(2).bool_and(a.lower_equal_elem(2)), [false, true, false]);
    equals(a.equal_elem(1).bool_xor(a.not_equal_elem(1)), [true, true, true]);
    equals(!bools([true, false]), [false, true]);
    equals(!&bools([true]), [false]);
    equals(bools([true, false]).bool_not().equal_elem(true), [false, true]);
}

#[test]
fn reductions_keep_the_rank() {
    let x = two_by_three();
    equals(x.sum(), [15.0]);
    equals(x.sum_dim(0), [[3.0, 5.0, 7.0]]);
    equals(x.mean_dim(-1), [[1.0], [4.0]]);
    equals(x.mean(), [2.5]);
    equals(x.prod_dim(1), [[0.0], [60.0]]);
    equals(x.prod(), [0.0]);
    equals(x.max_dim(0), [[3.0, 4.0, 5.0]]);
    equals(x.min_dim(1), [[0.0], [3.0]]);
    equals((x.max(), x.min()).0, [5.0]);
    equals(x.min(), [0.0]);
    equals(x.var(1), [[1.0], [1.0]]);
    close(x.var_bias(1), [[2.0 / 3.0], [2.0 / 3.0]]);
    assert!(x.narrow(1, 0, 1).var(1).sum().into_scalar::<f32>().is_nan());
    equals(ints([7, -8]).mean(), [0]);
    equals(Tensor::<2>::zeros([0, 2], &Device::cpu()).sum_dim(0), [[0.0, 0.0]]);
    assert!(Tensor::<1>::zeros([0], &Device::cpu()).mean().into_scalar::<f32>().is_nan());
    let ties = Tensor::<2>::from([[1.0, 3.0, 3.0], [f32::NAN, 9.0, f32::NAN]]);
    equals(ties.argmax(1), [[1], [0]]);
    equals(ties.argmin(1), [[0], [0]]);
    assert!(ties.max().into_scalar::<f32>().is_nan());
    let b = Tensor::<2, Bool>::from([[true, false], [true, true]]);
    equals(b.any_dim(1), [[true], [true]]);
    equals(b.all_dim(1), [[false], [true]]);
    assert!(b.any().into_scalar::<bool>() && !b.all().into_scalar::<bool>());
}

#[test]
fn shapes_change_without_moving_numbers() {
    let x = two_by_three();
    assert_eq!(x.reshape([3, -1]).dims(), [3, 2]);
    assert_eq!(x.reshape([0, 1, -1]).dims(), [2, 1, 3]);
    assert_eq!(x.reshape::<1, _>(Shape::new([6])).dims(), [6]);
    assert_eq!(x.reshape([1usize, 6]).shape(), Shape::new([1, 6]));
    assert_eq!(x.flatten::<1>(0, -1).dims(), [6]);
    assert_eq!(x.unsqueeze_dim::<3>(-1).dims(), [2, 3, 1]);
    assert_eq!(x.unsqueeze_dim::<3>(1).dims(), [2, 1, 3]);
    assert_eq!(x.unsqueeze::<4>().dims(), [1, 1, 2, 3]);
    assert_eq!(x.unsqueeze::<4>().squeeze::<2>().dims(), [2, 3]);
    assert_eq!(x.unsqueeze::<3>().squeeze_dim::<2>(0).dims(), [2, 3]);
    equals(x.t(), [[0, 3], [1, 4], [2, 5]]);
    equals(x.transpose().contiguous().reshape([6]), [0, 3, 1, 4, 2, 5]);
    equals(x.permute([-1, 0]), [[0, 3], [1, 4], [2, 5]]);
    equals(x.swap_dims(0, 1).swap_dims(0, -1), [[0, 1, 2], [3, 4, 5]]);
    equals(x.flip([1]), [[2, 1, 0], [5, 4, 3]]);
    equals(x.flip([0, -1]), [[5, 4, 3], [2, 1, 0]]);
    equals(x.flip([]), [[0, 1, 2], [3, 4, 5]]);
    equals(ints([1, 2]).expand([2, -1]), [[1, 2], [1, 2]]);
    equals(ints([7]).reshape([1, 1]).expand([2usize, 2]), [[7, 7], [7, 7]]);
    equals(ints([1, 2, 3, 4]).unfold::<2, _>(0, 2, 2), [[1, 2], [3, 4]]);
    equals(Tensor::cat(&[x.clone(), x.clone()], 0).slice(s![2.., 0]), [[0], [3]]);
    equals(Tensor::stack::<2>(&[ints([1, 2]), ints([3, 4])], 1), [[1, 3], [2, 4]]);
    equals(ints([1, 2]).repeat_dim(0, 3), [1, 2, 1, 2, 1, 2]);
    assert_eq!(x.repeat_dim(1, 0).dims(), [2, 0]);
    let chunks = ints([1, 2, 3, 4, 5]).chunk(2, 0);
    assert_eq!(chunks.len(), 2);
    equals(&chunks[0], [1, 2, 3]);
    equals(&chunks[1], [4, 5]);
}

#[test]
fn slices_follow_python_and_walk_ranges_backwards() {
    let x = Tensor::<1, Int>::arange(0..6, &Device::cpu());
    equals(x.slice(1..3), [1, 2]);
    equals(x.slice(1..=3), [1, 2, 3]);
    equals(x.slice(-2..), [4, 5]);
    equals(x.slice(..-4), [0, 1]);
    equals(x.slice(-3..=-1), [3, 4, 5]);
    equals(x.slice(-1), [5]);
    equals(x.slice(4..99), [4, 5]);
    equals(x.slice(..), [0, 1, 2, 3, 4, 5]);
    assert_eq!(x.slice(Slice::new(4, Some(2), 1)).dims(), [0]);
    equals(x.slice(s![1..6;2]), [1, 3, 5]);
    equals(x.slice(s![..;-1]), [5, 4, 3, 2, 1, 0]);
    equals(x.slice(Slice::new(1, Some(-1), -2)), [4, 2]);
    let m = two_by_three();
    equals(m.slice([0..1, 1..3]), [[1, 2]]);
    equals(m.slice(s![.., 1]), [[1], [4]]);
    equals(m.slice(s![-1, ..;-2]), [[5, 3]]);
    equals(m.narrow(-1, 1, 2), [[1, 2], [4, 5]]);
}

#[test]
fn elements_are_picked_by_index_and_mask() {
    let x = two_by_three();
    equals(x.select(1, ints([2, 0, 2])), [[2, 0, 2], [5, 3, 5]]);
    equals(x.select(0, ints([-0])), [[0, 1, 2]]);
    equals(x.gather(1, Tensor::<2, Int>::from([[2], [0]])), [[2], [3]]);
    let mask = x.greater_elem(2.5);
    equals(x.mask_fill(&mask, -1), [[0, 1, 2], [-1, -1, -1]]);
    equals(x.mask_where(mask, x.neg()), [[0, 1, 2], [-3, -4, -5]]);
    equals(bools([true, false]).mask_fill(bools([true, true]), false), [false, false]);
    let table = Tensor::<2>::from([[1.0, 2.0], [3.0, 4.0]]);
    equals(module::embedding(&table, &ints([1, 1])), [[3, 4], [3, 4]]);
}

#[test]
fn casts_between_dtypes_and_kinds() {
    let x = floats([-1.75, 0.0, 2.5]);
    equals(x.int(), [-1, 0, 2]);
    assert_eq!(x.int().dtype(), DType::I64);
    equals(ints([3, -1]).float() / 2.0, [1.5, -0.5]);
    equals(bools([true, false]).float(), [1.0, 0.0]);
    equals(bools([true, false]).int(), [1, 0]);
    equals(ints([300, -1]).cast(DType::U8), [44, 255]);
    let halves = x.cast(DType::F16).into_data();
    assert_eq!(halves.to_vec::<f16>().unwrap(), [-1.75, 0.0, 2.5].map(f16::from_f32));
    let rounded = floats([257.0 / 256.0, 3.0]).cast(DType::BF16).into_data();
    assert_eq!(rounded.to_vec::<bf16>().unwrap(), [bf16::ONE, bf16::from_f32(3.0)]);
    equals(
        x.to_device(&Device::reference()).exp().to_device(&Device::cpu()).log().round(),
        [-2.0, 0.0, 2.0],
    );
    assert_eq!(<f16 as Element>::DTYPE, DType::F16);
}

#[test]
fn devices_say_which_dtypes_they_hold() {
    for device in [Device::cpu(), Device::reference()] {
        assert!([DType::F16, DType::F64, DType::Bool].iter().all(|&d| device.supports_dtype(d)));
    }
}

#[test]
fn random_numbers_have_their_moments_and_follow_the_seed() {
    // A generator of its own: other tests draw from the processor's.
    let device = Device::reference();
    let n = 20_000;
    let moments = |law, dtype| {
        let x = Tensor::<1>::random([n], law, (&device, dtype)).to_device(&Device::cpu());
        let x = x.cast(DType::F64);
        (x.mean().item::<f64>(), x.var(0).item::<f64>(), x.min().item(), x.max().item())
    };
    for dtype in [DType::F32, DType::F64] {
        // Five standard deviations of the mean of 20000 numbers, and of their variance.
        let (mean, var, low, high): (f64, f64, f64, f64) = moments(Distribution::Default, dtype);
        assert!((mean - 0.5).abs() < 0.0103 && (var - 1.0 / 12.0).abs() < 0.0027);
        assert!((0.0..0.01).contains(&low) && (0.99..1.0).contains(&high));
        let (mean, _, low, high) = moments(Distribution::Uniform(-2.0, 4.0), dtype);
        assert!((mean - 1.0).abs() < 0.062 && low >= -2.0 && high < 4.0);
        let (mean, var, ..) = moments(Distribution::Normal(3.0, 2.0), dtype);
        assert!((mean - 3.0).abs() < 0.071 && (var - 4.0).abs() < 0.2);
        let (mean, _, low, high) = moments(Distribution::Bernoulli(0.2), dtype);
        assert!((mean - 0.2).abs() < 0.015 && (low, high) == (0.0, 1.0));
    }
    let draw = || Tensor::<1>::random([5], Distribution::Default, &device).into_data();
    device.seed(3);
    let (first, second, state) = (draw(), draw(), device.generator());
    let third = draw();
    assert_ne!(first, second);
    device.seed(3);
    assert_eq!((draw(), draw()), (first, second));
    device.set_generator(state);
    assert_eq!(draw(), third);
    let like = two_by_three().cast(DType::F64).random_like(Distribution::Uniform(1.0, 2.0));
    assert_eq!((like.dims(), like.dtype()), ([2, 3], DType::F64));
}

#[test]
fn dropout_drops_its_share_and_scales_the_rest() {
    let x = Tensor::<1>::ones([20_000], &Device::cpu());
    let y = module::dropout(&x, 0.25);
    let kept = y.not_equal_elem(0).float().sum().into_scalar::<f64>() / 20_000.0;
    assert!((kept - 0.75).abs() < 0.016, "{kept}");
    assert_eq!(y.max().into_scalar::<f32>(), 1.0 / 0.75);
    equals(module::dropout(&floats([3.0]), 0.0), [3.0]);
}

#[test]
fn functions_behind_layers() {
    let x = Tensor::<2>::from([[1.0, -2.0]]);
    let w = Tensor::<2>::from([[1.0, 1.0], [2.0, 0.0]]);
    let b = floats([0.5, 0.0]);
    equals(module::linear(&x, &w, Some(b.clone())), [[-2.5, 1.0]]);
    equals(module::linear(floats([1.0, -2.0]), w.clone(), None), [-3.0, 1.0]);
    equals(module::linear_activation(&x, &w, Some(&b), None), [[-0.5, 2.0]]);
    let relu = module::linear_activation(&x, &w, Some(&b), Some(Activation::Relu));
    equals(relu, [[0.0, 2.0]]);
    equals(x.matmul(&w), [[-3.0, 1.0]]);
    let image = Tensor::<1>::arange(0..9, &Device::cpu()).reshape([1, 1, 3, 3]);
    let kernel = Tensor::<4>::ones([1, 1, 2, 2], &Device::cpu());
    let sums = module::conv2d(&image, &kernel, None, Conv2dOptions::default());
    equals(&sums, [[[[8, 12], [20, 24]]]]);
    equals(module::avg_pool2d(&sums, [2, 2], [2, 2], [0, 0], true, false), [[[[16]]]]);
    let losses = module::cross_entropy(Tensor::from([[0.0, 0.0], [9.0, 9.0]]), ints([0, 1]));
    close(losses, [2f32.ln(); 2]);
}

#[test]
fn activations() {
    let x = floats([-1.0, 0.0, 2.0]);
    equals(activation::relu(&x), [0.0, 0.0, 2.0]);
    close(activation::sigmoid(&x), [0.268941, 0.5, 0.880797]);
    close(activation::tanh(&x), [-0.761594, 0.0, 0.964028]);
    close(activation::gelu(&x), [-0.158655, 0.0, 1.9545]);
    close(activation::gelu_approximate(&x), [-0.158808, 0.0, 1.954598]);
    close(activation::silu(&x), [-0.268941, 0.0, 1.761594]);
    close(activation::softplus(&x, 1.0), [0.313262, 2f32.ln(), 2.126928]);
    close(activation::softmax(floats([0.0, 0.0]), -1), [0.5, 0.5]);
    close(activation::log_softmax(floats([0.0, 0.0]), 0), [-2f32.ln(); 2]);
    assert_eq!(std::any::type_name::<Float>(), "kiln_tensor::tensor::Float");
}

#[test]
fn a_tensor_is_taken_out_of_its_variable() {
    let mut x = bools([true, false]);
    let taken = x.extract();
    assert_eq!((taken.dims(), x.dims(), x.dtype()), ([2], [0], DType::Bool));
    x = taken;
    x.inplace(|x| x.bool_not());
    equals(x, [false, true]);
    let mut y = ints([2, 3]);
    y.inplace(|y| y.clone() * y);
    equals(y, [4, 9]);
}

#[test]
fn dtypes_of_a_kind() {
    assert_eq!(IntDType::from(DType::U16), IntDType::U16);
    assert_eq!(FloatDType::from(DType::BF16), FloatDType::BF16);
    assert!(text(|| IntDType::from(DType::F32)).contains("no integer dtype"));
    assert!(text(|| FloatDType::from(DType::Bool)).contains("no float dtype"));
}
