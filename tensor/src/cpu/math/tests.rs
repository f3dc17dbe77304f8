//! Sweeps over `f32` against double precision, for every instruction set of this processor.
//!
//! A sweep takes every 4099th bit pattern (a prime, so all low bits occur). With the environment
//! variable `KILN_MATH_FULL=n` it takes every `n`-th; `1` needs some minutes for each function.

use std::marker::PhantomData;

use super::super::simd::{self, Baseline, Isa, Kernel, Level};
use super::Math;

/// A function as a type, to be generic over both the instruction set and the float.
trait Function {
    fn call<I: Isa, T: Math>(x: T) -> T;
    #[inline(always)]
    fn map<I: Isa, T: Math>(x: &[T], y: &mut [T]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = Self::call::<I, T>(x);
        }
    }
}

macro_rules! functions {
    ($($name:ident $method:ident $(by $all:ident)?),*) => {$(
        struct $name;
        impl Function for $name {
            #[inline(always)]
            fn call<I: Isa, T: Math>(x: T) -> T {
                x.$method::<I>()
            }
            $(
                #[inline(always)]
                fn map<I: Isa, T: Math>(x: &[T], y: &mut [T]) {
                    T::$all::<I>(x, y);
                }
            )?
        }
    )*};
}
functions!(
    Exp exp, ExpBelow exp_below, ExpM1 exp_m1, Ln ln, Ln1p ln_1p, Log2 log2, Log10 log10, Tanh tanh, Erf erf,
    Sigmoid sigmoid, Gelu gelu, GeluGrad gelu_grad, GeluTanh gelu_tanh,
    GeluTanhGrad gelu_tanh_grad, Silu silu, SiluGrad silu_grad, Softplus softplus, Sin sin, Cos cos,
    Tan tan, GeluAll gelu by gelu_all, SigmoidAll sigmoid by sigmoid_all
);

/// The loop under test.
struct Map<'a, F, T>(&'a [T], &'a mut [T], PhantomData<F>);

impl<F: Function, T: Math> Kernel for Map<'_, F, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        F::map::<I, T>(self.0, self.1);
    }
}

struct Pow<'a>(&'a [f32], &'a [f32], &'a mut [f32]);

impl Kernel for Pow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        for ((z, &x), &y) in self.2.iter_mut().zip(self.0).zip(self.1) {
            *z = Math::pow::<I>(x, y);
        }
    }
}

/// Runs the kernel compiled for `level`, which must not exceed that of the processor.
fn run_at<K: Kernel>(level: Level, kernel: K) -> K::Output {
    assert!(level <= simd::level());
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        fn avx2<K: Kernel>(kernel: K) -> K::Output {
            kernel.run::<simd::Avx2>()
        }
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn avx512<K: Kernel>(kernel: K) -> K::Output {
            kernel.run::<simd::Avx512>()
        }
        match level {
            // SAFETY: the processor has the level, as asserted.
            Level::Avx512 => return unsafe { avx512(kernel) },
            // SAFETY: as above.
            Level::Avx2 => return unsafe { avx2(kernel) },
            Level::Baseline => (),
        }
    }
    kernel.run::<Baseline>()
}

fn levels() -> impl Iterator<Item = Level> {
    [Level::Baseline, Level::Avx2, Level::Avx512].into_iter().filter(|&l| l <= simd::level())
}

/// The distance of `f32` numbers near `x`.
fn ulp(x: f64) -> f64 {
    let exponent = ((x.abs().to_bits() >> 52) as i32 - 1023).clamp(-126, 127);
    2f64.powi(exponent - 23)
}

/// The error of `y` in units in the last place; infinity counts as the number after the largest.
fn error(y: f32, right: f64) -> f64 {
    if right.is_nan() || y.is_nan() {
        return if right.is_nan() && y.is_nan() { 0.0 } else { f64::INFINITY };
    }
    let bound = 2f64.powi(128);
    let wide = f64::from(y).clamp(-bound, bound);
    (wide - right.clamp(-bound, bound)).abs() / ulp(right)
}

/// What an error may be: so many units in the last place, or so much of `|x|` where that is more.
#[derive(Clone, Copy)]
struct Bound {
    fused: f64,
    unfused: f64,
    /// Relative to `max(|x|, 1e-30)`, for functions with a cancellation.
    absolute: f64,
}

