// One step of an optimizer for all its tensors, in one launch or two: AGC with the update, the norm over all gradients,
// SAM's ascent, the moving average.
//
// The tensors are cut into pieces, a list that depends on their shapes alone; their addresses come as an array of
// structs, one for each tensor. Grid: a block for each piece; the sum of squares has a fixed number of blocks, which
// take the pieces in turn. Bytes moved, in float32: 20 a parameter for the whole update of SGD, 28 for that of RMSProp
// (weights and gradients stay in registers between the norm and the update; what does not fit is read last for the norm
// and first for the update, so that it is still in the L2 cache); 4 for the norm; 12 for the ascent after it; 12 for the
// moving average. Where squares leave the range of the dtype they are added up once more, scaled.
//
// Formulas: optim/agc.py with sgd.py (`clipped_update`) and rmsprop.py, global_norm.py, sam.py, ema.py, term by term.
// Launched by optim/fast_cupy/updates.py and multi_tensor.py. Tests: reference_tests/kernels/test_optimizer.py and
// test_rmsprop.py.
#include "common.cuh"
#include "math.cuh"

// The entries first + row·stride + column of a tensor, row < rows and column < columns. A run of entries has stride and
// columns 1; the columns of other pieces are units, at most MOST_UNITS.
struct Piece { int64 tensor, first, rows, stride, columns; };

// ---- sums of squares within the range of their type: see SafeRange in math.cuh

// by and factor with the same product, by = 1 wherever the product is a normal number.
template <class A> __device__ inline void join(A& by, A& factor) {
    if (factor * at_most(by, A(1)) >= SafeRange<A>::smallest_normal &&
        factor <= SafeRange<A>::largest / at_least(by, A(1))) {
        factor *= by;
        by = 1;
    }
}

// ---- clip, decay, update

constexpr int MOST_UNITS = 16;  // of a block
// Packs of a tensor that a thread keeps in registers; more would spill.
template <bool PACKS, class T, int STATES>
constexpr int HELD = !PACKS ? 2 : sizeof(T) > sizeof(float) ? 4 : STATES == 1 ? 8 : 6;

template <class T, int STATES> struct UpdateEntry {
    const T *param, *grad, *state[STATES];
    T *new_param, *new_state[STATES];
    double weight_decay, clipping;  // a negative clipping is none
};

// What an optimizer makes of one weight, of its gradient after clipping and decay, and of what it keeps of it.
template <class T> struct Sgd {
    static constexpr int STATES = 1;  // velocity
    T lr, momentum;
    bool nesterov;
    __device__ void operator()(T& w, T g, T (&state)[STATES]) const {
        T& v = state[0];
        v = momentum * v + g;
        w = w - lr * (nesterov ? g + momentum * v : v);
    }
};

template <class T> struct RmsProp {
    static constexpr int STATES = 2;  // mean square, velocity
    T lr, decay, momentum, epsilon;
    __device__ void operator()(T& w, T g, T (&state)[STATES]) const {
        T &s = state[0], &v = state[1];
        s = decay * s + (1 - decay) * (g * g);
        v = momentum * v + lr * g / sqrt_(s + epsilon);
        w = w - v;
    }
};

template <class T, class Rule> struct Step {
    Rule rule;
    T weight_decay;
    bool goes_on;
};

template <class T> struct Clipping { T share, eps, smallest; };

// What the threads of a block share of its units: a gradient is multiplied by scale, then by factor. Before squares are
// added up, gradients and weights are multiplied by grad_by and weight_by; squares: of the gradients in a lane, then of
// the weights there, then of the next lane.
template <class T> struct Units { T *scale, *factor, *grad_by, *weight_by, *squares; };

template <class T> __device__ inline Strip strip_of(const Piece& piece, int lanes) {
    constexpr int SIZE = Pack<T>::size;
    const bool run = piece.stride == 1;
    int lane = threadIdx.x % lanes;
    int64 row = run ? SIZE : piece.stride, across = run ? SIZE : max(piece.columns - lane * SIZE, int64(0));
    return {piece.first + threadIdx.x / lanes * row + lane * SIZE, blockDim.x / lanes * row,
            across ? piece.first + piece.rows * piece.stride : 0, int(min(across, int64(SIZE)))};
}

