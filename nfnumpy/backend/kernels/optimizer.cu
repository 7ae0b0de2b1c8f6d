// What an optimizer does to all its tensors, in one launch or two: the formulas of optim/sgd.py with those of
// optim/agc.py, optim/global_norm.py, optim/sam.py and optim/ema.py, term by term.
//
// The tensors are cut into pieces, a list that depends on their shapes alone; their addresses come as a table of a row
// a list of tensors (params, grads, …) and a column a tensor. Grid: a block for each piece; the sum of squares has a
// fixed number of blocks, which take the pieces in turn. Bytes moved, in float32: 20 a parameter for the whole update
// (a unit is read a second time, from the L2 cache: its pieces are narrow so that those at work fit in there); 4 for
// the norm; 12 for the ascent after it; 12 for the moving average.
#include "common.cuh"

__device__ inline float sqrt_(float x) { return sqrtf(x); }
__device__ inline double sqrt_(double x) { return sqrt(x); }

// max(x, low) that keeps a NaN, as clip does.
template <class A> __device__ inline A at_least(A x, A low) { return x < low ? low : x; }

// The entries first + row·stride + column of a tensor, row < rows and column < columns. `width`, a power of 2 from
// columns to 32, says how many threads stand side by side. A run of entries has stride = columns = width = 1.
struct Piece { int64 tensor, first, rows, stride, columns, width; };

template <class T> __device__ inline T* address(const int64* table, int64 list, int64 tensors, int64 tensor) {
    return reinterpret_cast<T*>(table[list * tensors + tensor]);
}

// ---- clip, decay, momentum, update

#if __CUDA_ARCH__ == 800 || __CUDA_ARCH__ == 900 || __CUDA_ARCH__ == 1000
constexpr int RESIDENT = 2048;  // threads that a multiprocessor has room for
#else
constexpr int RESIDENT = 1024;
#endif

// table: params, grads, velocities, new params, new velocities; then the bits of two rows of doubles: weight decays,
// and clippings, negative for none. inverse_scale and proceed: addresses of one T and one bool, or 0.
template <class T>
__global__ void __launch_bounds__(1024, sizeof(T) == sizeof(float) ? RESIDENT / 1024 : 1)
clipped_update(const Piece* pieces, const int64* table, int64 tensors, T lr, T momentum, bool nesterov, T eps,
               int64 inverse_scale, int64 proceed, int64* clipped_units) {
    const Piece piece = pieces[blockIdx.x];
    const int width = piece.width, column = threadIdx.x % width;
    const int64 step = blockDim.x / width * piece.stride;
    const int64 start = piece.first + threadIdx.x / width * piece.stride + column;
    const int64 end = column < piece.columns ? piece.first + piece.rows * piece.stride : 0;
    const T* __restrict__ param = address<const T>(table, 0, tensors, piece.tensor);
    const T* __restrict__ grad = address<const T>(table, 1, tensors, piece.tensor);
    const T scale = inverse_scale ? *reinterpret_cast<const T*>(inverse_scale) : T(1);
    const double* options = reinterpret_cast<const double*>(table + 5 * tensors);
    const double weight_decay = options[piece.tensor], clipping = options[tensors + piece.tensor];

    T factor = 1;
    int clipped = 0;
    if (clipping >= 0) {
        T grad_squares = 0, param_squares = 0;
#pragma unroll 4
        for (int64 i = start; i < end; i += step) {
            T g = grad[i] * scale, w = param[i];
            grad_squares += g * g;
            param_squares += w * w;
        }
        T norm = sqrt_(column_sum(grad_squares, width));
        T largest = at_least(sqrt_(column_sum(param_squares, width)), eps) * T(clipping);
        if (norm > largest) factor = largest / at_least(norm, T(1e-6));
        clipped = block_sum(int(threadIdx.x < piece.columns && factor < T(1)));
    }
    if (threadIdx.x == 0) clipped_units[blockIdx.x] = clipped;

    const T* __restrict__ velocity = address<const T>(table, 2, tensors, piece.tensor);
    T* __restrict__ new_param = address<T>(table, 3, tensors, piece.tensor);
    T* __restrict__ new_velocity = address<T>(table, 4, tensors, piece.tensor);
    const bool goes_on = proceed ? *reinterpret_cast<const bool*>(proceed) : true;
    constexpr int TOGETHER = 2;  // loads under way before the first store, which the compiler does not let them pass
    for (int64 i = start; i < end; i += TOGETHER * step) {
        T w[TOGETHER], g[TOGETHER], v[TOGETHER];
#pragma unroll
        for (int k = 0; k < TOGETHER; ++k)
            if (i + k * step < end) {
                w[k] = param[i + k * step];
                g[k] = grad[i + k * step];
                v[k] = __ldcs(velocity + i + k * step);  // what is used once leaves the cache to what is used again
            }
#pragma unroll
        for (int k = 0; k < TOGETHER; ++k)
            if (i + k * step < end) {
                if (goes_on) {
                    g[k] = g[k] * scale * factor;
                    if (weight_decay != 0) g[k] += T(weight_decay) * w[k];
                    v[k] = momentum * v[k] + g[k];
                    w[k] = w[k] - lr * (nesterov ? g[k] + momentum * v[k] : v[k]);
                }
                __stcs(new_param + i + k * step, w[k]);
                __stcs(new_velocity + i + k * step, v[k]);
            }
    }
}

