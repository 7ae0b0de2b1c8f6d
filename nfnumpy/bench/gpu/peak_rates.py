"""What the device can do at best: copy memory, multiply matrices."""

import functools
from collections.abc import Callable
from typing import Any

import cupy
import numpy

from ... import backend as backends
from ..implementations.nfnumpy_cupy import CupyNetwork
from ..report import Report
from ..timing import take_turns

COLUMNS = [("peak rate", "what", ""), ("rate", "rate", ".1f"), ("unit", "unit", ""), ("least", "rate_low", ".1f"),
           ("most", "rate_high", ".1f")]


def measure(report: Report, plan: Any, allowance: Any) -> None:
    """The section "peaks": bytes read and written per second by a copy, operations per second of products."""
    with report.section("peaks", "Peak rates of this device") as section:
        works = {"copy, device to device": (_copy(plan.copy_bytes), 2e-6 * plan.copy_bytes, "GB/s")}
        for precision in ("tf32", "bf16"):
            works[f"product {plan.product_size}³, {precision}"] = (
                _product(plan.product_size, precision), 2e-9 * plan.product_size**3, "TFLOP/s")
        for what, (work, amount, unit) in works.items():
            timings, failures = take_turns({what: functools.partial(_sample, work)}, plan.repeats, allowance.lasts)
            if what in timings:
                rates = sorted(amount / sample for sample in timings[what].samples)
                section.add(what=what, unit=unit, rate=amount / timings[what].median, rate_low=rates[0],
                            rate_high=rates[-1])
            else:
                section.add(what=what, unit=unit, rate=None, failure=failures[what])
                section.note(f"{what}: {failures[what]}")
        section.show(COLUMNS)


def copy_rate(report: Report) -> float | None:
    """GB/s of the copy that was measured, or None."""
    rates = [row.get("rate") for row in report.rows("peaks", unit="GB/s")]
    return next((rate for rate in rates if isinstance(rate, float) and rate > 0), None)


def _sample(work, times=5):
    work()
    return CupyNetwork.milliseconds(lambda: [work() for _ in range(times)]) / times


def _copy(size):
    source = cupy.ones((size // 4,), dtype=cupy.float32)
    target = cupy.ones((size // 4,), dtype=cupy.float32)
    return lambda: cupy.copyto(target, source)


def _product(size: int, precision: str) -> Callable[[], None]:
    """A function that starts c = a·b of random square matrices, straight through cuBLAS."""
    from cupy.cuda import cublas, device, runtime
    random = numpy.random.default_rng(0)
    dtype = backends.get("cupy").compute_dtype("bf16" if precision == "bf16" else None, "float32")
    a, b = (cupy.asarray(random.standard_normal((size, size), dtype=numpy.float32)).astype(dtype) for _ in range(2))
    c = cupy.empty((size, size), dtype=dtype)
    kind = runtime.CUDA_R_16BF if precision == "bf16" else runtime.CUDA_R_32F
    compute = cublas.CUBLAS_COMPUTE_32F if precision == "bf16" else cublas.CUBLAS_COMPUTE_32F_FAST_TF32
    one, zero = numpy.ones((), numpy.float32), numpy.zeros((), numpy.float32)

    def work():
        cublas.gemmStridedBatchedEx(
            device.get_cublas_handle(), cublas.CUBLAS_OP_N, cublas.CUBLAS_OP_N, size, size, size, one.ctypes.data,
            a.data.ptr, kind, size, 0, b.data.ptr, kind, size, 0, zero.ctypes.data, c.data.ptr, kind, size, 0, 1,
            compute, cublas.CUBLAS_GEMM_DEFAULT)
    return work
