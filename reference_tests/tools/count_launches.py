"""What a training step asks of a GPU: every launch, the bytes it moves and the products' operations, counted.

    python reference_tests/tools/count_launches.py [MODEL [SIZE [BATCH [PRECISION]]]]

runs one step's host code on the stand-in with kernels that do nothing on memory that is never touched. A kernel's bytes
are those of its array arguments (the optimizer's, which finds its arrays by their addresses, those of these arrays),
a product's those of its three matrices.
"""

import collections
import math
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "helpers" / "cupy_stand_in")]

import cupy  # noqa: E402
import numpy as np  # noqa: E402

from nfnumpy import backend, models, ops, optim, trust_saved_arrays  # noqa: E402
from nfnumpy.backend import cuda  # noqa: E402

UPDATE_PASSES = 5  # W, G and V read, W and V written


class Counter:
    """Launches, bytes and operations by the name of what is launched."""

    def __init__(self):
        self.launches, self.bytes, self.operations = (collections.Counter() for _ in range(3))
        self.table_bytes = 0  # of the parameters

    def kernel(self, file, kernel, parameters, grid, block, *arguments):
        """In place of KernelFile.launch."""
        if 0 not in (grid if isinstance(grid, tuple) else (grid,)):
            arrays = [value for value in arguments if isinstance(value, cupy.ndarray)]
            self.note(kernel, self.table_bytes * UPDATE_PASSES if kernel == "clipped_update" else
                      sum(array.nbytes for array in arrays), products_of(kernel, arguments))

    def product(self, handle, transa, transb, m, n, k, alpha, a, a_type, lda, stride_a, b, b_type, ldb, stride_b, beta,
                c, c_type, ldc, stride_c, batch, *rest):
        """In place of cuBLAS's."""
        size = {0: 4, 1: 8, 2: 2, 14: 2}
        self.note("matrix products", batch * (m * k * size[a_type] + k * n * size[b_type] + m * n * size[c_type]),
                  2 * m * n * k * batch)

    def addition(self, x, y):
        """In place of CuPy's own, where cotangents of one place meet."""
        out = cupy.empty(x.shape, x.dtype)
        self.note("additions by CuPy", 3 * out.nbytes)
        return out

    def conversion(self, x, dtype, copy=True):
        """In place of astype."""
        if not copy and x.dtype == np.dtype(dtype):
            return x
        out = cupy.empty(x.shape, dtype)
        self.note("conversions by CuPy", x.nbytes + out.nbytes)
        return out

    def note(self, name, moved, operations=0):
        """One more launch."""
        self.launches[name] += 1
        self.bytes[name] += moved
        self.operations[name] += operations


def products_of(kernel, arguments):
    """The operations of an implicit convolution, from its sizes; 0 for other kernels."""
    if kernel not in ("convolve", "convolve_weight"):
        return 0
    images, _, _, *sizes = arguments[5 if kernel == "convolve" else 3:]
    rows, columns, kernel_height, kernel_width, *_ = sizes
    return 2 * math.prod(map(int, (images, rows, columns, kernel_height, kernel_width, *sizes[10:13])))


def count_step(name, size, batch, precision=None):
    """The Counter of one step."""
    counter, there = Counter(), backend.get("cupy")
    model = models.from_config(models.config_of(name, drop_rate=0.0, stochdepth_rate=0.0), backend="cupy")
    optimizer = optim.SGD(model, lr=0.1)
    counter.table_bytes = sum(parameter.data.nbytes for parameter in model.parameters().values())
    labels = cupy.zeros(batch, dtype=np.int64)
    cuda.KernelFile.launch = lambda file, *arguments: counter.kernel(file, *arguments)
    cupy.cuda.cublas.gemmStridedBatchedEx = counter.product
    cupy.empty = lambda shape, dtype=np.float64: cupy.ndarray(np.empty(shape, dtype))
    cupy.ndarray.__add__ = lambda x, y: counter.addition(x, y)
    cupy.ndarray.astype = lambda x, dtype, copy=True: counter.conversion(x, dtype, copy)
    cupy.astype = counter.conversion
    images = cupy.empty((batch, size, size, 3), there.compute_dtype(precision, "float32"))
    with trust_saved_arrays():
        logits = model(images, training=True)
        if precision:
            logits = ops.cast(logits, dtype=np.float32)
        ops.softmax_cross_entropy(logits, labels).backward()
    optimizer.step()
    return counter


def main(name="nfnet_f0", size="192", batch="128", precision=None):
    """Print the table."""
    counter = count_step(name, int(size), int(batch), precision)
    print(f"{name}, {size} px, batch {batch}, {precision or 'float32'}\n\n| what | launches | GB | TFLOP |\n"
          "|---|---|---|---|")
    for key, moved in counter.bytes.most_common():
        print(f"| {key} | {counter.launches[key]} | {moved / 1e9:.2f} | {counter.operations[key] / 1e12:.2f} |")
    print(f"| in all | {counter.launches.total()} | {counter.bytes.total() / 1e9:.1f} | "
          f"{counter.operations.total() / 1e12:.2f} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
