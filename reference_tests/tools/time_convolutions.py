"""Times k×k convolutions on a GPU: with patches in memory, as implicit products, and PyTorch's (cuDNN) if it is there.

    python reference_tests/tools/time_convolutions.py [--dtype float32 bfloat16] [--only WORDS] [--variants all]

The shapes are those of nfnet_f0 (192 px) and nf_resnet50 (224 px) at batch 128. Before a shape is timed, both paths are
compared with each other. Each time is the median of 10 runs in succession, which the device begins when all are queued.
float32 is TF32 for all three. --variants also times the kernels' text with the changes of VARIANTS. A case that fails
prints a line, and the next case begins.
"""

import argparse
import concurrent.futures
import itertools
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import cupy
import ml_dtypes
import numpy as np

from nfnumpy.backend import cublas, cuda
from nfnumpy.functional import convolution as formulas
from nfnumpy.functional.fast_cupy import convolution as fast, implicit_convolution as implicit

BATCH, REPEATS = 128, 10
SHAPES = [  # (network, image side, in, out, groups, stride, how many a forward pass has); all kernels are 3×3
    ("nfnet_f0", 12, 768, 768, 6, 1, 11), ("nfnet_f0", 24, 256, 256, 2, 1, 3), ("nfnet_f0", 6, 768, 768, 6, 1, 5),
    ("nfnet_f0", 48, 128, 128, 1, 1, 2), ("nfnet_f0", 48, 256, 256, 2, 2, 1), ("nfnet_f0", 24, 768, 768, 6, 2, 1),
    ("nfnet_f0", 12, 768, 768, 6, 2, 1), ("nfnet_f0", 96, 64, 128, 1, 2, 1), ("nfnet_f0", 96, 32, 64, 1, 1, 1),
    ("nfnet_f0", 96, 16, 32, 1, 1, 1), ("nf_resnet50", 14, 256, 256, 1, 1, 5), ("nf_resnet50", 28, 128, 128, 1, 1, 3),
    ("nf_resnet50", 56, 64, 64, 1, 1, 3), ("nf_resnet50", 7, 512, 512, 1, 1, 2),
    ("nf_resnet50", 56, 128, 128, 1, 2, 1), ("nf_resnet50", 28, 256, 256, 1, 2, 1),
    ("nf_resnet50", 14, 512, 512, 1, 2, 1)]
VARIANTS = {  # name: ([(text of the kernels, in its place)], {constant of the launching module: value})
    "copies through L1": ([("cp.async.cg", "cp.async.ca")], {}),
    "2 stages": ([("STAGES = 3", "STAGES = 2")], {"STAGES": 2}),
    "4 stages": ([("STAGES = 3", "STAGES = 4")], {"STAGES": 4}),
    "256 rows": ([], {"ROWS": 256}),
    "TF32 cut off, for comparison only": ([("value = rounded_to_tf32(value)", "value = value")], {}),
    "no multiplication, for comparison only": ([("multiply_add<T>(sum[i][j], now.a[i], now.b[j])",
                                                 "sum[i][j][0] += __uint_as_float(now.a[i][0] ^ now.b[j][0])")], {})}
WANTED = ("out", "x", "weight")
TOLERANCE = {"float32": 2e-3, "bfloat16": 1e-2, "float16": 2e-3}  # of the norm of the difference to the norm


class Case:
    """One convolution with its arrays; `calls` are what is timed."""

    def __init__(self, shape, dtype):
        self.network, side, self.channels, self.outs, self.groups, self.stride, self.count = shape
        self.dtype = np.dtype(dtype)
        self.x_shape = BATCH, side, side, self.channels
        self.weight_shape = 3, 3, self.channels // self.groups, self.outs
        self.options = {"stride": self.stride, "groups": self.groups}
        windows = formulas.conv2d_windows(self.x_shape, self.weight_shape, **self.options)
        self.out_shape = BATCH, *windows.out, self.outs
        self.operations = 2 * np.prod(self.out_shape) * np.prod(self.weight_shape[:3])
        self.x, self.weight, self.cotangent = (_random(s, self.dtype, k) for k, s in enumerate(
            (self.x_shape, self.weight_shape, self.out_shape)))
        self.name = f"{self.network:<11} {side:>2} px {self.channels:>3}→{self.outs:<3} /{self.stride} g{self.groups}"

    def calls(self):
        """What is wanted: a function that computes it on the path that is switched on."""
        return {"out": lambda: fast.conv2d(self.x, self.weight, None, **self.options),
                "x": lambda: fast.conv2d_x_vjp(self.cotangent, self.weight, self.x_shape, **self.options),
                "weight": lambda: fast.conv2d_weight_vjp(self.cotangent, self.x, self.weight_shape, **self.options)}


