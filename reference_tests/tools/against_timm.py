"""Compare our networks with timm's, both in float64 with the same random weights.

`python reference_tests/tools/against_timm.py` needs timm, installed as docs/weights.md describes, so the tests do not
run it. Each line: the largest difference of logits, as a share of the largest logit; first with the weights as they
are, then with timm's epsilon carried by the gains. The last lines go from our weights to timm's.

With `--baselines [NAME ...]`, the networks with normalizations instead: against_timm_baselines.py.
"""

import sys

import against_timm_baselines
import numpy as np
import torch

import nfnumpy as nf

for operator in ("nms", "qnms"):  # torchvision's Python needs them; its compiled part does not load beside CPU torch
    torch.library.define(f"torchvision::{operator}", "(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor")

import timm  # noqa: E402
from timm.layers.activations import gelu_tanh  # noqa: E402

LIKE_THE_PAPERS = {"skipinit": True, "gamma_in_act": True, "same_padding": True}
LIKE_THE_REGNETS = {**LIKE_THE_PAPERS, "ch_div": 1, "attn_kwargs": {"rd_ratio": 0.5, "rd_divisor": 1}}


def random_timm(name, **options):
    """timm's model with every parameter random: gains and skip gains around 1."""
    model = timm.create_model(name, pretrained=False, **options).double().eval()
    draws = np.random.default_rng(1)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            numbers = torch.from_numpy(np.asarray(draws.standard_normal(tuple(parameter.shape))))
            if key.endswith("gain"):
                parameter.copy_(1.0 + 0.2 * numbers)
            elif key.endswith("bias"):
                parameter.copy_(0.1 * numbers)
            elif key == "head.fc.weight":
                parameter.copy_(0.01 * numbers)
            else:
                parameter.copy_(numbers / np.sqrt(parameter[0].numel()))
    return model


def unfolded(state, activation):
    """The state of one of timm's models without dm_, as the same function with gamma in the activations.

    Convolutions that see no activation lose gamma, so their gains take it; so does the last layer, divided by it.
    """
    gamma = nf.functional.activations.GAMMA[activation]
    result = dict(state)
    for name, array in state.items():
        if name in ("stem.conv1.gain", "stem.conv.gain", "final_conv.gain"):
            result[name] = array * gamma
        if name.startswith("stages") and name.endswith("conv3.gain"):
            result[name.replace("conv3.gain", "skipinit_gain")] = np.ones(())
    return {**result, "head.fc.weight": state["head.fc.weight"] / gamma}


def converted(name, ours, pixels, dtype):
    """Print, for weights converted to timm: renamed, with exact gains, and that with timm's GELU in the tanh form."""
    theirs = {key: tensor.numpy() for key, tensor in random_timm(name).state_dict().items()}
    state = {key: array.astype(dtype) for key, array in nf.weights.from_timm(theirs).items()}
    figures = []
    for change, tanh in ((dict, False), (nf.weights.without_timm_epsilon, False),
                         (nf.weights.without_timm_epsilon, True)):
        model = timm.create_model(name, pretrained=False).to(getattr(torch, dtype)).eval()
        arrays = nf.weights.to_timm(change(state))
        model.load_state_dict({key: torch.from_numpy(np.array(array)) for key, array in arrays.items()})
        for module in model.modules() if tanh else ():
            if hasattr(module, "act_fn"):
                module.act_fn = gelu_tanh
        figures.append(difference(model, state, ours, pixels, dtype=dtype))
    print(f"{name:14} {pixels:4} px {dtype}  " + "  ".join(f"{figure:.1e}" for figure in figures), flush=True)


def difference(model, state, ours, pixels, turned=False, dtype="float64", **changes):
    """max |our logits - timm's| / max |timm's|; turned: ours gets kernels and images turned by 180°."""
    images = np.random.default_rng(2).standard_normal((2, pixels, pixels, 3)).astype(dtype)
    with torch.no_grad():
        theirs = model(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()).numpy()
    if turned:
        images = images[:, ::-1, ::-1].copy()
        state = {name: array[::-1, ::-1] if array.ndim == 4 else array for name, array in state.items()}
    network = nf.models.create(ours, dtype=dtype, shapes_only=True, **changes)
    network.load_state_dict(state)
    with nf.no_grad():
        return np.abs(network(images).numpy() - theirs).max() / np.abs(theirs).max()


def compare(name, ours, pixels, unfold=None, turned=False, changes=None, **options):
    """Print one line of the table."""
    model, changes = random_timm(name, **options), changes or {}
    theirs = {key: tensor.numpy() for key, tensor in model.state_dict().items()}
    try:
        state = nf.weights.from_timm(unfolded(theirs, unfold) if unfold else theirs)
        if not unfold:
            back = nf.weights.to_timm(state)
            assert list(back) == list(theirs) and all(np.array_equal(back[key], theirs[key]) for key in theirs)
        carried = nf.weights.with_timm_epsilon(state)
        figures = [difference(model, weights, ours, pixels, turned, **changes) for weights in (state, carried)]
        if changes.get("activation") == "gelu_erf":
            figures.append(difference(model, carried, ours, pixels, turned, **{**changes, "activation": "gelu"}))
        shown = "  ".join(f"{figure:.1e}" for figure in figures)
    except nf.InputError as refusal:
        shown = str(refusal)
    print(f"{name:14} {pixels:4} px {'turned' if turned else '':6} {shown}", flush=True)


def normalizer_free():
    """Print the table of the normalizer-free networks."""
    print("as they are, epsilon carried, and (for GELU) that with the tanh form")
    for pixels in (192, 97):
        compare("dm_nfnet_f0", "nfnet_f0", pixels, changes={"activation": "gelu_erf"})
    compare("dm_nfnet_f1", "nfnet_f1", 64, changes={"activation": "gelu_erf"})
    for k in range(6):
        compare(f"nf_regnet_b{k}", f"nf_regnet_b{k}", 64, **LIKE_THE_REGNETS)
    compare("nf_resnet50", "nf_resnet50", 64, **LIKE_THE_PAPERS)
    for name in ("nfnet_f0", "nf_resnet50", "nf_regnet_b1"):
        compare(name, name, 64)
    for pixels, turned in ((193, False), (64, False), (64, True)):
        compare("nfnet_f0", "nfnet_f0", pixels, unfold="gelu", turned=turned, changes={"activation": "gelu_erf"})
    print("converted to timm: renamed, with exact gains, that with timm's GELU in the tanh form")
    for dtype in ("float64", "float32"):
        converted("dm_nfnet_f0", "nfnet_f0", 192, dtype)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--baselines"]:
        print(against_timm_baselines.HEADING)
        for given in sys.argv[2:] or against_timm_baselines.NAMES:
            print(against_timm_baselines.compare(timm, given), flush=True)
    else:
        normalizer_free()
