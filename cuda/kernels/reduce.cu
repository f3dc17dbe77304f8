// Reductions: y = FINISH of COMBINE over the reduced axes, in an order that depends on shapes alone.
//
// Each output is cut into parts; a part is done by GROUP threads: by one, where outputs lie side by
// side, or by a whole block, where the reduced elements do. Parts of one output are written beside
// each other in the wide type, for a second pass.

struct Params {
    i64 outputs, extent, parts;
    // How many elements an output has in the end.
    i64 total;
    i64 kept_dims[RANK], reduced_dims[RANK];
    i64 kept_strides[RANK], reduced_strides[RANK];
    const void* input;
    void* output;
    i32 kept_rank, reduced_rank;
};

typedef Widened<X>::type W;

struct Combine {
    __device__ __forceinline__ W operator()(W a, W b) const { return COMBINE; }
};

KERNEL(256) {
    const i64 chunk = (p.extent + p.parts - 1) / p.parts;
    const i64 pieces = p.outputs * p.parts, per_block = 256 / GROUP;
    // All threads of a block make as many rounds.
    for (i64 first = blockIdx.x * per_block; first < pieces; first += gridDim.x * per_block) {
        i64 piece = first + threadIdx.x / GROUP;
        // Neighbouring threads take neighbouring outputs.
        i64 output = piece % p.outputs, part = piece / p.outputs;
        W value = IDENTITY;
        if (piece < pieces) {
            const X* x = (const X*)p.input
                + position(p.kept_dims, p.kept_strides, p.kept_rank, (INDEX)output);
            i64 end = (part + 1) * chunk < p.extent ? (part + 1) * chunk : p.extent;
            for (i64 i = part * chunk + threadIdx.x % GROUP; i < end; i += GROUP) {
                i64 at = position(p.reduced_dims, p.reduced_strides, p.reduced_rank, (INDEX)i);
                value = Combine()(value, wide(x[at]));
            }
        }
        if (GROUP > 1) value = block_all(value, Combine());
        if (piece < pieces && threadIdx.x % GROUP == 0) {
            const W total = narrow<W>(p.total);
            (void)total;
            if (p.parts > 1) ((W*)p.output)[output * p.parts + part] = value;
            else ((Y*)p.output)[output] = narrow<Y>(FINISH);
        }
    }
}
