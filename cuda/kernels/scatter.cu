// Elements put, or combined, to where indices along one axis say. One thread for each output looks
// through the indices of its line, so that no two write to one place and the order is always the
// same: the later entry comes after.

struct Params {
    i64 count;
    // The output; where the indices end, an axis is shorter.
    i64 dims[RANK], bounds[RANK];
    // What the output starts from; indices and values without their strides along the axis.
    Operand start, indices, values;
    void* output;
    i64 axis, entries, index_stride, value_stride, limit;
    Fault* fault;
    u32 operation;
    i32 rank, index_type, has_start;
};

typedef Widened<T>::type W;

__device__ __forceinline__ W combine(W old, W now) {
    (void)old;
    return COMBINE;
}

KERNEL(256) {
    const INDEX count = (INDEX)p.count, step = (INDEX)gridDim.x * 256;
    for (INDEX i = (INDEX)blockIdx.x * 256 + threadIdx.x; i < count; i += step) {
        W value = W();
        if (p.has_start)
            value = wide(((const T*)p.start.data)[position(p.dims, p.start.strides, p.rank, i)]);
        i64 index_at_line = 0, value_at_line = 0, mine = 0;
        bool reached = true;
        INDEX linear = i;
        for (int axis = p.rank - 1; axis >= 0; axis--) {
            INDEX extent = (INDEX)p.dims[axis], rest = linear / extent;
            i64 k = (i64)(linear - rest * extent);
            if (axis == p.axis) mine = k;
            else reached = reached && k < p.bounds[axis];
            index_at_line += k * p.indices.strides[axis];
            value_at_line += k * p.values.strides[axis];
            linear = rest;
        }
        for (i64 k = 0; reached && k < p.entries; k++) {
            i64 index = index_at(p.indices.data, p.index_type, index_at_line + k * p.index_stride);
            if (index == mine)
                value = combine(value, wide(((const T*)p.values.data)[value_at_line + k * p.value_stride]));
            // The first thread of each line looks for all.
            if (mine == 0 && (index < 0 || index >= p.limit))
                report(p.fault, INDEX_FAULT, p.operation, index, p.limit);
        }
        ((T*)p.output)[i] = narrow<T>(value);
    }
}
