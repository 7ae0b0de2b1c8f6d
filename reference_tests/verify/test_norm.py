"""Normalizations: which one it is and every mistake are named, correct ones of any style conform."""

import functools
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nfnumpy as nf
from nfnumpy.nn.batch_norm import CONVENTIONS
from nfnumpy.verify.checks.norm import check_for, check_norm, reference
from nfnumpy.verify.variants import apply
from nfnumpy.verify.variants.normalization import BASES

OWN = {"groups", "shares", "order", "one_mixture", "instance_unbiased", "over"}  # rules not tried with batch norm
MANY = r"(eps|decay|momentum) [\d.e-]+"  # one of these is enough


def entries():
    """Of batch normalization all known variants, of the others those that they do not share with it."""
    for name in ("batch", "group", "instance", "layer_channels", "switchable"):
        known = [entry for entry in check_for(name).catalogue if name == "batch" or OWN & entry.changes.keys()]
        numbers = [entry for entry in known if re.match(MANY, entry.name)]
        for entry in known:
            if entry not in numbers or entry in numbers[::6]:
                yield pytest.param(name, entry, id=f"{name}: {entry.name}")


@pytest.mark.parametrize("name, entry", list(entries()))
def test_every_catalogued_form_is_recognized_and_named(name, entry):
    check, rules = check_for(name), apply(BASES[name], [entry])
    cases = (*check.typical, *check.edges)
    with np.errstate(all="ignore"):
        outputs = [reference(case, rules) for case in cases]
        assert check.explained(cases, outputs, "float64").variants == (entry,)


@pytest.mark.parametrize("name", BASES)
def test_the_reference_without_changes_is_our_layer_bit_for_bit(name):
    case = check_for(name).typical[0]
    layer = nf.nn.create_norm(nf.nn.Initializer(dtype="float64"), 64, name)
    state = {role: case.arrays[role] for role in layer.state_dict() if role != "counter"}
    if "counter" in layer.state_dict():
        state["counter"] = np.zeros((), dtype=np.int64)
    layer.load_state_dict(state)
    results, x = reference(case, BASES[name]), nf.Tensor(case.arrays["x"])
    assert np.array_equal(layer(x).numpy(), results["output in evaluation"])
    assert np.array_equal(layer(x, nf.nn.Mode(training=True)).numpy(), results["output"])
    layer(nf.Tensor(case.arrays["second"]), nf.nn.Mode(training=True))
    for role, title in (("running_mean", "running mean"), ("running_variance", "running variance")):
        if role in layer.buffers():
            np.testing.assert_allclose(layer.buffers()[role], results[f"{title} after two batches"], rtol=1e-13)


def test_the_bases_are_the_layers_conventions():
    for name, title in (("batch", "torch"), ("batch_keras", "keras"), ("batch_haiku", "haiku")):
        base, known = BASES[name], CONVENTIONS[title]
        assert (base.decay, base.eps, base.statistics_unbiased, base.debiased) == tuple(known)


# ---- PyTorch


