// One step of an optimizer for one element. STEP is the rule, in the numbers c of the host, of which
// penalty and shrinking are the first: it reads `g` and changes x[0], the parameter, and its states.

typedef Widened<T>::type W;

__device__ __forceinline__ W sign(W x) { return fn::sign(x); }
__device__ __forceinline__ W clamp(W x, W low, W high) {
    return fn::minimum(fn::maximum(x, low), high);
}

__device__ __forceinline__ void advance(const W (&c)[12], bool maximize, W g, W (&x)[TARGETS]) {
    if (maximize) g = -g;
    // An infinite number times zero is NaN.
    if (c[0] != 0) g = c[0] * x[0] + g;
    x[0] *= c[1];
    STEP
}
