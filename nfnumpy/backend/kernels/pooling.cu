// Average and max pooling over the windows of images (N, H, W, C), and their derivatives.
//
//   average: Σ pixels under the window / their number    back: Σ over a pixel's windows of cotangent / number
//   max: the greatest pixel under the window             back: Σ over the windows whose first greatest pixel it is
//
// Padding never counts in an average and is -inf in a max. Sums are taken in the order of the formulas, which go
// through a window's pixels from the first to the last: for one pixel that is from its last window to its first.
// Grid: one thread for Pack::size channels of each output pixel or, in the derivatives, of each input pixel, which
// gathers from the windows that cover it. Bytes moved: every array once (average forward: x, out; backward: cotangent,
// back; max backward: x, output, cotangent, back); pixels and windows that are read again come from cache.
//
// Formulas: functional/pooling.py. Launched by functional/fast_cupy/pooling.py.
// Test: reference_tests/kernels/test_pooling.py.
#include "common.cuh"

struct Range { int begin, end; };

// Windows along one axis of `size` pixels: number o begins at pixel o·stride - before.
struct Axis {
    int size, out, window, stride, before;

    __device__ int start(int o) const { return o * stride - before; }
    __device__ Range pixels_under(int o) const { return {max(start(o), 0), min(start(o) + window, size)}; }
    __device__ Range windows_over(int pixel) const {
        int place = pixel + before;
        return {place < window ? 0 : (place - window) / stride + 1, min(place / stride + 1, out)};
    }
    __device__ bool inside(int pixel) const { return 0 <= pixel && pixel < size; }
};

struct Windows {
    Axis down, along;

    template <class A> __device__ A pixels_under(int i, int j) const {
        Range rows = down.pixels_under(i), columns = along.pixels_under(j);
        return A(rows.end - rows.begin) * A(columns.end - columns.begin);
    }
};

// A kernel takes numbers only, so it is given the windows one by one.
#define WINDOW_PARAMETERS int height, int out_height, int window_height, int stride_down, int top, \
                          int width, int out_width, int window_width, int stride_along, int left
#define WINDOWS Windows{{height, out_height, window_height, stride_down, top}, \
                        {width, out_width, window_width, stride_along, left}}

// Where a thread is in images of `rows` by `columns`.
struct Spot {
    int64 image, channel;
    int row, column;
};

// Index: of the threads of the whole grid.
template <class T, class Index> __device__ inline Spot numbered_spot(int rows, int columns, int64 channels) {
    Index packs = Index((channels + Pack<T>::size - 1) / Pack<T>::size);
    Index thread = Index(blockIdx.x) * blockDim.x + threadIdx.x, pixel = thread / packs, row = pixel / Index(columns);
    return {int64(row / Index(rows)), int64(thread % packs) * Pack<T>::size, int(row % Index(rows)),
            int(pixel % Index(columns))};
}

// Divisions of 64-bit numbers would take longer than the memory accesses.
template <class T> __device__ inline Spot spot_of_thread(int rows, int columns, int64 channels) {
    if (gridDim.x < 0xffffffffu / THREADS) return numbered_spot<T, unsigned>(rows, columns, channels);
    return numbered_spot<T, unsigned long long>(rows, columns, channels);
}

// Images of one value for each pixel, or for each window, of `windows`.
template <bool PACKS, class T> struct Images {
    T* values;
    int rows, columns;
    int64 channels;

    __device__ int64 pixel(const Spot& s, int i, int j) const {
        return ((s.image * rows + i) * columns + j) * channels;
    }
    __device__ auto load(const Spot& s, int i, int j) const {
        return load_channels<PACKS>(values + pixel(s, i, j), s.channel, channels);
    }
    __device__ void store(const Spot& s, const Acc<T>* result) const {
        Pack<T> pack;
#pragma unroll
        for (int k = 0; k < Pack<T>::size; ++k) pack.value[k] = narrow<T>(result[k]);
        store_channels<PACKS>(values + pixel(s, s.row, s.column), s.channel, channels, pack);
    }
};

