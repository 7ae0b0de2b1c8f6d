"""timm's names of the modules of every family; torchvision's are the same where it has the network.

Each function yields (our module, timm's module) of a network with `depths` blocks in its stages. A module that only
some networks of a family have stands in the table of all. Used by: timm.py.
Tests: reference_tests/weights/test_timm_names.py; against timm: reference_tests/tools/against_timm.py.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from .name_tables import NUMBER, Leaves, Naming, Pairs, places

TORCH_LEAVES: Leaves = {
    "conv": {"weight": "weight", "bias": "bias", "gain": "gain"},
    "linear": {"weight": "weight", "bias": "bias"},
    "norm": {"gamma": "weight", "beta": "bias", "running_mean": "running_mean", "running_variance": "running_var"},
}


# ---- residual networks with normalizations


def resnet(depths: Sequence[int], deep_stem: bool = False) -> Pairs:
    """ResNet, ResNeXt, SE-ResNeXt; deep_stem: their D forms, which pool before the convolution of a shortcut."""
    if deep_stem:
        for k, (conv, norm) in enumerate((("conv1.0", "conv1.1"), ("conv1.3", "conv1.4"), ("conv1.6", "bn1"))):
            yield from ((f"stem_convs.{k}.conv", conv), (f"stem_convs.{k}.norm", norm))
    else:
        yield from (("initial_conv.conv", "conv1"), ("initial_conv.norm", "bn1"))
    for block, stage, position in places(depths):
        ours, theirs = f"blocks.{block}", f"layer{stage + 1}.{position}"
        for k in range(3):
            yield f"{ours}.conv{k}.conv", f"{theirs}.conv{k + 1}"
            yield f"{ours}.conv{k}.norm", f"{theirs}.bn{k + 1}"
        yield f"{ours}.conv_shortcut.conv", f"{theirs}.downsample.{int(deep_stem)}"
        yield f"{ours}.conv_shortcut.norm", f"{theirs}.downsample.{int(deep_stem) + 1}"
        yield from ((f"{ours}.squeeze_excite.fc{k}", f"{theirs}.se.fc{k + 1}") for k in range(2))
    yield "linear", "fc"


def resnet_v2(depths: Sequence[int]) -> Pairs:
    """ResNets with the normalization before each convolution."""
    yield "initial_conv", "stem.conv"
    for block, stage, position in places(depths):
        ours, theirs = f"blocks.{block}", f"stages.{stage}.blocks.{position}"
        for k in range(3):
            yield f"{ours}.norm{k}", f"{theirs}.norm{k + 1}"
            yield f"{ours}.conv{k}", f"{theirs}.conv{k + 1}"
        yield f"{ours}.conv_shortcut", f"{theirs}.downsample.conv"
    yield from (("final_norm", "norm"), ("linear", "head.fc"))


# ---- networks of depthwise convolutions

EXPANDED = {"conv0": "conv_pw", "conv1": "conv_dw", "conv2": "conv_pwl"}  # of a block, in order
NOT_EXPANDED = {"conv1": "conv_dw", "conv2": "conv_pw"}
SEPARABLE = {"depthwise": "conv_dw", "pointwise": "conv_pw"}


def depthwise(depths: Sequence[int], first: Mapping[str, str], others: Mapping[str, str]) -> Pairs:
    """EfficientNet, MobileNet v1 and v2; the convolutions of blocks in the first stage, and in the others."""
    yield from (("initial_conv.conv", "conv_stem"), ("initial_conv.norm", "bn1"))
    for block, stage, position in places(depths):
        ours, theirs = f"blocks.{block}", f"blocks.{stage}.{position}"
        for k, (our_conv, conv) in enumerate((others if stage else first).items()):
            yield f"{ours}.{our_conv}.conv", f"{theirs}.{conv}"
            yield f"{ours}.{our_conv}.norm", f"{theirs}.bn{k + 1}"
        yield f"{ours}.squeeze_excite.fc0", f"{theirs}.se.conv_reduce"
        yield f"{ours}.squeeze_excite.fc1", f"{theirs}.se.conv_expand"
    yield from (("final_conv.conv", "conv_head"), ("final_conv.norm", "bn2"), ("linear", "classifier"))


# ---- networks that concatenate


def densenet(depths: Sequence[int]) -> Pairs:
    """DenseNet: its dense blocks are every other block of ours, with transitions between them."""
    yield from (("initial_conv.conv", "features.conv0"), ("initial_conv.norm", "features.norm0"))
    for stage, depth in enumerate(depths):
        for layer in range(depth):
            ours, theirs = f"blocks.{2 * stage}.layers.{layer}", f"features.denseblock{stage + 1}.denselayer{layer + 1}"
            for k in range(2):
                yield f"{ours}.norm{k}", f"{theirs}.norm{k + 1}"
                yield f"{ours}.conv{k}", f"{theirs}.conv{k + 1}"
        ours, theirs = f"blocks.{2 * stage + 1}", f"features.transition{stage + 1}"
        yield from ((f"{ours}.norm0", f"{theirs}.norm"), (f"{ours}.conv0", f"{theirs}.conv"))
    yield from (("final_norm", "features.norm5"), ("linear", "classifier"))


INCEPTION_STEM = ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")
INCEPTION_MODULES = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")
INCEPTION_CHAINS = {  # (letter of our modules, our branch): theirs of its convolutions, in order
    ("A", "branch1x1"): ("branch1x1",), ("A", "branch5x5"): ("branch5x5_1", "branch5x5_2"),
    ("A", "branch3x3_3x3"): ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
    ("A", "branch_pool"): ("branch_pool",),
    ("B", "branch3x3"): ("branch3x3",), ("B", "branch3x3_3x3"): ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
    ("C", "branch1x1"): ("branch1x1",), ("C", "branch7x7"): ("branch7x7_1", "branch7x7_2", "branch7x7_3"),
    ("C", "branch7x7_7x7"): tuple(f"branch7x7dbl_{k}" for k in range(1, 6)), ("C", "branch_pool"): ("branch_pool",),
    ("D", "branch3x3"): ("branch3x3_1", "branch3x3_2"),
    ("D", "branch7x7_3x3"): tuple(f"branch7x7x3_{k}" for k in range(1, 5)),
    ("E", "branch1x1"): ("branch1x1",), ("E", "branch3x3"): ("branch3x3_1",), ("E", "branch_pool"): ("branch_pool",),
    ("E", "branch3x3_1x3"): ("branch3x3_2a",), ("E", "branch3x3_3x1"): ("branch3x3_2b",),
    ("E", "branch3x3_3x3"): ("branch3x3dbl_1", "branch3x3dbl_2"),
    ("E", "branch3x3_3x3_1x3"): ("branch3x3dbl_3a",), ("E", "branch3x3_3x3_3x1"): ("branch3x3dbl_3b",),
}


def inception(depths: Sequence[int]) -> Pairs:
    """Inception v3, which has one form; modules are named by the side of their maps and a letter."""
    convs = [(f"stem_convs.{k}", f"Conv2d_{name}") for k, name in enumerate(INCEPTION_STEM)]
    for block, (module, letter) in enumerate(zip(INCEPTION_MODULES, "AAABCCCCDEE", strict=True)):
        for (one, branch), chain in INCEPTION_CHAINS.items():
            if one == letter:
                convs += [(f"blocks.{block}.{branch}.{k}", f"Mixed_{module}.{name}") for k, name in enumerate(chain)]
    for ours, theirs in convs:
        yield from ((f"{ours}.conv", f"{theirs}.conv"), (f"{ours}.norm", f"{theirs}.bn"))
    yield "linear", "fc"


# ---- normalizer-free networks


def normalizer_free(depths: Sequence[int], attention: str, stem_convs: int, final_conv: bool) -> Pairs:
    """NFNet, NF-ResNet and NF-RegNet; stem_convs: 0 for a single one."""
    if stem_convs:
        yield from ((f"stem_convs.{k}", f"stem.conv{k + 1}") for k in range(stem_convs))
    else:
        yield "initial_conv", "stem.conv"
    parts = {"conv0": "conv1", "conv1": "conv2", "conv1b": "conv2b", "conv2": "conv3", "skip_gain": "skipinit_gain",
             "conv_shortcut": "downsample.conv", "squeeze_excite.fc0": f"{attention}.fc1",
             "squeeze_excite.fc1": f"{attention}.fc2"}
    for block, stage, position in places(depths):
        yield from ((f"blocks.{block}.{ours}", f"stages.{stage}.{position}.{theirs}")
                    for ours, theirs in parts.items())
    if final_conv:
        yield "final_conv", "final_conv"
    yield "linear", "head.fc"


STAGES = rf"stages\.(?P<stage>{NUMBER})\.(?P<position>{NUMBER})\."
LAYERS = rf"layer(?P<stage>{NUMBER})\.(?P<position>{NUMBER})\."
BLOCKS = rf"blocks\.(?P<stage>{NUMBER})\.(?P<position>{NUMBER})\."
SE = ("fc0", "fc1")


def stage_from_1(stage: str, position: str) -> tuple[int, int]:
    """Numbers from 0."""
    return int(stage) - 1, int(position)


def both_from_1(stage: str, position: str) -> tuple[int, int]:
    """Numbers from 0."""
    return int(stage) - 1, int(position) - 1


# Starts of names that only timm's networks have; STAGES is another.
MARKS = ("layer1.0.", "stages.0.blocks.0.", "conv_stem.", "features.conv0.", "Conv2d_1a_3x3.")
NAMINGS = (
    Naming("NFNet", STAGES, partial(normalizer_free, attention="attn_last", stem_convs=4, final_conv=True),
           TORCH_LEAVES, SE),
    Naming("NFResNet", STAGES, partial(normalizer_free, attention="attn_last", stem_convs=0, final_conv=False),
           TORCH_LEAVES, SE),
    Naming("NFRegNet", STAGES, partial(normalizer_free, attention="attn", stem_convs=0, final_conv=True),
           TORCH_LEAVES, SE),
    Naming("ResNet", LAYERS, resnet, TORCH_LEAVES, SE, stage_from_1),
    Naming("ResNet-D", LAYERS, partial(resnet, deep_stem=True), TORCH_LEAVES, SE, stage_from_1),
    Naming("ResNetV2", rf"stages\.(?P<stage>{NUMBER})\.blocks\.(?P<position>{NUMBER})\.", resnet_v2, TORCH_LEAVES,
           ("linear",)),
    Naming("MobileNetV1", BLOCKS, partial(depthwise, first=SEPARABLE, others=SEPARABLE), TORCH_LEAVES),
    Naming("EfficientNet", BLOCKS, partial(depthwise, first=NOT_EXPANDED, others=EXPANDED), TORCH_LEAVES, SE),
    Naming("DenseNet", rf"features\.denseblock(?P<stage>{NUMBER})\.denselayer(?P<position>{NUMBER})\.", densenet,
           TORCH_LEAVES, (), both_from_1),
    Naming("InceptionV3", r"(?!)(?P<stage>)(?P<position>)", inception, TORCH_LEAVES),
)
