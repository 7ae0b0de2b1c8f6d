// out[r, c] += bias[c], and its derivative: sums over r. Rows are all leading axes, columns the channels.
//
// A thread computes `size` neighbouring columns: 16 bytes where columns and addresses allow, else one.
//
// add_bias: block (across, down), one thread for each row and `size` columns; grid.x over rows, grid.y over columns.
// Reads and writes out once.
// partial_column_sums, column_sums: blocks of 256 threads, arranged in lines of `across` threads. Grid.y goes over
// columns. Block x of partial_column_sums adds up rows_of_block rows: each thread those of its line, then the threads
// of a column in pairs; column_sums adds up all rows that it is given. Together they read every value once, and write
// and read blocks·columns sums in between.
//
// Formulas: functional/linear.py (`bias_vjp`). Launched by functional/fast_cupy/linear.py and convolution.py.
// Test: reference_tests/kernels/test_bias.py.
#include "common.cuh"

template <class T, bool PACKED>
__global__ void __launch_bounds__(512) add_bias(T* out, const T* bias, int64 rows, int columns) {
    constexpr int size = PACKED ? Pack<T>::size : 1;
    int64 row = (int64)blockIdx.x * blockDim.y + threadIdx.y;
    int64 column = ((int64)blockIdx.y * blockDim.x + threadIdx.x) * size;
    if (row >= rows || column >= columns) return;
    T values[size], added[size];
    load_values(values, out + row * columns + column);
    load_values(added, bias + column);
#pragma unroll
    for (int k = 0; k < size; ++k) values[k] = narrow<T>(widen(values[k]) + widen(added[k]));
    store_values(out + row * columns + column, values);
}

// sums[c] = Σ values[r, c] over first ≤ r < last, for the columns of this block.
template <int size, class T, class Out>
__device__ inline void sum_rows(const T* values, Out* sums, int64 first, int64 last, int columns, int across) {
    SHARED(Acc<T>, of_thread, THREADS * size);
    int place = threadIdx.x % across, line = threadIdx.x / across, down = THREADS / across;
    int64 column = ((int64)blockIdx.y * across + place) * size;
    bool taking_part = line < down && column < columns;
    Acc<T> sum[size] = {};
    if (taking_part) {
#pragma unroll 8
        for (int64 row = first + line; row < last; row += down) {
            T value[size];
            load_values(value, values + row * columns + column);
#pragma unroll
            for (int k = 0; k < size; ++k) sum[k] += widen(value[k]);
        }
    }
    Acc<T>* own = of_thread + threadIdx.x * size;
#pragma unroll
    for (int k = 0; k < size; ++k) own[k] = sum[k];
    for (int distance = 1; distance < down; distance *= 2) {
        __syncthreads();
        if (line % (2 * distance) == 0 && line + distance < down)
#pragma unroll
            for (int k = 0; k < size; ++k) own[k] += own[distance * across * size + k];
    }
    if (taking_part && line == 0)
#pragma unroll
        for (int k = 0; k < size; ++k) sums[column + k] = narrow<Out>(own[k]);
}

template <class T, bool PACKED>
__global__ void partial_column_sums(const T* values, Acc<T>* partial, int64 rows, int64 rows_of_block, int columns,
                                    int across) {
    int64 first = blockIdx.x * rows_of_block;
    sum_rows<PACKED ? Pack<T>::size : 1>(values, partial + (int64)blockIdx.x * columns, first,
                                         min(rows, first + rows_of_block), columns, across);
}

template <class T>
__global__ void column_sums(const Acc<T>* partial, T* sums, int64 rows, int columns, int across) {
    sum_rows<1>(partial, sums, 0, rows, columns, across);
}
