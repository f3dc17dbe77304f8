// Attention with a running softmax (Dao et al., "FlashAttention", NeurIPS 2022): each warp does two
// queries, against one tile of keys after the other.

#define ROWS 2

KERNEL(256) {
    __shared__ W queries[WARPS * ROWS][WIDTH], keys[TILE][WIDTH + 1], values[TILE][WIDTH];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const i64 tiles = (p.queries + WARPS * ROWS - 1) / (WARPS * ROWS);
    for (i64 block = blockIdx.x; block < tiles * p.heads * p.n; block += gridDim.x) {
        const i64 first = block % tiles * WARPS * ROWS, head = block / tiles % p.heads;
        const i64 n = block / (tiles * p.heads), group = head / (p.heads / p.groups);
        load_rows<WARPS * ROWS>(queries, p.query, n, head, first, p.queries, p.d);
        W largest[ROWS], sum[ROWS], result[ROWS][EACH] = {};
        for (int r = 0; r < ROWS; r++) largest[r] = Limits<W>::low(), sum[r] = 0;
        // Past the last key that the last query of the block sees there is nothing.
        i64 end = p.keys;
        if (p.is_causal && first + WARPS * ROWS + p.causal < end) end = first + WARPS * ROWS + p.causal;
        for (i64 key0 = 0; key0 < end; key0 += TILE) {
            __syncthreads();
            load_rows<TILE>(keys, p.key, n, group, key0, p.keys, p.d);
            load_rows<TILE>(values, p.value, n, group, key0, p.keys, p.e);
            __syncthreads();
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                W product = dot(queries[warp * ROWS + r], keys[lane], p.d);
                Score score = finish(p, product, n, head, first + warp * ROWS + r, key0 + lane);
                W value = score.visible ? score.value : Limits<W>::low();
                W high = fn::maximum(largest[r], warp_all(value, Largest()));
                // While nothing was seen the largest stays minus infinity, and so must not be subtracted.
                W shift = high == Limits<W>::low() ? (W)0 : high;
                W weight = fn::exp(value - shift), shrink = fn::exp(largest[r] - shift);
                sum[r] = sum[r] * shrink + warp_all(weight, Sum());
                largest[r] = high;
#pragma unroll
                for (int c = 0; c < EACH; c++) result[r][c] *= shrink;
                for (int k = 0; k < TILE; k++) {
                    W each = __shfl_sync(0xFFFFFFFFu, weight, k);
#pragma unroll
                    for (int c = 0; c < EACH; c++) result[r][c] += each * values[k][c * 32 + lane];
                }
            }
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            i64 query = first + warp * ROWS + r;
            if (query >= p.queries) continue;
            i64 row = (n * p.heads + head) * p.queries + query;
            bool blind = largest[r] == Limits<W>::low();
#pragma unroll
            for (int c = 0; c < EACH; c++) {
                int column = c * 32 + lane;
                if (column < p.e)
                    ((T*)p.output)[row * p.e + column] = narrow<T>(blind ? (W)0 : result[r][c] / sum[r]);
            }
            if (lane == 0)
                ((W*)p.log_sum_out)[row] = blind ? Limits<W>::low() : largest[r] + fn::log(sum[r]);
        }
        __syncthreads();
    }
}
