//! Complex tensors, Fourier transforms and signals.

use kiln_tensor::fft::{self, Norm};
use kiln_tensor::num_complex::Complex as Number;
use kiln_tensor::op::{Axes, ReduceKind};
use kiln_tensor::signal::{self, StftOptions, blackman_window, hamming_window, hann_window};
use kiln_tensor::{
    Complex, ComplexScalar, DType, Device, Float, Int, Scalar, Tensor, TensorData, Tolerance,
};

use crate::common::{close, equals, floats, text};

fn z(re: f32, im: f32) -> Number<f32> {
    Number::new(re, im)
}

fn numbers<const N: usize>(values: [Number<f32>; N]) -> Tensor<1, Complex> {
    Tensor::from(values)
}

#[track_caller]
fn near<const D: usize>(x: impl AsRef<Tensor<D, Complex>>, expected: impl Into<TensorData>) {
    let tolerance = Tolerance::<f32>::rel_abs(1e-6, 1e-6);
    x.as_ref().to_data().assert_approx_eq(&expected.into(), tolerance);
}

#[test]
fn ways_to_make_a_complex_tensor() {
    let device = Device::cpu();
    let expected = [z(1.0, 3.0), z(-2.0, 4.0)];
    equals(numbers(expected), expected);
    equals(Tensor::<1, Complex>::from_parts([1.0, -2.0], [3.0, 4.0], &device), expected);
    equals(Tensor::complex(floats([1.0, -2.0]), floats([3.0, 4.0])), expected);
    equals(
        Tensor::<1, Complex>::from_interleaved_data([1.0f32, 3.0, -2.0, 4.0], &device),
        expected,
    );
    equals(
        Tensor::<1, Complex>::from_complex(
            [ComplexScalar::new(1.0f32, 3.0), ComplexScalar::new(-2.0, 4.0)],
            &device,
        ),
        expected,
    );
    equals(Tensor::<1, Complex>::from_real([1.0, -2.0], &device), [z(1.0, 0.0), z(-2.0, 0.0)]);
    let half_turn = std::f32::consts::PI;
    let polar = Tensor::from_polar(floats([2.0, 3.0]), floats([0.0, half_turn]));
    near(polar, [z(2.0, 0.0), z(-3.0, 0.0)]);
    let double = Tensor::<1, Complex>::from_data([1.5f64], (&device, DType::Complex128));
    assert_eq!(double.dtype(), DType::Complex128);
    assert_eq!(floats([1.0]).to_complex().dtype(), DType::Complex64);
    equals(Tensor::<1, Int>::from([3]).to_complex(), [z(3.0, 0.0)]);
    equals(Tensor::<1, Complex>::full([2], z(1.0, 2.0), &device), [z(1.0, 2.0); 2]);
    // One part of shape [2, 1] with one of shape [1, 2].
    let grid = Tensor::<2, Complex>::complex(
        Tensor::<2>::from([[1.0], [2.0]]),
        Tensor::<2>::from([[3.0, 4.0]]),
    );
    equals(grid, [[z(1.0, 3.0), z(1.0, 4.0)], [z(2.0, 3.0), z(2.0, 4.0)]]);
}

#[test]
fn parts_are_views_of_the_same_memory() {
    let x = numbers([z(3.0, 4.0), z(-5.0, 12.0)]);
    equals(x.real(), [3.0f32, -5.0]);
    equals(x.imag(), [4.0f32, 12.0]);
    assert_eq!(x.imag().as_any().buffer().address(), x.as_any().buffer().address());
    equals(x.abs(), [5.0f32, 13.0]);
    equals(x.magnitude(), [5.0f32, 13.0]);
    close(x.phase(), [(4.0f32).atan2(3.0), (12.0f32).atan2(-5.0)]);
    equals(x.view_as_real::<2>(), [[3.0f32, 4.0], [-5.0, 12.0]]);
    equals(x.view_as_real::<2>().view_as_complex::<1>(), [z(3.0, 4.0), z(-5.0, 12.0)]);
    near(x.sign(), [z(0.6, 0.8), z(-5.0 / 13.0, 12.0 / 13.0)]);
    equals(numbers([z(0.0, 0.0)]).sign(), [z(0.0, 0.0)]);
    // No overflow on the way.
    equals(numbers([z(3e38, 0.0), z(2e30, 2e30)]).abs(), [3e38f32, 2e30 * 2f32.sqrt()]);
}

