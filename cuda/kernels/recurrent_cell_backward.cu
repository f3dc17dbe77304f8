// The gradient of one step of a recurrent layer before its product with the weight, an entry of the
// state to a thread. CELL: 0 an LSTM, 1 a GRU, 2 with tanh, 3 with ReLU.

struct Params {
    // Entries of the state, batch times h.
    i64 count, h;
    // Of this step: [batch, h], [batch, 4 h], [batch, h], [batch, h].
    const void *y, *gates, *cells, *dy;
    // State and cells before the step, [batch, h]: of the step taken before it, none at the first, and
    // of rows that did not take that step.
    const void *last_y, *last_cells, *first_y, *first_cells;
    // The gradient of the state after the step, [batch, h]: what comes through the product, and, in the
    // type that is computed in, what goes past it, replaced; none where nothing does.
    const void* product;
    void* past;
    // The gradient of the cells of an LSTM, in the type that is computed in: replaced.
    void* carried;
    // Results of this step, [batch, GATES h]: what goes to the input and, where that differs, to the
    // product; [batch, h]: the state before it, which that was a product of.
    void *dx, *du, *before;
    // [batch], none where all rows take all steps.
    const i64* lengths;
    // Of this step, and of the one taken before it.
    i64 time, last_time;
};

typedef Widened<T>::type W;

KERNEL(256) {
    const INDEX count = (INDEX)p.count, step = (INDEX)gridDim.x * 256;
    for (INDEX i = (INDEX)blockIdx.x * 256 + threadIdx.x; i < count; i += step) {
        const INDEX row = i / (INDEX)p.h, column = i - row * (INDEX)p.h;
        const i64 length = p.lengths ? p.lengths[row] : p.time + 1;
        const bool follows = p.last_y && (!p.lengths || p.last_time < length);
        const i64 first = (i64)row * GATES * p.h + column;
        auto put = [&](void* to, int gate, W value) {
            ((T*)to)[first + gate * p.h] = narrow<T>(value);
        };
        const T before = ((const T*)(follows ? p.last_y : p.first_y))[i];
        ((T*)p.before)[i] = before;
        W all = wide(((const T*)p.product)[i]);
        if (p.past) all += ((const W*)p.past)[i];
        if (p.time >= length) {
            // The state stayed as it was.
            if (p.past) ((W*)p.past)[i] = all;
#pragma unroll
            for (int gate = 0; gate < GATES; gate++) {
                put(p.dx, gate, 0);
                if (CELL == 1) put(p.du, gate, 0);
            }
            continue;
        }
        all += wide(((const T*)p.dy)[i]);
        W past = 0;
#if CELL <= 1
        const T* gates = (const T*)p.gates + ((i64)row * 4 * p.h + column);
        const W a = wide(gates[0]), b = wide(gates[p.h]), c = wide(gates[2 * p.h]), d = wide(gates[3 * p.h]);
#endif
#if CELL == 0
        // Input, forget, cell and output.
        const W last = wide(((const T*)(follows ? p.last_cells : p.first_cells))[i]);
        const W out = fn::tanh(wide(((const T*)p.cells)[i]));
        const W dc = ((W*)p.carried)[i] + all * d * (1 - out * out);
        put(p.dx, 0, dc * c * (a * (1 - a)));
        put(p.dx, 1, dc * last * (b * (1 - b)));
        put(p.dx, 2, dc * a * (1 - c * c));
        put(p.dx, 3, all * out * (d * (1 - d)));
        ((W*)p.carried)[i] = dc * b;
#elif CELL == 1
        // Reset, update, new, and what the state gave the new.
        const W dn = all * (1 - b) * (1 - c * c);
        const W dr = dn * d * (a * (1 - a)), dz = all * (wide(before) - c) * (b * (1 - b));
        put(p.dx, 0, dr), put(p.dx, 1, dz), put(p.dx, 2, dn);
        put(p.du, 0, dr), put(p.du, 1, dz), put(p.du, 2, dn * a);
        past = all * b;
#else
        const W y = wide(((const T*)p.y)[i]);
        put(p.dx, 0, CELL == 2 ? all * (1 - y * y) : y > 0 ? all : (W)0);
#endif
        if (p.past) ((W*)p.past)[i] = past;
    }
}
