// CUDA C++ as far as the kernels use it, for g++: every thread of a block is a fiber of one CPU thread, and a barrier is
// a switch to the next fiber. What CUDA leaves to chance is made visible here: threads run in an order that the caller
// chooses, shared memory starts as NaN, its arrays and the callers' end at pages that nobody may touch, and a barrier
// that not all threads reach is an error.
#pragma once
#define CUDA_ON_CPU 1
#define _FORTIFY_SOURCE 0

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <map>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(...)

struct dim3 { unsigned x = 1, y = 1, z = 1; };
inline dim3 threadIdx, blockIdx, blockDim, gridDim;

inline unsigned __float_as_uint(float x) { unsigned u; memcpy(&u, &x, 4); return u; }
inline float __uint_as_float(unsigned u) { float x; memcpy(&x, &u, 4); return x; }
inline float float_of_half_bits(unsigned short bits) { _Float16 h; memcpy(&h, &bits, 2); return (float)h; }
inline unsigned short half_bits_of_float(float x) { _Float16 h = (_Float16)x; unsigned short b; memcpy(&b, &h, 2); return b; }
template <class T> inline T __ldg(const T* p) { return *p; }
template <class T> inline T min(T a, T b) { return b < a ? b : a; }
template <class T> inline T max(T a, T b) { return a < b ? b : a; }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }

