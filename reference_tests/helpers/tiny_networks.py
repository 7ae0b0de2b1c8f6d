"""One network of a few narrow blocks of each family that the normalizer-free ones are compared with."""

import nfnumpy as nf

RESNET = {"widths": (16, 24), "depths": (1, 2), "strides": (1, 2), "num_classes": 7}
STEM = {"stem_width": 8}
SMALL_STEM = {"stem_width": 8, "stem_kernel": 3, "stem_stride": 1, "stem_pool": False}
DEEP_STEM = {"stem_widths": (4, 6, 8)}
GROUPS = {"groups": 2, "group_width": 4}
INVERTED = {"widths": (8, 8, 12), "depths": (1, 2, 1), "strides": (1, 2, 2), "expansions": (1, 3, 2), "stem_width": 8,
            "head_width": 20, "num_classes": 7}
BASELINES = {
    "resnet": nf.models.ResNetConfig(**RESNET, **STEM),
    "resnet of basic blocks": nf.models.ResNetConfig(**RESNET, **SMALL_STEM, block="basic"),
    "resnet_v2": nf.models.ResNetV2Config(**RESNET, **STEM),
    "resnet_d": nf.models.ResNetDConfig(**RESNET, **DEEP_STEM),
    "resnext": nf.models.ResNeXtConfig(**RESNET, **STEM, **GROUPS),
    "se_resnext": nf.models.SEResNeXtConfig(**RESNET, **SMALL_STEM, **GROUPS, se_ratio=0.5),
    "se_resnext_d": nf.models.SEResNeXtDConfig(**RESNET, **DEEP_STEM, **GROUPS, stem_pool=False, se_ratio=0.5),
    "fixup_resnet": nf.models.FixupResNetConfig(**RESNET, **STEM),
    "skipinit_resnet": nf.models.SkipInitResNetConfig(**RESNET, **STEM),
    "efficientnet": nf.models.EfficientNetConfig(**INVERTED, kernels=(3, 5, 3)),
    "mobilenet_v1": nf.models.MobileNetV1Config(widths=(8, 12), depths=(1, 2), strides=(1, 2), stem_width=6,
                                                num_classes=7),
    "mobilenet_v2": nf.models.MobileNetV2Config(**INVERTED),
    "densenet": nf.models.DenseNetConfig(depths=(2, 1), growth=6, num_classes=7),
    "inception_v3": nf.models.InceptionV3Config(pool_widths=(32,), factorized_widths=(128,), expanded_modules=1,
                                                width_factor=1 / 16, num_classes=7),
}
