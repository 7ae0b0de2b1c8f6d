// What = gain·(W - mu)/sqrt(max(N·sigma², eps)) for each column of W (rows, columns), and its derivative: the
// formulas of functional/weight_standardization.py.
//
// Grid: a block for `width` adjacent columns, a power of 2 up to 32; its threads go down them in rows. Bytes
// moved: W (the derivative: W and its cotangent) is read from memory once and then, as a block's columns are at most
// some hundred kilobytes, twice more from the caches; the result is written once.
#include "common.cuh"
#include "math.cuh"

// The entries that are this thread's: start, start + step, … below end.
struct Entries {
    int64 column, start, step, end;

    __device__ Entries(int64 rows, int64 columns, int width) {
        column = (int64)blockIdx.x * width + threadIdx.x % width;
        start = threadIdx.x / width * columns + column;
        step = blockDim.x / width * columns;
        end = column < columns ? rows * columns : 0;
    }
};

template <class F> __device__ inline void for_each(const Entries& own, F f) {
#pragma unroll 4
    for (int64 i = own.start; i < own.end; i += own.step) f(i);
}

template <class T> __device__ inline T inverse_norm(T squared_norm, T eps) {
    return T(1) / sqrt_(at_least(squared_norm, eps));
}

template <class T>
__global__ void __launch_bounds__(1024)
standardize_weight(const T* __restrict__ weight, const T* __restrict__ gain, T* __restrict__ out, int64 rows,
                   int64 columns, int width, T eps) {
    Entries own(rows, columns, width);
    T sum = 0, squares = 0;
    for_each(own, [&](int64 i) { sum += weight[i]; });
    T mean = column_sum(sum, width) / T(rows);
    for_each(own, [&](int64 i) { squares += (weight[i] - mean) * (weight[i] - mean); });
    T squared_norm = column_sum(squares, width);
    if (own.column >= columns) return;
    T scale = inverse_norm(squared_norm, eps) * gain[own.column];
    for_each(own, [&](int64 i) { out[i] = (weight[i] - mean) * scale; });
}

template <class T>
__global__ void __launch_bounds__(1024)
standardize_weight_vjp(const T* __restrict__ cotangent, const T* __restrict__ weight, const T* __restrict__ gain,
                       T* __restrict__ back, T* __restrict__ gain_back, int64 rows, int64 columns, int width, T eps) {
    Entries own(rows, columns, width);
    T sum = 0, cotangent_sum = 0, squares = 0, products = 0;
    for_each(own, [&](int64 i) { sum += weight[i]; cotangent_sum += cotangent[i]; });
    T mean = column_sum(sum, width) / T(rows), cotangent_mean = column_sum(cotangent_sum, width) / T(rows);
    for_each(own, [&](int64 i) {
        T centred = weight[i] - mean;
        squares += centred * centred;
        products += centred * cotangent[i];
    });
    T squared_norm = column_sum(squares, width), scale = inverse_norm(squared_norm, eps);
    T along = column_sum(products, width) * scale;
    if (own.column >= columns) return;
    if (threadIdx.x < width) gain_back[own.column] = along;
    T radial = along * T(squared_norm > eps), outer = scale * gain[own.column];
    for_each(own, [&](int64 i) {
        T unit = (weight[i] - mean) * scale;
        back[i] = (cotangent[i] - cotangent_mean - unit * radial) * outer;
    });
}
