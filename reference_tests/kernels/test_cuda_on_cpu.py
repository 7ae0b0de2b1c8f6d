"""The machine that kernels are tested on notices mistakes, and computes as CUDA does where there are none."""

import ml_dtypes
import numpy as np
import pytest

from nfnumpy.backend import cuda
from reference_tests.helpers.cuda_on_cpu import KernelError, Program
from reference_tests.helpers.cupy_stand_in import cupy as device
from reference_tests.helpers.cupy_stand_in.cupy._raw import _launch

DTYPES = (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)
ORDERS = (0, 1, 2, 3)
SOURCE = cuda.FILES["activations"].source.partition('#line 1 "activations.cu"')[0] + r"""
template <class T> __global__ void read(const T* x, T* out, int64 at) { out[0] = x[at]; }
template <class T> __global__ void write(T* x, int64 at) { x[at] = T{}; }

__global__ void write_to(int64 address) { *reinterpret_cast<float*>(address) = 0; }

template <class T> __global__ void read_shared(T* out, int64 at) {
    SHARED(T, array, 5);
    for (int k = 0; k < 5; ++k) array[k] = T{};
    out[0] = array[at];
}
__global__ void write_shared(int64 at) {
    SHARED(float, array, 5);
    array[at] = 0;
}
__global__ void no_more_than_its_own_shared(float* out) {  // of the same name as above, and of another size
    SHARED(float, array, 500);
    array[499] = 1;
    out[0] = array[499] + array[0];
}

__global__ void half_of_a_block_waits() { if (threadIdx.x < blockDim.x / 2) __syncthreads(); }
__global__ void half_of_a_warp_waits() { if (threadIdx.x < 16) __syncwarp(); }
__global__ void half_of_a_warp_shuffles(float* out) {
    if (threadIdx.x < 16) out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
}
__global__ void shuffle_in_part_of_a_warp(float* out) { out[0] = __shfl_xor_sync(0xffffffffu, 1.0f, 1); }

template <bool barrier> __global__ void backwards(const float* x, float* out) {
    SHARED(float, array, 64);
    array[threadIdx.x] = x[threadIdx.x];
    if (barrier) __syncthreads();
    out[threadIdx.x] = array[blockDim.x - 1 - threadIdx.x];
}
template <bool barrier> __global__ void first_then_second(const float* x, float* out) {  // one place used twice
    SHARED(float, place, 1);
    if (threadIdx.x == 0) place[0] = x[0];
    __syncthreads();
    float first = warp_sum(place[0]);
    if (barrier) __syncthreads();
    if (threadIdx.x == 0) place[0] = x[1];
    __syncthreads();
    out[threadIdx.x] = first - place[0];
}
__global__ void next_block(const float* x, float* out) {  // what another block of the same launch writes
    out[blockIdx.x] = x[blockIdx.x];
    out[gridDim.x + blockIdx.x] = out[(blockIdx.x + 1) % gridDim.x];
}

__global__ void pack_at(const float* x, float* out, int64 at) { store_pack(out, load_pack(x + at)); }
template <class To> __global__ void bytes_at(const unsigned char* x, To* out, int64 at) {
    out[0] = *reinterpret_cast<const To*>(x + at);
}
__global__ void index_into_four(float* out, int64 at) {
    float four[4] = {1, 2, 3, 4};
    out[0] = four[at];
}
__global__ void product_of(int a, int b, int64* out) { out[0] = a * b; }
__global__ void quotient_of(int a, int b, int64* out) { out[0] = a / b; }

template <class A> __global__ void shuffle(const A* x, A* out, int kind, int by) {
    A mine = x[threadIdx.x];
    out[threadIdx.x] = kind == 0   ? __shfl_xor_sync(0xffffffffu, mine, by)
                       : kind == 1 ? __shfl_down_sync(0xffffffffu, mine, by)
                                   : __shfl_sync(0xffffffffu, mine, by);
}
template <class A> __global__ void __launch_bounds__(1024) sums(const A* x, A* out) {
    A mine = x[threadIdx.x];
    out[threadIdx.x] = block_sum(mine) + block_sum(mine * mine);
}

template <class T> __global__ void widen_all(const T* x, float* out) {
    int64 k = (int64)blockIdx.x * blockDim.x + threadIdx.x;
    out[k] = widen(x[k]);
}
template <class T> __global__ void narrow_all(const float* x, T* out) {
    int64 k = (int64)blockIdx.x * blockDim.x + threadIdx.x;
    out[k] = narrow<T>(x[k]);
}
__global__ void take(const float* a, float b, double c, int d, int64 e, bool f) {}
"""
EVERY = [f"{kernel}<{name}>" for kernel, names in {
    "read": cuda.FLOATING.values(), "write": cuda.FLOATING.values(), "read_shared": cuda.FLOATING.values(),
    "backwards": ("false", "true"), "first_then_second": ("false", "true"), "shuffle": ("float", "double", "int64"),
    "sums": ("float", "double", "int64"), "widen_all": ("float16", "bfloat16"), "narrow_all": ("float16", "bfloat16"),
    "bytes_at": ("float", "double", "float16")}.items() for name in names]
