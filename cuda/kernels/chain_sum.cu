// The gradient of picking entries along one axis: each entry of the output sums those that were
// picked from it, along the chains that `chain.cu` has made.

struct Params {
    i64 count;
    i64 dims[RANK];
    // The gradient without its stride along the axis.
    Operand gradient;
    void* output;
    const i64* last;
    const i64* previous;
    i64 axis, axis_stride, rank;
};

KERNEL(256) {
    const INDEX count = (INDEX)p.count, step = (INDEX)gridDim.x * 256;
    for (INDEX i = (INDEX)blockIdx.x * 256 + threadIdx.x; i < count; i += step) {
        INDEX linear = i;
        i64 at = 0, mine = 0;
        for (int axis = (int)p.rank - 1; axis >= 0; axis--) {
            INDEX extent = (INDEX)p.dims[axis], rest = linear / extent;
            i64 k = (i64)(linear - rest * extent);
            if (axis == p.axis) mine = k;
            at += k * p.gradient.strides[axis];
            linear = rest;
        }
        Widened<T>::type sum = 0;
        for (i64 k = p.last[mine]; k >= 0; k = p.previous[k])
            sum = fn::add(sum, wide(((const T*)p.gradient.data)[at + k * p.axis_stride]));
        ((T*)p.output)[i] = narrow<T>(sum);
    }
}
