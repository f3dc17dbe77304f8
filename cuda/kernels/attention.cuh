// What the kernels of attention share: one warp does ROWS rows at a time against tiles of 32 rows of
// the other side, one of them to a lane; scores are never stored.

struct Params {
    i64 n, heads, groups, queries, keys, d, e;
    // [n, heads, q, d], [n, groups, k, d], [n, groups, k, e], [n, heads, q, k]
    Operand query, key, value, bias;
    // [n, heads, q, e], [n, heads, q], [n, heads, q]
    Operand dy, log_sum, delta;
    // What is written, in rows that lie without gaps; null where nobody asks.
    void *output, *log_sum_out, *dkey, *dvalue, *dbias;
    f64 scale, softcap;
    i64 causal;
    i32 is_causal, has_softcap, has_bias, padding;
};

typedef Widened<T>::type W;

#define WARPS 8
#define TILE 32
// Columns of a lane.
#define EACH (WIDTH / 32)

struct Score {
    W value;
    // The tangent of the softcap, whose slope the gradient needs.
    W bent;
    bool visible;
};

__device__ __forceinline__ Score finish(const Params& p, W product, i64 n, i64 head, i64 query, i64 key) {
    Score score = {product * (W)p.scale, 0, false};
    score.visible = query < p.queries && key < p.keys && (!p.is_causal || key <= query + p.causal);
    if (p.has_softcap) {
        score.bent = fn::tanh(score.value / (W)p.softcap);
        score.value = score.bent * (W)p.softcap;
    }
    if (p.has_bias && score.visible) {
        const i64* s = p.bias.strides;
        score.value += wide(((const T*)p.bias.data)[n * s[0] + head * s[1] + query * s[2] + key * s[3]]);
    }
    return score;
}

// Loads rows from `first` on into shared memory; zeros past the last row and column.
template <int COUNT, int PITCH>
__device__ __forceinline__ void load_rows(W (*tile)[PITCH], const Operand& x, i64 n, i64 head, i64 first,
                                          i64 rows, i64 columns) {
    const T* base = (const T*)x.data + n * x.strides[0] + head * x.strides[1];
    for (int i = threadIdx.x; i < COUNT * WIDTH; i += 256) {
        int r = i / WIDTH, c = i % WIDTH;
        bool inside = first + r < rows && c < columns;
        tile[r][c] = inside ? (W)wide(base[(first + r) * x.strides[2] + c * x.strides[3]]) : (W)0;
    }
}

__device__ __forceinline__ W dot(const W* a, const W* b, i64 columns) {
    W sum = 0;
    for (int c = 0; c < columns; c++) sum += a[c] * b[c];
    return sum;
}

// A statistic of a query, which lies in the wide type.
__device__ __forceinline__ W statistic(const Operand& x, i64 n, i64 head, i64 query) {
    return ((const W*)x.data)[n * x.strides[0] + head * x.strides[1] + query * x.strides[2]];
}
