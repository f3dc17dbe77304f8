// A chain of elementwise functions: EACH_INPUT(DO) lists the inputs as DO(number, type), and
// EACH_OUTPUT(DO) the outputs as DO(number, type, value). CHAIN computes the value of each link, v0
// and so on, from those before it and the inputs in.of0 and so on.
//
// DENSE: all inputs lie like the outputs, aligned for packs of 16 bytes; one thread computes a pack.
// Else the inputs have any strides, of which zero is a broadcast.

// What a function may use beside its arguments, by the names that it has in a kernel of its own.
struct Link {
    f64 real[2];
    i64 whole[2];
    Fault* fault;
    u32 operation, unused;
};

struct Params {
    i64 count;
    i64 dims[RANK];
    Operand inputs[MOST_INPUTS];
    void* outputs[MOST_OUTPUTS];
    i32 rank, links_used;
    Link links[LINKS];
};

// The same bits as another type, for links that only move them.
template <class To, class From> __device__ __forceinline__ To bits(From x) {
    static_assert(sizeof(To) == sizeof(From), "all bits are moved");
    union { From from; To to; } both = {x};
    return both.to;
}

#define FIELD(i, type, ...) type of##i;
struct Inputs { EACH_INPUT(FIELD) };
struct Outputs { EACH_OUTPUT(FIELD) };

__device__ __forceinline__ Outputs compute(const Params& params, const Inputs& in) {
#define RESULT(i, type, value) value,
    CHAIN
    return {EACH_OUTPUT(RESULT)};
}

#define STORE(i, type, ...) ((type*)p.outputs[i])[at] = y.of##i;

#ifdef DENSE
template <class T> struct __align__(PACK * sizeof(T) < 16 ? PACK * sizeof(T) : 16) Pack {
    T entries[PACK];
};

KERNEL(256) {
    const INDEX packs = (INDEX)((p.count + PACK - 1) / PACK), step = (INDEX)gridDim.x * 256;
    for (INDEX pack = (INDEX)blockIdx.x * 256 + threadIdx.x; pack < packs; pack += step) {
        const i64 start = (i64)pack * PACK, left = p.count - start;
        if (left >= PACK) {
#define LOAD(i, type) const Pack<type> in##i = *(const Pack<type>*)((const type*)p.inputs[i].data + start);
#define ROOM(i, type, ...) Pack<type> out##i;
#define ENTRY(i, type) in##i.entries[k],
#define KEEP(i, ...) out##i.entries[k] = y.of##i;
#define STORE_PACK(i, type, ...) *(Pack<type>*)((type*)p.outputs[i] + start) = out##i;
            EACH_INPUT(LOAD)
            EACH_OUTPUT(ROOM)
#pragma unroll
            for (int k = 0; k < PACK; k++) {
                const Outputs y = compute(p, {EACH_INPUT(ENTRY)});
                EACH_OUTPUT(KEEP)
            }
            EACH_OUTPUT(STORE_PACK)
        } else {
#define ELEMENT(i, type) ((const type*)p.inputs[i].data)[at],
            for (i64 at = start; at < p.count; at++) {
                const Outputs y = compute(p, {EACH_INPUT(ELEMENT)});
                EACH_OUTPUT(STORE)
            }
        }
    }
}
#else
KERNEL(256) {
    const INDEX count = (INDEX)p.count, step = (INDEX)gridDim.x * 256;
    for (INDEX at = (INDEX)blockIdx.x * 256 + threadIdx.x; at < count; at += step) {
        i64 from[INPUTS] = {};
        INDEX linear = at;
        for (int axis = (int)p.rank - 1; axis >= 0; axis--) {
            INDEX extent = (INDEX)p.dims[axis], rest = axis > 0 ? linear / extent : 0;
            i64 k = (i64)(linear - rest * extent);
#pragma unroll
            for (int x = 0; x < INPUTS; x++) from[x] += k * p.inputs[x].strides[axis];
            linear = rest;
        }
#define ELEMENT_FROM(i, type) ((const type*)p.inputs[i].data)[from[i]],
        const Outputs y = compute(p, {EACH_INPUT(ELEMENT_FROM)});
        EACH_OUTPUT(STORE)
    }
}
#endif
