//! Random numbers: each law by its distribution function or probabilities, with fixed seeds, and the
//! same bits on any number of threads.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kiln_tensor::{Bool, DType, Device, Distribution, Float, Int, Shape, Tensor, guard, sample};
use rayon::ThreadPoolBuilder;

const N: usize = 20_000;

/// The CPU's generator, seeded, as long as the guard lives: all tests share it.
fn seeded(seed: u64) -> (MutexGuard<'static, ()>, Device) {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    Device::cpu().seed(seed);
    (guard, Device::cpu())
}

/// The error function to 1.2e-7 (Numerical Recipes, erfcc).
fn normal_cdf(x: f64) -> f64 {
    let z = x.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * z);
    let terms = [
        0.17087277,
        -0.82215223,
        1.48851587,
        -1.13520398,
        0.27886807,
        -0.18628806,
        0.09678418,
        0.37409196,
        1.00002368,
        -1.26551223,
    ];
    let series = terms.iter().fold(0.0, |sum, c| sum * t + c);
    let upper = 0.5 * t * (series - z * z).exp();
    if x < 0.0 { upper } else { 1.0 - upper }
}

/// The largest distance of the numbers' distribution from `cdf` stays below what chance exceeds
/// once in a million (Kolmogorov and Smirnov).
#[track_caller]
fn follows(x: Tensor<1>, cdf: impl Fn(f64) -> f64) {
    let mut x: Vec<f64> = x.into_data().iter().collect();
    assert!(x.iter().all(|x| x.is_finite()), "not all numbers are finite");
    x.sort_by(f64::total_cmp);
    let n = x.len() as f64;
    let distance = x.iter().enumerate().map(|(i, &x)| {
        let p = cdf(x);
        (p - i as f64 / n).abs().max(((i + 1) as f64 / n - p).abs())
    });
    let distance = distance.fold(0.0, f64::max) * n.sqrt();
    assert!(distance < 2.69, "{distance}");
}

/// Whole numbers from `first` on come with these probabilities: chi-square below what chance
/// exceeds once in a million or so (Wilson and Hilferty).
#[track_caller]
fn counted(x: impl IntoIterator<Item = i64>, first: i64, probabilities: &[f64]) {
    let mut counts = vec![0.0; probabilities.len()];
    let mut n = 0.0;
    for x in x {
        assert!(x >= first, "{x} came");
        // The last probability is that of all others.
        counts[((x - first) as usize).min(probabilities.len() - 1)] += 1.0;
        n += 1.0;
    }
    let terms = counts.iter().zip(probabilities);
    let chi: f64 = terms.map(|(count, p)| (count - n * p).powi(2) / (n * p)).sum();
    let freedom = probabilities.len() as f64 - 1.0;
    let h = 2.0 / (9.0 * freedom);
    let limit = freedom * (1.0 - h + 4.8 * h.sqrt()).powi(3);
    assert!(chi < limit, "{chi} is above {limit}: {counts:?}");
}

#[track_caller]
fn moments(x: &Tensor<1>, mean: f64, variance: f64) {
    let x: Vec<f64> = x.to_data().iter().collect();
    let n = x.len() as f64;
    let m = x.iter().sum::<f64>() / n;
    let v = x.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / n;
    assert!((m - mean).abs() < 5.0 * (variance / n).sqrt(), "mean {m}");
    assert!((v / variance - 1.0).abs() < 0.1, "variance {v}");
}

fn ints<const D: usize>(x: Tensor<D, Int>) -> Vec<i64> {
    x.into_data().iter().collect()
}

#[test]
fn uniform_and_normal_numbers_follow_their_laws() {
    let (_alone, device) = seeded(1);
    for dtype in [DType::F32, DType::F64] {
        let options = (&device, dtype);
        follows(Tensor::rand([N], options), |x| x);
        follows(Tensor::random([N], Distribution::Uniform(-1.0, 3.0), options), |x| {
            (x + 1.0) / 4.0
        });
        let normal = Tensor::<1>::randn([N], options);
        moments(&normal, 0.0, 1.0);
        follows(normal, normal_cdf);
        let normal = Tensor::random([N], Distribution::Normal(2.0, 0.5), options);
        follows(normal, |x| normal_cdf((x - 2.0) / 0.5));
    }
    // Neighbours, which share a radius, are not correlated.
    let x: Vec<f64> = Tensor::<1>::randn([N], &device).into_data().iter().collect();
    let products = x.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / N as f64;
    assert!(products.abs() < 5.0 / (N as f64).sqrt());
}