template <bool PACKS, class T> __device__ inline auto of_pixels(T* values, const Windows& w, int64 channels) {
    return Images<PACKS, T>{values, w.down.size, w.along.size, channels};
}
template <bool PACKS, class T> __device__ inline auto of_windows(T* values, const Windows& w, int64 channels) {
    return Images<PACKS, T>{values, w.down.out, w.along.out, channels};
}

// ---- average

template <bool PACKS, class T>
__device__ inline void average(const T* x, T* out, int64 images, int64 channels, const Windows& w) {
    auto seen = of_pixels<PACKS>(x, w, channels);
    Spot s = spot_of_thread<T>(w.down.out, w.along.out, channels);
    if (s.image >= images) return;
    Range rows = w.down.pixels_under(s.row), columns = w.along.pixels_under(s.column);
    Acc<T> total[Pack<T>::size] = {}, pixels = w.pixels_under<Acc<T>>(s.row, s.column);
    for (int i = rows.begin; i < rows.end; ++i)
        for (int j = columns.begin; j < columns.end; ++j) {
            Pack<T> pack = seen.load(s, i, j);
#pragma unroll
            for (int k = 0; k < Pack<T>::size; ++k) total[k] += widen(pack.value[k]);
        }
#pragma unroll
    for (int k = 0; k < Pack<T>::size; ++k) total[k] /= pixels;
    of_windows<PACKS>(out, w, channels).store(s, total);
}

template <bool PACKS, class T>
__device__ inline void average_vjp(const T* cotangent, T* back, int64 images, int64 channels, const Windows& w) {
    auto shared_out = of_windows<PACKS>(cotangent, w, channels);
    Spot s = spot_of_thread<T>(w.down.size, w.along.size, channels);
    if (s.image >= images) return;
    Range rows = w.down.windows_over(s.row), columns = w.along.windows_over(s.column);
    Acc<T> total[Pack<T>::size] = {};
    for (int i = rows.end - 1; i >= rows.begin; --i)
        for (int j = columns.end - 1; j >= columns.begin; --j) {
            Pack<T> pack = shared_out.load(s, i, j);
            Acc<T> pixels = w.pixels_under<Acc<T>>(i, j);
            if (pixels == Acc<T>(4)) {  // the same number, in fewer instructions
#pragma unroll
                for (int k = 0; k < Pack<T>::size; ++k) total[k] += widen(pack.value[k]) * Acc<T>(0.25);
            } else {
#pragma unroll
                for (int k = 0; k < Pack<T>::size; ++k) total[k] += widen(pack.value[k]) / pixels;
            }
        }
    of_pixels<PACKS>(back, w, channels).store(s, total);
}

template <class T> __global__ void avg_pool(const T* x, T* out, int64 images, int64 channels, WINDOW_PARAMETERS) {
    if (in_packs(channels, x, out)) average<true>(x, out, images, channels, WINDOWS);
    else average<false>(x, out, images, channels, WINDOWS);
}

template <class T>
__global__ void avg_pool_vjp(const T* cotangent, T* back, int64 images, int64 channels, WINDOW_PARAMETERS) {
    if (in_packs(channels, cotangent, back)) average_vjp<true>(cotangent, back, images, channels, WINDOWS);
    else average_vjp<false>(cotangent, back, images, channels, WINDOWS);
}

// ---- max

__device__ inline float infinity() { return __uint_as_float(0x7f800000u); }

