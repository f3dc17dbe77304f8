// Running totals along one axis, one thread for each row. START is the first total, NEXT the one
// after `total` and `now`; `second` belongs to a second input. With PLACES, which entry it is.

struct Params {
    i64 rows, n;
    i64 dims[RANK];
    // Without their strides along the axis.
    Operand first, second;
    i64 output_strides[RANK];
    void* output;
    i64* places;
    i64 first_stride, second_stride, output_stride, rank;
};

typedef Widened<T>::type W;

// log(exp(a) + exp(b)), also where one is minus infinity.
template <class X> __device__ __forceinline__ X log_add_exp(X a, X b) {
    if (a == Limits<X>::low()) return b;
    return fn::logaddexp(a, b);
}

KERNEL(256) {
    for (i64 row = blockIdx.x * 256ll + threadIdx.x; row < p.rows; row += gridDim.x * 256ll) {
        const T* x = (const T*)p.first.data + position(p.dims, p.first.strides, (int)p.rank, (u64)row);
        i64 out = position(p.dims, p.output_strides, (int)p.rank, (u64)row);
        const T* b = (const T*)p.second.data;
        if (p.second.data) b += position(p.dims, p.second.strides, (int)p.rank, (u64)row);
        W total = 0;
        i64 place = 0;
        for (i64 i = 0; i < p.n; i++) {
            W now = wide(x[i * p.first_stride]);
            W second = p.second.data ? wide(b[i * p.second_stride]) : (W)0;
            (void)second;
#if PLACES
            // Equal ones: the last. A NaN stays.
            if (i == 0 || (total == total && (now != now || (NEXT))) || (total != total && now != now)) {
                total = now;
                place = i;
            }
            p.places[out + i * p.output_stride] = place;
#else
            total = i == 0 ? (START) : (NEXT);
            (void)place;
#endif
            ((T*)p.output)[out + i * p.output_stride] = narrow<T>(total);
        }
    }
}
