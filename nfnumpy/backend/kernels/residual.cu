// The residual update with SkipInit and its derivatives; skip_gain is read where it is, on the GPU.
//
//   out = shortcut + residual·(alpha·skip_gain)    back = cotangent·(alpha·skip_gain)    alpha·⟨cotangent, residual⟩
//
// Grid: one thread for each 16 bytes. For ⟨,⟩ the number of blocks depends on the size of the arrays, at most 1024, and
// not on the GPU, so that the bits do not either; a second launch of one block adds up their sums.
// Bytes moved: every array once.
//
// Formulas: functional/residual.py. Launched by functional/fast_cupy/residual.py.
// Test: reference_tests/kernels/test_residual.py.
#include "common.cuh"

template <class T>
__global__ void skip_init(const T* shortcut, const T* residual, const T* skip_gain, T* out, int64 count,
                          Acc<T> alpha) {
    Acc<T> scale = alpha * widen(*skip_gain);
    map_pack(count, [=](Acc<T> s, Acc<T> r) { return s + r * scale; }, out, shortcut, residual);
}

template <class T>
__global__ void skip_init_residual_vjp(const T* cotangent, const T* skip_gain, T* back, int64 count, Acc<T> alpha) {
    Acc<T> scale = alpha * widen(*skip_gain);
    map_pack(count, [=](Acc<T> c) { return c * scale; }, back, cotangent);
}

// Adds the products of this thread's packs to `total`, position by position; `packs` in all.
template <bool PACKS, class T>
__device__ inline void add_products(const T* x, const T* y, int64 packs, Acc<T>* total) {
    constexpr int size = Pack<T>::size;
#pragma unroll 4
    for (int64 i = (int64)blockIdx.x * blockDim.x + threadIdx.x; i < packs; i += (int64)gridDim.x * blockDim.x) {
        Pack<T> a = load_channels<PACKS>(x + i * size, 0, size), b = load_channels<PACKS>(y + i * size, 0, size);
#pragma unroll
        for (int k = 0; k < size; ++k) total[k] += widen(a.value[k]) * widen(b.value[k]);
    }
}

template <class T> __global__ void dot_of_blocks(const T* x, const T* y, Acc<T>* of_block, int64 count) {
    constexpr int size = Pack<T>::size;
    Acc<T> total[size] = {}, sum = 0;
    if (aligned(x, y)) add_products<true>(x, y, count / size, total);
    else add_products<false>(x, y, count / size, total);
#pragma unroll
    for (int k = 0; k < size; ++k) sum += total[k];
    int64 rest = count / size * size + threadIdx.x;
    if (blockIdx.x == 0 && rest < count) sum += widen(x[rest]) * widen(y[rest]);
    sum = block_sum(sum);
    if (threadIdx.x == 0) of_block[blockIdx.x] = sum;
}

template <class T>
__global__ void scaled_sum_of_blocks(const Acc<T>* of_block, T* out, int64 blocks, Acc<T> alpha) {
    Acc<T> sum = 0;
    for (int64 i = threadIdx.x; i < blocks; i += blockDim.x) sum += of_block[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *out = narrow<T>(alpha * sum);
}
