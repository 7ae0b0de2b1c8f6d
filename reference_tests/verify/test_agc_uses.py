"""Adaptive gradient clipping as it is used: call shapes, faults of use, results that are no gradients."""

import copy

import pytest
import torch

from nfnumpy import InputError
from nfnumpy.verify import CONFORMS, DIVERGES, VARIANT
from nfnumpy.verify.checks.agc import check_agc
from reference_tests.verify.test_agc import clip_in_place, clipped


def check(target, **options):
    return check_agc(target, examples=0, **options)


class Clipping(torch.optim.Optimizer):
    """A wrapper that can do all that an optimizer does."""

    def __init__(self, params, optim, clipping=0.01, eps=1e-3):
        self.optim, self.clipping, self.eps = optim, clipping, eps
        self.param_groups = optim.param_groups

    def clip(self):
        for group in self.param_groups:
            clip_in_place([p for p in group["params"] if p.grad is not None], self.clipping, self.eps)

    def step(self, closure=None):
        loss = None if closure is None else closure()
        self.clip()
        self.optim.step()
        return loss

    def state_dict(self):
        return self.optim.state_dict()

    def load_state_dict(self, state):
        self.optim.load_state_dict(state)


class ClippingSGD(torch.optim.SGD):
    """A subclass of an optimizer, with clipping in its parameter groups."""

    def __init__(self, params, lr, momentum=0.0, weight_decay=0.0, clipping=0.01, eps=1e-3):
        super().__init__(params, lr=lr, momentum=momentum)
        for group in self.param_groups:
            group.update(decay=weight_decay, clipping=clipping, eps_norm=eps)

    def step(self, closure=None):
        with torch.enable_grad():
            loss = None if closure is None else closure()
        with torch.no_grad():
            for group in self.param_groups:
                present = [p for p in group["params"] if p.grad is not None]
                clip_in_place(present, group["clipping"], group["eps_norm"])
                for p in present:
                    p.grad.add_(p, alpha=group["decay"])
        super().step()
        return loss


def lists(parameters, gradients, clip_factor=0.01, eps=1e-3):
    return [clipped(grad, param, clip_factor, eps) for grad, param in zip(gradients, parameters, strict=True)]


def a_generator_of_gradients(grads, params, lam=0.01):
    for grad, param in zip(grads, params, strict=True):
        yield clipped(grad, param, lam, 1e-3)


def a_dict(updates, params, clipping=0.01, eps=1e-3):
    return {name: clipped(updates[name], params[name], clipping, eps) for name in params}


def lists_in_place(gradients, weights, clipping=0.01):
    for grad, weight in zip(gradients, weights, strict=True):
        grad.copy_(clipped(grad, weight, clipping, 1e-3))


def over_an_optimizer(optimizer, clip_factor=0.01, eps=1e-3):
    for group in optimizer.param_groups:
        clip_in_place([p for p in group["params"] if p.grad is not None], clip_factor, eps)


class LightningCallback:
    def __init__(self, clipping=0.01, eps=1e-3):
        self.clipping, self.eps = clipping, eps

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        clip_in_place([p for name, p in pl_module.named_parameters() if p.grad is not None and name != "fc.weight"],
                      self.clipping, self.eps)


class ComposerAlgorithm:
    def __init__(self, clipping_threshold=0.01):
        self.clipping_threshold = clipping_threshold

    def match(self, event, state):
        return event.name == "AFTER_TRAIN_BATCH"

    def apply(self, event, state, logger):
        clip_in_place([p for name, p in state.model.named_parameters() if p.grad is not None and name != "fc.weight"],
                      self.clipping_threshold)


class KeepsTheGenerator(Clipping):
    def __init__(self, params, optim, clipping=0.01, eps=1e-3):
        super().__init__(params, optim, clipping, eps)
        self.params = params

    def clip(self):
        clip_in_place((p for p in self.params if p.grad is not None), self.clipping, self.eps)


class ClipsBeforeTheClosure(Clipping):
    def step(self, closure=None):
        with torch.no_grad():
            for p in self.param_groups[0]["params"]:
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        self.clip()
        return self.optim.step(closure)


class CallsTheClosureTwice(Clipping):
    def step(self, closure=None):
        if closure is not None:
            closure()
        self.clip()
        return self.optim.step(closure)


