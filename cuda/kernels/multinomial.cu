// Indices drawn with probabilities in proportion to weights, one block for each row. With REPLACE a
// number falls among the running sums; without, each category arrives after an exponential time with
// its weight as the rate, and the first ones are drawn (Efraimidis and Spirakis 2006).

struct Params {
    i64 rows, categories, samples;
    i64 dims[RANK];
    // Without the stride along the categories.
    Operand weights;
    i64 stride;
    // [rows, categories]: running sums, or times.
    f64* work;
    // [rows, samples]
    i64* output;
    u64 seed, offset;
    Fault* fault;
    u32 operation;
    i32 rank;
};

__device__ __forceinline__ f64 uniform_at(const Params& p, i64 i) {
    Words words = philox(p.seed, p.offset + (u64)i);
    return (f64)(((u64)words.w[0] << 32 | words.w[1]) >> 11) * (1.0 / 9007199254740992.0);
}
__device__ __forceinline__ f64 checked(const Params& p, f64 weight) {
    if (weight >= 0 && weight - weight == 0) return weight;
    report(p.fault, WEIGHT_FAULT, p.operation, (i64)double_bits(weight), 0);
    return 0;
}
// How many of the rising sums are below `at`, or, with `equal`, not above it.
__device__ inline i64 count_below(const f64* sums, i64 n, f64 at, bool equal) {
    i64 low = 0;
    while (n > 0) {
        i64 half = n / 2;
        bool below = equal ? sums[low + half] <= at : sums[low + half] < at;
        low = below ? low + half + 1 : low;
        n = below ? n - half - 1 : half;
    }
    return low;
}

KERNEL(256) {
    __shared__ f64 times[256];
    __shared__ i64 places[256];
    const i64 n = p.categories;
    for (i64 row = blockIdx.x; row < p.rows; row += gridDim.x) {
        const T* x = (const T*)p.weights.data + position(p.dims, p.weights.strides, p.rank, (u64)row);
        f64* work = p.work + row * n;
        i64* y = p.output + row * p.samples;
        (void)times, (void)places;
#if REPLACE
        if (threadIdx.x == 0) {
            f64 total = 0;
            for (i64 c = 0; c < n; c++) work[c] = total += checked(p, (f64)wide(x[c * p.stride]));
            if (!(total > 0 && total - total == 0))
                report(p.fault, TOTAL_FAULT, p.operation, (i64)double_bits(total), 0);
        }
        __syncthreads();
        const f64 total = work[n - 1];
        // Rounding may reach the total: then it is the last category with a weight.
        const i64 last = count_below(work, n, total, false);
        for (i64 s = threadIdx.x; s < p.samples; s += 256) {
            i64 found = count_below(work, n, uniform_at(p, row * p.samples + s) * total, true);
            found = found < last ? found : last;
            y[s] = found < n ? found : n - 1;
        }
#else
        for (i64 c = threadIdx.x; c < n; c += 256) {
            f64 weight = checked(p, (f64)wide(x[c * p.stride]));
            work[c] = weight > 0 ? -::log(1 - uniform_at(p, row * n + c)) / weight : -1;
        }
        __syncthreads();
        // Again and again the earliest of those that are left; one that is drawn becomes negative.
        for (i64 s = 0; s < p.samples; s++) {
            f64 time = -1;
            i64 place = 0;
            for (i64 c = threadIdx.x; c < n; c += 256)
                if (work[c] >= 0 && (time < 0 || work[c] < time)) time = work[c], place = c;
            times[threadIdx.x] = time;
            places[threadIdx.x] = place;
            __syncthreads();
            if (threadIdx.x == 0) {
                for (int t = 1; t < 256; t++) {
                    bool first = times[t] >= 0
                        && (time < 0 || times[t] < time || (times[t] == time && places[t] < place));
                    if (first) time = times[t], place = places[t];
                }
                if (time < 0) report(p.fault, FEW_FAULT, p.operation, s, p.samples);
                work[place] = -1;
                y[s] = place;
            }
            __syncthreads();
        }
#endif
    }
}
