"""Comparing an exported network with nfnumpy's, run by onnxruntime.

The tolerance is measured: the distance between nfnumpy's logits in float32 and in float64 is the rounding error of this
network, and another order of the same sums has an error of the same size. Used by: weights/__main__.py.
Test: reference_tests/weights/test_onnx_export.py.
"""

import importlib
from typing import Any, NamedTuple

import numpy as np

from ...autograd import no_grad
from ...backend import CounterRNG, get
from ...datasets.preprocessing import NORMALIZATIONS, to_input
from ...errors import InputError
from ...models import ImageClassifier, from_config
from .model import INPUT, LOGITS, OnnxOptions

LEEWAY = 8.0  # times the measured rounding error, or epsilons of float32
IMAGES = 2  # compared, also where the file is for batches of another size


class Comparison(NamedTuple):
    """Largest differences from the logits in float64, as shares of the largest logit.

    runtime: version of onnxruntime; exported: of the exported network; own: of nfnumpy's in float32; allowed: how large
    `exported` may be.
    """

    runtime: str
    exported: float
    own: float
    allowed: float


def compare_with_onnxruntime(model: ImageClassifier, proto: Any, options: OnnxOptions) -> Comparison | None:
    """Run the onnx.ModelProto of `model` on random images and compare; None where onnxruntime is not installed.

    InputError when onnxruntime refuses it, or its logits differ by more than rounding explains.
    """
    try:
        runtime: Any = importlib.import_module("onnxruntime")
    except ImportError:
        return None
    images = _random_images(model, options)
    expected, own = (_logits(model, _normalized(images, dtype, options), dtype) for dtype in ("float64", "float32"))
    found = _run(runtime, _content(proto, options), _as_input(images, options))
    scale = float(np.max(np.abs(expected)))
    if not np.isfinite(scale) or scale == 0.0:
        raise InputError(f"export: the network's logits on random images are {'all 0' if scale == 0.0 else 'infinite'}"
                         f", so that nothing can be compared; without the comparison: --check off")
    exported, rounding = (float(np.max(np.abs(logits - expected))) / scale for logits in (found, own))
    allowed = LEEWAY * max(float(np.finfo(np.float32).eps), rounding)
    if not exported <= allowed:
        raise InputError(f"export: the logits of onnxruntime differ by {exported:.1e} of the largest one, and rounding "
                         f"explains {allowed:.1e}; nothing was written")
    return Comparison(runtime.__version__, exported, rounding, allowed)


def _random_images(model: ImageClassifier, options: OnnxOptions) -> np.ndarray:
    """uint8 (N, H, W, C)."""
    shape = (IMAGES, options.image_size, options.image_size, model.config.in_channels)
    return (CounterRNG(0).uniform("images of the comparison", shape) * 256.0).astype(np.uint8)


def _normalized(images: np.ndarray, dtype: str, options: OnnxOptions) -> np.ndarray:
    """What the network takes, (N, H, W, C)."""
    if images.shape[-1] != 3:
        return images.astype(dtype) / 128.0 - 1.0
    return to_input(images, get("numpy"), dtype, NORMALIZATIONS[options.normalization])


def _as_input(images: np.ndarray, options: OnnxOptions) -> np.ndarray:
    """What the exported network takes."""
    images = images if options.uint8 else _normalized(images, "float32", options)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)) if options.layout == "NCHW" else images


def _logits(model: ImageClassifier, images: np.ndarray, dtype: str) -> np.ndarray:
    """The logits of `model` for normalized images, computed in `dtype`."""
    copy = from_config(model.config, dtype=dtype, shapes_only=True)
    copy.load_state_dict(model.state_dict(), cast=True)
    with no_grad():
        return copy(images).numpy()


def _content(proto: Any, options: OnnxOptions) -> bytes:
    """The content of the file, for any number of images."""
    batches = [value.type.tensor_type.shape.dim[0] for value in (*proto.graph.input, *proto.graph.output)]
    for batch in batches:
        batch.dim_param = "batch"
    content = proto.SerializeToString()
    for batch in batches if options.batch else ():
        batch.dim_value = options.batch
    return content


def _run(runtime: Any, content: bytes, images: np.ndarray) -> np.ndarray:
    """The logits of the exported network."""
    settings = runtime.SessionOptions()
    settings.log_severity_level = 3  # errors
    try:
        session = runtime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
        return session.run([LOGITS], {INPUT: images})[0]
    except Exception as error:  # it has exceptions of its own, without a common class
        raise InputError(f"export: onnxruntime refuses the network: {' '.join(str(error).split())[:160]}") from None
