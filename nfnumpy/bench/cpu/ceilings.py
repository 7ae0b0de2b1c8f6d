"""What the processor can do at best: multiply matrices, copy memory. And how many of our threads can."""

import numpy

from ...backend import blas_threads, blocking, thread_pool
from ..timing import host_milliseconds, take_turns

COLUMNS = [("ceiling", "what", ""), ("rate", "rate", ".1f"), ("unit", "unit", ""), ("least", "rate_low", ".1f"),
           ("most", "rate_high", ".1f")]
PRODUCTS, COPY = "float32 products, one on each of our threads", "copy, read and written, on all our threads"


def measure(report, plan):
    """The section "ceilings": operations per second of large float32 products, bytes per second of a copy."""
    with report.section("ceilings", "Ceilings of this machine") as section:
        size, count = plan.product_size, blas_threads.thread_count()
        operations = 2e-6 * size**3
        contestants = {PRODUCTS: (_products(size, count), count * operations, "GFLOP/s"),
                       "one product on one thread": (_products(size, 1), operations, "GFLOP/s"),
                       "one product on BLAS's own threads": (_shared_product(size), operations, "GFLOP/s"),
                       COPY: (_copy(plan.copy_bytes), 2e-6 * plan.copy_bytes, "GB/s")}
        for work, _, _ in contestants.values():
            work()
        timings, failures = take_turns({what: lambda work=work: host_milliseconds(work)
                                        for what, (work, _, _) in contestants.items()}, plan.repeats)
        for what, (_, amount, unit) in contestants.items():
            if what in timings:
                rates = sorted(amount / sample for sample in timings[what].samples)
                section.add(what=what, unit=unit, rate=amount / timings[what].median, rate_low=rates[0],
                            rate_high=rates[-1])
            else:
                section.note(f"{what}: {failures[what]}")
        section.show(COLUMNS)


def rate(report, what):
    """The rate that was measured under that name (PRODUCTS in GFLOP/s or COPY in GB/s), or None."""
    rows = report.rows("ceilings", what=what)
    return rows[0]["rate"] if rows else None


def _matrices(size):
    random = numpy.random.default_rng(0)
    return *(random.standard_normal((size, size), dtype=numpy.float32) for _ in range(2)), \
        numpy.empty((size, size), dtype=numpy.float32)


def _products(size, count):
    """A function that multiplies `count` pairs of matrices, each on a thread of its own."""
    matrices = [_matrices(size) for _ in range(count)]
    return lambda: thread_pool.parallel_map(lambda abc: numpy.matmul(abc[0], abc[1], out=abc[2]), matrices)


def _shared_product(size):
    a, b, c = _matrices(size)
    return lambda: numpy.matmul(a, b, out=c)


def _copy(size):
    source, target = (numpy.ones(size // 4, dtype=numpy.float32) for _ in range(2))
    return lambda: thread_pool.parallel_map(lambda share: numpy.copyto(target[share], source[share]),
                                       blocking.split_by_thread(source.size))
