"""Cases and implementations: what is counted, and that nfnumpy and PyTorch compute the same."""

import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

import nfnumpy as nf
from nfnumpy.bench.cases import data_loading, operations, scaling, update
from nfnumpy.bench.cases.networks import NetworkCase
from nfnumpy.bench.cpu.scaling import exponent
from nfnumpy.bench.implementations import (
    nfnumpy_data_loading,
    nfnumpy_network,
    nfnumpy_operation,
    nfnumpy_update,
    torch_device,
    torch_operation,
    torch_update,
)
from nfnumpy.ports import torch_optim

EPSILON = float(np.finfo(np.float32).eps)


def prepared(case, direction):
    """The same case on the fast paths, in reference mode and in PyTorch."""
    for implementation in (nfnumpy_operation.NfnumpyOperation(False), nfnumpy_operation.NfnumpyOperation(True),
                           torch_operation.TorchOperation()):
        implementation.prepare(case, direction, least=0.0)
        yield implementation


def in_our_layout(case, result):
    """PyTorch's result as an array in our layout."""
    if case.operation == "standardize_weight":
        result = result.permute(2, 3, 1, 0)
    elif result.ndim == 4:
        result = result.permute(0, 2, 3, 1)
    return result.numpy()


@pytest.mark.parametrize("case", operations.cases(shrunk=128), ids=lambda case: case.title)
def test_operations_agree_in_value_and_differentiate_alike(case):
    """A value is a sum of at most n products of standard normal numbers, n the size of a weight or of an image: it is
    at most some √n·5 and rounding at most √n epsilons of that, were errors random; the bound is ten times as much."""
    terms = max(math.prod(shape) for shape in case.shapes)
    fast, plain, in_torch = prepared(case, operations.DERIVATIVE)
    output = fast.forward()
    results = [output.numpy(), plain.forward().numpy(), in_our_layout(case, in_torch.forward().detach())]
    for result in results:
        assert result.shape == case.output_shape() and result.dtype == np.float32
        assert np.abs(result - results[1]).max() <= 10 * math.sqrt(terms) * EPSILON * np.abs(results[1]).max()
    fast.backward(output)
    assert tuple(tensor.grad is not None for tensor in fast.inputs) == case.wanted
    assert tuple(tensor.requires_grad for tensor in in_torch.inputs) == case.wanted


@pytest.mark.parametrize("model", ["nfnet_8px", "nf_resnet_32px", "nf_regnet_32px"])
def test_a_network_acts_on_its_loss(model):
    """What starts at 0 is not 0 here: the skip gains, and the last weight of an NF-RegNet."""
    network = nfnumpy_network.NfnumpyNetwork(NetworkCase(model, 2))
    assert len(set(network.inference().ravel().tolist())) > 2
    gains = [parameter.data for name, parameter in network.trainer.model.parameters().items()
             if name.endswith("skip_gain")]
    assert gains and all(gain == 1.0 for gain in gains)


def test_reference_mode_calls_no_fast_path(monkeypatch):
    calls = []
    for formula in nf.backend.formulas():
        monkeypatch.setitem(formula.fast_paths, "numpy",
                            lambda *_, name=formula.__name__, **__: calls.append(name) or NotImplemented)
    nfnumpy_network.NfnumpyNetwork(NetworkCase("nfnet_8px", 2), plain=True).training()
    assert not calls
    nfnumpy_network.NfnumpyNetwork(NetworkCase("nfnet_8px", 2)).training()
    assert calls


def test_both_updates_change_as_many_values():
    case = NetworkCase("nfnet_8px", 1)
    ours, in_torch = nfnumpy_update.NfnumpyUpdate(case), torch_update.TorchUpdate(case, True)
    expected = nf.analysis.count_params(nf.models.create("nfnet_8px", shapes_only=True))
    assert ours.parameters() == in_torch.parameters() == expected
    for implementation in (ours, in_torch):
        for work in update.BYTES:
            implementation.work(work)
    assert in_torch.origin() in ("timm", torch_update.PORT)


def test_timms_clipping_is_taken_where_it_is_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setitem(sys.modules, "timm.utils", None)
    assert torch_update.clipping_function() == (torch_optim.adaptive_gradient_clip_, torch_update.PORT)
    installed = type(sys)("timm.utils")
    installed.adaptive_clip_grad = lambda parameters, clip_factor=0.01, eps=1e-3, norm_type=2.0: None
    monkeypatch.setitem(sys.modules, "timm", type(sys)("timm"))
    monkeypatch.setitem(sys.modules, "timm.utils", installed)
    assert torch_update.clipping_function() == (installed.adaptive_clip_grad, "timm")


