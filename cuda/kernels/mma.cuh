// Tensor cores: wrappers of single instructions, each with a twin in `emu.h`.

#ifndef EMULATED
// Four 8 x 8 matrices of halves from shared memory; each lane names a row of 16 bytes.
__device__ __forceinline__ void ldmatrix(u32* r, const void* row) {
    u32 at = (u32)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
__device__ __forceinline__ void ldmatrix_transposed(u32* r, const void* row) {
    u32 at = (u32)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
// d [16, 8] += a [16, 16] b [16, 8], of halves, summed in f32.
#define MMA(T, name)                                                                                \
    __device__ __forceinline__ void mma(T, f32* d, const u32* a, u32 b0, u32 b1) {                  \
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." name "." name ".f32 "                 \
                     "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"                      \
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                               \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));               \
    }
#else
__device__ __forceinline__ void ldmatrix(u32* r, const void* row) { emu::ldmatrix(r, row, false); }
__device__ __forceinline__ void ldmatrix_transposed(u32* r, const void* row) {
    emu::ldmatrix(r, row, true);
}
#define MMA(T, name)                                                                                \
    __device__ __forceinline__ void mma(T, f32* d, const u32* a, u32 b0, u32 b1) {                  \
        emu::mma(d, a, b0, b1, [](u16 bits) { return wide(T{bits}); });                             \
    }
#endif
MMA(f16, "f16")
MMA(bf16, "bf16")
