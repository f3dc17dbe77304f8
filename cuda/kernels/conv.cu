// Convolution of images and its two gradients, by their definitions: one group of threads for each
// result. WHAT is 0 for the result, 1 for the gradient of the image, 2 for that of the weight.

struct Params {
    i64 count;
    // [n, c, h, w], [out, c / groups, kh, kw], [n, out, oh, ow]
    i64 x_dims[4], w_dims[4], y_dims[4];
    // Image and weight; gradient and weight; image and gradient.
    Operand first, second;
    const void* bias;
    void* output;
    i64 bias_stride;
    i64 stride[2], padding[2], dilation[2];
    i64 groups;
};

typedef Widened<T>::type W;

__device__ __forceinline__ W at(const Operand& x, i64 a, i64 b, i64 c, i64 d) {
    return wide(((const T*)x.data)[a * x.strides[0] + b * x.strides[1] + c * x.strides[2] + d * x.strides[3]]);
}

KERNEL(256) {
    const i64 outs = p.w_dims[0] / p.groups, ins = p.w_dims[1], kh = p.w_dims[2], kw = p.w_dims[3];
    const i64 h = p.x_dims[2], w = p.x_dims[3], oh = p.y_dims[2], ow = p.y_dims[3];
    const i64 per_block = 256 / GROUP;
    for (i64 first = blockIdx.x * per_block; first < p.count; first += gridDim.x * per_block) {
        const i64 i = first + threadIdx.x / GROUP;
        if (GROUP <= 32 && i >= p.count) continue;
        W sum = 0;
#if WHAT == 0
        i64 c = i % ow, r = i / ow % oh, out = i / (ow * oh) % p.y_dims[1], n = i / (ow * oh * p.y_dims[1]);
        i64 in0 = out / outs * ins;
        for (i64 in = 0; in < ins; in++)
            for (i64 a = 0; a < kh; a++) {
                i64 row = r * p.stride[0] + a * p.dilation[0] - p.padding[0];
                if (row < 0 || row >= h) continue;
                for (i64 b = 0; b < kw; b++) {
                    i64 column = c * p.stride[1] + b * p.dilation[1] - p.padding[1];
                    if (column < 0 || column >= w) continue;
                    sum += at(p.first, n, in0 + in, row, column) * at(p.second, out, in, a, b);
                }
            }
        if (p.bias) sum += wide(((const T*)p.bias)[out * p.bias_stride]);
#elif WHAT == 1
        i64 column = i % w, row = i / w % h, in = i / (w * h) % p.x_dims[1], n = i / (w * h * p.x_dims[1]);
        i64 out0 = in / ins * outs;
        for (i64 out = out0; out < out0 + outs; out++)
            for (i64 a = 0; a < kh; a++) {
                i64 r = row + p.padding[0] - a * p.dilation[0];
                if (r < 0 || r % p.stride[0] != 0 || r / p.stride[0] >= oh) continue;
                for (i64 b = 0; b < kw; b++) {
                    i64 c = column + p.padding[1] - b * p.dilation[1];
                    if (c < 0 || c % p.stride[1] != 0 || c / p.stride[1] >= ow) continue;
                    sum += at(p.first, n, out, r / p.stride[0], c / p.stride[1])
                        * at(p.second, out, in % ins, a, b);
                }
            }
#else
        i64 b = i % kw, a = i / kw % kh, in = i / (kw * kh) % ins, out = i / (kw * kh * ins);
        i64 in0 = out / outs * ins;
        for (i64 k = threadIdx.x % GROUP; k < p.y_dims[0] * oh * ow; k += GROUP) {
            i64 c = k % ow, r = k / ow % oh, n = k / (ow * oh);
            i64 row = r * p.stride[0] + a * p.dilation[0] - p.padding[0];
            i64 column = c * p.stride[1] + b * p.dilation[1] - p.padding[1];
            if (row < 0 || row >= h || column < 0 || column >= w) continue;
            sum += at(p.first, n, in0 + in, row, column) * at(p.second, n, out, r, c);
        }
        sum = group_all<GROUP>(sum, Sum());
        if (threadIdx.x % GROUP > 0) continue;
#endif
        ((T*)p.output)[i] = narrow<T>(sum);
    }
}
