// Order along one axis: each entry finds its rank by comparing itself with all others of its row,
// equal ones in their order; NaN counts as the largest. Ranks from `start` on are written.

struct Params {
    i64 rows, n, start, ranks;
    i64 dims[RANK];
    // Without its stride along the axis.
    Operand input;
    i64 output_strides[RANK];
    void* output;
    i64* places;
    i64 input_stride, output_stride, rank;
};

typedef Widened<T>::type W;

// Whether a comes before b, in rising order.
__device__ __forceinline__ bool less(W a, W b) { return a < b || (b != b && a == a); }

KERNEL(256) {
    for (i64 at = blockIdx.x * 256ll + threadIdx.x; at < p.rows * p.n; at += gridDim.x * 256ll) {
        const i64 row = at / p.n, mine = at % p.n;
        const T* x = (const T*)p.input.data + position(p.dims, p.input.strides, (int)p.rank, (u64)row);
        const W value = wide(x[mine * p.input_stride]);
        i64 before = 0;
        for (i64 i = 0; i < p.n; i++) {
            W other = wide(x[i * p.input_stride]);
            bool first = DESCENDING ? less(value, other) : less(other, value);
            bool last = DESCENDING ? less(other, value) : less(value, other);
            before += first || (!last && i < mine);
        }
        if (before < p.start || before >= p.start + p.ranks) continue;
        i64 to = position(p.dims, p.output_strides, (int)p.rank, (u64)row) + (before - p.start) * p.output_stride;
        ((T*)p.output)[to] = x[mine * p.input_stride];
        p.places[to] = mine;
    }
}
