"""The instructions of tensor_cores.cuh give what PTX's documentation says, and their emulation notices mistakes.

The first part runs on a GPU, where there is one: then it compares the emulation's source, the documentation, with it.
"""

import cupy
import ml_dtypes
import numpy as np
import pytest

from nfnumpy.backend import cuda, to_host
from reference_tests.helpers.cuda_on_cpu import KernelError, Program
from reference_tests.helpers.cupy_stand_in import cupy as stand_in
from reference_tests.helpers.cupy_stand_in.cupy._raw import RawKernel, _launch

HEADERS = cuda.FILES["implicit_convolution"].source.partition('#line 1 "implicit_convolution.cu"')[0]
SOURCE = HEADERS + r"""
template <class T> __device__ void product_of(const unsigned* in, unsigned* out) {
    const unsigned* own = in + threadIdx.x * 10;  // four of a, two of b, four of the sum
    unsigned a[4] = {own[0], own[1], own[2], own[3]}, b[2] = {own[4], own[5]};
    float sum[4] = {__uint_as_float(own[6]), __uint_as_float(own[7]), __uint_as_float(own[8]), __uint_as_float(own[9])};
    multiply_add<T>(sum, a, b);
    for (int k = 0; k < 4; ++k) out[threadIdx.x * 4 + k] = __float_as_uint(sum[k]);
}

template <bool TRANSPOSED> __device__ void matrices_of(const unsigned* in, unsigned* out) {
    DYNAMIC_SHARED(shared);  // 32 rows of 16 bytes; then comes the row that each lane names
    for (int k = 0; k < 4; ++k) reinterpret_cast<unsigned*>(shared)[threadIdx.x * 4 + k] = in[threadIdx.x * 4 + k];
    __syncthreads();
    unsigned read[4];
    load_matrices<TRANSPOSED>(read, shared_address(shared) + in[WARP * 4 + threadIdx.x] * 16);
    for (int k = 0; k < 4; ++k) out[threadIdx.x * 4 + k] = read[k];
}

__device__ void copies(const unsigned* in, unsigned* out) {  // a group for each 16 bytes; of odd ones zeros
    DYNAMIC_SHARED(shared);
    unsigned own = shared_address(shared) + threadIdx.x * 64;
    for (int k = 0; k < 4; ++k) {
        copy_later(own + k * 16, in + threadIdx.x * 16 + k * 4, k % 2 == 0);
        end_group();
    }
    wait_for_groups<1>();  // all but the last group
    for (int k = 0; k < 12; ++k) out[threadIdx.x * 16 + k] = load_shared(own + k * 4);
    wait_for_groups<0>();
    for (int k = 12; k < 16; ++k) out[threadIdx.x * 16 + k] = load_shared(own + k * 4);
}

template <class T> __device__ void halves(const unsigned* in, unsigned* out) {
    int at = blockIdx.x * WARP + threadIdx.x;
    Two<T> both = narrow_two<T>(__uint_as_float(in[2 * at]), __uint_as_float(in[2 * at + 1]));
    out[at] = both.value[0].bits | (unsigned)both.value[1].bits << 16;
}

template <int WHAT> __global__ void run(const unsigned* in, unsigned* out, int what) {
#if defined(CUDA_ON_CPU) || __CUDA_ARCH__ >= 800
    if (what == 0) product_of<float>(in, out);
    if (what == 1) product_of<bfloat16>(in, out);
    if (what == 2) product_of<float16>(in, out);
    if (what == 3) matrices_of<false>(in, out);
    if (what == 4) matrices_of<true>(in, out);
    if (what == 5) copies(in, out);
    if (what == 6) out[blockIdx.x * WARP + threadIdx.x] = rounded_to_tf32(in[blockIdx.x * WARP + threadIdx.x]);
    if (what == 7) halves<bfloat16>(in, out);
    if (what == 8) halves<float16>(in, out);
#endif
}
"""
NUMBERS = {"float32": 0, "bfloat16": 1, "float16": 2, "matrices": 3, "transposed matrices": 4, "copies": 5, "round": 6,
           "to bfloat16": 7, "to float16": 8}
LANES = np.arange(32)
G, T = LANES // 4, LANES % 4  # PTX: groupID, threadID_in_group


@pytest.fixture(scope="module")
def run():
    """run(what, 4-byte values, count): the `count` 4-byte results of one of the above, on one warp or more."""
    module = cupy.RawModule(code=SOURCE, options=("--std=c++17",), name_expressions=("run<0>",))
    function = module.get_function("run<0>")

    def call(what, values, count, warps=1):
        out = cupy.zeros(count, dtype=np.uint32)
        given = cupy.asarray(np.ascontiguousarray(values).view(np.uint32).ravel())
        function((warps,), (32,), (given, out, np.int32(NUMBERS[what])), shared_mem=2048)
        return to_host(out)
    return call


