"""Times, on a GPU, of the kernels whose launches are shaped by constants, with other values of these constants.

    python reference_tests/tools/time_kernels.py

For AGC's update, weight standardization, gradients of biases, means and pooling, over shapes of NFNet-F0 (192 px, batch
128), for batch normalization over those of ResNet-50 and depthwise convolutions over those of EfficientNet-B0 (224 px,
batch 128): milliseconds of a step's launches together, microseconds a launch, GB/s of the bytes that have to be moved,
and the share of a copy's rate. The launches are queued behind other work, so that no time of the host is in it, and go
from layer to layer, so that what one reads is no longer in the L2 cache. A case that fails prints its error, and the
next one begins.
"""

import collections
import contextlib
import functools
import importlib
import sys
import time
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[2]))

import cupy

from nfnumpy import models
from nfnumpy.bench.gpu.keep_device_busy import KeepDeviceBusy
from nfnumpy.bench.implementations.nfnumpy_cupy import CupyNetwork
from nfnumpy.functional.fast_cupy import (
    depthwise_convolution,
    image_means,
    linear,
    normalization,
    pooling,
    weight_standardization,
)
from nfnumpy.functional.windows import windows_of
from nfnumpy.optim.fast_cupy import lists as tensor_lists, updates

COPIED = 1 << 28  # bytes
AHEAD, AHEAD_OF_LAUNCH = 6.0, 0.08  # milliseconds of other work, while the host queues what is timed
TIMES = 5
BIASES = [((128, 48, 48, 256), 8), ((128, 24, 24, 512), 10), ((128, 24, 24, 256), 10), ((128, 12, 12, 1536), 13),
          ((128, 12, 12, 768), 25), ((128, 6, 6, 1536), 8), ((128, 6, 6, 768), 8)]  # shape, about how often in a step
NORMALIZED = [(128, 112, 112, 64), (128, 56, 56, 256), (128, 28, 28, 512), (128, 14, 14, 1024), (128, 7, 7, 2048)]
DEPTHWISE = [((128, 112, 112, 32), 3, 1), ((128, 112, 112, 96), 3, 2), ((128, 56, 56, 144), 5, 2),
             ((128, 28, 28, 240), 5, 1), ((128, 14, 14, 672), 5, 1), ((128, 7, 7, 1152), 5, 1)]  # image, kernel, stride


