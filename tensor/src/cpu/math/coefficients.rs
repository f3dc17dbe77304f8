//! Constants and polynomials, lowest degree first: the output of `coefficients.py`.

pub(super) mod single {
    /// ln(2), its first 15 bits: exact times an exponent.
    pub(in super::super) const LN2_HI: f32 = 0.69314575;
    /// The rest of ln(2).
    pub(in super::super) const LN2_LO: f32 = 1.4286068e-6;
    /// log10(2), its first 15 bits.
    pub(in super::super) const LOG10_2_HI: f32 = 0.3010254;
    /// The rest of log10(2).
    pub(in super::super) const LOG10_2_LO: f32 = 4.605039e-6;
    /// (expm1(r) - r) / r^2 for |r| <= ln(2)/2, relative to expm1: error 1.4e-8.
    pub(in super::super) const EXPM1: [f32; 5] =
        [0.5, 0.16666548, 0.04166685, 0.008366118, 0.0013898425];
    /// (ln(1 + f) - f) / f^2 for |f| <= 1/3: error 4.7e-9.
    pub(in super::super) const LN: [f32; 9] = [
        -0.5,
        0.33333215,
        -0.24999799,
        0.20010443,
        -0.16680439,
        0.14005375,
        -0.12184862,
        0.1398652,
        -0.12889457,
    ];
    /// log2(1 + f) / f less its leading constant for |f| <= 1/3: error 4.2e-9.
    pub(in super::super) const LOG2: [f32; 10] = [
        2.4944608e-8,
        -0.7213476,
        0.48089597,
        -0.36066747,
        0.28871173,
        -0.2407265,
        0.20178784,
        -0.17503472,
        0.20285855,
        -0.18853368,
    ];
    /// log10(1 + f) / f less its leading constant for |f| <= 1/3: error 4.1e-9.
    pub(in super::super) const LOG10: [f32; 10] = [
        -8.391701e-9,
        -0.21714725,
        0.14476408,
        -0.108572334,
        0.08691221,
        -0.07245307,
        0.06072636,
        -0.05280442,
        0.06114256,
        -0.05639252,
    ];
    /// (tanh(x) - x) / x^3 in x^2 for |x| <= 0.5625: error 4.7e-8.
    pub(in super::super) const TANH: [f32; 4] = [-0.33332875, 0.13319065, -0.052564505, 0.01623221];
    /// erf(x) / x - 1 in x^2 for |x| <= 1: error 4.0e-8.
    pub(in super::super) const ERF: [f32; 6] =
        [0.12837912, -0.37612322, 0.11280152, -0.026710624, 0.004916839, -0.0005628791];
    /// erfc(2.5 + t) for arguments 1 to 4, absolute: error 9.5e-9.
    pub(in super::super) const ERFC: [f32; 15] = [
        0.00040695266,
        -0.0021781889,
        0.0054456764,
        -0.008351716,
        0.008622686,
        -0.006109301,
        0.0027973468,
        -0.00056006684,
        -0.00025847732,
        0.00027039988,
        -8.125933e-5,
        -1.7682294e-5,
        1.5769037e-5,
        -5.0926343e-7,
        -8.962895e-7,
    ];
    /// exp(a^2/2) Phi(-a) for 0 <= a <= 14.5, numerator: error 2.7e-8.
    pub(in super::super) const TAIL_TOP: [f32; 5] =
        [0.5, 0.437615, 0.18272, 0.040456396, 0.004089122];
    /// The denominator to `TAIL_TOP`: error 2.7e-8.
    pub(in super::super) const TAIL_BOTTOM: [f32; 6] =
        [1.0, 1.6731149, 1.2003883, 0.468108, 0.10141577, 0.010249785];
    /// (sin(r) - r) / r^3 in r^2 for |r| <= pi/4: error 4.0e-9.
    pub(in super::super) const SIN: [f32; 3] = [-0.16666655, 0.00833219, -0.00019518455];
    /// (cos(r) - 1 + r^2/2) / r^4 in r^2 for |r| <= pi/4: error 1.2e-10.
    pub(in super::super) const COS: [f32; 3] = [0.041666646, -0.0013887311, 2.4432577e-5];
}

