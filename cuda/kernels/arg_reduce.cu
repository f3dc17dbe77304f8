// The place of the largest or smallest element along one axis: the first of equal ones, and the
// first NaN before all. One block for each output.

struct Params {
    i64 outputs, extent, stride;
    i64 dims[RANK];
    Operand input;
    i64* output;
    i64 rank;
};

typedef Widened<X>::type W;

struct Best {
    W value;
    // Below zero: none.
    i64 place;
};

__device__ __forceinline__ Best better(Best a, Best b) {
    if (a.place < 0) return b;
    if (b.place < 0) return a;
    bool a_nan = a.value != a.value, b_nan = b.value != b.value;
    bool equal = a_nan || b_nan ? a_nan && b_nan : a.value == b.value;
    if (equal) return a.place < b.place ? a : b;
    return a_nan || (!b_nan && (MAX ? a.value > b.value : a.value < b.value)) ? a : b;
}

KERNEL(256) {
    __shared__ Best warps[8];
    for (i64 output = blockIdx.x; output < p.outputs; output += gridDim.x) {
        const X* x = (const X*)p.input.data + position(p.dims, p.input.strides, (int)p.rank, (u64)output);
        Best best = {0, -1};
        for (i64 i = threadIdx.x; i < p.extent; i += 256) best = better(best, {wide(x[i * p.stride]), i});
        for (int distance = 16; distance > 0; distance /= 2) {
            Best other = {__shfl_xor_sync(0xFFFFFFFFu, best.value, distance),
                          __shfl_xor_sync(0xFFFFFFFFu, best.place, distance)};
            best = better(best, other);
        }
        if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = best;
        __syncthreads();
        if (threadIdx.x == 0) {
            for (int warp = 1; warp < 8; warp++) best = better(best, warps[warp]);
            p.output[output] = best.place;
        }
        __syncthreads();
    }
}
