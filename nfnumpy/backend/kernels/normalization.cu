// Normalizations of images (N, pixels, C) by the moments of groups of neighbouring channels, and their derivative.
//
//   mean, variance of the pixels of an image's group    out = (x - mean)·gamma/sqrt(variance + eps) + beta
//   back = scale·(gamma·cotangent - a - u·b), where scale = 1/sqrt(variance + eps), u = (x - mean)·scale, and a and b
//   are the means over the group of gamma·cotangent and gamma·cotangent·u; without them where the moments are constants
//
// Batch normalization has one image of N·H·W pixels and groups of one channel; instance normalization has N images of
// such, group normalization larger groups, layer normalization one group.
//
// A thread goes over some of the pixels with as many neighbouring channels as 16 bytes hold; see Tile. channel_moments
// keeps a running mean and sum of squared distances from it, so that nothing cancels where the mean is large; those of
// the threads of a channel, and then in join_moments, a warp a group, those of the blocks and channels, are joined in
// order. channel_sums and join_sums do so for the sums of the derivative. Bytes moved: channel_moments reads x once,
// normalize reads x and writes out, channel_sums reads the cotangent and x, normalize_vjp reads both and writes back.
// What blocks pass on is (N, shares, 2, C).
//
// Sources: Welford (1962), doi 10.1080/00401706.1962.10490022; Chan, Golub, LeVeque (1983), doi 10.1080/00031305.1983.
// 10483115. Formulas: functional/normalization.py. Launched by functional/fast_cupy/normalization.py.
// Test: reference_tests/kernels/test_normalization.py.
#include "common.cuh"
#include "math.cuh"

// ---- sums over the threads of a block that have the same channel

// The column of (rows, channels of the block) that belongs to a thread, and where its result goes in (N, shares, 2, C).
template <class T> struct Column {
    int rows, width;
    bool exists;
    int64 place;

    __device__ Column(int64 channels, int lanes) : rows(THREADS / lanes), width(lanes * Pack<T>::size) {
        int64 across = (channels + width - 1) / width, channel = blockIdx.x % across * width + threadIdx.x;
        exists = threadIdx.x < width && channel < channels;
        place = blockIdx.x / across * 2 * channels + channel;
    }
};

template <class T> __device__ inline void share_values(Acc<T>* shared, const Acc<T>* own) {
#pragma unroll
    for (int k = 0; k < Pack<T>::size; ++k) shared[threadIdx.x * Pack<T>::size + k] = own[k];
}

// ---- moments

template <bool PACKS, class T>
__device__ inline int running_moments(const Tile& tile, const T* x, int64 channels, Acc<T>* mean, Acc<T>* squares) {
    const T* const in[] = {x};
    int count = 0;
    for_pixels<PACKS>(tile, channels, in, [&](int64, const Pack<T>* pack) {
        Acc<T> share = Acc<T>(1) / Acc<T>(++count);
#pragma unroll
        for (int k = 0; k < Pack<T>::size; ++k) {
            Acc<T> value = widen(pack->value[k]), distance = value - mean[k];
            mean[k] += distance * share;
            squares[k] += distance * (value - mean[k]);
        }
    });
    return count;
}

template <class T>
__global__ void channel_moments(const T* __restrict__ x, Acc<T>* __restrict__ partial, int64 pixels, int64 channels,
                                int lanes, int shares) {
    SHARED(Acc<T>, means, THREADS * Pack<T>::size);
    SHARED(Acc<T>, squared, THREADS * Pack<T>::size);
    SHARED(int, counts, THREADS);
    Tile tile = tile_of<T>(pixels, channels, lanes, shares);
    Acc<T> mean[Pack<T>::size] = {}, squares[Pack<T>::size] = {};
    x += tile.image * pixels * channels;
    int count = in_packs(channels, x) ? running_moments<true>(tile, x, channels, mean, squares)
                                      : running_moments<false>(tile, x, channels, mean, squares);
    share_values<T>(means, mean);
    share_values<T>(squared, squares);
    if (threadIdx.x % lanes == 0) counts[threadIdx.x / lanes] = count;
    __syncthreads();  // all moments are there
    Column<T> column(channels, lanes);
    if (!column.exists) return;
    Acc<T> first = means[threadIdx.x], from_first = 0, sum = 0;
    int all = 0;
    for (int row = 0; row < column.rows; ++row) {
        all += counts[row];
        from_first += Acc<T>(counts[row]) * (means[row * column.width + threadIdx.x] - first);
    }
    Acc<T> joint = all ? first + from_first / Acc<T>(all) : Acc<T>(0);
    for (int row = 0; row < column.rows; ++row) {
        Acc<T> distance = means[row * column.width + threadIdx.x] - joint;
        sum += squared[row * column.width + threadIdx.x] + Acc<T>(counts[row]) * distance * distance;
    }
    partial[column.place] = joint;
    partial[column.place + channels] = sum;
}

