"""Squeeze-and-excite: mistakes are named, correct modules of any style conform."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nfnumpy as nf
from nfnumpy.ports.torch import SqueezeExcite
from nfnumpy.verify import CONFORMS, DIVERGES, VARIANT
from nfnumpy.verify.checks.se import CHECK, check_se, reference
from nfnumpy.verify.compare import compare
from nfnumpy.verify.frameworks import Numpy
from nfnumpy.verify.variants import apply
from nfnumpy.verify.variants.squeeze_excite import CATALOGUE, SqueezeExciteRules, excited, rounded_down


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_every_catalogued_form_is_recognized_and_named(entry):
    """The variant in place of a target, with its parameters cut to its own width."""
    rules = apply(SqueezeExciteRules(), [entry])
    verdict = compare(CHECK, lambda case: reference(case, rules), target=entry.name, framework=Numpy(), examples=2)
    assert (verdict.outcome, verdict.diagnosis) == (VARIANT if entry.benign else DIVERGES, (entry.name,))


def test_the_reference_without_changes_is_our_layer_bit_for_bit():
    case = CHECK.typical[0]
    layer = nf.nn.SqueezeExcite(nf.nn.Initializer(dtype="float64"), 32, 0.5)
    assert layer.fc0.weight.shape[1] == rounded_down(32, 0.5)
    layer.load_state_dict({name: array[tuple(slice(size) for size in layer.parameters()[name].shape)]
                           for name, array in case.arrays.items() if name.startswith("fc")})
    x = nf.autograd.Tensor(case.arrays["x"])
    assert np.array_equal(layer(x).numpy(), reference(case, SqueezeExciteRules())["output"])
    by_rules = excited(x, *layer.parameters().values(), rules=SqueezeExciteRules())
    assert np.array_equal(layer(x).numpy(), by_rules.numpy())


class WithoutTwo(SqueezeExcite):
    def forward(self, x):
        return super().forward(x) / 2


class WithSilu(SqueezeExcite):
    def forward(self, x):
        return 2 * torch.sigmoid(self.fc1(F.silu(self.fc0(x.mean((2, 3))))))[:, :, None, None] * x


class WithGelu(SqueezeExcite):
    def forward(self, x):
        return 2 * torch.sigmoid(self.fc1(F.gelu(self.fc0(x.mean((2, 3))))))[:, :, None, None] * x


class Hard(SqueezeExcite):
    def forward(self, x):
        return 2 * F.hardsigmoid(self.fc1(F.relu(self.fc0(x.mean((2, 3))))))[:, :, None, None] * x


class Adding(SqueezeExcite):
    def forward(self, x):
        return x + 2 * torch.sigmoid(self.fc1(F.relu(self.fc0(x.mean((2, 3))))))[:, :, None, None]


class OverTheBatch(SqueezeExcite):
    def forward(self, x):
        return 2 * torch.sigmoid(self.fc1(F.relu(self.fc0(x.mean((0, 2, 3))))))[None, :, None, None] * x


class Divisible(SqueezeExcite):
    def __init__(self, channels, ratio):
        super().__init__(channels, ratio)
        hidden = max(8, int(channels * ratio + 4) // 8 * 8)
        self.fc0, self.fc1 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)


MISTAKES = {WithoutTwo: "factor 2 missing", WithSilu: "silu in place of relu", WithGelu: "gelu_erf in place of relu",
            Hard: "hard sigmoid of torch in place of the sigmoid", Adding: "gate added",
            OverTheBatch: "mean over the batch too", Divisible: "hidden width a multiple of 8"}


@pytest.mark.parametrize("target", MISTAKES, ids=lambda target: target.__name__)
def test_mistaken_torch_modules_are_named(target):
    verdict = check_se(target, framework="torch", examples=4)
    assert (verdict.outcome, verdict.diagnosis) == ("diverges", (MISTAKES[target],))


def test_two_mistakes_are_named_together():
    class Both(WithSilu):
        def forward(self, x):
            return super().forward(x) / 2

    assert set(check_se(Both, examples=2).diagnosis) == {"factor 2 missing", "silu in place of relu"}


class AsConvolutions(nn.Module):
    def __init__(self, channels, rd_ratio=0.25, rd_channels=None):
        super().__init__()
        hidden = rd_channels or max(1, int(channels * rd_ratio))
        self.squeeze, self.act = nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True)
        self.expand, self.gate = nn.Conv2d(hidden, channels, 1), nn.Sigmoid()

    def forward(self, x):
        return x * self.gate(self.expand(self.act(self.squeeze(x.mean((2, 3), keepdim=True))))).mul(2.0)


class ByWidth(AsConvolutions):
    def __init__(self, channels, hidden_channels):
        super().__init__(channels, rd_channels=hidden_channels)


class Pooled(nn.Sequential):
    """The gates alone are the Sequential's; x enters twice."""

    def __init__(self, c, se_ratio):
        hidden = max(1, int(c * se_ratio))
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, hidden), nn.ReLU(), nn.Linear(hidden, c))

    def forward(self, x):
        return x + x * torch.tanh(super().forward(x) / 2)[..., None, None]


