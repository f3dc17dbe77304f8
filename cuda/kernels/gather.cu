// Elements picked by index along one axis: y[.., i, ..] = x[.., index, ..].

struct Params {
    i64 count;
    i64 dims[RANK];
    // The input without its stride along the axis, and the indices.
    Operand input, indices;
    void* output;
    i64 axis_stride, limit;
    Fault* fault;
    u32 operation;
    i32 rank, index_type, padding;
};

KERNEL(256) {
    const INDEX count = (INDEX)p.count, step = (INDEX)gridDim.x * 256;
    for (INDEX i = (INDEX)blockIdx.x * 256 + threadIdx.x; i < count; i += step) {
        i64 at = position(p.dims, p.indices.strides, p.rank, i);
        i64 index = index_at(p.indices.data, p.index_type, at);
        i64 from = position(p.dims, p.input.strides, p.rank, i);
        if (index >= 0 && index < p.limit) {
            ((T*)p.output)[i] = ((const T*)p.input.data)[from + index * p.axis_stride];
        } else {
            ((T*)p.output)[i] = T();
            report(p.fault, INDEX_FAULT, p.operation, index, p.limit);
        }
    }
}
