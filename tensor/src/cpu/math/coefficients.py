"""Computes every polynomial of `coefficients.rs`: `python coefficients.py > coefficients.rs`.

Needs mpmath and numpy. Each set is a weighted minimax fit on a grid with Chebyshev spacing.
Coefficients are rounded to the working precision one after the
other, lowest degree first, and the rest is fitted again after each, so that the later ones absorb
the rounding of the earlier ones.
"""

import numpy as np
from mpmath import cos, erf, erfc, exp, expm1, log, log1p, lu_solve, matrix, mp, mpf, pi, sin
from mpmath import sqrt, tanh

mp.dps = 90


def lawson(basis, target, rounds):
    """Minimises max |target - basis c|; returns c.

    Lawson's algorithm: least squares, reweighted with the error of the round before. Unlike
    exchange algorithms it needs no Haar condition, which a set that starts at x (because the
    constant is already fixed) violates on an interval around zero.
    """
    weights = np.array([mpf(1)] * len(target), dtype=object)
    best, least = None, None
    for _ in range(rounds):
        scaled = basis * weights[:, None]
        found = lu_solve(matrix((scaled.T @ basis).tolist()), matrix((scaled.T @ target).tolist()))
        found = [found[k] for k in range(basis.shape[1])]
        error = abs(target - basis @ np.array(found, dtype=object))
        worst = max(error)
        if least is None or worst < least:
            best, least = found, worst
        weights = weights * error
        weights = weights / sum(weights) + mpf(10) ** -30
    return best


def minimax(grid, values, weights, powers, rounds):
    """Minimises max |w (v - sum c_k x^k)| over the grid; returns the coefficients."""
    basis = np.array([[w * x**p for p in powers] for x, w in zip(grid, weights)], dtype=object)
    target = np.array([w * v for w, v in zip(weights, values)], dtype=object)
    return lawson(basis, target, rounds)


def fit(value, weight, low, high, degree, real, fixed=()):
    """Minimax coefficients of the powers 0..=degree rounded to `real`, and their error."""
    low, high = mpf(low), mpf(high)
    points = 8 * (degree + 2)
    grid = [(low + high) / 2 - (high - low) / 2 * cos(pi * (i + mpf(1) / 3) / points)
            for i in range(points)]
    values = [value(x) for x in grid]
    weights = [abs(weight(x)) for x in grid]
    done = [mpf(float(c)) for c in fixed]
    while len(done) <= degree:
        powers = list(range(len(done), degree + 1))
        rest = [v - sum(c * x**k for k, c in enumerate(done)) for x, v in zip(grid, values)]
        found = minimax(grid, rest, weights, powers, 40 if real is np.float64 else 20)
        done.append(mpf(float(real(float(found[0])))))
        if real is np.float64:
            # Rounding a double moves the fit too little to be worth the time of a new one.
            done.extend(mpf(float(c)) for c in found[1:])
    worst = mpf(0)
    for i in range(2001):
        x = (low + high) / 2 - (high - low) / 2 * cos(pi * (i + mpf(1) / 3) / 2001)
        error = weight(x) * (value(x) - sum(c * x**k for k, c in enumerate(done)))
        worst = max(worst, abs(error))
    return done, worst


def fit_ratio(value, grid, check, low_degree, high_degree, real):
    """P / Q with minimax relative error, P(0) = value(0) and Q(0) = 1, coefficients rounded."""
    values = [value(x) for x in grid]
    top = [mpf(float(real(float(value(mpf(0))))))]
    bottom = [mpf(1)]
    previous = [mpf(1)] * len(grid)

    def evaluate(coefficients, x):
        return sum(c * x**k for k, c in enumerate(coefficients))

    def solve(rounds):
        # Linear in the coefficients when the error is multiplied by Q; divided by the last Q.
        p = list(range(len(top), low_degree + 1))
        q = list(range(len(bottom), high_degree + 1))
        rows, target = [], []
        for x, v, old in zip(grid, values, previous):
            w = 1 / (v * old)
            rows.append([w * x**k for k in p] + [-w * v * x**k for k in q])
            target.append(w * (v * evaluate(bottom, x) - evaluate(top, x)))
        found = lawson(np.array(rows, dtype=object), np.array(target, dtype=object), rounds)
        return found[: len(p)], found[len(p) :]

    while len(top) <= low_degree or len(bottom) <= high_degree:
        for _ in range(3):
            p, q = solve(12)
            previous = [evaluate(bottom + q, x) for x in grid]
        if p and (not q or len(top) <= len(bottom)):
            top.append(mpf(float(real(float(p[0])))))
        else:
            bottom.append(mpf(float(real(float(q[0])))))
    worst = max(abs(evaluate(top, x) / evaluate(bottom, x) / value(x) - 1) for x in check)
    return (top, worst), (bottom, worst)


