"""Checking adaptive gradient clipping, in all shapes that it comes in."""

import collections
import functools

import numpy as np
import pytest
import torch

from nfnumpy import InputError
from nfnumpy.optim import adaptive_gradient_clip
from nfnumpy.verify import CONFORMS, DIVERGES, VARIANT
from nfnumpy.verify.checks.agc import check_agc, check_for
from nfnumpy.verify.compare import compare
from nfnumpy.verify.frameworks import Numpy
from nfnumpy.verify.variants import apply


def check(target, **options):
    return check_agc(target, examples=2, **options)


def unit_norm(x, linear=(1,), conv=(1, 2, 3), squeezed=True):
    """Of torch's weights, right with the default arguments."""
    if (x.squeeze() if squeezed else x).ndim <= 1:
        return x.norm()
    return x.norm(2, dim=linear if x.ndim == 2 else conv, keepdim=True)


def clipped(grad, param, clipping, eps, **wrong):
    limit, norm = unit_norm(param, **wrong).clamp(min=eps) * clipping, unit_norm(grad, **wrong)
    return torch.where(norm > limit, grad * (limit / norm.clamp(min=1e-6)), grad)


@torch.no_grad()
def clip_in_place(parameters, clip_factor=0.01, eps=1e-3, **wrong):
    for parameter in parameters:
        parameter.grad.copy_(clipped(parameter.grad, parameter, clip_factor, eps, **wrong))


def of_a_pair(grad, param, clipping=0.01, eps=1e-3):
    return clipped(grad, param, clipping, eps)


def of_a_pair_the_other_way_round(w, g, lam, epsilon):
    return clipped(g, w, lam, epsilon)


def without_eps(param, grad, clip=0.01):
    return clipped(grad, param, clip, 1e-3)


def named(named_parameters, clipping, eps):
    clip_in_place([parameter for _, parameter in named_parameters], clipping, eps)


def of_a_model(model, clipping=0.01, eps=1e-3):
    clip_in_place([parameter for name, parameter in model.named_parameters() if name != "fc.weight"], clipping, eps)


def of_all_of_a_model(model, clipping=0.01, eps=1e-3):
    clip_in_place(model.parameters(), clipping, eps)


class Wrapper:
    """Around an optimizer."""

    def __init__(self, params, optim, clipping=1e-2, eps=1e-3, model=None, ignore_agc=("fc",)):
        if model is not None:
            params = [parameter for name, parameter in model.named_parameters()
                      if name.partition(".")[0] not in ignore_agc or name.endswith("bias")]
        self.params, self.optim, self.clipping, self.eps = list(params), optim, clipping, eps

    def step(self):
        clip_in_place(self.params, self.clipping, self.eps)
        self.optim.step()


class WrapperThatClipsAll(Wrapper):
    """The last layer is not spared."""

    def __init__(self, params, optim, clipping=1e-2, eps=1e-3, model=None, ignore_agc=("fc",)):
        super().__init__(params, optim, clipping, eps)


class DecayFirst(torch.optim.SGD):
    """An optimizer of its own that decays before it clips."""

    def __init__(self, params, lr, momentum=0.0, weight_decay=0.0, clipping=0.01, eps=1e-3):
        super().__init__(params, lr=lr, momentum=momentum)
        self.decay, self.clipping, self.eps = weight_decay, clipping, eps

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad.add_(parameter, alpha=self.decay)
            clip_in_place(group["params"], self.clipping, self.eps)
        super().step()


Transformation = collections.namedtuple("Transformation", "init update")


def transformation(clipping, eps=1e-3):
    """With the signature of optax's, over NumPy arrays."""
    def update(updates, state, params):
        return {name: adaptive_gradient_clip(updates[name], params[name], clipping, eps) for name in updates}, state
    return Transformation(lambda params: (), update)


@pytest.mark.parametrize("target, options", [
    (adaptive_gradient_clip, {}), (clip_in_place, {}), (of_a_pair, {}), (of_a_pair_the_other_way_round, {}),
    (without_eps, {}), (named, {}), (of_a_model, {}), (Wrapper, {}), (of_a_pair, {"clipping": 0.16}),
    (transformation(0.02), {"clipping": 0.02, "framework": "numpy"})],
    ids=lambda value: getattr(value, "__name__", None))
def test_right_ones_conform(target, options):
    verdict = check(target, **options)
    assert verdict.outcome == CONFORMS, str(verdict)


def wrong(change):
    def clip(parameters, clip_factor=0.01, eps=1e-3):
        change(list(parameters), clip_factor, eps)
    return clip


@torch.no_grad()
def quotient_and_added_eps(parameters, clip_factor, eps):
    for p in parameters:
        p.grad.mul_(((unit_norm(p) + eps) * clip_factor / (unit_norm(p.grad) + 1e-6)).clamp(max=1.0))


@torch.no_grad()
def in_float32_constants(parameters, clip_factor, eps):
    for p in parameters:
        limit = torch.max(unit_norm(p, linear=(0,)), torch.tensor(eps)) * clip_factor
        norm = unit_norm(p.grad, linear=(0,))
        p.grad.copy_(torch.where(norm > limit, p.grad * (limit / norm.clamp(min=1e-6)), p.grad))


LINEAR = "norms over the input axis of linear layers"


