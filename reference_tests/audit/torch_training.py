"""Clipping, SAM, averages and schedules in PyTorch; weights are (out, in, kh, kw) and (out, in)."""

import copy
import math

import torch
from torch import optim
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from reference_tests.audit.registry import planted, right
from reference_tests.verify.test_ema import OfAModel
from reference_tests.verify.test_sam import TwoSteps

# ---- agc


def unit_norm(x, linear=1):
    if x.squeeze().dim() <= 1:
        return x.norm(2)
    return x.norm(2, dim=linear if x.dim() == 2 else (1, 2, 3), keepdim=True)


def stored_rank(x):
    return x.norm() if x.dim() <= 1 else x.norm(2, dim=tuple(range(1, x.dim())), keepdim=True)


def clipped(grad, param, clipping, eps, norm=unit_norm, floor=1e-6):
    limit, size = norm(param.detach()).clamp(min=eps) * clipping, norm(grad)
    return torch.where(size > limit, grad * (limit / size.clamp(min=floor)), grad)


@torch.no_grad()
def agc_(parameters, clipping=0.01, eps=1e-3, **how):
    for p in [parameters] if isinstance(parameters, torch.Tensor) else parameters:
        if p.grad is not None:
            p.grad.copy_(clipped(p.grad, p, clipping, eps, **how))


right("agc", "torch")(agc_)


@right("agc", "torch")
@torch.no_grad()
def with_foreach(params, clip_factor: float = 0.01, eps: float = 1e-3):
    params = [p for p in params if p.grad is not None]
    grads, limits = [p.grad for p in params], [unit_norm(p) for p in params]
    sizes = [unit_norm(grad) for grad in grads]
    torch._foreach_clamp_min_(limits, eps)
    torch._foreach_mul_(limits, clip_factor)
    shorter = torch._foreach_mul(grads, [limit / size.clamp_min(1e-6) for limit, size in zip(limits, sizes,
                                                                                            strict=True)])
    for grad, short, limit, size in zip(grads, shorter, limits, sizes, strict=True):
        grad.copy_(torch.where(size > limit, short, grad))


@right("agc", "torch")
def with_einsum(grad, weight, lam=0.01, eps=1e-3):
    def norm(x):
        if x.numel() == max(x.shape, default=1):
            return x.square().sum().sqrt()
        return torch.einsum("oi,oi->o", x.flatten(1), x.flatten(1)).sqrt().reshape(-1, *[1] * (x.ndim - 1))
    limit, size = lam * norm(weight).clip(min=eps), norm(grad)
    return torch.where(size > limit, limit * (grad / size.clip(min=1e-6)), grad)


@right("agc", "torch")
def of_lists(params, grads, clip=0.01, eps=1e-3):
    return [clipped(grad, param, clip, eps) for param, grad in zip(params, grads, strict=True)]


class ClippingSGD(optim.SGD):
    """Right; `clip` is a place for a mistake."""

    def __init__(self, params, lr=0.1, momentum=0.9, clip_lambda=0.02, agc_eps=1e-3, weight_decay=0.0, nesterov=False):
        super().__init__(params, lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)
        for group in self.param_groups:
            group.setdefault("clip_lambda", clip_lambda)
            group.setdefault("agc_eps", agc_eps)

    def clip(self, group):
        agc_(group["params"], group["clip_lambda"], group["agc_eps"])

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self.clip(group)
        super().step()
        return loss


right("agc", "torch")(ClippingSGD)


@right("agc", "torch")
class PassesEverythingOn:
    """Attributes that it has not are those of the optimizer."""

    def __init__(self, optimizer, clip_factor=0.01, eps=1e-3):
        self.__dict__.update(optimizer=optimizer, clip_factor=clip_factor, eps=eps)

    def __getattr__(self, name):
        return getattr(self.optimizer, name)

    def step(self, closure=None):
        loss = None if closure is None else closure()
        for group in self.optimizer.param_groups:
            agc_(group["params"], self.clip_factor, self.eps)
        self.optimizer.step()
        return loss


@right("agc", "torch")
class ClippingAdamW(optim.AdamW):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, clipping=0.01, agc_eps=1e-3):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        self.clipping, self.agc_eps = clipping, agc_eps

    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            agc_(group["params"], self.clipping, self.agc_eps)
        super().step()
        return loss


@right("agc", "torch")
def attach_agc(optimizer, clipping=0.01, eps=1e-3):
    def hook(optimizer, args, kwargs):
        for group in optimizer.param_groups:
            agc_(group["params"], clipping, eps)
    optimizer.register_step_pre_hook(hook)
    return optimizer


INPUTS = "norms over the input axis of linear layers"


@planted("agc", "torch", INPUTS, "biases and gains not clipped", "eps added to the weight norm")
@torch.no_grad()
def three_at_once(parameters, clipping=0.01, eps=1e-3):
    for p in parameters:
        if p.grad is None or p.squeeze().dim() <= 1:
            continue
        limit, size = (unit_norm(p, 0) + eps) * clipping, unit_norm(p.grad, 0)
        p.grad.copy_(torch.where(size > limit, p.grad * (limit / size.clamp(min=1e-6)), p.grad))


