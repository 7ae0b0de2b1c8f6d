"""What the processor can do at best: multiply matrices, copy memory. And how many of our threads can."""

import functools
from collections.abc import Callable
from typing import Any

import numpy

from ...backend import blas_threads, blocking, thread_pool
from ..cases.peak_rates import COPY, PRODUCTS
from ..report import Report
from ..timing import host_milliseconds, take_turns

COLUMNS = [("peak rate", "what", ""), ("rate", "rate", ".1f"), ("unit", "unit", ""), ("least", "rate_low", ".1f"),
           ("most", "rate_high", ".1f")]


def measure(report: Report, plan: Any) -> None:
    """The section "peaks": operations per second of large float32 products, bytes per second of a copy."""
    with report.section("peaks", "Peak rates of this machine") as section:
        size, count = plan.product_size, blas_threads.thread_count()
        operations = 2e-6 * size**3
        works = {PRODUCTS: (_products(size, count), count * operations, "GFLOP/s"),
                 "one product on one thread": (_products(size, 1), operations, "GFLOP/s"),
                 "one product on BLAS's own threads": (_shared_product(size), operations, "GFLOP/s"),
                 COPY: (_copy(plan.copy_bytes), 2e-6 * plan.copy_bytes, "GB/s")}
        for work, _, _ in works.values():
            work()
        timings, failures = take_turns({what: functools.partial(host_milliseconds, work)
                                        for what, (work, _, _) in works.items()}, plan.repeats)
        for what, (_, amount, unit) in works.items():
            if what in timings:
                rates = sorted(amount / sample for sample in timings[what].samples)
                section.add(what=what, unit=unit, rate=amount / timings[what].median, rate_low=rates[0],
                            rate_high=rates[-1])
            else:
                section.note(f"{what}: {failures[what]}")
        section.show(COLUMNS)


def _matrices(size):
    """Two random matrices and an empty one for their product."""
    random = numpy.random.default_rng(0)
    a = random.standard_normal((size, size), dtype=numpy.float32)
    b = random.standard_normal((size, size), dtype=numpy.float32)
    return a, b, numpy.empty((size, size), dtype=numpy.float32)


def _multiply(matrices):
    a, b, product = matrices
    numpy.matmul(a, b, out=product)


def _products(size: int, count: int) -> Callable[[], object]:
    """A function that multiplies `count` pairs of matrices, each on a thread of its own."""
    matrices = [_matrices(size) for _ in range(count)]
    return lambda: thread_pool.parallel_map(_multiply, matrices)


def _shared_product(size):
    return functools.partial(_multiply, _matrices(size))


def _copy(size):
    source = numpy.ones(size // 4, dtype=numpy.float32)
    target = numpy.ones(size // 4, dtype=numpy.float32)
    return lambda: thread_pool.parallel_map(lambda share: numpy.copyto(target[share], source[share]),
                                            blocking.split_by_thread(source.size))
