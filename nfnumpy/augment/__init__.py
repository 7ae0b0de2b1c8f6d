"""Augmentation of training images: crops, bicubic resizing, MixUp, CutMix and RandAugment, on NumPy arrays."""

from .cropping import Crop, center_crop, released_crop, timm_crop
from .erasing import ERASE_MODES, RandomErasing
from .examples import TrainingExamples
from .jitter import ColorJitter
from .kinds import KINDS, augmentation_of, check_kind
from .mixing import cutmix, draw_box, draw_ratio, mixed_labels, mixup
from .operations import FORMS, OPERATIONS, apply_operation
from .pairs import MIXING_FORMS, Mix, Mixing
from .pipeline import AnyAugmentation, Augmentation, FlipShift, TimmAugmentation
from .randaugment import Layer, draw_layers, rand_augment
from .resizing import bicubic_resize
from .timm_randaugment import TimmRandAugment, parse_rand_augment

__all__ = [
    "ERASE_MODES",
    "FORMS",
    "KINDS",
    "MIXING_FORMS",
    "OPERATIONS",
    "AnyAugmentation",
    "Augmentation",
    "ColorJitter",
    "Crop",
    "FlipShift",
    "Layer",
    "Mix",
    "Mixing",
    "RandomErasing",
    "TimmAugmentation",
    "TimmRandAugment",
    "TrainingExamples",
    "apply_operation",
    "augmentation_of",
    "bicubic_resize",
    "center_crop",
    "check_kind",
    "cutmix",
    "draw_box",
    "draw_layers",
    "draw_ratio",
    "mixed_labels",
    "mixup",
    "parse_rand_augment",
    "rand_augment",
    "released_crop",
    "timm_crop",
]