@planted("agc", "torch", "units by the stored rank", "gradient norm without its floor")
@torch.no_grad()
def rank_and_floor(parameters, clipping=0.01, eps=1e-3):
    agc_(parameters, clipping, eps, norm=stored_rank, floor=0.0)


@planted("agc", "torch", "convolutions as a whole", "linear layers number by number")
def convolutions_and_numbers(parameters, clipping=0.01, eps=1e-3):
    agc_(parameters, clipping, eps, norm=lambda x: x.norm() if x.squeeze().dim() <= 1 or x.dim() == 4 else x.abs())


@planted("agc", "torch", "eps a floor under both norms", "decides by the quotient with its floor")
def both_clamped(parameters, clipping=0.01, eps=1e-3):
    agc_(parameters, clipping, eps, norm=lambda x: unit_norm(x).clamp(min=eps))


@planted("agc", "torch", "decay added before clipping", "eps left out")
class DecaysFirst(ClippingSGD):
    def __init__(self, params, lr=0.1, momentum=0.0, weight_decay=0.0, clip_lambda=0.01):
        super().__init__(params, lr, momentum, clip_lambda, 0.0)
        self.decay = weight_decay

    def clip(self, group):
        for p in group["params"]:
            if p.grad is not None:
                p.grad.add_(p, alpha=self.decay)
        super().clip(group)


@planted("agc", "torch", "the first parameter group alone clipped", INPUTS)
class FirstGroupByInputs(ClippingSGD):
    def clip(self, group):
        if group is self.param_groups[0]:
            agc_(group["params"], group["clip_lambda"], group["agc_eps"], norm=lambda x: unit_norm(x, 0))


@planted("agc", "torch", "parameters changed by the call")
def takes_magnitudes_in_place(parameters, clipping=0.01, eps=1e-3):
    for p in parameters:
        if p.grad is not None:
            p.data.abs_()
            agc_(p, clipping, eps)


@planted("agc", "torch", "a parameter without a gradient ends the clipping of those after it")
def returns_at_a_frozen_one(parameters, clipping=0.01, eps=1e-3):
    for p in parameters:
        if p.grad is None:
            return
        agc_(p, clipping, eps)


# ---- sam


@right("sam", "torch", "1e-12 added to the norm")
class SAM(TwoSteps):
    """The usual class, with `step`."""

    @torch.no_grad()
    def step(self, closure=None):
        closure = torch.enable_grad()(closure)
        self.first_step(True)
        closure()
        self.second_step()


@planted("sam", "torch", "1e-12 added to the norm", "norm per tensor", "perturbation not removed")
class PerTensorNotRemoved(SAM):
    @torch.no_grad()
    def first_step(self, zero_grad=False):
        for p, group in self.every():
            p.add_(p.grad, alpha=float(group["rho"] / (p.grad.norm() + 1e-12)))
        if zero_grad:
            self.zero_grad()

    @torch.no_grad()
    def second_step(self, zero_grad=False):
        self.base_optimizer.step()
        if zero_grad:
            self.zero_grad()


@planted("sam", "torch", "1e-12 added to the norm", "downhill")
class DownhillSAM(SAM):
    @torch.no_grad()
    def first_step(self, zero_grad=False):
        norm = torch.stack([p.grad.norm() for p, _ in self.every()]).norm()
        for p, group in self.every():
            self.state[p]["before"] = p.clone()
            p.sub_(p.grad * (group["rho"] / (norm + 1e-12)))
        if zero_grad:
            self.zero_grad()


@planted("sam", "torch", "1e-12 added to the norm", "perturbation not removed", "gradients of both points summed")
class KeepsBoth(SAM):
    forgets = False

    @torch.no_grad()
    def second_step(self, zero_grad=False):
        self.base_optimizer.step()
        if zero_grad:
            self.zero_grad()


# ---- ema


@right("ema", "torch")
class Shadow:
    """A dict of averages."""

    def __init__(self, model, decay=0.9999):
        self.decay, self.num_updates = decay, 0
        self.shadow = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}

    def rate(self):
        return min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))

    def update(self, model):
        rate = self.rate()
        self.num_updates += 1
        for name, p in model.named_parameters():
            self.shadow[name] = self.averaged(name, self.shadow[name], p.detach(), rate)

    def averaged(self, name, average, value, rate):
        return average - (1 - rate) * (average - value)

    def state_dict(self):
        return {"num_updates": self.num_updates, "shadow": self.shadow}

    def load_state_dict(self, state):
        self.num_updates, self.shadow = state["num_updates"], copy.deepcopy(state["shadow"])