template <bool PACKS, class T>
__device__ inline void greatest(const T* x, T* out, int64 images, int64 channels, const Windows& w) {
    auto seen = of_pixels<PACKS>(x, w, channels);
    Spot s = spot_of_thread<T>(w.down.out, w.along.out, channels);
    if (s.image >= images) return;
    Range rows = w.down.pixels_under(s.row), columns = w.along.pixels_under(s.column);
    Acc<T> most[Pack<T>::size];
#pragma unroll
    for (int k = 0; k < Pack<T>::size; ++k) most[k] = -infinity();
    for (int i = rows.begin; i < rows.end; ++i)
        for (int j = columns.begin; j < columns.end; ++j) {
            Pack<T> pack = seen.load(s, i, j);
#pragma unroll
            for (int k = 0; k < Pack<T>::size; ++k) {
                Acc<T> value = widen(pack.value[k]);
                if (value > most[k] || value != value) most[k] = value;  // what is NaN stays NaN
            }
        }
    of_windows<PACKS>(out, w, channels).store(s, most);
}

// Clears `chosen` where the window (i, j) had its greatest value `best` before it came to the thread's pixel. A window
// of nothing but -inf may have found it in the padding, as in the formula.
template <class T, class Seen>
__device__ inline void leave_first(bool* chosen, const Pack<T>& best, const Seen& seen, const Spot& s, int i, int j,
                                   const Windows& w) {
    int first = w.along.start(j);
    for (int row = w.down.start(i); row <= s.row; ++row)
        for (int column = first; column < (row < s.row ? first + w.along.window : s.column); ++column) {
            bool real = w.down.inside(row) && w.along.inside(column);
            Pack<T> pack = {};
            if (real) pack = seen.load(s, row, column);
#pragma unroll
            for (int k = 0; k < Pack<T>::size; ++k)
                if ((real ? widen(pack.value[k]) : -infinity()) == widen(best.value[k])) chosen[k] = false;
        }
}

template <bool PACKS, class T>
__device__ inline void greatest_vjp(const T* cotangent, const T* x, const T* output, T* back, int64 images,
                                    int64 channels, const Windows& w) {
    auto seen = of_pixels<PACKS>(x, w, channels);
    auto of_best = of_windows<PACKS>(output, w, channels), of_cotangent = of_windows<PACKS>(cotangent, w, channels);
    Spot s = spot_of_thread<T>(w.down.size, w.along.size, channels);
    if (s.image >= images) return;
    Pack<T> own = seen.load(s, s.row, s.column);
    Range rows = w.down.windows_over(s.row), columns = w.along.windows_over(s.column);
    Acc<T> total[Pack<T>::size] = {};
    for (int i = rows.end - 1; i >= rows.begin; --i)
        for (int j = columns.end - 1; j >= columns.begin; --j) {
            Pack<T> best = of_best.load(s, i, j), pack = of_cotangent.load(s, i, j);
            bool chosen[Pack<T>::size], any = false;
#pragma unroll
            for (int k = 0; k < Pack<T>::size; ++k)
                any |= chosen[k] = widen(own.value[k]) == widen(best.value[k]);
            if (any) leave_first(chosen, best, seen, s, i, j, w);
#pragma unroll
            for (int k = 0; k < Pack<T>::size; ++k) total[k] += widen(pack.value[k]) * Acc<T>(chosen[k]);
        }
    of_pixels<PACKS>(back, w, channels).store(s, total);
}

template <class T> __global__ void max_pool(const T* x, T* out, int64 images, int64 channels, WINDOW_PARAMETERS) {
    if (in_packs(channels, x, out)) greatest<true>(x, out, images, channels, WINDOWS);
    else greatest<false>(x, out, images, channels, WINDOWS);
}

template <class T>
__global__ void max_pool_vjp(const T* cotangent, const T* x, const T* output, T* back, int64 images, int64 channels,
                             WINDOW_PARAMETERS) {
    if (in_packs(channels, cotangent, x, output, back))
        greatest_vjp<true>(cotangent, x, output, back, images, channels, WINDOWS);
    else
        greatest_vjp<false>(cotangent, x, output, back, images, channels, WINDOWS);
}
