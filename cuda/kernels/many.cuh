// Many tensors in one launch: each is cut into chunks, and blocks of threads take one chunk after
// another. A thread takes packs of neighbouring elements.

// The tensor that a chunk is of: the last one that begins at or before it.
__device__ __forceinline__ int tensor_of(const u32* first, int tensors, i64 chunk) {
    int low = 0, high = tensors;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (first[middle] <= chunk) low = middle;
        else high = middle;
    }
    return low;
}

template <class T, int N> struct __align__(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Pack {
    T entries[N];
};

// N elements from `x` on, of which `left` are there: at once, if all are and they lie aligned.
template <int N, class T> __device__ __forceinline__ Pack<T, N> load(const T* x, i64 left) {
    Pack<T, N> pack = {};
    if (left >= N && (u64)x % alignof(Pack<T, N>) == 0) return *(const Pack<T, N>*)x;
#pragma unroll
    for (int k = 0; k < N; k++)
        if (k < left) pack.entries[k] = x[k];
    return pack;
}

template <int N, class T> __device__ __forceinline__ void store(T* x, i64 left, Pack<T, N> pack) {
    if (left >= N && (u64)x % alignof(Pack<T, N>) == 0) {
        *(Pack<T, N>*)x = pack;
        return;
    }
#pragma unroll
    for (int k = 0; k < N; k++)
        if (k < left) x[k] = pack.entries[k];
}