@right("ema", "torch")
class ShadowParams:
    """Of a list of parameters."""

    def __init__(self, parameters, decay=0.995):
        self.parameters = list(parameters)
        self.decay, self.num_updates = decay, 0
        self.shadow_params = [p.clone().detach() for p in self.parameters]

    @torch.no_grad()
    def update(self, parameters=None):
        rate = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        for average, p in zip(self.shadow_params, list(parameters or self.parameters), strict=True):
            average.sub_((1 - rate) * (average - p))

    def state_dict(self):
        return {"num_updates": self.num_updates, "shadow_params": self.shadow_params}

    def load_state_dict(self, state):
        self.num_updates, self.shadow_params = state["num_updates"], copy.deepcopy(state["shadow_params"])


@planted("ema", "torch", "decay not limited")
class Unlimited(Shadow):
    def rate(self):
        return (1 + self.num_updates) / (10 + self.num_updates)


@planted("ema", "torch", "no warm-up", "weights alone averaged, the others copied")
class OfWeights(Shadow):
    def rate(self):
        return self.decay

    def averaged(self, name, average, value, rate):
        return super().averaged(name, average, value, rate) if "weight" in name else value.clone()


@planted("ema", "torch", "kernels alone averaged, the others copied")
class OfKernels(Shadow):
    def averaged(self, name, average, value, rate):
        return super().averaged(name, average, value, rate) if value.ndim > 1 else value.clone()


@planted("ema", "torch", "decay and 1 - decay exchanged", "no warm-up")
class ConstantExchanged(Shadow):
    def rate(self):
        return 1 - self.decay


@planted("ema", "torch", "decay and 1 - decay exchanged", "weights alone averaged, the others left")
class WeightsExchanged(Shadow):
    def averaged(self, name, average, value, rate):
        return super().averaged(name, average, value, 1 - rate) if "weight" in name else average


@planted("ema", "torch", "no warm-up", "watched weights changed by the update")
class WritesBackConstant(OfAModel):
    def current(self):
        return self.decay

    @torch.no_grad()
    def update(self, model):
        super().update(model)
        for average, value in zip(self.module.parameters(), model.parameters(), strict=True):
            value.copy_(average)


# ---- schedule


@right("schedule", "torch")
def get_cosine_schedule_with_warmup(optimizer, num_warmup_steps, num_training_steps, num_cycles=0.5, last_epoch=-1):
    def share(step):
        if step < num_warmup_steps:
            return step / max(1, num_warmup_steps)
        progress = (step - num_warmup_steps) / max(1, num_training_steps - num_warmup_steps)
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * num_cycles * 2.0 * progress)))
    return LambdaLR(optimizer, share, last_epoch)


class WarmupCosine(LRScheduler):
    """Right; its methods are places for mistakes."""

    def __init__(self, optimizer, warmup_steps, total_steps, last_epoch=-1):
        self.warmup_steps, self.total_steps = warmup_steps, total_steps
        super().__init__(optimizer, last_epoch)

    def warm(self, step):
        return step / self.warmup_steps

    def decay(self, progress):
        return (math.cos(progress * math.pi) + 1) / 2

    def get_lr(self):
        if self.last_epoch < self.warmup_steps:
            return [base * self.warm(self.last_epoch) for base in self.base_lrs]
        progress = (self.last_epoch - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return [base * self.decay(min(1.0, progress)) for base in self.base_lrs]


right("schedule", "torch")(WarmupCosine)


@right("schedule", "torch")
class SetsTheRate:
    """It counts its steps itself."""

    def __init__(self, optimizer, base_lr, warmup_steps, total_steps):
        self.optimizer, self.base, self.warmup, self.total = optimizer, base_lr, warmup_steps, total_steps
        self.count = 0
        self.set()

    def set(self):
        t = self.count
        share = t / self.warmup if t < self.warmup else 0.5 * (1 + math.cos(math.pi * (t - self.warmup)
                                                                            / (self.total - self.warmup)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.base * share

    def step(self):
        self.count += 1
        self.set()


@planted("schedule", "torch", "straight decay", "quadratic warm-up")
class StraightQuadratic(WarmupCosine):
    def warm(self, step):
        return (step / self.warmup_steps) ** 2

    def decay(self, progress):
        return 1 - progress


@planted("schedule", "torch", "warm-up from 0.333 of the peak", "cosine as long as all steps")
def sequential(optimizer, warmup_steps, total_steps):
    schedulers = optim.lr_scheduler
    return schedulers.SequentialLR(optimizer, [schedulers.LinearLR(optimizer, total_iters=warmup_steps),
                                               schedulers.CosineAnnealingLR(optimizer, T_max=total_steps)],
                                   [warmup_steps])


@planted("schedule", "torch", "ends at 0.1 of the peak", "quadratic warm-up", "quarter of a cosine")
class ThreeAtOnce(WarmupCosine):
    def warm(self, step):
        return (step / self.warmup_steps) ** 2

    def decay(self, progress):
        return 0.1 + 0.9 * math.cos(0.5 * math.pi * progress)


