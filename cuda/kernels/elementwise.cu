// y = F, element by element: an expression in the widened inputs x0, x1, x2, in the numbers `s`
// (in the type of x0), p.real and p.whole, and in the element's number `i`.
//
// DENSE: all inputs lie like the output, aligned for packs of 16 bytes; one thread computes a pack.
// Else the inputs have any strides, of which zero is a broadcast.

struct Params {
    i64 count;
    i64 dims[RANK];
    Operand inputs[3];
    void* output;
    // Two numbers, each as both kinds.
    f64 real[2];
    i64 whole[2];
    u64 seed, offset;
    Fault* fault;
    i32 rank;
    u32 operation;
};

__device__ __forceinline__ Y compute(const Params& p, i64 i, X0 a, X1 b, X2 c) {
    auto x0 = wide(a);
    auto x1 = wide(b);
    auto x2 = wide(c);
    const auto s = Number<Widened<X0>::type>::from(p.real[0], p.whole[0]);
    (void)x0, (void)x1, (void)x2, (void)s, (void)i;
    return RESULT(F);
}

#ifdef DENSE
template <class T> struct __align__(PACK * sizeof(T) < 16 ? PACK * sizeof(T) : 16) Pack {
    T entries[PACK];
};

KERNEL(256) {
    const INDEX packs = (INDEX)((p.count + PACK - 1) / PACK), step = (INDEX)gridDim.x * 256;
    for (INDEX pack = (INDEX)blockIdx.x * 256 + threadIdx.x; pack < packs; pack += step) {
        const X0* a = (const X0*)p.inputs[0].data + (i64)pack * PACK;
        const X1* b = (const X1*)p.inputs[1].data + (i64)pack * PACK;
        const X2* c = (const X2*)p.inputs[2].data + (i64)pack * PACK;
        Y* y = (Y*)p.output + (i64)pack * PACK;
        i64 left = p.count - (i64)pack * PACK;
        if (left >= PACK) {
            Pack<X0> as = {};
            Pack<X1> bs = {};
            Pack<X2> cs = {};
            if (INPUTS > 0) as = *(const Pack<X0>*)a;
            if (INPUTS > 1) bs = *(const Pack<X1>*)b;
            if (INPUTS > 2) cs = *(const Pack<X2>*)c;
            Pack<Y> ys;
#pragma unroll
            for (int k = 0; k < PACK; k++)
                ys.entries[k] = compute(p, (i64)pack * PACK + k, as.entries[k], bs.entries[k],
                                        cs.entries[k]);
            *(Pack<Y>*)y = ys;
        } else {
            for (int k = 0; k < left; k++)
                y[k] = compute(p, (i64)pack * PACK + k, INPUTS > 0 ? a[k] : X0(),
                               INPUTS > 1 ? b[k] : X1(), INPUTS > 2 ? c[k] : X2());
        }
    }
}
#else
KERNEL(256) {
    const INDEX count = (INDEX)p.count, step = (INDEX)gridDim.x * 256;
    for (INDEX i = (INDEX)blockIdx.x * 256 + threadIdx.x; i < count; i += step) {
        i64 at[3] = {};
        INDEX linear = i;
        for (int axis = p.rank - 1; axis >= 0; axis--) {
            INDEX extent = (INDEX)p.dims[axis], rest = axis > 0 ? linear / extent : 0;
            i64 k = (i64)(linear - rest * extent);
#pragma unroll
            for (int x = 0; x < INPUTS; x++) at[x] += k * p.inputs[x].strides[axis];
            linear = rest;
        }
        X0 a = INPUTS > 0 ? ((const X0*)p.inputs[0].data)[at[0]] : X0();
        X1 b = INPUTS > 1 ? ((const X1*)p.inputs[1].data)[at[1]] : X1();
        X2 c = INPUTS > 2 ? ((const X2*)p.inputs[2].data)[at[2]] : X2();
        ((Y*)p.output)[i] = compute(p, (i64)i, a, b, c);
    }
}
#endif
