// Functions of one and two numbers, by the names that operations have. Integers wrap.

namespace fn {

#define BOTH(name, x, single, twice)                                     \
    __device__ __forceinline__ f32 name(f32 x) { return single; }        \
    __device__ __forceinline__ f64 name(f64 x) { return twice; }
#define INTEGERS(name, a, b, value)                                      \
    __device__ __forceinline__ i64 name(i64 a, i64 b) { return value; }  \
    __device__ __forceinline__ u64 name(u64 a, u64 b) { return value; }
#define FLOATS(name, a, b, single, twice)                                \
    __device__ __forceinline__ f32 name(f32 a, f32 b) { return single; } \
    __device__ __forceinline__ f64 name(f64 a, f64 b) { return twice; }

BOTH(recip, x, 1.0f / x, 1.0 / x)
BOTH(sqrt, x, ::sqrtf(x), ::sqrt(x))
BOTH(rsqrt, x, 1.0f / ::sqrtf(x), 1.0 / ::sqrt(x))
BOTH(exp, x, ::expf(x), ::exp(x))
BOTH(exp2, x, ::exp2f(x), ::exp2(x))
BOTH(expm1, x, ::expm1f(x), ::expm1(x))
BOTH(log, x, ::logf(x), ::log(x))
BOTH(log2, x, ::log2f(x), ::log2(x))
BOTH(log10, x, ::log10f(x), ::log10(x))
BOTH(log1p, x, ::log1pf(x), ::log1p(x))
BOTH(sin, x, ::sinf(x), ::sin(x))
BOTH(cos, x, ::cosf(x), ::cos(x))
BOTH(tan, x, ::tanf(x), ::tan(x))
BOTH(asin, x, ::asinf(x), ::asin(x))
BOTH(acos, x, ::acosf(x), ::acos(x))
BOTH(atan, x, ::atanf(x), ::atan(x))
BOTH(sinh, x, ::sinhf(x), ::sinh(x))
BOTH(cosh, x, ::coshf(x), ::cosh(x))
BOTH(tanh, x, ::tanhf(x), ::tanh(x))
BOTH(asinh, x, ::asinhf(x), ::asinh(x))
BOTH(acosh, x, ::acoshf(x), ::acosh(x))
BOTH(atanh, x, ::atanhf(x), ::atanh(x))
BOTH(erf, x, ::erff(x), ::erf(x))
BOTH(erfc, x, ::erfcf(x), ::erfc(x))
BOTH(erfinv, x, ::erfinvf(x), ::erfinv(x))
BOTH(lgamma, x, ::lgammaf(x), ::lgamma(x))
BOTH(floor, x, ::floorf(x), ::floor(x))
BOTH(ceil, x, ::ceilf(x), ::ceil(x))
BOTH(round, x, ::rintf(x), ::rint(x))
BOTH(trunc, x, ::truncf(x), ::trunc(x))
BOTH(abs, x, ::fabsf(x), ::fabs(x))
// Only a number below zero is replaced: NaN passes.
BOTH(relu, x, x < 0 ? 0.0f : x, x < 0 ? 0.0 : x)
BOTH(sigmoid, x, 1.0f / (1.0f + ::expf(-x)), 1.0 / (1.0 + ::exp(-x)))
BOTH(gelu, x, 0.5f * x * ::erfcf(-0.70710678f * x), 0.5 * x * ::erfc(-0.70710678118654752 * x))
BOTH(gelu_tanh, x, 0.5f * x * (1.0f + ::tanhf(0.79788456f * (x + 0.044715f * x * x * x))),
     0.5 * x * (1.0 + ::tanh(0.79788456080286536 * (x + 0.044715 * x * x * x))))
BOTH(silu, x, x / (1.0f + ::expf(-x)), x / (1.0 + ::exp(-x)))
BOTH(softplus, x, (x < 0 ? 0.0f : x) + ::log1pf(::expf(-::fabsf(x))),
     (x < 0 ? 0.0 : x) + ::log1p(::exp(-::fabs(x))))

template <class W> __device__ __forceinline__ W sign(W x) { return (W)((x > 0) - (x < 0)); }
template <class W> __device__ __forceinline__ W square(W x) { return x * x; }
template <> __device__ __forceinline__ i64 square(i64 x) { return (i64)((u64)x * (u64)x); }
template <class W> __device__ __forceinline__ W neg(W x) { return -x; }
template <> __device__ __forceinline__ i64 neg(i64 x) { return (i64)(0 - (u64)x); }
template <> __device__ __forceinline__ u64 neg(u64 x) { return 0 - x; }
__device__ __forceinline__ i64 abs(i64 x) { return x < 0 ? neg(x) : x; }
__device__ __forceinline__ u64 abs(u64 x) { return x; }
__device__ __forceinline__ i64 relu(i64 x) { return x < 0 ? 0 : x; }
__device__ __forceinline__ u64 relu(u64 x) { return x; }
template <class W> __device__ __forceinline__ W bit_not(W x) { return ~x; }
template <class W> __device__ __forceinline__ W logical_not(W x) { return (W)(x == 0); }

FLOATS(add, a, b, a + b, a + b)
FLOATS(sub, a, b, a - b, a - b)
FLOATS(mul, a, b, a * b, a * b)
FLOATS(div, a, b, a / b, a / b)
FLOATS(floor_div, a, b, ::floorf(a / b), ::floor(a / b))
FLOATS(fmod, a, b, ::fmodf(a, b), ::fmod(a, b))
FLOATS(pow, a, b, ::powf(a, b), ::pow(a, b))
FLOATS(maximum, a, b, a != a || a > b ? a : b, a != a || a > b ? a : b)
FLOATS(minimum, a, b, a != a || a < b ? a : b, a != a || a < b ? a : b)
FLOATS(atan2, a, b, ::atan2f(a, b), ::atan2(a, b))
FLOATS(hypot, a, b, ::hypotf(a, b), ::hypot(a, b))
FLOATS(copysign, a, b, ::copysignf(a, b), ::copysign(a, b))
FLOATS(logaddexp, a, b,
       a == b ? a + 0.69314718f : ::fmaxf(a, b) + ::log1pf(::expf(-::fabsf(a - b))),
       a == b ? a + 0.69314718055994531 : ::fmax(a, b) + ::log1p(::exp(-::fabs(a - b))))

INTEGERS(add, a, b, ((u64)a + (u64)b))
INTEGERS(sub, a, b, ((u64)a - (u64)b))
INTEGERS(mul, a, b, ((u64)a * (u64)b))
INTEGERS(maximum, a, b, a > b ? a : b)
INTEGERS(minimum, a, b, a < b ? a : b)
INTEGERS(bit_and, a, b, a & b)
INTEGERS(bit_or, a, b, a | b)
INTEGERS(bit_xor, a, b, a ^ b)

// The remainder with the sign of the divisor.
template <class W> __device__ __forceinline__ W signed_remainder(W r, W b) {
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
FLOATS(remainder, a, b, signed_remainder(::fmodf(a, b), b), signed_remainder(::fmod(a, b), b))

// The divisor is not zero. What does not fit wraps: the smallest number by -1 is itself.
__device__ __forceinline__ i64 div(i64 a, i64 b) { return b == -1 ? neg(a) : a / b; }
__device__ __forceinline__ u64 div(u64 a, u64 b) { return a / b; }
__device__ __forceinline__ i64 fmod(i64 a, i64 b) { return b == -1 ? 0 : a % b; }
__device__ __forceinline__ u64 fmod(u64 a, u64 b) { return a % b; }
INTEGERS(remainder, a, b, signed_remainder(fmod(a, b), b))
__device__ __forceinline__ i64 floor_div(i64 a, i64 b) {
    i64 r = fmod(a, b);
    return r != 0 && (r < 0) != (b < 0) ? div(a, b) - 1 : div(a, b);
}
__device__ __forceinline__ u64 floor_div(u64 a, u64 b) { return a / b; }

__device__ __forceinline__ u64 pow(u64 base, u64 exponent) {
    u64 result = 1;
    for (; exponent > 0; exponent >>= 1) {
        if (exponent & 1) result *= base;
        base *= base;
    }
    return result;
}
// A negative exponent gives the truncated quotient.
__device__ __forceinline__ i64 pow(i64 base, i64 exponent) {
    if (exponent >= 0) return (i64)pow((u64)base, (u64)exponent);
    if (base == 1 || (base == -1 && exponent % 2 == 0)) return 1;
    return base == -1 ? -1 : 0;
}

// Bits that are moved out are gone; what moves in from the left is the sign.
__device__ __forceinline__ i64 shift_left(i64 a, i64 b) {
    return b < 0 || b > 63 ? 0 : (i64)((u64)a << b);
}
__device__ __forceinline__ u64 shift_left(u64 a, u64 b) { return b > 63 ? 0 : a << b; }
__device__ __forceinline__ i64 shift_right(i64 a, i64 b) {
    return b < 0 || b > 63 ? (a < 0 ? -1 : 0) : a >> b;
}
__device__ __forceinline__ u64 shift_right(u64 a, u64 b) { return b > 63 ? 0 : a >> b; }

// The derivative of an activation times `dy`, from its output (relu, sigmoid, tanh) or its input.
#define SLOPES(T, TANH, ERFC, EXP)                                                                  \
    __device__ __forceinline__ T relu_slope(T y) { return y > 0 ? (T)1 : (T)0; }                    \
    __device__ __forceinline__ T sigmoid_slope(T y) { return y * (1 - y); }                         \
    __device__ __forceinline__ T tanh_slope(T y) { return 1 - y * y; }                              \
    __device__ __forceinline__ T gelu_slope(T x) {                                                  \
        return (T)0.5 * ERFC((T)-0.70710678118654752 * x)                                           \
            + x * (T)0.39894228040143268 * EXP((T)-0.5 * x * x);                                    \
    }                                                                                               \
    __device__ __forceinline__ T gelu_tanh_slope(T x) {                                             \
        const T c = (T)0.79788456080286536, a = (T)0.044715;                                        \
        T t = TANH(c * (x + a * x * x * x));                                                        \
        return (T)0.5 * (1 + t + x * (1 - t * t) * c * (1 + 3 * a * x * x));                        \
    }                                                                                               \
    __device__ __forceinline__ T silu_slope(T x) {                                                  \
        T s = sigmoid(x);                                                                           \
        return s * (1 + x * (1 - s));                                                               \
    }                                                                                               \
    __device__ __forceinline__ T softplus_slope(T x) { return sigmoid(x); }
SLOPES(f32, ::tanhf, ::erfcf, ::expf)
SLOPES(f64, ::tanh, ::erfc, ::exp)

}  // namespace fn
