"""NFNet, NF-ResNet and NF-RegNet in JAX's idiom: pure functions of a tree of parameters; `jax_optim` has AGC.

Images are (N, H, W, C), weights (kh, kw, in/groups, out) and (in, out), as in the reference and in the authors' code.
The tree has the reference's names, nested: params["blocks"][0]["conv0"]["weight"].

    params = from_state_dict(model.state_dict())        # or init(jax.random.key(0), config)
    logits = jax.jit(functools.partial(apply, config=config))(params, normalize(images))

Sources: Brock, De, Smith (2021a), arXiv 2101.08692; Brock et al. (2021b), arXiv 2102.06171; the authors' released
code. Each comment names the mistake that ports make at that line. Used by: reference_tests (oracle), bench (opponent).
Test: reference_tests/ports/test_jax.py.
"""

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy
from jax import lax, numpy as jnp

from ..datasets.preprocessing import MEAN, STANDARD_DEVIATION  # plain data, as GAMMA: constants are written down once
from ..functional.activations import GAMMA

Params = dict[str, Any]
FUNCTIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "identity": lambda x: x, "relu": jax.nn.relu, "relu6": jax.nn.relu6, "silu": jax.nn.silu,
    "leaky_relu": functools.partial(jax.nn.leaky_relu, negative_slope=0.01),
    "gelu": functools.partial(jax.nn.gelu, approximate=True),  # the authors' GELU is the tanh form
    "gelu_erf": functools.partial(jax.nn.gelu, approximate=False), "elu": jax.nn.elu, "celu": jax.nn.celu,
    "selu": jax.nn.selu, "sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "softplus": jax.nn.softplus,
    "softsign": jax.nn.soft_sign, "log_sigmoid": jax.nn.log_sigmoid, "log_softmax": jax.nn.log_softmax,
}


# ---- layers


def activation(x: jax.Array, name: str, scale: float = 1.0) -> jax.Array:
    """scale·gamma·g(x), where gamma·g(x) has variance 1 if x is N(0, 1). Source: 2101.08692, section 4.1."""
    return FUNCTIONS[name](x) * (GAMMA[name] * scale)


def standardize(weight: jax.Array, gain: jax.Array, eps: float = 1e-4) -> jax.Array:
    """gain·(W - mu)/sqrt(max(N·sigma², eps)) for each output unit, the last axis of a weight (kh, kw, in/groups, out).

    N is the fan-in; mean and variance are over it, the variance biased, as jnp.var's default is. eps is a floor of
    N·sigma², not a term of a sum. Source: 2101.08692, eq. 3; the floor is that of the released code.
    """
    axes = (0, 1, 2)
    fan_in = math.prod(weight.shape[:3])
    mean = jnp.mean(weight, axis=axes)
    variance = jnp.var(weight, axis=axes)
    return (weight - mean) * (lax.rsqrt(jnp.maximum(fan_in * variance, eps)) * gain)


def ws_conv(params: Params, x: jax.Array, stride: int = 1, groups: int = 1) -> jax.Array:
    """SAME convolution with a standardized weight. XLA's "SAME" is TensorFlow's: the odd pixel is at the end."""
    weight = standardize(params["weight"], params["gain"])
    return lax.conv_general_dilated(x, weight, (stride, stride), "SAME", feature_group_count=groups,
                                    dimension_numbers=("NHWC", "HWIO", "NHWC")) + params["bias"]


def linear(params: Params, x: jax.Array) -> jax.Array:
    """x·weight + bias."""
    return x @ params["weight"] + params["bias"]


def squeeze_excite(params: Params, x: jax.Array) -> jax.Array:
    """x · 2·sigmoid(fc1(relu(fc0(mean over the image)))): the factor 2 keeps the variance; the relu has no gamma."""
    hidden = jax.nn.relu(linear(params["fc0"], x.mean(axis=(1, 2))))
    gate = 2.0 * jax.nn.sigmoid(linear(params["fc1"], hidden))
    return x * gate[:, None, None, :]