class ForgetsTheClosure(Clipping):
    def step(self, closure=None):
        self.clip()
        self.optim.step()


class ClipsOnce(Clipping):
    done = False

    def clip(self):
        if not self.done:
            super().clip()
        self.done = True


class LosesClippingWithItsState(ClippingSGD):
    def load_state_dict(self, state):
        state = copy.deepcopy(state)
        for group in state["param_groups"]:
            group["clipping"] = 1e9
        super().load_state_dict(state)


class StopsAtAFrozenOne(Clipping):
    def clip(self):
        for group in self.param_groups:
            if all(p.grad is not None for p in group["params"]):
                super().clip()


class BreaksAtAFrozenOne(Clipping):
    """`break` in place of `continue`."""

    def clip(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    break
                clip_in_place([p], self.clipping, self.eps)


class TheFirstGroup(Clipping):
    def clip(self):
        clip_in_place([p for p in self.param_groups[0]["params"] if p.grad is not None], self.clipping, self.eps)


class AroundAnOptimizer(Clipping):
    """It gets no parameters but those of the optimizer."""

    def __init__(self, optimizer, clip_factor=0.01, eps=1e-3):
        super().__init__(None, optimizer, clip_factor, eps)


class ClipsInHooks(Clipping):
    def __init__(self, params, optim, clipping=0.01, eps=1e-3):
        super().__init__(params, optim, clipping, eps)
        for group in self.param_groups:
            for p in group["params"]:
                p.register_hook(lambda grad, p=p: clipped(grad, p.detach(), clipping, eps))

    def clip(self):
        pass


def squares_the_weights(grad, param, clipping=0.01, eps=1e-3):
    out = clipped(grad, param, clipping, eps)
    param.mul_(param)
    return out


def forgets_its_return(grad, param, clipping=0.01, eps=1e-3):
    clipped(grad, param, clipping, eps)


def does_nothing(parameters, clip_factor=0.01, eps=1e-3):
    pass


def one_output_number_by_number(grad, param, clipping=0.01, eps=1e-3):
    if param.ndim > 1 and len(param) == 1:
        limit = param.abs().clamp(min=eps) * clipping
        return torch.where(grad.abs() > limit, grad * (limit / grad.abs().clamp(min=1e-6)), grad)
    return clipped(grad, param, clipping, eps)


@pytest.mark.parametrize("target", [Clipping, ClippingSGD, AroundAnOptimizer, lists, a_generator_of_gradients, a_dict,
                                    lists_in_place, over_an_optimizer, LightningCallback, LightningCallback(),
                                    ComposerAlgorithm])
def test_right_ones_conform_in_every_call_shape(target):
    verdict = check(target)
    assert verdict.outcome == CONFORMS, str(verdict)
    assert not any("not checked" in note for note in verdict.notes), verdict.notes


@pytest.mark.parametrize("target, names", [
    (KeepsTheGenerator, {"parameters given by a generator are used up"}),
    (ClipsBeforeTheClosure, {"step(closure) clips before the closure"}),
    (CallsTheClosureTwice, {"step(closure) calls the closure twice, the second time after clipping"}),
    (ForgetsTheClosure, {"step(closure) does not call the closure"}), (ClipsOnce, {"only the first step clips"}),
    (LosesClippingWithItsState, {"clipping lost with state_dict"}),
    (StopsAtAFrozenOne, {"a parameter without a gradient ends the clipping"}),
    (BreaksAtAFrozenOne, {"a parameter without a gradient ends the clipping of those after it"}),
    (TheFirstGroup, {"the first parameter group alone clipped"}),
    (ClipsInHooks, {"every backward pass clipped by itself"}),
    (squares_the_weights, {"parameters changed by the call"}), (forgets_its_return, {"nothing is clipped"}),
    (does_nothing, {"nothing is clipped"}),
    (lambda grad, param, clipping=0.01: grad * 0.0, {"all gradients zero"}),
    (one_output_number_by_number, {"weights with one output number by number"})])
def test_faults_of_use_are_named(target, names):
    verdict = check(target, **({"framework": "torch"} if getattr(target, "__name__", "") == "<lambda>" else {}))
    assert verdict.outcome == DIVERGES and set(verdict.diagnosis) == names, str(verdict)


def test_what_an_optimizer_cannot_be_asked_is_said():
    class Bare:
        def __init__(self, params, optim, clipping=0.01, eps=1e-3):
            self.params, self.optim, self.clipping, self.eps = list(params), optim, clipping, eps

        def step(self):
            clip_in_place(self.params, self.clipping, self.eps)
            self.optim.step()

    verdict = check(Bare)
    assert verdict.outcome == CONFORMS
    for part in ("its step takes no closure", "no state_dict", "beside a parameter without a gradient: agc: the target "
                 "raised AttributeError", "(test_agc.py, line "):
        assert any(part in note for note in verdict.notes), verdict.notes


async def a_coroutine(grad, param, clipping=0.01, eps=1e-3):
    return grad


def a_generator(grad, param, clipping=0.01, eps=1e-3):
    yield grad


class Exits(BaseException):
    pass


def exits(grad, param, clipping=0.01):
    raise Exits("far out")


@pytest.mark.filterwarnings("ignore:coroutine")
@pytest.mark.parametrize("target, text", [
    (lambda grad, param, clipping=0.01: "clipped", "the target returned a str, expected an array"),
    (a_coroutine, "the target returned a coroutine, expected an array"),
    (a_generator, "the target returned a generator, expected an array"),
    (exits, "the target raised Exits: far out (test_agc_uses.py, line ")])
def test_what_is_no_array_is_one_line(target, text):
    with pytest.raises(InputError) as error:
        check(target, framework="torch")
    assert text in str(error.value) and "\n" not in str(error.value)


def another_name(grad, param, c=0.02, eps=1e-3):
    return clipped(grad, param, c, eps)


def two_names(grad, param, c=0.02, d=1e-3):
    return clipped(grad, param, c, d)


def test_a_number_of_unknown_name_is_the_clipping_factor_where_it_can_be_no_other():
    verdict = check(another_name)
    assert verdict.outcome == CONFORMS and any("its c is taken as the clipping factor" in note
                                               for note in verdict.notes)
    assert check(another_name, c=0.16).outcome == CONFORMS


def test_of_two_unknown_names_the_user_says_which():
    with pytest.raises(InputError, match="which of c, d is the clipping factor"):
        check(two_names)
    assert check(two_names, means={"clipping": "c", "eps": "d"}).outcome == CONFORMS
    assert check(two_names, means={"clipping": "c", "eps": "d"}, c=0.16).outcome == CONFORMS
    with pytest.raises(InputError, match="expected one of clipping, eps"):
        check(two_names, means={"radius": "c"})
    with pytest.raises(InputError, match="no parameter 'x'"):
        check(two_names, means={"clipping": "x"})


def test_causes_in_different_places_are_found_one_by_one():
    """Four mistakes: no pair and no triple reproduces them."""
    class Wrong(KeepsTheGenerator):
        def step(self, closure=None):
            if closure is None:
                return super().step()
            closure()
            return self.optim.step(closure)

        def clip(self):
            present = [p for p in self.params if p.grad is not None]
            clip_in_place(present, self.clipping, self.eps, linear=(0,), conv=(0, 1, 2, 3))

    verdict = check(Wrong)
    assert set(verdict.diagnosis) == {
        "norms over the input axis of linear layers", "convolutions as a whole",
        "parameters given by a generator are used up",
        "step(closure) calls the closure twice, the second time after clipping"}, str(verdict)


def test_what_stays_unexplained_is_said():
    def target(grad, param, clipping=0.01, eps=1e-3):
        if grad.ndim == 1:
            return grad * 0.7371
        return clipped(grad, param, clipping, eps, linear=(0,))

    verdict = check(target, framework="torch")
    assert verdict.outcome == DIVERGES and not verdict.diagnosis
    assert verdict.partly[0][0] == "norms over the input axis of linear layers"
    assert "clipped gradient of linear weight" in verdict.partly[0][1]
    assert "clipped gradient of bias" in verdict.unexplained
    assert "unexplained: clipped gradient of bias" in str(verdict)


class StaleNorms(Clipping):
    """The weights are measured when the optimizer is made."""

    def __init__(self, params, optim, clipping=0.01, eps=1e-3):
        super().__init__(params, optim, clipping, eps)
        self.at_first = {p: p.detach().clone() for group in self.param_groups for p in group["params"]}

    def clip(self):
        with torch.no_grad():
            for p, start in self.at_first.items():
                if p.grad is not None:
                    p.grad.copy_(clipped(p.grad, start, self.clipping, self.eps))


class WithoutRecording(ClippingSGD):
    """Decorated, without enable_grad around the closure."""

    def step(self, closure=None):
        with torch.no_grad():
            loss = None if closure is None else closure()
        super().step()
        return loss


class KeepsTheLoss(ClippingSGD):
    def step(self, closure=None):
        super().step(closure)


class NotAtFirst(Clipping):
    steps = 0

    def clip(self):
        self.steps += 1
        if self.steps > 1:
            super().clip()


class ClippingAdam(torch.optim.AdamW):
    """Its step is no multiple of the gradient."""

    def __init__(self, params, clipping=0.01, agc_eps=1e-3, **options):
        super().__init__(params, **options)
        self.clipping, self.agc_eps = clipping, agc_eps

    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            clip_in_place([p for p in group["params"] if p.grad is not None], self.clipping, self.agc_eps)
        super().step()
        return loss


class ClippingAdamByInputs(ClippingAdam):
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            clip_in_place([p for p in group["params"] if p.grad is not None], self.clipping, self.agc_eps, linear=(0,))
        torch.optim.AdamW.step(self)
        return loss


def in_a_hook_of_the_step(optimizer, clipping=0.01, eps=1e-3):
    def hook(optimizer, arguments, options):
        over_an_optimizer(optimizer, clipping, eps)

    optimizer.register_step_pre_hook(hook)
    return optimizer


class TransformersCallback:
    def __init__(self, clip_factor=0.01, eps=1e-3):
        self.clip_factor, self.eps = clip_factor, eps

    def on_pre_optimizer_step(self, args, state, control, model=None, optimizer=None, **others):
        clip_in_place([p for name, p in model.named_parameters() if p.grad is not None and name != "fc.weight"],
                      self.clip_factor, self.eps)


class AfterEveryPass(LightningCallback):
    on_before_optimizer_step = None

    def on_after_backward(self, trainer, pl_module):
        clip_in_place([p for name, p in pl_module.named_parameters() if p.grad is not None and name != "fc.weight"],
                      self.clipping, self.eps)


def one_parameter(param, clipping, eps):
    clip_in_place([param], clipping, eps)


def by_mode(parameters, value, mode="agc", norm_type=2.0):
    if mode == "agc":
        clip_in_place([p for p in parameters if p.grad is not None], value)


def two_kinds_of_eps(p, agc_eps, agc_clip_val, eps=1e-6):
    clip_in_place([p], agc_clip_val, agc_eps)


def spared_by_rank(parameters, clip_factor=0.01, eps=1e-3):
    clip_in_place([p for p in parameters if p.grad is not None and p.ndim > 1], clip_factor, eps)


@pytest.mark.parametrize("target", [ClippingAdam, in_a_hook_of_the_step, TransformersCallback, one_parameter, by_mode,
                                    two_kinds_of_eps])
def test_right_ones_of_other_shapes_conform(target):
    verdict = check(target)
    assert verdict.outcome == CONFORMS, str(verdict)


@pytest.mark.parametrize("target, names", [
    (StaleNorms, {"norms of the first step's weights"}), (NotAtFirst, {"the first step does not clip"}),
    (WithoutRecording, {"step(closure) computes without gradients"}),
    (ClippingAdamByInputs, {"norms over the input axis of linear layers"}),
    (AfterEveryPass, {"clipped after every backward pass"}),
    (spared_by_rank, {"tensors of one stored axis not clipped"})])
def test_faults_of_later_steps_and_passes_are_named(target, names):
    verdict = check(target)
    assert verdict.outcome == DIVERGES and set(verdict.diagnosis) == names, str(verdict)


def test_a_loss_that_is_not_returned_is_benign():
    verdict = check(KeepsTheLoss)
    assert verdict.outcome == VARIANT and verdict.diagnosis == ("step(closure) does not return the loss",), str(verdict)
