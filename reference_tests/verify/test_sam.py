"""Checking sharpness-aware minimization by two whole steps."""

import functools

import numpy as np
import pytest
import torch

from nfnumpy import InputError
from nfnumpy.ports import torch_optim
from nfnumpy.verify import CONFORMS, DIVERGES, VARIANT
from nfnumpy.verify.checks.sam import check_for, check_sam
from nfnumpy.verify.compare import compare
from nfnumpy.verify.frameworks import Numpy
from nfnumpy.verify.variants import apply


def check(target, **options):
    return check_sam(target, examples=3, **options)


def global_norm(parameters):
    return torch.sqrt(sum(((parameter.grad**2).sum() for parameter in parameters), torch.zeros(())))


class Guarded:
    """Around an optimizer, step by closure: the norm over all, nothing added to it, zero left alone."""

    sign, taken_off, summed = 1.0, 1.0, False

    def __init__(self, optimizer, rho=0.05):
        self.optimizer, self.rho = optimizer, rho
        self.params = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def perturbation(self):
        norm = global_norm(self.params)
        return [self.sign * self.rho * parameter.grad / torch.where(norm > 0.0, norm, torch.ones_like(norm))
                for parameter in self.params]

    def step(self, closure):
        closure()
        here = [parameter.grad.clone() for parameter in self.params]
        with torch.no_grad():
            start, perturbation = [parameter.clone() for parameter in self.params], self.perturbation()
            for parameter, e in zip(self.params, perturbation, strict=False):
                parameter.add_(e)
        closure()
        with torch.no_grad():
            for parameter, before, e, grad in zip(self.params, start, perturbation, here, strict=False):
                parameter.copy_(before + (1.0 - self.taken_off) * e)
                parameter.grad.add_(grad if self.summed else 0.0)
        self.optimizer.step()


class Downhill(Guarded):
    sign = -1.0


class NotRemoved(Guarded):
    taken_off = 0.0


class Summed(Guarded):
    summed = True


class PerTensor(Guarded):
    def perturbation(self):
        return [self.rho * p.grad / torch.where(p.grad.norm() > 0.0, p.grad.norm(), 1.0) for p in self.params]


class Unguarded(Guarded):
    def perturbation(self):
        return [self.rho * p.grad / global_norm(self.params) for p in self.params]


class TwoSteps(torch.optim.Optimizer):
    """The usual class: first_step and second_step, around an optimizer's class, 1e-12 added to the norm."""

    forgets = True

    def __init__(self, params, base_optimizer, rho=0.05, adaptive=False, **kwargs):
        super().__init__(params, dict(rho=rho, adaptive=adaptive, **kwargs))
        self.base_optimizer = base_optimizer(self.param_groups, **kwargs)
        self.param_groups = self.base_optimizer.param_groups

    def every(self):
        return [(parameter, group) for group in self.param_groups for parameter in group["params"]]

    @torch.no_grad()
    def first_step(self, zero_grad=False):
        norm = torch.sqrt(sum((((p.abs() if group["adaptive"] else 1.0) * p.grad)**2).sum()
                              for p, group in self.every()))
        for p, group in self.every():
            self.state[p]["before"] = p.clone()
            p.add_((p**2 if group["adaptive"] else 1.0) * p.grad * (group["rho"] / (norm + 1e-12)))
        if zero_grad and self.forgets:
            self.zero_grad()

    @torch.no_grad()
    def second_step(self, zero_grad=False):
        for p, _ in self.every():
            p.copy_(self.state[p]["before"])
        self.base_optimizer.step()
        if zero_grad:
            self.zero_grad()

    def state_dict(self):
        return self.base_optimizer.state_dict()

    def load_state_dict(self, state):
        self.base_optimizer.load_state_dict(state)
        self.param_groups = self.base_optimizer.param_groups


class NeverForgets(TwoSteps):
    forgets = False


class LosesMomentum(TwoSteps):
    """The inherited state_dict has nothing of the optimizer inside."""

    state_dict = torch.optim.Optimizer.state_dict

    def load_state_dict(self, state):
        torch.optim.Optimizer.load_state_dict(self, state)
        self.base_optimizer.param_groups = self.param_groups


class KeepsTheGenerator(Guarded):
    def __init__(self, params, optimizer, rho=0.05):
        super().__init__(optimizer, rho)
        self.params = params


class OnlyTheFirstGroup(Guarded):
    def __init__(self, params, optimizer, rho=0.05):
        super().__init__(optimizer, rho)
        params = list(params)
        self.params = params[0]["params"] if isinstance(params[0], dict) else params


class AdaptiveByName(Guarded):
    """Adaptive where the name has "weight" in it, as the published code."""

    def __init__(self, optimizer, model, rho=0.5, eta=0.01):
        super().__init__(optimizer, rho)
        self.eta, self.names = eta, {parameter: name for name, parameter in model.named_parameters()}

    def perturbation(self):
        scales = [p.abs() + self.eta if "weight" in self.names[p] else torch.ones_like(p) for p in self.params]
        norm = torch.sqrt(sum(((scale * p.grad)**2).sum() for scale, p in zip(scales, self.params, strict=True)))
        return [self.rho * scale * scale * p.grad / torch.where(norm > 0.0, norm, 1.0)
                for scale, p in zip(scales, self.params, strict=True)]


class StandsStill(Guarded):
    def step(self, closure):
        closure()


class OfAModel(Guarded):
    """Another order of arguments, other names for the two steps, no zero_grad."""

    def __init__(self, optimizer, model, rho=0.5):
        super().__init__(optimizer, rho)
        assert isinstance(model, torch.nn.Module)

    def ascent_step(self):
        with torch.no_grad():
            self.before = [p.clone() for p in self.params]
            for p, e in zip(self.params, self.perturbation(), strict=True):
                p.add_(e)

    def descent_step(self):
        with torch.no_grad():
            for p, before in zip(self.params, self.before, strict=True):
                p.copy_(before)
        self.optimizer.step()


