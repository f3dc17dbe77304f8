// Matrix products of halves on tensor cores, summed in f32, with their epilogue: tiles of 64 x 64,
// four warps of 32 x 32 each. Any strides and sizes; a batch may broadcast.

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
#define DEPTH 32
// Rows of shared memory are longer, so that eight of them start in different banks.
#define PAD 8

__device__ __forceinline__ f32 epilogue(f32 x) { return EPILOGUE; }

// Loads a tile of ROWS x COLUMNS at (row0, column0) of a matrix, with zeros beyond its ends: eight
// elements at once along the axis that lies without gaps.
template <int ROWS, int COLUMNS>
__device__ __forceinline__ void load(u16 (*tile)[COLUMNS + PAD], const u16* x, i64 row_stride,
                                     i64 column_stride, i64 row0, i64 column0, i64 rows, i64 columns) {
    const bool along_columns = column_stride == 1;
    const i64 run = along_columns ? row_stride : column_stride;
    const bool whole = (along_columns || row_stride == 1) && run % 8 == 0 && (u64)x % 16 == 0;
#pragma unroll
    for (int i = 0; i < ROWS * COLUMNS / 8 / 128; i++) {
        int chunk = threadIdx.x + i * 128;
        int r = along_columns ? chunk / (COLUMNS / 8) : chunk % (ROWS / 8) * 8;
        int c = along_columns ? chunk % (COLUMNS / 8) * 8 : chunk / (ROWS / 8);
        i64 row = row0 + r, column = column0 + c;
        union { w16 all; u16 each[8]; } eight;
        bool inside = row + (along_columns ? 1 : 8) <= rows && column + (along_columns ? 8 : 1) <= columns;
        if (whole && inside) {
            eight.all = *(const w16*)(x + row * row_stride + column * column_stride);
        } else {
#pragma unroll
            for (int e = 0; e < 8; e++) {
                i64 at_row = row + (along_columns ? 0 : e), at_column = column + (along_columns ? e : 0);
                bool in = at_row < rows && at_column < columns;
                eight.each[e] = in ? x[at_row * row_stride + at_column * column_stride] : (u16)0;
            }
        }
        if (along_columns) {
            *(w16*)&tile[r][c] = eight.all;
        } else {
#pragma unroll
            for (int e = 0; e < 8; e++) tile[r + e][c] = eight.each[e];
        }
    }
}

KERNEL(128) {
    __shared__ __align__(16) u16 left[TILE][DEPTH + PAD], right[DEPTH][TILE + PAD];
    const i64 rows = (p.m + TILE - 1) / TILE, columns = (p.n + TILE - 1) / TILE;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int warp_row = warp / 2 * 32, warp_column = warp % 2 * 32;
    for (i64 tile = blockIdx.x; tile < p.batch * rows * columns; tile += gridDim.x) {
        const i64 number = tile / (rows * columns), within = tile % (rows * columns);
        const i64 row0 = within / columns * TILE, column0 = within % columns * TILE;
        const u16* a = (const u16*)p.a.data + position(p.batch_dims, p.a.strides, (int)p.batch_rank, (u64)number);
        const u16* b = (const u16*)p.b.data + position(p.batch_dims, p.b.strides, (int)p.batch_rank, (u64)number);
        f32 sums[2][4][4] = {};
        for (i64 k0 = 0; k0 < p.k; k0 += DEPTH) {
            load<TILE, DEPTH>(left, a, p.a_row, p.a_column, row0, k0, p.m, p.k);
            load<DEPTH, TILE>(right, b, p.b_row, p.b_column, k0, column0, p.k, p.n);
            __syncthreads();
#pragma unroll
            for (int k = 0; k < DEPTH; k += 16) {
                u32 x[2][4], y[2][4];
#pragma unroll
                for (int i = 0; i < 2; i++)
                    ldmatrix(x[i], &left[warp_row + i * 16 + lane % 16][k + lane / 16 * 8]);
#pragma unroll
                for (int j = 0; j < 2; j++)
                    ldmatrix_transposed(y[j], &right[k + lane % 16][warp_column + j * 16 + lane / 16 * 8]);
#pragma unroll
                for (int i = 0; i < 2; i++)
#pragma unroll
                    for (int j = 0; j < 4; j++)
                        mma(T(), sums[i][j], x[i], y[j / 2][j % 2 * 2], y[j / 2][j % 2 * 2 + 1]);
            }
            __syncthreads();
        }
        T* out = (T*)p.output + number * p.m * p.n;
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
            for (int j = 0; j < 4; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    i64 r = row0 + warp_row + i * 16 + lane / 4 + e / 2 * 8;
                    i64 c = column0 + warp_column + j * 8 + lane % 4 * 2 + e % 2;
                    if (r >= p.m || c >= p.n) continue;
                    f32 bias = p.bias ? wide(((const T*)p.bias)[c * p.bias_stride]) : 0.0f;
                    out[r * p.n + c] = narrow<T>(epilogue(sums[i][j][e] + bias));
                }
    }
}
