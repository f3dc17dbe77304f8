// Elements as they are, between two places with any strides.

struct Params {
    i64 count;
    i64 dims[RANK];
    Operand from, to;
    i64 rank;
};

KERNEL(256) {
    const INDEX count = (INDEX)p.count, step = (INDEX)gridDim.x * 256;
    for (INDEX i = (INDEX)blockIdx.x * 256 + threadIdx.x; i < count; i += step) {
        i64 from = position(p.dims, p.from.strides, (int)p.rank, i);
        i64 to = position(p.dims, p.to.strides, (int)p.rank, i);
        ((T*)p.to.data)[to] = ((const T*)p.from.data)[from];
    }
}
