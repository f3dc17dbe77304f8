// The gradients of attention by its keys and values: each warp does one key, against one tile of
// queries after the other, of all heads that share the key.

KERNEL(256) {
    __shared__ W keys[WARPS][WIDTH], values[WARPS][WIDTH], queries[TILE][WIDTH + 1], dys[TILE][WIDTH + 1];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const i64 tiles = (p.keys + WARPS - 1) / WARPS, each_group = p.heads / p.groups;
    for (i64 block = blockIdx.x; block < tiles * p.groups * p.n; block += gridDim.x) {
        const i64 first = block % tiles * WARPS, group = block / tiles % p.groups;
        const i64 n = block / (tiles * p.groups), key = first + warp;
        load_rows<WARPS>(keys, p.key, n, group, first, p.keys, p.d);
        load_rows<WARPS>(values, p.value, n, group, first, p.keys, p.e);
        W dkey[EACH] = {}, dvalue[EACH] = {};
        for (i64 head = group * each_group; head < (group + 1) * each_group; head++)
            for (i64 query0 = 0; query0 < p.queries; query0 += TILE) {
                __syncthreads();
                load_rows<TILE>(queries, p.query, n, head, query0, p.queries, p.d);
                load_rows<TILE>(dys, p.dy, n, head, query0, p.queries, p.e);
                __syncthreads();
                const i64 query = query0 + lane;
                W log_sum = 0, delta = 0;
                if (query < p.queries) {
                    log_sum = statistic(p.log_sum, n, head, query);
                    delta = statistic(p.delta, n, head, query);
                }
                if (log_sum == Limits<W>::low()) log_sum = 0;
                Score score = finish(p, dot(queries[lane], keys[warp], p.d), n, head, query, key);
                W weight = score.visible ? fn::exp(score.value - log_sum) : (W)0;
                W dproduct = weight * (dot(dys[lane], values[warp], p.e) - delta) * (W)p.scale;
                if (p.has_softcap) dproduct *= 1 - score.bent * score.bent;
                for (int k = 0; k < TILE; k++) {
                    W by_key = __shfl_sync(0xFFFFFFFFu, dproduct, k);
                    W by_value = __shfl_sync(0xFFFFFFFFu, weight, k);
#pragma unroll
                    for (int c = 0; c < EACH; c++) {
                        dkey[c] += by_key * queries[k][c * 32 + lane];
                        dvalue[c] += by_value * dys[k][c * 32 + lane];
                    }
                }
            }
        i64 row = (n * p.groups + group) * p.keys + key;
#pragma unroll
        for (int c = 0; c < EACH; c++) {
            int column = c * 32 + lane;
            if (key >= p.keys) continue;
            if (p.dkey && column < p.d) ((T*)p.dkey)[row * p.d + column] = narrow<T>(dkey[c]);
            if (p.dvalue && column < p.e) ((T*)p.dvalue)[row * p.e + column] = narrow<T>(dvalue[c]);
        }
        __syncthreads();
    }
}