#[test]
fn arithmetic_with_tensors_and_numbers() {
    let (a, b) = (numbers([z(1.0, 2.0), z(3.0, -1.0)]), numbers([z(0.0, 1.0), z(2.0, 2.0)]));
    equals(&a + &b, [z(1.0, 3.0), z(5.0, 1.0)]);
    equals(&a - &b, [z(1.0, 1.0), z(1.0, -3.0)]);
    equals(&a * &b, [z(-2.0, 1.0), z(8.0, 4.0)]);
    equals(&a / &b, [z(2.0, -1.0), z(0.5, -1.0)]);
    equals(-&a, [z(-1.0, -2.0), z(-3.0, 1.0)]);
    equals(&a * 2.0, [z(2.0, 4.0), z(6.0, -2.0)]);
    equals(&a / 2, [z(0.5, 1.0), z(1.5, -0.5)]);
    equals(1.0 - &a, [z(0.0, -2.0), z(-2.0, 1.0)]);
    equals(&a * z(0.0, 1.0), [z(-2.0, 1.0), z(1.0, 3.0)]);
    equals(z(0.0, 1.0) * &a, [z(-2.0, 1.0), z(1.0, 3.0)]);
    equals(Number::new(0.0f64, 5.0) / numbers([z(1.0, 2.0)]), [z(2.0, 1.0)]);
    equals(&a * floats([2.0, -1.0]), [z(2.0, 4.0), z(-3.0, 1.0)]);
    equals(a.clone() + &floats([1.0, 1.0]), [z(2.0, 2.0), z(4.0, -1.0)]);
    equals(a.conj(), [z(1.0, -2.0), z(3.0, 1.0)]);
    equals(a.square(), [z(-3.0, 4.0), z(8.0, -6.0)]);
    equals(a.powi_scalar(3), [z(-11.0, -2.0), z(18.0, -26.0)]);
    equals(a.powc_scalar(0.0), [z(1.0, 0.0); 2]);
    near(a.powf_scalar(0.5).square(), [z(1.0, 2.0), z(3.0, -1.0)]);
    near(
        numbers([z(0.0, 1.0)]).powc(numbers([z(0.0, 1.0)])),
        [z((-0.5 * std::f32::consts::PI).exp(), 0.0)],
    );
    near(numbers([z(0.0, std::f32::consts::PI)]).exp(), [z(-1.0, 0.0)]);
    equals(numbers([z(-4.0, 0.0)]).sqrt(), [z(0.0, 2.0)]);
    equals(a.equal(a.conj().conj()), [true, true]);
    equals(a.equal_elem(z(1.0, 2.0)), [true, false]);
    equals(a.not_equal(&b), [true, true]);
    let mut c = a.clone();
    c += &b;
    equals(c, [z(1.0, 3.0), z(5.0, 1.0)]);
}

#[test]
fn reductions_and_products_of_matrices() {
    let x = Tensor::<2, Complex>::from([[z(1.0, 2.0), z(3.0, -1.0)], [z(0.0, 1.0), z(2.0, 2.0)]]);
    equals(x.sum(), [z(6.0, 4.0)]);
    equals(x.mean_dim(0), [[z(0.5, 1.5), z(2.5, 0.5)]]);
    equals(x.prod_dim(1), [[z(5.0, 5.0)], [z(-2.0, 2.0)]]);
    let squared = x.matmul(&x);
    equals(squared, [[z(-2.0, 7.0), z(13.0, 9.0)], [z(-4.0, 3.0), z(1.0, 11.0)]]);
    equals(x.adjoint(), [[z(1.0, -2.0), z(0.0, -1.0)], [z(3.0, 1.0), z(2.0, -2.0)]]);
    equals(Tensor::<1, Complex>::zeros([0], &Device::cpu()).sum(), [z(0.0, 0.0)]);
    equals(Tensor::<1, Complex>::zeros([0], &Device::cpu()).prod(), [z(1.0, 0.0)]);
}

#[test]
fn nan_infinity_and_closeness() {
    let x = numbers([z(1.0, f32::NAN), z(f32::INFINITY, 0.0), z(1.0, 2.0)]);
    equals(x.is_nan(), [true, false, false]);
    equals(x.is_inf(), [false, true, false]);
    equals(x.is_finite(), [false, false, true]);
    equals(x.is_close(&x, None, None), [false, true, true]);
    let y = numbers([z(1.0, 0.0), z(1.0, 0.0), z(1.0, 2.00001)]);
    equals(x.is_close(&y, None, None), [false, false, true]);
    assert!(y.all_close(&y, None, None));
}

