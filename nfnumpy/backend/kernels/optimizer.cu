// One step of an optimizer for all its tensors, in one launch or two: AGC with the update, the norm over all gradients,
// SAM's ascent, the moving average.
//
// The tensors are cut into pieces, a list that depends on their shapes alone; their addresses come as an array of
// structs, one for each tensor. Grid: a block for each piece; the sum of squares has a fixed number of blocks, which
// take the pieces in turn. Bytes moved, in float32: 20 a parameter for the whole update (a unit is read a second time,
// from the L2 cache: its pieces are so narrow that all that are being computed fit into it); 4 for the norm; 12 for the
// ascent after it; 12 for the moving average. Where squares leave the range of the dtype they are added up once more,
// scaled.
//
// Formulas: optim/agc.py and sgd.py (`clipped_update`), global_norm.py, sam.py, ema.py, term by term. Launched by
// optim/fast_cupy/multi_tensor.py. Test: reference_tests/kernels/test_optimizer.py.
#include "common.cuh"
#include "math.cuh"

// The entries first + row·stride + column of a tensor, row < rows and column < columns. `width`, a power of 2 from
// columns to 32, says how many threads stand in a row. A run of entries has stride = columns = width = 1.
struct Piece { int64 tensor, first, rows, stride, columns, width; };

// ---- sums of squares within the range of their type: see SafeRange in math.cuh

// by and factor with the same product, by = 1 wherever the product is a normal number.
template <class A> __device__ inline void join(A& by, A& factor) {
    if (factor * at_most(by, A(1)) >= SafeRange<A>::smallest_normal &&
        factor <= SafeRange<A>::largest / at_least(by, A(1))) {
        factor *= by;
        by = 1;
    }
}

// ---- clip, decay, momentum, update

#if __CUDA_ARCH__ == 800 || __CUDA_ARCH__ == 900 || __CUDA_ARCH__ == 1000
constexpr int RESIDENT = 2048;  // threads that fit in a multiprocessor
#else
constexpr int RESIDENT = 1024;
#endif

template <class T> struct UpdateEntry {
    const T *param, *grad, *velocity;
    T *new_param, *new_velocity;
    double weight_decay, clipping;  // a negative clipping is none
};

// The entries of one thread: start, start + step, … below end, all in one column.
struct Entries { int64 start, step, end; };

// Σ (values[i]·by)² over a thread's entries, then over its column.
template <class T>
__device__ inline T column_squares(const T* __restrict__ values, const Entries& own, T by, int width) {
    T squares = 0;
#pragma unroll 4
    for (int64 i = own.start; i < own.end; i += own.step) squares += (values[i] * by) * (values[i] * by);
    return column_sum(squares, width);
}