def fragment(matrix, rows, columns):
    """Of every lane the register with these elements of a matrix: one of 4 bytes, or two of 2 bytes as a last axis."""
    values = np.ascontiguousarray(matrix[rows, columns])
    return values.reshape(32, -1).view(np.uint32)


def registers(a, b):
    """Of every lane the registers a and b: PTX ISA, "Matrix Fragments for mma.m16n8k8" and "… mma.m16n8k16"."""
    if a.itemsize == 4:
        of_a = [(G, T), (G + 8, T), (G, T + 4), (G + 8, T + 4)]
        of_b = [(T, G), (T + 4, G)]
    else:
        def pair(row, column):  # elements i and i + 1 of a fragment
            return np.stack([row, row], 1), np.stack([column, column + 1], 1)
        of_a = [pair(G, T * 2), pair(G + 8, T * 2), pair(G, T * 2 + 8), pair(G + 8, T * 2 + 8)]
        of_b = [(row, column) for column, row in (pair(G, T * 2), pair(G, T * 2 + 8))]
    return [fragment(a, *places) for places in of_a], [fragment(b, *places) for places in of_b]


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.float16])
def test_a_warps_product_is_the_product_of_matrices(run, dtype):
    draws, inner = np.random.default_rng(0), 32 // np.dtype(dtype).itemsize
    a, b = (draws.integers(-9, 9, shape).astype(dtype) for shape in ((16, inner), (inner, 8)))
    start = draws.integers(-9, 9, (16, 8)).astype(np.float32)
    places = [(G, T * 2), (G, T * 2 + 1), (G + 8, T * 2), (G + 8, T * 2 + 1)]
    of_a, of_b = registers(a, b)
    of_sum = [fragment(start, *place) for place in places]
    got = run(np.dtype(dtype).name, np.concatenate([*of_a, *of_b, *of_sum], axis=1), 128).view(np.float32)
    expected = start + a.astype(np.float32) @ b.astype(np.float32)
    assert np.array_equal(got.reshape(32, 4), np.stack([expected[place] for place in places], 1))


@pytest.mark.parametrize("transposed", [False, True])
def test_lanes_receive_the_values_of_the_rows_that_others_name(run, transposed):
    """PTX ISA, ldmatrix: matrix m has its rows where lanes 8m to 8m + 7 say."""
    draws = np.random.default_rng(1)
    rows, named = draws.integers(0, 1 << 16, (32, 8), dtype=np.uint16), draws.permutation(32).astype(np.uint32)
    got = run("transposed matrices" if transposed else "matrices",
              np.concatenate([rows.view(np.uint32).ravel(), named]), 128).reshape(32, 4)
    for matrix in range(4):
        values = rows[named[8 * matrix:8 * matrix + 8]]
        values = values.T if transposed else values
        expected = np.stack([values[G, 2 * T], values[G, 2 * T + 1]], 1)
        assert np.array_equal(np.ascontiguousarray(got[:, matrix]).view(np.uint16).reshape(32, 2), expected)


def test_copies_arrive_group_by_group_and_zeros_where_nothing_is_there(run):
    values = np.random.default_rng(2).integers(1, 1 << 31, (32, 4, 4), dtype=np.uint32)
    expected = values * np.array([1, 0, 1, 0], dtype=np.uint32)[:, None]
    assert np.array_equal(run("copies", values, 512).reshape(values.shape), expected)


def test_floats_are_rounded_to_the_nearest_of_tf32_with_ties_away_from_zero(run):
    draws = np.random.default_rng(3)
    significands = draws.integers(0, 1 << 23, 3200, dtype=np.uint32)
    significands[::3] = significands[::3] >> 13 << 13 | 1 << 12  # ties
    values = (significands | draws.integers(1, 254, 3200, dtype=np.uint32) << 23).view(np.float32)
    values[::2] *= -1
    values[:4] = 0, -0.0, np.inf, -np.inf
    got = run("round", values, 3200, warps=100).view(np.float32)
    with np.errstate(invalid="ignore"):
        ulp = np.exp2(np.floor(np.log2(np.abs(values.astype(np.float64)) + (values == 0))) - 10)
        expected = np.sign(values) * np.floor(np.abs(values.astype(np.float64)) / ulp + 0.5) * ulp
    expected[:4] = values[:4]
    assert np.array_equal(got, expected.astype(np.float32))
    assert np.isnan(run("round", np.full(32, np.nan, np.float32), 32).view(np.float32)).all()


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_sums_are_rounded_to_pairs_of_halves_in_their_order(run, dtype):
    values = np.random.default_rng(4).standard_normal(6400).astype(np.float32)
    values[:3] = np.inf, -np.inf, 1e30
    got = run(f"to {np.dtype(dtype).name}", values, 3200, warps=100)
    with np.errstate(over="ignore"):
        assert np.array_equal(got.view(dtype).astype(np.float32), values.astype(dtype).astype(np.float32))


