// The gradients of weight and bias of a normalisation of rows: each thread sums one column over a
// run of rows, and writes both sums for a second pass.

struct Params {
    i64 rows, n, run, runs;
    i64 dims[RANK];
    // Without their strides along the row.
    Operand x, dy, mean, rstd;
    i64 x_stride, dy_stride;
    // [runs, n] each.
    void *weight_sums, *bias_sums;
    i64 rank;
};

typedef Widened<T>::type W;

KERNEL(256) {
    for (i64 piece = blockIdx.x * 256ll + threadIdx.x; piece < p.runs * p.n; piece += gridDim.x * 256ll) {
        const i64 column = piece % p.n, first = piece / p.n * p.run;
        const i64 end = first + p.run < p.rows ? first + p.run : p.rows;
        W weight = 0, bias = 0;
        for (i64 row = first; row < end; row++) {
            i64 at = position(p.dims, p.x.strides, (int)p.rank, (u64)row) + column * p.x_stride;
            i64 dat = position(p.dims, p.dy.strides, (int)p.rank, (u64)row) + column * p.dy_stride;
            W mean = ((const W*)p.mean.data)[position(p.dims, p.mean.strides, (int)p.rank, (u64)row)];
            W rstd = ((const W*)p.rstd.data)[position(p.dims, p.rstd.strides, (int)p.rank, (u64)row)];
            W g = wide(((const T*)p.dy.data)[dat]);
            weight += g * (wide(((const T*)p.x.data)[at]) - mean) * rstd;
            bias += g;
        }
        ((W*)p.weight_sums)[piece] = weight;
        ((W*)p.bias_sums)[piece] = bias;
    }
}
