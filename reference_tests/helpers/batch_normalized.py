"""A small network with batch normalization, for tests of training."""

from nfnumpy import models

RESNET = models.ResNetConfig(block="basic", widths=(4, 8), depths=(1, 1), strides=(1, 2), stem_width=4, stem_kernel=3,
                             stem_stride=1, stem_pool=False, num_classes=10, drop_rate=0.3, stochdepth_rate=0.4,
                             train_size=4, test_size=4)
