// The gradient of the largest of windows: each gradient is added where the maximum was. One thread
// for each plane of an image, so that the order is always the same.

struct Params {
    i64 planes, channels, pixels;
    i64 windows[2];
    // [n, c, oh, ow]
    Operand gradient, places;
    // [planes, pixels], of the wide type and, for halves, of their own.
    void *sums, *output;
    Fault* fault;
    u32 operation;
    i32 index_type;
};

typedef Widened<T>::type W;

KERNEL(256) {
    for (i64 plane = blockIdx.x * 256ll + threadIdx.x; plane < p.planes; plane += gridDim.x * 256ll) {
        const i64 n = plane / p.channels, c = plane % p.channels;
        W* sums = (W*)p.sums + plane * p.pixels;
        for (i64 i = 0; i < p.pixels; i++) sums[i] = 0;
        for (i64 row = 0; row < p.windows[0]; row++)
            for (i64 column = 0; column < p.windows[1]; column++) {
                const i64* g = p.gradient.strides;
                const i64* s = p.places.strides;
                i64 place = index_at(p.places.data, p.index_type, n * s[0] + c * s[1] + row * s[2] + column * s[3]);
                if (place < 0 || place >= p.pixels) {
                    report(p.fault, INDEX_FAULT, p.operation, place, p.pixels);
                    continue;
                }
                sums[place] += wide(((const T*)p.gradient.data)[n * g[0] + c * g[1] + row * g[2] + column * g[3]]);
            }
        if (p.sums == p.output) continue;
        for (i64 i = 0; i < p.pixels; i++) ((T*)p.output)[plane * p.pixels + i] = narrow<T>(sums[i]);
    }
}