fn sweep<F: Function>(name: &str, right: impl Fn(f64) -> f64, limit: f32, bound: Bound) {
    const BLOCK: usize = 4096;
    let stride: u64 = match std::env::var("KILN_MATH_FULL") {
        Ok(value) => value.parse().unwrap_or(1).max(1),
        Err(_) => 4099,
    };
    let mut worst = [(0.0, 0.0f32); 3];
    let mut next: u64 = 0;
    let mut x = Vec::with_capacity(BLOCK);
    let mut wanted = Vec::with_capacity(BLOCK);
    let mut y = vec![0.0; BLOCK];
    while next < 1 << 32 {
        x.clear();
        while x.len() < BLOCK && next < 1 << 32 {
            let value = f32::from_bits(next as u32);
            if value.abs() <= limit || !value.is_finite() {
                x.push(value);
            }
            next += stride;
        }
        wanted.clear();
        wanted.extend(x.iter().map(|&x| right(f64::from(x))));
        for level in levels() {
            let y = &mut y[..x.len()];
            run_at(level, Map::<F, f32>(&x, y, PhantomData));
            let worst = &mut worst[level as usize];
            for ((&x, &y), &wanted) in x.iter().zip(&*y).zip(&wanted) {
                let error = error(y, wanted);
                let difference = (f64::from(y) - wanted).abs();
                let small = difference <= bound.absolute * f64::from(x.abs().max(1e-30));
                if error > worst.0 && !small {
                    *worst = (error, x);
                }
            }
        }
    }
    println!("{name:15} {}", worst.map(|(e, x)| format!("{e:6.3} at {x:<15e}")).join(" "));
    for level in levels() {
        let fused = level != Level::Baseline || cfg!(target_arch = "aarch64");
        let allowed = if fused { bound.fused } else { bound.unfused };
        let (error, x) = worst[level as usize];
        assert!(error <= allowed, "{name}({x:e}) at {level:?}: {error} units in the last place");
    }
}

const fn ulps(fused: f64, unfused: f64) -> Bound {
    Bound { fused, unfused, absolute: 0.0 }
}

macro_rules! sweeps {
    ($($test:ident: $function:ident, $right:expr, $limit:expr, $bound:expr;)*) => {$(
        #[test]
        fn $test() {
            sweep::<$function>(stringify!($test), $right, $limit, $bound);
        }
    )*};
}

const ALL: f32 = f32::INFINITY;
const TRIG: f32 = (1 << 28) as f32;

sweeps! {
    exp: Exp, f64::exp, ALL, ulps(1.0, 1.5);
    exp_below: ExpBelow, right::exp_below, 87.0, ulps(1.0, 1.5);
    exp_m1: ExpM1, f64::exp_m1, ALL, ulps(2.0, 3.0);
    ln: Ln, f64::ln, ALL, ulps(1.0, 1.5);
    ln_1p: Ln1p, f64::ln_1p, ALL, ulps(2.0, 2.0);
    log2: Log2, f64::log2, ALL, ulps(1.5, 2.0);
    log10: Log10, f64::log10, ALL, ulps(1.5, 3.0);
    tanh: Tanh, f64::tanh, ALL, ulps(2.0, 2.0);
    erf: Erf, libm::erf, ALL, ulps(2.0, 2.0);
    sigmoid: Sigmoid, right::sigmoid, ALL, ulps(2.5, 2.5);
    sigmoid_all: SigmoidAll, right::sigmoid, ALL, ulps(2.5, 2.5);
    // Two polynomials, a quotient, an exponential function and three products add up.
    gelu: Gelu, right::gelu, ALL, ulps(6.0, 7.0);
    gelu_all: GeluAll, right::gelu, ALL, ulps(6.0, 7.0);
    gelu_grad: GeluGrad, right::gelu_grad, ALL, Bound { absolute: 2e-7, ..ulps(6.0, 7.0) };
    // The argument of the exponential function is rounded: its error is multiplied by its size.
    gelu_tanh: GeluTanh, right::gelu_tanh, ALL, Bound { absolute: 6e-8, ..ulps(4.0, 4.0) };
    gelu_tanh_grad: GeluTanhGrad, right::gelu_tanh_grad, ALL,
        Bound { absolute: 1e-7, ..ulps(5.0, 5.0) };
    silu: Silu, right::silu, ALL, ulps(4.0, 4.0);
    silu_grad: SiluGrad, right::silu_grad, ALL, Bound { absolute: 1e-7, ..ulps(4.0, 4.0) };
    softplus: Softplus, right::softplus, ALL, ulps(2.0, 3.0);
    sin: Sin, f64::sin, TRIG, ulps(1.7, 1.7);
    cos: Cos, f64::cos, TRIG, ulps(1.7, 1.7);
    tan: Tan, f64::tan, TRIG, ulps(4.0, 4.0);
}