namespace harness {

constexpr size_t STACK = 1 << 16, PAGE = 4096;
enum State { RUNNABLE, AT_BLOCK_BARRIER, AT_WARP_BARRIER, DONE };

struct Fiber {
    ucontext_t context;
    State state;
    dim3 index;
};

inline std::vector<Fiber> fibers;
inline std::vector<char*> stacks;
inline ucontext_t scheduler;
inline size_t current;
inline void (*body)(void*);
inline void* body_argument;
inline sigjmp_buf escape;
inline char message[400];

[[noreturn]] inline void fail(const char* why) {
    snprintf(message, sizeof message, "%s (block %u,%u,%u, thread %u,%u,%u)", why, blockIdx.x, blockIdx.y, blockIdx.z,
             threadIdx.x, threadIdx.y, threadIdx.z);
    siglongjmp(escape, 1);
}

// ---- shared memory: each array of a kernel ends at a guard page and starts every block as NaN

struct SharedArray { char* mapping; size_t mapped, bytes; char* start; bool fresh; };
inline std::map<const void*, SharedArray> shared_arrays;

inline void* shared(const void* key, size_t bytes) {
    SharedArray& a = shared_arrays[key];
    if (!a.mapping) {
        size_t body = (bytes + PAGE - 1) / PAGE * PAGE;
        a.mapped = body + PAGE;
        a.bytes = bytes;
        a.mapping = (char*)mmap(nullptr, a.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (a.mapping == MAP_FAILED) fail("the harness is out of memory");
        mprotect(a.mapping + body, PAGE, PROT_NONE);
        a.start = a.mapping + body - (bytes + 15) / 16 * 16;
        a.fresh = true;
    }
    if (a.fresh) {
        memset(a.start, 0xff, a.bytes);
        a.fresh = false;
    }
    return a.start;
}
#define SHARED(type, name, size) \
    static char name##_key;      \
    type* name = static_cast<type*>(harness::shared(&name##_key, sizeof(type) * (size)))

inline void check_aligned(const void* pointer) {
    if ((uintptr_t)pointer % 16) fail("a 16-byte access at an address that is not a multiple of 16");
}
#define CHECK_ALIGNED(pointer) harness::check_aligned(pointer)

// ---- fibers

inline void wait(State state) {
    Fiber& self = fibers[current];
    self.state = state;
    swapcontext(&self.context, &scheduler);
}

inline void enter() {
    body(body_argument);
    fibers[current].state = DONE;
    swapcontext(&fibers[current].context, &scheduler);
}

// 0, 1, …, count - 1 for seed 0, backwards for seed 1, else shuffled.
inline std::vector<size_t> order_of(size_t count, int seed) {
    std::vector<size_t> order(count);
    for (size_t k = 0; k < count; ++k) order[k] = seed == 1 ? count - 1 - k : k;
    unsigned long long state = seed * 0x9E3779B97F4A7C15ull + 1;
    if (seed > 1)
        for (size_t k = count; k > 1; --k) {
            state = state * 6364136223846793005ull + 1442695040888963407ull;
            std::swap(order[k - 1], order[(state >> 33) % k]);
        }
    return order;
}

inline unsigned long long exchange[64][32];  // what shuffles exchange: two slots a warp, used in turn
inline unsigned char turn[2048];

inline void run_block(int seed) {
    memset(turn, 0, sizeof turn);
    size_t count = (size_t)blockDim.x * blockDim.y * blockDim.z;
    for (auto& entry : shared_arrays) entry.second.fresh = true;
    fibers.resize(count);
    while (stacks.size() < count) stacks.push_back((char*)malloc(STACK));
    for (size_t k = 0; k < count; ++k) {
        Fiber& f = fibers[k];
        f.state = RUNNABLE;
        f.index = {(unsigned)(k % blockDim.x), (unsigned)(k / blockDim.x % blockDim.y),
                   (unsigned)(k / blockDim.x / blockDim.y)};
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = stacks[k];
        f.context.uc_stack.ss_size = STACK;
        f.context.uc_link = nullptr;
        makecontext(&f.context, enter, 0);
    }
    std::vector<size_t> order = order_of(count, seed);
    for (;;) {
        for (size_t k : order)
            if (fibers[k].state == RUNNABLE) {
                current = k;
                threadIdx = fibers[k].index;
                swapcontext(&scheduler, &fibers[k].context);
            }
        size_t done = 0, at_block = 0;
        bool released = false;
        for (size_t warp = 0; warp < count; warp += 32) {
            size_t end = warp + 32 < count ? warp + 32 : count, waiting = 0;
            for (size_t k = warp; k < end; ++k) {
                done += fibers[k].state == DONE;
                at_block += fibers[k].state == AT_BLOCK_BARRIER;
                waiting += fibers[k].state == AT_WARP_BARRIER;
            }
            if (waiting == end - warp) {
                for (size_t k = warp; k < end; ++k) fibers[k].state = RUNNABLE;
                released = true;
            }
        }
        if (done == count) return;
        if (at_block == count) {
            for (Fiber& f : fibers) f.state = RUNNABLE;
            released = true;
        }
        if (!released) fail("a barrier or a shuffle that not all threads reach");
    }
}

inline void on_fault(int) { fail("an access outside of every array"); }

// Runs body(argument) for every thread of every block. Returns null, or what went wrong.
inline const char* run(dim3 grid, dim3 block, int seed, void (*function)(void*), void* argument) {
    struct sigaction action = {}, old_segv, old_bus;
    stack_t alternate = {}, old_stack;
    static char* space = (char*)malloc(STACK);
    alternate.ss_sp = space;
    alternate.ss_size = STACK;
    sigaltstack(&alternate, &old_stack);
    action.sa_handler = on_fault;
    action.sa_flags = SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &action, &old_segv);
    sigaction(SIGBUS, &action, &old_bus);
    const char* failed = nullptr;
    if (sigsetjmp(escape, 1) == 0) {
        body = function;
        body_argument = argument;
        gridDim = grid;
        blockDim = block;
        std::vector<size_t> blocks = order_of((size_t)grid.x * grid.y * grid.z, seed);
        for (size_t b : blocks) {
            blockIdx = {(unsigned)(b % grid.x), (unsigned)(b / grid.x % grid.y), (unsigned)(b / grid.x / grid.y)};
            run_block(seed);
        }
    } else {
        failed = message;
    }
    sigaction(SIGSEGV, &old_segv, nullptr);
    sigaction(SIGBUS, &old_bus, nullptr);
    sigaltstack(&old_stack, nullptr);
    return failed;
}

// ---- what a launch needs to know of a kernel's parameters: 'p' for a pointer, else the kind and size of a number

template <class T> constexpr char kind_of() {
    if (std::is_pointer<T>::value) return 'p';
    if (std::is_floating_point<T>::value) return sizeof(T) == 8 ? 'd' : 'f';
    if (std::is_same<T, bool>::value) return '?';
    return sizeof(T) == 8 ? 'q' : sizeof(T) == 4 ? 'i' : '!';
}

template <class... T> const char* signature(void (*)(T...)) {
    static const char kinds[] = {kind_of<T>()..., 0};
    return kinds;
}

template <class... T> struct Call { void (*kernel)(T...); void** arguments; };

template <class... T, size_t... K> void invoke(Call<T...>& call, std::index_sequence<K...>) {
    call.kernel(*static_cast<T*>(call.arguments[K])...);
}

template <class... T> const char* launch(void (*kernel)(T...), dim3 grid, dim3 block, int seed, void** arguments) {
    Call<T...> call{kernel, arguments};
    return run(grid, block, seed, [](void* c) { invoke(*static_cast<Call<T...>*>(c), std::index_sequence_for<T...>()); },
               &call);
}

}  // namespace harness

inline void __syncthreads() { harness::wait(harness::AT_BLOCK_BARRIER); }
inline void __syncwarp(unsigned = 0xffffffffu) { harness::wait(harness::AT_WARP_BARRIER); }

template <class T> inline T shuffle_from(T value, int source) {
    static_assert(sizeof(T) <= 8, "");
    size_t self = harness::current, warp = self / 32;
    unsigned long long* slots = harness::exchange[warp * 2 + (harness::turn[self] ^= 1)];
    memcpy(&slots[self % 32], &value, sizeof(T));
    harness::wait(harness::AT_WARP_BARRIER);
    T result = value;
    if (source >= 0 && source < 32) memcpy(&result, &slots[source], sizeof(T));
    return result;
}
template <class T> inline T __shfl_xor_sync(unsigned, T value, int mask) {
    return shuffle_from(value, (int)(harness::current % 32) ^ mask);
}
template <class T> inline T __shfl_down_sync(unsigned, T value, int distance) {
    return shuffle_from(value, (int)(harness::current % 32) + distance);
}
template <class T> inline T __shfl_sync(unsigned, T value, int lane) { return shuffle_from(value, lane); }