EVERY += """write_to write_shared no_more_than_its_own_shared half_of_a_block_waits half_of_a_warp_waits
half_of_a_warp_shuffles shuffle_in_part_of_a_warp next_block pack_at index_into_four product_of quotient_of
take""".split()


@pytest.fixture(scope="module")
def program():
    return Program(SOURCE, tuple(EVERY))


@pytest.fixture
def launch(program, monkeypatch):
    """launch(kernel, *arguments): in one block of one thread, unless told otherwise."""
    def run(kernel, *arguments, grid=(1,), block=(1,), order=0):
        monkeypatch.setenv("CUDA_ON_CPU_ORDER", str(order))
        _launch(program, kernel, grid, block, arguments)
    return run


def named(dtype):
    return cuda.FLOATING[np.dtype(dtype).name]


def is_nan(array):
    return bool(np.isnan(array.host.astype(np.float64)).all())


# ---- straying

@pytest.mark.parametrize("dtype", DTYPES)
def test_a_read_beside_an_array_is_nan_and_further_off_an_error(launch, dtype):
    """The last 16 bytes of 5 values have space for some more."""
    x, out = device.zeros(5, dtype), device.zeros(1, dtype)
    spare = -x.nbytes % 16 // x.itemsize
    launch(f"read<{named(dtype)}>", x, out, np.int64(4))
    assert out.host[0] == 0
    for at in (-1, -2, -7, *range(5, 5 + spare)):
        launch(f"read<{named(dtype)}>", x, out, np.int64(at))
        assert is_nan(out), at
    for at in (5 + spare, -4096, 4096):
        with pytest.raises(KernelError, match=r"an access outside of every array .block 0,0,0, thread 0,0,0"):
            launch(f"read<{named(dtype)}>", x, out, np.int64(at))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_value_written_beside_an_array_is_an_error(launch, dtype):
    for at in (-1, -7, 5, 8, 4096, -4096):
        with pytest.raises(KernelError, match=r"outside|past the end"):
            launch(f"write<{named(dtype)}>", device.zeros(5, dtype), np.int64(at))
    launch(f"write<{named(dtype)}>", device.zeros(5, dtype), np.int64(4))


def test_a_write_by_address_beside_an_array_is_an_error(launch):
    x = device.zeros(5, np.float32)
    launch("write_to", np.int64(x.data.ptr + 16))
    for beside in (-4, 20, 1 << 15):
        with pytest.raises(KernelError, match=r"outside|past the end"):
            launch("write_to", np.int64(device.zeros(5, np.float32).data.ptr + beside))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_is_noticed_of_shared_arrays(launch, dtype):
    out = device.zeros(1, dtype)
    for at in (-1, 5):
        launch(f"read_shared<{named(dtype)}>", out, np.int64(at))
        assert is_nan(out), at
    for at in (4096, -4096):
        with pytest.raises(KernelError, match="outside"):
            launch(f"read_shared<{named(dtype)}>", out, np.int64(at))
    for at in (-1, -7, 5, 7, 8, 4096, -4096):
        with pytest.raises(KernelError, match=r"outside|shared array"):
            launch("write_shared", np.int64(at))
    launch("write_shared", np.int64(4))


def test_what_nobody_wrote_is_nan(launch):
    out = device.zeros(1, np.float32)
    launch("read<float>", device.empty(5, np.float32), out, np.int64(2))
    assert is_nan(out)
    launch("no_more_than_its_own_shared", out)
    assert is_nan(out)


def test_bad_indices_overflows_and_divisions_by_zero_are_errors(launch):
    out, whole = device.zeros(1, np.float32), device.zeros(1, np.int64)
    launch("index_into_four", out, np.int64(3))
    launch("product_of", np.int32(1 << 15), np.int32(1 << 15), whole)
    assert out.host[0] == 4 and whole.host[0] == 1 << 30
    for kernel, *arguments in (("index_into_four", out, np.int64(4)), ("index_into_four", out, np.int64(-1)),
                               ("product_of", np.int32(1 << 16), np.int32(1 << 15), whole)):
        with pytest.raises(KernelError, match="an index outside of an array, or an overflow"):
            launch(kernel, *arguments)
    with pytest.raises(KernelError, match="a division by zero"):
        launch("quotient_of", np.int32(1), np.int32(0), whole)


