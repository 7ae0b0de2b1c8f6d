"""Known variants of nonlinearities, kernels and padding."""

from .... import nn, ops
from ....functional.activations import GAMMA
from .changes import overriding, parts_of, variant


def _nonlinear(name):
    def change(model):
        for module in parts_of(model, nn.Nonlinearity):
            module.name = name
    return change


def _with_gamma(model):
    for module in parts_of(model, nn.Nonlinearity):
        module.gamma = GAMMA[module.name]


def _padded(padding):
    def change(model):
        for conv in parts_of(model, nn.Conv2D):
            if max(conv.weight.shape[:2]) > 1:
                conv.padding = padding(conv.weight.shape[0])
    return change


def _kernels(operation):
    def change(model):
        for conv in parts_of(model, nn.Conv2D):
            overriding(conv, kernel=lambda self: operation(self.weight))
    return change


NONLINEARITIES = tuple(
    variant(f"nonlinearity {name}", "nonlinearity", _nonlinear(name), f"The nonlinearity is {name} everywhere.")
    for name in ("relu", "relu6", "silu", "gelu", "gelu_erf", "leaky_relu", "elu", "tanh", "identity"))
LAYERS = (
    *NONLINEARITIES,
    variant("gamma in the nonlinearity", "nonlinearity", _with_gamma, "The nonlinearity is multiplied by gamma, as in "
            "normalizer-free networks; here it is not."),
    variant("kernels flipped", "kernels", _kernels(lambda weight: ops.flip(weight, axis=(0, 1))), "Kernels are turned "
            "by 180°: a convolution in the mathematical sense, where networks have the cross-correlation."),
    variant("kernels transposed", "kernels", _kernels(lambda weight: ops.transpose(weight, axes=(1, 0, 2, 3))),
            "Rows and columns of the kernels are exchanged."),
    variant("no padding", "padding", _padded(lambda kernel: "VALID"), "Nothing is padded."))
SAME_PADDING = variant("SAME padding", "padding", _padded(lambda kernel: "SAME"), "Convolutions pad as TensorFlow "
                       "does; this network pads both sides alike. At stride 2 on even sizes every window lies a pixel "
                       "further.", benign=True)
SYMMETRIC_PADDING = variant("symmetric padding", "padding", _padded(lambda kernel: (kernel - 1) // 2), "Convolutions "
                            "pad both sides alike; this network pads SAME, as TensorFlow does.", benign=True)
