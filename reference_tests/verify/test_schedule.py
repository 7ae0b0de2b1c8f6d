"""Checking learning-rate schedules."""

import functools
import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR, SequentialLR

from nfnumpy import InputError
from nfnumpy.optim import warmup_cosine
from nfnumpy.verify import CONFORMS, DIVERGES, VARIANT
from nfnumpy.verify.checks.schedule import check_for, check_schedule
from nfnumpy.verify.compare import compare
from nfnumpy.verify.frameworks import Numpy
from nfnumpy.verify.variants import apply


def check(target, **options):
    return check_schedule(target, examples=4, **options)


def cosine(progress):
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def of_an_optimizer(optimizer, num_warmup_steps, num_training_steps):
    def share(step):
        if step < num_warmup_steps:
            return step / max(1, num_warmup_steps)
        return max(0.0, cosine((step - num_warmup_steps) / max(1, num_training_steps - num_warmup_steps)))
    return LambdaLR(optimizer, share)


def direct(step, base_lr, warmup, total):
    return base_lr * (step / warmup if step < warmup else cosine((step - warmup) / (total - warmup)))


def optax_like(init_value, peak_value, warmup_steps, decay_steps, end_value=0.0):
    def schedule(count):
        if count < warmup_steps:
            return init_value + (peak_value - init_value) * count / warmup_steps
        return end_value + (peak_value - end_value) * cosine((count - warmup_steps) / (decay_steps - warmup_steps))
    return schedule


def alone(step):
    return direct(step, 0.1, 10, 100)


def in_epochs(lr, warmup_epochs, epochs, steps_per_epoch):
    return warmup_cosine(lr, warmup_epochs * steps_per_epoch, epochs * steps_per_epoch)


def ends_with_an_error(step, peak, warmup_steps, total_steps):
    if step >= total_steps:
        raise ValueError("there is no such step")
    return direct(step, peak, warmup_steps, total_steps)


def without_warmup(init_value, decay_steps):
    return lambda count: init_value * cosine(min(count, decay_steps) / decay_steps)


class LikeTimm:
    """Updated with the step itself, over all steps."""

    def __init__(self, optimizer, t_initial, lr_min=0.0, warmup_t=0, warmup_lr_init=0.0, t_in_epochs=True):
        assert not t_in_epochs
        self.optimizer, self.total, self.warmup = optimizer, t_initial, warmup_t
        self.peak = optimizer.param_groups[0]["lr"]

    def step_update(self, step):
        share = step / self.warmup if step < self.warmup else cosine(step / self.total)
        self.optimizer.param_groups[0]["lr"] = self.peak * share


SETTINGS = {"peak": 0.1, "warmup_steps": 10, "total_steps": 100}


@pytest.mark.parametrize("target, options", [
    (warmup_cosine, {}), (of_an_optimizer, {}), (direct, {}), (optax_like, {}), (alone, SETTINGS), (in_epochs, {}),
    (ends_with_an_error, {}), (CosineAnnealingLR, {}), (without_warmup, {})])
def test_right_ones_conform(target, options):
    verdict = check(target, **options)
    assert verdict.outcome == CONFORMS, str(verdict)


def test_rates_after_the_last_step_are_only_noted():
    assert any("no step is taken there" in note for note in check(direct).notes)
    assert any("has no rate for step total_steps" in note for note in check(ends_with_an_error).notes)


def sequential(optimizer, warmup_steps, total_steps):
    return SequentialLR(optimizer, [LinearLR(optimizer, 1e-8, total_iters=warmup_steps),
                                    CosineAnnealingLR(optimizer, total_steps - warmup_steps)], [warmup_steps])


def one_ahead(lr, warmup_steps, total_steps):
    right = warmup_cosine(lr, warmup_steps, total_steps)
    return lambda step: lr * (step + 1) / warmup_steps if step < warmup_steps else right(step)


@pytest.mark.parametrize("target, name", [(sequential, "warm-up from 1e-08 of the peak"),
                                          (one_ahead, "warm-up (t + 1)/w")])
def test_benign_forms_are_named(target, name):
    verdict = check(target)
    assert verdict.outcome == VARIANT and verdict.diagnosis == (name,), str(verdict)


def over_all(optimizer, warmup_steps, total_steps):
    return LambdaLR(optimizer, lambda step: step / warmup_steps if step < warmup_steps else cosine(step / total_steps))


def straight(lr, warmup_steps, total_steps):
    return lambda step: lr * (step / warmup_steps if step < warmup_steps
                              else (total_steps - step) / (total_steps - warmup_steps))


