// One sum for each of many tensors that lie without gaps: VALUE of each element x. In the first STAGE
// a block of threads adds up a chunk, in the second the chunks of a tensor.

struct Params {
    const T* inputs[MOST];
    i64 counts[MOST];
    i64 tensors, chunks;
    // The sums of chunks, and of tensors.
    Y *parts, *output;
    // The first chunk of each tensor.
    u32 first[MOST];
};

// An accumulator is as wide as the result.
typedef Y W;

KERNEL(256) {
    const i64 pieces = STAGE == 0 ? p.chunks : p.tensors;
    for (i64 piece = blockIdx.x; piece < pieces; piece += gridDim.x) {
        W sum = 0;
        if (STAGE == 0) {
            const int tensor = tensor_of(p.first, (int)p.tensors, piece);
            const i64 start = (piece - p.first[tensor]) * CHUNK;
            const i64 end = start + CHUNK < p.counts[tensor] ? start + CHUNK : p.counts[tensor];
            for (i64 at = start + threadIdx.x * PACK; at < end; at += 256 * PACK) {
                const Pack<T, PACK> pack = load<PACK>(p.inputs[tensor] + at, end - at);
#pragma unroll
                for (int i = 0; i < PACK; i++) {
                    const W x = wide(pack.entries[i]);
                    if (at + i < end) sum += VALUE;
                }
            }
        } else {
            const i64 end = piece + 1 < p.tensors ? p.first[piece + 1] : p.chunks;
            for (i64 part = p.first[piece] + threadIdx.x; part < end; part += 256) sum += p.parts[part];
        }
        sum = block_all(sum, Sum());
        if (threadIdx.x == 0) (STAGE == 0 ? p.parts : p.output)[piece] = sum;
    }
}
