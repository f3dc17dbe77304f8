// Indices of any integer type, told by a number: the size in bytes, negative if signed.

__device__ __forceinline__ i64 index_at(const void* data, int type, i64 at) {
    switch (type) {
        case 1: return ((const u8*)data)[at];
        case -1: return ((const i8*)data)[at];
        case 2: return ((const u16*)data)[at];
        case -2: return ((const i16*)data)[at];
        case 4: return ((const u32*)data)[at];
        case -4: return ((const i32*)data)[at];
        default: return ((const i64*)data)[at];
    }
}
