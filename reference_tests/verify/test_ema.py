"""Checking moving averages of weights."""

import collections
import copy
import functools

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nfnumpy import InputError
from nfnumpy.optim import ExponentialMovingAverage
from nfnumpy.verify import CONFORMS, DIVERGES, VARIANT
from nfnumpy.verify.checks.ema import check_ema, check_for
from nfnumpy.verify.compare import compare
from nfnumpy.verify.frameworks import Numpy
from nfnumpy.verify.variants import apply


def check(target, **options):
    return check_ema(target, examples=3, **options)


class OfAModel(torch.nn.Module):
    """Right: warmed up, of the parameters; the number of updates is saved."""

    def __init__(self, model, decay=0.9999, device=None):
        super().__init__()
        self.module, self.decay, self.updates = copy.deepcopy(model), decay, 0

    def current(self):
        return min(self.decay, (1 + self.updates) / (10 + self.updates))

    @torch.no_grad()
    def update(self, model):
        decay = self.current()
        for average, value in zip(self.module.parameters(), model.parameters(), strict=True):
            average.copy_(decay * average + (1.0 - decay) * value)
        self.updates += 1

    def get_extra_state(self):
        return self.updates

    def set_extra_state(self, state):
        self.updates = state


class Constant(OfAModel):
    def current(self):
        return self.decay


class CountedFromOne(OfAModel):
    def current(self):
        return min(self.decay, (2 + self.updates) / (11 + self.updates))


class Exchanged(OfAModel):
    def current(self):
        return 1.0 - super().current()


class Max(OfAModel):
    def current(self):
        return max(self.decay, (1 + self.updates) / (10 + self.updates))


class OfParameters:
    """Right, with a list of parameters given once."""

    def __init__(self, parameters, decay):
        self.parameters, self.decay, self.updates = list(parameters), decay, 0
        self.shadow_params = [parameter.detach().clone() for parameter in self.parameters]

    def update(self):
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for average, parameter in zip(self.shadow_params, self.parameters, strict=True):
            average.lerp_(parameter.detach(), 1.0 - decay)


class StartsOver(OfAModel):
    def set_extra_state(self, state):
        pass


class LosesItsAverage(OfAModel):
    def load_state_dict(self, state):
        self.updates = 0
        for average, value in zip(self.module.parameters(), self.watched, strict=True):
            average.data.copy_(value.data)

    def __init__(self, model, decay=0.9999):
        super().__init__(model, decay)
        self.watched = list(model.parameters())


class SharesMemory(OfAModel):
    def __init__(self, model, decay=0.9999):
        super().__init__(model, decay)
        for average, value in zip(self.module.parameters(), model.parameters(), strict=True):
            average.data = value.data

    def update(self, model):
        pass


class NeverUpdates(OfAModel):
    def update(self, model):
        pass


class OfWeightsAlone(OfAModel):
    """The others are copied."""

    @torch.no_grad()
    def update(self, model):
        decay = self.current()
        self.updates += 1
        for (name, average), value in zip(self.module.named_parameters(), model.parameters(), strict=True):
            average.copy_(decay * average + (1.0 - decay) * value if "weight" in name else value)


class OthersLeft(OfAModel):
    @torch.no_grad()
    def update(self, model):
        decay = self.current()
        self.updates += 1
        for (name, average), value in zip(self.module.named_parameters(), model.parameters(), strict=True):
            if "weight" in name:
                average.copy_(decay * average + (1.0 - decay) * value)


class WritesBack(OfAModel):
    """The model itself becomes the average."""

    @torch.no_grad()
    def update(self, model):
        super().update(model)
        for average, value in zip(self.module.parameters(), model.parameters(), strict=True):
            value.copy_(average)


