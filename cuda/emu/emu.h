// CUDA C++ on the host: kernels compile as C++20 and run block after block. The threads of a block
// are fibers that switch at barriers, in a fixed order; with EMU_THREADS they are real threads, so
// that ThreadSanitizer sees a missing barrier, as all are with EMU_NO_BARRIERS. With EMU_SERIAL they run one after another, for
// kernels without barriers.
//
// Not covered: whatever is asynchronous, the memory model within a warp, speed.

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>
#ifdef EMU_THREADS
#include <barrier>
#include <thread>
#else
#include <csetjmp>
#include <ucontext.h>
#endif

#define EMULATED 1
#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static

struct dim3 { unsigned x = 1, y = 1, z = 1; };

namespace emu {

const unsigned WARP = 32;
#ifdef EMU_THREADS
inline thread_local dim3 thread, block;
#else
// Fibers move between the threads of the host from launch to launch, of which one runs at a time.
inline dim3 thread, block;
#endif
inline dim3 threads, blocks;

#ifdef EMU_THREADS

inline std::unique_ptr<std::barrier<>> all;
inline std::vector<std::unique_ptr<std::barrier<>>> warps;
#ifdef EMU_NO_BARRIERS
inline void sync_block() {}
inline void sync_warp() {}
#else
inline void sync_block() { all->arrive_and_wait(); }
inline void sync_warp() { warps[thread.x / WARP]->arrive_and_wait(); }
#endif

template <class F> void run(dim3 grid, unsigned count, F kernel) {
    blocks = grid;
    threads = {count, 1, 1};
    all = std::make_unique<std::barrier<>>(count);
    warps.clear();
    for (unsigned i = 0; i < count; i += WARP)
        warps.push_back(std::make_unique<std::barrier<>>(std::min(WARP, count - i)));
    std::vector<std::thread> workers;
    for (unsigned t = 0; t < count; t++)
        workers.emplace_back([=] {
            thread = {t, 0, 0};
            for (unsigned z = 0; z < grid.z; z++)
                for (unsigned y = 0; y < grid.y; y++)
                    for (unsigned x = 0; x < grid.x; x++) {
                        block = {x, y, z};
                        kernel();
                        sync_block();
                    }
        });
    for (auto& worker : workers) worker.join();
}

#else

struct Barrier {
    unsigned count = 0, arrived = 0, round = 0;
};

const size_t STACK = 64 << 10;
struct Fiber {
    jmp_buf here;
    bool done = false;
    std::unique_ptr<char[]> stack;
};
inline std::vector<Fiber> fibers;
inline jmp_buf scheduler;
inline unsigned current;
inline bool progress;
inline Barrier all;
inline std::vector<Barrier> warps;

inline void yield() {
    if (_setjmp(fibers[current].here) == 0) _longjmp(scheduler, 1);
    thread.x = current;
}

inline void wait(Barrier& barrier) {
    unsigned round = barrier.round;
    if (++barrier.arrived == barrier.count) {
        barrier.arrived = 0;
        barrier.round++;
        progress = true;
    }
    while (barrier.round == round) yield();
}
inline void sync_block() { wait(all); }
inline void sync_warp() { wait(warps[thread.x / WARP]); }

// What the fibers run: a kernel without its type.
inline void (*entry)(void*);
inline void* argument;

// The life of a fiber: the thread of one block after another.
inline void live() {
    for (;;) {
        entry(argument);
        fibers[current].done = true;
        progress = true;
        yield();
    }
}

// Goes on with a fiber until it waits or is done.
inline void resume(Fiber& fiber) {
    if (_setjmp(scheduler) != 0) return;
    if (fiber.stack) _longjmp(fiber.here, 1);
    fiber.stack = std::make_unique<char[]>(STACK);
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = fiber.stack.get();
    context.uc_stack.ss_size = STACK;
    context.uc_link = nullptr;
    makecontext(&context, live, 0);
    setcontext(&context);
}

// Runs the threads of one block until all are done.
inline void run_block() {
    const unsigned count = threads.x;
    if (fibers.size() < count) fibers.resize(count);
    all = {count};
    warps.assign((count + WARP - 1) / WARP, {});
    for (unsigned i = 0; i < warps.size(); i++) warps[i].count = std::min(WARP, count - i * WARP);
    for (unsigned t = 0; t < count; t++) fibers[t].done = false;
    for (unsigned left = count; left > 0;) {
        progress = false;
        for (unsigned t = 0; t < count; t++) {
            if (fibers[t].done) continue;
            current = t;
            thread = {t, 0, 0};
            resume(fibers[t]);
            left -= fibers[t].done;
        }
        if (!progress) {
            fprintf(stderr, "emulator: threads of a block wait for each other at barriers\n");
            abort();
        }
    }
}

template <class F> void run(dim3 grid, unsigned count, F kernel) {
    blocks = grid;
    threads = {count, 1, 1};
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                block = {x, y, z};
#ifdef EMU_SERIAL
                for (unsigned t = 0; t < count; t++) {
                    thread = {t, 0, 0};
                    kernel();
                }
#else
                entry = [](void* kernel) { (*(F*)kernel)(); };
                argument = &kernel;
                run_block();
#endif
            }
}