// The part of an image's group that lies in one share and channel.
struct Part {
    int64 place, channel;  // in (N, shares, 2, C)
    int64 pixels;
};

struct Group {
    int64 image, first;  // channel
    int64 pixels, channels, extent;
    int shares, of_group;

    __device__ Group(int64 number, int64 pixels, int64 channels, int shares, int of_group)
        : image(number / (channels / of_group)), first(number % (channels / of_group) * of_group), pixels(pixels),
          channels(channels), extent((pixels + shares - 1) / shares), shares(shares), of_group(of_group) {}

    __device__ int64 parts() const { return (int64)shares * of_group; }
    __device__ Part part(int64 number) const {
        int64 share = number / of_group, channel = first + number % of_group;
        return {(image * shares + share) * 2 * channels + channel, channel,
                max(int64(0), min(extent, pixels - share * extent))};
    }
};

__device__ inline int64 number_of_warp() { return ((int64)blockIdx.x * THREADS + threadIdx.x) / WARP; }

// moments: (2, groups), the means and the variances.
template <class T>
__global__ void join_moments(const Acc<T>* __restrict__ partial, Acc<T>* __restrict__ moments, int64 groups,
                             int64 pixels, int64 channels, int shares, int of_group) {
    int64 number = number_of_warp();
    if (number >= groups) return;
    Group group(number, pixels, channels, shares, of_group);
    int lane = threadIdx.x % WARP;
    Acc<T> all = Acc<T>(pixels) * Acc<T>(of_group), first = partial[group.part(0).place], from_first = 0, squares = 0;
    for (int64 k = lane; k < group.parts(); k += WARP) {
        Part part = group.part(k);
        from_first += Acc<T>(part.pixels) * (partial[part.place] - first);
    }
    Acc<T> mean = first + warp_sum(from_first) / all;
    for (int64 k = lane; k < group.parts(); k += WARP) {
        Part part = group.part(k);
        Acc<T> distance = partial[part.place] - mean;
        squares += partial[part.place + channels] + Acc<T>(part.pixels) * distance * distance;
    }
    squares = warp_sum(squares);
    if (lane) return;
    moments[number] = mean;
    moments[groups + number] = squares / all;
}

// ---- what a thread needs to know of its channels

template <class T> struct Channels {
    Acc<T> mean[Pack<T>::size], scale[Pack<T>::size], gamma[Pack<T>::size];
    int64 group[Pack<T>::size];

    __device__ Channels(const Tile& tile, const Acc<T>* gammas, const Acc<T>* means, const Acc<T>* variances,
                        Acc<T> eps, int64 channels, int of_group) {
#pragma unroll
        for (int k = 0; k < Pack<T>::size; ++k) {
            int64 channel = min(tile.channel + k, channels - 1);
            group[k] = tile.image * channels + channel;
            if (of_group > 1) group[k] /= of_group;
            mean[k] = means[group[k]];
            scale[k] = Acc<T>(1) / sqrt_(variances[group[k]] + eps);
            gamma[k] = gammas[channel];
        }
    }
};

// ---- normalize

