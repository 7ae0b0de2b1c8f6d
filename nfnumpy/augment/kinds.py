"""The augmentations by the names that the commands know.

Used by: __main__.py, training/. Test: reference_tests/augment/test_pipeline.py.
"""

from collections.abc import Callable

from ..errors import InputError
from ..models import randaugment_of
from .pipeline import AnyAugmentation, Augmentation, FlipShift, TimmAugmentation
from .timm_randaugment import parse_rand_augment

KINDS = ("none", "flip-shift", "flip-crop", "nfnet", "timm")  # nfnet is flip-crop with RandAugment
TIMM_STRING = "timm:"  # followed by what timm calls its RandAugment
SIMPLE: dict[str, Callable[[int], AnyAugmentation | None]] = {  # by the images' size
    "none": lambda size: None, "flip-shift": FlipShift, "flip-crop": Augmentation, "timm": TimmAugmentation}


def check_kind(kind: str) -> None:
    """InputError unless `kind` is one of KINDS, or "timm:" and a string that timm has for its RandAugment."""
    if kind.startswith(TIMM_STRING):
        parse_rand_augment(kind.removeprefix(TIMM_STRING))
    elif kind not in KINDS:
        raise InputError(f"--augment {kind}: expected {', '.join(KINDS)} or timm:STRING, such as "
                         f"timm:rand-m9-mstd0.5-inc1")


def augmentation_of(kind: str, model_name: str, image_size: int) -> AnyAugmentation | None:
    """The augmentation that `kind`, as check_kind has it, means for a named variant; None for "none".

    InputError for RandAugment of a network that the papers train without it.
    """
    check_kind(kind)
    if kind in SIMPLE:
        return SIMPLE[kind](image_size)
    if kind.startswith(TIMM_STRING):
        return TimmAugmentation(image_size, parse_rand_augment(kind.removeprefix(TIMM_STRING)))
    try:
        layers, magnitude = randaugment_of(model_name)
    except InputError as error:
        raise InputError(f"--augment {kind}: {error}; there is --augment flip-crop") from None
    return Augmentation(image_size, layers, magnitude)