def test_a_misaligned_access_is_an_error(launch):
    x, out = device.zeros(8, np.float32), device.zeros(4, np.float32)
    for at in (0, 4):
        launch("pack_at", x, out, np.int64(at))
    for at in (1, 2, 3):
        with pytest.raises(KernelError, match="a multiple of 16"):
            launch("pack_at", x, out, np.int64(at))
    for dtype, size in ((np.float32, 4), (np.float64, 8), (np.float16, 2)):
        bytes, out = device.zeros(16, np.uint8), device.zeros(1, dtype)
        launch(f"bytes_at<{named(dtype)}>", bytes, out, np.int64(size))
        for at in range(1, size):
            with pytest.raises(KernelError, match="a misaligned access"):
                launch(f"bytes_at<{named(dtype)}>", bytes, out, np.int64(at))


# ---- waiting for each other

@pytest.mark.parametrize("order", ORDERS)
def test_a_barrier_that_not_all_threads_reach_is_an_error(launch, order):
    for kernel, *arguments in (("half_of_a_block_waits",), ("half_of_a_warp_waits",),
                               ("half_of_a_warp_shuffles", device.zeros(64, np.float32))):
        with pytest.raises(KernelError, match="not all threads reach"):
            launch(kernel, *arguments, block=(64,), order=order)
    with pytest.raises(KernelError, match="whole warps"):
        launch("shuffle_in_part_of_a_warp", device.zeros(1, np.float32), block=(33,), order=order)


@pytest.mark.parametrize("kernel", ["backwards", "first_then_second"])
def test_without_a_barrier_some_order_of_the_threads_shows_it(launch, kernel):
    x = device.asarray(np.arange(64, dtype=np.float32) + 1)
    for barrier in (True, False):
        results = []
        for order in ORDERS:
            out = device.empty(64, np.float32)
            launch(f"{kernel}<{str(barrier).lower()}>", x, out, block=(64,), order=order)
            results.append(out.host.copy())
        same = all(np.array_equal(result, results[0]) for result in results)
        assert same == barrier
    wanted = {"backwards": x.host[::-1], "first_then_second": np.full(64, 32 * 1.0 - 2.0)}[kernel]
    launch(f"{kernel}<true>", x, out, block=(64,))
    assert np.array_equal(out.host, wanted)


def test_what_another_block_writes_depends_on_the_order(launch):
    x, seen = device.asarray(np.arange(8, dtype=np.float32)), []
    for order in ORDERS:
        out = device.empty(16, np.float32)
        launch("next_block", x, out, grid=(8,), order=order)
        assert np.array_equal(out.host[:8], x.host)
        seen.append(tuple(np.isnan(out.host[8:])))
    assert len(set(seen)) > 1


def test_after_an_error_the_next_launch_is_right(launch):
    x, out = device.asarray(np.arange(64, dtype=np.float32)), device.empty(64, np.float32)
    with pytest.raises(KernelError):
        launch("half_of_a_block_waits", block=(64,))
    with pytest.raises(KernelError):
        launch("write_shared", np.int64(5))
    launch("write_shared", np.int64(0))
    launch("backwards<true>", x, out, block=(64,))
    assert np.array_equal(out.host, x.host[::-1])


# ---- launching

def test_arguments_of_another_number_or_type_are_errors(launch):
    right = [device.zeros(1, np.float32), np.float32(0), np.float64(0), np.int32(0), np.int64(0), np.bool_(False)]
    launch("take", *right)
    wrong = [np.zeros(1, np.float32), 0.0, np.float32(0), np.int64(0), 0, False]
    for position, value in enumerate(wrong):
        with pytest.raises(TypeError, match=f"take: argument {position} is"):
            launch("take", *right[:position], value, *right[position + 1:])
    for count in (5, 7):
        with pytest.raises(TypeError, match=f"{count} arguments for 6 parameters"):
            launch("take", *(right + right)[:count])
    with pytest.raises(TypeError, match="argument 0 is not contiguous"):
        launch("take", device.zeros((2, 2), np.float32).T, *right[1:])


@pytest.mark.parametrize("grid, block", [((0,), (1,)), ((1, 65536), (1,)), ((1, 1, 65536), (1,)), ((2**31,), (1,)),
                                         ((1,), (1, 1, 65)), ((1,), (0,)), ((1,), (257,)), ((1,), (16, 17))])
def test_what_cuda_would_not_launch_is_an_error(launch, grid, block):
    with pytest.raises(KernelError, match="cannot launch"):
        launch("half_of_a_block_waits", grid=grid, block=block)