def literal(c, real):
    text = np.format_float_scientific(real(float(c)), unique=True)
    mantissa, exponent = text.split("e")
    exponent = int(exponent)
    if -5 < exponent < 6:
        text = np.format_float_positional(real(float(c)), unique=True)
        return text + "0" if text.endswith(".") else text
    return f"{mantissa.rstrip('.')}e{exponent}"


def show(name, comment, fitted, real):
    done, worst = fitted
    kind = "f32" if real is np.float32 else "f64"
    print(f"    /// {comment}: error {mp.nstr(worst, 2)}.")
    print(f"    pub(in super::super) const {name}: [{kind}; {len(done)}] = [")
    for c in done:
        print(f"        {literal(c, real)},")
    print("    ];")


def show_table(name, comment, fitted, real):
    """A row for each power, in which an entry is a segment."""
    rows, worst = fitted
    kind = "f32" if real is np.float32 else "f64"
    print(f"    /// {comment}: error {mp.nstr(worst, 2)}.")
    print(f"    pub(in super::super) const {name}: [[{kind}; {len(rows[0])}]; {len(rows)}] = [")
    for row in rows:
        print(f"        [{', '.join(literal(c, real) for c in row)}],")
    print("    ];")


HALF_LN2 = log(2) / 2


def expm1_set(degree, real):
    return fit(
        lambda r: (expm1(r) - r) / r**2,
        lambda r: r**2 / expm1(r),
        -HALF_LN2 * mpf("1.0005"),
        HALF_LN2 * mpf("1.0005"),
        degree,
        real,
        fixed=(0.5,),
    )


def ln_set(degree, real):
    third = mpf(1) / 3 + mpf(2) ** -20
    return fit(
        lambda f: (log1p(f) - f) / f**2,
        lambda f: f**2 / log1p(f),
        -third,
        third,
        degree,
        real,
        fixed=(-0.5,),
    )


def log_set(base, degree, real):
    """log(1 + f) / f without its leading constant, which the code adds separately."""
    leading = mpf(float(real(float(1 / log(base)))))
    third = mpf(1) / 3 + mpf(2) ** -20
    return fit(
        lambda f: log1p(f) / f / log(base) - leading,
        lambda f: f / log1p(f) * log(base),
        -third,
        third,
        degree,
        real,
    )


def atanh_set(scale, degree, limit, real):
    """log(1 + f) = 2 s + s^3 P(s^2) with s = f / (2 + f), times `scale`."""

    def log_of(s):
        return log((1 + s) / (1 - s))

    return fit(
        lambda u: scale * (log_of(sqrt(u)) - 2 * sqrt(u)) / sqrt(u) ** 3,
        lambda u: sqrt(u) ** 3 / log_of(sqrt(u)) / scale,
        mpf("1e-6"),
        limit**2,
        degree,
        real,
    )


def erf_set(limit, degree, real):
    """erf(x) = x + x P(x^2)."""
    return fit(
        lambda u: erf(sqrt(u)) / sqrt(u) - 1,
        lambda u: sqrt(u) / erf(sqrt(u)),
        mpf("1e-9"),
        mpf(limit) ** 2,
        degree,
        real,
    )


def tanh_set(limit, degree, real):
    """tanh(x) = x + x^3 P(x^2)."""
    return fit(
        lambda u: (tanh(sqrt(u)) - sqrt(u)) / sqrt(u) ** 3,
        lambda u: sqrt(u) ** 3 / tanh(sqrt(u)),
        mpf("1e-6"),
        mpf(limit) ** 2,
        degree,
        real,
    )


def erfc_set(low, high, centre, degree, real):
    return fit(
        lambda t: erfc(t + centre),
        lambda t: mpf(1),
        mpf(low) - centre,
        mpf(high) - centre,
        degree,
        real,
    )


def scaled_tail(a):
    """exp(a^2 / 2) times the mass of the normal distribution beyond a."""
    return exp(a * a / 2) * erfc(a / sqrt(mpf(2))) / 2


def power_set(count, real):
    """2^(k / count) rounded, and what that lacks, in parts of it."""
    exact = [mpf(2) ** (mpf(k) / count) for k in range(count)]
    powers = [mpf(float(real(float(x)))) for x in exact]
    rests = [mpf(float(real(float(x / power - 1)))) for x, power in zip(exact, powers)]
    worst = max(abs(p * (1 + rest) / x - 1) for x, p, rest in zip(exact, powers, rests))
    return [powers, rests], worst


