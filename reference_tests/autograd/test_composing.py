"""A block composed by a user: the obvious spellings work, mistakes are one line."""

import numpy as np
import pytest

import nfnumpy as nf
from nfnumpy import InputError, Tensor, ops


class GatedBlock(nf.nn.Module):
    """A block that no paper has: modules in a tuple and a dict, a slice, a pad, a concatenation, a gate."""

    def __init__(self, init):
        self.convs = (nf.nn.WSConv2D(init.scope("a"), 4, 8, 3, dilation=2),
                      nf.nn.WSConv2D(init.scope("b"), 8, 8, 3, groups=4))
        self.heads = {"gate": nf.nn.Linear(init.scope("gate"), 8, 8), "out": nf.nn.Linear(init.scope("out"), 16, 3)}

    def __call__(self, x):
        y = self.convs[1](ops.silu(self.convs[0](x)))
        y = ops.pad(y, widths=((0, 0), (1, 1), (0, 0), (0, 0)))[:, ::2]
        mean = y.mean((1, 2))
        gate = ops.sigmoid(self.heads["gate"](mean))
        return self.heads["out"](ops.concatenate([mean * gate, y.max((1, 2)) - mean], axis=1))


def test_a_block_of_ones_own_learns_with_sgd_and_with_sam():
    block = GatedBlock(nf.nn.Initializer(dtype="float64", seed=1))
    assert len(block.parameters()) == 3 + 3 + 2 + 2
    draws = np.random.default_rng(0)
    x, labels = draws.standard_normal((12, 6, 6, 4)), np.arange(12) % 3
    sam, losses = nf.optim.SAM(nf.optim.SGD(block, lr=0.1)), []

    def closure():
        loss = ops.softmax_cross_entropy(block(x), labels)
        loss.backward()
        return loss

    for _ in range(30):
        losses.append(sam.step(closure).item())
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("call, said", [
    (lambda x: x + np.ones(5), r"add of \(2, 3\), \(5,\)"), (lambda x: x.reshape(4, 4), "reshape"),
    (lambda x: x.transpose(0, 0), "transpose"), (lambda x: x.sum(9), "sum"), (lambda x: x[5], "take_slice"),
    (lambda x: ops.concatenate([x, np.ones((2, 2))], axis=0), "concatenate"), (lambda x: ops.stack(x, x[0]), "stack"),
    (lambda x: ops.pad(x, widths=3), "pad"), (lambda x: ops.broadcast_to(x, shape=(4, 4)), "broadcast_to"),
    (lambda x: x[[0, 0]], "slice: .*list"), (lambda x: x[np.array([0, 1])], "slice: .*ndarray"),
    (lambda x: bool(x), "neither true nor false"), (lambda x: ops.conv2d(x, x), "conv2d"),
    (lambda x: ops.relu(x, slope=2), "relu"), (lambda x: Tensor("text"), "real numbers"),
    (lambda x: Tensor([1, 2], requires_grad=True), "floating"), (lambda x: Tensor([x, x]), "Tensor")])
def test_mistakes_are_input_errors_of_one_line(call, said):
    with pytest.raises(InputError, match=said) as refusal:
        call(Tensor(np.ones((2, 3))))
    assert "\n" not in str(refusal.value)


def test_tensors_read_as_arrays_and_states_load():
    assert np.array_equal(np.asarray(Tensor([1.0, 2.0])), [1.0, 2.0])
    one, other = (nf.models.create("nfnet_8px", seed=seed) for seed in (1, 2))
    one.load_state_dict(other.parameters())
    assert np.array_equal(one.linear.weight.data, other.linear.weight.data)


def test_parameters_that_want_no_gradient_stay_as_they_are():
    model = nf.models.create("nfnet_8px", seed=1)
    frozen = model.final_conv.weight
    frozen.requires_grad, before = False, model.final_conv.weight.data.copy()
    optimizer = nf.optim.SAM(nf.optim.SGD(model, lr=0.1))
    x = np.ones((2, 8, 8, 3), dtype=np.float32)
    optimizer.step(lambda: ops.softmax_cross_entropy(model(x), np.array([0, 1])).backward())
    assert np.array_equal(frozen.data, before) and frozen.grad is None


@pytest.mark.parametrize("grad", [np.ones(3), np.ones(2, dtype=np.float32)])
def test_a_gradient_of_another_shape_or_dtype_is_refused(grad):
    w = Tensor(np.ones(2), requires_grad=True)
    w.grad = grad
    with pytest.raises(InputError, match="gradient of w"):
        nf.optim.SGD({"w": w}, lr=0.1).step()
