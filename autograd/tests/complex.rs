//! Gradients by complex numbers, `dL/dre + i dL/dim`, against values of PyTorch 2.15: each is
//! `x.grad` after `f(x).backward()` in complex128.

use kiln_autograd::{Autograd, Backward, Gradients};
use kiln_tensor::fft::{Norm, rfft};
use kiln_tensor::num_complex::Complex as Number;
use kiln_tensor::{Complex, DType, Device, Tensor, TensorData, Tolerance, guard};

fn numbers(values: [(f64, f64); 2]) -> Tensor<1, Complex> {
    let values = values.map(|(re, im)| Number::new(re, im));
    Tensor::from_data(values, (&Device::cpu(), DType::Complex128)).require_grad()
}

fn reals<const N: usize>(values: [f64; N]) -> Tensor<1> {
    Tensor::from_data(values, (&Device::cpu(), DType::F64)).require_grad()
}

fn z() -> Tensor<1, Complex> {
    numbers([(1.0, 2.0), (-0.5, 0.25)])
}

fn w() -> Tensor<1, Complex> {
    numbers([(0.75, -1.0), (2.0, 0.5)])
}

#[track_caller]
fn near(x: &Tensor<1, Complex>, gradients: &Gradients, expected: [(f64, f64); 2]) {
    let expected = TensorData::from(expected.map(|(re, im)| Number::new(re, im)));
    let tolerance = Tolerance::<f64>::rel_abs(1e-12, 1e-12);
    x.grad(gradients).unwrap().to_data().assert_approx_eq(&expected, tolerance);
}

#[track_caller]
fn near_real(x: &Tensor<1>, gradients: &Gradients, expected: impl Into<TensorData>) {
    let tolerance = Tolerance::<f64>::rel_abs(1e-12, 1e-12);
    x.grad(gradients).unwrap().to_data().assert_approx_eq(&expected.into(), tolerance);
}

#[test]
fn functions_of_one_number() {
    let x = z();
    near(&x, &(&x * x.conj()).real().sum().backward(), [(2.0, 4.0), (-1.0, 0.5)]);
    let expected =
        [(-1.1312043837568135, -2.4717266720048188), (0.5876750903439226, -0.15005808662216327)];
    near(&x, &x.exp().real().sum().backward(), expected);
    let expected =
        [(-0.2059727140790061, 0.3969574801599385), (-0.4422162128739123, -1.733333441975737)];
    near(&x, &x.log().abs().sum().backward(), expected);
}

#[test]
fn functions_of_two_numbers() {
    let (x, y) = (z(), w());
    let grads = (&x * &y).angle().sum().backward();
    near(&x, &grads, [(-0.4, 0.2), (-0.8, -1.6)]);
    near(&y, &grads, [(0.64, 0.48), (-0.11764705882352941, 0.47058823529411764)]);
    let grads = (&x / &y).imag().sum().backward();
    near(&x, &grads, [(0.64, 0.48), (-0.11764705882352941, 0.47058823529411764)]);
    near(&y, &grads, [(-0.256, 1.408), (-0.10726643598615915, 0.07612456747404843)]);
    let grads = x.powc(&y).abs().sum().backward();
    let expected =
        [(-1.3831915880256789, 2.766383176051358), (-0.22935049150214973, 0.19658613557327148)];
    near(&x, &grads, expected);
    let expected =
        [(4.452321963856916, -6.125595172584811), (-0.047637358914295824, -0.21935286149722538)];
    near(&y, &grads, expected);
}

#[test]
fn real_numbers_that_become_complex() {
    let x = reals([0.5, -1.0]);
    let product = x.to_complex() * w().detach();
    near_real(
        &x,
        &product.exp().imag().sum().backward(),
        [-1.8000451251325054, -0.07038243982725793],
    );
    let (size, angle) = (reals([2.0, 3.0]), reals([0.5, -1.0]));
    let turned = Tensor::<1, Complex>::from_polar(&size, &angle) * Number::new(1.0, 2.0);
    let grads = turned.imag().sum().backward();
    near_real(&size, &grads, [2.2345906623849485, 0.23913362692838314]);
    near_real(&angle, &grads, [-0.1625370306360665, 6.669732826451797]);
}

#[test]
fn spectra() {
    let x = reals([1.0, -2.0, 3.0, 0.5, 4.0]);
    let loss = rfft(&x, None, 0, Norm::Backward).abs().square().log().sum();
    let expected = [
        0.2091692364144433,
        -0.365090005856908,
        0.4807039579996189,
        0.35319272049847233,
        0.860485629405912,
    ];
    near_real(&x, &loss.backward(), expected);
}

#[test]
fn the_absolute_value_of_zero_has_no_slope() {
    let x = numbers([(0.0, 0.0), (3.0, 4.0)]);
    near(&x, &x.abs().sum().backward(), [(0.0, 0.0), (0.6, 0.8)]);
}

#[test]
fn a_complex_loss_needs_a_seed() {
    let x = z();
    let error = guard(|| x.exp().sum().backward()).unwrap_err().to_string();
    assert!(error.contains("take a real loss"), "{error}");
    // As the real loss `Re(conj(seed) y)`.
    let seed = Tensor::<1, Complex>::ones([2], (&Device::cpu(), DType::Complex128));
    let grads = Backward::new().seed(seed).run(&x.square());
    near(&x, &grads, [(2.0, -4.0), (-1.0, -0.5)]);
}
