// What = gain·(W - mu)/sqrt(max(N·sigma², eps)) for each column of W (rows, columns), and its derivative. Where squares
// leave the range of T they are added up once more, scaled.
//
// Grid: a block for `lanes` packs of 16 bytes of adjacent columns, lanes being 1, 2 or 4; its threads go down them in
// rows. Bytes moved: W (the derivative: W and its cotangent) is read once and kept in registers, the result is written
// once. Of columns too long for a block's registers the rest is read twice more, from the caches.
//
// Formulas: functional/weight_standardization.py. Launched by functional/fast_cupy/weight_standardization.py.
// Test: reference_tests/kernels/test_weight_standardization.py.
#include "common.cuh"
#include "math.cuh"

constexpr int MOST_COLUMNS = 16;  // of a block
template <class T> constexpr int HELD = sizeof(T) == sizeof(float) ? 5 : 4;  // packs that a thread keeps of a matrix

// What the threads of a block share of its columns. W is multiplied by `by`, a power of two: 1 unless squares leave the
// range of T; scale: the factor of W·by - mean that gives it norm 1; outer: that of the whole result.
template <class T> struct Shared { T *gain, *by, *mean, *scale, *outer, *cotangent_mean, *radial; };

template <class T> __device__ inline Strip strip_of(int64 rows, int64 columns, int lanes) {
    int64 column = ((int64)blockIdx.x * lanes + threadIdx.x % lanes) * Pack<T>::size;
    int across = int(min(max(columns - column, int64(0)), int64(Pack<T>::size)));
    return {threadIdx.x / lanes * columns + column, blockDim.x / lanes * columns, across ? rows * columns : 0, across};
}

// For each of the thread's columns `mean`, and `sums`: Σ(w·by - mean)². With a cotangent, the second of COUNT matrices,
// also its mean, and its product with the centred column.
template <bool PACKS, int COUNT, class T>
__device__ inline void add_up(const HeldStrip<PACKS, HELD<T>, COUNT, T>& strip, const T* by, int64 rows, int lanes,
                              T (&mean)[COUNT * Pack<T>::size], T (&sums)[COUNT * Pack<T>::size]) {
    constexpr int SIZE = Pack<T>::size, LAST = COUNT - 1;
#pragma unroll
    for (int k = 0; k < COUNT * SIZE; ++k) mean[k] = sums[k] = 0;
    auto add = [&](int64, const Pack<T>* packs) {
#pragma unroll
        for (int k = 0; k < SIZE; ++k) {
            mean[k] += packs[0].value[k] * by[k];
            if (COUNT == 2) mean[LAST * SIZE + k] += packs[LAST].value[k];
        }
    };
    strip.for_held(add);
    strip.for_rest(add);
    sum_columns(mean, lanes);
#pragma unroll
    for (int k = 0; k < COUNT * SIZE; ++k) mean[k] /= T(rows);

    auto add_squares = [&](int64, const Pack<T>* packs) {
#pragma unroll
        for (int k = 0; k < SIZE; ++k) {
            T centred = packs[0].value[k] * by[k] - mean[k];
            sums[k] += centred * centred;
            if (COUNT == 2) sums[LAST * SIZE + k] += centred * packs[LAST].value[k];
        }
    };
    strip.for_held(add_squares);
    strip.for_rest(add_squares);
    sum_columns(sums, lanes);
}

// `of` for all columns of the block, and the cotangents of their gains. Squares are added up a second time where they
// leave the range of T; small ones matter only where the floor eps is small too.
template <bool PACKS, int COUNT, class T>
__device__ inline void find_moments(const HeldStrip<PACKS, HELD<T>, COUNT, T>& strip, const T* gain, T* gain_back,
                                    const Shared<T>& of, int64 rows, int lanes, T eps) {
    constexpr int SIZE = Pack<T>::size;
    const int first = threadIdx.x % lanes * SIZE;
    const int64 column = (int64)blockIdx.x * lanes * SIZE + first;
    const bool in_first_row = threadIdx.x < lanes;
    Pack<T> by;
    if (in_first_row) store_some<false>(of.gain + first, load_some<false>(gain + column, strip.own.across), SIZE);
#pragma unroll
    for (int k = 0; k < SIZE; ++k) by.value[k] = 1;
#pragma unroll 1
    for (bool again = true; again;) {
        T mean[COUNT * SIZE], sums[COUNT * SIZE];
        add_up(strip, by.value, rows, lanes, mean, sums);
        again = false;
#pragma unroll
        for (int k = 0; k < SIZE; ++k) {
            if (in_first_row) {
                T floor = eps * by.value[k] * by.value[k], scale = T(1) / sqrt_(at_least(sums[k], floor));
                of.by[first + k] = by.value[k];
                of.mean[first + k] = mean[k];
                of.scale[first + k] = scale;
                of.outer[first + k] = scale * of.gain[first + k];
                if (COUNT == 2) {
                    T along = sums[(COUNT - 1) * SIZE + k] * scale;
                    of.outer[first + k] *= by.value[k];
                    of.cotangent_mean[first + k] = mean[(COUNT - 1) * SIZE + k];
                    of.radial[first + k] = along * T(sums[k] > floor);
                    if (k < strip.own.across) gain_back[column + k] = along;
                }
            }
            T better = multiplier(sums[k]);
            if (by.value[k] == T(1) && k < strip.own.across && (better < T(1) || eps < SafeRange<T>::least_square)) {
                again |= better != T(1) && strip.own.end;
                by.value[k] = better;
            }
        }
        again = __syncthreads_or(again);
    }
}

