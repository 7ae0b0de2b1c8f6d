"""Checking scaled weight standardization: in convolutions of torch, in layers that are none, in bare functions."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nfnumpy import InputError
from nfnumpy.functional.weight_standardization import standardize_weight
from nfnumpy.verify import CONFORMS, DIVERGES, VARIANT
from nfnumpy.verify.checks.ws_conv import CHECK, check_ws_conv, reference
from nfnumpy.verify.compare import compare
from nfnumpy.verify.frameworks import Numpy
from nfnumpy.verify.variants import apply
from nfnumpy.verify.variants.ws_conv import CATALOGUE, StandardizationRules


def check(target, **options):
    return check_ws_conv(target, examples=5, **options)


class Right(nn.Conv2d):
    """Written as the paper has it."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, groups=1):
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, groups=groups)
        self.gain = nn.Parameter(torch.ones(out_channels, 1, 1, 1))

    def standardized(self, correction=0, axes=(1, 2, 3), floor=1e-4):
        variance, mean = torch.var_mean(self.weight, axes, correction=correction, keepdim=True)
        return self.gain * (self.weight - mean) / torch.sqrt((variance * self.weight[0].numel()).clamp(min=floor))

    def padded(self, x):
        edges = []
        for size in (x.shape[3], x.shape[2]):
            total = max((-(-size // self.stride[0]) - 1) * self.stride[0] + self.kernel_size[0] - size, 0)
            edges += [total // 2, total - total // 2]
        return F.pad(x, edges)

    def forward(self, x):
        return F.conv2d(self.padded(x), self.standardized(), self.bias, self.stride, groups=self.groups)


class AsAProduct(Right):
    """The convolution as a product with unfolded patches."""

    def forward(self, x):
        kernel, (n, _, *_) = self.kernel_size[0], x.shape
        x = self.padded(x)
        height, width = ((size - kernel) // self.stride[0] + 1 for size in x.shape[2:])
        patches = F.unfold(x, kernel, stride=self.stride).reshape(n, self.groups, -1, height * width)
        weight = self.standardized().reshape(self.groups, self.out_channels // self.groups, -1)
        out = torch.einsum("ngkp,gok->ngop", patches, weight).reshape(n, -1, height, width)
        return out + self.bias.view(1, -1, 1, 1)


class GainFirst(Right):
    """The gain a vector, multiplied into the scale."""

    def __init__(self, *sizes, **options):
        super().__init__(*sizes, **options)
        self.gain = nn.Parameter(torch.ones(self.out_channels))

    def standardized(self):
        flat = self.weight.flatten(1)
        centred = flat - flat.mean(1, keepdim=True)
        scale = self.gain[:, None] * centred.square().sum(1, keepdim=True).clamp(min=1e-4).rsqrt()
        return (centred * scale).reshape(self.weight.shape)


class InFloat32(Right):
    """Computes in float32 whatever comes."""

    def forward(self, x):
        return F.conv2d(self.padded(x.float()), self.standardized().float(), self.bias.float(), self.stride,
                        groups=self.groups)


class InBfloat16(Right):
    """Computes in bfloat16 whatever comes, but for the standardization."""

    def forward(self, x):
        return F.conv2d(self.padded(x.bfloat16()), self.standardized().bfloat16(), self.bias.bfloat16(), self.stride,
                        groups=self.groups)


class Fused(Right):
    """Standardized by batch norm, whose eps is added to the variance."""

    def standardized(self):
        weight = self.weight.reshape(1, self.out_channels, -1)
        scale = self.gain.view(-1) * self.weight[0].numel() ** -0.5
        return F.batch_norm(weight, None, None, scale, training=True, eps=1e-5).reshape(self.weight.shape)


class SymmetricPadding(Right):
    def padded(self, x):
        return F.pad(x, (self.kernel_size[0] // 2,) * 4)


class Bessel(Right):
    def standardized(self):
        return super().standardized(correction=1)


class OverInputs(Right):
    def standardized(self):
        return super().standardized(axes=(0, 2, 3))


class WholeTensor(Right):
    def standardized(self):
        return super().standardized(axes=(0, 1, 2, 3))


class WithoutRoot(Right):
    def standardized(self):
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), correction=0, keepdim=True)
        return self.gain * (self.weight - mean) / torch.sqrt(variance.clamp(min=1e-4))


class CountsOutputs(Right):
    def standardized(self):
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), correction=0, keepdim=True)
        return self.gain * (self.weight - mean) / torch.sqrt((variance * self.weight.numel()).clamp(min=1e-4))


class NotCentred(Right):
    def standardized(self):
        variance = self.weight.var((1, 2, 3), correction=0, keepdim=True)
        return self.gain * self.weight / torch.sqrt((variance * self.weight[0].numel()).clamp(min=1e-4))


class BesselAndSymmetric(Bessel, SymmetricPadding):
    pass


class WithoutGain(Right):
    def standardized(self):
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), correction=0, keepdim=True)
        return (self.weight - mean) / torch.sqrt((variance * self.weight[0].numel()).clamp(min=1e-4))


class Detached(Right):
    """The statistics are constants to the gradient."""

    def standardized(self):
        variance, mean = torch.var_mean(self.weight.detach(), (1, 2, 3), correction=0, keepdim=True)
        return self.gain * (self.weight - mean) / torch.sqrt((variance * self.weight[0].numel()).clamp(min=1e-4))


class Line(nn.Conv1d):
    def __init__(self, in_channels, out_channels, kernel_size, correction=0):
        super().__init__(in_channels, out_channels, kernel_size)
        self.gain, self.correction = nn.Parameter(torch.ones(out_channels, 1, 1)), correction

    def forward(self, x):
        variance, mean = torch.var_mean(self.weight, (1, 2), correction=self.correction, keepdim=True)
        weight = (self.weight - mean) / torch.sqrt((variance * self.weight[0].numel()).clamp(min=1e-4))
        return F.conv1d(x, self.gain * weight, self.bias)


class Transposed(nn.ConvTranspose2d):
    def __init__(self, in_channels, out_channels, kernel_size, axes=(0, 2, 3)):
        super().__init__(in_channels, out_channels, kernel_size)
        self.gain, self.axes = nn.Parameter(torch.ones(1, out_channels, 1, 1)), axes

    def forward(self, x):
        variance, mean = torch.var_mean(self.weight, self.axes, correction=0, keepdim=True)
        fan_in = self.weight[:, 0].numel()
        return F.conv_transpose2d(x, self.gain * (self.weight - mean) / torch.sqrt((variance * fan_in).clamp(min=1e-4)),
                                  self.bias)


def of_torch(weight):
    centred = weight - weight.mean((1, 2, 3), keepdim=True)
    return centred / torch.sqrt(centred.square().sum((1, 2, 3), keepdim=True).clamp(min=1e-4))


def of_numpy(weight, gain):
    centred = weight - weight.mean((0, 1, 2))
    return gain * centred / np.sqrt(np.maximum(np.square(centred).sum((0, 1, 2)), 1e-4))


@pytest.mark.parametrize("target", [Right, AsAProduct, GainFirst, InFloat32, InBfloat16, Line, Transposed, of_torch,
                                    of_numpy, standardize_weight], ids=lambda target: target.__name__)
def test_a_right_one_conforms_however_it_is_written(target):
    verdict = check(target)
    assert verdict.outcome == CONFORMS, str(verdict)


@pytest.mark.parametrize("target, names", [
    (Fused, {"eps 1e-05 added to variance"}), (SymmetricPadding, {"symmetric padding"})])
def test_benign_forms_are_named_with_the_size_of_the_difference(target, names):
    verdict = check(target)
    assert verdict.outcome == VARIANT and set(verdict.diagnosis) == names, str(verdict)
    assert 0.0 < verdict.relative_difference


@pytest.mark.parametrize("target, options, names", [
    (Bessel, {}, {"Bessel-corrected variance"}), (WholeTensor, {}, {"statistics over the whole tensor"}),
    (WithoutRoot, {}, {"no division by √N"}), (CountsOutputs, {}, {"fan-in counts the output channels"}),
    (NotCentred, {}, {"not centred"}), (WithoutGain, {}, {"gain left out"}),
    (BesselAndSymmetric, {}, {"Bessel-corrected variance", "symmetric padding"}),
    (Line, {"correction": 1}, {"Bessel-corrected variance"}),
    (Transposed, {"axes": (0, 1, 2, 3)}, {"statistics over the whole tensor"})])
def test_a_mistake_is_named_and_shown_by_a_small_example(target, options, names):
    verdict = check(target, **options)
    assert verdict.outcome == DIVERGES and set(verdict.diagnosis) == names, str(verdict)
    assert verdict.first_difference.tensor == "standardized weight"
    assert np.size(verdict.counterexample["weight"]) <= 20


def test_a_wrong_gradient_of_a_right_value_diverges():
    verdict = check(Detached)
    assert verdict.outcome == DIVERGES and verdict.first_difference.tensor == "gradient of weight"


def test_a_constant_factor_is_noted_where_no_form_explains_it():
    class Tenth(Right):
        def standardized(self):
            return super().standardized() * 1.1

    verdict = check(Tenth)
    assert verdict.outcome == DIVERGES and not verdict.diagnosis and verdict.nearest
    assert any("1.1 times the reference" in note for note in verdict.notes)


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_every_form_in_the_catalogue_is_recognized(entry):
    with np.errstate(all="ignore"):
        verdict = compare(CHECK, lambda case: reference(case, apply(StandardizationRules(), (entry,))), target="itself",
                        framework=Numpy(), examples=0)
    assert verdict.diagnosis == (entry.name,), str(verdict)


def raises(weight):
    raise RuntimeError("first\nsecond")


class NoWeight(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, stride=1, groups=1):
        super().__init__()


class Space(nn.Conv3d):
    def __init__(self, in_channels, out_channels, kernel_size):
        super().__init__(in_channels, out_channels, kernel_size)


@pytest.mark.parametrize("target, text", [
    (3, "expected something to call"), (raises, "the target raised RuntimeError: first"), (Space, "three dimensions"),
    (NoWeight, "ws_conv: "), (lambda in_channels, out, kernel: 3, "expected a module")])
def test_what_cannot_be_run_is_one_line(target, text):
    with pytest.raises(InputError) as error:
        check(target)
    assert text in str(error.value) and "\n" not in str(error.value)