/// The references that no library has.
mod right {
    use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

    pub fn exp_below(x: f64) -> f64 {
        if x == f64::INFINITY { f64::NAN } else { x.exp() }
    }
    pub fn sigmoid(x: f64) -> f64 {
        if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) }
    }
    pub fn silu(x: f64) -> f64 {
        if x == f64::NEG_INFINITY { -0.0 } else { x * sigmoid(x) }
    }
    pub fn silu_grad(x: f64) -> f64 {
        if x.is_infinite() {
            return sigmoid(x);
        }
        sigmoid(x) * (1.0 + x * sigmoid(-x))
    }
    pub fn softplus(x: f64) -> f64 {
        if x > 0.0 { x + (-x).exp().ln_1p() } else { x.exp().ln_1p() }
    }
    pub fn gelu(x: f64) -> f64 {
        if x == f64::NEG_INFINITY { -0.0 } else { 0.5 * x * libm::erfc(-x * FRAC_1_SQRT_2) }
    }
    pub fn gelu_grad(x: f64) -> f64 {
        let phi = 0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * (-0.5 * x * x).exp();
        0.5 * libm::erfc(-x * FRAC_1_SQRT_2) + if phi == 0.0 { 0.0 } else { x * phi }
    }
    const LINEAR: f64 = 1.595_769_121_605_730_7;
    pub fn gelu_tanh(x: f64) -> f64 {
        if x == f64::NEG_INFINITY {
            return -0.0;
        }
        x * sigmoid(LINEAR * (x + 0.044_715 * x * x * x))
    }
    pub fn gelu_tanh_grad(x: f64) -> f64 {
        let v = LINEAR * (x + 0.044_715 * x * x * x);
        let slope = LINEAR * (1.0 + 3.0 * 0.044_715 * x * x);
        let product = sigmoid(v) * sigmoid(-v);
        sigmoid(v) + if product == 0.0 { 0.0 } else { x * slope * product }
    }
}

fn apply<F: Function, T: Math>(level: Level, x: &[T]) -> Vec<T> {
    let mut y = x.to_vec();
    run_at(level, Map::<F, T>(x, &mut y, PhantomData));
    y
}

/// Equal, with NaN equal to itself and the sign of zero told apart.
fn same(x: f64, y: f64) -> bool {
    x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan())
}