def test_more_than_256_threads_need_a_kernel_bounded_to_them(launch):
    """Without a bound the compiler may give every thread more registers than that many threads can have."""
    x, out = device.zeros(1056, np.float32), device.zeros(1056, np.float32)
    launch("sums<float>", x, out, block=(32, 32))
    with pytest.raises(KernelError, match=r"cannot launch 1056 threads with __launch_bounds__\(1024\)"):
        launch("sums<float>", x, out, block=(32, 33))
    with pytest.raises(KernelError, match="cannot launch 288 threads with no __launch_bounds__"):
        launch("backwards<true>", x, out, block=(288,))


def test_a_kernel_that_does_not_compile_is_an_error():
    with pytest.raises(KernelError, match="nonsense"):
        Program("__global__ void k() { nonsense; }", ("k",))


# ---- computing as CUDA does

@pytest.mark.parametrize("dtype, name", [(np.float32, "float"), (np.float64, "double"), (np.int64, "int64")])
def test_shuffles_fetch_from_the_lane_that_cuda_says(launch, dtype, name):
    """xor: of lane ^ by; down: of lane + by, its own past the last; plain: of lane by modulo 32."""
    host = np.random.default_rng(0).integers(-1000, 1000, 64).astype(dtype)
    x, lanes = device.asarray(host), np.arange(32)
    for by in range(32):
        down = np.where(lanes + by < 32, lanes + by, lanes)
        for kind, source in enumerate((lanes ^ by, down, np.full(32, by))):
            for order in (0, 1, 2):
                out = device.empty(64, dtype)
                launch(f"shuffle<{name}>", x, out, np.int32(kind), np.int32(by), block=(64,), order=order)
                assert np.array_equal(out.host.reshape(2, 32), host.reshape(2, 32)[:, source])
    launch(f"shuffle<{name}>", x, out, np.int32(2), np.int32(35), block=(64,))
    assert np.array_equal(out.host[:32], np.full(32, host[3]))


@pytest.mark.parametrize("threads", [32, 64, 96, 1024])
@pytest.mark.parametrize("dtype, name", [(np.float32, "float"), (np.float64, "double"), (np.int64, "int64")])
def test_block_sums_of_whole_numbers_are_exact_on_every_thread(launch, dtype, name, threads):
    host = np.random.default_rng(threads).integers(-99, 99, threads)
    for order in ORDERS:
        out = device.empty(threads, dtype)
        launch(f"sums<{name}>", device.asarray(host.astype(dtype)), out, block=(threads,), order=order)
        assert np.array_equal(out.host, np.full(threads, np.sum(host) + np.sum(host * host)))


def assert_same_but_for_the_payload_of_nan(got, expected):
    nan = np.isnan(expected)
    assert np.array_equal(np.isnan(got), nan)
    bits = np.dtype(f"u{expected.itemsize}")
    assert np.array_equal(got.view(bits)[~nan], expected.view(bits)[~nan])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_every_half_precision_number_widens_to_itself(launch, dtype):
    patterns = np.arange(65536, dtype=np.uint16).view(dtype)
    out = device.empty(65536, np.float32)
    launch(f"widen_all<{named(dtype)}>", device.asarray(patterns), out, grid=(256,), block=(256,))
    assert_same_but_for_the_payload_of_nan(out.host, patterns.astype(np.float32))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_narrowing_rounds_to_the_nearest_with_ties_to_even(launch, dtype):
    """Of floats of all exponents, infinities and NaN among them; half-way cases, and those just off half-way."""
    random = np.random.default_rng(0).integers(0, 1 << 32, 65536, dtype=np.uint32).view(np.float32)
    own = np.arange(65535, dtype=np.uint16).view(dtype).astype(np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        halfway = own / 2 + np.arange(1, 65536, dtype=np.uint16).view(dtype).astype(np.float32) / 2
        beside = [np.nextafter(halfway, np.float32(limit)) for limit in (-np.inf, np.inf)]
        special = np.array([0, -0.0, np.inf, -np.inf, np.nan, 65504, 65520, 65519.99, 2.0**-24, 2.0**-25, 1e-45,
                            3.3895314e38, 3.4e38], dtype=np.float32)
        x = np.concatenate([random, own, halfway, *beside, special])
        x = np.concatenate([x, np.zeros(-len(x) % 256, dtype=np.float32)])
        expected = x.astype(dtype)
    out = device.empty(len(x), dtype)
    launch(f"narrow_all<{named(dtype)}>", device.asarray(x), out, grid=(len(x) // 256,), block=(256,))
    assert_same_but_for_the_payload_of_nan(out.host, expected)
