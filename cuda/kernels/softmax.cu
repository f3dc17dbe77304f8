// Softmax along one axis, or its logarithm, and the gradients of both. A group of threads, a warp or
// a block, does one row.

struct Params {
    i64 rows, n;
    i64 dims[RANK];
    // Without their strides along the axis: x and nothing, or y and its gradient.
    Operand first, second;
    i64 output_strides[RANK];
    void* output;
    i64 first_stride, second_stride, output_stride, rank;
};

typedef Widened<T>::type W;

KERNEL(256) {
    const i64 per_block = 256 / GROUP;
    const int lane = threadIdx.x % GROUP;
    for (i64 row0 = blockIdx.x * per_block; row0 < p.rows; row0 += gridDim.x * per_block) {
        // Beyond the last row the last is computed again, and not written.
        const bool writes = row0 + threadIdx.x / GROUP < p.rows;
        const u64 row = (u64)(writes ? row0 + threadIdx.x / GROUP : p.rows - 1);
        const T* x = (const T*)p.first.data + position(p.dims, p.first.strides, (int)p.rank, row);
        T* y = (T*)p.output + position(p.dims, p.output_strides, (int)p.rank, row);
#if BACKWARD
        const T* dy = (const T*)p.second.data + position(p.dims, p.second.strides, (int)p.rank, row);
        W sum = 0;
        for (i64 i = lane; i < p.n; i += GROUP) {
            W gradient = wide(dy[i * p.second_stride]);
            sum += LOG ? gradient : gradient * wide(x[i * p.first_stride]);
        }
        sum = group_all<GROUP>(sum, Sum());
        for (i64 i = lane; i < p.n && writes; i += GROUP) {
            W gradient = wide(dy[i * p.second_stride]), value = wide(x[i * p.first_stride]);
            W slope = LOG ? gradient - fn::exp(value) * sum : value * (gradient - sum);
            y[i * p.output_stride] = narrow<T>(slope);
        }
#else
        W largest = Limits<W>::low();
        for (i64 i = lane; i < p.n; i += GROUP) largest = fn::maximum(largest, wide(x[i * p.first_stride]));
        largest = group_all<GROUP>(largest, Largest());
        W sum = 0;
        for (i64 i = lane; i < p.n; i += GROUP) sum += fn::exp(wide(x[i * p.first_stride]) - largest);
        sum = group_all<GROUP>(sum, Sum());
        const W scale = LOG ? fn::log(sum) : 1 / sum;
        for (i64 i = lane; i < p.n && writes; i += GROUP) {
            W shifted = wide(x[i * p.first_stride]) - largest;
            y[i * p.output_stride] = narrow<T>(LOG ? shifted - scale : fn::exp(shifted) * scale);
        }
#endif
    }
}