def once_an_epoch(lr, warmup_epochs, epochs, steps_per_epoch):
    right = warmup_cosine(lr, warmup_epochs, epochs)
    return lambda step: right(step // steps_per_epoch)


def never_ends(init_value, peak_value, warmup_steps, decay_steps):
    return optax_like(init_value, peak_value, warmup_steps, decay_steps, end_value=0.1 * peak_value)


@pytest.mark.parametrize("target, names", [
    (over_all, {"cosine over all steps"}),
    (LikeTimm, {"cosine over all steps", "the first group alone"}), (straight, {"straight decay"}),
    (once_an_epoch, {"in epochs"}), (never_ends, {"ends at 0.1 of the peak"})])
def test_mistakes_are_named(target, names):
    verdict = check(target)
    assert verdict.outcome == DIVERGES and set(verdict.diagnosis) == names, str(verdict)
    assert verdict.counterexample["total_steps"] < 12


def test_every_form_in_the_catalogue_is_recognized():
    known = check_for()
    for entry in known.catalogue:
        run = functools.partial(known.reference, rules=apply(known.rules, (entry,)))
        verdict = compare(known, run, target="itself", framework=Numpy(), examples=3)
        assert verdict.diagnosis == (entry.name,), str(verdict)


def fails(step, peak, warmup_steps, total_steps):
    raise ZeroDivisionError("first\nsecond")


@pytest.mark.parametrize("target, text", [
    (3, "expected a function step -> learning rate"), (torch.nn.Linear, "expected a function step -> learning rate"),
    (alone, "--option peak=… --option warmup_steps=… --option total_steps=…"),
    (fails, "the target raised ZeroDivisionError: first")])
def test_what_cannot_be_run_is_one_line(target, text):
    with pytest.raises(InputError) as error:
        check(target)
    assert text in str(error.value) and "\n" not in str(error.value)


class SetsTheRate:
    """A scheduler of its own, which takes the peak beside the optimizer."""

    def __init__(self, optimizer, base_lr, warmup_steps, total_steps):
        self.optimizer, self.settings, self.count = optimizer, (base_lr, warmup_steps, total_steps), 0
        self.set_rate()

    def set_rate(self):
        for group in self.optimizer.param_groups:
            group["lr"] = direct(self.count, *self.settings)

    def step(self):
        self.count += 1
        self.set_rate()

    def state_dict(self):
        return {"settings": self.settings, "count": self.count}

    def load_state_dict(self, state):
        self.settings, self.count = state["settings"], state["count"]


class Forgetful(SetsTheRate):
    def load_state_dict(self, state):
        self.settings = state["settings"]


class FromTheOptimizer(torch.optim.lr_scheduler.LRScheduler):
    def __init__(self, optimizer, warmup_steps, total_steps):
        self.warmup_steps, self.total_steps = warmup_steps, total_steps
        super().__init__(optimizer)

    def get_lr(self):
        return [direct(self.last_epoch, peak, self.warmup_steps, self.total_steps) for peak in self.base_lrs]


class OneRateForAll(FromTheOptimizer):
    def get_lr(self):
        return super().get_lr()[:1] * len(self.base_lrs)


def adjusted(optimizer, step, total_steps, warmup_steps, base_lr):
    for group in optimizer.param_groups:
        group["lr"] = direct(step, base_lr, warmup_steps, total_steps)


def a_table(base_value, final_value, epochs, niter_per_ep, warmup_epochs=0, start_warmup_value=0):
    warmup, total = warmup_epochs * niter_per_ep, epochs * niter_per_ep
    rise = [start_warmup_value + (base_value - start_warmup_value) * step / warmup for step in range(warmup)]
    return rise + [final_value + (base_value - final_value) * cosine(step / (total - warmup))
                   for step in range(total - warmup)]


def from_a_first_rate(initial_learning_rate, decay_steps, warmup_target=None, warmup_steps=0):
    """As Keras's CosineDecay: the decay begins after the warm-up and lasts decay_steps."""
    def schedule(step):
        if step < warmup_steps:
            return initial_learning_rate + (warmup_target - initial_learning_rate) * step / warmup_steps
        return warmup_target * cosine(min(1.0, (step - warmup_steps) / decay_steps))
    return schedule


@pytest.mark.parametrize("target", [SetsTheRate, FromTheOptimizer, adjusted, a_table, from_a_first_rate])
def test_right_ones_of_other_shapes_conform(target):
    verdict = check(target, **({"framework": "torch"} if target is adjusted else {}))
    assert verdict.outcome == CONFORMS, str(verdict)


@pytest.mark.parametrize("target, name", [(Forgetful, "step count lost with state_dict"),
                                          (OneRateForAll, "all groups get the first one's rate")])
def test_groups_and_saved_states_are_asked(target, name):
    verdict = check(target)
    assert verdict.outcome == DIVERGES and verdict.diagnosis == (name,), str(verdict)
