// Convolution as a product of matrices that are not written out: a block copies the pixels that its tile of the product
// needs, slice by slice, to shared memory and multiplies there, on tensor cores (float32 as TF32, float16, bfloat16).
//
// convolve: of every group g, with M = (image, row, column) of the target, K = (tap, channel), N = target channels
//   target[place(m), g·outs + n] = Σ_{i, j, c} source[image, row·sy + i·dy - top, column·sx + j·dx - left, g·fan + c]
//                                  · weight[tap(i, j), c, g·outs + n]   + bias[g·outs + n]
// That is the convolution, and with TRANSPOSED (weight[tap, n, g·fan + c]) the cotangent of x, one phase of the pixels
// at a time: a correlation of the output's cotangent with some of the taps. tap(i, j) = tap_first + i·tap_row
// + j·tap_column; place(m) = image·place_image + place_first + row·place_row + column·place_column, counted in pixels.
// A slice of K is SLICE channels of one tap; of one row of taps first come all taps for the first channels, so that
// neighbouring slices have most of their pixels in common. Blocks: one a tile of ROWS × COLUMNS, numbered (positions,
// group, columns); all targets are written once, rounded once.
//
// convolve_weight: the cotangent of the weight, M = (tap, channel), K = positions, N = output channels, cut into
// `splits` runs of positions whose float32 sums sum_splits adds up in their order. Blocks: (split, group, columns, tap,
// channels), so that the blocks that run together read the same positions.
// Bytes: in each slice (ROWS + COLUMNS)·128, mostly from the L2 cache, for ROWS·COLUMNS·128/sizeof(T) products.
//
// fan, outs: channels of a group, multiples of 16 bytes; taps ≤ 32; fewer than 2³¹ values in every array; all addresses
// are multiples of 16. Formulas: functional/convolution.py. Launched by functional/fast_cupy/implicit_convolution.py.
// Test: reference_tests/kernels/test_implicit_convolution.py.
#include "common.cuh"
#include "tensor_cores.cuh"

#if defined(CUDA_ON_CPU) || __CUDA_ARCH__ >= 800
#define ON_TENSOR_CORES(...) __VA_ARGS__
#else
#define ON_TENSOR_CORES(...) __trap()
#endif

constexpr int STAGES = 3;

// How a slice of a matrix is copied: a thread takes PARTS pieces of a line, 16 pieces apart, then of COUNT - 1 lines
// below.
template <class T, bool BY_K, int SIZE, int THREADS_HERE> struct Lines {
    static constexpr int PER_PIECE = Pack<T>::size, SLICE = SLICE_BYTES / sizeof(T);
    static constexpr int OF_LINE = BY_K ? SLICE_BYTES / 16 : SIZE / PER_PIECE, PARTS = OF_LINE > 16 ? OF_LINE / 16 : 1;
    static constexpr int PIECES = OF_LINE / PARTS, AT_ONCE = THREADS_HERE / PIECES;
    static constexpr int COUNT = (BY_K ? SIZE : SLICE) / AT_ONCE;
    static_assert(AT_ONCE % 8 == 0, "the pieces of all lines of a thread lie at the same place in them");

    __device__ static int line() { return threadIdx.x / PIECES; }
    __device__ static int value(int part = 0) { return (threadIdx.x % PIECES + part * PIECES) * PER_PIECE; }
    __device__ static unsigned place(int k, int part = 0) {  // of the k-th line of this thread
        return place_of<T, BY_K, SIZE>(line(), threadIdx.x % PIECES) + (k * AT_ONCE * OF_LINE + part * PIECES) * 16;
    }
};