#[test]
fn complex_numbers_as_text() {
    let show = |values: &[Number<f32>]| Tensor::<1, Complex>::from(values).to_string();
    assert_eq!(show(&[z(1.0, 2.0), z(-3.0, 4.0)]), "[ 1.+2.j, -3.+4.j]\nTensor[[2], complex64]");
    assert_eq!(
        show(&[z(1.0, 2.0), z(-3.5, -0.25)]),
        "[ 1.0000+2.0000j, -3.5000-0.2500j]\nTensor[[2], complex64]"
    );
    assert_eq!(
        show(&[z(1.0, 1e6), z(-3e-5, 4.0)]),
        "[ 1.0000e+00+1.0000e+06j, -3.0000e-05+4.0000e+00j]\nTensor[[2], complex64]"
    );
    assert!(format!("{:?}", TensorData::from([z(1.0, -2.0)])).contains("re: 1.0, im: -2.0"));
}

#[test]
#[should_panic(expected = "at [1]: 3+4i but expected 3+5i")]
fn comparison_looks_at_both_parts() {
    equals(numbers([z(1.0, 2.0), z(3.0, 4.0)]), [z(1.0, 2.0), z(3.0, 5.0)]);
}

#[test]
fn wrong_uses_of_complex_numbers() {
    let x = numbers([z(1.0, 2.0)]);
    assert!(
        text(|| x.as_any().reduce(ReduceKind::Max, Axes::all(1)))
            .contains("complex numbers have no order")
    );
    assert!(text(|| x.as_any().greater(x.as_any())).contains("not defined for this dtype"));
    let number: Scalar = z(1.0, 2.0).into();
    assert!(text(|| floats([1.0]).mul_scalar(number)).contains("needs a complex tensor"));
    assert!(text(|| floats([1.0, 2.0, 3.0]).view_as_complex::<0>()).contains("side by side"));
    assert!(text(|| x.as_any().cast(DType::F32)).contains("take `real`, `imag` or `abs`"));
    assert!(
        text(|| floats([1.0]).as_any().conj().unary(kiln_tensor::op::UnaryKind::Conj))
            .contains("conj")
    );
}

#[test]
fn transforms_of_small_vectors() {
    let x = floats([1.0, 2.0, 3.0, 4.0]);
    let spectrum = [z(10.0, 0.0), z(-2.0, 2.0), z(-2.0, 0.0), z(-2.0, -2.0)];
    near(fft::fft(&x, None, 0, Norm::Backward), spectrum);
    near(fft::ifft(numbers(spectrum), None, 0, Norm::Backward), [1.0f32, 2.0, 3.0, 4.0]);
    near(fft::rfft(&x, None, -1, Norm::default()), [z(10.0, 0.0), z(-2.0, 2.0), z(-2.0, 0.0)]);
    // The imaginary parts that a real signal can not have are passed over.
    let odd = numbers([z(10.0, 7.0), z(-2.0, 2.0), z(-2.0, 9.0)]);
    close(fft::irfft(&odd, None, 0, Norm::Backward), [1.0f32, 2.0, 3.0, 4.0]);
    // Integers and half types are transformed as f32.
    let whole = Tensor::<1, Int>::from([1, 2, 3, 4]);
    near(fft::rfft(&whole, None, 0, Norm::Backward), [z(10.0, 0.0), z(-2.0, 2.0), z(-2.0, 0.0)]);
    let half = Tensor::<1, Float>::from_data([1.0, 2.0, 3.0, 4.0], (&Device::cpu(), DType::F16));
    near(fft::fft(&half, None, 0, Norm::Backward), spectrum);
    // Nothing to transform in a batch of none.
    let none = Tensor::<2>::zeros([0, 4], &Device::cpu());
    assert_eq!(fft::rfft(&none, None, 1, Norm::Backward).dims(), [0, 3]);
    let empty = Tensor::<2>::zeros([4, 0], &Device::cpu());
    assert!(text(|| fft::fft(&empty, None, 1, Norm::Backward)).contains("no numbers to transform"));
    assert!(
        text(|| fft::irfft(numbers([z(1.0, 0.0)]), None, 0, Norm::Backward)).contains("with `n`")
    );
    assert!(text(|| fft::fftn(&x, Some(&[4, 4]), None, Norm::Backward)).contains("fftn"));
    assert!(
        text(|| fft::fftn(&x, None, Some(&[0, -1]), Norm::Backward)).contains("each axis once")
    );
    assert!(text(|| fft::fft(&x, None, 3, Norm::Backward)).contains("axis 3 is out of range"));
}