#endif

// One value of each lane, for the others of its warp.
inline unsigned long long lanes[1024];

template <class T> T exchange(T value, unsigned from) {
    const unsigned mine = thread.x, first = mine / WARP * WARP;
    memcpy(&lanes[mine], &value, sizeof value);
    sync_warp();
    T other;
    memcpy(&other, &lanes[first + from], sizeof other);
    sync_warp();
    return other;
}

// What each lane brings to an instruction of its warp.
struct Lane {
    unsigned a[4], b[2];
    const void* row;
};
inline Lane operands[1024];

inline unsigned short half_of(const unsigned* words, int i) {
    return (unsigned short)(words[i / 2] >> (16 * (i % 2)));
}

// The PTX manual's `ldmatrix.m8n8.x4`: the rows of matrix i are those of lanes 8 i and on; lane l
// gets the halves (l / 4, 2 (l % 4)) and the next, or with `transposed` those of the transpose.
inline void ldmatrix(unsigned* result, const void* row, bool transposed) {
    const unsigned mine = thread.x, first = mine / WARP * WARP, lane = mine % WARP;
    operands[mine].row = row;
    sync_warp();
    for (unsigned i = 0; i < 4; i++) {
        result[i] = 0;
        for (unsigned e = 0; e < 2; e++) {
            unsigned r = transposed ? 2 * (lane % 4) + e : lane / 4;
            unsigned c = transposed ? lane / 4 : 2 * (lane % 4) + e;
            unsigned short half;
            memcpy(&half, (const char*)operands[first + 8 * i + r].row + 2 * c, 2);
            result[i] |= (unsigned)half << (16 * e);
        }
    }
    sync_warp();
}

// The PTX manual's `mma.m16n8k16`: which lane holds which elements of a, b and d.
template <class F>
void mma(float* d, const unsigned* a, unsigned b0, unsigned b1, F number) {
    const unsigned mine = thread.x, first = mine / WARP * WARP, lane = mine % WARP;
    memcpy(operands[mine].a, a, 16);
    operands[mine].b[0] = b0;
    operands[mine].b[1] = b1;
    sync_warp();
    for (unsigned e = 0; e < 4; e++) {
        const unsigned row = lane / 4 + 8 * (e / 2), column = 2 * (lane % 4) + e % 2;
        float sum = d[e];
        for (unsigned k = 0; k < 16; k++) {
            const Lane& left = operands[first + row % 8 * 4 + k % 8 / 2];
            const Lane& right = operands[first + column * 4 + k % 8 / 2];
            unsigned short x = half_of(&left.a[row / 8 + 2 * (k / 8)], k % 2);
            unsigned short y = half_of(&right.b[k / 8], k % 2);
            sum += number(x) * number(y);
        }
        d[e] = sum;
    }
    sync_warp();
}

// The inverse by Newton's method, from Winitzki's approximation.
inline double inverse_erf(double x) {
    if (!(std::fabs(x) < 1)) return std::fabs(x) == 1 ? x * INFINITY : NAN;
    double l = std::log1p(-x * x), a = 2 / (M_PI * 0.147) + l / 2;
    double y = std::copysign(std::sqrt(std::sqrt(a * a - l / 0.147) - a), x);
    for (int i = 0; i < 4; i++) y -= (std::erf(y) - x) / (M_2_SQRTPI * std::exp(-y * y));
    return y;
}

}  // namespace emu

#define threadIdx (emu::thread)
#define blockIdx (emu::block)
#define blockDim (emu::threads)
#define gridDim (emu::blocks)
#define __syncthreads() emu::sync_block()
#define __syncwarp() emu::sync_warp()
#define __shfl_xor_sync(mask, value, lane) \
    emu::exchange(value, (threadIdx.x % emu::WARP) ^ (lane))
#define __shfl_sync(mask, value, lane) emu::exchange(value, lane)

inline unsigned atomicCAS(unsigned* at, unsigned expected, unsigned value) {
    std::atomic_ref<unsigned>(*at).compare_exchange_strong(expected, value);
    return expected;
}

inline float half_to_float(unsigned short bits) {
    _Float16 x;
    memcpy(&x, &bits, 2);
    return (float)x;
}
inline unsigned short float_to_half(float x) {
    _Float16 y = (_Float16)x;
    unsigned short bits;
    memcpy(&bits, &y, 2);
    return bits;
}
inline unsigned float_bits(float x) {
    unsigned bits;
    memcpy(&bits, &x, 4);
    return bits;
}
inline float bits_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}
inline unsigned long long double_bits(double x) {
    unsigned long long bits;
    memcpy(&bits, &x, 8);
    return bits;
}
inline double bits_double(unsigned long long bits) {
    double x;
    memcpy(&x, &bits, 8);
    return x;
}
inline double erfinv(double x) { return emu::inverse_erf(x); }
inline float erfinvf(float x) { return (float)emu::inverse_erf(x); }