// of.squares: of each column Σ (g·inverse_scale·grad_by)² and Σ (w·weight_by)².
template <bool PACKS, int ROWS, class T>
__device__ inline void add_squares(const HeldStrip<PACKS, ROWS, 2, T>& strip, const Units<T>& of, T inverse_scale,
                                   int lanes) {
    constexpr int SIZE = Pack<T>::size;
    const int first = threadIdx.x % lanes * SIZE;
    T squares[2 * SIZE] = {}, grad_by[SIZE], weight_by[SIZE];
#pragma unroll
    for (int k = 0; k < SIZE; ++k) {
        grad_by[k] = inverse_scale * of.grad_by[first + k];
        weight_by[k] = of.weight_by[first + k];
    }
    auto add = [&](int64, const Pack<T>* packs) {
#pragma unroll
        for (int k = 0; k < SIZE; ++k) {
            T g = packs[0].value[k] * grad_by[k], w = packs[1].value[k] * weight_by[k];
            squares[k] += g * g;
            squares[SIZE + k] += w * w;
        }
    };
    strip.for_held(add);
    strip.for_rest(add);
    sum_columns(squares, lanes, of.squares, [](T sum) { return sum; });
}

// What AGC allows a unit, from its sums of squares and what was multiplied by before squaring: see agc.unit_factors.
// Changes scale and factor, by which the gradient is to be multiplied; returns whether it is clipped.
template <class T>
__device__ inline bool clip_unit(T grad_squares, T grad_by, T weight_squares, T weight_by, const Clipping<T>& clipping,
                                 T& scale, T& factor) {
    T norm = sqrt_(grad_squares) / at_least(grad_by, T(1)), shrink = at_most(grad_by, T(1));
    T largest = at_least(sqrt_(weight_squares) / weight_by, clipping.eps) * clipping.share;
    if (!(norm > largest * shrink && is_finite(norm))) return false;
    factor = largest / at_least(norm, clipping.smallest * shrink);
    join(shrink, factor);
    scale *= shrink;
    return true;
}

// Fills `of` for the units of the block, by a thread each; returns how many are clipped, on the first thread. A run is
// one unit, for which as many threads do the same as a pack has columns.
template <bool PACKS, int ROWS, class T>
__device__ inline int clip_units(const HeldStrip<PACKS, ROWS, 2, T>& strip, const Units<T>& of, T inverse_scale,
                                 const Clipping<T>& clipping, const Piece& piece, int lanes) {
    constexpr int SIZE = Pack<T>::size;
    const bool run = piece.stride == 1;
    const int own = threadIdx.x, units = run ? SIZE : piece.columns, place = own / SIZE * 2 * SIZE + own % SIZE;
    if (own < lanes * SIZE) of.grad_by[own] = of.weight_by[own] = 1;
    __syncthreads();
    int clipped = 0;
#pragma unroll 1
    for (bool again = true; again;) {  // a second time only where squares leave the range of T
        add_squares(strip, of, inverse_scale, lanes);
        again = false;
        if (own < units) {
            T grad_squares = of.squares[run ? 0 : place], weight_squares = of.squares[run ? SIZE : place + SIZE];
            for (int k = 1; run && k < SIZE; ++k) {
                grad_squares += of.squares[k];
                weight_squares += of.squares[SIZE + k];
            }
            const T grad_by = of.grad_by[own], weight_by = of.weight_by[own];
            of.scale[own] = inverse_scale;
            of.factor[own] = 1;
            clipped = clip_unit(grad_squares, grad_by, weight_squares, weight_by, clipping, of.scale[own],
                                of.factor[own]);
            if (grad_by == T(1)) of.grad_by[own] = multiplier(grad_squares);
            if (weight_by == T(1)) of.weight_by[own] = multiplier(weight_squares);
            again = of.grad_by[own] != grad_by || of.weight_by[own] != weight_by;
        }
        again = __syncthreads_or(again);
    }
    return own < WARP ? warp_sum(own < piece.columns ? clipped : 0) : 0;
}

template <class T, int STATES> struct Target {
    const T* state[STATES];
    T *new_param, *new_state[STATES];
};

template <bool PACKS, int STATES, class T>
__device__ inline void load_state(const Target<T, STATES>& to, int64 i, int count, Pack<T> (&state)[STATES]) {
#pragma unroll
    for (int s = 0; s < STATES; ++s) state[s] = load_some<PACKS>(to.state[s] + i, count);
}

