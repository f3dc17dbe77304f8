// Where a tensor is not zero, in row-major order. One block: each thread takes a run of elements,
// counts, and writes after those of the threads before it.

struct Params {
    i64 count, found;
    i64 dims[RANK];
    Operand input;
    // [found, rank]
    i64* output;
    Fault* fault;
    u32 operation;
    i32 rank;
};

KERNEL(256) {
    __shared__ i64 counts[256];
    const i64 run = (p.count + 255) / 256, first = threadIdx.x * run;
    const i64 end = first + run < p.count ? first + run : p.count;
    i64 mine = 0;
    for (i64 i = first; i < end; i++)
        mine += wide(((const T*)p.input.data)[position(p.dims, p.input.strides, p.rank, (u64)i)]) != 0;
    counts[threadIdx.x] = mine;
    __syncthreads();
    i64 at = 0;
    for (int thread = 0; thread < (int)threadIdx.x; thread++) at += counts[thread];
    for (i64 i = first; i < end; i++) {
        if (wide(((const T*)p.input.data)[position(p.dims, p.input.strides, p.rank, (u64)i)]) == 0) continue;
        i64 rest = i;
        for (int axis = p.rank - 1; axis >= 0 && at < p.found; axis--) {
            p.output[at * p.rank + axis] = rest % p.dims[axis];
            rest /= p.dims[axis];
        }
        at++;
    }
    if (threadIdx.x == 255 && at != p.found) report(p.fault, COUNT_FAULT, p.operation, at, p.found);
}