def gelu_set(width, count, degree, real):
    """a times the mass of the normal distribution beyond a, in a - k width around k width."""
    sets, worst = [], mpf(0)
    for k in range(count):
        centre = k * mpf(width)
        done, error = fit(
            lambda t: (t + centre) * erfc((t + centre) / sqrt(mpf(2))) / 2,
            lambda t: 2 / ((t + centre) * erfc((t + centre) / sqrt(mpf(2)))),
            -mpf(width) / 2 if k > 0 else mpf("1e-6"),
            mpf(width) / 2,
            degree,
            real,
            fixed=() if k > 0 else (0.0,),
        )
        sets.append(done)
        worst = max(worst, error)
    return list(zip(*sets)), worst


def tail_set(k, offset, high, degree, real):
    """scaled_tail(a) = t P(t - offset) with t = 1 / (1 + k a)."""

    def a_of(t):
        return (1 / t - 1) / k

    return fit(
        lambda w: scaled_tail(a_of(w + offset)) / (w + offset),
        lambda w: (w + offset) / scaled_tail(a_of(w + offset)),
        1 / (1 + mpf(k) * high) - offset,
        mpf(1) - offset,
        degree,
        real,
    )


def gelu_far_set(low, high, degree, real):
    """a scaled_tail(a) in 1 / a^2."""
    return fit(
        lambda t: scaled_tail(1 / sqrt(t)) / sqrt(t),
        lambda t: sqrt(t) / scaled_tail(1 / sqrt(t)),
        1 / mpf(high) ** 2,
        1 / mpf(low) ** 2,
        degree,
        real,
    )


def tail_ratio(high, low_degree, high_degree, real):
    def grid(points):
        # Chebyshev spacing in 1 / (4 + a), as most of the change is at the small end.
        ends = mpf(1), 4 / (4 + mpf(high))
        middle, half = (ends[0] + ends[1]) / 2, (ends[0] - ends[1]) / 2
        return [4 / (middle + half * cos(pi * (i + mpf(1) / 3) / points)) - 4
                for i in range(points)]

    return fit_ratio(scaled_tail, grid(120), grid(1000), low_degree, high_degree, real)


QUARTER = (pi / 4 * mpf("1.0002")) ** 2


def sin_set(degree, real):
    return fit(
        lambda u: (sin(sqrt(u)) - sqrt(u)) / sqrt(u) ** 3,
        lambda u: sqrt(u) ** 3 / sin(sqrt(u)),
        mpf("1e-6"),
        QUARTER,
        degree,
        real,
    )


def cos_set(degree, real):
    return fit(
        lambda u: (cos(sqrt(u)) - 1 + u / 2) / u**2,
        lambda u: u**2 / cos(sqrt(u)),
        mpf("1e-4"),
        QUARTER,
        degree,
        real,
    )


def exp2_set(degree, real):
    return fit(
        lambda r: 2**r,
        lambda r: 2**-r,
        mpf("-0.5001"),
        mpf("0.5001"),
        degree,
        real,
        fixed=(1.0,),
    )


def split(value, bits):
    """`value` in pieces of `bits` bits each, cut towards zero, and a rounded rest."""
    pieces = []
    for count in bits:
        position = count - 1 - int(mp.floor(log(value, 2)))
        pieces.append(mp.floor(value * mpf(2) ** position) / mpf(2) ** position)
        value -= pieces[-1]
    return pieces + [value]


def constants(kind, entries, real):
    for name, comment, value in entries:
        print(f"    /// {comment}.")
        print(f"    pub(in super::super) const {name}: {kind} = {literal(value, real)};")


def single_constants():
    hi, lo = split(log(2), [15])
    ten_hi, ten_lo = split(log(2) / log(10), [15])
    constants("f32", [
        ("LN2_HI", "ln(2), its first 15 bits: exact times an exponent", hi),
        ("LN2_LO", "The rest of ln(2)", lo),
        ("LOG10_2_HI", "log10(2), its first 15 bits", ten_hi),
        ("LOG10_2_LO", "The rest of log10(2)", ten_lo),
    ], np.float32)


def double_constants():
    hi, lo = split(log(2), [40])
    first, second, rest = split(pi / 2, [25, 25])
    constants("f64", [
        ("LN2_HI", "ln(2), its first 40 bits: exact times an exponent", hi),
        ("LN2_LO", "The rest of ln(2)", lo),
        ("HALF_PI_1", "pi/2, its first 25 bits: exact times a multiple below 2^28", first),
        ("HALF_PI_2", "pi/2, its next 25 bits", second),
        ("HALF_PI_3", "The rest of pi/2", rest),
        ("HALF_PI_REST", "pi/2 less the double nearest to it", pi / 2 - mpf(float(pi / 2))),
    ], np.float64)
    words = [int(mp.floor(2 / pi * mpf(2) ** (32 * (i + 1)))) % 2**32 for i in range(8)]
    print("    /// The binary digits of 2/pi behind the point.")
    print(f"    pub(in super::super) const TWO_OVER_PI: [u32; {len(words)}] = [")
    for word in words:
        print(f"        0x{word:08x},")
    print("    ];")