// The new weights and state of the entries from i on.
template <bool PACKS, class T, class Rule>
__device__ inline void update(int64 i, int count, const Pack<T>* packs, Pack<T> (&state)[Rule::STATES],
                              const Units<T>& of, int first, const Step<T, Rule>& step,
                              const Target<T, Rule::STATES>& to) {
    Pack<T> weight = packs[1];
#pragma unroll
    for (int k = 0; k < Pack<T>::size; ++k) {
        T &w = weight.value[k], g = packs[0].value[k], kept[Rule::STATES];
        if (!step.goes_on) break;
        g = g * of.scale[first + k] * of.factor[first + k];
        if (step.weight_decay != 0) g += step.weight_decay * w;
#pragma unroll
        for (int s = 0; s < Rule::STATES; ++s) kept[s] = state[s].value[k];
        step.rule(w, g, kept);
#pragma unroll
        for (int s = 0; s < Rule::STATES; ++s) state[s].value[k] = kept[s];
    }
    store_some<PACKS>(to.new_param + i, weight, count);
#pragma unroll
    for (int s = 0; s < Rule::STATES; ++s) store_some<PACKS>(to.new_state[s] + i, state[s], count);
}

template <bool PACKS, class T, class Rule>
__device__ inline int update_piece(const Piece& piece, const UpdateEntry<T, Rule::STATES>* entry, const Units<T>& of,
                                   T inverse_scale, const Clipping<T>& clipping, const Step<T, Rule>& step) {
    constexpr int SIZE = Pack<T>::size, STATES = Rule::STATES, ROWS = HELD<PACKS, T, STATES>;
    constexpr int TOGETHER = STATES == 1 ? 2 : 1;  // loads on their way before the first store; more would spill
    int lanes = 1, clipped = 0;
    while (lanes * SIZE < piece.columns) lanes *= 2;
    HeldStrip<PACKS, ROWS, 2, T> strip = {{entry->grad, entry->param}, strip_of<T>(piece, lanes)};
    strip.hold();
    if (clipping.share >= 0) {
        clipped = clip_units(strip, of, inverse_scale, clipping, piece, lanes);
    } else {
        if (threadIdx.x < lanes * SIZE) {
            of.scale[threadIdx.x] = inverse_scale;
            of.factor[threadIdx.x] = 1;
        }
        __syncthreads();
    }
    const int first = threadIdx.x % lanes * SIZE;
    const Strip& own = strip.own;
    Target<T, STATES> to;
    to.new_param = entry->new_param;
#pragma unroll
    for (int s = 0; s < STATES; ++s) {
        to.state[s] = entry->state[s];
        to.new_state[s] = entry->new_state[s];
    }
    strip.for_rest([&](int64 i, const Pack<T>* packs) {
        Pack<T> state[STATES];
        load_state<PACKS>(to, i, own.count(i), state);
        update<PACKS>(i, own.count(i), packs, state, of, first, step, to);
    });
#pragma unroll
    for (int r = 0; r < ROWS; r += TOGETHER) {
        Pack<T> state[TOGETHER][STATES];
#pragma unroll
        for (int k = 0; k < TOGETHER; ++k)
            if (strip.row(r + k) < own.end)
                load_state<PACKS>(to, strip.row(r + k), own.count(strip.row(r + k)), state[k]);
#pragma unroll
        for (int k = 0; k < TOGETHER; ++k)
            if (strip.row(r + k) < own.end)
                update<PACKS>(strip.row(r + k), own.count(strip.row(r + k)), strip.held[r + k], state[k], of, first,
                              step, to);
    }
    return clipped;
}

