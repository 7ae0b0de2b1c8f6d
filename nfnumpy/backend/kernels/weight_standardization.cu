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
// Packs of a matrix that a thread keeps in registers; more would spill.
template <bool PACKS, class T> constexpr int HELD = !PACKS ? 2 : sizeof(T) == sizeof(float) ? 5 : 4;

// What the threads of a block share of its columns. W is multiplied by `by`, a power of two: 1 unless squares leave the
// range of T; scale: the factor of W·by - mean that gives it norm 1; outer: that of the whole result. means and sums:
// lane by lane, each time of W, then of the cotangent.
template <class T> struct Shared { T *by, *scale, *outer, *radial, *means, *sums; };

template <class T> __device__ inline Shared<T> shared_values(T* values) {
    return {values, values + MOST_COLUMNS, values + 2 * MOST_COLUMNS, values + 3 * MOST_COLUMNS,
            values + 4 * MOST_COLUMNS, values + 6 * MOST_COLUMNS};
}

template <class T> __device__ inline Strip strip_of(int64 rows, int64 columns, int lanes) {
    int64 column = ((int64)blockIdx.x * lanes + threadIdx.x % lanes) * Pack<T>::size;
    int across = int(min(max(columns - column, int64(0)), int64(Pack<T>::size)));
    return {threadIdx.x / lanes * columns + column, blockDim.x / lanes * columns, across ? rows * columns : 0, across};
}

// of.means, and in of.sums Σ(w·by - mean)². With a cotangent, the second of COUNT matrices, also its mean, and its
// product with the centred column.
template <bool PACKS, int COUNT, class T>
__device__ inline void add_up(const HeldStrip<PACKS, HELD<PACKS, T>, COUNT, T>& strip, const Shared<T>& of, int64 rows,
                              int lanes) {
    constexpr int SIZE = Pack<T>::size, LAST = COUNT - 1;
    const int lane = threadIdx.x % lanes;
    T by[SIZE], mean[SIZE], sums[COUNT * SIZE] = {};
#pragma unroll
    for (int k = 0; k < SIZE; ++k) by[k] = of.by[lane * SIZE + k];
    auto add = [&](int64, const Pack<T>* packs) {
#pragma unroll
        for (int k = 0; k < SIZE; ++k) {
            sums[k] += packs[0].value[k] * by[k];
            if (COUNT == 2) sums[LAST * SIZE + k] += packs[LAST].value[k];
        }
    };
    strip.for_held(add);
    strip.for_rest(add);
    sum_columns(sums, lanes, of.means, [=](T sum) { return sum / T(rows); });

#pragma unroll
    for (int k = 0; k < SIZE; ++k) mean[k] = of.means[lane * COUNT * SIZE + k];
#pragma unroll
    for (int k = 0; k < COUNT * SIZE; ++k) sums[k] = 0;
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
    sum_columns(sums, lanes, of.sums, [](T sum) { return sum; });
}

// `of` for all columns of the block, and the cotangents of their gains, by a thread each. Squares are added up a second
// time where they leave the range of T; small ones matter only where the floor eps is small too.
template <bool PACKS, int COUNT, class T>
__device__ inline void find_factors(const HeldStrip<PACKS, HELD<PACKS, T>, COUNT, T>& strip, const T* gains,
                                    T* gain_back, const Shared<T>& of, int64 rows, int64 columns, int lanes, T eps) {
    constexpr int SIZE = Pack<T>::size;
    const int own = threadIdx.x, place = own / SIZE * COUNT * SIZE + own % SIZE;
    const int64 column = (int64)blockIdx.x * lanes * SIZE + own;
    const bool has_column = own < lanes * SIZE && column < columns;
    const T gain = has_column ? gains[column] : T(0);
    if (own < lanes * SIZE) of.by[own] = 1;
    __syncthreads();
#pragma unroll 1
    for (bool again = true; again;) {
        add_up(strip, of, rows, lanes);
        again = false;
        if (has_column) {
            const T by = of.by[own], squared_norm = of.sums[place], floor = eps * by * by;
            const T scale = T(1) / sqrt_(at_least(squared_norm, floor)), better = multiplier(squared_norm);
            of.scale[own] = scale;
            of.outer[own] = scale * gain;
            if (COUNT == 2) {
                const T along = of.sums[place + SIZE] * scale;
                of.outer[own] *= by;
                of.radial[own] = along * T(squared_norm > floor);
                gain_back[column] = along;
            }
            again = by == T(1) && (better < T(1) || (better > T(1) && eps < SafeRange<T>::least_square));
            if (again) of.by[own] = better;
        }
        again = __syncthreads_or(again);
    }
}

template <bool PACKS, class T>
__device__ inline void standardize(const T* weight, const T* gain, T* out, const Shared<T>& of, int64 rows,
                                   int64 columns, int lanes, T eps) {
    HeldStrip<PACKS, HELD<PACKS, T>, 1, T> strip = {{weight}, strip_of<T>(rows, columns, lanes)};
    strip.hold();
    find_factors(strip, gain, out, of, rows, columns, lanes, eps);
    const int first = threadIdx.x % lanes * Pack<T>::size;
    auto write = [&](int64 i, const Pack<T>* packs) {
        Pack<T> pack;
#pragma unroll
        for (int k = 0; k < Pack<T>::size; ++k)
            pack.value[k] = (packs[0].value[k] * of.by[first + k] - of.means[first + k]) * of.outer[first + k];
        store_some<PACKS>(out + i, pack, strip.own.count(i));
    };
    strip.for_rest(write);
    strip.for_held(write);
}

template <class T>
__global__ void __launch_bounds__(512, 1)
standardize_weight(const T* __restrict__ weight, const T* __restrict__ gain, T* __restrict__ out, int64 rows,
                   int64 columns, int lanes, T eps) {
    SHARED(T, shared, 8 * MOST_COLUMNS);
    const Shared<T> of = shared_values(shared);
    if (in_packs(columns, weight, out)) standardize<true>(weight, gain, out, of, rows, columns, lanes, eps);
    else standardize<false>(weight, gain, out, of, rows, columns, lanes, eps);
}

template <bool PACKS, class T>
__device__ inline void standardize_vjp(const T* cotangent, const T* weight, const T* gain, T* back, T* gain_back,
                                       const Shared<T>& of, int64 rows, int64 columns, int lanes, T eps) {
    HeldStrip<PACKS, HELD<PACKS, T>, 2, T> strip = {{weight, cotangent}, strip_of<T>(rows, columns, lanes)};
    strip.hold();
    find_factors(strip, gain, gain_back, of, rows, columns, lanes, eps);
    const int first = threadIdx.x % lanes * Pack<T>::size;
    auto write = [&](int64 i, const Pack<T>* packs) {
        Pack<T> pack;
#pragma unroll
        for (int k = 0; k < Pack<T>::size; ++k) {
            T unit = (packs[0].value[k] * of.by[first + k] - of.means[2 * first + k]) * of.scale[first + k];
            T tangential = packs[1].value[k] - of.means[2 * first + Pack<T>::size + k] - unit * of.radial[first + k];
            pack.value[k] = tangential * of.outer[first + k];
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
    SHARED(T, shared, 8 * MOST_COLUMNS);
    const Shared<T> of = shared_values(shared);
    if (in_packs(columns, cotangent, weight, back))
        standardize_vjp<true>(cotangent, weight, gain, back, gain_back, of, rows, columns, lanes, eps);
    else
        standardize_vjp<false>(cotangent, weight, gain, back, gain_back, of, rows, columns, lanes, eps);
}