#[test]
fn integers_reach_their_whole_range() {
    let (_alone, device) = seeded(2);
    counted(ints(Tensor::<2, Int>::randint(-2..3, [N / 10, 10], &device)), -2, &[0.2; 5]);
    let wide = ints(Tensor::<1, Int>::randint(0..1 << 40, [N], &device));
    counted(wide.iter().map(|x| x & 7), 0, &[0.125; 8]);
    assert!(wide.iter().any(|&x| x > 1 << 39) && wide.iter().all(|&x| x < 1 << 40));
    let default = Tensor::<1, Int>::random([N], Distribution::Default, (&device, DType::U8));
    counted(ints(default).iter().map(|x| x / 85), 0, &[1.0 / 3.0; 3]);
    let p = Tensor::<1, Int>::random([N], Distribution::Bernoulli(0.3), &device);
    counted(ints(p), 0, &[0.7, 0.3]);
    let fair = Tensor::<1, Bool>::random([N], Distribution::Default, &device);
    counted(ints(fair.int()), 0, &[0.5, 0.5]);
    let normal = Tensor::<1, Int>::random([N], Distribution::Normal(0.5, 100.0), &device);
    moments(&normal.float(), 0.0, 1e4);
    assert!(guard(|| Tensor::<1, Int>::randint(3..3, [1], &device)).is_err());
}

#[test]
fn permutations_hold_every_number_once() {
    let (_alone, device) = seeded(3);
    let mut x = ints(Tensor::<1, Int>::randperm(1000, &device));
    assert_ne!(x, (0..1000).collect::<Vec<_>>());
    x.sort();
    assert_eq!(x, (0..1000).collect::<Vec<_>>());
    assert_eq!(ints(Tensor::<1, Int>::randperm(0, &device)), []);
    // All six orders of three are as frequent.
    let order = |_| match ints(Tensor::<1, Int>::randperm(3, &device))[..] {
        [0, 1, 2] => 0,
        [0, 2, 1] => 1,
        [1, 0, 2] => 2,
        [1, 2, 0] => 3,
        [2, 0, 1] => 4,
        _ => 5,
    };
    counted((0..6000).map(order), 0, &[1.0 / 6.0; 6]);
}

#[test]
fn laws_of_one_uniform_number() {
    let (_alone, device) = seeded(4);
    for dtype in [DType::F32, DType::F64] {
        let options = (&device, dtype);
        follows(sample::exponential([N], 2.0, options), |x| 1.0 - (-2.0 * x).exp());
        follows(sample::cauchy([N], 1.0, 2.0, options), |x| {
            0.5 + ((x - 1.0) / 2.0).atan() / std::f64::consts::PI
        });
        follows(sample::log_normal([N], 0.5, 0.25, options), |x| normal_cdf((x.ln() - 0.5) / 0.25));
        follows(sample::laplace([N], 1.0, 2.0, options), |x| {
            let tail = 0.5 * (-(x - 1.0).abs() / 2.0).exp();
            if x < 1.0 { tail } else { 1.0 - tail }
        });
        follows(sample::gumbel([N], 1.0, 2.0, options), |x| (-(-(x - 1.0) / 2.0).exp()).exp());
    }
    let trials = |p: f64| sample::geometric::<1>([N], p, &device).int();
    let mut probabilities: Vec<f64> = (0..9).map(|k| 0.4 * 0.6f64.powi(k)).collect();
    probabilities.push(0.6f64.powi(9));
    counted(ints(trials(0.4)), 1, &probabilities);
    assert!(ints(trials(1.0)).iter().all(|&k| k == 1));
    let half = sample::exponential::<1>([N], 1.0, (&device, DType::F16));
    assert_eq!(half.dtype(), DType::F16);
    assert!(half.to_data().iter::<f32>().all(|x| x.is_finite()));
    for wrong in [
        guard(|| sample::exponential::<1>([1], 0.0, &device)),
        guard(|| sample::geometric::<1>([1], 1.5, &device)),
        guard(|| sample::gumbel::<1>([1], 0.0, f64::NAN, &device)),
    ] {
        assert!(wrong.unwrap_err().to_string().contains("must be above"));
    }
}

