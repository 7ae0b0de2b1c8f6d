// The part of CUDA C++ that the kernels use, for g++: every thread of a block is a fiber of one CPU thread, and a barrier
// is a switch to the next fiber. Behaviour that CUDA leaves undefined is made visible: warps run in an order that the
// caller chooses, each up to its next barrier; shared memory starts as NaN; its arrays and the caller's end at
// inaccessible pages; a barrier that not all threads reach is an error, and so is everything that g++'s sanitizers
// (see FLAGS) detect.
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
inline unsigned short half_bits_of_float(float x) {
    _Float16 half = (_Float16)x;
    unsigned short bits;
    memcpy(&bits, &half, 2);
    return bits;
}
template <class T> inline T __ldg(const T* p) { return *p; }
template <class T> inline T __ldcs(const T* p) { return *p; }
template <class T> inline void __stcs(T* p, T value) { *p = value; }
template <class T> inline T min(T a, T b) { return b < a ? b : a; }
template <class T> inline T max(T a, T b) { return a < b ? b : a; }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }

namespace harness {

constexpr size_t STACK = 1 << 16, PAGE = 4096, WALL = 256 * PAGE, MOST_THREADS = 1024;
enum State { RUNNABLE, AT_BLOCK_BARRIER, AT_WARP_BARRIER, DONE };

struct Fiber {
    ucontext_t beginning;
    jmp_buf here;
    bool begun;
    State state;
    dim3 index;
};

inline Fiber* fibers = new Fiber[MOST_THREADS]();
inline size_t current, count;  // the thread that runs; how many the block has
inline jmp_buf scheduler;
inline void (*body)(void*);
inline void* body_argument;
inline sigjmp_buf escape;
inline char message[400];

[[noreturn]] inline void fail(const char* why) {
    snprintf(message, sizeof message, "%s (block %u,%u,%u, thread %u,%u,%u)", why, blockIdx.x, blockIdx.y, blockIdx.z,
             threadIdx.x, threadIdx.y, threadIdx.z);
    siglongjmp(escape, 1);
}

// ---- shared memory: each array starts every block as NaN, between bytes that are NaN too and must stay as they are

struct SharedArray { char *mapping, *start, *end, *wall; bool fresh; };
inline std::map<const void*, SharedArray> shared_arrays;

inline char canary(const char* at) { return (uintptr_t)at % 2 ? (char)0xff : (char)0xfe; }  // as guarded.py has it

inline void surround(SharedArray& a) {
    for (char* at = a.mapping; at < a.wall; ++at)
        if (at < a.start || at >= a.end) *at = canary(at);
}

inline bool intact(const SharedArray& a) {
    for (char* at = a.mapping; at < a.wall; ++at)
        if ((at < a.start || at >= a.end) && *at != canary(at)) return false;
    return true;
}

inline void* shared(const void* key, size_t bytes) {
    SharedArray& a = shared_arrays[key];
    if (!a.mapping) {
        size_t size = (bytes + PAGE - 1) / PAGE * PAGE;
        a.mapping = (char*)mmap(nullptr, size + 2 * WALL, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + WALL;
        a.wall = a.mapping + size;
        if (mprotect(a.mapping, size, PROT_READ | PROT_WRITE)) fail("the harness is out of memory");
        a.start = a.wall - (bytes + 15) / 16 * 16;
        a.end = a.start + bytes;
        a.fresh = true;
        surround(a);
    }
    if (a.fresh) memset(a.start, 0xff, a.end - a.start);
    a.fresh = false;
    return a.start;
}

inline void check_copies(), forget_copies();  // tensor_cores_on_cpu.h
#define SHARED(type, name, size) \
    static char name##_key;      \
    type* name = static_cast<type*>(harness::shared(&name##_key, sizeof(type) * (size)))

inline void check_aligned(const void* pointer) {
    if ((uintptr_t)pointer % 16) fail("a 16-byte access at an address that is not a multiple of 16");
}
#define CHECK_ALIGNED(pointer) harness::check_aligned(pointer)

// ---- fibers, which are begun once and go from one thread's body to that of a thread in another block

__attribute__((noinline)) inline void wait(State state) {
    fibers[current].state = state;
    if (!_setjmp(fibers[current].here)) _longjmp(scheduler, 1);
}

inline void enter() {
    for (;;) {
        body(body_argument);
        wait(DONE);
    }
}

__attribute__((noinline)) inline void resume(Fiber& fiber) {
    threadIdx = fiber.index;
    if (_setjmp(scheduler)) return;
    if (fiber.begun) _longjmp(fiber.here, 1);
    if (!fiber.beginning.uc_stack.ss_sp) {
        getcontext(&fiber.beginning);
        fiber.beginning.uc_stack.ss_sp = malloc(STACK);
        fiber.beginning.uc_stack.ss_size = STACK;
    }
    fiber.begun = true;
    makecontext(&fiber.beginning, enter, 0);
    setcontext(&fiber.beginning);
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
inline unsigned char turn[MOST_THREADS];
inline int any_thread;  // what __syncthreads_or collects

// As far as the warp gets without the block's other warps.
inline void run_warp(size_t first, const std::vector<size_t>& lanes) {
    for (bool released = true; released;) {
        for (size_t lane : lanes)
            if (fibers[first + lane].state == RUNNABLE) {
                current = first + lane;
                resume(fibers[current]);
            }
        released = true;
        for (size_t lane : lanes) released &= fibers[first + lane].state == AT_WARP_BARRIER;
        if (released)
            for (size_t lane : lanes) fibers[first + lane].state = RUNNABLE;
    }
}

inline void run_block(int seed) {
    memset(turn, 0, sizeof turn);
    any_thread = 0;
    for (auto& entry : shared_arrays) entry.second.fresh = true;
    for (size_t k = 0; k < count; ++k) {
        fibers[k].state = RUNNABLE;
        fibers[k].index = {(unsigned)(k % blockDim.x), (unsigned)(k / blockDim.x % blockDim.y),
                           (unsigned)(k / blockDim.x / blockDim.y)};
    }
    std::vector<size_t> warps = order_of((count + 31) / 32, seed), lanes = order_of(32, seed);
    for (;;) {
        for (size_t warp : warps)
            run_warp(warp * 32, count - warp * 32 >= 32 ? lanes : order_of(count % 32, seed));
        size_t done = 0, at_barrier = 0;
        for (size_t k = 0; k < count; ++k) {
            done += fibers[k].state == DONE;
            at_barrier += fibers[k].state == AT_BLOCK_BARRIER;
        }
        if (done == count) return check_copies();
        if (at_barrier != count) fail("a barrier or a shuffle that not all threads reach");
        for (size_t k = 0; k < count; ++k) fibers[k].state = RUNNABLE;
    }
}

inline void on_fault(int signal) {
    fail(signal == SIGFPE   ? "a division by zero"
         : signal == SIGILL ? "a misaligned access, an index outside of an array, or an overflow of whole numbers"
                            : "an access outside of every array");
}

constexpr int FAULTS[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};

// Runs body(argument) for every thread of every block. Returns null, or what went wrong.
inline const char* run(dim3 grid, dim3 block, int seed, void (*function)(void*), void* argument) {
    struct sigaction action = {}, old_actions[4];
    stack_t alternate = {}, old_stack;
    static char* space = (char*)malloc(STACK);
    alternate.ss_sp = space;
    alternate.ss_size = STACK;
    sigaltstack(&alternate, &old_stack);
    action.sa_handler = on_fault;
    action.sa_flags = SA_ONSTACK | SA_NODEFER;
    for (int k = 0; k < 4; ++k) sigaction(FAULTS[k], &action, &old_actions[k]);
    const char* failed = nullptr;
    if (sigsetjmp(escape, 1) == 0) {
        body = function;
        body_argument = argument;
        gridDim = grid;
        blockDim = block;
        count = (size_t)block.x * block.y * block.z;
        std::vector<size_t> blocks = order_of((size_t)grid.x * grid.y * grid.z, seed);
        for (size_t b : blocks) {
            blockIdx = {(unsigned)(b % grid.x), (unsigned)(b / grid.x % grid.y), (unsigned)(b / grid.x / grid.y)};
            run_block(seed);
        }
        for (auto& entry : shared_arrays)
            if (!intact(entry.second)) fail("a write past the end of a shared array, or before its start");
    } else {
        failed = message;
        for (size_t k = 0; k < MOST_THREADS; ++k) fibers[k].begun = false;  // where they stopped, they stay
        forget_copies();
        for (auto& entry : shared_arrays) surround(entry.second);
    }
    for (int k = 0; k < 4; ++k) sigaction(FAULTS[k], &old_actions[k], nullptr);
    sigaltstack(&old_stack, nullptr);
    return failed;
}

// ---- what a launch needs to know of a kernel's parameters: 'p' for a pointer, else the kind and size of a number

template <class T> constexpr char letter_of() {
    if (std::is_pointer<T>::value) return 'p';
    if (std::is_floating_point<T>::value) return sizeof(T) == 8 ? 'd' : 'f';
    if (std::is_same<T, bool>::value) return '?';
    return sizeof(T) == 8 ? 'q' : sizeof(T) == 4 ? 'i' : '!';
}

template <class... T> const char* signature(void (*)(T...)) {
    static const char kinds[] = {letter_of<T>()..., 0};
    return kinds;
}

template <class... T> struct Call { void (*kernel)(T...); void** arguments; };

template <class... T, size_t... K> void invoke(Call<T...>& call, std::index_sequence<K...>) {
    call.kernel(*static_cast<T*>(call.arguments[K])...);
}

template <class... T> const char* launch(void (*kernel)(T...), dim3 grid, dim3 block, int seed, void** arguments) {
    Call<T...> call{kernel, arguments};
    auto body = [](void* c) { invoke(*static_cast<Call<T...>*>(c), std::index_sequence_for<T...>()); };
    return run(grid, block, seed, body, &call);
}

}  // namespace harness

inline void __syncthreads() { harness::wait(harness::AT_BLOCK_BARRIER); }
inline int __syncthreads_or(int predicate) {
    __syncthreads();
    harness::any_thread |= predicate != 0;
    __syncthreads();
    int result = harness::any_thread;
    __syncthreads();
    harness::any_thread = 0;
    return result;
}
inline void __syncwarp(unsigned = 0xffffffffu) { harness::wait(harness::AT_WARP_BARRIER); }

template <class T> inline T shuffle_from(T value, int source) {
    static_assert(sizeof(T) <= 8, "");
    if (harness::count % 32) harness::fail("a shuffle in a block that is not made of whole warps");
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
template <class T> inline T __shfl_sync(unsigned, T value, int lane) { return shuffle_from(value, lane & 31); }

#include "tensor_cores_on_cpu.h"
