// Threads of a group agree on one value, always in the same order: a group is a warp, or a block of
// 256 threads.

// The value of the lane whose number differs by this bit.
template <class T> __device__ __forceinline__ T from_lane(T x, int distance) {
    return __shfl_xor_sync(0xFFFFFFFFu, x, distance);
}

template <class T, class F> __device__ __forceinline__ T warp_all(T x, F combine) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) x = combine(x, from_lane(x, distance));
    return x;
}

template <class T, class F> __device__ __forceinline__ T block_all(T x, F combine) {
    __shared__ T warps[8];
    x = warp_all(x, combine);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = x;
    __syncthreads();
    x = warps[0];
    for (int warp = 1; warp < 8; warp++) x = combine(x, warps[warp]);
    // The next use writes again.
    __syncthreads();
    return x;
}

template <int GROUP, class T, class F> __device__ __forceinline__ T group_all(T x, F combine) {
    if constexpr (GROUP == 32) return warp_all(x, combine);
    else return block_all(x, combine);
}

struct Sum {
    template <class T> __device__ __forceinline__ T operator()(T a, T b) const { return fn::add(a, b); }
};
struct Largest {
    template <class T> __device__ __forceinline__ T operator()(T a, T b) const {
        return fn::maximum(a, b);
    }
};

// The ends of a type, which any number leaves as they are under minimum and maximum.
template <class T> struct Limits;
template <> struct Limits<f32> {
    static __device__ __forceinline__ f32 low() { return bits_float(0xFF800000u); }
    static __device__ __forceinline__ f32 high() { return bits_float(0x7F800000u); }
};
template <> struct Limits<f64> {
    static __device__ __forceinline__ f64 low() { return (f64)Limits<f32>::low(); }
    static __device__ __forceinline__ f64 high() { return (f64)Limits<f32>::high(); }
};
template <> struct Limits<i64> {
    static __device__ __forceinline__ i64 low() { return -9223372036854775807LL - 1; }
    static __device__ __forceinline__ i64 high() { return 9223372036854775807LL; }
};
template <> struct Limits<u64> {
    static __device__ __forceinline__ u64 low() { return 0; }
    static __device__ __forceinline__ u64 high() { return ~0ull; }
};