@pytest.mark.parametrize("target, names", [
    (wrong(lambda p, c, e: clip_in_place(p, c, e, linear=(0,))), {LINEAR}),
    (wrong(lambda p, c, e: clip_in_place(p, c, e, conv=(0, 1, 2))), {"convolutions by kernel column"}),
    (wrong(lambda p, c, e: clip_in_place(p, c, e, conv=(0, 2, 3), linear=(0,))),
     {"convolutions by input channel", LINEAR}),
    (wrong(lambda p, c, e: clip_in_place(p, c, e, squeezed=False)), {"units by the stored rank"}),
    (wrong(lambda p, c, e: clip_in_place(p, e, c)), {"clipping and eps exchanged"}),
    (wrong(lambda p, c, e: clip_in_place([x for x in p if x.squeeze().ndim > 1], c, e)),
     {"biases and gains not clipped"}),
    (wrong(quotient_and_added_eps), {"decides by the quotient", "eps added to the weight norm"}),
    (wrong(in_float32_constants), {LINEAR}), (of_all_of_a_model, {"last layer clipped"}),
    (WrapperThatClipsAll, {"last layer clipped"}), (DecayFirst, {"decay added before clipping"})])
def test_mistakes_are_named(target, names):
    verdict = check(target)
    assert verdict.outcome == DIVERGES and set(verdict.diagnosis) == names, str(verdict)
    assert verdict.counterexample and verdict.first_difference is not None


def test_three_independent_mistakes_are_named():
    class Wrong(WrapperThatClipsAll):
        def step(self):
            clip_in_place(self.params, self.clipping, self.eps, linear=(0,), squeezed=False)
            self.optim.step()

    assert set(check(Wrong).diagnosis) == {"units by the stored rank", LINEAR, "last layer clipped"}


@pytest.mark.parametrize("divisor, names", [
    (lambda norm: norm.clamp(min=1e-6), ("decides by the quotient with its floor",)),
    (lambda norm: norm + 1e-6, ("decides by the quotient",)),
    (lambda norm: norm + 1e-8, ("1e-8 added to the gradient norm", "decides by the quotient with its floor"))])
def test_a_minimum_of_1_and_the_quotient_is_a_benign_form(divisor, names):
    """min(1, limit/‖G‖) in place of a comparison: they differ only where a limit is below the floor of ‖G‖."""
    def target(grad, param, clipping=0.01, eps=1e-3):
        limit = unit_norm(param).clamp(min=eps) * clipping
        return grad * (limit / divisor(unit_norm(grad))).clamp(max=1.0)

    verdict = check(target)
    assert verdict.outcome == VARIANT and verdict.diagnosis == names, str(verdict)


def test_leaving_the_last_bias_alone_is_a_variant():
    def target(model, clipping=0.01, eps=1e-3):
        clip_in_place([p for name, p in model.named_parameters() if not name.startswith("fc.")], clipping, eps)
    verdict = check(target)
    assert verdict.outcome == VARIANT and verdict.diagnosis == ("last layer's bias not clipped",)


def test_a_wrapper_that_cannot_take_the_model_is_checked_without():
    class NoModel(Wrapper):
        def __init__(self, params, optim, clipping=1e-2, eps=1e-3, model=None):
            if model is not None:
                raise ValueError("some parameters appear in more than one parameter group")
            super().__init__(params, optim, clipping, eps)

    verdict = check(NoModel)
    assert verdict.outcome == CONFORMS and any("more than one parameter group" in note for note in verdict.notes)


def test_a_target_without_eps_is_compared_with_the_usual_one():
    verdict = check(without_eps)
    assert verdict.outcome == CONFORMS and "it takes no eps: compared with eps = 0.001" in verdict.notes


def test_the_counterexample_is_one_small_tensor():
    verdict = check(wrong(lambda p, c, e: clip_in_place(p, c, e, linear=(0,))))
    assert set(verdict.counterexample) == {"linear weight", "gradient of linear weight", "clipping", "eps",
                                           "weight_decay", "model", "use"}
    assert np.size(verdict.counterexample["linear weight"]) <= 4


@pytest.mark.parametrize("part", range(4))
def test_every_form_in_the_catalogue_is_recognized(part):
    known = check_for(model=True)
    for entry in known.catalogue[part::4]:
        run = functools.partial(known.reference, rules=apply(known.rules, (entry,)))
        with np.errstate(all="ignore"):
            verdict = compare(known, run, target="itself", framework=Numpy(), examples=0)
        assert verdict.diagnosis == (entry.name,), str(verdict)


def fails(parameters, clipping=0.01):
    raise RuntimeError("first\nsecond")


@pytest.mark.parametrize("target, options, text", [
    (3, {}, "expected a function over parameters"), (lambda: 3, {}, "expected a function over parameters"),
    (torch.nn.Linear, {}, "expected a function over parameters"), (fails, {}, "the target raised RuntimeError: first"),
    (clip_in_place, {"layout": "NCHW"}, "layout"), (clip_in_place, {"norm_type": 1.0}, "the target raised TypeError")])
def test_what_cannot_be_run_is_one_line(target, options, text):
    with pytest.raises(InputError) as error:
        check(target, **options)
    assert text in str(error.value) and "\n" not in str(error.value)
