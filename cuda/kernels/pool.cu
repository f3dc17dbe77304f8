// Pooling over windows of images. WHAT is 0 for the largest, with its place in the image; 1 for the
// mean; 2 for the gradient of the mean.

struct Params {
    i64 count;
    // Rows and columns of the image, and of the windows.
    i64 size[2], windows[2];
    // [n, c, h, w]
    i64 channels;
    Operand input;
    void* output;
    i32* places;
    i64 kernel[2], stride[2], padding[2], dilation[2];
    i64 counts_padding;
};

typedef Widened<T>::type W;

__device__ __forceinline__ W at(const Operand& x, i64 n, i64 c, i64 row, i64 column) {
    return wide(((const T*)x.data)[n * x.strides[0] + c * x.strides[1] + row * x.strides[2] + column * x.strides[3]]);
}

// Along one axis: where a tap of a window is, or below zero.
__device__ __forceinline__ i64 tap(const Params& p, int axis, i64 window, i64 k) {
    i64 place = window * p.stride[axis] + k * p.dilation[axis] - p.padding[axis];
    return place < p.size[axis] ? place : -1;
}

// How many taps of a window count along one axis.
__device__ __forceinline__ i64 counted(const Params& p, int axis, i64 window) {
    if (p.counts_padding) {
        i64 room = p.size[axis] + 2 * p.padding[axis] - window * p.stride[axis];
        return p.kernel[axis] < room ? p.kernel[axis] : room;
    }
    i64 inside = 0;
    for (i64 k = 0; k < p.kernel[axis]; k++) inside += tap(p, axis, window, k) >= 0;
    return inside;
}

KERNEL(256) {
    const i64* grid = WHAT == 2 ? p.size : p.windows;
    for (i64 i = blockIdx.x * 256ll + threadIdx.x; i < p.count; i += gridDim.x * 256ll) {
        i64 column = i % grid[1], row = i / grid[1] % grid[0];
        i64 c = i / (grid[1] * grid[0]) % p.channels, n = i / (grid[1] * grid[0] * p.channels);
#if WHAT == 2
        W sum = 0;
        for (i64 a = 0; a < p.kernel[0]; a++) {
            i64 r = row + p.padding[0] - a * p.dilation[0];
            if (r < 0 || r % p.stride[0] != 0 || r / p.stride[0] >= p.windows[0]) continue;
            for (i64 b = 0; b < p.kernel[1]; b++) {
                i64 k = column + p.padding[1] - b * p.dilation[1];
                if (k < 0 || k % p.stride[1] != 0 || k / p.stride[1] >= p.windows[1]) continue;
                i64 all = counted(p, 0, r / p.stride[0]) * counted(p, 1, k / p.stride[1]);
                sum += at(p.input, n, c, r / p.stride[0], k / p.stride[1]) / (W)all;
            }
        }
        ((T*)p.output)[i] = narrow<T>(sum);
#else
        W value = 0;
        i64 place = -1;
        for (i64 a = 0; a < p.kernel[0]; a++) {
            i64 y = tap(p, 0, row, a);
            for (i64 b = 0; y >= 0 && b < p.kernel[1]; b++) {
                i64 x = tap(p, 1, column, b);
                if (x < 0) continue;
                W here = at(p.input, n, c, y, x);
                if (WHAT == 1) value += here;
                else if (place < 0 || (value == value && (here > value || here != here))) {
                    value = here;
                    place = y * p.size[1] + x;
                }
            }
        }
        if (WHAT == 1) value = value / (W)(counted(p, 0, row) * counted(p, 1, column));
        else p.places[i] = (i32)place;
        ((T*)p.output)[i] = narrow<T>(value);
#endif
    }
}
