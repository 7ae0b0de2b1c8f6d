"""How much memory a training run takes, predicted before its first step.

Measured against the peak of the process's resident memory in docs/training.md.

Used by: training/memory_check.py, analysis/summary.py. Test: reference_tests/training/test_memory.py.
"""

import dataclasses
import math
from typing import Any

from .. import models
from ..autograd import Tensor
from ..backend import blas_threads, buffer_pool
from ..optim.chunks import PART_BYTES
from .memory import Recording, peak_of_inference, peak_of_passes
from .optimizers import CLASSES
from .parameter_patterns import freeze as apply_freeze

SCRATCH_BYTES = 16 << 20  # of one thread on NumPy: working memory of convolutions
PATCH_BYTES = 256 << 20  # on CuPy: the patches of a convolution, see functional/fast_cupy/convolution.py
COPIES_TO_SAVE = 2  # of weights, the optimizer's state and averages, while a checkpoint is written
CUPY_PIECE = 512  # bytes; CuPy's pool lends multiples of it


@dataclasses.dataclass(frozen=True)
class StepMemory:
    """Bytes of a training run, beside what the process holds before it.

    state: weights, the optimizer's state and averaged weights, frozen or not, and SAM's second copy of the trained
    weights; passes: activations that the backward pass needs, cotangents and gradients at their peak, or what the
    update takes, if that is more; scratch: working memory; spare: memory that is kept for the next arrays; checkpoint:
    copies made while one is written, in main memory.
    """

    state: int
    passes: int
    scratch: int
    spare: int
    checkpoint: int
    is_on_host: bool

    @property
    def total(self) -> int:
        """All of it, in main memory or on the GPU, wherever the network is."""
        return self.state + self.passes + self.scratch + self.spare + self.checkpoint * self.is_on_host


class MemoryPrediction:
    """The memory of a training run for any batch size.

    config: of the model; image_size: pixels; dtype: of the weights; is_on_host: on NumPy, not on CuPy; half_precision:
    whether activations have two bytes; sam, ema: whether these options are on; freeze: patterns of the parameters that
    are not trained, as --freeze has them; optimizer: as --optimizer has it. Nothing is computed on a GPU.
    """

    def __init__(self, config: Any, image_size: int, dtype: str = "float32", *, is_on_host: bool = True,
                 half_precision: bool = False, sam: bool = False, ema: bool = True,
                 freeze: str | None = None, optimizer: str = "sgd") -> None:
        model = models.from_config(config, dtype=dtype, shapes_only=True)
        apply_freeze(model.parameters(), freeze)
        self._recording = Recording(model, image_size, image_size)
        self._is_on_host = is_on_host
        self._share_of_image = 0.5 if half_precision else 1.0
        self._rounding = buffer_pool.resident_bytes if self._is_on_host else _of_cupy
        parameters = list(model.parameters().values())
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        self._largest = max(map(_bytes_of, trained))
        self._weights, self._trained = (sum(self._rounding(_bytes_of(parameter)) for parameter in some)
                                        for some in (parameters, trained))
        self._sam, self._ema = sam, ema
        self._kept = len(CLASSES[optimizer].INITIAL_STATE)  # arrays of the optimizer for each parameter

    def of_inference(self, batch_size: int) -> int:
        """Bytes of weights, activations and working memory while so many images are classified."""
        activations = peak_of_inference(self._recording, batch_size * self._share_of_image, self._rounding)
        return self._weights + activations + self._scratch()

    def of_batch(self, batch_size: int) -> StepMemory:
        """The memory of a run whose steps take so many images."""
        saved = (1 + self._kept + self._ema) * self._weights
        state = saved + self._sam * self._trained
        changed = self._trained  # at a time, by the update
        if self._is_on_host:
            changed = min(self._trained, PART_BYTES + self._largest)
        passes = peak_of_passes(self._recording, batch_size * self._share_of_image, self._rounding)
        passes = max(passes, self._trained + (1 + self._kept) * changed)  # gradients, new weights and new state
        spare = min(buffer_pool.spare_bytes(state + passes), state + passes) if self._is_on_host else 0
        return StepMemory(state, passes, self._scratch(), spare, COPIES_TO_SAVE * saved, self._is_on_host)

    def _scratch(self) -> int:
        return SCRATCH_BYTES * blas_threads.thread_count() if self._is_on_host else PATCH_BYTES


def _bytes_of(parameter: Tensor) -> int:
    return math.prod(parameter.shape) * parameter.data.dtype.itemsize


def _of_cupy(size: int) -> int:
    return -(-size // CUPY_PIECE) * CUPY_PIECE
