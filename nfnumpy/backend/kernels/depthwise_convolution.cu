// Depthwise convolutions, whose every channel is a group of its own, and their derivatives.
//
//   out[n, y, x, c]       = Σ_ij x[n, y·sy + i - top, x·sx + j - left, c]·weight[i, j, c]
//   x's cotangent         = Σ_ij cotangent[n, (y + top - i)/sy, (x + left - j)/sx, c]·weight[i, j, c], where both divide
//   weight's cotangent    = Σ_nyx cotangent[n, y, x, c]·x[n, y·sy + i - top, x·sx + j - left, c]
//
// A thread has the neighbouring channels of one access, 16 bytes with PACKS, else one. For kernels of WIDTH columns at
// a horizontal stride of STRIDE it computes a run of RUN / STRIDE neighbouring results of a row, and reads a pixel that
// several of them see once; WIDTH = 1 stands for all other kernels, one tap and one result at a time, at any stride.
//
// depthwise, depthwise_x_vjp: block (channels, runs, lines); grid (lines, runs, channels), lines being the rows of all
// images. depthwise_weight_vjp: block (channels, rows of taps, runs); grid (runs of all images, rows of taps,
// channels). A block adds up runs_of_block runs, each thread its own, then all threads of a tap in order;
// `column_sums` of bias.cu adds up the blocks. Bytes moved: x and out, or their cotangents, once each; pixels that are
// read again, and the weight, come from cache. The weight's derivative writes and reads its sums once for each block.
//
// Formulas: functional/convolution.py. Launched by functional/fast_cupy/depthwise_convolution.py.
// Test: reference_tests/kernels/test_depthwise_convolution.py.
#include "common.cuh"

constexpr int RUN = 4;

// What the compiler knows of a thread's work.
template <class T, int WIDTH, int STRIDE, bool PACKS> struct Work {
    static constexpr int size = PACKS ? Pack<T>::size : 1, run = WIDTH == 1 ? 1 : RUN / STRIDE;
    static constexpr int under_run = (run - 1) * STRIDE + WIDTH;  // pixels that a run of outputs sees in a row
};

template <int size, class T> __device__ inline void load_wide(Acc<T> (&wide)[size], const T* from) {
    T values[size];
    load_values(values, from);
#pragma unroll
    for (int k = 0; k < size; ++k) wide[k] = widen(values[k]);
}

// Zeros for what lies outside of the row, which has `columns` pixels.
template <int size, class T>
__device__ inline void load_pixel(Acc<T> (&wide)[size], const T* row, int column, int columns, int channels) {
    T values[size] = {};
    if (column >= 0 && column < columns) load_values(values, row + (int64)column * channels);
#pragma unroll
    for (int k = 0; k < size; ++k) wide[k] = widen(values[k]);
}

template <int size, class A> __device__ inline void add_products(A (&sum)[size], const A (&a)[size], const A (&b)[size]) {
#pragma unroll
    for (int k = 0; k < size; ++k) sum[k] += a[k] * b[k];
}

// Adds to each result of a run its products with WIDTH neighbouring taps, `source` being the row that they see and
// `column` the place there that the first tap and the first result meet in.
template <class W, bool BACK, int WIDTH, int STRIDE, class T>
__device__ inline void add_taps(Acc<T> (&sum)[W::run][W::size], const T* taps, const T* source, int column, int columns,
                                int channels) {
    constexpr int first = BACK ? -((WIDTH - 1) / STRIDE) : 0, last = BACK ? (W::run - 1) / STRIDE : W::under_run - 1;
    Acc<T> tap[WIDTH][W::size];
#pragma unroll
    for (int j = 0; j < WIDTH; ++j) load_wide(tap[j], taps + j * channels);
#pragma unroll
    for (int q = first; q <= last; ++q) {
        Acc<T> pixel[W::size];
        load_pixel(pixel, source, column + q, columns, channels);
#pragma unroll
        for (int r = 0; r < W::run; ++r) {
            int j = BACK ? r - q * STRIDE : q - r * STRIDE;
            if (j >= 0 && j < WIDTH) add_products(sum[r], pixel, tap[j]);
        }
    }
}

// Writes the results of a run that begins at `first`, as far as they are in the row.
template <int run, int size, class T>
__device__ inline void store_run(const Acc<T> (&sum)[run][size], T* row, int first, int columns, int channels) {
#pragma unroll
    for (int r = 0; r < run; ++r) {
        T result[size];
#pragma unroll
        for (int k = 0; k < size; ++k) result[k] = narrow<T>(sum[r][k]);
        if (first + r >= 0 && first + r < columns) store_values(row + (int64)(first + r) * channels, result);
    }
}

template <class T, int WIDTH, int STRIDE, bool PACKS>
__global__ void depthwise(const T* __restrict__ x, const T* __restrict__ weight, T* __restrict__ out, int lines,
                          int height, int width, int out_height, int out_width, int kernel_height, int kernel_width,
                          int stride_y, int stride_x, int top, int left, int channels) {
    typedef Work<T, WIDTH, STRIDE, PACKS> W;
    int line = blockIdx.x * blockDim.z + threadIdx.z, first = (blockIdx.y * blockDim.y + threadIdx.y) * W::run;
    int channel = (blockIdx.z * blockDim.x + threadIdx.x) * W::size;
    if (line >= lines || first >= out_width || channel >= channels) return;
    int row = line % out_height * stride_y - top;
    const T* image = x + (int64)(line / out_height) * height * width * channels + channel;
    Acc<T> sum[W::run][W::size] = {};
    for (int i = max(0, -row); i < min(kernel_height, height - row); ++i)
        for (int j = 0; j < kernel_width; j += WIDTH)
            add_taps<W, false, WIDTH, STRIDE>(sum, weight + (int64)(i * kernel_width + j) * channels + channel,
                                              image + (int64)(row + i) * width * channels,
                                              first * stride_x + j - left, width, channels);
    store_run(sum, out + (int64)line * out_width * channels + channel, first, out_width, channels);
}

