// Philox4x32-10: random numbers as a function of seed and position (Salmon et al., "Parallel
// random numbers: as easy as 1, 2, 3", SC 2011), the same numbers as on the CPU.

struct Words { u32 w[4]; };

// Each lane is a stream of its own.
__device__ __forceinline__ Words philox(u64 seed, u64 counter, u32 lane = 0) {
    u32 w0 = (u32)counter, w1 = (u32)(counter >> 32), w2 = lane, w3 = 0;
    u32 k0 = (u32)seed, k1 = (u32)(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        u64 p0 = 0xD2511F53ull * w0, p1 = 0xCD9E8D57ull * w2;
        w0 = (u32)(p1 >> 32) ^ w1 ^ k0;
        w1 = (u32)p1;
        w2 = (u32)(p0 >> 32) ^ w3 ^ k1;
        w3 = (u32)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{w0, w1, w2, w3}};
}

// In [0, 1): number `i` of f32, four to a block of words.
__device__ __forceinline__ f32 uniform_f32(u64 seed, u64 offset, i64 i) {
    return (f32)(philox(seed, offset + (u64)i / 4).w[i % 4] >> 8) * (1.0f / 16777216.0f);
}
// Number `i` of f64, two to a block.
__device__ __forceinline__ f64 uniform_f64(u64 seed, u64 offset, i64 i) {
    Words words = philox(seed, offset + (u64)i / 2);
    int k = 2 * (int)(i % 2);
    u64 word = (u64)words.w[k] << 32 | words.w[k + 1];
    return (f64)(word >> 11) * (1.0 / 9007199254740992.0);
}

// The largest number below the upper bound, which rounding may reach and which is excluded.
__device__ __forceinline__ f32 between(f64 low, f64 high, f32 u) {
    f32 x = (f32)(low + (high - low) * u), end = (f32)high;
    if (high > low && x >= end) x = ::nextafterf(end, -::fabsf(end) - 1);
    return x;
}
__device__ __forceinline__ f64 between(f64 low, f64 high, f64 u) {
    f64 x = low + (high - low) * u;
    if (high > low && x >= high) x = ::nextafter(high, -::fabs(high) - 1);
    return x;
}

// Box and Muller: neighbours share a radius, one takes the cosine, the other the sine.
__device__ __forceinline__ f32 normal_f32(u64 seed, u64 offset, f64 mean, f64 deviation, i64 i) {
    f32 u = uniform_f32(seed, offset, i / 2 * 2), v = uniform_f32(seed, offset, i / 2 * 2 + 1);
    f32 radius = ::sqrtf(-2.0f * ::logf(1.0f - u));
    // Half a turn less keeps the angle small, and changes the sign.
    f32 angle = 6.2831853f * (v - 0.5f);
    return (f32)(mean - deviation * (f64)(radius * (i % 2 == 0 ? ::cosf(angle) : ::sinf(angle))));
}
__device__ __forceinline__ f64 normal_f64(u64 seed, u64 offset, f64 mean, f64 deviation, i64 i) {
    f64 u = uniform_f64(seed, offset, i / 2 * 2), v = uniform_f64(seed, offset, i / 2 * 2 + 1);
    f64 radius = ::sqrt(-2.0 * ::log(1.0 - u)), angle = 6.28318530717958648 * v;
    return mean + deviation * (radius * (i % 2 == 0 ? ::cos(angle) : ::sin(angle)));
}
