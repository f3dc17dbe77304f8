// A divisor: a whole one must not be zero. `p` says where that is reported.

template <class P> __device__ __forceinline__ f32 divisor(const P&, f32 x) { return x; }
template <class P> __device__ __forceinline__ f64 divisor(const P&, f64 x) { return x; }
template <class P, class W> __device__ __forceinline__ W divisor(const P& p, W x) {
    if (x != 0) return x;
    report(p.fault, DIVISION_FAULT, p.operation, 0, 0);
    return 1;
}
