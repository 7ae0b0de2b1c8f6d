// The patches of a convolution (im2col), and their derivative. A patch is the window of one output position in one
// group of channels, with zeros outside of the image, so that a convolution is one matrix product for each group
// (fan = in/groups):
//   patches[g, n, oy, ox, i, j, c] = x[n, oy·sy + i·dy - top, ox·sx + j·dx - left, g·fan + c]
// The cotangent of x[n, y, x, g·fan + c] is the sum of the cotangents of its copies in the patches, tap (i, j) by tap.
//
// Indices count `Unit`s in gather_patches and runs of `size` channels in sum_patches: the longest accesses, up to 16
// bytes, that fan and the addresses allow. Neighbouring threads have neighbouring units, and a thread keeps its tap and
// channel while it goes along a row of the image, so that no index is divided in the loop.
//
// gather_patches: block (along the patch, output columns); grid.x = (image, output row, group), grid.y along the patch.
// Writes every patch once; reads the image once for every tap, all but the first time from cache.
// sum_patches: block (along the channels, columns); grid.x = (image, row), grid.y along the channels. Reads every patch
// and writes every pixel once.
//
// Formulas: functional/convolution.py. Launched by functional/fast_cupy/convolution.py.
// Test: reference_tests/kernels/test_convolution.py.
#include "common.cuh"

constexpr int AT_ONCE = 4;  // loads that a thread has under way together

template <class Unit>
__global__ void __launch_bounds__(512)
gather_patches(const Unit* __restrict__ x, Unit* __restrict__ patches, int images, int height, int width,
               int out_height, int out_width, int kernel_height, int kernel_width, int stride_y, int stride_x,
               int dilation_y, int dilation_x, int top, int left, int groups, int fan) {
    int length = kernel_height * kernel_width * fan, at = blockIdx.y * blockDim.x + threadIdx.x;
    if (at >= length) return;
    int tap = at / fan, channel = at % fan;
    unsigned line = blockIdx.x / groups, group = blockIdx.x % groups;
    unsigned image = line / out_height, out_row = line % out_height;
    int row = (int)out_row * stride_y + tap / kernel_width * dilation_y - top;
    int left_most = tap % kernel_width * dilation_x - left, channels = groups * fan;
    bool inside = row >= 0 && row < height;
    const Unit* from = x + (((int64)image * height + (inside ? row : 0)) * width * channels + group * fan + channel);
    Unit* to = patches + ((((int64)group * images + image) * out_height + out_row) * out_width * length + at);
    for (int first = threadIdx.y; first < out_width; first += AT_ONCE * blockDim.y) {
        Unit value[AT_ONCE] = {};
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) {
            int column = first + k * blockDim.y, seen = column * stride_x + left_most;
            if (inside && column < out_width && seen >= 0 && seen < width) {
                if constexpr (sizeof(Unit) == 16) { CHECK_ALIGNED(from); }
                value[k] = from[(int64)seen * channels];
            }
        }
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) {
            int column = first + k * blockDim.y;
            if (column < out_width) to[(int64)column * length] = value[k];
        }
    }
}

// Whether some window starts so that one of its taps sees `place`, counted from that tap's offset; `place` becomes the
// window's number.
__device__ inline bool window_at(int& place, int stride, int windows) {
    if (place < 0) return false;
    if (stride > 1) {
        if (place % stride) return false;
        place /= stride;
    }
    return place < windows;
}

template <class T, bool PACKED>
__global__ void __launch_bounds__(512)
sum_patches(const T* __restrict__ patches, T* __restrict__ x, int images, int height, int width, int out_height,
            int out_width, int kernel_height, int kernel_width, int stride_y, int stride_x, int dilation_y,
            int dilation_x, int top, int left, int groups, int fan) {
    constexpr int size = PACKED ? Pack<T>::size : 1;
    int at = blockIdx.y * blockDim.x + threadIdx.x;
    if (at >= groups * fan) return;
    int group = at / fan, channel = at % fan, taps = kernel_height * kernel_width;
    unsigned image = blockIdx.x / height, row = blockIdx.x % height;
    const T* from = patches + ((int64)group * images + image) * out_height * out_width * taps * fan * size;
    T* to = x + (int64)blockIdx.x * width * groups * fan * size;
    for (int column = threadIdx.y; column < width; column += blockDim.y) {
        Acc<T> sum[size] = {};
        int i = 0, j = 0;
        for (int first = 0; first < taps; first += AT_ONCE) {
            T part[AT_ONCE][size] = {};
#pragma unroll
            for (int k = 0; k < AT_ONCE; ++k) {
                int y = (int)row + top - i * dilation_y, z = column + left - j * dilation_x;
                if (i < kernel_height && window_at(y, stride_y, out_height) && window_at(z, stride_x, out_width))
                    load_values(part[k],
                                from + ((((int64)y * out_width + z) * taps + first + k) * fan + channel) * size);
                if (++j == kernel_width) {
                    j = 0;
                    ++i;
                }
            }
#pragma unroll
            for (int k = 0; k < AT_ONCE; ++k)
#pragma unroll
                for (int n = 0; n < size; ++n) sum[n] += widen(part[k][n]);
        }
        T result[size];
#pragma unroll
        for (int n = 0; n < size; ++n) result[n] = narrow<T>(sum[n]);
        store_values(to + ((int64)column * groups * fan + at) * size, result);
    }
}