// The update of a block's piece. inverse_scale and proceed: addresses of one T and one bool, or 0; smallest: the least
// norm that is divided by; shared: 6·MOST_UNITS numbers.
template <class T, class Rule>
__device__ inline void update_block(const Piece* pieces, const UpdateEntry<T, Rule::STATES>* entries, const Rule& rule,
                                    T eps, T smallest, int64 inverse_scale, int64 proceed, int64* clipped_units,
                                    T* shared) {
    constexpr int SIZE = Pack<T>::size;
    const Piece piece = pieces[blockIdx.x];
    const UpdateEntry<T, Rule::STATES>* entry = entries + piece.tensor;
    const bool goes_on = proceed ? *reinterpret_cast<const bool*>(proceed) : true;
    const T scale = inverse_scale ? *reinterpret_cast<const T*>(inverse_scale) : T(1);
    const Step<T, Rule> step = {rule, T(entry->weight_decay), goes_on};
    const Clipping<T> clipping = {T(entry->clipping), eps, smallest};
    const Units<T> of = {shared, shared + MOST_UNITS, shared + 2 * MOST_UNITS, shared + 3 * MOST_UNITS,
                         shared + 4 * MOST_UNITS};
    bool whole = (piece.stride == 1 ? piece.rows : piece.stride | piece.columns) % SIZE == 0;
    const int64 first = piece.first;
    whole = whole && aligned(entry->param + first, entry->grad + first, entry->new_param + first);
    for (int s = 0; s < Rule::STATES; ++s)
        whole = whole && aligned(entry->state[s] + first, entry->new_state[s] + first);
    const int clipped = whole ? update_piece<true>(piece, entry, of, scale, clipping, step)
                              : update_piece<false>(piece, entry, of, scale, clipping, step);
    if (threadIdx.x == 0) clipped_units[blockIdx.x] = clipped;
}

template <class T>
__global__ void __launch_bounds__(256, 2)
clipped_update(const Piece* pieces, const UpdateEntry<T, 1>* entries, T lr, T momentum, bool nesterov, T eps,
               T smallest, int64 inverse_scale, int64 proceed, int64* clipped_units) {
    SHARED(T, shared, 6 * MOST_UNITS);
    const Sgd<T> rule = {lr, momentum, nesterov};
    update_block(pieces, entries, rule, eps, smallest, inverse_scale, proceed, clipped_units, shared);
}

template <class T>
__global__ void __launch_bounds__(256, 2)
clipped_rmsprop_update(const Piece* pieces, const UpdateEntry<T, 2>* entries, T lr, T decay, T momentum, T epsilon,
                       T eps, T smallest, int64 inverse_scale, int64 proceed, int64* clipped_units) {
    SHARED(T, shared, 6 * MOST_UNITS);
    const RmsProp<T> rule = {lr, decay, momentum, epsilon};
    update_block(pieces, entries, rule, eps, smallest, inverse_scale, proceed, clipped_units, shared);
}

