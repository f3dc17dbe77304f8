// Normalisation of rows to mean 0 and variance 1, and the gradient of the input. A group of threads,
// a warp or a block, does one row. Statistics are of the wide type.

struct Params {
    i64 rows, n;
    i64 dims[RANK];
    // Without their strides along the row.
    Operand x, dy, mean, rstd;
    i64 x_stride, dy_stride, weight_stride, bias_stride;
    // Null where there is none.
    const void *weight, *bias;
    void* output;
    // What forward writes.
    void *mean_out, *rstd_out;
    f64 epsilon;
    i64 rank;
};

typedef Widened<T>::type W;

KERNEL(256) {
    const i64 per_block = 256 / GROUP;
    const int lane = threadIdx.x % GROUP;
    for (i64 row0 = blockIdx.x * per_block; row0 < p.rows; row0 += gridDim.x * per_block) {
        // Beyond the last row the last is computed again, and not written.
        const bool writes = row0 + threadIdx.x / GROUP < p.rows;
        const i64 row = writes ? row0 + threadIdx.x / GROUP : p.rows - 1;
        const T* x = (const T*)p.x.data + position(p.dims, p.x.strides, (int)p.rank, (u64)row);
        T* y = (T*)p.output + row * p.n;
#if BACKWARD
        const T* dy = (const T*)p.dy.data + position(p.dims, p.dy.strides, (int)p.rank, (u64)row);
        const W mean = ((const W*)p.mean.data)[position(p.dims, p.mean.strides, (int)p.rank, (u64)row)];
        const W rstd = ((const W*)p.rstd.data)[position(p.dims, p.rstd.strides, (int)p.rank, (u64)row)];
        W sum = 0, sum_product = 0;
        for (i64 i = lane; i < p.n; i += GROUP) {
            W g = wide(dy[i * p.dy_stride]), h = (wide(x[i * p.x_stride]) - mean) * rstd;
            if (p.weight) g *= wide(((const T*)p.weight)[i * p.weight_stride]);
            sum += g;
            sum_product += g * h;
        }
        sum = group_all<GROUP>(sum, Sum()) / (W)p.n;
        sum_product = group_all<GROUP>(sum_product, Sum()) / (W)p.n;
        for (i64 i = lane; i < p.n && writes; i += GROUP) {
            W g = wide(dy[i * p.dy_stride]), h = (wide(x[i * p.x_stride]) - mean) * rstd;
            if (p.weight) g *= wide(((const T*)p.weight)[i * p.weight_stride]);
            y[i] = narrow<T>((g - sum - h * sum_product) * rstd);
        }
#else
        W sum = 0, squares = 0;
        for (i64 i = lane; i < p.n; i += GROUP) sum += wide(x[i * p.x_stride]);
        const W mean = group_all<GROUP>(sum, Sum()) / (W)p.n;
        for (i64 i = lane; i < p.n; i += GROUP) squares += fn::square(wide(x[i * p.x_stride]) - mean);
        const W variance = group_all<GROUP>(squares, Sum()) / (W)p.n;
        const W rstd = fn::rsqrt(variance + (W)p.epsilon);
        for (i64 i = lane; i < p.n && writes; i += GROUP) {
            W value = (wide(x[i * p.x_stride]) - mean) * rstd;
            if (p.weight)
                value = value * wide(((const T*)p.weight)[i * p.weight_stride])
                    + wide(((const T*)p.bias)[i * p.bias_stride]);
            y[i] = narrow<T>(value);
        }
        if (lane == 0 && writes) {
            ((W*)p.mean_out)[row] = mean;
            ((W*)p.rstd_out)[row] = rstd;
        }
#endif
    }
}
