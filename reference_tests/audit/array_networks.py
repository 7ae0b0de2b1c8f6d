"""An NF-ResNet as a function of (parameters, images) in JAX and in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from reference_tests.audit.registry import planted, right
from reference_tests.helpers.port_pairs import SMALL

CONFIG = SMALL["nf_resnet with squeeze-and-excite"]
RELU = 1.7139588594436646


def padded(x, kernel, stride, value=0.0):
    edges = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[1:3]]
    pairs = [(total // 2, total - total // 2) for total in edges]
    return np.pad(x, ((0, 0), *pairs, (0, 0)), constant_values=value)


def windows(x, kernel, stride):
    """(n, h, w, c, kernel, kernel)."""
    return np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), (1, 2))[:, ::stride, ::stride]


class OfNumpy:
    xp = np

    @staticmethod
    def conv(x, weight, stride):
        kernel = weight.shape[0]
        return np.einsum("nhwcij,ijco->nhwo", windows(padded(x, kernel, stride), kernel, stride), weight, optimize=True)

    @staticmethod
    def max_pool(x):
        return windows(padded(x, 3, 2, -np.inf), 3, 2).max((-1, -2))


class OfJax:
    xp = jnp

    @staticmethod
    def conv(x, weight, stride):
        return jax.lax.conv_general_dilated(x, weight, (stride, stride), "SAME",
                                            dimension_numbers=("NHWC", "HWIO", "NHWC"))

    @staticmethod
    def max_pool(x):
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")


def network(library, ddof=0, factor=2.0, has_beta=True, has_alpha=True, has_gain=True, shortcut_of="activated",
            resets=True, last=True, gamma=RELU):
    """The function of (parameters, images)."""
    xp = library.xp

    def sigmoid(x):
        return 0.5 * (1 + xp.tanh(0.5 * x))

    def activated(x):
        return xp.maximum(x, 0) * gamma

    def network(params, images):
        def conv(name, x, stride=1):
            weight = params[f"{name}.weight"]
            centred = weight - weight.mean((0, 1, 2))
            fan_in = weight[..., 0].size
            total = (centred**2).sum((0, 1, 2)) * (fan_in / (fan_in - ddof))
            weight = params[f"{name}.gain"] * centred / xp.sqrt(xp.maximum(total, 1e-4))
            return library.conv(x, weight, stride) + params[f"{name}.bias"]

        def squeeze_excite(name, x):
            hidden = xp.maximum(x.mean((1, 2)) @ params[f"{name}.fc0.weight"] + params[f"{name}.fc0.bias"], 0)
            gate = sigmoid(hidden @ params[f"{name}.fc1.weight"] + params[f"{name}.fc1.bias"])
            return factor * x * gate[:, None, None, :]

        def block(name, x, stride, variance):
            out = activated(x) / (variance**0.5 if has_beta else 1.0)
            shortcut = x
            if f"{name}.conv_shortcut.weight" in params:
                shortcut = conv(f"{name}.conv_shortcut", {"activated": out, "x": x}[shortcut_of], stride)
            out = conv(f"{name}.conv1", activated(conv(f"{name}.conv0", out)), stride)
            out = squeeze_excite(f"{name}.squeeze_excite", conv(f"{name}.conv2", activated(out)))
            out = out * params[f"{name}.skip_gain"] if has_gain else out
            return shortcut + (CONFIG.alpha if has_alpha else 1.0) * out

        x = library.max_pool(conv("initial_conv", images, 2))
        later = (1.0 if resets else 1 + CONFIG.alpha**2) + CONFIG.alpha**2
        for number, (stride, variance) in enumerate([(1, 1.0), (2, 1.0 + CONFIG.alpha**2), (1, later)]):
            x = block(f"blocks.{number}", x, stride, variance)
        x = activated(x) if last else x
        return x.mean((1, 2)) @ params["linear.weight"] + params["linear.bias"]
    return network


SINGLE = {
    "Bessel-corrected variance": {"ddof": 1}, "factor 2 missing": {"factor": 1.0}, "beta missing": {"has_beta": False},
    "alpha missing": {"has_alpha": False}, "skip gain missing": {"has_gain": False},
    "shortcut from x": {"shortcut_of": "x"}, "expected_std never reset": {"resets": False},
    "final nonlinearity missing": {"last": False}, "gamma missing": {"gamma": 1.0}}
SEVERAL = (("Bessel-corrected variance", "factor 2 missing"), ("beta missing", "final nonlinearity missing"),
           ("shortcut from x", "gamma missing"), ("factor 2 missing", "alpha missing", "final nonlinearity missing"),
           ("Bessel-corrected variance", "shortcut from x", "expected_std never reset"))
OPTIONS = {"config": CONFIG, "size": 20, "is_quick": False}
for framework, library in (("jax", OfJax), ("numpy", OfNumpy)):
    right("model", framework, framework=framework, **OPTIONS)(network(library))
    for causes in (*((cause,) for cause in SINGLE), *SEVERAL):
        switches = {key: value for cause in causes for key, value in SINGLE[cause].items()}
        planted("model", framework, *causes, framework=framework, **OPTIONS)(network(library, **switches))
