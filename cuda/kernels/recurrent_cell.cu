// One step of a recurrent layer after its product with the state, an entry of the state to a thread.
// CELL: 0 an LSTM, 1 a GRU, 2 with tanh, 3 with ReLU.

struct Params {
    // Entries of the state, batch times h.
    i64 count, h;
    // What the input and the state give the gates in this step: [batch, GATES h].
    const void *x, *u;
    // [batch, h], replaced in the rows that take the step: the state; and, in the type that is computed
    // in, the cells of an LSTM or once more the state of a GRU, which may both be in one place.
    void *state, *carried;
    // Results of this step: [batch, h], [batch, 4 h], [batch, h].
    void *y, *gates, *cells;
    // [batch], none where all rows take all steps.
    const i64* lengths;
    i64 time;
};

typedef Widened<T>::type W;

KERNEL(256) {
    const INDEX count = (INDEX)p.count, step = (INDEX)gridDim.x * 256;
    for (INDEX i = (INDEX)blockIdx.x * 256 + threadIdx.x; i < count; i += step) {
        const INDEX row = i / (INDEX)p.h, column = i - row * (INDEX)p.h;
        const i64 first = (i64)row * GATES * p.h + column;
        const T *x = (const T*)p.x + first, *u = (const T*)p.u + first;
        const bool active = !p.lengths || p.time < p.lengths[row];
        auto sum = [&](int gate) { return wide(x[gate * p.h]) + wide(u[gate * p.h]); };
#if CELL <= 1
        T* gates = (T*)p.gates + ((i64)row * 4 * p.h + column);
        auto keep = [&](W a, W b, W c, W d) {
            const W all[4] = {a, b, c, d};
#pragma unroll
            for (int gate = 0; gate < 4; gate++) gates[gate * p.h] = narrow<T>(all[gate]);
        };
#endif
        if (!active) {
            ((T*)p.y)[i] = narrow<T>((W)0);
#if CELL <= 1
            keep(0, 0, 0, 0);
#endif
#if CELL == 0
            ((T*)p.cells)[i] = narrow<T>((W)0);
#endif
            continue;
        }
#if CELL == 0
        const W in = fn::sigmoid(sum(0)), forget = fn::sigmoid(sum(1));
        const W cell = fn::tanh(sum(2)), out = fn::sigmoid(sum(3));
        const W c = forget * ((W*)p.carried)[i] + in * cell;
        const W h = out * fn::tanh(c);
        ((W*)p.carried)[i] = c;
        ((T*)p.cells)[i] = narrow<T>(c);
        keep(in, forget, cell, out);
#elif CELL == 1
        const W reset = fn::sigmoid(sum(0)), update = fn::sigmoid(sum(1));
        const W last = wide(u[2 * p.h]), fresh = fn::tanh(wide(x[2 * p.h]) + reset * last);
        const W h = (1 - update) * fresh + update * ((W*)p.carried)[i];
        ((W*)p.carried)[i] = h;
        keep(reset, update, fresh, last);
#elif CELL == 2
        const W h = fn::tanh(sum(0));
#else
        const W h = fn::relu(sum(0));
#endif
        ((T*)p.state)[i] = narrow<T>(h);
        ((T*)p.y)[i] = narrow<T>(h);
    }
}
