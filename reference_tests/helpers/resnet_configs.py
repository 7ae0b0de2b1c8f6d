"""Small configurations of the ResNets with normalizations and of their descendants.

Three blocks each: one that changes channels, one with a stride, one with an identity shortcut.
"""

from nfnumpy import models

THREE_BLOCKS = {"widths": (16, 24), "depths": (1, 2), "strides": (1, 2), "num_classes": 7}
BASIC = {**THREE_BLOCKS, "block": "basic", "widths": (8, 12), "stem_width": 8}
BOTTLENECK = {**THREE_BLOCKS, "stem_width": 8}
FOR_SMALL_IMAGES = {"stem_kernel": 3, "stem_stride": 1, "stem_pool": False}
GROUPS = {"groups": 2, "group_width": 4}
DEEP_STEM = {"stem_widths": (4, 6, 8)}
RESNETS = {
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
NAMED = [name for name in models.names() if type(models.config_of(name)) in set(map(type, RESNETS.values()))]