def in_numpy(x, w0, b0, w1, b1):
    gate = np.maximum(x.mean((1, 2)) @ w0 + b0, 0) @ w1 + b1
    return x * (2 / (1 + np.exp(-gate)))[:, None, None]


def in_torch(x, w0, b0, w1, b1):
    return x * 2 * torch.sigmoid(F.linear(F.relu(F.linear(x.mean((2, 3)), w0, b0)), w1, b1))[..., None, None]


class InFloat32(SqueezeExcite):
    def forward(self, x):
        self.float()
        return super().forward(x.float())


@pytest.mark.parametrize("target", [SqueezeExcite, AsConvolutions, ByWidth, Pooled, in_numpy, in_torch, InFloat32,
                                    SqueezeExcite(24, 0.25)],
                         ids=lambda target: getattr(target, "__name__", "instance"))
def test_correct_modules_in_many_styles_conform(target):
    verdict = check_se(target, framework="numpy" if target is in_numpy else "auto", examples=10)
    assert verdict.outcome == "conforms", str(verdict)


class AuthorsSignature(SqueezeExcite):
    def __init__(self, in_channels, out_channels, se_ratio=0.5):
        assert in_channels == out_channels
        super().__init__(in_channels, se_ratio)


class ReturnsTheGate(SqueezeExcite):
    """As in the authors' code, whose block multiplies by 2 and by x."""

    def forward(self, x):
        return torch.sigmoid(self.fc1(F.relu(self.fc0(x.mean((2, 3))))))[:, :, None, None]


class NeedsMoreChannels(SqueezeExcite):
    """Refuses narrow inputs."""

    def __init__(self, channels, ratio=0.5):
        if channels < 4:
            raise ValueError("too narrow")
        super().__init__(channels, ratio)


def test_the_authors_signature_is_understood():
    assert check_se(AuthorsSignature, examples=2).outcome == "conforms"


def test_a_module_that_returns_the_gate_is_a_named_form():
    verdict = check_se(ReturnsTheGate, examples=0)
    assert verdict.outcome == VARIANT
    assert verdict.diagnosis == ("gate returned, the factor 2 left to the caller",), str(verdict)


def test_an_input_that_is_refused_is_said_and_not_compared():
    verdict = check_se(NeedsMoreChannels, examples=0)
    assert verdict.outcome == "conforms"
    assert any(note.startswith("not checked for x (1, 2, 3, 1), channels = 1, ratio = 0.5: se: the target raised "
                               "ValueError: too narrow (test_se.py, line ") for note in verdict.notes), verdict.notes


class NoParameters(nn.Module):
    def __init__(self, channels):
        super().__init__()


@pytest.mark.parametrize("target", [lambda channels: 3, lambda x: x, NoParameters, 3, nn.Linear(3, 4)],
                         ids=["no module", "a function of x", "no parameters", "a number", "one linear layer"])
def test_what_cannot_be_run_is_one_line(target):
    with pytest.raises(nf.InputError) as error:
        check_se(target, framework="torch")
    assert str(error.value).startswith("se: ") and "\n" not in str(error.value)


class Doubled(nn.Module):
    """Right in training."""

    def __init__(self, channels, ratio=0.5, evaluated=2.0, detached=""):
        super().__init__()
        hidden = max(1, int(channels * ratio))
        self.fc0, self.fc1 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        self.evaluated, self.detached = evaluated, detached

    def forward(self, x):
        squeezed = (x.detach() if self.detached == "squeeze" else x).mean((2, 3))
        gate = torch.sigmoid(self.fc1(torch.relu(self.fc0(squeezed))))[..., None, None]
        gate = gate.detach() if self.detached == "gate" else gate
        return x * gate * (2.0 if self.training else self.evaluated)


@pytest.mark.parametrize("options, name", [
    ({"evaluated": 1.0}, "factor 2 missing in evaluation"), ({"detached": "squeeze"}, "squeeze without a gradient"),
    ({"detached": "gate"}, "gate without a gradient")])
def test_evaluation_and_what_gets_no_gradient_are_looked_at(options, name):
    assert check_se(Doubled, examples=2).outcome == CONFORMS
    verdict = check_se(Doubled, examples=2, **options)
    assert verdict.outcome == DIVERGES and verdict.diagnosis == (name,), str(verdict)


def test_a_width_that_is_the_module_s_own_is_not_compared():
    class OwnWidth(Doubled):
        def __init__(self, channels):
            super().__init__(channels, 0.25)

    verdict = check_se(OwnWidth, examples=2)
    assert verdict.outcome == CONFORMS and any("takes no width" in note for note in verdict.notes), str(verdict)