// inverse_scale and proceed: addresses of one T and one bool, or 0; smallest: the least norm that is divided by.
template <class T>
__global__ void __launch_bounds__(1024, sizeof(T) == sizeof(float) ? RESIDENT / 1024 : 1)
clipped_update(const Piece* pieces, const UpdateEntry<T>* entries, T lr, T momentum, bool nesterov, T eps, T smallest,
               int64 inverse_scale, int64 proceed, int64* clipped_units) {
    const Piece piece = pieces[blockIdx.x];
    const UpdateEntry<T>* entry = entries + piece.tensor;
    const int width = piece.width, column = threadIdx.x % width;
    const bool has_column = column < piece.columns;
    const Entries own = {piece.first + threadIdx.x / width * piece.stride + column, blockDim.x / width * piece.stride,
                         has_column ? piece.first + piece.rows * piece.stride : 0};
    const T* __restrict__ param = entry->param;
    const T* __restrict__ grad = entry->grad;
    T scale = inverse_scale ? *reinterpret_cast<const T*>(inverse_scale) : T(1);
    const double weight_decay = entry->weight_decay, clipping = entry->clipping;

    T factor = 1;
    int clipped = 0;
    if (clipping >= 0) {
        T grad_squares = 0, param_squares = 0;
#pragma unroll 4
        for (int64 i = own.start; i < own.end; i += own.step) {
            T g = grad[i] * scale, w = param[i];
            grad_squares += g * g;
            param_squares += w * w;
        }
        grad_squares = column_sum(grad_squares, width);
        param_squares = column_sum(param_squares, width);
        T grad_by = multiplier(grad_squares), param_by = multiplier(param_squares);
        if (__syncthreads_or(has_column && grad_by != T(1)))
            grad_squares = column_squares(grad, own, scale * grad_by, width);
        if (__syncthreads_or(has_column && param_by != T(1)))
            param_squares = column_squares(param, own, param_by, width);
        T norm = sqrt_(grad_squares) / at_least(grad_by, T(1)), shrink = at_most(grad_by, T(1));
        T largest = at_least(sqrt_(param_squares) / param_by, eps) * T(clipping);
        bool too_long = norm > largest * shrink && is_finite(norm);
        if (too_long) {
            factor = largest / at_least(norm, smallest * shrink);
            join(shrink, factor);
            scale *= shrink;
        }
        clipped = block_sum(int(threadIdx.x < piece.columns && too_long));
    }
    if (threadIdx.x == 0) clipped_units[blockIdx.x] = clipped;

    const T* __restrict__ velocity = entry->velocity;
    T* __restrict__ new_param = entry->new_param;
    T* __restrict__ new_velocity = entry->new_velocity;
    const bool goes_on = proceed ? *reinterpret_cast<const bool*>(proceed) : true;
    constexpr int TOGETHER = 2;  // loads under way before the first store, which the compiler does not let them pass
    for (int64 i = own.start; i < own.end; i += TOGETHER * own.step) {
        T w[TOGETHER], g[TOGETHER], v[TOGETHER];
#pragma unroll
        for (int k = 0; k < TOGETHER; ++k)
            if (i + k * own.step < own.end) {
                w[k] = param[i + k * own.step];
                g[k] = grad[i + k * own.step];
                v[k] = __ldcs(velocity + i + k * own.step);  // used once: leaves the cache to what is used again
            }
#pragma unroll
        for (int k = 0; k < TOGETHER; ++k)
            if (i + k * own.step < own.end) {
                if (goes_on) {
                    g[k] = g[k] * scale * factor;
                    if (weight_decay != 0) g[k] += T(weight_decay) * w[k];
                    v[k] = momentum * v[k] + g[k];
                    w[k] = w[k] - lr * (nesterov ? g[k] + momentum * v[k] : v[k]);
                }
                __stcs(new_param + i + k * own.step, w[k]);
                __stcs(new_velocity + i + k * own.step, v[k]);
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

template <class T> struct NormEntry { const T* values; };

// Σ (values·by)² over the pieces that belong to this block, on every thread.
template <class T>
__device__ inline T squares_of_pieces(const Piece* pieces, int64 count, const NormEntry<T>* entries, T by) {
    constexpr int SIZE = Pack<T>::size;
    T sum = 0;
    for (int64 number = blockIdx.x; number < count; number += gridDim.x) {
        const Piece piece = pieces[number];
        const T* from = entries[piece.tensor].values + piece.first;
        const bool packed = aligned(from);
        for (int64 i = (int64)threadIdx.x * SIZE; i < piece.rows; i += (int64)blockDim.x * SIZE)
            if (packed && i + SIZE <= piece.rows) {
                Pack<T> pack = load_pack(from + i);
#pragma unroll
                for (int k = 0; k < SIZE; ++k) sum += (pack.value[k] * by) * (pack.value[k] * by);
            } else {
                for (int64 k = i; k < i + SIZE && k < piece.rows; ++k) sum += (from[k] * by) * (from[k] * by);
            }
    }
    return block_sum(sum);
}

// sums: each block's sum of squares, then, of blocks where that is out of range, the sum after its multiplier.
template <class T>
__global__ void __launch_bounds__(512)
sums_of_squares(const Piece* pieces, int64 count, const NormEntry<T>* entries, T* sums) {
    T sum = squares_of_pieces(pieces, count, entries, T(1)), by = multiplier(sum), scaled = 0;
    if (by != T(1)) scaled = squares_of_pieces(pieces, count, entries, by);  // the same for all threads of the block
    if (threadIdx.x == 0) {
        sums[blockIdx.x] = sum;
        sums[gridDim.x + blockIdx.x] = scaled;
    }
}

template <class T> struct ScaledNorm { T norm, by; };  // norm = by·(norm of everything), by a power of two, mostly 1

// On every thread, from what sums_of_squares left of `count` blocks, no more than this block has threads.
template <class T> __device__ inline ScaledNorm<T> norm_of(const T* sums, int count) {
    const bool has_sum = threadIdx.x < count;
    const T sum = has_sum ? sums[threadIdx.x] : T(0);
    T squares = block_sum(sum);
    const T by = multiplier(squares);
    if (by < T(1)) squares = block_sum(is_finite(sum) ? sum * by * by : sums[count + threadIdx.x]);
    if (by > T(1)) squares = block_sum(has_sum ? sums[count + threadIdx.x] : T(0));
    return {sqrt_(squares), by};
}

// By one block.
template <class T> __global__ void __launch_bounds__(512) norm(const T* sums, int count, T* out, T* by) {
    const ScaledNorm<T> found = norm_of(sums, count);
    if (threadIdx.x == 0) {
        *out = found.norm;
        *by = found.by;
    }
}

template <class T> struct MapEntry { const T *first, *second; T* out; };

// out[i] = f(first[i], second[i]) for a run of entries, by one block.
template <class T, class F> __device__ inline void map_run(const MapEntry<T>* entries, const Piece& piece, F f) {
    const MapEntry<T> entry = entries[piece.tensor];
    const T *first = entry.first + piece.first, *second = entry.second + piece.first;
    T* out = entry.out + piece.first;
    const int64 count = piece.rows, packs = aligned(out, first, second) ? count / Pack<T>::size : 0;
    for (int64 p = threadIdx.x; p < packs; p += blockDim.x) {
        Pack<T> a = load_pack(first + p * Pack<T>::size), b = load_pack(second + p * Pack<T>::size), result;
#pragma unroll
        for (int k = 0; k < Pack<T>::size; ++k) result.value[k] = f(a.value[k], b.value[k]);
        store_pack(out + p * Pack<T>::size, result);
    }
    for (int64 i = packs * Pack<T>::size + threadIdx.x; i < count; i += blockDim.x) out[i] = f(first[i], second[i]);
}

// entries: params, grads, new params.
template <class T>
__global__ void __launch_bounds__(512)
sam_perturb(const Piece* pieces, const MapEntry<T>* entries, const T* sums, int count, T rho) {
    const ScaledNorm<T> found = norm_of(sums, count);
    T by = found.by, scale = found.norm > T(0) ? rho / found.norm : T(0);
    join(by, scale);
    map_run(entries, pieces[blockIdx.x], [=](T w, T g) { return w + g * by * scale; });
}

// ---- the moving average

// entries: averages, arrays, new averages. given_decay: the address of one double to be used for decay, or 0.
template <class T>
__global__ void __launch_bounds__(512)
moving_average(const Piece* pieces, const MapEntry<T>* entries, double decay, int64 given_decay) {
    if (given_decay) decay = *reinterpret_cast<const double*>(given_decay);
    const T kept = T(decay), rest = T(1 - decay);
    map_run(entries, pieces[blockIdx.x], [=](T average, T x) { return kept * average + rest * x; });
}

// ---- copies

template <class T> struct CopyEntry { const T* values; T* out; };

// A run of entries, by one block.
template <class T>
__global__ void __launch_bounds__(512)
copy_arrays(const Piece* pieces, const CopyEntry<T>* entries) {
    const Piece piece = pieces[blockIdx.x];
    const T* values = entries[piece.tensor].values + piece.first;
    T* out = entries[piece.tensor].out + piece.first;
    const int64 count = piece.rows, packs = aligned(values, out) ? count / Pack<T>::size : 0;
#pragma unroll 4
    for (int64 p = threadIdx.x; p < packs; p += blockDim.x)
        store_pack(out + p * Pack<T>::size, load_pack(values + p * Pack<T>::size));
    for (int64 i = packs * Pack<T>::size + threadIdx.x; i < count; i += blockDim.x) out[i] = values[i];
}