template <bool PACKS, class T>
__device__ inline void standardize(const T* weight, const T* gain, T* out, const Shared<T>& of, int64 rows,
                                   int64 columns, int lanes, T eps) {
    HeldStrip<PACKS, HELD<T>, 1, T> strip = {{weight}, strip_of<T>(rows, columns, lanes)};
    strip.hold();
    find_moments(strip, gain, out, of, rows, lanes, eps);
    const int first = threadIdx.x % lanes * Pack<T>::size;
    auto write = [&](int64 i, const Pack<T>* packs) {
        Pack<T> pack;
#pragma unroll
        for (int k = 0; k < Pack<T>::size; ++k)
            pack.value[k] = (packs[0].value[k] * of.by[first + k] - of.mean[first + k]) * of.outer[first + k];
        store_some<PACKS>(out + i, pack, strip.own.count(i));
    };
    strip.for_rest(write);
    strip.for_held(write);
}

template <class T>
__global__ void __launch_bounds__(512, 1)
standardize_weight(const T* __restrict__ weight, const T* __restrict__ gain, T* __restrict__ out, int64 rows,
                   int64 columns, int lanes, T eps) {
    SHARED(T, shared, 5 * MOST_COLUMNS);
    const Shared<T> of = {shared, shared + MOST_COLUMNS, shared + 2 * MOST_COLUMNS, shared + 3 * MOST_COLUMNS,
                          shared + 4 * MOST_COLUMNS};
    if (in_packs(columns, weight, out)) standardize<true>(weight, gain, out, of, rows, columns, lanes, eps);
    else standardize<false>(weight, gain, out, of, rows, columns, lanes, eps);
}

template <bool PACKS, class T>
__device__ inline void standardize_vjp(const T* cotangent, const T* weight, const T* gain, T* back, T* gain_back,
                                       const Shared<T>& of, int64 rows, int64 columns, int lanes, T eps) {
    HeldStrip<PACKS, HELD<T>, 2, T> strip = {{weight, cotangent}, strip_of<T>(rows, columns, lanes)};
    strip.hold();
    find_moments(strip, gain, gain_back, of, rows, lanes, eps);
    const int first = threadIdx.x % lanes * Pack<T>::size;
    auto write = [&](int64 i, const Pack<T>* packs) {
        Pack<T> pack;
#pragma unroll
        for (int k = 0; k < Pack<T>::size; ++k) {
            const int column = first + k;
            T unit = (packs[0].value[k] * of.by[column] - of.mean[column]) * of.scale[column];
            T tangential = packs[1].value[k] - of.cotangent_mean[column] - unit * of.radial[column];
            pack.value[k] = tangential * of.outer[column];
        }
        store_some<PACKS>(back + i, pack, strip.own.count(i));
    };
    strip.for_rest(write);
    strip.for_held(write);
}

template <class T>
__global__ void __launch_bounds__(512, 1)
standardize_weight_vjp(const T* __restrict__ cotangent, const T* __restrict__ weight, const T* __restrict__ gain,
                       T* __restrict__ back, T* __restrict__ gain_back, int64 rows, int64 columns, int lanes, T eps) {
    SHARED(T, shared, 7 * MOST_COLUMNS);
    const Shared<T> of = {shared, shared + MOST_COLUMNS, shared + 2 * MOST_COLUMNS, shared + 3 * MOST_COLUMNS,
                          shared + 4 * MOST_COLUMNS, shared + 5 * MOST_COLUMNS, shared + 6 * MOST_COLUMNS};
    if (in_packs(columns, cotangent, weight, back))
        standardize_vjp<true>(cotangent, weight, gain, back, gain_back, of, rows, columns, lanes, eps);
    else
        standardize_vjp<false>(cotangent, weight, gain, back, gain_back, of, rows, columns, lanes, eps);
}
