// Conversion of a number to an element. Floats become integers by cutting toward zero, and at the
// ends of the range; NaN becomes zero.

template <class T> struct Convert {
    template <class W> static __device__ __forceinline__ T from(W x) { return narrow<T>(x); }
};
#define SATURATE(T, low, past, min, max)                                            \
    template <> struct Convert<T> {                                                 \
        template <class W> static __device__ __forceinline__ T cut(W x) {           \
            if (x != x) return 0;                                                   \
            return x <= (W)low ? (T)(min) : x >= (W)past ? (T)(max) : (T)x;         \
        }                                                                           \
        static __device__ __forceinline__ T from(f32 x) { return cut(x); }          \
        static __device__ __forceinline__ T from(f64 x) { return cut(x); }          \
        static __device__ __forceinline__ T from(i64 x) { return (T)x; }            \
        static __device__ __forceinline__ T from(u64 x) { return (T)x; }            \
    };
SATURATE(i8, -128.0, 128.0, -128, 127)
SATURATE(u8, 0.0, 256.0, 0, 255)
SATURATE(i16, -32768.0, 32768.0, -32768, 32767)
SATURATE(u16, 0.0, 65536.0, 0, 65535)
SATURATE(i32, -2147483648.0, 2147483648.0, -2147483647 - 1, 2147483647)
SATURATE(u32, 0.0, 4294967296.0, 0, 4294967295u)
SATURATE(i64, -9223372036854775808.0, 9223372036854775808.0, -9223372036854775807LL - 1,
         9223372036854775807LL)
SATURATE(u64, 0.0, 18446744073709551616.0, 0, 18446744073709551615ULL)
template <class T, class W> __device__ __forceinline__ T convert(W x) { return Convert<T>::from(x); }
