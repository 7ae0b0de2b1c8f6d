"""Every kernel compiles for four generations of GPUs, without a warning and without registers spilled to memory.

No GPU is needed: NVIDIA's runtime compiler makes machine code for any.
"""

import re
from pathlib import Path

import pytest

import nfnumpy
from nfnumpy.backend import cuda
from reference_tests.helpers import nvrtc

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100")  # Turing (T4), Ampere (A100), Hopper (H100, H200), Blackwell
SOURCES = sorted((Path(nfnumpy.__file__).parent / "backend" / "kernels").glob("*.cu"))


def complaints(source, expressions, architecture):
    """What the compiler warns of, and which kernels spill how many bytes."""
    log = nvrtc.compile_kernels(source, expressions, architecture)
    warnings = [line for line in log.splitlines() if "warning" in line]
    return warnings + [f"{name} spills {count} bytes" for name, count in nvrtc.spilled_bytes(log).items()]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", cuda.FILES)
def test_all_instances_compile_without_warnings_or_spills(name, architecture):
    file = cuda.FILES[name]
    assert complaints(file.source, file.expressions(), architecture) == []


def test_an_unused_variable_would_be_noticed():
    source = "template <class T> __global__ void k(T* x) { int unused = 1; x[0] = 0; }"
    assert any("unused" in line for line in complaints(source, ["k<float>"], "sm_90"))


def test_a_spill_would_be_noticed():
    """300 values that are all alive at once, of which 1024 threads can have 64 each."""
    source = """__global__ void __launch_bounds__(1024) hoard(const float* x, float* out) {
        float held[300];
        for (int k = 0; k < 300; ++k) held[k] = x[k * 1024 + threadIdx.x];
        __syncthreads();
        for (int k = 0; k < 300; ++k) out[k * 1024 + threadIdx.x] = held[299 - k] * held[k];
    }""".replace("for", "\n#pragma unroll\nfor")
    assert any(re.search(r"hoard.* spills \d+ bytes", line) for line in complaints(source, ["hoard"], "sm_90"))


def test_a_mistake_is_an_error_with_the_compilers_words():
    with pytest.raises(nvrtc.CompilationFailed, match="nonsense"):
        nvrtc.compile_kernels("__global__ void k() { nonsense; }", ["k"], "sm_90")


def declared_kernels(text):
    """The names of the __global__ functions: what stands before the last brackets of each declaration."""
    declarations = re.findall(r"__global__\s([^{;]*)[{;]", text)
    return [re.search(r"(\w+)\((?:[^()]|\([^()]*\))*\)\s*$", declaration)[1] for declaration in declarations]


def test_every_file_belongs_to_a_table_of_instances():
    without = sorted({source.stem for source in SOURCES} - set(cuda.FILES))
    assert not without, f"{without}: no KernelFile of an imported module lists the instances; functional/fast_cupy/" \
                        "__init__.py imports the modules with fast paths"
    assert [source.stem for source in SOURCES] == sorted(cuda.FILES)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_every_kernel_of_a_file_is_in_its_table(source):
    declared, listed = set(declared_kernels(source.read_text())), set(cuda.FILES[source.stem].kernels)
    assert declared == listed, f"{source.name} declares {sorted(declared - listed)} without instances in its " \
                               f"KernelFile, which also lists {sorted(listed - declared)}"
    assert declared


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_a_file_includes_only_shared_headers_and_no_atomics(source):
    text = source.read_text()
    assert re.findall(r"#include.*", text) in (['#include "common.cuh"'],
                                               ['#include "common.cuh"', '#include "math.cuh"'],
                                               ['#include "common.cuh"', '#include "tensor_cores.cuh"'])
    assert not re.search(r"atomic\w*\s*\(", text)


def test_declarations_of_several_shapes_are_found():
    text = """__global__ void a(int x) {} template <class T> __global__ void __launch_bounds__(256)
    b(T* x, typename Of<T>::type y) {}
    __global__ void __launch_bounds__(1024, sizeof(T) == sizeof(float) ? 1 : 2)
    c(const T* x,
      int64 y) {}"""
    assert declared_kernels(text) == ["a", "b", "c"]
