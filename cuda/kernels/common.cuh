// What every kernel starts with: types of elements, their conversions, how operands lie in memory.
// No header is needed: NVRTC alone compiles these files, and `emu.h` lets a host compiler do so.

typedef signed char i8;
typedef unsigned char u8;
typedef short i16;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;
typedef float f32;
typedef double f64;
// Never 2 or more.
struct boolean { u8 bits; };
struct f16 { u16 bits; };
struct bf16 { u16 bits; };
// Bits that are only moved.
struct __align__(16) w16 { u64 low, high; };

// The largest rank of a tensor.
#define RANK 8

// A kernel: one parameter structure by value is all it gets. One block to a multiprocessor is asked
// for, or the assembler would rather spill than use more registers; how many it uses is tested.
#define KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads, 1) NAME(const Params p)

#ifndef EMULATED
__device__ __forceinline__ f32 half_to_float(u16 x) {
    f32 y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
    return y;
}
__device__ __forceinline__ u16 float_to_half(f32 x) {
    u16 y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return y;
}
__device__ __forceinline__ u32 float_bits(f32 x) { return __float_as_uint(x); }
__device__ __forceinline__ f32 bits_float(u32 x) { return __uint_as_float(x); }
__device__ __forceinline__ u64 double_bits(f64 x) { return (u64)__double_as_longlong(x); }
__device__ __forceinline__ f64 bits_double(u64 x) { return __longlong_as_double((i64)x); }
#endif

// Rounds to nearest, ties to even.
__device__ __forceinline__ u16 float_to_brain(f32 x) {
    u32 bits = float_bits(x);
    if (x != x) return 0x7FC0;
    return (u16)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

// Rounds an f64 so that a second rounding, to a half type, gives what one alone would: toward
// zero, with the last bit set if anything was lost.
__device__ __forceinline__ f32 round_to_odd(f64 x) {
    f32 y = (f32)x;
    if (x != x || (f64)y == x) return y;
    u32 bits = float_bits(y);
    if (fabs((f64)y) > fabs(x)) bits -= 1;
    return bits_float(bits | 1);
}

// The number that kernels compute with: f32 for halves, i64 for integers other than u64.
__device__ __forceinline__ f32 wide(f16 x) { return half_to_float(x.bits); }
__device__ __forceinline__ f32 wide(bf16 x) { return bits_float((u32)x.bits << 16); }
__device__ __forceinline__ f32 wide(f32 x) { return x; }
__device__ __forceinline__ f64 wide(f64 x) { return x; }
__device__ __forceinline__ i64 wide(boolean x) { return x.bits; }
__device__ __forceinline__ i64 wide(i8 x) { return x; }
__device__ __forceinline__ i64 wide(u8 x) { return x; }
__device__ __forceinline__ i64 wide(i16 x) { return x; }
__device__ __forceinline__ i64 wide(u16 x) { return x; }
__device__ __forceinline__ i64 wide(i32 x) { return x; }
__device__ __forceinline__ i64 wide(u32 x) { return x; }
__device__ __forceinline__ i64 wide(i64 x) { return x; }
__device__ __forceinline__ u64 wide(u64 x) { return x; }
__device__ __forceinline__ w16 wide(w16 x) { return x; }

template <class T> struct Widened { typedef i64 type; };
template <> struct Widened<f16> { typedef f32 type; };
template <> struct Widened<bf16> { typedef f32 type; };
template <> struct Widened<f32> { typedef f32 type; };
template <> struct Widened<f64> { typedef f64 type; };
template <> struct Widened<u64> { typedef u64 type; };
template <> struct Widened<w16> { typedef w16 type; };

// The way back: floats are rounded once, integers wrap.
template <class T> struct Narrow {
    template <class W> static __device__ __forceinline__ T from(W x) { return (T)x; }
};
template <> struct Narrow<f16> {
    static __device__ __forceinline__ f16 from(f64 x) { return {float_to_half(round_to_odd(x))}; }
    static __device__ __forceinline__ f16 from(f32 x) { return {float_to_half(x)}; }
    static __device__ __forceinline__ f16 from(i64 x) { return from((f64)x); }
    static __device__ __forceinline__ f16 from(u64 x) { return from((f64)x); }
};
template <> struct Narrow<bf16> {
    static __device__ __forceinline__ bf16 from(f64 x) { return {float_to_brain(round_to_odd(x))}; }
    static __device__ __forceinline__ bf16 from(f32 x) { return {float_to_brain(x)}; }
    static __device__ __forceinline__ bf16 from(i64 x) { return from((f64)x); }
    static __device__ __forceinline__ bf16 from(u64 x) { return from((f64)x); }
};
template <> struct Narrow<boolean> {
    template <class W> static __device__ __forceinline__ boolean from(W x) { return {(u8)(x != 0)}; }
};
template <> struct Narrow<w16> {
    static __device__ __forceinline__ w16 from(w16 x) { return x; }
};
template <class T, class W> __device__ __forceinline__ T narrow(W x) { return Narrow<T>::from(x); }

// A number of the host in the type that kernels compute in.
template <class W> struct Number {
    static __device__ __forceinline__ W from(f64 real, i64) { return (W)real; }
};
template <> struct Number<i64> {
    static __device__ __forceinline__ i64 from(f64, i64 whole) { return whole; }
};
template <> struct Number<u64> {
    static __device__ __forceinline__ u64 from(f64, i64 whole) { return (u64)whole; }
};
template <> struct Number<w16> {
    static __device__ __forceinline__ w16 from(f64 real, i64 whole) {
        return {double_bits(real), (u64)whole};
    }
};

// A tensor that is read: where its first element is, and the strides in elements.
struct Operand {
    const void* data;
    i64 strides[RANK];
};

// What went wrong first, for the host to read at the next synchronisation.
struct Fault {
    u32 code;
    u32 operation;
    i64 value;
    i64 limit;
};
#define INDEX_FAULT 1
#define DIVISION_FAULT 2
#define COUNT_FAULT 3
#define WEIGHT_FAULT 4
#define TOTAL_FAULT 5
#define FEW_FAULT 6

__device__ __forceinline__ void report(Fault* fault, u32 code, u32 operation, i64 value, i64 limit) {
    if (atomicCAS(&fault->code, 0u, code) == 0u) {
        fault->operation = operation;
        fault->value = value;
        fault->limit = limit;
    }
}

// How far from its first element the one lies that comes at `linear` in row-major order.
template <class I>
__device__ __forceinline__ i64 position(const i64* dims, const i64* strides, int rank, I linear) {
    i64 at = 0;
    for (int axis = rank - 1; axis > 0; axis--) {
        I extent = (I)dims[axis], rest = linear / extent;
        at += (i64)(linear - rest * extent) * strides[axis];
        linear = rest;
    }
    return rank > 0 ? at + (i64)linear * strides[0] : 0;
}