#[test]
fn special_values() {
    const INF: f32 = f32::INFINITY;
    const NAN: f32 = f32::NAN;
    const TINY: f32 = 1e-45;
    fn check<F: Function>(name: &str, table: &[(f32, f32)]) {
        for level in levels() {
            // Repeated, so that each value passes the vector loop as well as its remainder.
            for &(x, right) in table {
                for y in apply::<F, f32>(level, &[x; 67]) {
                    assert!(same(y.into(), right.into()), "{name}({x:e}) = {y:e} at {level:?}");
                }
                let wide = apply::<F, f64>(level, &[x.into(); 67]);
                let zero_or_special = right == 0.0 || !right.is_finite();
                // What is zero or infinite in `f32` need not be in `f64`.
                if zero_or_special && (x == 0.0 || !x.is_finite()) {
                    for y in wide {
                        assert!(same(y, right.into()), "{name}({x:e}) = {y:e} in f64, {level:?}");
                    }
                }
            }
        }
    }
    let odd = [(0.0, 0.0), (-0.0, -0.0), (TINY, TINY), (-TINY, -TINY), (NAN, NAN)];
    check::<Exp>(
        "exp",
        &[
            (0.0, 1.0),
            (-0.0, 1.0),
            (INF, INF),
            (-INF, 0.0),
            (NAN, NAN),
            (88.722_84, INF),
            (f32::MAX, INF),
            (f32::MIN, 0.0),
            (-104.0, 0.0),
            (-103.9, TINY),
            (TINY, 1.0),
        ],
    );
    check::<ExpM1>("exp_m1", &odd);
    check::<ExpM1>("exp_m1", &[(INF, INF), (-INF, -1.0), (f32::MAX, INF), (f32::MIN, -1.0)]);
    let log = [
        (0.0, -INF),
        (-0.0, -INF),
        (1.0, 0.0),
        (INF, INF),
        (-INF, NAN),
        (-1.0, NAN),
        (-TINY, NAN),
        (NAN, NAN),
        (f32::MIN, NAN),
    ];
    check::<Ln>("ln", &log);
    check::<Log2>("log2", &log);
    check::<Log10>("log10", &log);
    check::<Ln>("ln", &[(TINY, -103.278_93)]);
    check::<Log2>("log2", &[(TINY, -149.0), (8.0, 3.0), (0.25, -2.0), (f32::MIN_POSITIVE, -126.0)]);
    check::<Ln1p>("ln_1p", &odd);
    check::<Ln1p>("ln_1p", &[(-1.0, -INF), (INF, INF), (-INF, NAN), (-1.5, NAN)]);
    check::<Ln1p>("ln_1p", &[(f32::MAX, 88.722_84)]);
    check::<Tanh>("tanh", &odd);
    check::<Tanh>("tanh", &[(INF, 1.0), (-INF, -1.0), (f32::MAX, 1.0), (20.0, 1.0)]);
    check::<Erf>("erf", &[(0.0, 0.0), (-0.0, -0.0), (NAN, NAN)]);
    check::<Erf>("erf", &[(INF, 1.0), (-INF, -1.0), (f32::MAX, 1.0), (-20.0, -1.0)]);
    let half = [(0.0, 0.5), (INF, 1.0), (-INF, 0.0), (NAN, NAN), (f32::MIN, 0.0), (-103.9, TINY)];
    check::<Sigmoid>("sigmoid", &half);
    check::<SigmoidAll>("sigmoid_all", &half);
    check::<Softplus>(
        "softplus",
        &[
            (INF, INF),
            (-INF, 0.0),
            (NAN, NAN),
            (f32::MAX, f32::MAX),
            (f32::MIN, 0.0),
            (0.0, std::f32::consts::LN_2),
        ],
    );
    let unit = [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -0.0), (NAN, NAN), (f32::MIN, -0.0)];
    check::<Gelu>("gelu", &unit);
    check::<GeluAll>("gelu_all", &unit);
    check::<GeluAll>("gelu_all", &[(-1e-45, -0.0), (f32::MAX, f32::MAX), (-15.0, -0.0)]);
    check::<GeluTanh>("gelu_tanh", &unit);
    check::<Silu>("silu", &unit);
    check::<Gelu>("gelu", &[(f32::MAX, f32::MAX)]);
    check::<GeluTanh>("gelu_tanh", &[(f32::MAX, f32::MAX)]);
    check::<Silu>("silu", &[(f32::MAX, f32::MAX)]);
    let step = [(0.0, 0.5), (-0.0, 0.5), (INF, 1.0), (NAN, NAN), (f32::MAX, 1.0)];
    check::<GeluGrad>("gelu_grad", &step);
    check::<GeluTanhGrad>("gelu_tanh_grad", &step);
    check::<SiluGrad>("silu_grad", &step);
    check::<Sin>("sin", &odd);
    check::<Tan>("tan", &odd);
    check::<Sin>("sin", &[(INF, NAN), (-INF, NAN)]);
    check::<Cos>("cos", &[(0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN), (NAN, NAN)]);
    check::<Tan>("tan", &[(INF, NAN), (-INF, NAN)]);
}