template <bool PACKS, class T>
__device__ inline void normalize_pixels(const Tile& tile, const T* x, const Acc<T>* beta, T* out, int64 channels,
                                        const Channels<T>& of) {
    Acc<T> factor[Pack<T>::size], shift[Pack<T>::size];
#pragma unroll
    for (int k = 0; k < Pack<T>::size; ++k) {
        factor[k] = of.gamma[k] * of.scale[k];
        shift[k] = beta[min(tile.channel + k, channels - 1)];
    }
    const T* const in[] = {x};
    for_pixels<PACKS>(tile, channels, in, [&](int64 p, const Pack<T>* pack) {
        Pack<T> result;
#pragma unroll
        for (int k = 0; k < Pack<T>::size; ++k)
            result.value[k] = narrow<T>((widen(pack->value[k]) - of.mean[k]) * factor[k] + shift[k]);
        store_channels<PACKS>(out + p * channels, tile.channel, channels, result);
    });
}

template <class T>
__global__ void normalize(const T* __restrict__ x, const Acc<T>* __restrict__ gamma, const Acc<T>* __restrict__ beta,
                          const Acc<T>* __restrict__ mean, const Acc<T>* __restrict__ variance, T* __restrict__ out,
                          Acc<T> eps, int of_group, int64 pixels, int64 channels, int lanes, int shares) {
    Tile tile = tile_of<T>(pixels, channels, lanes, shares);
    if (tile.pixel >= tile.end) return;
    Channels<T> of(tile, gamma, mean, variance, eps, channels, of_group);
    int64 before = tile.image * pixels * channels;
    if (in_packs(channels, x, out)) normalize_pixels<true>(tile, x + before, beta, out + before, channels, of);
    else normalize_pixels<false>(tile, x + before, beta, out + before, channels, of);
}

// ---- its derivative

template <bool PACKS, class T>
__device__ inline void add_products(const Tile& tile, const T* cotangent, const T* x, int64 channels,
                                    const Channels<T>& of, Acc<T>* along, Acc<T>* total) {
    const T* const in[] = {cotangent, x};
    for_pixels<PACKS>(tile, channels, in, [&](int64, const Pack<T>* packs) {
#pragma unroll
        for (int k = 0; k < Pack<T>::size; ++k) {
            Acc<T> given = widen(packs[0].value[k]);
            along[k] += given * ((widen(packs[1].value[k]) - of.mean[k]) * of.scale[k]);
            total[k] += given;
        }
    });
}

// partial: Σ cotangent·u and Σ cotangent.
template <class T>
__global__ void channel_sums(const T* __restrict__ cotangent, const T* __restrict__ x, const Acc<T>* __restrict__ gamma,
                             const Acc<T>* __restrict__ mean, const Acc<T>* __restrict__ variance,
                             Acc<T>* __restrict__ partial, Acc<T> eps, int of_group, int64 pixels, int64 channels,
                             int lanes, int shares) {
    SHARED(Acc<T>, alongs, THREADS * Pack<T>::size);
    SHARED(Acc<T>, totals, THREADS * Pack<T>::size);
    Tile tile = tile_of<T>(pixels, channels, lanes, shares);
    Channels<T> of(tile, gamma, mean, variance, eps, channels, of_group);
    Acc<T> along[Pack<T>::size] = {}, total[Pack<T>::size] = {};
    cotangent += tile.image * pixels * channels;
    x += tile.image * pixels * channels;
    if (in_packs(channels, cotangent, x)) add_products<true>(tile, cotangent, x, channels, of, along, total);
    else add_products<false>(tile, cotangent, x, channels, of, along, total);
    share_values<T>(alongs, along);
    share_values<T>(totals, total);
    __syncthreads();  // all sums are there
    Column<T> column(channels, lanes);
    if (!column.exists) return;
    Acc<T> sum_along = 0, sum_total = 0;
    for (int row = 0; row < column.rows; ++row) {
        sum_along += alongs[row * column.width + threadIdx.x];
        sum_total += totals[row * column.width + threadIdx.x];
    }
    partial[column.place] = sum_along;
    partial[column.place + channels] = sum_total;
}