def _random(shape, dtype, seed):
    """Standard normal values, the same million again and again."""
    some = cupy.asarray(np.random.default_rng(seed).standard_normal(1_048_583).astype(dtype))
    size = int(np.prod(shape))
    return cupy.concatenate([some] * -(-size // some.size))[:size].reshape(shape)


class Switch:
    """Context in which the implicit path is on for every shape, or off."""

    def __init__(self, on):
        self.on = on

    def __enter__(self):
        self.before = implicit.LEAST_FILLED
        implicit.LEAST_FILLED = 0
        self.context = implicit.switched(self.on)
        self.context.__enter__()

    def __exit__(self, *_):
        self.context.__exit__(None, None, None)
        implicit.LEAST_FILLED = self.before


def milliseconds(call):
    """The median time on the device; the host launches all while the device waits for a long kernel."""
    call()
    events = [cupy.cuda.Event() for _ in range(REPEATS + 1)]
    BUSY()
    events[0].record()
    for event in events[1:]:
        call()
        event.record()
    events[-1].synchronize()
    return statistics.median(cupy.cuda.get_elapsed_time(a, b) for a, b in itertools.pairwise(events))


def busy_for_a_while():
    """A function that starts a kernel of some milliseconds."""
    source = """extern "C" __global__ void occupy(long long cycles) {
        long long start = clock64();
        while (clock64() - start < cycles) {}
    }"""
    kernel = cupy.RawKernel(source, "occupy")
    return lambda: kernel((1,), (1,), (np.int64(4_000_000),))


def difference(a, b):
    """The norm of a - b over that of b, in float64 on the device; chunks of it, so that no large copies are made."""
    squares, of_b = 0.0, 0.0
    a, b = a.reshape(-1), b.reshape(-1)
    for start in range(0, a.size, 1 << 26):
        left, right = (array[start:start + (1 << 26)].astype(np.float32) for array in (a, b))
        squares += float(((left - right) ** 2).sum(dtype=np.float64))
        of_b += float((right ** 2).sum(dtype=np.float64))
    return (squares / max(of_b, 1e-300)) ** 0.5


def torch_calls(case):
    """The same computations by PyTorch, channels last; None without it."""
    try:
        import torch
        if not torch.cuda.is_available():
            return None
    except ImportError:
        return None
    torch.backends.cudnn.allow_tf32 = True
    dtype, last = getattr(torch, case.dtype.name), {"memory_format": torch.channels_last}
    height = case.x_shape[1]
    options = {"stride": [case.stride] * 2, "padding": [0 if case.stride > 1 else 1] * 2, "dilation": [1, 1],
               "transposed": False, "output_padding": [0, 0], "groups": case.groups}
    pad = case.stride - 1  # "SAME" with stride 2 has one pixel more after an even image: in the image, for PyTorch

    def tensor(n, h, w, c):
        return torch.randn((n, c, h, w), device="cuda", dtype=torch.float32).to(dtype).contiguous(**last)
    x = tensor(BATCH, height + pad, height + pad, case.channels)
    weight = torch.randn((case.outs, case.channels // case.groups, 3, 3), device="cuda").to(dtype).contiguous(**last)
    cotangent = tensor(*case.out_shape)
    backward = torch.ops.aten.convolution_backward

    def derivative(mask):
        return lambda: backward(cotangent, x, weight, None, *options.values(), mask)
    return {"out": lambda: torch.ops.aten.convolution(x, weight, None, *options.values()),
            "x": derivative([True, False, False]), "weight": derivative([False, True, False])}


def torch_milliseconds(call):
    """As `milliseconds`, on PyTorch's stream."""
    import torch
    for _ in range(2):
        call()
    torch.cuda.synchronize()
    torch.cuda._sleep(4_000_000)  # cycles, in which everything is queued
    events = [torch.cuda.Event(enable_timing=True) for _ in range(REPEATS + 1)]
    events[0].record()
    for event in events[1:]:
        call()
        event.record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in itertools.pairwise(events))


def attempt(what, function):
    """function(), or None after a line about its failure."""
    try:
        return function()
    except Exception as error:
        print(f"  ! {what}: {type(error).__name__}: {' '.join(str(error).split())[:300]}", flush=True)
        return None


def with_variant(name, function):
    """function() with the kernels' text and constants of a variant."""
    changes, constants = VARIANTS[name]
    original, functions = cuda._source, implicit.KERNELS._functions
    text = original(implicit.KERNELS.name)
    for old, new in changes:
        if old not in text:
            raise ValueError(f"the kernels no longer have {old!r}")
        text = text.replace(old, new)
    before = {key: getattr(implicit, key) for key in constants}
    cuda._source = lambda file: text if file == implicit.KERNELS.name else original(file)
    implicit.KERNELS._functions = {}
    try:
        for key, value in constants.items():
            setattr(implicit, key, value)
        return function()
    finally:
        cuda._source, implicit.KERNELS._functions = original, functions
        for key, value in before.items():
            setattr(implicit, key, value)


def compile_all(dtypes):
    """All instances that the shapes need, in several threads: NVRTC takes a second or more for each."""
    names = [cuda.FLOATING[name] for name in dtypes]
    wanted = [text for text in implicit.KERNELS.expressions() if text.partition("<")[2].partition(",")[0] in names]

    def compile_one(expression):
        cupy.cuda.Device(0).use()
        kernel, _, rest = expression.partition("<")
        tile = ", ".join(rest.rstrip(">").split(", ")[-2:])
        implicit.KERNELS._function(expression, implicit._shared_bytes(kernel, (tile,)))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(compile_one, wanted))


def time_case(case, totals, variants):
    """Print a line for each of WANTED and add the times up by (network, dtype, path)."""
    theirs = attempt(f"{case.name}: PyTorch", lambda: torch_calls(case)) or {}
    for wanted, call in case.calls().items():
        times = {}

        def both(call=call, wanted=wanted):
            with Switch(False):
                expected = call()
            with Switch(True):
                error = difference(call(), expected)
            if not error < TOLERANCE[case.dtype.name]:
                raise ValueError(f"the paths differ by {error:.2e} of the norm")
            return error

        def timed(on, call=call):
            with Switch(on):
                return milliseconds(call)
        error = attempt(f"{case.name} {wanted}: comparison", both)
        times["patches"] = attempt(f"{case.name} {wanted}: patches", lambda: timed(False))
        times["implicit"] = attempt(f"{case.name} {wanted}: implicit", lambda: timed(True))
        if wanted in theirs:
            times["cuDNN"] = attempt(f"{case.name} {wanted}: cuDNN", lambda call=theirs[wanted]:
                                     torch_milliseconds(call))
        for name in variants:
            times[name] = attempt(f"{case.name} {wanted}: {name}",
                                  lambda name=name: with_variant(name, lambda: timed(True)))
        shown = "  ".join(f"{path} {'-' if value is None else f'{value:7.3f} ms {case.operations / value / 1e9:4.0f}'}"
                          for path, value in times.items())
        print(f"{case.name} {case.dtype.name:<8} {wanted:<6} error {'-' if error is None else f'{error:.0e}'}  {shown}",
              flush=True)
        for path, value in times.items():
            key = case.network, case.dtype.name, path
            totals[key] = totals.get(key, 0) + case.count * (float("nan") if value is None else value)


def main(arguments):
    """Print the table, and for each network the sum over a training step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", nargs="*", default=["float32", "bfloat16"])
    parser.add_argument("--only", default="", help="the shapes whose name has this, such as '12 px'")
    parser.add_argument("--variants", nargs="*", default=[], help="names of VARIANTS; 'all' for all of them")
    parser.add_argument("--seconds", type=float, default=40, help="no case is begun after so long")
    options = parser.parse_args(arguments)
    start, totals = time.perf_counter(), {}
    variants = list(VARIANTS) if options.variants == ["all"] else options.variants
    print("ms and TFLOP/s: the median of 10", cupy.cuda.runtime.getDeviceProperties(0)["name"].decode())
    attempt("compiling in threads", lambda: compile_all(options.dtype))
    print(f"compiled after {time.perf_counter() - start:.0f} s", flush=True)
    with cublas.tf32(True):
        for shape, name in itertools.product(SHAPES, options.dtype):
            if time.perf_counter() - start > options.seconds:
                print("! out of time")
                break
            dtype = ml_dtypes.bfloat16 if name == "bfloat16" else name
            case = attempt(str(shape), lambda shape=shape, dtype=dtype: Case(shape, dtype))
            if case and options.only in case.name:
                attempt(case.name, lambda case=case: time_case(case, totals, variants))
            del case
            cupy.get_default_memory_pool().free_all_blocks()
    print("\nforward and backward of all these convolutions in a network:")
    for (network, dtype, path), value in sorted(totals.items()):
        print(f"{network:<11} {dtype:<8} {path:<10} {value:8.2f} ms")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    BUSY = attempt("a kernel that keeps the device busy", busy_for_a_while) or (lambda: None)
    main(sys.argv[1:])
