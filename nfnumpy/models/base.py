"""What all networks share: the run of a batch from stem to logits, and a residual block in two halves.

Used by: the other files of models/; analysis/.
Tests: reference_tests/models/test_models_against_torch.py, reference_tests/nn/test_module_state.py.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from numpy.typing import DTypeLike

from .. import ops
from ..autograd import Tensor, checkpoint
from ..backend import CounterRNG
from ..backend.arrays import Array
from ..errors import InputError
from ..functional.normalization_inputs import JointSum
from ..nn import EVALUATION, Dropout, Initializer, Linear, Mode, Module
from .description import describe

HALF_PRECISION = ("float16", "bfloat16")


class ImageClassifier(Module):
    """A network for images: stem, blocks, head, classifier.

    A subclass makes the layers in `build` and defines `stem` and `head`.

    config: its family's configuration; backend, dtype ("float32", "float64"), seed: of the parameters;
    shapes_only: parameters are zeros that take no memory, for counting.
    """

    blocks: "list[Block]"
    dropout: Dropout
    linear: Linear
    is_folded = False  # whether it is for evaluation alone: models.folded

    def __init__(self, config: Any, *, backend: str = "numpy", dtype: DTypeLike = "float32", seed: int = 0,
                 shapes_only: bool = False) -> None:
        self.config = config
        self.randomness = CounterRNG(seed)
        self.recompute_blocks = False
        self.joint_sum: JointSum | None = None  # sums arrays over devices, for statistics of their joint batch
        self.build(Initializer(backend, dtype, seed, shapes_only=shapes_only))

    def build(self, init: Initializer) -> None:
        """Assign `blocks`, `dropout`, `linear` and the family's own layers, top to bottom as the paper's figure."""
        raise NotImplementedError

    def stem(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """What enters the first block, for images x."""
        raise NotImplementedError

    def head(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """What is averaged over the image, for the output x of the last block."""
        raise NotImplementedError

    @staticmethod
    def explain_mismatch(state: Mapping[str, Array], own: Mapping[str, Array]) -> str:
        """What an error adds when `state` does not fit the state `own`; models/__init__.py sets the full function."""
        return ""

    def load_state_dict(self, state: Mapping[str, Array], *, cast: bool = False) -> None:
        """As Module.load_state_dict; the InputError also says which variant the state fits, if there is one."""
        try:
            super().load_state_dict(state, cast=cast)
        except InputError as error:
            hint = self.explain_mismatch(state, self.state_dict()) if isinstance(state, Mapping) else ""
            raise InputError(f"{error}{hint}") from None

    def __call__(self, x: Tensor | Array, training: bool = False, *, update_statistics: bool = True) -> Tensor:
        """Logits (N, num_classes) of images x (N, H, W, in_channels), an array or Tensor of the model's dtype.

        With images of float16 or bfloat16, a model of float32 computes in that: its weights enter rounded, their
        gradients come back in float32, and the logits have the images' dtype.
        training: dropout and stochastic depth act, drawn by `self.randomness` for its current step, which this
        advances: the next training pass draws other numbers. update_statistics: whether normalizations take this batch
        into their running statistics in training; False for a pass that sees a batch again.
        """
        return self.outputs(x, ["logits"], training, update_statistics=update_statistics)["logits"]

    def features(self, x: Tensor | Array, training: bool = False) -> Tensor:
        """What the classifier sees of images x, as `model(x)` takes them: (N, channels), averaged over each image."""
        return self.outputs(x, ["features"], training)["features"]

    def outputs(self, x: Tensor | Array, names: Collection[str], training: bool = False, *,
                update_statistics: bool = True) -> dict[str, Tensor]:
        """name -> Tensor for some of `output_names()`, from one pass of images x, as `model(x)` takes them.

        Nothing is computed beyond the last of them. InputError for a name that is not one of these.
        """
        if isinstance(names, str) or not set(names) <= set(self.output_names()):
            raise InputError(f"model: outputs {names!r}: expected a list of some of {', '.join(self.output_names())}")
        if training and self.is_folded:
            raise InputError("model: a folded network is for evaluation; train the one that it was made of")
        x = x if isinstance(x, Tensor) else Tensor(x)
        self._check_images(x)
        randomness = self.randomness.next_step() if training else None
        found: dict[str, Tensor] = {}
        for name, output in self._run(x, Mode(training, randomness, update_statistics, joint_sum=self.joint_sum)):
            if name in names:
                found[name] = output
            if len(found) == len(set(names)):
                break
        return {name: found[name] for name in names}

    def run(self, x: Tensor | Array, mode: Mode) -> Tensor:
        """The logits of images x, as `model(x)` takes them, with layers that act as `mode` says."""
        x = x if isinstance(x, Tensor) else Tensor(x)
        self._check_images(x)
        *_, (_, logits) = self._run(x, mode)
        return logits

    def output_names(self) -> list[str]:
        """The names that `outputs` takes, in the order in which they are computed.

        stem, blocks.0, blocks.1, … and head are (N, height, width, channels); features are (N, channels), the head
        averaged over the image; logits are (N, num_classes).
        """
        return ["stem", *(f"blocks.{k}" for k in range(len(self.blocks))), "head", "features", "logits"]

    def _run(self, x: Tensor, mode: Mode) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, output) from images to logits, each when it is computed."""
        x = self.stem(x, mode)
        yield "stem", x
        for k, block in enumerate(self.blocks):
            x = self._run_block(block, x, mode)
            yield f"blocks.{k}", x
        x = self.head(x, mode)
        yield "head", x
        x = ops.global_mean(x)
        yield "features", x
        yield "logits", self.linear(self.dropout(x, mode))

    def __repr__(self) -> str:
        return describe(self)

    def _check_images(self, x: Tensor) -> None:
        """InputError unless x is a batch of images of a dtype that this model computes in."""
        own = self.linear.weight.dtype
        computable = x.dtype == own or (own.name == "float32" and x.dtype.name in HALF_PRECISION)
        if x.ndim != 4 or x.shape[3] != self.config.in_channels or not computable:
            raise InputError(f"model: expected images (N, H, W, {self.config.in_channels}) of {own}, got "
                             f"{tuple(x.shape)} of {x.dtype}")

    def _run_block(self, block: "Block", x: Tensor, mode: Mode) -> Tensor:
        """block(x, mode), saving only x for the backward pass if `self.recompute_blocks`."""
        if self.recompute_blocks:
            return checkpoint(lambda x: block(x, mode), x)
        return block(x, mode)


class Block(Module):
    """One of the blocks between stem and head."""

    def __call__(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """The block's output for x (N, H, W, in)."""
        raise NotImplementedError

    def description(self) -> str:
        """Its channels, widths and stride in a few words, as `repr(model)` shows them."""
        raise NotImplementedError


class ResidualBlock(Block):
    """A block in two halves, so that an analysis can see both: `branches` and their sum, `add_residual`."""

    def branches(self, x: Tensor, mode: Mode = EVALUATION) -> tuple[Tensor, Tensor]:
        """(shortcut, residual) of x (N, H, W, in): the residual as the last layer of its branch leaves it."""
        raise NotImplementedError

    def add_residual(self, shortcut: Tensor, residual: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """The block's output for what `branches` returned."""
        raise NotImplementedError

    def __call__(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        shortcut, residual = self.branches(x, mode)
        return self.add_residual(shortcut, residual, mode)