def avg_pool_same(x: jax.Array) -> jax.Array:
    """SAME average pooling, 2×2 with stride 2: the sum divided by the pixels that are there, not by 4."""
    ones = jnp.ones((1, *x.shape[1:3], 1), x.dtype)
    total, count = (lax.reduce_window(values, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "SAME") for values in (x, ones))
    return total / count


def max_pool_same(x: jax.Array) -> jax.Array:
    """SAME max pooling, 3×3 with stride 2, padded with -inf: padding with 0 would win over negative pixels."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")


# ---- blocks


class Block(NamedTuple):
    """What the configuration says of a block; nothing of it is a parameter."""

    in_channels: int
    out_channels: int
    stride: int
    beta: float
    drop_rate: float
    width: int
    groups: int

    @property
    def has_conv_shortcut(self) -> bool:
        """A block that changes stride or channels has a 1×1 convolution on its shortcut."""
        return self.stride > 1 or self.in_channels != self.out_channels


def family_of(config: Any) -> str:
    """"NFNet", "NFResNet" or "NFRegNet", from the name of the configuration's class."""
    return type(config).__name__.removesuffix("Config")


def block_schedule(config: Any) -> list[Block]:
    """All blocks of a network in order.

    The variance grows by alpha² with each block of a stage. The first block of a stage resets it, but only for the
    blocks after it: its own beta still uses the variance that the stage before ended with. Stochastic depth drops more
    the deeper the block, and never the first.
    """
    family = family_of(config)
    widths = [int(config.width_factor * width) for width in config.widths] if family == "NFRegNet" else config.widths
    blocks: list[Block] = []
    channels, variance = stem_widths(config)[-1], 1.0
    for out_channels, depth, stride in zip(widths, config.depths, config.strides, strict=True):
        for position in range(depth):
            width, groups = bottleneck(config, channels, out_channels, is_first=not blocks)
            blocks.append(Block(channels, out_channels, stride if position == 0 else 1, variance ** -0.5,
                                config.stochdepth_rate * len(blocks) / sum(config.depths), width, groups))
            channels = out_channels
            variance = 1.0 + (position + 1) * config.alpha**2
    return blocks


