"""The options of a training run, checked when they are set."""

import dataclasses
from typing import Any

from .. import augment
from ..datasets import PIXEL_LIMIT, checked_max_pixels
from ..errors import InputError
from ..validation import NOT_NEGATIVE, POSITIVE, SHARE, Interval, check_fields
from .parameter_patterns import parsed_factors, parsed_patterns

INTERVALS = {
    **dict.fromkeys(("epochs", "batch_size", "workers", "checkpoint_every", "image_size", "max_pixels", "agc", "sam",
                     "mixup_off_epoch", "color_jitter"), POSITIVE),
    **dict.fromkeys(("lr", "warmup_epochs", "weight_decay"), NOT_NEGATIVE),
    **dict.fromkeys(("momentum", "label_smoothing", "stochdepth_rate", "dropout", "ema"), SHARE),
    **dict.fromkeys(("sam_fraction", "mixup", "cutmix", "erase"),
                    Interval(0.0, 1.0, with_least=False, with_greatest=True)),
}
CHOICES = {"precision": (None, "bf16", "fp16"), "tf32": ("on", "off"), "cuda_graph": ("on", "off"),
           "erase_mode": augment.ERASE_MODES, "mixing": augment.MIXING_FORMS,
           "augment_before_mix": ("auto", "on", "off"), "init_weights": ("averaged", "last")}
# A resumed run may change these: they do not change what is computed, apart from a backend's rounding.
FREE_ON_RESUME = ("backend", "tf32", "cuda_graph", "workers", "checkpoint_every", "max_pixels", "out")


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """The options of a run, as `python -m nfnumpy.train --help` explains them.

    None means "off", or, of image_size, model, dropout, stochdepth_rate and out, that data, variant or the weights of
    init_from decide.
    InputError for values of the wrong type or outside of their range.
    """

    backend: str = "numpy"
    model: str | None = None
    init_from: str | None = None
    init_weights: str = "averaged"
    freeze: str | None = None
    lr_scale: str | None = None
    data: str = "digits"
    image_size: int | None = None
    augment: str = "none"
    color_jitter: float | None = None
    erase: float | None = None
    erase_mode: str = "const"
    mixup: float | None = None
    cutmix: float | None = None
    mixing: str = "released"
    augment_before_mix: str = "auto"
    mixup_off_epoch: int | None = None
    epochs: int = 20
    batch_size: int = 32
    lr: float = 0.2
    warmup_epochs: float = 2.0
    momentum: float = 0.9
    weight_decay: float = 2e-5
    label_smoothing: float = 0.1
    dropout: float | None = None
    stochdepth_rate: float | None = None
    agc: float | None = 0.01
    sam: float | None = None
    sam_fraction: float = 1.0
    ema: float | None = 0.99999
    seed: int = 0
    dtype: str = "float32"
    precision: str | None = None
    tf32: str = "on"
    cuda_graph: str = "off"
    workers: int = 2
    max_pixels: int = PIXEL_LIMIT
    checkpoint_every: int | None = None
    out: str | None = None

    def __post_init__(self) -> None:
        check_fields(self, INTERVALS, CHOICES, describe=lambda name, value: f"{_flag(name)} {value}", none="off")
        for name in ("model", "out", "data", "init_from"):
            if getattr(self, name) == "":
                raise InputError(f"{_flag(name)}: expected a name, got an empty one")
        checked_max_pixels(self.max_pixels)
        augment.check_kind(self.augment)
        if self.sam is None and self.sam_fraction != 1.0:
            raise InputError(f"--sam-fraction {self.sam_fraction}: it needs --sam RHO, such as --sam 0.05")
        if self.init_from is None and self.init_weights != "averaged":
            raise InputError(f"--init-weights {self.init_weights}: it needs --init-from FILE")
        parsed_patterns(self.freeze)
        parsed_factors(self.lr_scale)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def resumed_options(stored: object, given: dict[str, Any]) -> TrainingOptions:
    """The options of a resumed run: those `stored` in the checkpoint (a dict), replaced by those `given` (a dict).

    Options that are newer than the checkpoint have their defaults. InputError when a given option would make it a
    different run, and when `stored` is not a dict of options.
    """
    if not isinstance(stored, dict):
        raise InputError("the checkpoint holds no options")
    defaults = {field.name: field.default for field in dataclasses.fields(TrainingOptions)}
    unknown = sorted(set(stored) - set(defaults))
    if unknown:
        raise InputError(f"the checkpoint was written by another version of nfnumpy: its option {unknown[0]!r} is not "
                         f"known here")
    stored = {**defaults, **stored}
    for name, value in given.items():
        if name not in FREE_ON_RESUME and stored[name] != value:
            raise InputError(f"{_flag(name)} {value}: the run to resume was started with {stored[name]}; leave the "
                             f"flag out, or start a new run with another --out")
    return TrainingOptions(**{**stored, **given})
