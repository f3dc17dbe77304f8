// Laws that no fixed number of uniform numbers gives: one position draws as often as it must, from
// lanes of its own, the same numbers as on the CPU.

struct Stream {
    u64 seed, counter;
    u32 lane;
    bool has_spare;
    f64 spare;

    // The next number in (0, 1): half a step away from zero.
    __device__ inline f64 uniform() {
        has_spare = !has_spare;
        if (!has_spare) return spare;
        Words words = philox(seed, counter, lane++);
        const f64 step = 1.0 / 9007199254740992.0;
        spare = (f64)(((u64)words.w[2] << 32 | words.w[3]) >> 11) * step + 0.5 * step;
        return (f64)(((u64)words.w[0] << 32 | words.w[1]) >> 11) * step + 0.5 * step;
    }
    // Box and Muller 1958; the second of the pair is not used.
    __device__ inline f64 normal() {
        f64 radius = ::sqrt(-2.0 * ::log(uniform()));
        return radius * ::cos(2.0 * 3.14159265358979324 * uniform());
    }
};

__device__ __forceinline__ Stream stream(u64 seed, u64 counter) {
    return {seed, counter, 0, false, 0};
}
__device__ __forceinline__ f64 no_number() { return 0.0 / 0.0; }

// The logarithm of a gamma number (Marsaglia and Tsang 2000).
__device__ inline f64 log_gamma_number(u64 seed, u64 counter, f64 concentration) {
    if (!(concentration >= 0 && concentration - concentration == 0)) return no_number();
    Stream draw = stream(seed, counter);
    f64 more = 0;
    if (concentration < 1) {
        // Of one more, times u^(1 / concentration).
        more = ::log(draw.uniform()) / concentration;
        concentration += 1;
    }
    const f64 d = concentration - 1.0 / 3, c = 1 / ::sqrt(9 * d);
    for (;;) {
        f64 x = draw.normal(), root = 1 + c * x, v = root * root * root;
        f64 log = ::log(draw.uniform());
        if (v > 0 && log < 0.5 * x * x + d - d * v + d * ::log(v)) return more + ::log(d * v);
    }
}
__device__ __forceinline__ f64 gamma_number(u64 seed, u64 counter, f64 concentration) {
    return ::exp(log_gamma_number(seed, counter, concentration));
}

// ln(k!): by Stirling's series, which is exact to 1e-12 from ten on.
__device__ inline f64 log_factorial(f64 k) {
    if (k < 10) {
        f64 sum = 0;
        for (int i = 2; i <= (int)k; i++) sum += ::log((f64)i);
        return sum;
    }
    f64 x = k + 1, series = (1.0 / 12 - (1.0 / 360 - 1.0 / (1260 * x * x)) / (x * x)) / x;
    return (x - 0.5) * ::log(x) - x + 0.5 * ::log(2 * 3.14159265358979324) + series;
}

// Counted for small rates, by transformed rejection for others (Hoermann 1993).
__device__ inline f64 poisson_number(u64 seed, u64 counter, f64 rate) {
    if (!(rate >= 0 && rate - rate == 0)) return no_number();
    Stream draw = stream(seed, counter);
    if (rate < 10) {
        f64 limit = ::exp(-rate), product = draw.uniform(), count = 0;
        for (; product > limit; count += 1) product *= draw.uniform();
        return count;
    }
    const f64 b = 0.931 + 2.53 * ::sqrt(rate), a = -0.059 + 0.02483 * b;
    const f64 inverse_alpha = 1.1239 + 1.1328 / (b - 3.4), squeeze = 0.9277 - 3.6224 / (b - 2);
    for (;;) {
        f64 u = draw.uniform() - 0.5, v = draw.uniform(), us = 0.5 - ::fabs(u);
        f64 k = ::floor((2 * a / us + b) * u + rate + 0.43);
        if (us >= 0.07 && v <= squeeze) return k;
        if (k < 0 || (us < 0.013 && v > us)) continue;
        f64 height = v * inverse_alpha / (a / (us * us) + b);
        if (::log(height) <= k * ::log(rate) - rate - log_factorial(k)) return k;
    }
}

// A standard normal number in a..b (Robert 1995), with a < b.
__device__ inline f64 cut_normal(Stream& draw, f64 a, f64 b) {
    if (a != a || b != b) return no_number();
    if (a <= 0) {
        // Normal numbers that miss, or uniform ones that are too likely, are drawn again.
        const bool wide = b - a > ::sqrt(2 * 3.14159265358979324);
        for (;;) {
            f64 x = wide ? draw.normal() : a + (b - a) * draw.uniform();
            if (x >= a && x <= b && (wide || draw.uniform() < ::exp(-0.5 * x * x))) return x;
        }
    }
    // In the tail: exponential numbers, or uniform ones where the cut leaves little of it.
    const f64 rate = 0.5 * (a + ::sqrt(a * a + 4));
    const bool narrow = (b - a) * rate < 1;
    for (;;) {
        f64 x = narrow ? a + (b - a) * draw.uniform() : a - ::log(draw.uniform()) / rate;
        f64 log = narrow ? 0.5 * (a - x) * (a + x) : -0.5 * (x - rate) * (x - rate);
        if (x <= b && ::log(draw.uniform()) < log) return x;
    }
}
__device__ inline f64 truncated_number(u64 seed, u64 counter, f64 mean, f64 deviation, f64 low, f64 high) {
    Stream draw = stream(seed, counter);
    f64 a = (low - mean) / deviation, b = (high - mean) / deviation;
    f64 x = b < 0 ? -cut_normal(draw, -b, -a) : cut_normal(draw, a, b);
    x = mean + deviation * x;
    return x < low ? low : x > high ? high : x;
}
