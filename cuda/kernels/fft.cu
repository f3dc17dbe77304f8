// One pass of a Fourier transform along an axis, after Stockham: every factor of the length is one
// pass, which leaves the numbers in the order for the next. The first reads the tensor (HERMITIAN: half
// of a spectrum), the last writes the result, those between work on numbers of f64.

struct Params {
    i64 lines, n;
    // This factor, the product of those before it, and what of the length is left.
    i64 factor, done, left;
    i64 dims[RANK];
    // Without the strides along the axis.
    Operand input;
    i64 output_strides[RANK];
    void* output;
    i64 input_stride, output_stride;
    // How many results of each line are written.
    i64 kept;
    // The sign of the exponent, and what each result is multiplied by.
    f64 sign, scale;
    i64 rank;
};

__device__ __forceinline__ c128 complex(f32 x) { return {x, 0}; }
__device__ __forceinline__ c128 complex(f64 x) { return {x, 0}; }
__device__ __forceinline__ c128 complex(c128 z) { return z; }

// Number `i` of a line.
__device__ __forceinline__ c128 entry(const Params& p, const X* x, i64 i) {
#ifdef HERMITIAN
    // The second half is the conjugate of the first, backwards; numbers that are their own are real.
    i64 mirrored = (p.n - i) % p.n, at = i <= p.n / 2 ? i : mirrored;
    c128 z = complex(wide(x[at * p.input_stride]));
    return {z.re, i == mirrored ? 0 : i == at ? z.im : -z.im};
#else
    return complex(wide(x[i * p.input_stride]));
#endif
}

KERNEL(256) {
    const i64 rest = p.left / p.factor;
    for (i64 number = blockIdx.x * 256ll + threadIdx.x; number < p.lines * p.n; number += gridDim.x * 256ll) {
        const i64 line = number / p.n, i = number % p.n;
        if (i >= p.kept) continue;
        const X* x = (const X*)p.input.data + position(p.dims, p.input.strides, (int)p.rank, (u64)line);
        // i = q + done (factor place + k)
        const i64 q = i % p.done, k = i / p.done % p.factor, place = i / p.done / p.factor;
        c128 sum = {0, 0};
        for (i64 j = 0; j < p.factor; j++) {
            // The angle in turns, of which whole ones are left out.
            i64 turns = k * (place + rest * j) % p.left;
            if (2 * turns > p.left) turns -= p.left;
            f64 angle = p.sign * 6.28318530717958648 * ((f64)turns / (f64)p.left);
            sum += entry(p, x, q + p.done * (place + rest * j)) * c128{::cos(angle), ::sin(angle)};
        }
        i64 out = position(p.dims, p.output_strides, (int)p.rank, (u64)line) + i * p.output_stride;
        sum = sum * p.scale;
#ifdef REAL
        ((Y*)p.output)[out] = narrow<Y>(sum.re);
#else
        ((Y*)p.output)[out] = narrow<Y>(sum);
#endif
    }
}
