// Batch normalisation of [images, channels, plane], and its gradient. A channel is cut into parts,
// each for a block: how depends on shapes alone, and so does the order in which numbers are added.
//
// STAGE: 0 does all, where a channel is one part; else 1 sums each part, and 2 joins the sums of a
// channel and does the rest. 3 only applies statistics that are given.

struct Params {
    i64 images, channels, plane, parts;
    const void *x, *dy;
    // One number for each channel; the second of the statistics is rstd, and the variance in stage 3.
    const void *weight, *bias, *mean, *second;
    i64 weight_stride, bias_stride, mean_stride, second_stride;
    // y or dx, and for each channel mean and rstd or dweight and dbias.
    void *output, *first_out, *second_out;
    // [channels, parts]
    void* sums;
    f64 epsilon;
};

typedef Widened<T>::type W;

#if BACKWARD
// Of dy, and of dy times the standardised x.
struct Sums { W plain, product; };

struct Join {
    __device__ __forceinline__ Sums operator()(Sums a, Sums b) const {
        return {a.plain + b.plain, a.product + b.product};
    }
};

__device__ __forceinline__ Sums from_lane(Sums s, int distance) {
    return {::from_lane(s.plain, distance), ::from_lane(s.product, distance)};
}
#else
// How many numbers, their mean, and the sum of the squares of what they differ from it.
struct Sums { W count, mean, squares; };

// Chan, Golub and LeVeque 1979.
struct Join {
    __device__ __forceinline__ Sums operator()(Sums a, Sums b) const {
        const W count = a.count + b.count;
        if (count == 0) return a;
        const W share = b.count / count, difference = b.mean - a.mean;
        return {count, a.mean + difference * share,
                a.squares + b.squares + difference * difference * a.count * share};
    }
};

__device__ __forceinline__ Sums from_lane(Sums s, int distance) {
    return {::from_lane(s.count, distance), ::from_lane(s.mean, distance),
            ::from_lane(s.squares, distance)};
}
#endif

// The elements of a part that a thread has, every 256th: some at a time, so that several loads are
// under way. No element needs a division.
const int SOME = 8;

struct Walk {
    i64 left, next, inside, inside_step, step, wrap, plane;
    int count;
    i64 at[SOME];

    __device__ __forceinline__ Walk(const Params& p, i64 channel, i64 part) {
        const i64 total = p.images * p.plane, chunk = (total + p.parts - 1) / p.parts;
        const i64 first = part * chunk + threadIdx.x;
        const i64 end = (part + 1) * chunk < total ? (part + 1) * chunk : total;
        plane = p.plane;
        left = first < end ? (end - first + 255) / 256 : 0;
        inside = left > 0 ? first % plane : 0;
        next = left > 0 ? (first / plane * p.channels + channel) * plane + inside : 0;
        inside_step = left > 0 ? 256 % plane : 0;
        step = left > 0 ? 256 / plane * p.channels * plane + inside_step : 0;
        wrap = (p.channels - 1) * plane;
    }

    __device__ __forceinline__ bool advance() {
        if (left <= 0) return false;
        count = left < SOME ? (int)left : SOME;
        left -= SOME;
#pragma unroll
        for (int k = 0; k < SOME; k++) {
            at[k] = next;
            next += step;
            inside += inside_step;
            if (inside >= plane) {
                inside -= plane;
                next += wrap;
            }
        }
        return true;
    }
};

// Those of `from` where the walk is; zeros past its end.
__device__ __forceinline__ void load(const Walk& walk, const void* from, W* values) {
#pragma unroll
    for (int k = 0; k < SOME; k++) values[k] = k < walk.count ? wide(((const T*)from)[walk.at[k]]) : (W)0;
}

__device__ __forceinline__ void store(const Walk& walk, void* to, const W* values) {
#pragma unroll
    for (int k = 0; k < SOME; k++)
        if (k < walk.count) ((T*)to)[walk.at[k]] = narrow<T>(values[k]);
}