class Wrong(nn.BatchNorm2d):
    """A batch normalization written out; each method is a place for a mistake."""

    def moments(self, x):
        return x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)

    def take_in(self, mean, variance, count):
        with torch.no_grad():
            self.running_mean.mul_(0.9).add_(0.1 * mean)
            self.running_var.mul_(0.9).add_(0.1 * variance * count / (count - 1))

    def scaled(self, unit):
        return unit * self.weight[:, None, None] + self.bias[:, None, None]

    def forward(self, x):
        mean, variance = self.running_mean, self.running_var
        if self.training:
            mean, variance = self.moments(x)
            self.take_in(mean, variance, x.numel() // x.shape[1])
        return self.scaled((x - mean[:, None, None]) / torch.sqrt(variance[:, None, None] + self.eps))


class Unbiased(Wrong):
    def moments(self, x):
        return x.mean((0, 2, 3)), x.var((0, 2, 3), correction=1)

    def take_in(self, mean, variance, count):
        super().take_in(mean, variance * (count - 1) / count, count)


class Biased(Wrong):
    def take_in(self, mean, variance, count):
        super().take_in(mean, variance * (count - 1) / count, count)


class Inverted(Wrong):
    def take_in(self, mean, variance, count):
        with torch.no_grad():
            self.running_mean.mul_(0.1).add_(0.9 * mean)
            self.running_var.mul_(0.1).add_(0.9 * variance * count / (count - 1))


class Forgotten(Wrong):
    def take_in(self, mean, variance, count):
        pass


class Exchanged(Wrong):
    def scaled(self, unit):
        return unit * self.bias[:, None, None] + self.weight[:, None, None]


class Unscaled(Wrong):
    def scaled(self, unit):
        return unit + self.bias[:, None, None]


class Unused(Wrong):
    def scaled(self, unit):
        return unit


class Detached(Wrong):
    def moments(self, x):
        return tuple(moment.detach() for moment in super().moments(x))


class PerInstance(Wrong):
    def forward(self, x):
        return self.scaled(F.instance_norm(x))


class RunningInTraining(nn.BatchNorm2d):
    def forward(self, x):
        super().forward(x)
        before = self.training
        self.training = False
        try:
            return super().forward(x)
        finally:
            self.training = before


class BatchInEvaluation(nn.BatchNorm2d):
    def forward(self, x):
        return F.batch_norm(x, self.running_mean if self.training else None,
                            self.running_var if self.training else None, self.weight, self.bias, True)


class Interleaved(nn.GroupNorm):
    def forward(self, x):
        n, c, h, w = x.shape
        mixed = x.reshape(n, c // self.num_groups, self.num_groups, h, w).transpose(1, 2).reshape(x.shape)
        unit = F.group_norm(mixed, self.num_groups, eps=self.eps)
        unit = unit.reshape(n, self.num_groups, c // self.num_groups, h, w).transpose(1, 2).reshape(x.shape)
        return unit * self.weight[:, None, None] + self.bias[:, None, None]


MISTAKES = {
    Unbiased: "normalized with the unbiased variance", Biased: "running variance biased",
    Inverted: "momentum the other way round", Forgotten: "running statistics not updated",
    Exchanged: "gamma and beta exchanged", Unscaled: "gamma missing", Unused: "gamma and beta not used",
    Detached: "moments not differentiated", RunningInTraining: "updated running statistics in training",
    BatchInEvaluation: "batch statistics in evaluation", Interleaved: "interleaved groups",
    functools.partial(nn.BatchNorm2d, eps=1e-3): "eps 0.001",
    functools.partial(nn.BatchNorm2d, affine=False): "gamma and beta missing"}


@pytest.mark.parametrize("target", MISTAKES, ids=lambda target: getattr(target, "__name__", str(target)[40:80]))
def test_mistaken_torch_modules_are_named(target):
    assert check_norm(target, framework="torch", examples=1).diagnosis == (MISTAKES[target],)


def axes_of_the_other_layout(x, weight, bias):
    variance, mean = torch.var_mean(x, (0, 1, 2), correction=0)
    return (x - mean) / torch.sqrt(variance + 1e-5) * weight[:, None, None] + bias[:, None, None]


@pytest.mark.parametrize("target, norm, diagnosis", [
    (PerInstance, "batch", ("running statistics not updated",
                            "instance normalization in place of batch normalization")),
    (axes_of_the_other_layout, "instance", ("moments for each column",)),
    (nn.BatchNorm2d, "batch_keras", ("PyTorch's convention",)),
    (nn.GroupNorm, "layer", ("group normalization in place of layer normalization over the image",))])
def test_another_normalization_than_was_meant_is_named(target, norm, diagnosis):
    assert set(check_norm(target, norm=norm, examples=0).diagnosis) == set(diagnosis)


def test_two_mistakes_are_named_together():
    class Both(Inverted):
        scaled = Exchanged.scaled

    found = check_norm(Both, examples=0)
    assert set(found.diagnosis) == {"momentum the other way round", "gamma and beta exchanged"}, str(found)


# ---- correct ones, in many styles


class ChannelsLast(nn.Module):
    """Layer normalization over the channels of a pixel, as ConvNeXt has it."""

    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-5)

    def forward(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def in_numpy(x, gamma, beta, running_mean, running_var, training, momentum=0.1, eps=1e-5):
    if not training:
        return gamma * (x - running_mean) / np.sqrt(running_var + eps) + beta, running_mean, running_var
    mean, variance, n = x.mean((0, 1, 2)), x.var((0, 1, 2)), x.size // x.shape[-1]
    out = gamma * (x - mean) / np.sqrt(variance + eps) + beta
    running_mean = (1 - momentum) * running_mean + momentum * mean
    return out, running_mean, (1 - momentum) * running_var + momentum * variance * n / (n - 1)


def keras_in_place(x, scale, offset, moving_mean, moving_variance, is_training, epsilon=1e-3):
    mean, variance = (x.mean((0, 1, 2)), x.var((0, 1, 2))) if is_training else (moving_mean, moving_variance)
    out = scale * (x - mean) / np.sqrt(variance + epsilon) + offset
    if is_training:
        moving_mean += 0.01 * (mean - moving_mean)
        moving_variance += 0.01 * (variance - moving_variance)
    return out


def groups_in_numpy(x, gamma, beta, num_groups):
    n, h, w, c = x.shape
    parts = x.reshape(n, h, w, num_groups, c // num_groups)
    mean, variance = (f(parts, axis=(1, 2, 4), keepdims=True) for f in (np.mean, np.var))
    return ((parts - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape) * gamma + beta


def switchable_in_torch(x, weight, bias, mean_weight, var_weight, running_mean, running_var, training=True):
    mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), unbiased=False, keepdim=True)
    square = variance + mean**2
    pools = [(mean, variance)]
    for axis in (1, 0):
        middle = mean.mean(axis, keepdim=True)
        pools.append((middle, square.mean(axis, keepdim=True) - middle**2))
    if training:
        running_mean.mul_(0.9).add_(0.1 * pools[2][0].detach().reshape(-1))
        running_var.mul_(0.9).add_(0.1 * pools[2][1].detach().reshape(-1))
    else:
        pools[2] = running_mean[:, None, None], running_var[:, None, None]
    shares = torch.softmax(mean_weight, 0), torch.softmax(var_weight, 0)
    mean, variance = (sum(share[k] * pools[k][kind] for k in range(3)) for kind, share in enumerate(shares))
    return (x - mean) / torch.sqrt(variance + 1e-5) * weight[:, None, None] + bias[:, None, None]


class InFloat32(nn.GroupNorm):
    def forward(self, x):
        self.float()
        return super().forward(x.float())


CORRECT = {
    "BatchNorm2d": (nn.BatchNorm2d, "PyTorch's convention"), "written out": (Wrong, "PyTorch's convention"),
    "F.batch_norm": (F.batch_norm, "PyTorch's convention"), "a module that exists": (nn.BatchNorm2d(24), "batch"),
    "GroupNorm": (nn.GroupNorm, "32 groups"), "GroupNorm that exists": (nn.GroupNorm(4, 24), "4 groups"),
    "a factory": (lambda channels: nn.GroupNorm(8, channels), "8 groups"),
    "one group": (lambda channels: nn.GroupNorm(1, channels), "layer normalization over the image"),
    "InstanceNorm2d": (functools.partial(nn.InstanceNorm2d, affine=True), "instance normalization"),
    "LayerNorm": (nn.LayerNorm, "layer normalization over the channels"),
    "LayerNorm of images": (nn.LayerNorm([12, 3, 5]), "layer normalization over the image"),
    "channels last inside": (ChannelsLast, "layer normalization over the channels"),
    "F.group_norm": (F.group_norm, "32 groups"), "float32": (InFloat32, "32 groups"),
    "switchable": (switchable_in_torch, "switchable normalization"), "NumPy": (in_numpy, "PyTorch's convention"),
    "NumPy, in place": (keras_in_place, "Keras's convention"), "NumPy, groups": (groups_in_numpy, "32 groups")}


@pytest.mark.parametrize("style", CORRECT)
def test_correct_normalizations_of_any_style_conform_and_are_recognized(style):
    target, title = CORRECT[style]
    is_numpy = style.startswith("NumPy")
    verdict = check_norm(target, framework="numpy" if is_numpy else "torch", examples=2)
    assert verdict.outcome == "conforms" and title in verdict.notes[0], str(verdict)
    assert verdict.precision == ("float32" if style == "float32" else "float64")


def test_a_jax_function_conforms():
    import jax
    import jax.numpy as jnp

    @jax.jit
    def norm(x, gamma, beta):
        mean, variance = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
        return gamma * (x - mean) / jnp.sqrt(variance + 1e-5) + beta

    verdict = check_norm(norm, framework="jax", examples=0)
    assert verdict.outcome == "conforms" and "instance normalization" in verdict.notes[0], str(verdict)


# ---- what cannot be run


def returns_none(x, gamma, beta):
    return None


def wrong_shape(x, gamma, beta):
    return (x * gamma + beta).mean((1, 2))


def test_an_output_of_another_shape_diverges_and_the_report_says_so():
    verdict = check_norm(wrong_shape, framework="numpy", examples=0)
    assert verdict.outcome == "diverges" and not verdict.diagnosis
    assert any("it should have the shape of x" in note for note in verdict.notes)


@pytest.mark.parametrize("target, options, part", [
    (returns_none, {"framework": "numpy"}, "returned None"),
    (lambda x: 1 / 0, {"framework": "numpy"}, "ZeroDivision"),
    (3, {}, "something to call"), (nn.Module(), {}, "norm: "), (nn.BatchNorm2d, {"norm": "bach"}, "norm='bach'"),
    (nn.BatchNorm2d, {"groups": 0}, "groups=0"),
    (nn.BatchNorm2d, {"groups": 5, "norm": "group"}, "do not divide by groups=5"),
    (nn.BatchNorm2d, {"layout": "CHWN"}, "layout="),
    (lambda channels: None, {"framework": "torch"}, "made None"), (nn.Bilinear, {}, "--option in2_features=…"),
    (lambda x, gamma, beta, state: x, {"framework": "numpy"}, "--option state=…"),
    (lambda gamma, x: x, {"framework": "numpy"}, "whose first parameter is x")])
def test_what_cannot_be_run_is_one_line(target, options, part):
    with pytest.raises(nf.InputError) as error:
        check_norm(target, examples=0, **options)
    assert str(error.value).startswith("norm: ") and "\n" not in str(error.value) and part in str(error.value)
