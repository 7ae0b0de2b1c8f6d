// What all kernels share: the floating types, 16-byte accesses, sums over warps and blocks.
//
// A value of type T is computed with as Acc<T>: float for float16, bfloat16 and float, double for double. Sums are
// taken in a fixed order (lanes, then warps), never by atomics, so that the same input gives the same bits. THREADS,
// the size of most blocks, is defined before this file: see cuda.py. Test: reference_tests/kernels/test_cuda_on_cpu.py
// and every other test there.
#ifndef CUDA_ON_CPU  // where kernels run on a CPU, to be tested, these two check what a GPU leaves unchecked
#define SHARED(type, name, size) __shared__ type name[size]
#define CHECK_ALIGNED(pointer)
#endif

typedef long long int64;

constexpr int WARP = 32;

struct float16 { unsigned short bits; };
struct bfloat16 { unsigned short bits; };

template <class T> struct AccOf { typedef float type; };
template <> struct AccOf<double> { typedef double type; };
template <class T> using Acc = typename AccOf<T>::type;

// ---- to and from the type that is computed with

__device__ inline float widen(float x) { return x; }
__device__ inline double widen(double x) { return x; }
__device__ inline float widen(bfloat16 x) { return __uint_as_float((unsigned)x.bits << 16); }
__device__ inline float widen(float16 x) {
#ifdef CUDA_ON_CPU
    return float_of_half_bits(x.bits);
#else
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
    return wide;
#endif
}

template <class T> __device__ inline T narrow(Acc<T> x) { return x; }
template <> __device__ inline bfloat16 narrow<bfloat16>(float x) {  // to the nearest, ties to even; NaN stays NaN
    unsigned bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fc0};
    return {(unsigned short)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}
template <> __device__ inline float16 narrow<float16>(float x) {
#ifdef CUDA_ON_CPU
    return {half_bits_of_float(x)};
#else
    float16 half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half.bits) : "f"(x));
    return half;
#endif
}

// ---- 16 bytes at a time

template <class T> struct alignas(16) Pack {
    static constexpr int size = 16 / sizeof(T);
    T value[size];
};

// Whether all addresses allow 16-byte accesses.
template <class... T> __device__ inline bool aligned(const T*... pointer) {
    unsigned long long together = 0;
    ((together |= (unsigned long long)pointer), ...);
    return together % 16 == 0;
}

template <class T> __device__ inline Pack<T> load_pack(const T* from) {
    CHECK_ALIGNED(from);
    return *reinterpret_cast<const Pack<T>*>(from);
}

template <class T> __device__ inline void store_pack(T* to, const Pack<T>& pack) {
    CHECK_ALIGNED(to);
    *reinterpret_cast<Pack<T>*>(to) = pack;
}

// `size` neighbouring values: 16 bytes at once, or a single one.
template <int size, class T> __device__ inline void load_values(T (&values)[size], const T* from) {
    static_assert(size == 1 || size == Pack<T>::size, "a pack or one value");
    if constexpr (size == 1) {
        values[0] = *from;
    } else {
        Pack<T> pack = load_pack(from);
#pragma unroll
        for (int k = 0; k < size; ++k) values[k] = pack.value[k];
    }
}

template <int size, class T> __device__ inline void store_values(T* to, const T (&values)[size]) {
    static_assert(size == 1 || size == Pack<T>::size, "a pack or one value");
    if constexpr (size == 1) {
        *to = values[0];
    } else {
        Pack<T> pack;
#pragma unroll
        for (int k = 0; k < size; ++k) pack.value[k] = values[k];
        store_pack(to, pack);
    }
}

// out[i] = f(in[i], …) for the pack of elements that belongs to this thread, `count` elements in all; one thread a
// pack, so the grid has ceil(count / Pack::size / blockDim.x) blocks. f takes and returns Acc<T>.
template <class T, class F, class... In>
__device__ inline void map_pack(int64 count, F f, T* out, const In*... in) {
    static_assert(((sizeof(In) == sizeof(T)) && ...), "one element type");
    int64 start = ((int64)blockIdx.x * blockDim.x + threadIdx.x) * Pack<T>::size;
    if (start + Pack<T>::size <= count && aligned(out, in...)) {
        Pack<T> result;
        auto combine = [&](const Pack<In>&... packs) {
#pragma unroll
            for (int k = 0; k < Pack<T>::size; ++k) result.value[k] = narrow<T>(f(widen(packs.value[k])...));
        };
        combine(load_pack(in + start)...);
        store_pack(out + start, result);
    } else {
        for (int k = 0; k < Pack<T>::size && start + k < count; ++k)
            out[start + k] = narrow<T>(f(widen(in[start + k])...));
    }
}