class OnItsOwn(torch.optim.SGD):
    """An optimizer without another inside, without Nesterov momentum."""

    def __init__(self, params, lr, rho=0.05, momentum=0.0):
        super().__init__(params, lr=lr, momentum=momentum)
        self.rho = rho

    def step(self, closure):
        inner = Guarded(self, self.rho)
        inner.optimizer = super()
        inner.step(closure)


class InBothWays(OfAModel):
    """Two stages, and step(closure) beside them."""

    recorded, ascends, first = True, True, None

    def perturbation(self):
        if self.first is None or self.ascends != "once":
            self.first = super().perturbation()
        return self.first

    def step(self, closure):
        with torch.set_grad_enabled(self.recorded):
            closure()
        if self.ascends:
            self.ascent_step()
            with torch.enable_grad():
                closure()
            self.descent_step()
        else:
            self.optimizer.step()


class PlainByClosure(InBothWays):
    ascends = False


class AscendsAsAtFirst(InBothWays):
    ascends = "once"


class WithoutRecording(InBothWays):
    recorded = False


@pytest.mark.parametrize("target", [Guarded, OfAModel, OnItsOwn, InBothWays])
def test_right_ones_conform(target):
    verdict = check(target)
    assert verdict.outcome == CONFORMS, str(verdict)


def test_a_small_number_added_to_the_norm_is_a_variant():
    verdict = check(TwoSteps)
    assert verdict.outcome == VARIANT and verdict.diagnosis == ("1e-12 added to the norm",)
    assert verdict.relative_difference < 1e-10


def test_a_zero_gradient_that_becomes_nan_is_a_variant():
    verdict = check(Unguarded)
    assert verdict.outcome == VARIANT and verdict.diagnosis == ("zero gradient not guarded",)


@pytest.mark.parametrize("target, options, names", [
    (Downhill, {}, {"downhill"}), (NotRemoved, {}, {"perturbation not removed"}),
    (Summed, {}, {"gradients of both points summed"}), (PerTensor, {}, {"norm per tensor"}),
    (NeverForgets, {}, {"1e-12 added to the norm", "gradients of both points summed"}),
    (TwoSteps, {"adaptive": True}, {"1e-12 added to the norm", "adaptive (ASAM)"}),
    (torch.optim.SGD, {}, {"no ascent"}), (StandsStill, {}, {"nothing moves"}),
    (AdaptiveByName, {}, {"adaptive (ASAM) for weights alone, with 0.01 added"}),
    (LosesMomentum, {}, {"1e-12 added to the norm", "momentum lost with state_dict"}),
    (PlainByClosure, {}, {"step(closure) is a plain step"}),
    (AscendsAsAtFirst, {}, {"perturbation of the first step kept"}),
    (WithoutRecording, {}, {"step(closure) computes without gradients"}),
    (KeepsTheGenerator, {}, {"wrong, parameters given by a generator"}),
    (OnlyTheFirstGroup, {}, {"wrong, parameters given in groups"})])
def test_mistakes_are_named(target, options, names):
    verdict = check(target, **options)
    assert verdict.outcome == DIVERGES and set(verdict.diagnosis) == names, str(verdict)


def test_the_first_difference_is_that_of_the_mistake():
    verdict = check(NeverForgets)
    assert verdict.first_difference.tensor == "weights after step 1"


def test_every_form_in_the_catalogue_is_recognized():
    known = check_for()
    for entry in known.catalogue:
        run = functools.partial(known.reference, rules=apply(known.rules, (entry,)))
        with np.errstate(all="ignore"):
            verdict = compare(known, run, target="itself", framework=Numpy(), examples=0)
        assert verdict.diagnosis == (entry.name,), str(verdict)


class Fails(Guarded):
    def step(self, closure):
        raise KeyError("first\nsecond")


@pytest.mark.parametrize("target, text", [
    (3, "expected an optimizer class"), (torch.nn.Linear, "expected an optimizer class"),
    (Fails, "the target raised KeyError")])
def test_what_cannot_be_run_is_one_line(target, text):
    with pytest.raises(InputError) as error:
        check(target)
    assert text in str(error.value) and "\n" not in str(error.value)


def two_passes(model, closure, rho=0.05):
    """A function that leaves the gradients of the second pass; the closure makes the backward pass."""
    parameters = list(model.parameters())
    closure()
    norm = global_norm(parameters)
    steps = [rho * p.grad / torch.where(norm > 0.0, norm, 1.0) for p in parameters]
    with torch.no_grad():
        for p, e in zip(parameters, steps, strict=True):
            p.add_(e)
    closure()
    with torch.no_grad():
        for p, e in zip(parameters, steps, strict=True):
            p.sub_(e)


def a_whole_step(model, loss_fn, optimizer, rho=0.05):
    """A function that makes the optimizer's step too, per tensor by mistake."""
    parameters = list(model.parameters())
    loss_fn().backward()
    with torch.no_grad():
        before = [p.clone() for p in parameters]
        for p in parameters:
            p.add_(rho * p.grad / p.grad.norm().clamp(min=1e-30))
    optimizer.zero_grad()
    loss_fn().backward()
    with torch.no_grad():
        for p, value in zip(parameters, before, strict=True):
            p.copy_(value)
    optimizer.step()


def test_functions_of_a_model_and_a_loss_are_asked():
    for target in (two_passes, torch_optim.sam_backward):
        assert check(target).outcome == CONFORMS
    assert check(a_whole_step).diagnosis == ("norm per tensor",)