#[test]
fn truncated_normals_stay_inside() {
    let (_alone, device) = seeded(5);
    let ends = [
        (-1.0, 2.0),
        (-4.0, 4.0),
        (0.5, 0.75),
        (1.0, 9.0),
        (-9.0, -1.0),
        (4.0, 4.1),
        (3.0, 3.2),
        (-0.1, 0.2),
        (0.0, f64::INFINITY),
        (f64::NEG_INFINITY, -2.0),
    ];
    for (a, b) in ends {
        let (mean, std) = (3.0, 0.5);
        let (low, high) = (mean + std * a, mean + std * b);
        let x = sample::truncated_normal([N], mean, std, low, high, (&device, DType::F64));
        x.to_data().assert_within_range_inclusive(low..=high);
        // Far out, the differences of the distribution function itself are too coarse.
        if a < 3.0 {
            let (below, inside) = (normal_cdf(a), normal_cdf(b) - normal_cdf(a));
            follows(x, |x| (normal_cdf((x - mean) / std) - below) / inside);
        }
    }
    let error = guard(|| sample::truncated_normal::<1>([1], 0.0, 1.0, 2.0, 1.0, &device));
    assert!(error.unwrap_err().to_string().contains("is not a law"));
}

#[test]
fn gamma_numbers_follow_their_law() {
    let (_alone, device) = seeded(6);
    let drawn = |k: f64| sample::gamma(Tensor::<1>::full([N], k, (&device, DType::F64)));
    follows(drawn(1.0), |x| 1.0 - (-x).exp());
    follows(drawn(2.0), |x| 1.0 - (-x).exp() * (1.0 + x));
    follows(drawn(5.0), |x| {
        let terms = [1.0, x, x * x / 2.0, x.powi(3) / 6.0, x.powi(4) / 24.0];
        1.0 - (-x).exp() * terms.iter().sum::<f64>()
    });
    // Half the square of a normal number.
    follows(drawn(0.5), |x| 2.0 * normal_cdf((2.0 * x).sqrt()) - 1.0);
    for k in [0.3, 7.5, 1000.0] {
        moments(&drawn(k), k, k);
    }
    let edge = sample::gamma(Tensor::<1>::from([-1.0, f32::NAN, 0.0])).into_data();
    let edge: Vec<f64> = edge.iter().collect();
    assert!(edge[0].is_nan() && edge[1].is_nan() && edge[2] == 0.0);
}

#[test]
fn beta_and_dirichlet_numbers_are_shares() {
    let (_alone, device) = seeded(7);
    let full = |x: f64| Tensor::<1>::full([N], x, (&device, DType::F64));
    follows(sample::beta(full(2.0), full(1.0)), |x| x * x);
    follows(sample::beta(full(0.5), full(0.5)), |x| 2.0 / std::f64::consts::PI * x.sqrt().asin());
    let tiny = sample::beta(full(1e-3), full(1e-3));
    counted(tiny.into_data().iter::<f64>().map(|x| (x > 0.5) as i64), 0, &[0.5, 0.5]);
    let shares = sample::dirichlet(Tensor::<2>::from([[1.0, 2.0, 3.0]]).expand([N, 3]));
    let sums = shares.sum_dim(1);
    sums.to_data().assert_within_range_inclusive(0.99999..=1.00001f32);
    // Each share is a beta number.
    let first = shares.as_any().narrow(1, 0, 1).reshape([N]);
    follows(Tensor::from_any(first), |x| 1.0 - (1.0 - x).powi(5));
}

#[test]
fn poisson_numbers_follow_their_law() {
    let (_alone, device) = seeded(8);
    for rate in [0.5f64, 3.0, 9.9, 10.1, 30.0] {
        let x = sample::poisson(Tensor::<1>::full([N], rate, &device));
        moments(&x, rate, rate);
        let (first, last) =
            ((rate - 3.0 * rate.sqrt()).max(0.0) as i64, (rate + 3.0 * rate.sqrt()) as i64);
        let mut terms = vec![(-rate).exp()];
        (1..=last).for_each(|k| terms.push(terms[k as usize - 1] * rate / k as f64));
        let mut probabilities = terms[first as usize..last as usize].to_vec();
        probabilities[0] = terms[..=first as usize].iter().sum();
        probabilities.push(1.0 - probabilities.iter().sum::<f64>());
        counted(x.into_data().iter::<i64>().map(|k| k.max(first)), first, &probabilities);
    }
    let large = sample::poisson(Tensor::<1>::full([N], 1e6, (&device, DType::F64)));
    moments(&large, 1e6, 1e6);
    let edge: Vec<f64> =
        sample::poisson(Tensor::<1>::from([0.0, -1.0])).into_data().iter().collect();
    assert!(edge[0] == 0.0 && edge[1].is_nan());
}

#[test]
fn bernoulli_numbers_have_their_own_probabilities() {
    let (_alone, device) = seeded(9);
    let p = Tensor::<2>::from_data([[0.0, 0.25, 1.0]], (&device, DType::F16)).expand([N, 3]);
    let x = p.bernoulli();
    assert_eq!(x.dtype(), DType::F16);
    let column = |i| x.as_any().narrow(1, i, 1).to_data().unwrap();
    assert!(column(0).iter::<f32>().all(|x| x == 0.0) && column(2).iter::<f32>().all(|x| x == 1.0));
    counted(column(1).iter::<i64>(), 0, &[0.75, 0.25]);
}