// means: (2, groups), those of gamma·cotangent·u and of gamma·cotangent.
template <class T>
__global__ void join_sums(const Acc<T>* __restrict__ partial, const Acc<T>* __restrict__ gamma,
                          Acc<T>* __restrict__ means, int64 groups, int64 pixels, int64 channels, int shares,
                          int of_group) {
    int64 number = number_of_warp();
    if (number >= groups) return;
    Group group(number, pixels, channels, shares, of_group);
    int lane = threadIdx.x % WARP;
    Acc<T> all = Acc<T>(pixels) * Acc<T>(of_group), along = 0, total = 0;
    for (int64 k = lane; k < group.parts(); k += WARP) {
        Part part = group.part(k);
        along += gamma[part.channel] * partial[part.place];
        total += gamma[part.channel] * partial[part.place + channels];
    }
    along = warp_sum(along);
    total = warp_sum(total);
    if (lane) return;
    means[number] = along / all;
    means[groups + number] = total / all;
}

template <bool PACKS, class T>
__device__ inline void scale_pixels(const Tile& tile, const T* cotangent, T* back, int64 channels,
                                    const Channels<T>& of) {
    const T* const in[] = {cotangent};
    for_pixels<PACKS>(tile, channels, in, [&](int64 p, const Pack<T>* pack) {
        Pack<T> result;
#pragma unroll
        for (int k = 0; k < Pack<T>::size; ++k)
            result.value[k] = narrow<T>(widen(pack->value[k]) * (of.gamma[k] * of.scale[k]));
        store_channels<PACKS>(back + p * channels, tile.channel, channels, result);
    });
}

template <class T>
__global__ void scale_vjp(const T* __restrict__ cotangent, const Acc<T>* __restrict__ gamma,
                          const Acc<T>* __restrict__ mean, const Acc<T>* __restrict__ variance, T* __restrict__ back,
                          Acc<T> eps, int of_group, int64 pixels, int64 channels, int lanes, int shares) {
    Tile tile = tile_of<T>(pixels, channels, lanes, shares);
    if (tile.pixel >= tile.end) return;
    Channels<T> of(tile, gamma, mean, variance, eps, channels, of_group);
    int64 before = tile.image * pixels * channels;
    if (in_packs(channels, cotangent, back)) scale_pixels<true>(tile, cotangent + before, back + before, channels, of);
    else scale_pixels<false>(tile, cotangent + before, back + before, channels, of);
}

template <bool PACKS, class T>
__device__ inline void normalize_pixels_vjp(const Tile& tile, const T* cotangent, const T* x, const Acc<T>* means,
                                            int64 groups, T* back, int64 channels, const Channels<T>& of) {
    Acc<T> mean_along[Pack<T>::size], mean_back[Pack<T>::size];
#pragma unroll
    for (int k = 0; k < Pack<T>::size; ++k) {
        mean_along[k] = means[of.group[k]];
        mean_back[k] = means[groups + of.group[k]];
    }
    const T* const in[] = {cotangent, x};
    for_pixels<PACKS>(tile, channels, in, [&](int64 p, const Pack<T>* packs) {
        Pack<T> result;
#pragma unroll
        for (int k = 0; k < Pack<T>::size; ++k) {
            Acc<T> unit = (widen(packs[1].value[k]) - of.mean[k]) * of.scale[k];
            Acc<T> centred = of.gamma[k] * widen(packs[0].value[k]) - mean_back[k] - unit * mean_along[k];
            result.value[k] = narrow<T>(of.scale[k] * centred);
        }
        store_channels<PACKS>(back + p * channels, tile.channel, channels, result);
    });
}

// means: what join_sums gives.
template <class T>
__global__ void normalize_vjp(const T* __restrict__ cotangent, const T* __restrict__ x,
                              const Acc<T>* __restrict__ gamma, const Acc<T>* __restrict__ mean,
                              const Acc<T>* __restrict__ variance, const Acc<T>* __restrict__ means,
                              T* __restrict__ back, int64 groups, Acc<T> eps, int of_group, int64 pixels,
                              int64 channels, int lanes, int shares) {
    Tile tile = tile_of<T>(pixels, channels, lanes, shares);
    if (tile.pixel >= tile.end) return;
    Channels<T> of(tile, gamma, mean, variance, eps, channels, of_group);
    int64 before = tile.image * pixels * channels;
    if (in_packs(channels, cotangent, x, back))
        normalize_pixels_vjp<true>(tile, cotangent + before, x + before, means, groups, back + before, channels, of);
    else
        normalize_pixels_vjp<false>(tile, cotangent + before, x + before, means, groups, back + before, channels, of);
}
