"""The bars that a run of the GPU measurements is held against."""

from .bars import Bar

MODEL, BATCH = "nfnet_f0", 128  # what the bars are about; its training images have 192 px


def _step(precision):
    return {"model": MODEL, "batch": BATCH, "work": "training", "precision": precision}


BARS = (
    Bar("AGC and update of F0: share of the copy bandwidth", "≥", 0.8, "update", {"model": MODEL}, "of_copy"),
    Bar("AGC and update of F0: times as fast as timm's loop and torch's SGD", "≥", 5.0, "update", {"model": MODEL},
        "speedup"),
    Bar("weight standardization of F0: share of the tf32 step", "<", 0.03, "kernel files tf32",
        {**_step("tf32"), "file": "weight_standardization"}, "share"),
    Bar("F0 step, tf32: time over PyTorch's", "≤", 1.0, "against PyTorch", _step("tf32"), "ratio"),
    Bar("F0 step, bf16: time over PyTorch's under autocast", "≤", 1.2, "against PyTorch", _step("bf16"), "ratio"),
    Bar("F0 step, tf32: memory over PyTorch's", "≤", 1.0, "against PyTorch", _step("tf32"), "memory_ratio"),
    Bar("F0 step, bf16: memory over PyTorch's", "≤", 1.0, "against PyTorch", _step("bf16"), "memory_ratio"),
)
