// The gradients of attention by its queries and, of each score, by the bias: each warp does one
// query, against one tile of keys after the other.

KERNEL(256) {
    __shared__ W queries[WARPS][WIDTH], dys[WARPS][WIDTH], keys[TILE][WIDTH + 1], values[TILE][WIDTH + 1];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const i64 tiles = (p.queries + WARPS - 1) / WARPS;
    for (i64 block = blockIdx.x; block < tiles * p.heads * p.n; block += gridDim.x) {
        const i64 first = block % tiles * WARPS, head = block / tiles % p.heads;
        const i64 n = block / (tiles * p.heads), group = head / (p.heads / p.groups);
        load_rows<WARPS>(queries, p.query, n, head, first, p.queries, p.d);
        load_rows<WARPS>(dys, p.dy, n, head, first, p.queries, p.e);
        const i64 query = first + warp;
        W log_sum = 0, delta = 0, result[EACH] = {};
        if (query < p.queries) {
            log_sum = statistic(p.log_sum, n, head, query);
            delta = statistic(p.delta, n, head, query);
        }
        if (log_sum == Limits<W>::low()) log_sum = 0;
        for (i64 key0 = 0; key0 < p.keys; key0 += TILE) {
            __syncthreads();
            load_rows<TILE>(keys, p.key, n, group, key0, p.keys, p.d);
            load_rows<TILE>(values, p.value, n, group, key0, p.keys, p.e);
            __syncthreads();
            Score score = finish(p, dot(queries[warp], keys[lane], p.d), n, head, query, key0 + lane);
            W weight = score.visible ? fn::exp(score.value - log_sum) : (W)0;
            W dscore = weight * (dot(dys[warp], values[lane], p.e) - delta);
            if (p.dbias && query < p.queries && key0 + lane < p.keys) {
                i64 row = (n * p.heads + head) * p.queries + query;
                ((T*)p.dbias)[row * p.keys + key0 + lane] = narrow<T>(dscore);
            }
            W dproduct = dscore * (W)p.scale;
            if (p.has_softcap) dproduct *= 1 - score.bent * score.bent;
            for (int k = 0; k < TILE; k++) {
                W each = __shfl_sync(0xFFFFFFFFu, dproduct, k);
#pragma unroll
                for (int c = 0; c < EACH; c++) result[c] += each * keys[k][c * 32 + lane];
            }
        }
        i64 row = (n * p.heads + head) * p.queries + query;
#pragma unroll
        for (int c = 0; c < EACH; c++) {
            int column = c * 32 + lane;
            if (p.output && query < p.queries && column < p.d)
                ((T*)p.output)[row * p.d + column] = narrow<T>(result[c]);
        }
        __syncthreads();
    }
}
