"""Measurements: `python -m nfnumpy.bench gpu` proves the GPU backend on real hardware and holds it against PyTorch.

Measuring (`timing`) and telling (`report`, `table`, `bars`) know nothing of GPUs.
"""