class Table:
    """Lines of times beside the rate of a copy."""

    def __init__(self):
        self.busy = KeepDeviceBusy(CupyNetwork.milliseconds)
        source, target = (cupy.zeros(COPIED // 4, dtype=cupy.float32) for _ in range(2))
        self.copy_rate = 1.0
        self.copy_rate = self.line("copy of 256 MiB", lambda: cupy.copyto(target, source), 2 * COPIED, 1)

    def line(self, name, work, moved, launches):
        """Print the median time of `work`, which makes `launches` launches that move `moved` bytes; return its GB/s."""
        try:
            work()
            times = []
            for _ in range(TIMES):
                self.busy(AHEAD + AHEAD_OF_LAUNCH * launches)
                times.append(CupyNetwork.milliseconds(work))
        except Exception as error:
            print(f"{name:58} failed: {' '.join(str(error).split())[:200]}", flush=True)
            return 1.0
        milliseconds = sorted(times)[TIMES // 2]
        rate = 1e-6 * moved / milliseconds
        print(f"{name:58} {milliseconds:8.3f} ms {1e3 * milliseconds / launches:8.2f} µs a launch {rate:7.0f} GB/s "
              f"{100 * rate / self.copy_rate:5.1f} % of copy", flush=True)
        return rate


@contextlib.contextmanager
def constants(module, **values):
    """Other values of a module's constants."""
    with contextlib.ExitStack() as stack:
        for name, value in values.items():
            stack.enter_context(mock.patch.object(module, name, value))
        yield


def random(shape):
    """Normal numbers, as float32."""
    return cupy.random.standard_normal(shape, dtype=cupy.float32)


# ---- AGC and update


def time_updates(table, shapes):
    """All parameters in one launch and the count in a second."""
    lists = [[0.1 * random(shape) for shape in shapes.values()] for _ in range(3)]
    options = {"lr": 1e-3, "weight_decays": [1e-4] * len(shapes),
               "clippings": [None if name.startswith("linear.") else 0.01 for name in shapes]}
    moved = 20 * sum(array.size for array in lists[0])
    for units in (8, 4, 16):
        for threads in (256, 128):
            with constants(tensor_lists, UNITS=units), constants(updates, UNIT_THREADS=threads):
                tensor_lists._pieces.cache_clear()
                table.line(f"clipped_update, {units} units and {threads} threads a block",
                           lambda: updates.clipped_update(*lists, **options), moved, 2)
    tensor_lists._pieces.cache_clear()


# ---- weight standardization


def layout(lanes, threads_at_most, rows, columns, itemsize):
    """In place of weight_standardization._layout."""
    packs = -(-columns * itemsize // 16)
    threads = -(-rows // weight_standardization.HELD[itemsize]) * lanes
    return lanes, -(-packs // lanes), max(32, min(threads_at_most, -(-threads // 32) * 32))


def time_standardization(table, shapes):
    """Layer after layer, forward and back; then shape by shape."""
    weights = [random(shape) for shape in shapes.values() if len(shape) == 4]
    cotangents = [random(weight.shape) for weight in weights]
    gains = [random(weight.shape[-1:]) for weight in weights]
    size = 4 * sum(weight.size for weight in weights)

    def forward(layers):
        for weight, _, gain in layers:
            weight_standardization.standardize_weight(weight, gain)

    def back(layers):
        for weight, cotangent, gain in layers:
            weight_standardization.standardize_weight_vjp(cotangent, weight, gain)

    layers = list(zip(weights, cotangents, gains, strict=True))
    layouts = {"as it is": weight_standardization._layout}
    for lanes, threads in ((1, 512), (2, 512), (4, 512), (1, 256), (2, 256)):
        layouts[f"{lanes} lanes, at most {threads} threads"] = functools.partial(layout, lanes, threads)
    for name, chosen in layouts.items():
        with constants(weight_standardization, _layout=chosen):
            table.line(f"standardize_weight, {name}", lambda: forward(layers), 2 * size, len(layers))
            table.line(f"standardize_weight_vjp, {name}", lambda: back(layers), 3 * size, len(layers))

    of_shape = collections.defaultdict(list)
    for layer in layers:
        of_shape[layer[0].shape].append(layer)
    for shape, some in of_shape.items():
        size = sum(weight.nbytes for weight, _, _ in some)
        table.line(f"standardize_weight {shape} × {len(some)}", lambda some=some: forward(some), 2 * size, len(some))
        table.line(f"standardize_weight_vjp {shape} × {len(some)}", lambda some=some: back(some), 3 * size, len(some))


# ---- over activations


def activations(shapes):
    """(dtype, {shape: an array}) in float32, and in bfloat16 where CuPy knows it."""
    for name in ("float32", "bfloat16"):
        try:
            dtype = cupy.dtype(name) if name == "float32" else cupy.dtype(importlib.import_module("ml_dtypes").bfloat16)
            yield name, {shape: random(shape).astype(dtype) for shape in shapes}
        except Exception as error:
            print(f"{name} left out: {error}", flush=True)


def time_biases(table):
    """Two launches each, over some of a step's activations."""
    for name, arrays in activations([shape for shape, _ in BIASES]):
        moved = sum(arrays[shape].nbytes * count for shape, count in BIASES)
        launches = 2 * sum(count for _, count in BIASES)

        def work(arrays=arrays):
            for shape, count in BIASES:
                for _ in range(count):
                    linear.bias_vjp(arrays[shape])

        for blocks in (linear.BLOCKS, 264, 1056):
            with constants(linear, BLOCKS=blocks):
                table.line(f"bias_vjp {name}, {blocks} blocks", work, moved, launches)


def time_means_and_pooling(table):
    """The global mean with several widths of a block, and average pooling."""
    for name, arrays in activations([shape for shape, _ in BIASES[:4]]):
        for shape, x in arrays.items():
            for lanes in (8, 16, 32):
                with constants(image_means, LEAST_LANES=lanes):
                    table.line(f"image_mean {name} {shape}, {lanes} lanes or more",
                               lambda x=x: image_means.image_mean(x), x.nbytes, 1)
        for shape, x in list(arrays.items())[:2]:
            small = pooling.avg_pool(x, window=2, stride=2)
            moved = x.nbytes + small.nbytes
            table.line(f"avg_pool {name} {shape}", lambda x=x: pooling.avg_pool(x, window=2, stride=2), moved, 1)
            table.line(f"avg_pool_vjp {name} {shape}",
                       functools.partial(pooling.avg_pool_vjp, small, shape, window=2, stride=2), moved, 1)


def time_normalizations(table):
    """Batch normalization: the moments, the result, the derivative with several numbers of pixels for a thread."""
    for name, arrays in activations(NORMALIZED):
        for shape, x in arrays.items():
            gamma, beta = (random(shape[-1:]) for _ in range(2))
            mean, variance, _ = normalization.batch_moments(x)
            table.line(f"batch_moments {name} {shape}", lambda x=x: normalization.batch_moments(x), x.nbytes, 2)
            given = (gamma, mean, variance)
            for pixels in (64, 16, 256):
                with constants(normalization, MOST_PIXELS=pixels):
                    table.line(f"normalize {name} {shape}, {pixels} pixels",
                               lambda x=x, given=given, beta=beta: normalization.normalize(
                                   x, given[0], beta, *given[1:], eps=1e-5), 2 * x.nbytes, 1)
                    table.line(f"batch_norm_vjp {name} {shape}, {pixels} pixels",
                               lambda x=x, given=given: normalization.batch_norm_vjp(x, x, *given, eps=1e-5),
                               5 * x.nbytes, 4)


def time_depthwise(table):
    """Forward and both derivatives, with several numbers of results in a block's row and of blocks for the sums."""
    for name, arrays in activations([shape for shape, _, _ in DEPTHWISE]):
        for shape, kernel, stride in DEPTHWISE:
            x, weight = arrays[shape], random((kernel, kernel, 1, shape[-1])).astype(arrays[shape].dtype)
            windows = windows_of(shape[1:3], (kernel, kernel), stride=stride, padding="SAME")
            out = depthwise_convolution.conv2d(x, weight, None, windows)
            title, moved = f"{name} {shape}, {kernel}×{kernel} / {stride}", x.nbytes + out.nbytes
            for results in (16, 8, 32):
                with constants(depthwise_convolution, MOST_RESULTS=results):
                    table.line(f"depthwise {title}, {results} results", functools.partial(
                        depthwise_convolution.conv2d, x, weight, None, windows), moved, 1)
                    table.line(f"depthwise_x_vjp {title}, {results} results", functools.partial(
                        depthwise_convolution.conv2d_x_vjp, out, weight, shape, windows), moved, 1)
            for blocks in (512, 256, 1024):
                with constants(depthwise_convolution, ENOUGH_BLOCKS=blocks):
                    table.line(f"depthwise_weight_vjp {title}, {blocks} blocks", functools.partial(
                        depthwise_convolution.conv2d_weight_vjp, out, x, weight.shape, windows), moved, 2)


def main():
    """Print the tables."""
    began = time.perf_counter()
    model = models.from_config(models.config_of("nfnet_f0"))
    shapes = {name: tuple(parameter.shape) for name, parameter in model.parameters().items()}
    table = Table()
    for part in (functools.partial(time_updates, table, shapes), functools.partial(time_standardization, table, shapes),
                 functools.partial(time_biases, table), functools.partial(time_means_and_pooling, table),
                 functools.partial(time_normalizations, table), functools.partial(time_depthwise, table)):
        try:
            part()
        except Exception as error:
            print(f"failed: {type(error).__name__}: {error}", flush=True)
    print(f"{time.perf_counter() - began:.1f} s in all")


if __name__ == "__main__":
    main()
