"""Compare optim.RMSProp with timm's RMSpropTF: the largest difference of weights after each of five float64 steps.

`python reference_tests/tools/rmsprop_against_timm.py` needs timm, installed as docs/weights.md describes, so the tests
do not run it.
"""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from nfnumpy.optim import RMSProp
from reference_tests.helpers.named_parameters import parameters_with_gradients, set_gradients

for operator in ("nms", "qnms"):  # torchvision's Python needs them; its compiled part does not load beside CPU torch
    torch.library.define(f"torchvision::{operator}", "(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor")

from timm.optim import RMSpropTF  # noqa: E402

SETTINGS = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-5}

ours = parameters_with_gradients()
theirs = {name: torch.nn.Parameter(torch.from_numpy(parameter.data.copy())) for name, parameter in ours.items()}
our_optimizer = RMSProp(ours, decay=0.9, epsilon=1e-3, decayed=lambda name: True, **SETTINGS)
their_optimizer = RMSpropTF(theirs.values(), alpha=0.9, eps=1e-3, **SETTINGS)
for step in range(5):
    set_gradients(ours, seed=200 + 10 * step)
    for name, parameter in ours.items():
        theirs[name].grad = torch.from_numpy(parameter.grad.copy())
    our_optimizer.step()
    their_optimizer.step()
    difference = max(np.abs(parameter.data - theirs[name].detach().numpy()).max() for name, parameter in ours.items())
    print(f"step {step + 1}: {difference:.1e}")
