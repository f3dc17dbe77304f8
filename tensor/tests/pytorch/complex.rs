//! Complex numbers and Fourier transforms: `fixtures/complex.py`.

use kiln_tensor::fft::{self, Norm};
use kiln_tensor::num_complex::Complex as Number;
use kiln_tensor::op::UnaryKind;
use kiln_tensor::signal::{StftOptions, blackman_window, general_hamming_window, hann_window};
use kiln_tensor::{AnyTensor, Complex, DType, Device, Tensor};

use crate::fixture::{Fixture, load};

static TORCH: Fixture = Fixture::new(|| load(include_bytes!("../fixtures/complex.safetensors")));

const FUNCTIONS: [(&str, UnaryKind); 15] = {
    use UnaryKind::*;
    [
        ("recip", Recip),
        ("square", Square),
        ("sqrt", Sqrt),
        ("rsqrt", Rsqrt),
        ("exp", Exp),
        ("expm1", ExpM1),
        ("log", Log),
        ("log2", Log2),
        ("log10", Log10),
        ("log1p", Log1p),
        ("sin", Sin),
        ("cos", Cos),
        ("tan", Tan),
        ("tanh", Tanh),
        ("sigmoid", Sigmoid),
    ]
};

fn complex<const D: usize>(name: &str) -> Tensor<D, Complex> {
    Tensor::from_any(TORCH.any(name).view_as_complex())
}

fn parts(x: &AnyTensor) -> AnyTensor {
    if x.dtype().is_complex() { x.view_as_real() } else { x.clone() }
}

#[track_caller]
fn near(name: &str, y: impl AsRef<AnyTensor>, relative: f64) {
    TORCH.near(name, &parts(y.as_ref()), relative);
}

/// Any tensor, typed or not.
struct Any(AnyTensor);

impl AsRef<AnyTensor> for Any {
    fn as_ref(&self) -> &AnyTensor {
        &self.0
    }
}

fn any<const D: usize, K: kiln_tensor::Kind>(x: Tensor<D, K>) -> Any {
    Any(x.into_any())
}

#[test]
fn arithmetic_and_functions() {
    for (dtype, relative) in [("f32", 2e-6), ("f64", 1e-13)] {
        let name = |name: &str| format!("{dtype}.{name}");
        let (a, b) = (complex::<2>(&name("a")), complex::<1>(&name("b")).unsqueeze::<2>());
        for (function, kind) in FUNCTIONS {
            near(&name(function), Any(a.as_any().unary(kind)), relative);
        }
        near(&name("sgn"), any(a.sign()), relative);
        near(&name("abs"), any(a.abs()), relative);
        near(&name("angle"), any(a.angle()), relative);
        near(&name("add"), any(&a + &b), relative);
        near(&name("sub"), any(&a - &b), relative);
        near(&name("mul"), any(&a * &b), relative);
        near(&name("div"), any(&a / &b), relative);
        near(&name("pow"), any(a.powc(&b)), 10.0 * relative);
        near(&name("pow_scalar"), any(a.powc_scalar(Number::new(0.5, -1.5))), 10.0 * relative);
        near(&name("pow_real"), any(a.powf_scalar(2.5)), relative);
        near(&name("sum"), any(a.sum_dim(1)), relative);
        near(&name("mean"), any(a.mean_dim(0)), relative);
        near(&name("prod"), any(a.prod_dim(1)), relative);
        let m = complex::<3>(&name("m"));
        near(&name("matmul"), Any(a.as_any().matmul(m.as_any())), relative);
        near(&name("adjoint"), any(m.adjoint()), 0.0);
    }
}