/// Loops that take rare arguments apart give each element what it gets by itself, at any place, in
/// any company and for any length.
#[test]
fn elements_do_not_depend_on_their_neighbours() {
    fn check<F: Function>(name: &str, near: f32, rare: &[f32]) {
        let mut bits = 1u32;
        let x: Vec<f32> = (0..1000)
            .map(|i| {
                bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let plain = (bits >> 8) as f32 / (1 << 23) as f32 * near - near;
                // None at first, then more and more.
                if bits % 1000 < i / 2 { rare[i as usize % rare.len()] } else { plain }
            })
            .collect();
        for level in levels() {
            let alone: Vec<f32> = x.iter().flat_map(|&x| apply::<F, f32>(level, &[x])).collect();
            for (start, end) in (0..200).map(|i| (i, 1000 - 3 * i)).chain((0..200).map(|i| (0, i)))
            {
                let y = apply::<F, f32>(level, &x[start..end]);
                for ((&x, &y), &alone) in x[start..end].iter().zip(&y).zip(&alone[start..end]) {
                    assert!(same(y.into(), alone.into()), "{name}({x:e}) = {y:e} at {level:?}");
                }
            }
        }
    }
    let far = [4.0, -4.0, 3.9375, -3.9374998, 9.5, -9.5, -13.9, f32::MAX, f32::MIN, f32::NAN];
    check::<GeluAll>("gelu", 3.9, &far);
    check::<GeluAll>("gelu", 3.9, &[f32::INFINITY, f32::NEG_INFINITY, -6.0, 0.0, -0.0, 1e-45]);
    check::<SigmoidAll>("sigmoid", 20.0, &[f32::INFINITY, -95.0, f32::NAN, f32::MIN, f32::MAX]);
}

struct Softmax<'a, T>(&'a [T], &'a mut [T]);

impl<T: Math> Kernel for Softmax<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        T::softmax::<I>(self.0, self.1);
    }
}

#[test]
fn softmax_of_rows_of_any_length() {
    let mut bits = 1u32;
    for (n, spread) in (64..400).zip([1.0, 10.0, 80.0, 300.0, 1e30].into_iter().cycle()) {
        let mut x: Vec<f32> = (0..n)
            .map(|_| {
                bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((bits >> 8) as f32 / (1 << 23) as f32 - 1.0) * spread
            })
            .collect();
        // The largest is now here, now there.
        x[bits as usize % n] = spread;
        x[bits as usize / 7 % n] = f32::NEG_INFINITY;
        let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exp = |x: f32| (f64::from(x) - f64::from(max)).exp();
        let total: f64 = x.iter().map(|&x| exp(x)).sum();
        for level in levels() {
            let mut y = vec![0.0; n];
            run_at(level, Softmax(&x, &mut y));
            for (&x, &y) in x.iter().zip(&y) {
                // Subtracting the maximum rounds, and exponentials below the normal ones may be 0.
                let units = 8.0 + f64::from((x - max).abs().min(90.0));
                let (right, y) = (exp(x) / total, f64::from(y));
                let allowed = right * units / 2f64.powi(24) + f64::from(f32::MIN_POSITIVE);
                assert!(
                    (y - right).abs() <= allowed,
                    "{n}, {x:e} of {max:e}: {y:e}, not {right:e}"
                );
            }
            for special in [f32::NAN, f32::INFINITY] {
                for place in [0, n / 2, n - 1] {
                    let mut x = x.clone();
                    x[place] = special;
                    run_at(level, Softmax(&x, &mut y));
                    assert!(y[place].is_nan(), "{special} at {place} of {n}");
                    assert!(y.iter().all(|y| y.is_nan() || special.is_infinite() && *y == 0.0));
                }
            }
            run_at(level, Softmax(&vec![f32::NEG_INFINITY; n], &mut y));
            assert!(y.iter().all(|y| y.is_nan()));
        }
    }
}

#[test]
fn large_trigonometric_arguments() {
    for bits in (0..0x7f80_0000_u32).step_by(40_009) {
        for x in [f32::from_bits(bits), -f32::from_bits(bits)] {
            assert_eq!(x.trig_is_large(), x.abs() > TRIG);
            let wide = f64::from(x);
            for (name, y, right) in [
                ("sin", x.sin_large(), wide.sin()),
                ("cos", x.cos_large(), wide.cos()),
                ("tan", x.tan_large(), wide.tan()),
            ] {
                let error = error(y, right);
                assert!(error <= 4.0, "{name}({x:e}) = {y:e}, not {right:e}: {error}");
            }
        }
    }
    for x in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        assert!(x.sin_large().is_nan() && x.cos_large().is_nan() && x.tan_large().is_nan());
    }
}