#[test]
fn multinomial_draws_in_proportion_to_the_weights() {
    let (_alone, device) = seeded(10);
    let weights = Tensor::<2>::from_data([[1.0, 0.0, 3.0, 4.0], [5.0, 0.0, 0.0, 0.0]], &device);
    let x = ints(weights.categorical(N));
    assert_eq!(x.iter().filter(|&&k| k == 1).count(), 0);
    counted(x[..N].iter().map(|&k| [0, 3, 1, 2][k as usize]), 0, &[0.125, 0.375, 0.5]);
    assert!(x[N..].iter().all(|&k| k == 0));

    let weights = Tensor::<1>::from_data([1.0, 2.0, 0.0, 1.0], &device);
    // The second of two without replacement: p(b | a) = w[b] / (4 - w[a]).
    let pairs = weights.unsqueeze::<2>().expand([N, 4]).multinomial(2, false);
    assert_eq!(pairs.dims(), [N, 2]);
    let pairs = ints(pairs);
    let index = |a: i64, b: i64| match (a, b) {
        (0, 1) => 0,
        (0, 3) => 1,
        (1, 0) => 2,
        (1, 3) => 3,
        (3, 0) => 4,
        (3, 1) => 5,
        _ => panic!("{a} then {b}"),
    };
    let (sixth, quarter) = (1.0 / 6.0, 0.25);
    let expected = [sixth, sixth / 2.0, quarter, quarter, sixth / 2.0, sixth];
    counted(pairs.chunks(2).map(|pair| index(pair[0], pair[1])), 0, &expected);
    let mut all = ints(weights.multinomial(3, false));
    all.sort();
    assert_eq!(all, [0, 1, 3]);

    let text = |weights: [f32; 2], samples, replacement| {
        let error = guard(|| Tensor::<1>::from(weights).multinomial(samples, replacement));
        error.unwrap_err().to_string()
    };
    assert!(text([1.0, -1.0], 1, true).contains("found -1"));
    assert!(text([f32::NAN, 1.0], 1, false).contains("found NaN"));
    assert!(text([0.0, 0.0], 1, true).contains("must be positive"));
    assert!(text([0.0, 1.0], 2, false).contains("2 samples can not be drawn from 1 weights"));
    assert!(text([1.0, 1.0], 3, false).contains("3 samples can not be drawn from 2"));
    assert!(text([1.0, 1.0], 0, true).contains("at least one sample"));
}

/// Every law, as bytes.
fn all(device: Device) -> Vec<u8> {
    device.seed(11);
    let n = Shape::new([70_001]);
    let float = (&device, DType::F32);
    let rates = Tensor::<1>::rand(n, &device) * 20.0;
    let weights = Tensor::<2>::rand([300, 70], &device);
    let floats: Vec<Tensor<1, Float>> = vec![
        Tensor::randn(n, float),
        Tensor::random(n, Distribution::Uniform(-1.0, 1.0), (&device, DType::F64)),
        sample::exponential(n, 1.0, float),
        sample::truncated_normal(n, 0.0, 1.0, -0.5, 2.0, float),
        sample::gamma(&rates),
        sample::poisson(&rates),
        sample::beta(&rates, &rates),
    ];
    let ints = [
        Tensor::<1, Int>::randint(0..1000, n, &device).into_any(),
        weights.multinomial(20, true).into_any(),
        weights.multinomial(20, false).into_any(),
    ];
    let all = floats.into_iter().map(Tensor::into_any).chain(ints);
    all.flat_map(|x| x.to_data().unwrap().bytes().to_vec()).collect()
}

#[test]
fn any_number_of_threads_draws_the_same() {
    let (_alone, device) = seeded(0);
    let on = |threads| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| all(device))
    };
    let one = on(1);
    assert!(one == on(2) && one == on(3));
}

#[test]
fn the_order_of_draws_is_the_seeds() {
    let (_alone, device) = seeded(12);
    let first = Tensor::<1>::randn([5], &device).into_data();
    let second = Tensor::<1>::randn([5], &device).into_data();
    assert_ne!(first, second);
    device.seed(12);
    assert_eq!(Tensor::<1>::randn([5], &device).into_data(), first);
    let state = device.generator();
    let gamma = || sample::gamma(Tensor::<1>::full([9], 0.5, &device)).into_data();
    let drawn = gamma();
    assert_ne!(gamma(), drawn);
    device.set_generator(state);
    assert_eq!(gamma(), drawn);
}