// A run begins where the first tap of an output is, so that the compiler knows which taps see which of its pixels.
template <class T, int WIDTH, int STRIDE, bool PACKS>
__global__ void depthwise_x_vjp(const T* __restrict__ cotangent, const T* __restrict__ weight, T* __restrict__ back,
                                int lines, int height, int width, int out_height, int out_width, int kernel_height,
                                int kernel_width, int stride_y, int stride_x, int top, int left, int channels) {
    typedef Work<T, WIDTH, STRIDE, PACKS> W;
    int line = blockIdx.x * blockDim.z + threadIdx.z;
    int first = (blockIdx.y * blockDim.y + threadIdx.y) * W::run - left % STRIDE;
    int channel = (blockIdx.z * blockDim.x + threadIdx.x) * W::size;
    if (line >= lines || first >= width || channel >= channels) return;
    int row = line % height + top, column = first + left, step = WIDTH == 1 ? stride_x : WIDTH;
    const T* image = cotangent + (int64)(line / height) * out_height * out_width * channels + channel;
    Acc<T> sum[W::run][W::size] = {};
    for (int i = row % stride_y; i < min(kernel_height, row + 1); i += stride_y) {
        int out_row = (row - i) / stride_y;
        if (out_row >= out_height) continue;
        for (int j = WIDTH == 1 ? column % stride_x : 0; j < kernel_width; j += step)
            add_taps<W, true, WIDTH, STRIDE>(sum, weight + (int64)(i * kernel_width + j) * channels + channel,
                                             image + (int64)out_row * out_width * channels, (column - j) / stride_x,
                                             out_width, channels);
    }
    store_run(sum, back + (int64)line * width * channels + channel, first, width, channels);
}

// What a thread adds to the sums of WIDTH neighbouring taps from the outputs of one run.
template <class W, int WIDTH, int STRIDE, class T>
__device__ inline void add_run(Acc<T> (&sum)[WIDTH][W::size], const T* cotangent, const T* source, int first, int column,
                               int out_width, int width, int channels) {
    Acc<T> given[W::run][W::size];
#pragma unroll
    for (int r = 0; r < W::run; ++r) load_pixel(given[r], cotangent, first + r, out_width, channels);
#pragma unroll
    for (int q = 0; q < W::under_run; ++q) {
        Acc<T> pixel[W::size];
        load_pixel(pixel, source, column + q, width, channels);
#pragma unroll
        for (int r = 0; r < W::run; ++r) {
            int j = q - r * STRIDE;
            if (j >= 0 && j < WIDTH) add_products(sum[j], pixel, given[r]);
        }
    }
}

template <class T, int WIDTH, int STRIDE, bool PACKS>
__global__ void depthwise_weight_vjp(const T* __restrict__ cotangent, const T* __restrict__ x,
                                     Acc<T>* __restrict__ partial, int runs, int runs_of_block, int height, int width,
                                     int out_height, int out_width, int kernel_height, int kernel_width, int stride_y,
                                     int stride_x, int top, int left, int channels) {
    typedef Work<T, WIDTH, STRIDE, PACKS> W;
    SHARED(Acc<T>, of_thread, THREADS * W::size);
    int rows_of_taps = WIDTH == 1 ? kernel_height * kernel_width : kernel_height;
    int taps = blockIdx.y * blockDim.y + threadIdx.y, channel = (blockIdx.z * blockDim.x + threadIdx.x) * W::size;
    int i = WIDTH == 1 ? taps / kernel_width : taps, j = WIDTH == 1 ? taps % kernel_width : 0;
    int in_row = (out_width + W::run - 1) / W::run;
    int end = taps < rows_of_taps && channel < channels ? min(runs, (int(blockIdx.x) + 1) * runs_of_block) : 0;
    Acc<T> sum[WIDTH][W::size] = {};
    for (int at = blockIdx.x * runs_of_block + threadIdx.z; at < end; at += blockDim.z) {
        int line = at / in_row, first = at % in_row * W::run, row = line % out_height * stride_y + i - top;
        if (row < 0 || row >= height) continue;
        add_run<W, WIDTH, STRIDE>(sum, cotangent + (int64)line * out_width * channels + channel,
                                  x + ((int64)(line / out_height) * height + row) * width * channels + channel, first,
                                  first * stride_x + j - left, out_width, width, channels);
    }

    int across = blockDim.x * W::size, sums = across * blockDim.y;  // of the block, for each of the WIDTH columns
    int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    partial += (int64)blockIdx.x * kernel_height * kernel_width * channels;
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) {
        __syncthreads();  // of_thread may still be read
#pragma unroll
        for (int n = 0; n < W::size; ++n) of_thread[thread * W::size + n] = sum[k][n];
        __syncthreads();
        for (int at = thread; at < sums; at += blockDim.x * blockDim.y * blockDim.z) {
            Acc<T> total = 0;
            for (int z = 0; z < blockDim.z; ++z) total += of_thread[z * sums + at];
            int of_taps = blockIdx.y * blockDim.y + at / across, of_channel = blockIdx.z * across + at % across;
            if (of_taps < rows_of_taps && of_channel < channels)
                partial[(int64)(of_taps * WIDTH + k) * channels + of_channel] = total;
        }
    }
}