def bottleneck(config: Any, in_channels: int, out_channels: int, is_first: bool) -> tuple[int, int]:
    """(width, groups) of a block's 3×3 convolutions.

    NF-RegNets expand the *input* channels, but not in the network's first block; NFNets the *output* channels.
    """
    family = family_of(config)
    if family == "NFResNet":
        return max(1, int(out_channels * config.bottleneck_ratio)), 1
    if family == "NFNet":
        groups = int(out_channels * config.expansion) // config.group_size
    else:
        expansion = 1 if is_first else config.expansion
        groups = max(1, int(in_channels * expansion) // config.group_size)
    return groups * config.group_size, groups


def apply_block(params: Params, x: jax.Array, config: Any, block: Block, mask: jax.Array | None = None) -> jax.Array:
    """shortcut + alpha·skip_gain·mask·branch(beta·act(x)).

    The shortcut of a block that changes stride or channels starts from the activated `out`, any other from x itself.
    mask: (N,), 1 where an example's residual is kept and 0 elsewhere; the kept ones are not divided by 1 - rate.
    """
    pools = family_of(config) != "NFResNet"  # NF-ResNets stride the 1×1 convolution of a shortcut instead
    out = activation(x, config.activation, block.beta)
    shortcut = x
    if block.has_conv_shortcut:
        pooled = avg_pool_same(out) if pools and block.stride > 1 else out
        shortcut = ws_conv(params["conv_shortcut"], pooled, stride=1 if pools else block.stride)
    residual = BRANCHES[family_of(config)](params, out, config, block)
    if mask is not None:
        residual = residual * mask[:, None, None, None]
    return shortcut + residual * (config.alpha * params["skip_gain"])


def _nfnet_branch(params, out, config, block):
    """1×1 → 3×3 grouped (has the stride) → 3×3 grouped → 1×1 → squeeze-and-excite."""
    act = functools.partial(activation, name=config.activation)
    out = act(ws_conv(params["conv0"], out))
    out = act(ws_conv(params["conv1"], out, block.stride, block.groups))
    out = act(ws_conv(params["conv1b"], out, 1, block.groups))
    return squeeze_excite(params["squeeze_excite"], ws_conv(params["conv2"], out))


def _nf_regnet_branch(params, out, config, block):
    """1×1 → 3×3 grouped (has the stride) → squeeze-and-excite → 1×1, squeezed before the last nonlinearity."""
    act = functools.partial(activation, name=config.activation)
    out = act(ws_conv(params["conv0"], out))
    out = squeeze_excite(params["squeeze_excite"], ws_conv(params["conv1"], out, block.stride, block.groups))
    return ws_conv(params["conv2"], act(out))


def _nf_resnet_branch(params, out, config, block):
    """1×1 → 3×3 (has the stride) → 1×1 → squeeze-and-excite if wanted."""
    act = functools.partial(activation, name=config.activation)
    out = act(ws_conv(params["conv0"], out))
    out = ws_conv(params["conv2"], act(ws_conv(params["conv1"], out, block.stride)))
    return squeeze_excite(params["squeeze_excite"], out) if config.use_se else out


BRANCHES: dict[str, Callable] = {"NFNet": _nfnet_branch, "NFRegNet": _nf_regnet_branch, "NFResNet": _nf_resnet_branch}


# ---- networks


def apply(params: Params, x: jax.Array, config: Any, masks: Params | None = None) -> jax.Array:
    """Logits (N, classes) of normalized images x (N, H, W, C).

    masks: in training with dropout or stochastic depth, what `draw_masks` returns; None in inference.
    """
    masks = masks or {"blocks": None, "dropout": None}
    x = _stem(params, x, config)
    for index, block in enumerate(block_schedule(config)):
        mask = None if masks["blocks"] is None else masks["blocks"][index]
        x = apply_block(params["blocks"][index], x, config, block, mask)
    if family_of(config) != "NFResNet":  # an NF-ResNet has no final convolution
        x = ws_conv(params["final_conv"], x)
    features = activation(x, config.activation).mean(axis=(1, 2))
    if masks["dropout"] is not None:
        features = features * masks["dropout"]
    return linear(params["linear"], features)


def stem_widths(config: Any) -> tuple[int, ...]:
    """Output channels of the stem's convolutions."""
    if family_of(config) == "NFNet":
        return config.stem_widths or (16, 32, 64, config.widths[0] // 2)
    if family_of(config) == "NFResNet":
        return (config.widths[0] // 4,)
    return (int(config.width_factor * config.widths[0]),)


def _stem(params, x, config):
    """No nonlinearity after the last convolution: the first block begins with one."""
    if family_of(config) != "NFNet":
        x = ws_conv(params["initial_conv"], x, config.stem_stride)
        return max_pool_same(x) if family_of(config) == "NFResNet" and config.stem_pool else x
    for index, stride in enumerate(config.stem_strides):
        if index > 0:
            x = activation(x, config.activation)
        x = ws_conv(params["stem_convs"][index], x, stride)
    return x


def normalize(images: jax.Array, dtype: Any = jnp.float32) -> jax.Array:
    """uint8 images (N, H, W, 3) as the networks take them."""
    return (jnp.asarray(images).astype(dtype) * (1.0 / 255.0) - jnp.array(MEAN, dtype)) / \
        jnp.array(STANDARD_DEVIATION, dtype)


def draw_masks(key: jax.Array, config: Any, batch: int, features: int, dtype: Any = jnp.float32) -> Params:
    """Masks of one training step: {"blocks": one (batch,) each, "dropout": (batch, features), divided by 1 - rate}."""
    blocks = block_schedule(config)
    keys = jax.random.split(key, len(blocks) + 1)
    kept = [jax.random.bernoulli(block_key, 1.0 - block.drop_rate, (batch,)).astype(dtype)
            for block_key, block in zip(keys[1:], blocks, strict=True)]
    dropout = jax.random.bernoulli(keys[0], 1.0 - config.drop_rate, (batch, features)).astype(dtype)
    return {"blocks": kept, "dropout": dropout / (1.0 - config.drop_rate)}


# ---- parameters


def from_state_dict(state: Mapping[str, numpy.ndarray]) -> Params:
    """The nested tree of the reference's flat state: "blocks.3.conv0.weight" becomes blocks[3]["conv0"]["weight"]."""
    tree: Params = {}
    for name, array in state.items():
        *path, leaf = name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = jnp.asarray(array)
    return _lists(tree)


def _lists(node):
    """The tree with lists for dicts whose keys are 0, 1, 2 …"""
    if not isinstance(node, dict):
        return node
    children = {key: _lists(child) for key, child in node.items()}
    if children and all(key.isdecimal() for key in children):
        return [children[str(index)] for index in range(len(children))]
    return children


def to_state_dict(params: Params) -> dict[str, numpy.ndarray]:
    """The inverse of `from_state_dict`: name -> host array, as nfnumpy's `load_state_dict` takes them."""
    return {name: numpy.asarray(leaf) for name, leaf in named_leaves(params)}


def named_leaves(params: Params) -> list[tuple[str, jax.Array]]:
    """(name, leaf) of every parameter, in jax.tree's order; names are the reference's."""
    found = jax.tree_util.tree_flatten_with_path(params)[0]
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in found]


def init(key: jax.Array, config: Any, dtype: Any = jnp.float32) -> Params:
    """Fresh parameters: weights N(0, 1/fan_in), gains 1, biases 0, skip gains 0 (SkipInit, 2002.10444).

    The last weight is N(0, 0.01²), in NF-RegNets 0.
    """
    keys = iter(jax.random.split(key, 16 + 8 * sum(config.depths)))

    def conv(kernel, in_channels, out_channels, groups=1):
        shape = (kernel, kernel, in_channels // groups, out_channels)
        weight = jax.random.normal(next(keys), shape, dtype) / math.sqrt(math.prod(shape[:3]))
        return {"weight": weight, "bias": jnp.zeros(out_channels, dtype), "gain": jnp.ones(out_channels, dtype)}

    def dense(in_features, out_features, std):
        weight = std * jax.random.normal(next(keys), (in_features, out_features), dtype)
        return {"weight": weight, "bias": jnp.zeros(out_features, dtype)}

    def excite(channels):
        hidden = max(1, int(channels * config.se_ratio))
        return {"fc0": dense(channels, hidden, channels ** -0.5), "fc1": dense(hidden, channels, hidden ** -0.5)}

    family = family_of(config)
    widths = (config.in_channels, *stem_widths(config))
    if family == "NFNet":
        params = {"stem_convs": [conv(3, *pair) for pair in itertools.pairwise(widths)]}
    else:
        params = {"initial_conv": conv(config.stem_kernel if family == "NFResNet" else 3, *widths)}
    params["blocks"] = []
    for block in block_schedule(config):
        made = {"conv0": conv(1, block.in_channels, block.width),
                "conv1": conv(3, block.width, block.width, block.groups),
                "conv2": conv(1, block.width, block.out_channels), "skip_gain": jnp.zeros((), dtype)}
        if block.has_conv_shortcut:
            made["conv_shortcut"] = conv(1, block.in_channels, block.out_channels)
        if family == "NFNet":
            made["conv1b"] = conv(3, block.width, block.width, block.groups)
        if family != "NFResNet" or config.use_se:
            made["squeeze_excite"] = excite(block.width if family == "NFRegNet" else block.out_channels)
        params["blocks"].append(made)
        channels = block.out_channels
    if family != "NFResNet":
        features = int(config.final_conv_multiplier * channels) if family == "NFNet" else int(1280 * channels // 440)
        params["final_conv"] = conv(1, channels, features)
        channels = features
    params["linear"] = dense(channels, config.num_classes, 0.0 if family == "NFRegNet" else 0.01)
    return params