// By one block.
template <class A> __global__ void __launch_bounds__(1024) total(const A* values, int64 count, A* out) {
    A sum = 0;
    for (int64 i = threadIdx.x; i < count; i += blockDim.x) sum += values[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *out = sum;
}

// ---- the norm of everything, and a step along it

template <class T>
__global__ void __launch_bounds__(512) sums_of_squares(const Piece* pieces, int64 count, const int64* table, T* sums) {
    constexpr int SIZE = Pack<T>::size;
    T sum = 0;
    for (int64 number = blockIdx.x; number < count; number += gridDim.x) {
        const Piece piece = pieces[number];
        const T* from = address<const T>(table, 0, 0, piece.tensor) + piece.first;
        const bool packed = aligned(from);
        for (int64 i = (int64)threadIdx.x * SIZE; i < piece.rows; i += (int64)blockDim.x * SIZE)
            if (packed && i + SIZE <= piece.rows) {
                Pack<T> pack = load_pack(from + i);
#pragma unroll
                for (int k = 0; k < SIZE; ++k) sum += pack.value[k] * pack.value[k];
            } else {
                for (int64 k = i; k < i + SIZE && k < piece.rows; ++k) sum += from[k] * from[k];
            }
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// On every thread, from what sums_of_squares left, no more numbers than the block has threads.
template <class T> __device__ inline T norm_of(const T* sums, int count) {
    return sqrt_(block_sum(threadIdx.x < count ? sums[threadIdx.x] : T(0)));
}

// By one block.
template <class T> __global__ void __launch_bounds__(512) norm(const T* sums, int count, T* out) {
    T value = norm_of(sums, count);
    if (threadIdx.x == 0) *out = value;
}

// out[i] = f(in[i], …) for a run of entries, by one block.
template <class T, class F, class... In>
__device__ inline void map_run(int64 count, F f, T* out, const In*... in) {
    int64 packs = aligned(out, in...) ? count / Pack<T>::size : 0;
    for (int64 p = threadIdx.x; p < packs; p += blockDim.x) {
        Pack<T> result;
        auto combine = [&](const Pack<In>&... pack) {
#pragma unroll
            for (int k = 0; k < Pack<T>::size; ++k) result.value[k] = f(pack.value[k]...);
        };
        combine(load_pack(in + p * Pack<T>::size)...);
        store_pack(out + p * Pack<T>::size, result);
    }
    for (int64 i = packs * Pack<T>::size + threadIdx.x; i < count; i += blockDim.x) out[i] = f(in[i]...);
}

// table: params, grads, new params.
template <class T>
__global__ void __launch_bounds__(512)
sam_perturb(const Piece* pieces, const int64* table, int64 tensors, const T* sums, int count, T rho) {
    const Piece piece = pieces[blockIdx.x];
    T length = norm_of(sums, count), scale = length > T(0) ? rho / length : T(0);
    map_run(piece.rows, [=](T w, T g) { return w + g * scale; },
            address<T>(table, 2, tensors, piece.tensor) + piece.first,
            address<const T>(table, 0, tensors, piece.tensor) + piece.first,
            address<const T>(table, 1, tensors, piece.tensor) + piece.first);
}

// ---- the moving average

// table: averages, arrays, new averages; rest = 1 - decay.
template <class T>
__global__ void __launch_bounds__(512)
moving_average(const Piece* pieces, const int64* table, int64 tensors, T decay, T rest) {
    const Piece piece = pieces[blockIdx.x];
    map_run(piece.rows, [=](T average, T x) { return decay * average + rest * x; },
            address<T>(table, 2, tensors, piece.tensor) + piece.first,
            address<const T>(table, 0, tensors, piece.tensor) + piece.first,
            address<const T>(table, 1, tensors, piece.tensor) + piece.first);
}
