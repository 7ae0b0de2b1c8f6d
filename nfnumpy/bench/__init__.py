"""Measurements beside other frameworks: `python -m nfnumpy.bench cpu` on the processor, `gpu` on a GPU.

    timing, processes, memory, rounds      how a time, a peak of memory and a fair comparison are measured
    cases/                                 what is measured: networks, operations, update, scaling, data loading
    implementations/                       the same work in nfnumpy, PyTorch and JAX, one class each
    cpu/, gpu/                             the sections of the two runs, and their commands
    report, table, targets, plots/         what is printed, kept and drawn
"""
