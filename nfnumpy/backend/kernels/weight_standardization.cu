// What = gain·(W - mu)/sqrt(max(N·sigma², eps)) for each column of W (rows, columns), and its derivative. Where squares
// leave the range of T they are added up once more, scaled.
//
// Grid: a block for `width` adjacent columns, a power of 2 up to 32; its threads go down them in rows. Bytes
// moved: W (the derivative: W and its cotangent) is read from memory once and then, as a block's columns are at most
// some hundred kilobytes, twice more from the caches; the result is written once.
//
// Formulas: functional/weight_standardization.py. Launched by functional/fast_cupy/weight_standardization.py.
// Test: reference_tests/kernels/test_weight_standardization.py.
#include "common.cuh"
#include "math.cuh"

// The entries of one thread: start, start + step, … below end.
struct Entries {
    int64 column, start, step, end;

    __device__ Entries(int64 rows, int64 columns, int width) {
        column = (int64)blockIdx.x * width + threadIdx.x % width;
        start = threadIdx.x / width * columns + column;
        step = blockDim.x / width * columns;
        end = column < columns ? rows * columns : 0;
    }
};

// How often the loops over a column are unrolled: more would spill registers for doubles.
template <class T> constexpr int UNROLLED = sizeof(T) == sizeof(float) ? 4 : 1;

template <int UNROLL, class F> __device__ inline void for_each(const Entries& own, F f) {
#pragma unroll UNROLL
    for (int64 i = own.start; i < own.end; i += own.step) f(i);
}

// Of a column times `by` (a power of two; 1 unless squares leave the range of T): its mean and Σ(w·by - mean)²; with a
// cotangent also the cotangent's mean, and its product with the centred column.
template <class T> struct Moments { T by, mean, squared_norm, cotangent_mean, products; };

template <int UNROLL, bool WITH_COTANGENT, class T>
__device__ inline Moments<T> moments_times(T by, const Entries& own, const T* __restrict__ weight,
                                           const T* __restrict__ cotangent, int64 rows, int width) {
    T sum = 0, cotangent_sum = 0, squares = 0, products = 0;
    for_each<UNROLL>(own, [&](int64 i) {
        sum += weight[i] * by;
        if (WITH_COTANGENT) cotangent_sum += cotangent[i];
    });
    T mean = column_sum(sum, width) / T(rows);
    T cotangent_mean = WITH_COTANGENT ? column_sum(cotangent_sum, width) / T(rows) : T(0);
    for_each<UNROLL>(own, [&](int64 i) {
        T centred = weight[i] * by - mean;
        squares += centred * centred;
        if (WITH_COTANGENT) products += centred * cotangent[i];
    });
    T squared_norm = column_sum(squares, width);
    return {by, mean, squared_norm, cotangent_mean, WITH_COTANGENT ? column_sum(products, width) : T(0)};
}

// Small squares matter only where the floor eps is small too.
template <bool WITH_COTANGENT, class T>
__device__ inline Moments<T> moments(const Entries& own, const T* __restrict__ weight, const T* __restrict__ cotangent,
                                     int64 rows, int width, T eps) {
    Moments<T> found = moments_times<UNROLLED<T>, WITH_COTANGENT>(T(1), own, weight, cotangent, rows, width);
    T by = multiplier(found.squared_norm);
    if (by > T(1) && eps >= SafeRange<T>::least_square) by = 1;
    if (__syncthreads_or(own.end && by != T(1)))  // rare, and not unrolled, so as to take no more registers
        found = moments_times<1, WITH_COTANGENT>(by, own, weight, cotangent, rows, width);
    return found;
}

// The factor of the centred column times `by`; `floor` is eps·by².
template <class T> __device__ inline T inverse_norm(T squared_norm, T floor) {
    return T(1) / sqrt_(at_least(squared_norm, floor));
}

template <class T>
__global__ void __launch_bounds__(1024)
standardize_weight(const T* __restrict__ weight, const T* __restrict__ gain, T* __restrict__ out, int64 rows,
                   int64 columns, int width, T eps) {
    Entries own(rows, columns, width);
    const Moments<T> of = moments<false>(own, weight, weight, rows, width, eps);
    if (own.column >= columns) return;
    T scale = inverse_norm(of.squared_norm, eps * of.by * of.by) * gain[own.column];
    for_each<UNROLLED<T>>(own, [&](int64 i) { out[i] = (weight[i] * of.by - of.mean) * scale; });
}

template <class T>
__global__ void __launch_bounds__(1024)
standardize_weight_vjp(const T* __restrict__ cotangent, const T* __restrict__ weight, const T* __restrict__ gain,
                       T* __restrict__ back, T* __restrict__ gain_back, int64 rows, int64 columns, int width, T eps) {
    Entries own(rows, columns, width);
    const Moments<T> of = moments<true>(own, weight, cotangent, rows, width, eps);
    const T floor = eps * of.by * of.by;
    T scale = inverse_norm(of.squared_norm, floor), along = of.products * scale;
    if (own.column >= columns) return;
    if (threadIdx.x < width) gain_back[own.column] = along;
    T radial = along * T(of.squared_norm > floor), outer = scale * gain[own.column] * of.by;
    for_each<4>(own, [&](int64 i) {
        T unit = (weight[i] * of.by - of.mean) * scale;
        back[i] = (cotangent[i] - of.cotangent_mean - unit * radial) * outer;
    });
}
