// Positions in row-major order from one index for each axis, which lie along the last axis.

struct Params {
    i64 count;
    i64 dims[RANK], sizes[RANK];
    Operand indices;
    i64* output;
    i64 last_stride;
    Fault* fault;
    u32 operation;
    i32 rank, axes, index_type;
};

KERNEL(256) {
    for (i64 i = blockIdx.x * 256ll + threadIdx.x; i < p.count; i += gridDim.x * 256ll) {
        i64 at = position(p.dims, p.indices.strides, p.rank, (u64)i), linear = 0;
        for (int axis = 0; axis < p.axes; axis++) {
            i64 index = index_at(p.indices.data, p.index_type, at + axis * p.last_stride);
            if (index < 0 || index >= p.sizes[axis])
                report(p.fault, INDEX_FAULT, p.operation, index, p.sizes[axis]);
            linear = linear * p.sizes[axis] + index;
        }
        p.output[i] = linear;
    }
}
