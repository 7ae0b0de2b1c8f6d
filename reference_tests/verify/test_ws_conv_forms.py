"""Scaled weight standardization as people write it: constructors, functions, named variants, missing gradients."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nfnumpy import InputError
from nfnumpy.ports import torch as port
from nfnumpy.verify import CONFORMS, DIVERGES, VARIANT
from nfnumpy.verify.checks.ws_conv import check_ws_conv


def check(target, **options):
    return check_ws_conv(target, examples=2, **options)


def standardize(weight, gain, floor=1e-4, fan_in=None):
    variance, mean = torch.var_mean(weight, (1, 2, 3), unbiased=False, keepdim=True)
    fan_in = weight[0].numel() if fan_in is None else fan_in
    return (weight - mean) * torch.rsqrt((variance * fan_in).clamp(min=floor)) * gain


class TakesEverything(nn.Conv2d):
    """The constructor of nn.Conv2d, whose padding is 0 by default."""

    def __init__(me, *args, **kwargs):
        super().__init__(*args, **kwargs)
        me.gain = nn.Parameter(torch.ones(me.out_channels, 1, 1, 1))

    def kernel(self):
        return standardize(self.weight, self.gain)

    def forward(self, x):
        return self._conv_forward(x, self.kernel(), self.bias)


class NumberOfOutputsFirst(TakesEverything):
    """Other names in another order: names decide, not places."""

    def __init__(self, in_planes, out_planes, ks, padding, strides=1, num_groups=1):
        super().__init__(in_planes, out_planes, ks, stride=strides, padding=padding, groups=num_groups)


class WithoutGroups(TakesEverything):
    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0):
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, padding=padding)


class NeedsAWidth(TakesEverything):
    def __init__(self, in_channels, out_channels, kernel_size, variant, stride=1, padding=0, groups=1):
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, padding=padding, groups=groups)
        assert variant == "F0"


@pytest.mark.parametrize("target, options", [(TakesEverything, {}), (NumberOfOutputsFirst, {}), (WithoutGroups, {}),
                                             (NeedsAWidth, {"variant": "F0"})])
def test_a_padding_that_can_be_told_is_told(target, options):
    verdict = check(target, **options)
    assert verdict.outcome == CONFORMS and any("its default is not compared" in note for note in verdict.notes), \
        str(verdict)


def test_a_layer_that_pads_by_itself_whatever_it_is_told_is_a_named_form():
    class PadsItself(TakesEverything):
        def forward(self, x):
            return port.conv2d_same(x, self.kernel(), self.bias, self.stride[0], self.groups)

    verdict = check(PadsItself)
    assert verdict.outcome == VARIANT and verdict.diagnosis == ("pads SAME by itself",), str(verdict)


def test_an_argument_of_unknown_meaning_is_asked_for():
    with pytest.raises(InputError, match="cannot be made without variant: give --option variant=…"):
        check(NeedsAWidth)


class DetachedGain(TakesEverything):
    def kernel(self):
        return standardize(self.weight, self.gain.detach())


class DetachedWeight(TakesEverything):
    def kernel(self):
        return standardize(self.weight.detach(), self.gain)


class DetachedStatistics(TakesEverything):
    def kernel(self):
        variance, mean = torch.var_mean(self.weight.detach(), (1, 2, 3), unbiased=False, keepdim=True)
        return (self.weight - mean) * torch.rsqrt((variance * self.weight[0].numel()).clamp(min=1e-4)) * self.gain


class InTheData(TakesEverything):
    """Overwrites its weight in every forward pass, as older ports do."""

    def forward(self, x):
        with torch.no_grad():
            kernel = standardize(self.weight, self.gain)
        return self._conv_forward(x, kernel, self.bias)


class NotStandardized(TakesEverything):
    def kernel(self):
        return self.weight * self.gain


class AllGroups(TakesEverything):
    def kernel(self):
        return standardize(self.weight, self.gain, fan_in=self.weight[0].numel() * self.groups)


class SharedStatistics(TakesEverything):
    def kernel(self):
        out, *rest = self.weight.shape
        weight = self.weight.reshape(self.groups, out // self.groups, *rest)
        variance, mean = torch.var_mean(weight, (0, 2, 3, 4), unbiased=False, keepdim=True)
        weight = (weight - mean) * torch.rsqrt((variance * self.weight[0].numel()).clamp(min=1e-4))
        return weight.reshape(self.weight.shape) * self.gain


@pytest.mark.parametrize("target, names", [
    (DetachedGain, {"gain without a gradient"}), (DetachedWeight, {"weight without a gradient"}),
    (DetachedStatistics, {"mean and deviation without gradients"}),
    (InTheData, {"gain without a gradient", "weight without a gradient"}),
    (NotStandardized, {"weight not standardized"}), (AllGroups, {"fan-in of all groups"}),
    (SharedStatistics, {"statistics over all groups at once"})])
def test_mistakes_are_named(target, names):
    verdict = check(target)
    assert verdict.outcome == DIVERGES and set(verdict.diagnosis) == names, str(verdict)


def by_function(weight, gain):
    return standardize(weight, gain)


def of_the_weight_alone(weight):
    return standardize(weight, 1.0)


def detached_function(weight, gain):
    return standardize(weight.detach(), gain)


def in_numpy(weight, gain):
    return _in_numpy(weight) * gain


def _in_numpy(weight):
    centred = weight - np.mean(weight, axis=(0, 1, 2))
    return centred / np.sqrt(np.maximum(np.sum(centred * centred, axis=(0, 1, 2)), 1e-4))


def methods_alone(weight, gain):
    centred = weight - weight.mean((0, 1, 2)).astype(weight.dtype)
    return centred * gain / (centred * centred).sum((0, 1, 2)).clip(1e-4) ** 0.5


@pytest.mark.parametrize("target", [by_function, of_the_weight_alone, in_numpy, methods_alone])
def test_functions_conform_in_the_framework_that_they_use(target):
    """This file imports torch; the third function uses NumPy through another one, the fourth nothing but methods."""
    verdict = check(target)
    assert verdict.outcome == CONFORMS, str(verdict)
    assert verdict.framework == ("numpy" if target in (in_numpy, methods_alone) else "torch")
    assert {difference.tensor for difference in verdict.differences} >= (
        {"standardized weight"} if verdict.framework == "numpy" else {"standardized weight", "gradient of weight"})


def test_a_function_without_gradients_diverges():
    verdict = check(detached_function)
    assert verdict.outcome == DIVERGES and verdict.diagnosis == ("weight without a gradient",), str(verdict)


GAMMA = math.sqrt(2.0 / (1.0 - 1.0 / math.pi))


def plain(weight, bessel=True, eps=1e-5, inside=False):
    variance, mean = torch.var_mean(weight, (1, 2, 3), unbiased=bessel, keepdim=True)
    return (weight - mean) / ((variance + eps).sqrt() if inside else variance.sqrt() + eps)


def added(eps, scaled=True):
    def function(weight, gain):
        variance, mean = torch.var_mean(weight, (1, 2, 3), unbiased=False, keepdim=True)
        n = weight[0].numel()
        return (weight - mean) * gain / torch.sqrt(variance * n + eps if scaled else (variance + eps) * n)
    return function


@pytest.mark.parametrize("function, outcome, name", [
    (lambda weight, gain: standardize(weight, gain) * GAMMA, VARIANT, "gamma of relu, exactly √(2/(1 - 1/π)) in the "
     "weight"),
    (added(1e-10), VARIANT, "eps 1e-10 added to N·variance"),
    (added(1e-10, scaled=False), VARIANT, "eps 1e-10 added to variance"),
    (added(torch.finfo(torch.float64).eps), VARIANT, "eps of float64 (2.2e-16) added to N·variance"),
    (lambda weight, gain: standardize(weight, gain, floor=1e-6 * weight[0].numel()), VARIANT,
     "eps 1e-06 floor of variance"),
    (lambda weight: plain(weight), DIVERGES, "plain weight standardization, 1e-05 added to the deviation"),
    (lambda weight: plain(weight, bessel=False, inside=True), DIVERGES, "plain weight standardization, 1e-05 added to "
     "the variance")])
def test_forms_have_their_true_names(function, outcome, name):
    verdict = check(function, framework="torch")
    assert (verdict.outcome, verdict.diagnosis) == (outcome, (name,)), str(verdict)
    assert verdict.relative_difference > 0.0


def test_plain_standardization_without_a_gain_is_one_cause():
    class Plain(nn.Conv2d):
        def forward(self, x):
            return self._conv_forward(x, plain(self.weight, bessel=False, eps=1e-6, inside=True), self.bias)

    verdict = check(Plain)
    assert verdict.diagnosis == ("plain weight standardization, 1e-06 added to the variance, without a gain",), \
        str(verdict)


class Transposed(nn.ConvTranspose2d):
    """A gain for each output, or for each input, of (in, out, kh, kw)."""

    along = 1

    def __init__(self, in_channels, out_channels, kernel_size, stride=1):
        super().__init__(in_channels, out_channels, kernel_size, stride=stride)
        shape = [1, 1, 1, 1]
        shape[self.along] = self.weight.shape[self.along]
        self.gain = nn.Parameter(torch.ones(shape))

    def forward(self, x):
        weight = self.weight.transpose(0, 1)
        gain = self.gain.transpose(0, 1)
        return F.conv_transpose2d(x, standardize(weight, gain).transpose(0, 1), self.bias, self.stride)


class GainAlongInputs(Transposed):
    along = 0


def test_a_transposed_convolution_gets_a_verdict_with_a_gain_along_either_side():
    assert check(Transposed).outcome == CONFORMS
    verdict = check(GainAlongInputs)
    assert verdict.outcome == DIVERGES and verdict.diagnosis == ("gain along the input axis",), str(verdict)


class Same(nn.Module):
    """With its weight in a submodule, and its own SAME padding."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, groups=1):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, groups=groups)
        self.gain = nn.Parameter(torch.ones(out_channels, 1, 1, 1))

    def kernel(self):
        return standardize(self.conv.weight, self.gain)

    def padding(self, x):
        return [max((-(-size // step) - 1) * step + taps - size, 0)
                for size, step, taps in zip(x.shape[2:], self.conv.stride, self.conv.kernel_size, strict=True)]

    def forward(self, x):
        vertical, horizontal = self.padding(x)
        x = F.pad(x, (horizontal // 2, horizontal - horizontal // 2, vertical // 2, vertical - vertical // 2))
        return F.conv2d(x, self.kernel(), self.conv.bias, self.conv.stride, groups=self.conv.groups)


class Exchanged(Same):
    def padding(self, x):
        return super().padding(x)[::-1]


class TrainingOnly(Same):
    def kernel(self):
        return super().kernel() if self.training else self.conv.weight


class Remembered(Same):
    """In evaluation, the weight of the last call in training."""

    def kernel(self):
        if self.training:
            self.last = super().kernel()
        return self.last


class Baked(Same):
    def train(self, mode=True):
        if not mode and self.training:
            self.conv.weight.data = self.kernel().detach().clone()
        return super().train(mode)


class CentredInPlace(Same):
    def kernel(self):
        self.conv.weight.data.sub_(self.conv.weight.data.mean((1, 2, 3), keepdim=True))
        return super().kernel()


class GainWithoutGroups(Same):
    def kernel(self):
        return standardize(self.conv.weight, self.gain if self.conv.groups == 1 else torch.ones_like(self.gain))


class NotDepthwise(Same):
    def kernel(self):
        return super().kernel() if self.conv.weight.shape[1] > 1 else self.gain * self.conv.weight


class MeanSquare(Same):
    def kernel(self):
        weight = self.conv.weight
        square = weight.square().sum((1, 2, 3), keepdim=True)
        return self.gain * (weight - weight.mean((1, 2, 3), keepdim=True)) * square.clamp(min=1e-4).rsqrt()


class WithoutEps(Same):
    def kernel(self):
        return standardize(self.conv.weight, self.gain, floor=0.0)


class Parametrized(Same):
    """The weight is a parametrization of the stored one."""

    class Standardized(nn.Module):
        def __init__(self, outputs):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(outputs, 1, 1, 1))

        def forward(self, weight):
            return standardize(weight, self.gain)

    def __init__(self, *sizes, **options):
        super().__init__(*sizes, **options)
        del self.gain
        nn.utils.parametrize.register_parametrization(self.conv, "weight", self.Standardized(self.conv.out_channels))

    def kernel(self):
        return self.conv.weight


@pytest.mark.parametrize("target", [Same, Parametrized])
def test_the_weight_may_be_anywhere_in_the_module(target):
    assert check(target).outcome == CONFORMS


@pytest.mark.parametrize("target, name", [
    (Exchanged, "padding of height and width exchanged"), (TrainingOnly, "not standardized in evaluation"),
    (Remembered, "weight of the last training step in evaluation"), (Baked, "weight overwritten in evaluation"),
    (CentredInPlace, "weight centred in place"), (GainWithoutGroups, "gain left out of grouped convolutions"),
    (NotDepthwise, "depthwise weights not standardized"), (MeanSquare, "mean square in place of the variance"),
    (WithoutEps, "eps 0 floor of N·variance")])
def test_mistakes_that_one_call_in_training_on_a_square_image_hides_are_named(target, name):
    verdict = check(target)
    assert verdict.outcome == DIVERGES and verdict.diagnosis == (name,), str(verdict)


class SizesInPairs(nn.Module):
    """(vertical, horizontal) sizes, and no bias."""

    def __init__(self, in_channels, out_channels, kernel, stride=(1, 1), groups=1):
        super().__init__()
        vertical, horizontal = kernel
        self.weight = nn.Parameter(torch.ones(out_channels, in_channels // groups, vertical, horizontal))
        self.gain, self.stride, self.groups = nn.Parameter(torch.ones(out_channels, 1, 1, 1)), stride, groups

    def forward(self, x):
        x = port.pad_same(x, self.weight.shape[2], self.stride[0])
        return F.conv2d(x, standardize(self.weight, self.gain), None, self.stride, groups=self.groups)


class NoBiasByDefault(TakesEverything):
    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, groups=1, bias=False):
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, padding=padding, groups=groups,
                         bias=bias)


def test_sizes_in_pairs_and_missing_biases_are_no_differences():
    in_pairs, by_default = check(SizesInPairs), check(NoBiasByDefault)
    assert in_pairs.outcome == by_default.outcome == CONFORMS
    assert "it has no bias: compared without one" in in_pairs.notes
    assert any(difference.tensor == "gradient of bias" for difference in by_default.differences)


def with_a_float32_floor(weight, gain):
    """The floor is a float32 number, beside two mistakes that are none."""
    mean = weight.mean((1, 2, 3), keepdim=True)
    squares = weight.var((1, 2, 3), keepdim=True) * weight.numel()
    return gain * (weight - mean) * torch.rsqrt(torch.maximum(squares, torch.tensor(1e-4)))


def test_mistakes_are_named_beside_numbers_in_float32():
    verdict = check(with_a_float32_floor)
    assert set(verdict.diagnosis) == {"Bessel-corrected variance", "fan-in counts the output channels"}, str(verdict)
    assert any("float32" in note for note in verdict.notes)


def test_a_linear_layer_is_said_to_be_one():
    class Linear(nn.Linear):
        def __init__(self, in_channels, out_channels, bias=True):
            super().__init__(in_channels, out_channels, bias)

    with pytest.raises(InputError, match=r"two axes \(4, 4\)"):
        check(Linear)


class DividesByTheDeviation(TakesEverything):
    """A 1×1 convolution with one input has a deviation of exactly 0, whose derivative is 0 in torch.std."""

    def forward(me, x):
        deviation, mean = torch.std_mean(me.weight, (1, 2, 3), unbiased=False, keepdim=True)
        weight = me.gain * (me.weight - mean) / (deviation + 1e-5) / me.weight[0].numel() ** 0.5
        return F.conv2d(x, weight, me.bias, me.stride, me.padding, me.dilation, me.groups)


def test_the_derivative_of_a_deviation_of_0_is_a_convention():
    assert check(DividesByTheDeviation).diagnosis == ("eps 1e-05 added to the deviation",)


class IgnoresDilation(TakesEverything):
    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)

    def forward(self, x):
        return F.conv2d(x, self.kernel(), self.bias, self.stride, self.padding, 1, self.groups)


class NeedsItsBias(TakesEverything):
    def forward(self, x):
        return super().forward(x) + 0.0 * self.bias.sum()


def test_dilations_and_missing_biases_are_asked():
    verdict = check(IgnoresDilation)
    assert verdict.outcome == DIVERGES and verdict.diagnosis == ("dilation ignored",), str(verdict)
    verdict = check(NeedsItsBias)
    assert verdict.outcome == CONFORMS and any("bias = False" in note for note in verdict.notes), str(verdict)
