"""Augmentation of training images: RandAugment and the authors' bicubic resizing, on NumPy arrays on the host."""

from .operations import FORMS, OPERATIONS, apply_operation
from .randaugment import Layer, draw_layers, rand_augment
from .resizing import bicubic_resize

__all__ = ["FORMS", "OPERATIONS", "Layer", "apply_operation", "bicubic_resize", "draw_layers", "rand_augment"]