class KeepsTheGenerator(OfParameters):
    def __init__(self, parameters, decay):
        self.shadow_params = []
        self.parameters, self.decay, self.updates = parameters, decay, 0
        if isinstance(parameters, list):
            self.shadow_params = [parameter.detach().clone() for parameter in parameters]
        else:
            parameters = list(parameters)
            self.shadow_params = [parameter.detach().clone() for parameter in parameters]

    def update(self):
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for average, parameter in zip(self.shadow_params, self.parameters, strict=False):
            average.lerp_(parameter.detach(), 1.0 - decay)


class GetsTheStep(OfAModel):
    """Its update gets the number of updates, with timm's warm-up."""

    @torch.no_grad()
    def update(self, model, step=None):
        decay = min(self.decay, 1.0 - (1.0 + (step - 1)) ** (-2.0 / 3.0))
        for average, value in zip(self.module.parameters(), model.parameters(), strict=True):
            average.lerp_(value, 1.0 - decay)


def with_step(average, value, step, decay=0.99999):
    current = min(decay, (1 + step) / (10 + step))
    return current * average + (1.0 - current) * value


def in_place(ema, value, decay):
    ema.mul_(decay).add_(value, alpha=1.0 - decay)


def incremental_update(new_tensors, old_tensors, step_size):
    return step_size * new_tensors + (1.0 - step_size) * old_tensors


def fixed(average, value, step):
    return with_step(average, value, step, 0.9)


@pytest.mark.parametrize("target, options", [
    (ExponentialMovingAverage, {}), (OfAModel, {}), (OfParameters, {}), (with_step, {}), (in_place, {}),
    (incremental_update, {}), (fixed, {"decay": 0.9}), (OfAModel, {"decay": 0.5})])
def test_right_ones_conform(target, options):
    verdict = check(target, **options)
    assert verdict.outcome == CONFORMS, str(verdict)


@pytest.mark.parametrize("target, name", [(CountedFromOne, "warm-up (2 + t)/(11 + t)"),
                                          (GetsTheStep, "warm-up 1 - (1 + t)^(-2/3)")])
def test_another_warm_up_is_a_variant(target, name):
    verdict = check(target)
    assert verdict.outcome == VARIANT and verdict.diagnosis == (name,), str(verdict)


def another_name(average, value, keep):
    return keep * average + (1.0 - keep) * value


def test_means_says_which_argument_is_the_decay():
    assert check(another_name, means={"decay": "keep"}).outcome == CONFORMS


def averaged_model(model):
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))


@pytest.mark.parametrize("target, options, name", [
    (Constant, {}, "no warm-up"), (Exchanged, {}, "decay and 1 - decay exchanged"), (Max, {}, "max in place of min"),
    (averaged_model, {"decay": 0.9}, "first update copies, then no warm-up"),
    (StartsOver, {}, "warm-up starts over after state_dict"), (LosesItsAverage, {}, "average lost with state_dict"),
    (SharesMemory, {}, "the weights themselves"), (NeverUpdates, {}, "never updated"),
    (OfWeightsAlone, {}, "weights alone averaged, the others copied"),
    (OthersLeft, {}, "weights alone averaged, the others left"),
    (WritesBack, {}, "watched weights changed by the update"),
    (KeepsTheGenerator, {}, "parameters given by a generator are used up")])
def test_mistakes_are_named(target, options, name):
    verdict = check(target, **options)
    assert verdict.outcome == DIVERGES and verdict.diagnosis == (name,), str(verdict)


def test_a_function_of_one_update_has_no_warm_up():
    assert any("the warm-up is its caller's" in note for note in check(in_place).notes)


Transformation = collections.namedtuple("Transformation", "init update")


def test_a_transformation_with_bias_correction_is_a_variant(monkeypatch):
    def make(decay, debias=True):
        def update(value, state):
            average, count = state
            average, count = decay * average + (1.0 - decay) * value, count + 1
            return average / (1.0 - decay**count) if debias else average, (average, count)
        return Transformation(lambda params: (np.zeros_like(params), 0), update)

    numpy_that_says_jax = type("Spoken", (Numpy,), {"name": "jax", "has_transformations": True})
    monkeypatch.setattr("nfnumpy.verify.adapters.ema.framework_of", lambda target, wish: numpy_that_says_jax())
    corrected, plain = check(make), check(make, debias=False)
    assert corrected.outcome == VARIANT and corrected.diagnosis == ("starts at zero and corrects for it",)
    assert plain.outcome == DIVERGES and set(plain.diagnosis) == {"no warm-up", "starts at zero"}


