// Matrix products on tensor cores (compute capability 8.0 and above): instructions of PTX, each a function.
//
// A warp multiplies 16×K by K×8 values, of 32 bytes in K: K = 8 for float, whose values are rounded to TF32 (10 bits
// after the point), K = 16 for halves. Sums are float32. Lane l has these registers, with g = l / 4 and t = l % 4 (a
// register has one float at k = t, or two halves at k = 2t and 2t + 1; "upper" is the second half of the range of k):
//   a: (row g), (row g + 8), (row g, upper k), (row g + 8, upper k);  b: (column g), (column g, upper k)
//   sum: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)
// Source: PTX ISA 8.5, "Warp-level matrix instructions". Where kernels run on a CPU, tensor_cores_on_cpu.h does the
// same. Tests: reference_tests/kernels/test_tensor_cores.py, test_implicit_convolution.py.

// Two neighbouring values of a row, and `narrow` of both: of halves in one instruction.
template <class T> struct alignas(2 * sizeof(T)) Two { T value[2]; };
template <class T> __device__ inline Two<T> narrow_two(float first, float second) {
    return {narrow<T>(first), narrow<T>(second)};
}

#ifndef CUDA_ON_CPU
template <> __device__ inline Two<bfloat16> narrow_two<bfloat16>(float first, float second) {
    unsigned bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(second), "f"(first));
    return {bfloat16{(unsigned short)bits}, bfloat16{(unsigned short)(bits >> 16)}};
}
template <> __device__ inline Two<float16> narrow_two<float16>(float first, float second) {
    unsigned bits;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(second), "f"(first));
    return {float16{(unsigned short)bits}, float16{(unsigned short)(bits >> 16)}};
}

#define DYNAMIC_SHARED(name) extern __shared__ uint4 dynamic_shared[]; char* name = (char*)dynamic_shared

// Where `at` lies in shared memory: 32 bits in place of 64.
__device__ inline unsigned shared_address(const void* at) { return (unsigned)__cvta_generic_to_shared(at); }

// ---- copies from memory to shared memory that go on while the thread does, in groups that finish in their order

// 16 bytes at `from`, or zeros if not `there`.
__device__ inline void copy_later(unsigned to, const void* from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 ::"r"(to), "l"(__cvta_generic_to_global(from)), "r"(there ? 16 : 0) : "memory");
}

// The copies since the last call become a group.
__device__ inline void end_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Until no more than the `PENDING` last groups of this thread are unfinished.
template <int PENDING> __device__ inline void wait_for_groups() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// ---- registers from shared memory

// Four 8×8 matrices of 2-byte values. Lane l says where row l % 8 of matrix l / 8 begins, and receives in out[m] the
// values 2t, 2t + 1 of row g of matrix m; TRANSPOSED: of its column g.
template <bool TRANSPOSED> __device__ inline void load_matrices(unsigned (&out)[4], unsigned row) {
    if constexpr (TRANSPOSED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3]) : "r"(row) : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3]) : "r"(row) : "memory");
}

// The 4 bytes at `from`.
__device__ inline unsigned load_shared(unsigned from) {
    unsigned value;
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(value) : "r"(from) : "memory");
    return value;
}

// ---- products

// The bits of a float, rounded to the nearest of TF32; ties away from 0.
__device__ inline unsigned rounded_to_tf32(unsigned bits) {
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(__uint_as_float(bits)));
    return bits;
}

// sum += a·b; T: the type of the values in a and b, of float those that are rounded to TF32.
template <class T>
__device__ inline void multiply_add(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]) = delete;

#define MULTIPLY_ADD(T, instruction)                                                                               \
    template <>                                                                                                    \
    __device__ inline void multiply_add<T>(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {      \
        asm("mma.sync.aligned." instruction " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"     \
            : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])                                               \
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                                   \
    }
MULTIPLY_ADD(float, "m16n8k8.row.col.f32.tf32.tf32.f32")
MULTIPLY_ADD(bfloat16, "m16n8k16.row.col.f32.bf16.bf16.f32")
MULTIPLY_ADD(float16, "m16n8k16.row.col.f32.f16.f16.f32")
#endif

// ---- a block's product

