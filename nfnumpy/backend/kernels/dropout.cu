// Dropout and stochastic depth, given the masks; their derivatives are the same maps of the cotangent.
//
//   dropout: x·mask·scale, element by element     stochastic depth: x·mask·scale, a mask value for each example
//
// Grid: one thread for each 16 bytes; for stochastic depth each example has its own blocks. Bytes moved: x and the
// result once, and dropout's mask once.
//
// Formulas: functional/dropout.py. Launched by functional/fast_cupy/dropout.py.
// Test: reference_tests/kernels/test_dropout.py.
#include "common.cuh"

template <class T> __global__ void dropout(const T* x, const T* mask, T* out, int64 count, Acc<T> scale) {
    map_pack(count, [=](Acc<T> value, Acc<T> kept) { return value * kept * scale; }, out, x, mask);
}

template <bool PACKS, class T>
__device__ inline void scale_values(const T* x, T* out, int64 first, int64 count, Acc<T> scale) {
    Pack<T> pack = load_channels<PACKS>(x, first, count);
#pragma unroll
    for (int k = 0; k < Pack<T>::size; ++k) pack.value[k] = narrow<T>(widen(pack.value[k]) * scale);
    store_channels<PACKS>(out, first, count, pack);
}

template <class T>
__global__ void stochastic_depth(const T* x, const T* mask, T* out, int64 count, int parts, Acc<T> scale) {
    int64 example = blockIdx.x / parts, first = (blockIdx.x % parts * (int64)blockDim.x + threadIdx.x) * Pack<T>::size;
    if (first >= count) return;
    x += example * count;
    out += example * count;
    scale *= widen(mask[example]);
    if (in_packs(count, x, out)) scale_values<true>(x, out, first, count, scale);
    else scale_values<false>(x, out, first, count, scale);
}
