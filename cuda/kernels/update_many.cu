// One step of an optimizer for many parameters that lie without gaps. Gradients do so too, or are one
// number each.

struct Params {
    const T* gradients[MOST];
    void* targets[MOST][TARGETS];
    i64 counts[MOST];
    f64 c[12];
    // A gradient goes on by this from element to element: 1 or 0.
    i64 gradient_stride;
    i64 maximize, tensors, chunks;
    // The first chunk of each parameter.
    u32 first[MOST];
};

KERNEL(256) {
    W c[12];
#pragma unroll
    for (int k = 0; k < 12; k++) c[k] = (W)p.c[k];
    for (i64 chunk = blockIdx.x; chunk < p.chunks; chunk += gridDim.x) {
        const int tensor = tensor_of(p.first, (int)p.tensors, chunk);
        const i64 start = (chunk - p.first[tensor]) * CHUNK;
        const i64 end = start + CHUNK < p.counts[tensor] ? start + CHUNK : p.counts[tensor];
        for (i64 at = start + threadIdx.x * PACK; at < end; at += 256 * PACK) {
            const i64 left = end - at;
            const T* gradient = p.gradients[tensor] + at * p.gradient_stride;
            const Pack<T, PACK> g = load<PACK>(gradient, p.gradient_stride ? left : 1);
            T* values = (T*)p.targets[tensor][0] + at;
            Pack<T, PACK> parameter = load<PACK>(values, left);
            // The first one stays empty.
            Pack<S, PACK> states[TARGETS];
#pragma unroll
            for (int k = 1; k < TARGETS; k++)
                states[k] = load<PACK>((const S*)p.targets[tensor][k] + at, left);
#pragma unroll
            for (int i = 0; i < PACK; i++) {
                W x[TARGETS];
                x[0] = wide(parameter.entries[i]);
#pragma unroll
                for (int k = 1; k < TARGETS; k++) x[k] = wide(states[k].entries[i]);
                // Values are chosen, as an index that is would put the pack into memory.
                const W one = wide(g.entries[0]), own = wide(g.entries[i]);
                advance(c, p.maximize, p.gradient_stride ? own : one, x);
                parameter.entries[i] = narrow<T>(x[0]);
#pragma unroll
                for (int k = 1; k < TARGETS; k++) states[k].entries[i] = narrow<S>(x[k]);
            }
            store<PACK>(values, left, parameter);
#pragma unroll
            for (int k = 1; k < TARGETS; k++)
                store<PACK>((S*)p.targets[tensor][k] + at, left, states[k]);
        }
    }
}