// out[t] = Σ values[order[i]], starts[t] ≤ i < starts[t + 1], by a block for each t.
template <class A>
__global__ void __launch_bounds__(1024) totals(const A* values, const int64* order, const int64* starts, A* out) {
    A sum = 0;
    for (int64 i = starts[blockIdx.x] + threadIdx.x; i < starts[blockIdx.x + 1]; i += blockDim.x)
        sum += values[order[i]];
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

// ---- the norm of everything, and a step along it

template <class T> struct NormEntry { const T* values; };

// Σ (values·by)² over the pieces that belong to this block, on every thread.
template <class T>
__device__ inline T squares_of_pieces(const Piece* pieces, int64 count, const NormEntry<T>* entries, T by) {
    constexpr int SIZE = Pack<T>::size;
    T sum = 0;
    for (int64 number = blockIdx.x; number < count; number += gridDim.x) {
        const Piece piece = pieces[number];
        const T* from = entries[piece.tensor].values + piece.first;
        const bool packed = aligned(from);
        for (int64 i = (int64)threadIdx.x * SIZE; i < piece.rows; i += (int64)blockDim.x * SIZE)
            if (packed && i + SIZE <= piece.rows) {
                Pack<T> pack = load_pack(from + i);
#pragma unroll
                for (int k = 0; k < SIZE; ++k) sum += (pack.value[k] * by) * (pack.value[k] * by);
            } else {
                for (int64 k = i; k < i + SIZE && k < piece.rows; ++k) sum += (from[k] * by) * (from[k] * by);
            }
    }
    return block_sum(sum);
}

// sums: each block's sum of squares, then, of blocks where that is out of range, the sum after its multiplier.
template <class T>
__global__ void __launch_bounds__(512)
sums_of_squares(const Piece* pieces, int64 count, const NormEntry<T>* entries, T* sums) {
    T sum = squares_of_pieces(pieces, count, entries, T(1)), by = multiplier(sum), scaled = 0;
    if (by != T(1)) scaled = squares_of_pieces(pieces, count, entries, by);  // the same for all threads of the block
    if (threadIdx.x == 0) {
        sums[blockIdx.x] = sum;
        sums[gridDim.x + blockIdx.x] = scaled;
    }
}

template <class T> struct ScaledNorm { T norm, by; };  // norm = by·(norm of everything), by a power of two, mostly 1

// On every thread, from what sums_of_squares left of `count` blocks, no more than this block has threads.
template <class T> __device__ inline ScaledNorm<T> norm_of(const T* sums, int count) {
    const bool has_sum = threadIdx.x < count;
    const T sum = has_sum ? sums[threadIdx.x] : T(0);
    T squares = block_sum(sum);
    const T by = multiplier(squares);
    if (by < T(1)) squares = block_sum(is_finite(sum) ? sum * by * by : sums[count + threadIdx.x]);
    if (by > T(1)) squares = block_sum(has_sum ? sums[count + threadIdx.x] : T(0));
    return {sqrt_(squares), by};
}

// By one block.
template <class T> __global__ void __launch_bounds__(512) norm(const T* sums, int count, T* out, T* by) {
    const ScaledNorm<T> found = norm_of(sums, count);
    if (threadIdx.x == 0) {
        *out = found.norm;
        *by = found.by;
    }
}

template <class T> struct MapEntry { const T *first, *second; T* out; };

// out[i] = f(first[i], second[i]) for a run of entries, by one block.
template <class T, class F> __device__ inline void map_run(const MapEntry<T>* entries, const Piece& piece, F f) {
    const MapEntry<T> entry = entries[piece.tensor];
    const T *first = entry.first + piece.first, *second = entry.second + piece.first;
    T* out = entry.out + piece.first;
    const int64 count = piece.rows, packs = aligned(out, first, second) ? count / Pack<T>::size : 0;
    for (int64 p = threadIdx.x; p < packs; p += blockDim.x) {
        Pack<T> a = load_pack(first + p * Pack<T>::size), b = load_pack(second + p * Pack<T>::size), result;
#pragma unroll
        for (int k = 0; k < Pack<T>::size; ++k) result.value[k] = f(a.value[k], b.value[k]);
        store_pack(out + p * Pack<T>::size, result);
    }
    for (int64 i = packs * Pack<T>::size + threadIdx.x; i < count; i += blockDim.x) out[i] = f(first[i], second[i]);
}

// entries: params, grads, new params.
template <class T>
__global__ void __launch_bounds__(512)
sam_perturb(const Piece* pieces, const MapEntry<T>* entries, const T* sums, int count, T rho) {
    const ScaledNorm<T> found = norm_of(sums, count);
    T by = found.by, scale = found.norm > T(0) ? rho / found.norm : T(0);
    join(by, scale);
    map_run(entries, pieces[blockIdx.x], [=](T w, T g) { return w + g * by * scale; });
}

// ---- the moving average

// entries: averages, arrays, new averages. given_decay: the address of one double to be used for decay, or 0.
template <class T>
__global__ void __launch_bounds__(512)
moving_average(const Piece* pieces, const MapEntry<T>* entries, double decay, int64 given_decay) {
    if (given_decay) decay = *reinterpret_cast<const double*>(given_decay);
    const T kept = T(decay), rest = T(1 - decay);
    map_run(entries, pieces[blockIdx.x], [=](T average, T x) { return kept * average + rest * x; });
}

// ---- copies

template <class T> struct CopyEntry { const T* values; T* out; };

// A run of entries, by one block.
template <class T>
__global__ void __launch_bounds__(512)
copy_arrays(const Piece* pieces, const CopyEntry<T>* entries) {
    const Piece piece = pieces[blockIdx.x];
    const T* values = entries[piece.tensor].values + piece.first;
    T* out = entries[piece.tensor].out + piece.first;
    const int64 count = piece.rows, packs = aligned(values, out) ? count / Pack<T>::size : 0;
#pragma unroll 4
    for (int64 p = threadIdx.x; p < packs; p += blockDim.x)
        store_pack(out + p * Pack<T>::size, load_pack(values + p * Pack<T>::size));
    for (int64 i = packs * Pack<T>::size + threadIdx.x; i < count; i += blockDim.x) out[i] = values[i];
}