/// The other part of a number with one NaN says nothing by its sign.
#[track_caller]
fn same_special(name: &str, y: &AnyTensor) {
    let mut wrong = Vec::new();
    let values = |x: &AnyTensor| x.to_data().unwrap().iter::<f64>().collect::<Vec<_>>();
    let (x, y, expected) = (values(&TORCH.any("special.x")), values(y), values(&TORCH.any(name)));
    for (i, (y, e)) in y.chunks(2).zip(expected.chunks(2)).enumerate() {
        let unsigned = e[0].is_nan() || e[1].is_nan();
        let equal = |y: f64, e: f64| match unsigned {
            _ if y.is_nan() || e.is_nan() => y.is_nan() && e.is_nan(),
            true => y.abs() == e.abs(),
            false if e == 0.0 || e.is_infinite() => y.to_bits() == e.to_bits(),
            false => (y - e).abs() <= 1e-15 * e.abs(),
        };
        if !equal(y[0], e[0]) || !equal(y[1], e[1]) {
            wrong.push(format!("{name} of {:?}: {y:?} not {e:?}", &x[2 * i..2 * i + 2]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn special_values_of_functions() {
    let x = complex::<1>("special.x");
    for name in ["exp", "log", "sqrt", "tanh", "tan", "sin", "cos"] {
        let (_, kind) = FUNCTIONS.into_iter().find(|(function, _)| *function == name).unwrap();
        same_special(&format!("special.{name}"), &parts(&x.as_any().unary(kind)));
    }
    TORCH.same("special.abs", x.abs().as_any());
    TORCH.same("special.angle", x.angle().as_any());
}

#[test]
fn division_by_special_values() {
    let x = complex::<1>("special.x");
    let inf = f64::INFINITY;
    for (name, re, im) in
        [("one", 1.0, 0.0), ("inf", inf, 1.0), ("both", 1.0, 1.0), ("zero", 0.0, 0.0)]
    {
        let y = &x / Number::new(re, im);
        let (y, expected) = (parts(y.as_any()), TORCH.any(&format!("special.div.{name}")));
        // Not the signs of zeros: they depend on the order of products.
        y.to_data().unwrap().assert_eq(&expected.to_data().unwrap(), false);
    }
    let (y, expected) = (parts(x.recip().as_any()), TORCH.any("special.recip"));
    y.to_data().unwrap().assert_eq(&expected.to_data().unwrap(), false);
}

#[test]
fn numbers_at_the_ends_of_the_range() {
    let x = complex::<1>("large.x");
    near("large.sqrt", any(x.sqrt()), 1e-15);
    near("large.log", any(x.log()), 1e-15);
    near("large.abs", any(x.abs()), 1e-15);
    let z = |re, im| Number::new(re, im);
    let a = Tensor::<1, Complex>::from_data(
        [z(1e300, 1e300), z(1e-300, -1e-300), z(5e-324, 0.0)],
        (&Device::cpu(), DType::Complex128),
    );
    let b = Tensor::<1, Complex>::from_data(
        [z(2e300, 2e300), z(2e-300, -2e-300), z(5e-324, 0.0)],
        (&Device::cpu(), DType::Complex128),
    );
    near("large.div", any(a / b), 1e-15);
    // The logarithm of numbers next to 1 is accurate in its last digits.
    let near_one = complex::<1>("near.x").log();
    let expected = TORCH.data("near.log").iter::<f64>().collect::<Vec<_>>();
    for (y, e) in parts(near_one.as_any()).to_data().unwrap().iter::<f64>().zip(expected) {
        assert!((y - e).abs() <= 4e-16 * e.abs(), "{y} not {e}");
    }
}

#[test]
fn transforms_of_every_kind_of_length() {
    let norms = [("backward", Norm::Backward), ("forward", Norm::Forward), ("ortho", Norm::Ortho)];
    for n in [1, 2, 3, 4, 5, 7, 8, 12, 13, 30, 97] {
        let (z, x) =
            (complex::<2>(&format!("fft.{n}.z")), TORCH.get::<2, _>(&format!("fft.{n}.x")));
        let x: &Tensor<2> = &x;
        for (norm_name, norm) in norms {
            if norm != Norm::Backward && n != 5 && n != 8 {
                continue;
            }
            let name = |function: &str| format!("fft.{n}.{function}.{norm_name}");
            near(&name("fft"), any(fft::fft(&z, None, -1, norm)), 1e-13);
            near(&name("ifft"), any(fft::ifft(&z, None, -1, norm)), 1e-13);
            near(&name("rfft"), any(fft::rfft(x, None, -1, norm)), 1e-13);
            near(&name("irfft"), any(fft::irfft(&z, Some(n), -1, norm)), 1e-13);
            near(&name("hfft"), any(fft::hfft(&z, Some(n), -1, norm)), 1e-13);
            near(&name("ihfft"), any(fft::ihfft(x, None, -1, norm)), 1e-13);
        }
    }
    // Single precision against double.
    let z = complex::<1>("fft.large.z");
    assert_eq!(z.dtype(), DType::Complex64);
    near("fft.large.fft", any(fft::fft(&z, None, 0, Norm::Backward)), 2e-5);
    near("fft.large.rfft", any(fft::rfft(z.real(), Some(1000), 0, Norm::Backward)), 2e-5);
}

#[test]
fn transforms_along_other_axes_and_several() {
    use Norm::{Backward, Forward, Ortho};
    let (z, x) = (complex::<3>("nd.z"), TORCH.get::<3, kiln_tensor::Float>("nd.x"));
    let near = |name: &str, y: Any| near(&format!("nd.{name}"), y, 1e-13);
    near("fft.short", any(fft::fft(&z, Some(3), 1, Backward)));
    near("fft.long", any(fft::fft(&z, Some(7), 0, Backward)));
    near("rfft.long", any(fft::rfft(&x, Some(8), 1, Backward)));
    near("irfft", any(fft::irfft(&z, None, 1, Backward)));
    near("irfft.long", any(fft::irfft(&z, Some(11), -1, Backward)));
    near("hfft", any(fft::hfft(&z, None, 0, Backward)));
    near("fft2", any(fft::fft2(&z, None, [-2, -1], Ortho)));
    near("ifft2", any(fft::ifft2(&z, Some([3, 6]), [-2, -1], Backward)));
    near("rfft2", any(fft::rfft2(&x, None, [-2, -1], Backward)));
    near("irfft2", any(fft::irfft2(&z, None, [-2, -1], Backward)));
    near("fftn", any(fft::fftn(&z, None, None, Backward)));
    near("ifftn", any(fft::ifftn(&z, Some(&[2, 5]), None, Forward)));
    near("rfftn", any(fft::rfftn(&x, None, Some(&[0, 2]), Backward)));
    near("irfftn", any(fft::irfftn(&z, Some(&[3, 4, 7]), None, Backward)));
    near("fftshift", any(fft::fftshift(&x, None)));
    near("ifftshift", any(fft::ifftshift(&x, Some(&[2]))));
    let double = (&Device::cpu(), DType::F64);
    for n in [1, 4, 5] {
        TORCH.near(&format!("freq.{n}"), fft::fftfreq(n, 0.1, double).as_any(), 1e-15);
        TORCH.near(&format!("rfreq.{n}"), fft::rfftfreq(n, 0.1, double).as_any(), 1e-15);
    }
}

#[test]
fn frames_of_a_signal() {
    let signal = TORCH.get::<2, kiln_tensor::Float>("stft.signal");
    let window = hann_window(12, true, (&Device::cpu(), DType::F64));
    let options = |n_fft, hop_length, center, onesided| StftOptions {
        n_fft,
        hop_length,
        win_length: Some(12),
        center,
        onesided,
    };
    for (name, options) in [
        ("centred", options(12, 3, true, true)),
        ("plain", options(15, 4, false, true)),
        ("whole", options(16, 4, true, false)),
    ] {
        let spectra = fft::stft(&signal, Some(&window), options);
        near(&format!("stft.{name}"), any(spectra.clone()), 1e-13);
        if name != "plain" {
            let back = fft::istft(&spectra, Some(&window), Some(48), options);
            near(&format!("istft.{name}"), any(back), 1e-13);
        }
    }
}

#[test]
fn windows() {
    let double = (&Device::cpu(), DType::F64);
    for (periodic, python) in [(false, "False"), (true, "True")] {
        for n in [1, 2, 7, 8] {
            let near = |name: &str, y: Tensor<1>| {
                TORCH.near(&format!("{name}.{n}.{python}"), y.as_any(), 1e-15)
            };
            near("hann", hann_window(n, periodic, double));
            near("hamming", general_hamming_window(n, periodic, 0.54, double));
            near("blackman", blackman_window(n, periodic, double));
        }
    }
}