// The product of matrices (ROWS × K)·(K × COLUMNS) by slices of 128 bytes in K, for a block of BLOCK<ROWS>. A
// slice of either matrix lies in shared memory, line by line: either its lines go along K (BY_K: ROWS lines of 128 bytes)
// or every value of K has one (of ROWS or COLUMNS values). Pieces of 16 bytes change places within a line, by `place_of`,
// so that neither writing a line nor reading a column of pieces needs one bank of shared memory twice. A warp has 64 rows
// and half of the columns, if there are so many: the larger its part, the fewer bytes of shared memory, and the fewer
// roundings to TF32, a product takes.
constexpr int SLICE_BYTES = 128, STEPS = SLICE_BYTES / 32;  // of a slice: of one instruction each in K
constexpr int ACROSS = 2;                                   // warps in a row of them
template <int ROWS> constexpr int WARPS_DOWN = ROWS < 128 ? 2 : ROWS / 64;
template <int ROWS> constexpr int BLOCK = WARPS_DOWN<ROWS> * ACROSS * WARP;  // threads

// Where piece `piece` of line `line` lies, in bytes from the beginning.
template <class T, bool BY_K, int SIZE> __device__ inline unsigned place_of(unsigned line, unsigned piece) {
    constexpr unsigned bytes = BY_K ? SLICE_BYTES : SIZE * sizeof(T);
    return line * bytes + ((piece ^ (BY_K || sizeof(T) == 2 ? line % 8 : line % 4 * 2)) * 16);
}