#[test]
fn pow() {
    const INF: f32 = f32::INFINITY;
    let mut values = vec![
        0.0,
        1e-45,
        1e-40,
        f32::MIN_POSITIVE,
        1e-10,
        0.25,
        1.0 / 3.0,
        0.5,
        0.75,
        1.0,
        1.5,
        2.0,
        2.5,
        3.0,
        4.0,
        7.0,
        10.0,
        100.5,
        127.0,
        128.0,
        149.0,
        150.0,
        8_388_607.0,
        8_388_608.0,
        16_777_215.0,
        16_777_216.0,
        3e9,
        1e20,
        f32::MAX,
        INF,
        f32::NAN,
        1.0 + f32::EPSILON,
        1.0 - f32::EPSILON / 2.0,
        0.999,
        1.001,
        4_194_304.5,
        4_194_303.5,
    ];
    values.extend((0..200u32).map(|i| f32::from_bits(i * 10_614_859)));
    values.extend((0..200u32).map(|i| 0.5 + i as f32 * 0.013));
    let negative: Vec<f32> = values.iter().map(|x| -x).collect();
    values.extend(negative);
    let mut worst = [0.0; 3];
    for &x in &values {
        let bases = vec![x; values.len()];
        for level in levels() {
            let mut z = bases.clone();
            run_at(level, Pow(&bases, &values, &mut z));
            for (&y, &z) in values.iter().zip(&z) {
                let right = f64::from(x).powf(f64::from(y));
                let error = error(z, right);
                assert!(error <= 0.51, "{x:e}^{y:e} = {z:e} at {level:?}, not {right:e}");
                let special = right == 0.0 || !right.is_finite();
                assert!(!special || same(z.into(), right), "{x:e}^{y:e} = {z:e} at {level:?}");
                worst[level as usize] = f64::max(worst[level as usize], error);
            }
        }
    }
    println!("pow {worst:?}");
}

/// `f64` against functions of `libm`, a good deal of which are correct to a unit.
#[test]
fn double_precision() {
    fn check<F: Function>(name: &str, right: impl Fn(f64) -> f64, low: f64, high: f64, bound: f64) {
        let x: Vec<f64> = (0..100_003).map(|i| low + (high - low) * f64::from(i) / 1e5).collect();
        for level in levels() {
            let mut worst = (0.0, 0.0);
            for (&x, y) in x.iter().zip(apply::<F, f64>(level, &x)) {
                let right = right(x);
                let error = (y - right).abs() / right.abs().max(1e-300);
                if error > worst.0 {
                    worst = (error, x);
                }
            }
            println!("f64 {name:14} {level:?} {:.2e} at {}", worst.0, worst.1);
            assert!(worst.0 <= bound, "{name} at {level:?}: {worst:?}");
        }
    }
    check::<Exp>("exp", libm::exp, -708.0, 709.0, 4e-16);
    check::<Ln>("ln", libm::log, 1e-3, 10.0, 4e-16);
    check::<Ln>("ln", libm::log, 10.0, 1e300, 4e-16);
    check::<Tanh>("tanh", libm::tanh, -20.0, 20.0, 7e-16);
    check::<Tanh>("tanh", libm::tanh, -0.7, 0.7, 9e-16);
    check::<Erf>("erf", libm::erf, -6.0, 6.0, 5e-16);
    check::<Sigmoid>("sigmoid", right::sigmoid, -700.0, 40.0, 9e-16);
    check::<Silu>("silu", right::silu, -700.0, 40.0, 1e-15);
    check::<Softplus>("softplus", right::softplus, -700.0, 40.0, 9e-16);
    check::<Gelu>("gelu", right::gelu, 0.0, 10.0, 1e-15);
    // Below, the reference rounds `x / sqrt(2)`, which costs it `x^2` units.
    check::<Gelu>("gelu", right::gelu, -4.0, 0.0, 4e-15);
    check::<Gelu>("gelu", right::gelu, -37.0, -4.0, 3e-13);
    check::<GeluTanh>("gelu_tanh", right::gelu_tanh, -1.0, 10.0, 2e-15);
    check::<GeluGrad>("gelu_grad", right::gelu_grad, -0.5, 10.0, 4e-15);
    check::<GeluTanhGrad>("gelu_tanh_grad", right::gelu_tanh_grad, -0.5, 10.0, 4e-15);
    check::<SiluGrad>("silu_grad", right::silu_grad, -1.0, 40.0, 4e-15);
}
