// Squeeze-and-excite without the means over the pixels (image_means.cu) and the products of (N, C) matrices.
//
//   out = x·sσ(gate)     back = cotangent·sσ(gate) + back_mean/pixels     gate's cotangent = dot·sσ(gate)·σ(-gate)
//
// x, out, cotangent, back: (N, pixels, C); gate, back_mean: (N, C); dot: its shares (N, shares, C), added up here;
// s: the scale.
// Grid: (image, share of its pixels, channels), see Tile, so that a thread computes its gates once for several pixels;
// for the gate's cotangent, one thread for each value.
// Launches, with biases: forward 7 (mean; two products, two biases, nonlinearity; out), backward 17 (mean with dot; the
// same five again; gate's cotangent; two products and the nonlinearity's derivative; back; two products and two
// launches a bias for the parameters), and one more each where several blocks divide an image's pixels. Bytes moved:
// forward three images (x twice, out), backward four (x, the cotangent twice, back); the matrices are small.
//
// Formulas: functional/squeeze_excite.py. Launched by functional/fast_cupy/squeeze_excite.py.
// Test: reference_tests/kernels/test_squeeze_excite.py.
#include "common.cuh"
#include "math.cuh"

// out = in·sσ(gate) + shift over the pixels of the tile.
template <bool PACKS, class T>
__device__ inline void scale_by_gate(const Tile& tile, const T* image, const T* gate, const Acc<T>* shift, T* out,
                                     Acc<T> s, int64 pixels, int64 channels) {
    Pack<T> pack = load_channels<PACKS>(gate + tile.image * channels, tile.channel, channels);
    Acc<T> scale[Pack<T>::size];
#pragma unroll
    for (int k = 0; k < Pack<T>::size; ++k) scale[k] = s * sigmoid_(widen(pack.value[k]));
    const T* const in[] = {image + tile.image * pixels * channels};
    out += tile.image * pixels * channels;
    for_pixels<PACKS>(tile, channels, in, [&](int64 p, const Pack<T>* seen) {
        Pack<T> result;
#pragma unroll
        for (int k = 0; k < Pack<T>::size; ++k)
            result.value[k] = narrow<T>(widen(seen->value[k]) * scale[k] + shift[k]);
        store_channels<PACKS>(out + p * channels, tile.channel, channels, result);
    });
}

template <class T>
__global__ void excite(const T* __restrict__ x, const T* __restrict__ gate, T* __restrict__ out, Acc<T> s,
                       int64 pixels, int64 channels, int lanes, int shares) {
    Tile tile = tile_of<T>(pixels, channels, lanes, shares);
    if (tile.pixel >= tile.end) return;
    Acc<T> none[Pack<T>::size] = {};
    if (in_packs(channels, x, gate, out)) scale_by_gate<true>(tile, x, gate, none, out, s, pixels, channels);
    else scale_by_gate<false>(tile, x, gate, none, out, s, pixels, channels);
}

template <class T>
__global__ void excite_vjp(const T* __restrict__ cotangent, const T* __restrict__ gate,
                           const T* __restrict__ back_mean, T* __restrict__ back, Acc<T> s, int64 pixels,
                           int64 channels, int lanes, int shares) {
    Tile tile = tile_of<T>(pixels, channels, lanes, shares);
    if (tile.pixel >= tile.end) return;
    Acc<T> share[Pack<T>::size];
    Pack<T> pack = load_channels<false>(back_mean + tile.image * channels, tile.channel, channels);
#pragma unroll
    for (int k = 0; k < Pack<T>::size; ++k) share[k] = widen(pack.value[k]) / pixels;
    if (in_packs(channels, cotangent, gate, back))
        scale_by_gate<true>(tile, cotangent, gate, share, back, s, pixels, channels);
    else
        scale_by_gate<false>(tile, cotangent, gate, share, back, s, pixels, channels);
}

template <class T>
__global__ void gate_vjp(const Acc<T>* dot, const T* gate, T* back, int64 count, int64 channels, int shares,
                         Acc<T> s) {
    int64 i = (int64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    Acc<T> sum = 0, g = widen(gate[i]);
    for (int share = 0; share < shares; ++share)
        sum += dot[(i / channels * shares + share) * channels + i % channels];
    back[i] = narrow<T>(sum * (s * sigmoid_(g) * sigmoid_(-g)));
}
