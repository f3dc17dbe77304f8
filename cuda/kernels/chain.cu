// For sums over equal indices: which entry is the last of its index, and for each entry the one
// before it with the same index, or -1. No two threads write to one place.

struct Params {
    i64 entries, stride, limit;
    const void* indices;
    // [limit], filled with -1 before.
    i64* last;
    // [entries]
    i64* previous;
    Fault* fault;
    u32 operation;
    i32 index_type;
};

KERNEL(256) {
    for (i64 k = blockIdx.x * 256ll + threadIdx.x; k < p.entries; k += gridDim.x * 256ll) {
        i64 mine = index_at(p.indices, p.index_type, k * p.stride);
        if (mine < 0 || mine >= p.limit) {
            report(p.fault, INDEX_FAULT, p.operation, mine, p.limit);
            continue;
        }
        i64 before = k - 1, after = k + 1;
        while (before >= 0 && index_at(p.indices, p.index_type, before * p.stride) != mine) before--;
        p.previous[k] = before;
        while (after < p.entries && index_at(p.indices, p.index_type, after * p.stride) != mine) after++;
        if (after == p.entries) p.last[mine] = k;
    }
}