def test_every_form_in_the_catalogue_is_recognized():
    known = check_for()
    for entry in known.catalogue:
        run = functools.partial(known.reference, rules=apply(known.rules, (entry,)))
        verdict = compare(known, run, target="itself", framework=Numpy(), examples=0)
        assert verdict.diagnosis == (entry.name,), str(verdict)


def fails(average, value, decay):
    raise ZeroDivisionError("first\nsecond")


class HidesIt(OfAModel):
    def __init__(self, model, decay=0.9):
        super().__init__(model, decay)
        self._modules["hidden"] = self._modules.pop("module")

    def update(self, model):
        pass


@pytest.mark.parametrize("target, options, text", [
    (3, {}, "expected a class"), (averaged_model, {}, "takes no decay"),
    (fails, {}, "the target raised ZeroDivisionError"),
    (torch.nn.Linear, {"decay": 0.9}, "expected a class"), (HidesIt, {}, "found no average")])
def test_what_cannot_be_run_is_one_line(target, options, text):
    with pytest.raises(InputError) as error:
        check(target, **options)
    assert text in str(error.value) and "\n" not in str(error.value)


class Shadows:
    """As it is often written, with the average in the place of the weights for a while."""

    shares_memory = False

    def __init__(self, model, decay=0.9999):
        self.model, self.decay, self.updates, self.kept = model, decay, 0, {}
        self.shadow = {name: value.detach().clone() for name, value in model.named_parameters()}

    def update(self):
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, value in self.model.named_parameters():
            self.shadow[name] = decay * self.shadow[name] + (1.0 - decay) * value.detach()

    def apply_shadow(self):
        for name, value in self.model.named_parameters():
            self.kept[name] = value.data if self.shares_memory else value.data.clone()
            value.data.copy_(self.shadow[name])

    def restore(self):
        for name, value in self.model.named_parameters():
            value.data.copy_(self.kept[name])


class SharesMemory(Shadows):
    shares_memory = True


class OfADict:
    def __init__(self, params, decay=0.9999):
        self.average, self.decay, self.updates = {name: value.copy() for name, value in params.items()}, decay, 0

    def update(self, params):
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, value in params.items():
            self.average[name] = decay * self.average[name] + (1.0 - decay) * value


def numpy_in_place(average, value, step, decay=0.9999):
    decay = min(decay, (1 + step) / (10 + step))
    average *= decay
    average += (1.0 - decay) * value


class EveryTenth(torch.nn.Module):
    def __init__(self, model, decay=0.9999):
        super().__init__()
        self.module = copy.deepcopy(model)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, model):
        if self.updates % 10 == 0:
            self.module.load_state_dict(model.state_dict())
        self.updates += 1


class ChosenByNew(OfAModel):
    """What inspect finds first, the parameters of __new__, are not those that it takes."""

    def __new__(cls, model, *args, **kwargs):
        return super().__new__(cls)


@pytest.mark.parametrize("target, options", [(Shadows, {}), (OfADict, {}), (ChosenByNew, {}),
                                             (numpy_in_place, {"framework": "numpy"})])
def test_right_ones_of_other_shapes_conform(target, options):
    verdict = check_ema(target, examples=2, **options)
    assert verdict.outcome == CONFORMS, str(verdict)


@pytest.mark.parametrize("target, name", [(SharesMemory, "average kept in the model"),
                                          (EveryTenth, "every tenth update copies")])
def test_averages_that_are_applied_or_rarely_updated_are_asked(target, name):
    verdict = check_ema(target, examples=2)
    assert verdict.outcome == DIVERGES and verdict.diagnosis == (name,), str(verdict)
