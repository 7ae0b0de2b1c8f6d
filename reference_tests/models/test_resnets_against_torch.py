"""ResNets and their descendants equal their PyTorch ports in float64: logits, gradients, running statistics."""

import pytest

from nfnumpy import models
from reference_tests.helpers.baseline_pairs import assert_gradients_agree, assert_states_agree, loss_pair, pair_of
from reference_tests.helpers.port_pairs import BOUND, batch

# Three blocks: one that changes channels, one with a stride, one with an identity shortcut.
THREE_BLOCKS = {"widths": (16, 24), "depths": (1, 2), "strides": (1, 2), "num_classes": 7}
BASIC = {**THREE_BLOCKS, "block": "basic", "widths": (8, 12), "stem_width": 8}
BOTTLENECK = {**THREE_BLOCKS, "stem_width": 8}
FOR_SMALL_IMAGES = {"stem_kernel": 3, "stem_stride": 1, "stem_pool": False}
GROUPS = {"groups": 2, "group_width": 4}
DEEP_STEM = {"stem_widths": (4, 6, 8)}
CONFIGS = {
    "resnet of bottlenecks": models.ResNetConfig(**BOTTLENECK),
    "resnet of basic blocks": models.ResNetConfig(**BASIC),
    "resnet for small images": models.ResNetConfig(**BOTTLENECK, **FOR_SMALL_IMAGES),
    "resnet_v2 of bottlenecks": models.ResNetV2Config(**BOTTLENECK),
    "resnet_v2 of basic blocks": models.ResNetV2Config(**BASIC, **FOR_SMALL_IMAGES),
    "resnet_d": models.ResNetDConfig(**THREE_BLOCKS, **DEEP_STEM),
    "resnext": models.ResNeXtConfig(**BOTTLENECK, **GROUPS),
    "se_resnext": models.SEResNeXtConfig(**BOTTLENECK, **GROUPS, **FOR_SMALL_IMAGES, se_ratio=0.5),
    "se_resnext_d": models.SEResNeXtDConfig(**THREE_BLOCKS, **DEEP_STEM, **GROUPS, stem_pool=False, se_ratio=0.5),
    "fixup_resnet of bottlenecks": models.FixupResNetConfig(**BOTTLENECK),
    "fixup_resnet of basic blocks": models.FixupResNetConfig(**BASIC, **FOR_SMALL_IMAGES),
    "skipinit_resnet": models.SkipInitResNetConfig(**BOTTLENECK),
}


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("size", [(33, 29), (24, 24)], ids=str)
@pytest.mark.parametrize("name", CONFIGS)
def test_logits_gradients_and_running_statistics_agree_with_the_port(name, size, training):
    """Odd and even sizes: symmetric padding puts strided windows elsewhere than SAME padding on even ones."""
    model, port = pair_of(CONFIGS[name], seed=1)
    loss_pair(model, port, *batch(size, 7, seed=2), training)
    assert_gradients_agree(model, port)
    assert_states_agree(model, port, BOUND)
