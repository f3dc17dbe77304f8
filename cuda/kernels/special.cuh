// Derivatives of the logarithm of the gamma function, in f64.

namespace fn {

__device__ inline f64 digamma(f64 x) {
    const f64 pi = 3.14159265358979324;
    if (x <= 0 && x == ::floor(x)) return 0.0 / 0.0;
    f64 sum = 0;
    if (x < 0) {
        // Reflection, with the angle brought near zero.
        sum = -pi / ::tan(pi * (x - ::rint(x)));
        x = 1 - x;
    }
    for (; x < 12; x += 1) sum -= 1 / x;
    f64 z = 1 / (x * x);
    f64 series = z * (1.0 / 12 - z * (1.0 / 120 - z * (1.0 / 252 - z * (1.0 / 240 - z * (1.0 / 132
               - z * (691.0 / 32760 - z * (1.0 / 12)))))));
    return sum + ::log(x) - 0.5 / x - series;
}
__device__ __forceinline__ f32 digamma(f32 x) { return (f32)digamma((f64)x); }

// (-1)^(n+1) n! sum_k 1 / (x + k)^(n + 1): terms one by one, the rest by Euler and Maclaurin. Far
// below zero, where that takes too many terms, there is no answer.
__device__ inline f64 polygamma(int n, f64 x) {
    if (x <= 0 && x == ::floor(x)) return n % 2 == 1 ? 1.0 / 0.0 : 0.0 / 0.0;
    if (x < -1e6) return 0.0 / 0.0;
    f64 s = n + 1, sum = 0, factorial = 1;
    for (int k = 2; k <= n; k++) factorial *= k;
    for (; x < n + 15; x += 1) sum += ::pow(x, -s);
    const f64 bernoulli[8] = {1.0 / 6, -1.0 / 30, 1.0 / 42, -1.0 / 30, 5.0 / 66, -691.0 / 2730,
                              7.0 / 6, -3617.0 / 510};
    sum += ::pow(x, 1 - s) / (s - 1) + ::pow(x, -s) / 2;
    f64 term = s * ::pow(x, -s - 1) / 2;
    for (int k = 0; k < 8; k++) {
        sum += bernoulli[k] * term;
        f64 m = 2 * k + 1;
        term *= (s + m) * (s + m + 1) / ((m + 2) * (m + 3) * x * x);
    }
    return n % 2 == 1 ? factorial * sum : -factorial * sum;
}
__device__ __forceinline__ f32 polygamma(int n, f32 x) { return (f32)polygamma(n, (f64)x); }

}  // namespace fn