// ---- images (N, pixels, channels): a thread has the Pack::size neighbouring channels of a pixel from `first` on

// Whether every thread can read and write its channels 16 bytes at a time.
template <class... T> __device__ inline bool in_packs(int64 channels, const T*... image) {
    return ((channels % Pack<T>::size == 0) && ...) && aligned(image...);
}

// Channels past the last one are 0.
template <bool PACKS, class T>
__device__ inline Pack<T> load_channels(const T* pixel, int64 first, int64 channels) {
    if (PACKS) return load_pack(pixel + first);
    Pack<T> pack = {};
#pragma unroll
    for (int k = 0; k < Pack<T>::size; ++k)
        if (first + k < channels) pack.value[k] = pixel[first + k];
    return pack;
}

template <bool PACKS, class T>
__device__ inline void store_channels(T* pixel, int64 first, int64 channels, const Pack<T>& pack) {
    if (PACKS) {
        store_pack(pixel + first, pack);
    } else {
#pragma unroll
        for (int k = 0; k < Pack<T>::size; ++k)
            if (first + k < channels) pixel[first + k] = pack.value[k];
    }
}

// What belongs to a thread of a block that has `lanes` packs of neighbouring channels of blockDim.x / lanes pixels at a
// time, and in all a share of the pixels of one image. The blocks of a grid are numbered (image, share, channels).
struct Tile {
    int64 image, channel;  // the first channel; where that is past the last there are no pixels
    int64 pixel, end, step;
};

template <class T> __device__ inline Tile tile_of(int64 pixels, int64 channels, int lanes, int shares) {
    int width = lanes * Pack<T>::size;
    unsigned across = (channels + width - 1) / width, share = blockIdx.x / across % shares;
    int64 extent = (pixels + shares - 1) / shares;
    Tile tile;
    tile.image = blockIdx.x / across / shares;
    tile.channel = int64(blockIdx.x % across) * width + threadIdx.x % lanes * Pack<T>::size;
    tile.pixel = share * extent + threadIdx.x / lanes;
    tile.end = tile.channel < channels ? min((share + 1) * extent, pixels) : tile.pixel;
    tile.step = blockDim.x / lanes;
    return tile;
}

// use(p, packs) for each pixel p of the tile, packs[c] being the thread's channels there of the image in[c]. Four loads
// are on their way together, so that waiting for one is waiting for all.
template <bool PACKS, int COUNT, class T, class F>
__device__ inline void for_pixels(const Tile& tile, int64 channels, const T* const (&in)[COUNT], F use) {
    constexpr int AHEAD = COUNT < 4 ? 4 / COUNT : 1;
#pragma unroll 1
    for (int64 p = tile.pixel; p < tile.end; p += AHEAD * tile.step) {
        Pack<T> packs[AHEAD][COUNT];
#pragma unroll
        for (int a = 0; a < AHEAD; ++a)
#pragma unroll
            for (int c = 0; c < COUNT; ++c)
                if (p + a * tile.step < tile.end)
                    packs[a][c] = load_channels<PACKS>(in[c] + (p + a * tile.step) * channels, tile.channel, channels);
#pragma unroll
        for (int a = 0; a < AHEAD; ++a)
            if (p + a * tile.step < tile.end) use(p + a * tile.step, packs[a]);
    }
}

// ---- sums in a fixed order

template <class A> __device__ inline A warp_sum(A value) {
#pragma unroll
    for (int distance = WARP / 2; distance > 0; distance /= 2)
        value += __shfl_xor_sync(0xffffffffu, value, distance);
    return value;
}