TAIL = tail_ratio(mpf("14.5"), 4, 5, np.float32)

SINGLE = [
    ("EXPM1", "(expm1(r) - r) / r^2 for |r| <= ln(2)/2, relative to expm1",
     lambda: expm1_set(4, np.float32)),
    ("LN", "(ln(1 + f) - f) / f^2 for |f| <= 1/3", lambda: ln_set(8, np.float32)),
    ("LOG2", "log2(1 + f) / f less its leading constant for |f| <= 1/3",
     lambda: log_set(mpf(2), 9, np.float32)),
    ("LOG10", "log10(1 + f) / f less its leading constant for |f| <= 1/3",
     lambda: log_set(mpf(10), 9, np.float32)),
    ("TANH", "(tanh(x) - x) / x^3 in x^2 for |x| <= 0.5625",
     lambda: tanh_set(mpf("0.5625"), 3, np.float32)),
    ("ERF", "erf(x) / x - 1 in x^2 for |x| <= 1", lambda: erf_set(1, 5, np.float32)),
    ("ERFC", "erfc(2.5 + t) for arguments 1 to 4, absolute",
     lambda: erfc_set(1, 4, mpf("2.5"), 14, np.float32)),
    ("TAIL_TOP", "exp(a^2/2) Phi(-a) for 0 <= a <= 14.5, numerator", lambda: TAIL[0]),
    ("TAIL_BOTTOM", "The denominator to `TAIL_TOP`", lambda: TAIL[1]),
    ("GELU_FAR", "a exp(a^2/2) Phi(-a) in 1 / a^2 for 3.9375 <= a <= 14.5",
     lambda: gelu_far_set("3.9375", "14.5", 5, np.float32)),
    ("SIN", "(sin(r) - r) / r^3 in r^2 for |r| <= pi/4", lambda: sin_set(2, np.float32)),
    ("COS", "(cos(r) - 1 + r^2/2) / r^4 in r^2 for |r| <= pi/4", lambda: cos_set(2, np.float32)),
]

TABLES = [
    ("POWERS", "2^(k / 16), and what its rounding took away, in parts of it",
     lambda: power_set(16, np.float32)),
    ("GELU", "a Phi(-a) in a - k / 8 for |a - k / 8| <= 1/16, for each k",
     lambda: gelu_set("0.125", 32, 4, np.float32)),
]

DOUBLE = [
    ("POW_LOG2", "(log2((1 + s) / (1 - s)) - s 2/ln(2)) / s^3 in s^2 for |s| <= 0.2",
     lambda: atanh_set(1 / log(2), 4, mpf("0.2001"), np.float64)),
    ("POW_EXP2", "2^r for |r| <= 1/2", lambda: exp2_set(7, np.float64)),
    ("EXPM1", "(expm1(r) - r) / r^2 for |r| <= ln(2)/2, relative to expm1",
     lambda: expm1_set(10, np.float64)),
    ("LN", "(ln((1 + s) / (1 - s)) - 2 s) / s^3 in s^2 for |s| <= 0.2",
     lambda: atanh_set(mpf(1), 7, mpf("0.2001"), np.float64)),
    ("ERF", "erf(x) / x - 1 in x^2 for |x| <= 1", lambda: erf_set(1, 12, np.float64)),
    ("TAIL", "exp(a^2/2) Phi(-a) / t in t - 0.625, t = 4 / (4 + a), for 0 <= a <= 39",
     lambda: tail_set(mpf("0.25"), mpf("0.625"), mpf(39), 23, np.float64)),
]


def main():
    print("//! Constants and polynomials, lowest degree first: the output of `coefficients.py`.")
    print("\n#![allow(clippy::approx_constant)]")
    for kind, extra, sets, tables, real in (
        ("single", single_constants, SINGLE, TABLES, np.float32),
        ("double", double_constants, DOUBLE, [], np.float64),
    ):
        print(f"\npub(super) mod {kind} {{")
        extra()
        for name, comment, make in sets:
            show(name, comment, make(), real)
        for name, comment, make in tables:
            show_table(name, comment, make(), real)
        print("}")


if __name__ == "__main__":
    main()
