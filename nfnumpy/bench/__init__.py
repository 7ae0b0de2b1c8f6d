"""Measurements: `python -m nfnumpy.bench cpu` holds nfnumpy against PyTorch on the processor, `gpu` on a GPU.

Measuring (`timing`) and telling (`report`, `table`, `bars`) know nothing of either, and both use the same `problem` and
PyTorch networks (`torch_…`). What is the processor's own is in `cpu/`.
"""
