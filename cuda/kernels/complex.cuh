// Complex numbers. All are computed with parts of f64 and rounded once; infinities, NaN and signed
// zeros follow Annex G of C99, branch cuts lie where it puts them.

struct __align__(8) c64 { f32 re, im; };
struct __align__(16) c128 { f64 re, im; };

__device__ __forceinline__ c128 wide(c64 z) { return {z.re, z.im}; }
__device__ __forceinline__ c128 wide(c128 z) { return z; }
template <> struct Widened<c64> { typedef c128 type; };
template <> struct Widened<c128> { typedef c128 type; };
template <> struct Narrow<c64> {
    static __device__ __forceinline__ c64 from(c128 z) { return {(f32)z.re, (f32)z.im}; }
    template <class W> static __device__ __forceinline__ c64 from(W x) { return {(f32)x, 0}; }
};
template <> struct Narrow<c128> {
    static __device__ __forceinline__ c128 from(c128 z) { return z; }
    template <class W> static __device__ __forceinline__ c128 from(W x) { return {(f64)x, 0}; }
};
// The imaginary part comes as the bits of an f64.
template <> struct Number<c128> {
    static __device__ __forceinline__ c128 from(f64 re, i64 im) { return {re, bits_double((u64)im)}; }
};

__device__ __forceinline__ c128 operator-(c128 z) { return {-z.re, -z.im}; }
__device__ __forceinline__ c128 operator+(c128 a, c128 b) { return {a.re + b.re, a.im + b.im}; }
__device__ __forceinline__ c128 operator-(c128 a, c128 b) { return {a.re - b.re, a.im - b.im}; }
__device__ __forceinline__ c128 operator*(c128 a, c128 b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
__device__ __forceinline__ c128 operator*(c128 a, f64 b) { return {a.re * b, a.im * b}; }
__device__ __forceinline__ void operator+=(c128& a, c128 b) { a = a + b; }
__device__ __forceinline__ bool operator==(c128 a, c128 b) { return a.re == b.re && a.im == b.im; }
__device__ __forceinline__ bool operator!=(c128 a, c128 b) { return !(a == b); }

// What a lane of the warp brings to a reduction: see `block.cuh`.
__device__ __forceinline__ c128 from_lane(c128 z, int distance) {
    return {__shfl_xor_sync(0xFFFFFFFFu, z.re, distance), __shfl_xor_sync(0xFFFFFFFFu, z.im, distance)};
}

namespace fn {

// The power of two just below the larger part; zero for numbers that are zero or not finite.
__device__ inline int exponent(c128 z) {
    f64 a = ::fabs(z.re), b = ::fabs(z.im), size = a > b ? a : b;
    return size > 0 && size <= 1.7976931348623157e308 ? ::ilogb(size) : 0;
}
__device__ __forceinline__ c128 scaled(c128 z, int power) {
    return {::scalbn(z.re, power), ::scalbn(z.im, power)};
}
__device__ __forceinline__ bool is_infinite(f64 x) { return ::fabs(x) == bits_double(0x7FF0000000000000ull); }
__device__ __forceinline__ bool is_finite(f64 x) { return x - x == 0; }

__device__ __forceinline__ c128 add(c128 a, c128 b) { return a + b; }
__device__ __forceinline__ c128 sub(c128 a, c128 b) { return a - b; }
__device__ __forceinline__ c128 mul(c128 a, c128 b) { return a * b; }
__device__ __forceinline__ c128 conj(c128 z) { return {z.re, -z.im}; }

// Smith 1962, for divisors that are zero or infinite.
__device__ inline c128 smith(c128 a, c128 b) {
    f64 re = ::fabs(b.re), im = ::fabs(b.im);
    if (re == 0 && im == 0) return {a.re / re, a.im / im};
    if (re >= im) {
        f64 ratio = b.im / b.re, factor = 1 / (b.re + b.im * ratio);
        return {(a.re + a.im * ratio) * factor, (a.im - a.re * ratio) * factor};
    }
    f64 ratio = b.re / b.im, factor = 1 / (b.re * ratio + b.im);
    return {(a.re * ratio + a.im) * factor, (a.im * ratio - a.re) * factor};
}
// Both numbers are brought near 1, and the quotient scaled back.
__device__ inline c128 div(c128 a, c128 b) {
    f64 re = ::fabs(b.re), im = ::fabs(b.im), size = re > im ? re : im;
    if (size == 0 || is_infinite(size)) return smith(a, b);
    int above = exponent(a), below = exponent(b);
    c128 x = scaled(a, -above), y = scaled(b, -below);
    f64 norm = y.re * y.re + y.im * y.im;
    c128 quotient = {(x.re * y.re + x.im * y.im) / norm, (x.im * y.re - x.re * y.im) / norm};
    return scaled(quotient, above - below);
}
__device__ __forceinline__ c128 div(c128 a, f64 b) { return {a.re / b, a.im / b}; }
__device__ __forceinline__ c128 recip(c128 z) { return div(c128{1, 0}, z); }

__device__ inline c128 exp(c128 z) {
    if (z.im == 0) return {::exp(z.re), z.im};
    if (is_infinite(z.re) && !is_finite(z.im)) {
        if (z.re < 0) return {0, ::copysign(0.0, z.im)};
        return {z.re, z.im - z.im};
    }
    f64 sine = ::sin(z.im), cosine = ::cos(z.im);
    // The size alone may overflow where a part does not.
    if (z.re > 709 && is_finite(z.re)) {
        f64 half = ::exp(z.re / 2);
        return {half * cosine * half, half * sine * half};
    }
    f64 size = ::exp(z.re);
    return {size * cosine, size * sine};
}
__device__ inline c128 expm1(c128 z) {
    if (z.im == 0) return {::expm1(z.re), z.im};
    f64 half = ::sin(z.im / 2);
    return {::expm1(z.re) * ::cos(z.im) - 2 * half * half, exp(z).im};
}

// The logarithm of the absolute value. Near 1 it is as small as what rounding takes from squares.
__device__ inline f64 log_abs(c128 z) {
    f64 a = ::fabs(z.re), b = ::fabs(z.im);
    f64 large = a > b ? a : b, small = a > b ? b : a;
    if (!(large >= 1e-150 && large < 1e150)) {
        if (large == 0 || !is_finite(large) || small != small) return ::log(::hypot(a, b));
        int power = exponent(z);
        c128 near = scaled(z, -power);
        return ::log(::hypot(near.re, near.im)) + power * 0.69314718055994531;
    }
    f64 size = ::hypot(a, b);
    if (!(size >= 0.7 && size < 1.5)) return ::log(size);
    f64 square = large * large, other = small * small;
    f64 lost = ::fma(large, large, -square) + ::fma(small, small, -other);
    return 0.5 * ::log1p((square - 1) + other + lost);
}
__device__ __forceinline__ c128 log(c128 z) { return {log_abs(z), ::atan2(z.im, z.re)}; }
__device__ __forceinline__ c128 log2(c128 z) { return log(z) * 1.4426950408889634; }
__device__ __forceinline__ c128 log10(c128 z) { return log(z) * 0.43429448190325183; }
__device__ inline c128 log1p(c128 z) {
    if (!(::hypot(z.re, z.im) < 0.5)) return log(c128{1 + z.re, z.im});
    f64 angle = ::atan2(z.im, 1 + z.re), r = z.re * (2 + z.re) + z.im * z.im;
    return {r == 0 ? z.re : 0.5 * ::log1p(r), angle};
}

__device__ inline c128 sqrt(c128 z) {
    const f64 infinity = bits_double(0x7FF0000000000000ull);
    if (z.re == 0 && z.im == 0) return {0, z.im};
    if (is_infinite(z.im)) return {infinity, z.im};
    if (is_infinite(z.re)) {
        f64 none = z.im != z.im ? z.im : 0;
        if (z.re > 0) return {z.re, ::copysign(none, z.im)};
        return {none, ::copysign(infinity, z.im)};
    }
    // An even power, so that its root is one as well.
    int power = exponent(z) & ~1;
    c128 near = scaled(z, -power);
    f64 t = ::sqrt((::fabs(near.re) + ::hypot(near.re, near.im)) * 0.5);
    f64 other = ::fabs(near.im) / (2 * t);
    c128 root = {z.re >= 0 ? t : other, ::copysign(z.re >= 0 ? other : t, z.im)};
    return scaled(root, power / 2);
}
__device__ __forceinline__ c128 rsqrt(c128 z) { return recip(sqrt(z)); }

__device__ inline c128 sinh(c128 z) {
    if (z.im == 0) return {::sinh(z.re), z.im};
    if ((z.re == 0 || is_infinite(z.re)) && !is_finite(z.im)) return {z.re, z.im - z.im};
    f64 sine = ::sin(z.im), cosine = ::cos(z.im);
    if (::fabs(z.re) > 709 && is_finite(z.re)) {
        f64 half = ::exp(::fabs(z.re) / 2);
        return {::copysign(0.5 * half, z.re) * cosine * half, 0.5 * half * sine * half};
    }
    return {::sinh(z.re) * cosine, ::cosh(z.re) * sine};
}
__device__ inline c128 cosh(c128 z) {
    if (z.im == 0) return {::cosh(z.re), z.im * ::copysign(1.0, z.re)};
    if (z.re == 0) return {::cos(z.im), is_finite(z.im) ? z.re * ::sin(z.im) : 0};
    if (is_infinite(z.re) && !is_finite(z.im)) return {::fabs(z.re), z.im - z.im};
    f64 sine = ::sin(z.im), cosine = ::cos(z.im);
    if (::fabs(z.re) > 709 && is_finite(z.re)) {
        f64 half = ::exp(::fabs(z.re) / 2);
        return {0.5 * half * cosine * half, ::copysign(0.5 * half, z.re) * sine * half};
    }
    return {::cosh(z.re) * cosine, ::sinh(z.re) * sine};
}
// Kahan 1987, "Branch cuts for complex elementary functions".
__device__ inline c128 tanh(c128 z) {
    f64 x = z.re, y = z.im;
    if (x != x) return {x, y == 0 ? y : x};
    if (is_infinite(x)) return {::copysign(1.0, x), ::copysign(0.0, is_finite(y) ? ::sin(y) * ::cos(y) : y)};
    if (!is_finite(y)) return {x == 0 ? x : y - y, y - y};
    if (::fabs(x) >= 22)
        return {::copysign(1.0, x), 4 * ::sin(y) * ::cos(y) * ::exp(-2 * ::fabs(x))};
    f64 t = ::tan(y), s = ::sinh(x), beta = 1 + t * t, below = 1 + beta * s * s;
    return {beta * ::sqrt(1 + s * s) * s / below, t / below};
}
// i z and -i z.
__device__ __forceinline__ c128 turned(c128 z) { return {-z.im, z.re}; }
__device__ __forceinline__ c128 turned_back(c128 z) { return {z.im, -z.re}; }
__device__ __forceinline__ c128 sin(c128 z) { return turned_back(sinh(turned(z))); }
__device__ __forceinline__ c128 cos(c128 z) { return cosh(turned(z)); }
__device__ __forceinline__ c128 tan(c128 z) { return turned_back(tanh(turned(z))); }
__device__ inline c128 sigmoid(c128 z) {
    c128 e = exp(z.re >= 0 ? -z : z), one = {1, 0};
    return div(z.re >= 0 ? one : e, one + e);
}

// By products for small whole exponents, else exp(b log a). a^0 is 1 for every a.
__device__ inline c128 pow(c128 a, c128 b) {
    if (b.re == 0 && b.im == 0) return {1, 0};
    if (b.im == 0 && ::trunc(b.re) == b.re && ::fabs(b.re) <= 64) {
        // A product by 1 would turn the signs of zeros.
        c128 product = {1, 0}, power = a;
        bool first = true;
        for (int rest = (int)::fabs(b.re); rest > 0; rest >>= 1) {
            if (rest & 1) {
                product = first ? power : product * power;
                first = false;
            }
            if (rest > 1) power = power * power;
        }
        return b.re > 0 ? product : recip(product);
    }
    if (a.re == 0 && a.im == 0 && b.re > 0) return {0, 0};
    c128 l = log(a);
    if (b.im != 0) return exp(b * l);
    // The power of the size needs no logarithm, which would lose digits.
    f64 size = ::pow(::hypot(a.re, a.im), b.re), angle = b.re * l.im;
    return {size * ::cos(angle), size * ::sin(angle)};
}

__device__ __forceinline__ f64 abs(c128 z) { return ::hypot(z.re, z.im); }
__device__ __forceinline__ f64 angle(c128 z) { return ::atan2(z.im, z.re); }

}  // namespace fn
