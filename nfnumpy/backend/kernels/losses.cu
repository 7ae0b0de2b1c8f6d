// The softmax cross entropy of logits (N, classes), its derivative, and how many rows are classified correctly.
//
//   loss of a row = -Σ share·(x - max - log Σ exp(x - max)), then the mean over the rows
//   back = (exp(x - max)/Σ exp(x - max) · Σ share - share)·cotangent/N
//
// Grid: a block for each row, its threads along the classes; then one block over the rows, in the order of the rows.
// Bytes moved: the logits and labels once (a row is read again from cache), and N values between the launches.
//
// Formulas: functional/losses.py, metrics.py. Launched by functional/fast_cupy/losses.py.
// Test: reference_tests/kernels/test_losses.py.
#include "common.cuh"
#include "math.cuh"

// ---- labels: how much of each row belongs to each class, after smoothing: share·keep + spread

struct whole_numbers {  // (N,): a label outside of 0 … classes - 1 is NaN everywhere
    template <class T> using Label = int64;
    template <class T> static __device__ Acc<T> share(const int64* labels, int64 row, int64 c, int64 classes) {
        int64 label = labels[row];
        if (label < 0 || label >= classes) return Acc<T>(nanf(""));
        return Acc<T>(label == c);
    }
};
struct shares {  // (N, classes)
    template <class T> using Label = T;
    template <class T> static __device__ Acc<T> share(const T* labels, int64 row, int64 c, int64 classes) {
        return widen(labels[row * classes + c]);
    }
};

// ---- the largest value of the block and where it is first, on every thread; NaN is larger than all

template <class A> struct Largest {
    A value;
    int64 place;

    __device__ void include(A other, int64 other_place) {
        bool nan = value != value, other_nan = other != other;
        bool beats = nan == other_nan ? other > value : other_nan;
        bool ties = nan == other_nan && !(value > other) && !beats;
        if (beats || (ties && other_place < place)) {
            value = other;
            place = other_place;
        }
    }
};

template <class A> __device__ inline Largest<A> warp_largest(Largest<A> mine) {
#pragma unroll
    for (int distance = WARP / 2; distance > 0; distance /= 2)
        mine.include(__shfl_xor_sync(0xffffffffu, mine.value, distance),
                     __shfl_xor_sync(0xffffffffu, mine.place, distance));
    return mine;
}

// That of row[0 … classes - 1]; there is at least one.
template <class T> __device__ inline Largest<Acc<T>> row_largest(const T* row, int64 classes) {
    SHARED(Acc<T>, values, WARP);
    SHARED(int64, places, WARP);
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    Largest<Acc<T>> mine = {widen(row[0]), 0};
    for (int64 c = threadIdx.x; c < classes; c += blockDim.x) mine.include(widen(row[c]), c);
    mine = warp_largest(mine);
    if (lane == 0) {
        values[warp] = mine.value;
        places[warp] = mine.place;
    }
    __syncthreads();
    int of = lane < warps ? lane : 0;
    return warp_largest(Largest<Acc<T>>{values[of], places[of]});
}

// ---- a block a row

template <class T, class Labels>
__global__ void cross_entropy_of_rows(const T* logits, const typename Labels::template Label<T>* labels, Acc<T>* rows,
                                      int64 classes, Acc<T> keep, Acc<T> spread) {
    const T* row = logits + blockIdx.x * classes;
    Acc<T> largest = row_largest(row, classes).value, sum = 0, loss = 0;
    for (int64 c = threadIdx.x; c < classes; c += blockDim.x) sum += exp_(widen(row[c]) - largest);
    Acc<T> log_sum = log_(block_sum(sum));
    for (int64 c = threadIdx.x; c < classes; c += blockDim.x) {
        Acc<T> share = Labels::template share<T>(labels, blockIdx.x, c, classes) * keep + spread;
        loss -= share * (widen(row[c]) - largest - log_sum);
    }
    loss = block_sum(loss);
    if (threadIdx.x == 0) rows[blockIdx.x] = loss;
}

template <class T, class Labels>
__global__ void softmax_cross_entropy_vjp(const T* cotangent, const T* logits,
                                          const typename Labels::template Label<T>* labels, T* back, int64 classes,
                                          Acc<T> keep, Acc<T> spread) {
    const T* row = logits + blockIdx.x * classes;
    Acc<T> largest = row_largest(row, classes).value, sum = 0, total = 0;
    for (int64 c = threadIdx.x; c < classes; c += blockDim.x) {
        sum += exp_(widen(row[c]) - largest);
        total += Labels::template share<T>(labels, blockIdx.x, c, classes) * keep + spread;
    }
    sum = block_sum(sum);
    total = block_sum(total);
    Acc<T> scale = widen(cotangent[0]) / Acc<T>(gridDim.x);
    for (int64 c = threadIdx.x; c < classes; c += blockDim.x) {
        Acc<T> share = Labels::template share<T>(labels, blockIdx.x, c, classes) * keep + spread;
        Acc<T> softmax = exp_(widen(row[c]) - largest) / sum;
        back[blockIdx.x * classes + c] = narrow<T>((softmax * total - share) * scale);
    }
}

template <class T>
__global__ void correct_rows(const T* logits, const int64* labels, int64* rows, int64 classes) {
    int64 place = row_largest(logits + blockIdx.x * classes, classes).place;
    if (threadIdx.x == 0) rows[blockIdx.x] = place == labels[blockIdx.x];
}

// ---- one block over the rows

template <class T> __global__ void mean_of_rows(const Acc<T>* rows, T* out, int64 count) {
    Acc<T> sum = 0;
    for (int64 k = threadIdx.x; k < count; k += blockDim.x) sum += rows[k];
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[0] = narrow<T>(sum / Acc<T>(count));
}

template <class Integer> __global__ void sum_of_rows(const Integer* rows, Integer* out, int64 count) {
    Integer sum = 0;
    for (int64 k = threadIdx.x; k < count; k += blockDim.x) sum += rows[k];
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[0] = sum;
}
