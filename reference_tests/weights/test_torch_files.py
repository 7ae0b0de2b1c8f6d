"""PyTorch's files are read without PyTorch, bit for bit as PyTorch reads them."""

import io
import os
import sys
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

import nfnumpy as nf
from nfnumpy import InputError
from nfnumpy.weights import torch_containers
from nfnumpy.weights.torch_files import read_torch
from reference_tests.helpers.hostile_files import repacked, torch_file

FORMATS = {"zip": False, "legacy": True}
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
          torch.int8, torch.uint8, torch.bool]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The path of a file that every example of Hypothesis overwrites."""
    return tmp_path_factory.mktemp("torch") / "weights.pth"


def read(path, content):
    """The arrays that our reader finds in a file with these bytes, while an import of PyTorch would fail."""
    path.write_bytes(content)
    with open(path, "rb") as file, pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)
        return read_torch(file)


def expect_same(found, expected):
    """Each array has the tensor's dtype, shape and bits, and memory of its own; bfloat16 has become float32."""
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        array = found[name]
        same_numbers = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        values = same_numbers.detach().contiguous().numpy()
        assert array.dtype == values.dtype and array.shape == values.shape, name
        assert array.tobytes() == values.tobytes() and array.flags.c_contiguous and array.flags.writeable, name
    arrays = list(found.values())
    assert not any(np.shares_memory(one, other) for k, one in enumerate(arrays) for other in arrays[:k])


def tensor_of_bits(dtype, shape, seed):
    """A tensor of any bits, also those of infinities and NaNs."""
    count = int(np.prod(shape)) * torch.empty((), dtype=dtype).element_size()
    values_of_a_byte = 2 if dtype is torch.bool else 256
    bits = np.random.default_rng(seed).integers(0, values_of_a_byte, count, np.uint8)
    return torch.frombuffer(bytearray(bits), dtype=dtype).reshape(shape) if count else torch.empty(shape, dtype=dtype)


@st.composite
def views(draw):
    """Tensors that are views of one or two storages: slices with steps, permutations and repetitions."""
    tensors = {}
    for number in range(draw(st.integers(1, 2))):
        dtype = draw(st.sampled_from(DTYPES))
        shape = draw(st.lists(st.integers(0, 4), max_size=4))
        base = tensor_of_bits(dtype, shape, seed=draw(st.integers(0, 99)))
        for part in range(draw(st.integers(1, 3))):
            view = base
            for axis in range(view.ndim):
                start = draw(st.integers(0, 2))
                step = draw(st.integers(1, 2))
                view = view[(slice(None),) * axis + (slice(start, None, step),)]
            view = view.permute(draw(st.permutations(range(view.ndim))))
            if draw(st.booleans()):
                view = view.unsqueeze(0).expand(2, *view.shape)
            tensors[f"{number}.{part}"] = view
    return tensors


@pytest.mark.parametrize("legacy", FORMATS.values(), ids=FORMATS)
@given(tensors=views())
def test_any_views_are_read_as_pytorch_reads_them(path, legacy, tensors):
    padding = torch.zeros(64, dtype=torch.float64)  # so that repeated tensors are not larger than the file
    expect_same(read(path, torch_file({**tensors, "padding": padding}, legacy)), {**tensors, "padding": padding})


@pytest.mark.parametrize("legacy", FORMATS.values(), ids=FORMATS)
def test_parameters_and_buffers_of_a_module_are_read(path, legacy):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).half()
    expect_same(read(path, torch_file(module.state_dict(), legacy)), module.state_dict())
    parameters = dict(module.named_parameters())
    expect_same(read(path, torch_file(parameters, legacy)), parameters)


@pytest.mark.parametrize("wrapper", ["state_dict_ema", "model_ema", "state_dict", "model"])
def test_only_the_weights_of_a_training_script_are_read(path, wrapper, monkeypatch):
    """Only the storages of the weights are read: the moments of an optimizer can be twice as large."""
    weights = {"a": torch.arange(3.0), "b": torch.arange(5.0)}
    content = torch_file({"epoch": 3, wrapper: {f"module.{name}": tensor for name, tensor in weights.items()},
                          "optimizer": {"state": {0: {"moment": torch.ones(1000)}}, "lr": 0.1}})
    sizes = []
    original = torch_containers._read_exactly

    def recorded(stream, size):
        sizes.append(size)
        return original(stream, size)

    monkeypatch.setattr(torch_containers, "_read_exactly", recorded)
    expect_same(read(path, content), weights)
    assert sizes == [12, 20]


@given(dtype=st.sampled_from(DTYPES), seed=st.integers(0, 99))
def test_files_of_big_endian_machines_are_read(path, dtype, seed):
    """PyTorch writes numbers in the machine's byte order and declares it in the archive."""
    tensor = torch.from_numpy(np.random.default_rng(seed).integers(-100, 100, 7)).to(dtype)
    width = tensor.element_size()

    def swapped(name, data):
        if name.endswith("byteorder"):
            return b"big"
        return np.frombuffer(data, np.uint8).reshape(-1, width)[:, ::-1].tobytes() if "/data/" in name else data

    expect_same(read(path, repacked(torch_file({"a": tensor}), swapped)), {"a": tensor})


def test_without_a_byte_order_numbers_are_little_endian(path):
    content = torch_file({"a": torch.arange(3.0)})
    old = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(old, "w") as rewritten:
        for name in archive.namelist():
            if not name.endswith("byteorder"):
                rewritten.writestr(name, archive.read(name))
    expect_same(read(path, old.getvalue()), {"a": torch.arange(3.0)})


@pytest.mark.parametrize("order", [b"middle", b"", b"little-endian, or so"])
def test_an_unknown_byte_order_is_refused(path, order):
    content = repacked(torch_file({"a": torch.arange(3.0)}),
                       lambda name, data: order if name.endswith("byteorder") else data)
    with pytest.raises(InputError, match="unknown byte order"):
        read(path, content)


def test_a_legacy_file_of_a_big_endian_machine_is_refused(path):
    content = torch_file({"a": torch.arange(3.0)}, legacy=True)
    position = content.index(b"little_endian")
    flag = content.index(b"\x88", position)
    with pytest.raises(InputError, match="unknown version or byte order"):
        read(path, content[:flag] + b"\x89" + content[flag + 1:])


def test_a_damaged_storage_is_noticed_by_its_checksum(path):
    content = torch_file({"a": torch.full((4,), 1.5)})
    position = content.index(np.full(4, 1.5, np.float32).tobytes())
    with pytest.raises(InputError, match=r"damaged zip archive.*CRC"):
        read(path, content[:position] + b"\1" + content[position + 1:])


@pytest.mark.parametrize("legacy", FORMATS.values(), ids=FORMATS)
def test_what_is_checked_is_what_is_read(tmp_path, legacy, monkeypatch):
    """Another file under the same name, put there after the description was checked, changes nothing."""
    path = tmp_path / "weights.pth"
    original = torch_containers.run
    path.write_bytes(torch_file({"initial_conv.weight": torch.ones(1, 1, 1, 2)}, legacy))
    other = torch_file({"initial_conv.weight": torch.zeros(1, 1, 1, 2)}, legacy)

    def run_and_replace(*arguments):
        value = original(*arguments)
        (tmp_path / "other").write_bytes(other)
        os.replace(tmp_path / "other", path)
        return value

    monkeypatch.setattr(torch_containers, "run", run_and_replace)
    assert nf.weights.load(path)["initial_conv.weight"].tolist() == [[[[1.0, 1.0]]]]
