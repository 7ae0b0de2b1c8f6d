"""Augmentation of training images: crops, bicubic resizing, MixUp, CutMix and RandAugment, on NumPy arrays."""

from .cropping import Crop, center_crop, released_crop, timm_crop
from .examples import TrainingExamples
from .mixing import cutmix, draw_box, draw_ratio, mixed_labels, mixup
from .operations import FORMS, OPERATIONS, apply_operation
from .pairs import MIXING_FORMS, Mix, Mixing
from .pipeline import KINDS, Augmentation, FlipShift, augmentation_of
from .randaugment import Layer, draw_layers, rand_augment
from .resizing import bicubic_resize

__all__ = [
    "FORMS",
    "KINDS",
    "MIXING_FORMS",
    "OPERATIONS",
    "Augmentation",
    "Crop",
    "FlipShift",
    "Layer",
    "Mix",
    "Mixing",
    "TrainingExamples",
    "apply_operation",
    "augmentation_of",
    "bicubic_resize",
    "center_crop",
    "cutmix",
    "draw_box",
    "draw_layers",
    "draw_ratio",
    "mixed_labels",
    "mixup",
    "rand_augment",
    "released_crop",
    "timm_crop",
]