// The sums of one part, by all threads of the block.
__device__ __forceinline__ Sums sum_part(const Params& p, i64 channel, i64 part) {
    Sums sums = {};
#if BACKWARD
    const W mean = ((const W*)p.mean)[channel * p.mean_stride];
    const W rstd = ((const W*)p.second)[channel * p.second_stride];
#endif
    for (Walk walk(p, channel, part); walk.advance();) {
        W x[SOME];
        load(walk, p.x, x);
#if BACKWARD
        W dy[SOME];
        load(walk, p.dy, dy);
#pragma unroll
        for (int k = 0; k < SOME; k++) {
            sums.plain += dy[k];
            if (k < walk.count) sums.product += dy[k] * ((x[k] - mean) * rstd);
        }
#else
        Sums some = {(W)walk.count, 0, 0};
#pragma unroll
        for (int k = 0; k < SOME; k++) some.mean += x[k];
        some.mean /= some.count;
#pragma unroll
        for (int k = 0; k < SOME; k++)
            if (k < walk.count) some.squares += fn::square(x[k] - some.mean);
        sums = Join()(sums, some);
#endif
    }
    return block_all(sums, Join());
}

KERNEL(256) {
    // All threads of a block make as many rounds.
    for (i64 piece = blockIdx.x; piece < p.channels * p.parts; piece += gridDim.x) {
        const i64 channel = piece / p.parts, part = piece % p.parts;
        const bool tells = part == 0 && threadIdx.x == 0;
        (void)tells;
#if STAGE == 0
        const Sums sums = sum_part(p, channel, part);
#elif STAGE == 1
        const Sums sums = sum_part(p, channel, part);
        if (threadIdx.x == 0) ((Sums*)p.sums)[piece] = sums;
#elif STAGE == 2
        Sums sums = {};
        for (i64 i = threadIdx.x; i < p.parts; i += 256)
            sums = Join()(sums, ((const Sums*)p.sums)[channel * p.parts + i]);
        sums = block_all(sums, Join());
#endif
#if STAGE != 1
        const W weight = wide(((const T*)p.weight)[channel * p.weight_stride]);
#if BACKWARD
        const W mean = ((const W*)p.mean)[channel * p.mean_stride];
        const W rstd = ((const W*)p.second)[channel * p.second_stride];
        if (tells) {
            ((T*)p.first_out)[channel] = narrow<T>(sums.product);
            ((T*)p.second_out)[channel] = narrow<T>(sums.plain);
        }
        const W total = (W)(p.images * p.plane), scale = weight * rstd;
        const W plain = sums.plain / total, product = sums.product / total;
#else
        const W bias = wide(((const T*)p.bias)[channel * p.bias_stride]);
#if STAGE == 3
        const W mean = wide(((const T*)p.mean)[channel * p.mean_stride]);
        const W rstd = fn::rsqrt(wide(((const T*)p.second)[channel * p.second_stride]) + (W)p.epsilon);
#else
        // Of no numbers both are NaN.
        const W variance = sums.squares / sums.count;
        const W mean = sums.count == 0 ? variance : sums.mean;
        const W rstd = fn::rsqrt(variance + (W)p.epsilon);
        if (tells) {
            ((W*)p.first_out)[channel] = mean;
            ((W*)p.second_out)[channel] = rstd;
        }
#endif
        const W scale = weight * rstd;
#endif
        for (Walk walk(p, channel, part); walk.advance();) {
            W x[SOME];
            load(walk, p.x, x);
#if BACKWARD
            W dy[SOME];
            load(walk, p.dy, dy);
#pragma unroll
            for (int k = 0; k < SOME; k++)
                x[k] = (dy[k] - plain - (x[k] - mean) * rstd * product) * scale;
#else
#pragma unroll
            for (int k = 0; k < SOME; k++) x[k] = (x[k] - mean) * scale + bias;
#endif
            store(walk, p.output, x);
        }
#endif
    }
}