# ---- what the emulation notices

MISTAKES = HEADERS + r"""
template <int WHAT> __global__ void err(const float* x, float* out, int64 at) {
    DYNAMIC_SHARED(shared);
    unsigned address = shared_address(shared), read[4], b[2] = {};
    float sum[4] = {};
    if (WHAT == 0) copy_later(address, x + at, true), end_group(), wait_for_groups<0>();
    if (WHAT == 1) copy_later(address + at, x, true), end_group(), wait_for_groups<0>();
    if (WHAT == 2) copy_later(address, x, true), end_group();
    if (WHAT == 3) copy_later(address, x, true);
    if (WHAT == 4) {
        copy_later(address + threadIdx.x * 16, x, true);
        end_group();
        out[threadIdx.x] = __uint_as_float(load_shared(address + threadIdx.x * 16));
        wait_for_groups<0>();
    }
    if (WHAT == 5) {  // what another thread copied, with a barrier or without
        copy_later(address + threadIdx.x * 16, x, true);
        end_group();
        wait_for_groups<0>();
        if (at) __syncthreads();
        out[threadIdx.x] = __uint_as_float(load_shared(address + (blockDim.x - 1 - threadIdx.x) * 16));
    }
    if (WHAT == 6) load_matrices<false>(read, address + at);
    if (WHAT == 7) *out = __uint_as_float(load_shared(address + at));
    if (WHAT == 8) {
        unsigned a[4] = {__float_as_uint(x[0])};
        multiply_add<float>(sum, a, b);
    }
    if (WHAT == 9 && threadIdx.x < 16) multiply_add<float16>(sum, {}, b);
}
"""


@pytest.fixture(scope="module")
def program():
    return Program(MISTAKES, tuple(f"err<{what}>" for what in range(10)))


@pytest.fixture
def err(program, monkeypatch):
    """err(what, at): launch a mistake on 32 threads; returns its 64 results."""
    def launch(what, at=0, order=0, x=1.0, threads=32):
        monkeypatch.setenv("CUDA_ON_CPU_ORDER", str(order))
        out = stand_in.empty(64, np.float32)
        _launch(program, f"err<{what}>", (1,), (threads,), (stand_in.full(4, np.float32(x), np.float32), out,
                                                            np.int64(at)), 1024)
        return out.host
    return launch


@pytest.mark.parametrize("what, at, message", [
    (0, 1, "a multiple of 16"), (0, 4096, "outside of every array"), (1, 8, "not a multiple of its size"),
    (1, 1024, "outside of dynamic shared"), (1, -16, "outside of dynamic shared"), (2, 0, "no thread waited for"),
    (3, 0, "do not belong to a group"), (6, 8, "not a multiple of its size"), (6, 1024, "outside of dynamic shared"),
    (7, 2, "not a multiple of its size"), (7, 1024, "outside of dynamic shared"), (9, 0, "not all threads reach")])
def test_mistakes_with_tensor_cores_are_errors(err, what, at, message):
    with pytest.raises(KernelError, match=message):
        err(what, at)


def test_operands_that_are_not_tf32_are_an_error(err):
    err(8, x=1 + 2.0**-10)
    with pytest.raises(KernelError, match="not rounded to TF32"):
        err(8, x=1 + 2.0**-11)


def test_a_copy_is_not_seen_before_its_wait(err):
    assert np.isnan(err(4)).all()


def test_a_copy_of_another_thread_is_not_seen_before_a_barrier(err):
    for order in range(3):
        assert np.array_equal(err(5, at=1, order=order, threads=64)[:64], np.ones(64))
        assert np.isnan(err(5, at=0, order=order, threads=64)).any()


def test_an_instruction_of_a_warp_in_a_part_of_one_is_an_error(err):
    with pytest.raises(KernelError, match="not made of them"):
        err(8, threads=33)


def test_more_than_48_kib_of_shared_memory_are_to_be_asked_for(program):
    kernel, arguments = RawKernel(program, "err<7>"), [stand_in.zeros(4, np.float32) for _ in range(2)]
    kernel((1,), (32,), (*arguments, np.int64(0)), shared_mem=48 << 10)
    with pytest.raises(KernelError, match="cannot launch with 49168 bytes"):
        kernel((1,), (32,), (*arguments, np.int64(0)), shared_mem=(48 << 10) + 16)
    kernel.max_dynamic_shared_size_bytes = 96 << 10
    kernel((1,), (32,), (*arguments, np.int64((96 << 10) - 4)), shared_mem=96 << 10)
    kernel.max_dynamic_shared_size_bytes = 1 << 20
    with pytest.raises(KernelError, match="cannot launch with"):
        kernel((1,), (32,), (*arguments, np.int64(0)), shared_mem=1 << 20)
