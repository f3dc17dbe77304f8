// Matrix products with their epilogue, computed in the wide type: tiles of 64 x 64, 4 x 4 numbers
// to a thread. Any strides; a batch may broadcast.

struct Params {
    i64 m, n, k, batch;
    i64 batch_dims[RANK];
    // With the strides of the batch axes.
    Operand a, b;
    i64 a_row, a_column, b_row, b_column, bias_stride;
    const void* bias;
    void* output;
    i64 batch_rank;
};

#define TILE 64
#define DEPTH 16

typedef Widened<T>::type W;

__device__ __forceinline__ W epilogue(W x) { return EPILOGUE; }

KERNEL(256) {
    __shared__ W left[DEPTH][TILE + 4], right[DEPTH][TILE + 4];
    const i64 rows = (p.m + TILE - 1) / TILE, columns = (p.n + TILE - 1) / TILE;
    const int t = threadIdx.x, row = t / 16 * 4, column = t % 16 * 4;
    for (i64 tile = blockIdx.x; tile < p.batch * rows * columns; tile += gridDim.x) {
        const i64 number = tile / (rows * columns), within = tile % (rows * columns);
        const i64 row0 = within / columns * TILE, column0 = within % columns * TILE;
        const T* a = (const T*)p.a.data + position(p.batch_dims, p.a.strides, (int)p.batch_rank, (u64)number);
        const T* b = (const T*)p.b.data + position(p.batch_dims, p.b.strides, (int)p.batch_rank, (u64)number);
        W sums[4][4] = {};
        for (i64 k0 = 0; k0 < p.k; k0 += DEPTH) {
#pragma unroll
            for (int i = 0; i < TILE * DEPTH / 256; i++) {
                int e = t + i * 256;
                // Neighbouring threads read along the axis that lies without gaps.
                int r = p.a_column == 1 ? e / DEPTH : e % TILE, k = p.a_column == 1 ? e % DEPTH : e / TILE;
                bool inside = row0 + r < p.m && k0 + k < p.k;
                left[k][r] = inside ? wide(a[(row0 + r) * p.a_row + (k0 + k) * p.a_column]) : W();
                int c = p.b_column == 1 ? e % TILE : e / DEPTH;
                k = p.b_column == 1 ? e / TILE : e % DEPTH;
                inside = column0 + c < p.n && k0 + k < p.k;
                right[k][c] = inside ? wide(b[(k0 + k) * p.b_row + (column0 + c) * p.b_column]) : W();
            }
            __syncthreads();
#pragma unroll
            for (int k = 0; k < DEPTH; k++) {
                W x[4], y[4];
#pragma unroll
                for (int i = 0; i < 4; i++) x[i] = left[k][row + i], y[i] = right[k][column + i];
#pragma unroll
                for (int i = 0; i < 4; i++)
#pragma unroll
                    for (int j = 0; j < 4; j++) sums[i][j] += x[i] * y[j];
            }
            __syncthreads();
        }
        T* out = (T*)p.output + number * p.m * p.n;
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                i64 r = row0 + row + i, c = column0 + column + j;
                if (r >= p.m || c >= p.n) continue;
                W bias = p.bias ? wide(((const T*)p.bias)[c * p.bias_stride]) : W();
                out[r * p.n + c] = narrow<T>(epilogue(sums[i][j] + bias));
            }
    }
}
