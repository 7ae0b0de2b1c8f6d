"""PyTorch's networks on the device, where there is a PyTorch that finds it, and the memory that both sides share."""

import functools
import gc
import sys
from collections.abc import Callable
from typing import Any

from ..implementations.nfnumpy_cupy import CupyNetwork
from ..report import Section


def torch_network(plan: Any, section: Section) -> Callable[..., Any] | None:
    """A function of a case and a state, and of TorchNetwork's options, that makes PyTorch's network.

    None, and a note in the section, where there is none to compare with.
    """
    try:
        import torch
    except ImportError:
        section.note("PyTorch's side is left out: PyTorch is not installed")
        return None
    found = torch.cuda.is_available()
    if not found and plan.opponent == "cuda":
        section.note("PyTorch's side is left out: this PyTorch finds no GPU")
        return None
    if not found and plan.opponent == "any":
        section.note("PyTorch's side runs on the processor: this PyTorch finds no GPU")
    from ..implementations.torch_device import TorchNetwork
    device = "cuda" if found and plan.opponent == "any" else plan.opponent
    return functools.partial(TorchNetwork, device="cpu" if device == "any" else device)


def release_all() -> None:
    """Give all unused memory of both sides back to the device."""
    gc.collect()
    CupyNetwork.release()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
