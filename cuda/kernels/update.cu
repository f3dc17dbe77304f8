// One step of an optimizer: every element of a parameter and of its states, in one pass.

struct Params {
    i64 count;
    i64 dims[RANK];
    Operand gradient;
    Operand inputs[TARGETS];
    void* outputs[TARGETS];
    // Penalty and shrinking first.
    f64 c[12];
    i64 maximize, rank;
};

KERNEL(256) {
    const INDEX count = (INDEX)p.count, step = (INDEX)gridDim.x * 256;
    W c[12];
#pragma unroll
    for (int k = 0; k < 12; k++) c[k] = (W)p.c[k];
    for (INDEX i = (INDEX)blockIdx.x * 256 + threadIdx.x; i < count; i += step) {
        W g = wide(((const T*)p.gradient.data)[position(p.dims, p.gradient.strides, (int)p.rank, i)]);
        W x[TARGETS];
#pragma unroll
        for (int k = 0; k < TARGETS; k++) {
            i64 at = position(p.dims, p.inputs[k].strides, (int)p.rank, i);
            x[k] = k == 0 ? wide(((const T*)p.inputs[k].data)[at]) : wide(((const S*)p.inputs[k].data)[at]);
        }
        advance(c, p.maximize, g, x);
        ((T*)p.outputs[0])[i] = narrow<T>(x[0]);
#pragma unroll
        for (int k = 1; k < TARGETS; k++) ((S*)p.outputs[k])[i] = narrow<S>(x[k]);
    }
}