// The pixel (image, y, x) that a tap sees from a position, and then from the one STEP positions on, for which nothing is
// divided. first_y, first_x: what the tap sees from the first position of an image.
template <int STEP> struct Seen {
    int image, y, x;
    int images_on, y_on, x_on, next_row, end_x, columns_back, end_y, rows_back;

    __device__ Seen(int position, int rows, int columns, int stride_y, int stride_x, int first_y, int first_x)
        : image(position / columns / rows), y(position / columns % rows * stride_y + first_y),
          x(position % columns * stride_x + first_x), images_on(STEP / columns / rows),
          y_on(STEP / columns % rows * stride_y), x_on(STEP % columns * stride_x), next_row(stride_y),
          end_x(columns * stride_x + first_x), columns_back(columns * stride_x), end_y(rows * stride_y + first_y),
          rows_back(rows * stride_y) {}

    __device__ void go_on() {
        image += images_on;
        y += y_on;
        x += x_on;
        if (x >= end_x) {
            x -= columns_back;
            y += next_row;
        }
        if (y >= end_y) {
            y -= rows_back;
            ++image;
        }
    }
};

template <class T, bool TRANSPOSED, int ROWS, int COLUMNS>
__device__ inline void convolve_tile(const T* source, const T* weight, const T* bias, T* target, int biased, int images,
                                     int height, int width, int rows, int columns, int kernel_height, int kernel_width,
                                     int stride_y, int stride_x, int dilation_y, int dilation_x, int top, int left,
                                     int groups, int fan, int outs, int tap_first, int tap_row, int tap_column,
                                     int place_image, int place_first, int place_row, int place_column) {
    typedef BlockProduct<T, ROWS, COLUMNS, true, TRANSPOSED> Product;
    typedef Lines<T, true, ROWS, BLOCK<ROWS>> A;
    typedef Lines<T, TRANSPOSED, COLUMNS, BLOCK<ROWS>> B;
    DYNAMIC_SHARED(shared);
    SHARED(int, places, ROWS);  // of the tile's rows in the target, -1 past the last
    unsigned tiles = (outs + COLUMNS - 1) / COLUMNS, group = blockIdx.x / tiles % groups;
    int first_column = blockIdx.x % tiles * COLUMNS, first_position = blockIdx.x / tiles / groups * ROWS;
    int positions = images * rows * columns, channels = groups * fan;

    bool is_dense = place_column == 1 && place_row == columns && place_image == rows * columns;
    for (int row = threadIdx.x; row < ROWS; row += BLOCK<ROWS>) {
        unsigned position = first_position + row, line = position / columns;
        places[row] = position >= positions ? -1
                      : is_dense            ? int(position) + place_first
                                 : int(line / rows * place_image + place_first + line % rows * place_row +
                                       position % columns * place_column);
    }
    // Of each line of this thread: where its values of the first tap are, which may be outside of the image, and a bit a
    // tap: whether that sees the image.
    int pixel[A::COUNT], y[A::COUNT], x[A::COUNT];
    unsigned along[A::COUNT] = {}, inside[A::COUNT] = {};
    Seen<A::AT_ONCE> seen(first_position + A::line(), rows, columns, stride_y, stride_x, -top, -left);
#pragma unroll
    for (int k = 0; k < A::COUNT; ++k) {
        pixel[k] = ((seen.image * height + seen.y) * width + seen.x) * channels + int(group) * fan + A::value();
        y[k] = seen.y;
        x[k] = seen.image < images ? seen.x : -(1 << 30);  // positions past the last see nothing
        seen.go_on();
    }
    for (int j = 0; j < kernel_width; ++j)
#pragma unroll
        for (int k = 0; k < A::COUNT; ++k) along[k] |= unsigned(unsigned(x[k] + j * dilation_x) < unsigned(width)) << j;
    for (int i = 0; i < kernel_height; ++i)
#pragma unroll
        for (int k = 0; k < A::COUNT; ++k)
            if (unsigned(y[k] + i * dilation_y) < unsigned(height)) inside[k] |= along[k] << (i * kernel_width);

    // Where the weight's values of this thread are, at the first tap and channel: lines go along channels, or columns.
    int row_of_weight = TRANSPOSED ? channels : groups * outs;
    int of_tap = TRANSPOSED ? outs * channels : fan * row_of_weight;
    int of_thread = (TRANSPOSED ? first_column + B::line() : B::line()) * row_of_weight +
                    (TRANSPOSED ? int(group) * fan : int(group) * outs + first_column);

    int i = 0, j = 0, channel = 0;
    unsigned stages = shared_address(shared);
    auto copy_a = [&](unsigned stage) {
        int tap = i * kernel_width + j, shift = (i * dilation_y * width + j * dilation_x) * channels + channel;
        bool in_fan = channel + A::value() < fan;
#pragma unroll
        for (int k = 0; k < A::COUNT; ++k) {
            bool there = in_fan && inside[k] >> tap & 1;
            copy_later(stage + A::place(k), source + (there ? pixel[k] + shift : 0), there);
        }
    };
    auto copy_b = [&](unsigned stage) {
        int from = of_thread + (tap_first + i * tap_row + j * tap_column) * of_tap +
                   channel * (TRANSPOSED ? 1 : row_of_weight);
#pragma unroll
        for (int k = 0; k < B::COUNT; ++k)
#pragma unroll
            for (int part = 0; part < B::PARTS; ++part) {
                int line = B::line() + k * B::AT_ONCE, value = B::value(part);
                bool there = TRANSPOSED ? channel + value < fan && first_column + line < outs
                                        : channel + line < fan && first_column + value < outs;
                copy_later(stage + Product::B_AT + B::place(k, part),
                           weight + (there ? from + k * B::AT_ONCE * row_of_weight + value : 0), there);
            }
        if (++j == kernel_width) {
            j = 0;
            channel += A::SLICE;
            if (channel >= fan) {
                channel = 0;
                ++i;
            }
        }
    };
    Product product;
    product.clear();
    int slices = kernel_height * kernel_width * ((fan + A::SLICE - 1) / A::SLICE);
    product.template add_all<STAGES>(stages, slices, copy_a, copy_b);
    const T* of_tile = bias + group * outs + first_column;
    product.template store<T>(
        shared, outs - first_column,
        [&](int column) { return biased && first_column + column < outs ? widen(of_tile[column]) : 0.0f; },
        [&](int row) {
            return places[row] < 0 ? nullptr
                                   : target + (int64)places[row] * groups * outs + group * outs + first_column;
        });
}