// The sum over the block, on every thread. blockDim.x is a multiple of 32, at most 1024; all threads call it.
template <class A> __device__ inline A block_sum(A value) {
    SHARED(A, of_warp, WARP);
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    value = warp_sum(value);
    __syncthreads();  // of_warp may still be read from an earlier call
    if (lane == 0) of_warp[warp] = value;
    __syncthreads();
    return warp_sum(lane < warps ? of_warp[lane] : A(0));
}

// total[l·COUNT + k] = finish(Σ value[k]) over the threads with threadIdx.x % lanes = l; `total` is shared memory.
// lanes: a power of 2 with lanes·COUNT ≤ 32, the same on all threads; blockDim.x is a multiple of 32, at most 1024; all
// threads call it, and may read `total` afterwards.
template <int COUNT, class A, class F>
__device__ inline void sum_columns(A (&value)[COUNT], int lanes, A* total, F finish) {
    SHARED(A, of_warp, WARP * (WARP + 1));  // a row a warp; one longer, so that a column lies in 32 banks
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    for (int distance = WARP / 2; distance >= lanes; distance /= 2)
#pragma unroll
        for (int k = 0; k < COUNT; ++k) value[k] += __shfl_xor_sync(0xffffffffu, value[k], distance);
    if (lane < lanes)
#pragma unroll
        for (int k = 0; k < COUNT; ++k) of_warp[warp * (WARP + 1) + lane * COUNT + k] = value[k];
    __syncthreads();
#pragma unroll 1
    for (int column = warp; column < lanes * COUNT; column += warps) {
        A sum = warp_sum(lane < warps ? of_warp[lane * (WARP + 1) + column] : A(0));
        if (lane == 0) total[column] = finish(sum);
    }
    __syncthreads();
}

// ---- some neighbouring columns of a matrix, which a block goes down in rows

// The entries of one thread: in row after row, `step` apart, from `start` on and below `end`, as many neighbouring ones
// as a Pack has, but no more than `across`.
struct Strip {
    int64 start, step, end;
    int across;

    __device__ int count(int64 i) const { return int(min(int64(across), end - i)); }
};

// Values past `count` are 0. With PACKS, count is at least Pack::size.
template <bool PACKS, class T> __device__ inline Pack<T> load_some(const T* from, int count) {
    if (PACKS) return load_pack(from);
    Pack<T> pack = {};
#pragma unroll
    for (int k = 0; k < Pack<T>::size; ++k)
        if (k < count) pack.value[k] = from[k];
    return pack;
}

template <bool PACKS, class T> __device__ inline void store_some(T* to, const Pack<T>& pack, int count) {
    if (PACKS) {
        store_pack(to, pack);
    } else {
#pragma unroll
        for (int k = 0; k < Pack<T>::size; ++k)
            if (k < count) to[k] = pack.value[k];
    }
}

// A thread's entries of COUNT matrices of one shape. It keeps the first HELD packs of each in registers; those that
// follow it reads again each time.
template <bool PACKS, int HELD, int COUNT, class T> struct HeldStrip {
    const T* in[COUNT];
    Strip own;
    Pack<T> held[HELD][COUNT];

    __device__ int64 row(int r) const { return own.start + r * own.step; }

    __device__ void load(int64 i, Pack<T> (&packs)[COUNT]) const {
#pragma unroll
        for (int c = 0; c < COUNT; ++c) packs[c] = load_some<PACKS>(in[c] + i, own.count(i));
    }

    // All of these loads are on their way together.
    __device__ void hold() {
#pragma unroll
        for (int r = 0; r < HELD; ++r)
            if (row(r) < own.end) load(row(r), held[r]);
    }

    // use(i, packs) for the rows in registers; packs[c] has the entries from in[c] + i on.
    template <class Use> __device__ void for_held(Use use) const {
#pragma unroll
        for (int r = 0; r < HELD; ++r)
            if (row(r) < own.end) use(row(r), held[r]);
    }

    // The same for the other rows.
    template <class Use> __device__ void for_rest(Use use) const {
#pragma unroll 1
        for (int64 i = row(HELD); i < own.end; i += own.step) {
            Pack<T> packs[COUNT];
            load(i, packs);
            use(i, packs);
        }
    }
};
