// How many entries of a sorted row come before a value: by halving.

struct Params {
    i64 count, n;
    i64 dims[RANK];
    Operand values;
    // Without its stride along the last axis; zeros where one row serves all.
    Operand sorted;
    i64* output;
    i64 sorted_stride, rank;
};

KERNEL(256) {
    for (i64 i = blockIdx.x * 256ll + threadIdx.x; i < p.count; i += gridDim.x * 256ll) {
        auto value = wide(((const T*)p.values.data)[position(p.dims, p.values.strides, (int)p.rank, (u64)i)]);
        const T* row = (const T*)p.sorted.data + position(p.dims, p.sorted.strides, (int)p.rank, (u64)i);
        i64 low = 0, high = p.n;
        while (low < high) {
            i64 middle = (low + high) / 2;
            auto entry = wide(row[middle * p.sorted_stride]);
            if (RIGHT ? entry <= value : entry < value) low = middle + 1;
            else high = middle;
        }
        p.output[i] = low;
    }
}