pub(super) mod double {
    /// ln(2), its first 40 bits: exact times an exponent.
    pub(in super::super) const LN2_HI: f64 = 0.6931471805592082;
    /// The rest of ln(2).
    pub(in super::super) const LN2_LO: f64 = 7.371002565167799e-13;
    /// pi/2, its first 25 bits: exact times a multiple below 2^28.
    pub(in super::super) const HALF_PI_1: f64 = 1.5707963109016418;
    /// pi/2, its next 25 bits.
    pub(in super::super) const HALF_PI_2: f64 = 1.5893254712295857e-8;
    /// The rest of pi/2.
    pub(in super::super) const HALF_PI_3: f64 = 6.123233995736766e-17;
    /// pi/2 less the double nearest to it.
    pub(in super::super) const HALF_PI_REST: f64 = 6.123233995736766e-17;
    /// The binary digits of 2/pi behind the point.
    pub(in super::super) const TWO_OVER_PI: [u32; 8] = [
        0xa2f9836e, 0x4e441529, 0xfc2757d1, 0xf534ddc0, 0xdb629599, 0x3c439041, 0xfe5163ab,
        0xdebbc561,
    ];
    /// (log2((1 + s) / (1 - s)) - s 2/ln(2)) / s^3 in s^2 for |s| <= 0.2: error 2.0e-13.
    pub(in super::super) const POW_LOG2: [f64; 5] = [
        0.9617966945542622,
        0.5770777949273188,
        0.412223878271142,
        0.31934323196061665,
        0.2902967181995834,
    ];
    /// 2^r for |r| <= 1/2: error 4.7e-11.
    pub(in super::super) const POW_EXP2: [f64; 8] = [
        1.0,
        0.6931471807049554,
        0.24022651066527664,
        0.05550410364650933,
        0.009618038114711455,
        0.00133339362330763,
        0.00015466765414869505,
        1.5195832614261424e-5,
    ];
    /// (expm1(r) - r) / r^2 for |r| <= ln(2)/2, relative to expm1: error 1.7e-18.
    pub(in super::super) const EXPM1: [f64; 11] = [
        0.5,
        0.16666666666666677,
        0.041666666666666574,
        0.008333333333322129,
        0.0013888888888943613,
        0.0001984126988502967,
        2.480158719624052e-5,
        2.7557245198864164e-6,
        2.755738884305671e-7,
        2.510872234941324e-8,
        2.08783215184318e-9,
    ];
    /// (ln((1 + s) / (1 - s)) - 2 s) / s^3 in s^2 for |s| <= 0.2: error 3.1e-19.
    pub(in super::super) const LN: [f64; 8] = [
        0.666666666666666,
        0.40000000000055974,
        0.2857142855599357,
        0.22222224278420194,
        0.18181666920899117,
        0.15391078858371474,
        0.1317414015984805,
        0.13839469284920156,
    ];
    /// erf(x) / x - 1 in x^2 for |x| <= 1: error 1.3e-17.
    pub(in super::super) const ERF: [f64; 13] = [
        0.1283791670955126,
        -0.3761263890318375,
        0.11283791670954858,
        -0.026866170645072934,
        0.005223977624781238,
        -0.000854832697876335,
        0.00012055331037664909,
        -1.492559352521309e-5,
        1.6460973110890019e-6,
        -1.635002834550064e-7,
        1.465790093614821e-8,
        -1.13657479474593e-9,
        5.945401318867032e-11,
    ];
    /// exp(a^2/2) Phi(-a) / t in t - 0.625, t = 4 / (4 + a), for 0 <= a <= 39: error 9.9e-17.
    pub(in super::super) const TAIL: [f64; 24] = [
        0.2336530309767045,
        0.42016858325085593,
        0.5506197423550337,
        0.5006652296476276,
        0.2629274298436778,
        0.0032506345317274213,
        -0.0930183340164572,
        -0.028487408815972295,
        0.03618311430933839,
        0.015649849246155915,
        -0.018929993268687273,
        -0.005992527033485964,
        0.011866364173020047,
        0.00022797539353810908,
        -0.00731156444545958,
        0.002819774452615777,
        0.003452111495867788,
        -0.0037506497554269267,
        -0.00025371258413272587,
        0.0032353445951612716,
        -0.0016566380564713482,
        -0.0023271051462737465,
        0.0015115870272255137,
        0.0014071208482134563,
    ];
}