template <class T, bool TRANSPOSED, int ROWS, int COLUMNS>
__global__ void __launch_bounds__(256)
convolve(const T* __restrict__ source, const T* __restrict__ weight, const T* __restrict__ bias, T* __restrict__ target,
         int biased, int images, int height, int width, int rows, int columns, int kernel_height, int kernel_width,
         int stride_y, int stride_x, int dilation_y, int dilation_x, int top, int left, int groups, int fan, int outs,
         int tap_first, int tap_row, int tap_column, int place_image, int place_first, int place_row,
         int place_column) {
    ON_TENSOR_CORES(convolve_tile<T, TRANSPOSED, ROWS, COLUMNS>(
        source, weight, bias, target, biased, images, height, width, rows, columns, kernel_height, kernel_width,
        stride_y, stride_x, dilation_y, dilation_x, top, left, groups, fan, outs, tap_first, tap_row, tap_column,
        place_image, place_first, place_row, place_column));
}

template <class T, int ROWS, int COLUMNS>
__device__ inline void convolve_weight_tile(const T* x, const T* cotangent, float* partial, int images, int height,
                                            int width, int rows, int columns, int kernel_height, int kernel_width,
                                            int stride_y, int stride_x, int dilation_y, int dilation_x, int top,
                                            int left, int groups, int fan, int outs, int slices_of_split) {
    typedef BlockProduct<T, ROWS, COLUMNS, false, false> Product;
    typedef Lines<T, false, ROWS, BLOCK<ROWS>> A;
    typedef Lines<T, false, COLUMNS, BLOCK<ROWS>> B;
    DYNAMIC_SHARED(shared);
    unsigned down = (fan + ROWS - 1) / ROWS, across = (outs + COLUMNS - 1) / COLUMNS, block = blockIdx.x;
    int first_channel = block % down * ROWS;
    block /= down;
    int tap = block % (kernel_height * kernel_width);
    block /= kernel_height * kernel_width;
    int first_column = block % across * COLUMNS;
    block /= across;
    int group = block % groups, split = block / groups;
    int positions = images * rows * columns, channels = groups * fan, out_channels = groups * outs;
    int first_position = split * slices_of_split * A::SLICE;
    int slices = min((positions - first_position + A::SLICE - 1) / A::SLICE, slices_of_split);

    // What this thread copies next of x, and of the cotangent.
    Seen<A::AT_ONCE> seen(first_position + A::line(), rows, columns, stride_y, stride_x,
                          tap / kernel_width * dilation_y - top, tap % kernel_width * dilation_x - left);
    int of_x = group * fan + first_channel;
    int line = first_position + B::line();
    int of_cotangent = group * outs + first_column;

    auto copy_a = [&](unsigned stage) {
#pragma unroll
        for (int k = 0; k < A::COUNT; ++k) {
            bool inside = seen.image < images && unsigned(seen.y) < unsigned(height) &&
                          unsigned(seen.x) < unsigned(width);
            int pixel = ((seen.image * height + seen.y) * width + seen.x) * channels + of_x;
#pragma unroll
            for (int part = 0; part < A::PARTS; ++part) {
                bool there = inside && first_channel + A::value(part) < fan;
                copy_later(stage + A::place(k, part), x + (there ? pixel + A::value(part) : 0), there);
            }
            seen.go_on();
        }
    };
    auto copy_b = [&](unsigned stage) {
#pragma unroll
        for (int k = 0; k < B::COUNT; ++k) {
#pragma unroll
            for (int part = 0; part < B::PARTS; ++part) {
                bool there = line < positions && first_column + B::value(part) < outs;
                copy_later(stage + Product::B_AT + B::place(k, part),
                           cotangent + (there ? line * out_channels + of_cotangent + B::value(part) : 0), there);
            }
            line += B::AT_ONCE;
        }
    };
    Product product;
    product.clear();
    product.template add_all<STAGES>(shared_address(shared), slices, copy_a, copy_b);
    int64 first_line = (int64)(split * kernel_height * kernel_width + tap) * fan + first_channel;
    product.template store<float>(
        shared, outs - first_column, [](int) { return 0.0f; },
        [&](int row) {
            return first_channel + row < fan
                       ? partial + (first_line + row) * out_channels + (group * outs + first_column)
                       : nullptr;
        });
}