template <class T, int ROWS, int COLUMNS, bool A_BY_K, bool B_BY_K> struct BlockProduct {
    static constexpr int ROWS_OF_WARP = ROWS / WARPS_DOWN<ROWS>, COLUMNS_OF_WARP = COLUMNS / ACROSS;
        static constexpr unsigned B_AT = ROWS * SLICE_BYTES, STAGE_BYTES = (ROWS + COLUMNS) * SLICE_BYTES;
    static_assert(ROWS_OF_WARP % 16 == 0 && COLUMNS_OF_WARP % 16 == 0, "whole fragments");
    float sum[ROWS_OF_WARP / 16][COLUMNS_OF_WARP / 8][4];

    __device__ static unsigned lane() { return threadIdx.x % WARP; }
    __device__ static unsigned first_row() { return threadIdx.x / WARP / ACROSS * ROWS_OF_WARP; }
    __device__ static unsigned first_column() { return threadIdx.x / WARP % ACROSS * COLUMNS_OF_WARP; }

    __device__ void clear() {
#pragma unroll
        for (auto& row : sum)
#pragma unroll
            for (auto& part : row)
#pragma unroll
                for (float& value : part) value = 0;
    }

    // The registers a of 16 rows.
    __device__ static void load_a(unsigned (&a)[4], unsigned matrix, unsigned row, unsigned step) {
        unsigned l = lane();
        if constexpr (A_BY_K) {
            load_matrices<false>(a, matrix + place_of<T, true, ROWS>(row + l % 16, step * 2 + l / 16));
        } else if constexpr (sizeof(T) == 2) {
            unsigned line = step * 16 + l / 16 * 8 + l % 8;
            load_matrices<true>(a, matrix + place_of<T, false, ROWS>(line, row / 8 + l / 8 % 2));
        } else {
#pragma unroll
            for (unsigned k = 0; k < 4; ++k) {
                unsigned at = row + k % 2 * 8 + l / 4, line = step * 8 + k / 2 * 4 + l % 4;
                a[k] = load_shared(matrix + place_of<T, false, ROWS>(line, at / 4) + at % 4 * 4);
            }
        }
        round(a);
    }

    // The registers b of 16 columns: first both of columns 0 to 7.
    __device__ static void load_b(unsigned (&b)[4], unsigned matrix, unsigned column, unsigned step) {
        unsigned l = lane();
        if constexpr (B_BY_K) {
            load_matrices<false>(
                b, matrix + place_of<T, true, COLUMNS>(column + l / 16 * 8 + l % 8, step * 2 + l / 8 % 2));
        } else if constexpr (sizeof(T) == 2) {
            load_matrices<true>(b, matrix + place_of<T, false, COLUMNS>(step * 16 + l % 16, column / 8 + l / 16));
        } else {
#pragma unroll
            for (unsigned k = 0; k < 4; ++k) {
                unsigned at = column + k / 2 * 8 + l / 4, line = step * 8 + k % 2 * 4 + l % 4;
                b[k] = load_shared(matrix + place_of<T, false, COLUMNS>(line, at / 4) + at % 4 * 4);
            }
        }
        round(b);
    }

    __device__ static void round(unsigned (&values)[4]) {
        if constexpr (sizeof(T) == 4) {
#pragma unroll
            for (unsigned& value : values) value = rounded_to_tf32(value);
        }
    }

    // What one step needs of both matrices.
    struct Fragments {
        unsigned a[ROWS_OF_WARP / 16][4], b[COLUMNS_OF_WARP / 8][2];

        __device__ void load(unsigned stage, int step) {
#pragma unroll
            for (int i = 0; i < ROWS_OF_WARP / 16; ++i) load_a(a[i], stage, first_row() + i * 16, step);
#pragma unroll
            for (int j = 0; j < COLUMNS_OF_WARP / 8; j += 2) {
                unsigned both[4];
                load_b(both, stage + B_AT, first_column() + j * 8, step);
                b[j][0] = both[0], b[j][1] = both[1], b[j + 1][0] = both[2], b[j + 1][1] = both[3];
            }
        }
    };

    // Adds the product of the slices at `stage`. While a step is multiplied, the next one's fragments are on their way.
    // before(step) is called before the products of each step.
    template <class Before> __device__ void add(unsigned stage, Before before) {
        Fragments of_step[2];
        of_step[0].load(stage, 0);
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
            if (step + 1 < STEPS) of_step[(step + 1) % 2].load(stage, step + 1);
            before(step);
            const Fragments& now = of_step[step % 2];
#pragma unroll
            for (int i = 0; i < ROWS_OF_WARP / 16; ++i)
#pragma unroll
                for (int j = 0; j < COLUMNS_OF_WARP / 8; ++j) multiply_add<T>(sum[i][j], now.a[i], now.b[j]);
        }
    }

    // Adds the products of `slices` slices; copy_a(stage) and then copy_b(stage) begin the copies of the next one. While
    // one is multiplied, the copies of the STAGES - 1 after it are under way; beginning them is spread over two steps.
    template <int STAGES, class A, class B>
    __device__ void add_all(unsigned stages, int slices, A& copy_a, B& copy_b) {
#pragma unroll
        for (int slice = 0; slice < STAGES - 1; ++slice) {
            if (slice < slices) {
                copy_a(stages + slice * STAGE_BYTES);
                copy_b(stages + slice * STAGE_BYTES);
            }
            end_group();
        }
        int from = 0, to = STAGES - 1;
#pragma unroll 1
        for (int slice = 0; slice < slices; ++slice) {
            wait_for_groups<STAGES - 2>();
            __syncthreads();  // all threads' copies are there, and the stage before this one has been read
            add(stages + from * STAGE_BYTES, [&](int step) {
                if (slice + STAGES - 1 >= slices) return;
                if (step == 0) copy_a(stages + to * STAGE_BYTES);
                if (step == 1) copy_b(stages + to * STAGE_BYTES);
            });
            end_group();
            from = from + 1 == STAGES ? 0 : from + 1;
            to = to + 1 == STAGES ? 0 : to + 1;
        }
    }

    // Writes sum + added(column), rounded to `Out`: a row to to(row), of which the first `columns` values are written,
    // none where that is null. `buffer`: shared memory for a tile, which may be that of the stages.
    template <class Out, class Added, class To>
    __device__ void store(char* buffer, int columns, Added added, To to) const {
        constexpr int LINE = COLUMNS + Pack<Out>::size, PIECES = COLUMNS / Pack<Out>::size;
        Out* tile = reinterpret_cast<Out*>(buffer);
        __syncthreads();  // the stages have been read
#pragma unroll
        for (int j = 0; j < COLUMNS_OF_WARP / 8; ++j) {
            int column = first_column() + j * 8 + lane() % 4 * 2;
            float first = added(column), second = added(column + 1);
#pragma unroll
            for (int k = 0; k < ROWS_OF_WARP / 8; ++k) {
                const float* own = sum[k / 2][j] + k % 2 * 2;
                *reinterpret_cast<Two<Out>*>(tile + (first_row() + k * 8 + lane() / 4) * LINE + column) =
                    narrow_two<Out>(own[0] + first, own[1] + second);
            }
        }
        __syncthreads();
        int column = threadIdx.x % PIECES * Pack<Out>::size;
        for (int row = threadIdx.x / PIECES; row < ROWS; row += BLOCK<ROWS> / PIECES) {
            Out* line = to(row);
            if (line && column < columns) store_pack(line + column, load_pack(tile + row * LINE + column));
        }
    }
};
