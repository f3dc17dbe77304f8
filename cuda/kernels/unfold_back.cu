// The gradient of windows along one axis: each element sums over the windows that it was in.

struct Params {
    i64 count;
    i64 dims[RANK];
    // The windows without the strides along their axis and within.
    Operand windows;
    void* output;
    i64 axis, size, step, number, window_stride, inner_stride, rank;
};

KERNEL(256) {
    const INDEX count = (INDEX)p.count, stride = (INDEX)gridDim.x * 256;
    for (INDEX i = (INDEX)blockIdx.x * 256 + threadIdx.x; i < count; i += stride) {
        INDEX linear = i;
        i64 at = 0, mine = 0;
        for (int axis = (int)p.rank - 1; axis >= 0; axis--) {
            INDEX extent = (INDEX)p.dims[axis], rest = linear / extent;
            i64 k = (i64)(linear - rest * extent);
            if (axis == p.axis) mine = k;
            at += k * p.windows.strides[axis];
            linear = rest;
        }
        Widened<T>::type sum = 0;
        i64 first = mine < p.size ? 0 : (mine - p.size) / p.step + 1;
        for (i64 w = first; w < p.number && w * p.step <= mine; w++)
            sum = fn::add(sum, wide(((const T*)p.windows.data)[
                at + w * p.window_stride + (mine - w * p.step) * p.inner_stride]));
        ((T*)p.output)[i] = narrow<T>(sum);
    }
}