#[test]
fn shifts_move_the_zero_frequency_to_the_middle_and_back() {
    let x = fft::fftfreq(5, 1.0 / 5.0, &Device::cpu());
    close(&x, [0.0f32, 1.0, 2.0, -2.0, -1.0]);
    close(fft::fftshift(&x, None), [-2.0f32, -1.0, 0.0, 1.0, 2.0]);
    close(fft::ifftshift(fft::fftshift(&x, None), None), [0.0f32, 1.0, 2.0, -2.0, -1.0]);
    close(fft::rfftfreq(4, 1.0, &Device::cpu()), [0.0f32, 0.25, 0.5]);
}

#[test]
fn spectra_as_pairs_of_tensors() {
    let x = floats([1.0, 2.0, 3.0, 4.0]);
    let (re, im) = signal::rfft(x.clone(), 0, None);
    close(&re, [10.0f32, -2.0, -2.0]);
    close(&im, [0.0f32, 2.0, 0.0]);
    close(signal::irfft(re, im, 0, None), [1.0f32, 2.0, 3.0, 4.0]);
    let (re, im) = signal::cfft(&x, x.zeros_like(), 0, Some(8));
    assert_eq!((re.dims(), im.dims()), ([8], [8]));
    let (re, im) = signal::rfft(floats([7.0]), 0, None);
    close(signal::irfft(re, im, 0, None), [7.0f32]);
    close(
        signal::fft_convolve(floats([1.0, 2.0, 3.0]), floats([0.0, 1.0, 0.5])),
        [0.0f32, 1.0, 2.5, 4.0, 1.5],
    );
}

#[test]
fn frames_return_to_the_signal() {
    let device = Device::cpu();
    let samples: Vec<f32> = (0..64).map(|i| (i as f32 * 0.7).sin() + 0.1 * i as f32).collect();
    let x = Tensor::<1>::from(samples.clone()).reshape([1, 64]);
    for (center, onesided) in [(true, true), (true, false), (false, true)] {
        let options = StftOptions { n_fft: 16, hop_length: 4, win_length: None, center, onesided };
        let window =
            if center { hann_window(16, true, &device) } else { Tensor::ones([16], &device) };
        let frames = signal::stft(x.clone(), Some(window.clone()), options);
        let places = if onesided { 9 } else { 16 };
        assert_eq!(frames.dims(), [1, if center { 17 } else { 13 }, places, 2]);
        let back = signal::istft(frames, Some(window), Some(64), options);
        let tolerance = Tolerance::<f32>::rel_abs(1e-5, 1e-5);
        back.to_data().assert_approx_eq(&x.to_data(), tolerance);
    }
    let short = Tensor::<2>::zeros([1, 4], &device);
    assert!(text(|| signal::stft(&short, None, StftOptions::new(16))).contains("too short"));
    let apart = StftOptions { hop_length: 17, ..StftOptions::new(16) };
    assert!(text(|| signal::stft(&x, None, apart)).contains("larger than the window"));
}

#[test]
fn windows_have_their_shapes() {
    let device = Device::cpu();
    close(hann_window(5, false, &device), [0.0f32, 0.5, 1.0, 0.5, 0.0]);
    close(blackman_window(5, false, &device), [0.0f32, 0.34, 1.0, 0.34, 0.0]);
    close(hamming_window(4, true, &device), [4.0f32 / 46.0, 25.0 / 46.0, 1.0, 25.0 / 46.0]);
    for n in [0, 1] {
        equals(hann_window(n, false, &device), vec![1.0f32; n]);
    }
}

#[test]
fn a_complex_number_is_nonzero_if_a_part_of_it_is() {
    let x = numbers([z(0.0, 0.0), z(1.0, 0.0), z(0.0, -2.0), z(0.0, -0.0)]);
    equals(&x.nonzero()[0], [1i64, 2]);
}
