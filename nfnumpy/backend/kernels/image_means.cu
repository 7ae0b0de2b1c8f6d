// Means over the pixels of every image (N, pixels, C), channel by channel, and the derivative of the mean.
//
//   mean = Σ_pixels x / pixels        dot = Σ_pixels cotangent·x        back = cotangent / pixels
//
// Grid: (image, share of its pixels, channels); see Tile. A block that sums may be as narrow as 128 bytes of channels,
// so that 128 images fill the chip; where there are fewer, each image's pixels are divided among several blocks, and
// another launch adds up their sums (N, shares, C). Each thread adds up its pixels, then the sums of the threads of a
// channel are added up in order. Bytes moved: mean reads x once, mean with dot reads x and the cotangent once, back is
// written once.
//
// Formulas: functional/pooling.py (`global_mean`), squeeze_excite.py. Launched by functional/fast_cupy/image_means.py.
// Test: reference_tests/kernels/test_pooling.py, test_squeeze_excite.py.
#include "common.cuh"

template <class T, bool IS_SHARE> struct SumOf { typedef T type; };
template <class T> struct SumOf<T, true> { typedef Acc<T> type; };  // not rounded before all shares are together

// `total` of all threads added up: thread j has the sum of channel j of the block's. All threads call it.
template <class T> __device__ inline Acc<T> over_block(const Acc<T>* total, int lanes) {
    SHARED(Acc<T>, of_thread, THREADS * Pack<T>::size);
    int width = lanes * Pack<T>::size;
    __syncthreads();  // of_thread may still be read from an earlier call
#pragma unroll
    for (int k = 0; k < Pack<T>::size; ++k) of_thread[threadIdx.x * Pack<T>::size + k] = total[k];
    __syncthreads();
    Acc<T> sum = 0;
    if (threadIdx.x < width)
        for (int row = 0; row < THREADS / lanes; ++row) sum += of_thread[row * width + threadIdx.x];
    return sum;
}

// The block's sum, over `divisor`, to (N, shares, C).
template <class T, class Out>
__device__ inline void store_sum(const Acc<T>* total, Out* out, int64 channels, int lanes, Acc<T> divisor) {
    Acc<T> sum = over_block<T>(total, lanes);
    int width = lanes * Pack<T>::size;
    int64 across = (channels + width - 1) / width, channel = blockIdx.x % across * width + threadIdx.x;
    if (threadIdx.x < width && channel < channels)
        out[blockIdx.x / across * channels + channel] = narrow<Out>(sum / divisor);
}

template <bool PACKS, class T>
__device__ inline void add_pixels(const Tile& tile, const T* x, int64 channels, Acc<T>* total) {
    const T* const in[] = {x};
    for_pixels<PACKS>(tile, channels, in, [&](int64, const Pack<T>* pack) {
#pragma unroll
        for (int k = 0; k < Pack<T>::size; ++k) total[k] += widen(pack->value[k]);
    });
}

template <class T, bool IS_SHARE>
__global__ void image_mean(const T* x, typename SumOf<T, IS_SHARE>::type* mean, int64 pixels, int64 channels, int lanes,
                           int shares, Acc<T> divisor) {
    Tile tile = tile_of<T>(pixels, channels, lanes, shares);
    Acc<T> total[Pack<T>::size] = {};
    x += tile.image * pixels * channels;
    if (in_packs(channels, x)) add_pixels<true>(tile, x, channels, total);
    else add_pixels<false>(tile, x, channels, total);
    store_sum<T>(total, mean, channels, lanes, divisor);
}

// The mean adds up in the same order as image_mean's, and so has the same bits.
template <bool PACKS, class T>
__device__ inline void add_pixels_and_products(const Tile& tile, const T* x, const T* cotangent, int64 channels,
                                               Acc<T>* total, Acc<T>* products) {
    const T* const in[] = {x, cotangent};
    for_pixels<PACKS>(tile, channels, in, [&](int64, const Pack<T>* packs) {
#pragma unroll
        for (int k = 0; k < Pack<T>::size; ++k) {
            total[k] += widen(packs[0].value[k]);
            products[k] += widen(packs[0].value[k]) * widen(packs[1].value[k]);
        }
    });
}

template <class T, bool IS_SHARE>
__global__ void image_mean_and_dot(const T* x, const T* cotangent, typename SumOf<T, IS_SHARE>::type* mean,
                                   Acc<T>* dot, int64 pixels, int64 channels, int lanes, int shares,
                                   Acc<T> divisor) {
    Tile tile = tile_of<T>(pixels, channels, lanes, shares);
    Acc<T> total[Pack<T>::size] = {}, products[Pack<T>::size] = {};
    x += tile.image * pixels * channels;
    cotangent += tile.image * pixels * channels;
    if (in_packs(channels, x, cotangent))
        add_pixels_and_products<true>(tile, x, cotangent, channels, total, products);
    else
        add_pixels_and_products<false>(tile, x, cotangent, channels, total, products);
    store_sum<T>(total, mean, channels, lanes, divisor);
    store_sum<T>(products, dot, channels, lanes, Acc<T>(1));
}

// From the sums (N, shares, C) of image_mean to the means (N, C); a thread each.
template <class T>
__global__ void mean_of_shares(const Acc<T>* sums, T* mean, int64 count, int64 channels, int shares, Acc<T> divisor) {
    int64 i = (int64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    Acc<T> sum = 0;
    for (int share = 0; share < shares; ++share)
        sum += sums[(i / channels * shares + share) * channels + i % channels];
    mean[i] = narrow<T>(sum / divisor);
}

template <bool PACKS, class T>
__device__ inline void spread(const Tile& tile, const T* cotangent, T* back, int64 pixels, int64 channels) {
    Pack<T> pack = load_channels<PACKS>(cotangent + tile.image * channels, tile.channel, channels);
#pragma unroll
    for (int k = 0; k < Pack<T>::size; ++k) pack.value[k] = narrow<T>(widen(pack.value[k]) / pixels);
    back += tile.image * pixels * channels;
    for (int64 p = tile.pixel; p < tile.end; p += tile.step)
        store_channels<PACKS>(back + p * channels, tile.channel, channels, pack);
}

template <class T>
__global__ void image_mean_vjp(const T* cotangent, T* back, int64 pixels, int64 channels, int lanes, int shares) {
    Tile tile = tile_of<T>(pixels, channels, lanes, shares);
    if (tile.pixel >= tile.end) return;
    if (in_packs(channels, cotangent, back)) spread<true>(tile, cotangent, back, pixels, channels);
    else spread<false>(tile, cotangent, back, pixels, channels);
}
