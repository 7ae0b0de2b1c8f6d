"""The options of a training run, checked when they are set."""

import dataclasses

from .. import augment
from ..datasets import BAD_IMAGES, DECODERS, EVAL_RESIZES, LOADERS, MARGINS, PIXEL_LIMIT, checked_max_pixels
from ..errors import InputError
from ..nn import NORMS
from ..validation import NOT_NEGATIVE, POSITIVE, SHARE, Interval, check_fields
from .keep import parsed_keep
from .parameter_patterns import parsed_factors, parsed_patterns
from .schedule_options import FACTORS, SCHEDULES, parsed_milestones

INTERVALS = {
    **dict.fromkeys(("epochs", "batch_size", "workers", "checkpoint_every", "image_size", "max_pixels", "agc", "sam",
                     "mixup_off_epoch", "color_jitter", "early_stop", "time_limit", "test_size", "rmsprop_epsilon",
                     "decay_epochs"), POSITIVE),
    **dict.fromkeys(("lr", "warmup_epochs", "weight_decay"), NOT_NEGATIVE),
    **dict.fromkeys(("momentum", "label_smoothing", "stochdepth_rate", "dropout", "ema", "rmsprop_decay"), SHARE),
    **dict.fromkeys(("sam_fraction", "mixup", "cutmix", "erase", "decay_rate"),
                    Interval(0.0, 1.0, with_least=False, with_greatest=True)),
    "test_share": Interval(0.0, 1.0, with_least=False), "eval_margin": MARGINS,
}
CHOICES = {"optimizer": ("sgd", "rmsprop"), "schedule": SCHEDULES,
           "precision": (None, "bf16", "fp16"), "tf32": ("on", "off"), "cuda_graph": ("on", "off"),
           "erase_mode": augment.ERASE_MODES, "mixing": augment.MIXING_FORMS,
           "augment_before_mix": ("auto", "on", "off"), "init_weights": ("averaged", "last"),
           **dict.fromkeys(("memory_check", "csv", "tensorboard"), ("on", "off")),
           "changed_data": ("refuse", "accept"), "loader": LOADERS, "decoder": DECODERS,
           "on_bad_image": BAD_IMAGES, "eval_resize": (None, *EVAL_RESIZES), "norm": tuple(NORMS)}
NEEDED_CHOICES = {  # option: (another one, which of its values have this option)
    **dict.fromkeys(("rmsprop_decay", "rmsprop_epsilon"), ("optimizer", ("rmsprop",))),
    "decay_rate": ("schedule", tuple(FACTORS)), "decay_epochs": ("schedule", ("exponential",)),
    "decay_milestones": ("schedule", ("step",)), "eval_margin": ("eval_resize", EVAL_RESIZES)}


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """The options of a run, as `python -m nfnumpy.train --help` explains them.

    None means "off", or, of image_size, model, norm, dropout, stochdepth_rate and out, that data, variant or the
    weights of init_from decide, and of decay_rate and decay_milestones, that the schedule does.
    time_limit: in seconds.
    InputError for values of the wrong type or outside of their range.
    """

    backend: str = "numpy"
    model: str | None = None
    norm: str | None = None
    init_from: str | None = None
    init_weights: str = "averaged"
    freeze: str | None = None
    lr_scale: str | None = None
    data: str = "digits"
    test_share: float | None = None
    image_size: int | None = None
    test_size: int | None = None
    eval_resize: str | None = None
    eval_margin: int | None = None
    decoder: str = "pillow"
    on_bad_image: str = "error"
    loader: str = "threads"
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
    schedule: str = "cosine"
    decay_rate: float | None = None
    decay_epochs: float = 2.4
    decay_milestones: str | None = None
    optimizer: str = "sgd"
    rmsprop_decay: float = 0.9
    rmsprop_epsilon: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 2e-5
    label_smoothing: float = 0.1
    dropout: float | None = None
    stochdepth_rate: float | None = None
    agc: float | None = 0.01
    agc_except: str | None = None
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
    memory_check: str = "on"
    csv: str = "off"
    tensorboard: str = "off"
    checkpoint_every: int | None = None
    keep: str | None = None
    early_stop: int | None = None
    time_limit: float | None = None
    changed_data: str = "refuse"
    out: str | None = None

    def __post_init__(self) -> None:
        check_fields(self, INTERVALS, CHOICES, describe=lambda name, value: f"{flag(name)} {value}", none="off")
        for name in ("model", "out", "data", "init_from"):
            if getattr(self, name) == "":
                raise InputError(f"{flag(name)}: expected a name, got an empty one")
        checked_max_pixels(self.max_pixels)
        augment.check_kind(self.augment)
        if self.keep is not None:
            parsed_keep(self.keep)
        if self.sam is None and self.sam_fraction != 1.0:
            raise InputError(f"--sam-fraction {self.sam_fraction}: it needs --sam RHO, such as --sam 0.05")
        if self.init_from is None and self.init_weights != "averaged":
            raise InputError(f"--init-weights {self.init_weights}: it needs --init-from FILE")
        if self.agc is None and self.agc_except is not None:
            raise InputError(f"--agc-except {self.agc_except}: it needs --agc LAMBDA, such as --agc 0.01")
        for name, (choice, values) in NEEDED_CHOICES.items():
            value, chosen = getattr(self, name), getattr(self, choice)
            if chosen not in values and value != getattr(TrainingOptions, name):
                raise InputError(f"{flag(name)} {value}: it needs {flag(choice)} {' or '.join(values)}, not "
                                 f"{'off' if chosen is None else chosen}")
        parsed_milestones(self.decay_milestones)
        parsed_patterns(self.freeze, "--freeze")
        parsed_patterns(self.agc_except, "--agc-except")
        parsed_factors(self.lr_scale)


def check_option(name: str, value: object) -> None:
    """InputError unless the option `name` may have this value, whatever the other options are."""
    record = object.__new__(TrainingOptions)  # not through __init__, which checks options against each other
    for field in dataclasses.fields(TrainingOptions):
        object.__setattr__(record, field.name, value if field.name == name else field.default)
    check_fields(record, INTERVALS, CHOICES, describe=lambda name, value: f"{name} = {value!r}", none="off")


def flag(name: str) -> str:
    """The command-line flag of the option `name`."""
    return "--" + name.replace("_", "-")
