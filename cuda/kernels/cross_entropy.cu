// Cross-entropy of class indices, row by row, and its gradient. A group of threads, a warp or a
// block, does one row.

struct Params {
    i64 rows, classes;
    i64 dims[RANK];
    // Without the stride along the classes; the targets, and the gradient of the loss if each row
    // has one.
    Operand logits, targets, dy, log_sum;
    i64 output_strides[RANK];
    i64 logits_stride, output_stride, weight_stride;
    // A weight for each class, or null.
    const void* weight;
    // Forward, [rows] each: losses, the logarithms of sums, weights. Backward: the gradient.
    void *output, *log_sum_out, *weights;
    // The sum of weights by which a mean divides, or null.
    const void* total;
    f64 smoothing;
    i64 ignored;
    Fault* fault;
    u32 operation;
    i32 rank, index_type, has_ignored;
};

typedef Widened<T>::type W;

KERNEL(256) {
    const i64 per_block = 256 / GROUP;
    const int lane = threadIdx.x % GROUP;
    const W share = (W)(p.smoothing / (f64)p.classes), sharp = (W)(1 - p.smoothing);
    for (i64 row0 = blockIdx.x * per_block; row0 < p.rows; row0 += gridDim.x * per_block) {
        // Beyond the last row the last is computed again, and not written.
        const bool writes = row0 + threadIdx.x / GROUP < p.rows;
        const i64 row = writes ? row0 + threadIdx.x / GROUP : p.rows - 1;
        const T* x = (const T*)p.logits.data + position(p.dims, p.logits.strides, p.rank, (u64)row);
        const i64 place = position(p.dims, p.targets.strides, p.rank, (u64)row);
        const i64 target = index_at(p.targets.data, p.index_type, place);
        bool counts = !(p.has_ignored && target == p.ignored);
        if (counts && (target < 0 || target >= p.classes)) {
            report(p.fault, INDEX_FAULT, p.operation, target, p.classes);
            counts = false;
        }
        const T* weights = (const T*)p.weight;
        const W weight = !counts ? (W)0 : weights ? (W)wide(weights[target * p.weight_stride]) : (W)1;
        W largest = 0;
        if (!LOG_PROBS) {
            largest = Limits<W>::low();
            for (i64 c = lane; c < p.classes; c += GROUP) largest = fn::maximum(largest, wide(x[c * p.logits_stride]));
            largest = group_all<GROUP>(largest, Largest());
        }
        // Both sums over all classes: of probabilities, of weights or of weighted log-probabilities.
        W sum = 0, weighted = 0;
#if BACKWARD
        const i64 dy_place = position(p.dims, p.dy.strides, p.rank, (u64)row);
        W dy = wide(((const T*)p.dy.data)[dy_place]);
        if (p.total) dy = dy / *(const W*)p.total;
        if (!counts) dy = 0;
        const W log_sum = ((const W*)p.log_sum.data)[position(p.dims, p.log_sum.strides, p.rank, (u64)row)];
        for (i64 c = lane; c < p.classes; c += GROUP)
            weighted += weights ? (W)wide(weights[c * p.weight_stride]) : (W)1;
        weighted = group_all<GROUP>(weighted, Sum());
        const W hit = weight * dy * sharp, pull = hit + share * dy * weighted;
        T* dx = (T*)p.output + position(p.dims, p.output_strides, p.rank, (u64)row);
        for (i64 c = lane; c < p.classes && writes; c += GROUP) {
            W class_weight = weights ? (W)wide(weights[c * p.weight_stride]) : (W)1;
            W value = -((c == target ? hit : (W)0) + share * class_weight * dy);
            if (!LOG_PROBS && counts)
                value += fn::exp(wide(x[c * p.logits_stride]) - largest - log_sum) * pull;
            dx[c * p.output_stride] = narrow<T>(value);
        }
        (void)sum;
#else
        W log_sum = 0;
        if (!LOG_PROBS) {
            for (i64 c = lane; c < p.classes; c += GROUP) sum += fn::exp(wide(x[c * p.logits_stride]) - largest);
            log_sum = fn::log(group_all<GROUP>(sum, Sum()));
        }
        if (p.smoothing > 0) {
            for (i64 c = lane; c < p.classes; c += GROUP) {
                W class_weight = weights ? (W)wide(weights[c * p.weight_stride]) : (W)1;
                weighted += class_weight * (wide(x[c * p.logits_stride]) - largest - log_sum);
            }
            weighted = group_all<GROUP>(weighted, Sum());
        }
        if (lane == 0 && writes) {
            W picked = counts ? wide(x[target * p.logits_stride]) - largest - log_sum : (W)0;
            W loss = -sharp * picked * weight - share * weighted;
            ((W*)p.output)[row] = counts ? loss : (W)0;
            ((W*)p.log_sum_out)[row] = log_sum;
            ((W*)p.weights)[row] = weight;
        }
#endif
    }
}
