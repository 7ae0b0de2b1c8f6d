// Bytes to a network's input: out = (byte·(1/255) - mean)/deviation, with a mean and a deviation for each channel.
//
// images (N, H, W, 3) of bytes: red, green, blue in turn. Grid: one thread for each 16 bytes of `out`. Bytes moved:
// every image byte read once, every value written once.
//
// Formulas: functional/images.py. Launched by functional/fast_cupy/images.py.
// Test: reference_tests/kernels/test_images.py.
#include "common.cuh"

template <int size> struct alignas(size) Bytes { unsigned char value[size]; };

template <class T>
__global__ void normalize_images(const unsigned char* images, T* out, int64 count, Acc<T> mean_red, Acc<T> mean_green,
                                 Acc<T> mean_blue, Acc<T> deviation_red, Acc<T> deviation_green,
                                 Acc<T> deviation_blue) {
    constexpr int size = Pack<T>::size;
    int64 start = ((int64)blockIdx.x * blockDim.x + threadIdx.x) * size;
    if (start >= count) return;
    auto normalized = [=](unsigned char byte, int channel) {
        Acc<T> mean = channel == 0 ? mean_red : channel == 1 ? mean_green : mean_blue;
        Acc<T> deviation = channel == 0 ? deviation_red : channel == 1 ? deviation_green : deviation_blue;
        return narrow<T>((Acc<T>(byte) * Acc<T>(1.0 / 255.0) - mean) / deviation);
    };
    int channel = start % 3;
    images += start;
    if (start + size <= count && aligned(out) && (unsigned long long)images % size == 0) {
        Bytes<size> bytes = *reinterpret_cast<const Bytes<size>*>(images);
        Pack<T> result;
#pragma unroll
        for (int k = 0; k < size; ++k) result.value[k] = normalized(bytes.value[k], (channel + k) % 3);
        store_pack(out + start, result);
    } else {
        for (int k = 0; k < size && start + k < count; ++k) out[start + k] = normalized(images[k], (channel + k) % 3);
    }
}