def test_a_timm_that_cannot_be_loaded_is_left_out(monkeypatch):
    def raises(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    broken = type(sys)("timm.utils")
    broken.__getattr__ = raises
    monkeypatch.setitem(sys.modules, "timm", type(sys)("timm"))
    monkeypatch.setitem(sys.modules, "timm.utils", broken)
    assert torch_update.clipping_function()[1] == torch_update.PORT


def test_torchs_settings_are_restored_after_a_measurement():
    settings = (torch.backends.cuda.matmul, "allow_tf32"), (torch.backends.cudnn, "allow_tf32"), \
        (torch.backends.cudnn, "benchmark")
    before = [getattr(*setting) for setting in settings]
    with torch_device.fast_products():
        assert all(getattr(*setting) for setting in settings)
    assert [getattr(*setting) for setting in settings] == before


# ---- what is counted


def test_a_convolution_counts_two_operations_a_multiply_add():
    inner = operations.convolution("x", 2, 5, 8, 12, 3, stride=2, groups=4)
    assert inner.output_shape() == (2, 3, 3, 12)
    assert inner.operations(operations.FORWARD) == 2 * (2 * 3 * 3 * 12) * (3 * 3 * 2)
    assert inner.operations(operations.DERIVATIVE) == 2 * inner.operations(operations.FORWARD)
    images, weight, bias, output = 2 * 5 * 5 * 8, 3 * 3 * 2 * 12, 12, 2 * 3 * 3 * 12
    assert inner.bytes(operations.FORWARD) == 4 * (images + weight + bias + output)
    assert inner.bytes(operations.DERIVATIVE) == 4 * (2 * (images + weight + bias) + output)


def test_the_cotangent_of_images_is_not_counted():
    stem = operations.convolution("x", 2, 5, 3, 12, 3)
    assert stem.operations(operations.DERIVATIVE) == stem.operations(operations.FORWARD)
    assert stem.bytes(operations.DERIVATIVE) == stem.bytes(operations.FORWARD) + 4 * (3 * 3 * 3 * 12 + 12)


def test_other_operations_are_counted_in_bytes():
    residual, = (case for case in operations.cases() if case.operation == "skip_init")
    size = math.prod(residual.shapes[0])
    assert residual.operations(operations.FORWARD) is None
    assert residual.bytes(operations.FORWARD) == residual.bytes(operations.DERIVATIVE) == 12 * size


@given(st.floats(-3, 3), st.floats(0.1, 10), st.lists(st.integers(1, 1000), min_size=2, max_size=6, unique=True))
def test_the_exponent_of_a_power_law_is_found(power, factor, values):
    """Logarithms err by an epsilon of at most 21; the fit divides by their spread, at least log(1000/999) = 1e-3."""
    found = exponent(values, [factor * value**power for value in values])
    assert found == pytest.approx(power, abs=1e-9)


def test_scaling_changes_one_axis_at_a_time():
    config = nf.models.config_of("nfnet_8px")
    points = {axis: list(scaling.cases_along(axis, "nfnet_8px", 2, 3)) for axis in scaling.AXES}
    assert [value for value, _ in points["batch"]] == [2, 4, 8]
    assert [case.pixels for _, case in points["resolution"]] == [8, 12, 16]
    assert [sum(case.config.depths) for _, case in points["depth"]] == [3, 6, 12]
    for along in points.values():
        assert along[0][1].pixels == 8 and along[0][1].batch == 2 and along[0][1].config.depths == config.depths


def test_pictures_are_decoded_and_waiting_is_a_share(tmp_path):
    paths = data_loading.write_pictures(tmp_path, 16)
    assert len(paths) == data_loading.FILES and nf.datasets.read_image(paths[0]).shape == (12, 16, 3)
    network = nfnumpy_data_loading.NetworkOnFiles(NetworkCase("nfnet_8px", 4), paths)
    milliseconds, waiting = network.from_files(2)
    assert milliseconds > 0.0 and 0.0 <= waiting <= 1.0
    assert network.from_memory(1) > 0.0 and network.decoding(2) > 0.0