template <class T, int ROWS, int COLUMNS>
__global__ void __launch_bounds__(256)
convolve_weight(const T* __restrict__ x, const T* __restrict__ cotangent, float* __restrict__ partial, int images,
                int height, int width, int rows, int columns, int kernel_height, int kernel_width, int stride_y,
                int stride_x, int dilation_y, int dilation_x, int top, int left, int groups, int fan, int outs,
                int slices_of_split) {
    ON_TENSOR_CORES(convolve_weight_tile<T, ROWS, COLUMNS>(
        x, cotangent, partial, images, height, width, rows, columns, kernel_height, kernel_width, stride_y, stride_x,
        dilation_y, dilation_x, top, left, groups, fan, outs, slices_of_split));
}

// weight[k] = Σ_s partial[s·count + k]; a thread a pack of weights, of which there are `packs`.
template <class T>
__global__ void sum_splits(const float* __restrict__ partial, T* __restrict__ weight, int splits, int64 packs) {
    int64 pack = (int64)blockIdx.x * blockDim.x + threadIdx.x;
    if (pack >= packs) return;
    constexpr int SIZE = Pack<T>::size;
    const float* from = partial + pack * SIZE;
    float sum[SIZE] = {};
#pragma unroll 4
    for (int split = 0; split < splits; ++split, from += packs * SIZE)
#pragma unroll
        for (int k = 0; k < SIZE; k += 4) {
            Pack<float> part = load_pack(from + k);
#pragma unroll
            for (int n = 0; n < 4; ++n) sum[k + n] += part.value[n];
        }
    Pack<T> rounded;
#pragma unroll
    for (int k = 0; k < SIZE; ++k) rounded.value[k] = narrow<T>(sum[k]);
    store_pack(weight + pack * SIZE, rounded);
}
