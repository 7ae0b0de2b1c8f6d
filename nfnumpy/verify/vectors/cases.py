"""The conformance vectors: inputs, options, and the function of the reference that computes the results.

A case's results are a dict of arrays in the order of the computation: values first, then "gradient.INPUT" for every
input that has one, with the cotangent "cotangent" of the first value (or 1, where that is a loss).
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import models, ops, optim
from ...autograd import Tensor
from ...backend import CounterRNG
from ...functional.activations import GAMMA


@dataclasses.dataclass(frozen=True)
class VectorCase:
    """name: of its file; operation: what is computed, in a sentence; options: numbers and words; inputs: float64 arrays
    whose values float32 holds too (labels are int64); compute(inputs, dtype) -> dict of arrays.
    """

    name: str
    operation: str
    options: dict[str, Any]
    inputs: dict[str, np.ndarray]
    compute: Callable[[dict[str, np.ndarray], Any], dict[str, np.ndarray]]


def _rounded(array):
    array = np.asarray(array)
    return array.astype(np.float32).astype(np.float64) if array.dtype.kind == "f" else array


class _Draws:
    """Numbers that depend on the case's name and on the count of earlier draws, and not on NumPy's version."""

    def __init__(self, name):
        self._name, self._drawn, self._randomness = name, 0, CounterRNG(20210211)

    def _site(self):
        self._drawn += 1
        return f"{self._name}, draw {self._drawn}"

    def standard_normal(self, shape: int | tuple[int, ...]) -> np.ndarray:
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        return self._randomness.normal(self._site(), shape)

    def permutation(self, count: int) -> np.ndarray:
        return self._randomness.permutation(self._site(), count)


def _differentiated(operation, constants=(), **options):
    """The results of a differentiable operation of `nfnumpy.ops` on all inputs but the cotangent, in their order."""
    def compute(inputs, dtype):
        leaves = {key: Tensor(array.astype(dtype) if array.dtype.kind == "f" else array,
                              requires_grad=key not in constants and array.dtype.kind == "f")
                  for key, array in inputs.items() if key != "cotangent"}
        out = operation(*leaves.values(), **options)
        out.backward(inputs["cotangent"].astype(dtype) if "cotangent" in inputs else None)
        return {"output": out.data, **{f"gradient.{key}": leaf.grad for key, leaf in leaves.items()
                                       if leaf.requires_grad}}
    return compute


def _case(called, sentence, operation, inputs, constants=(), **options):
    """A VectorCase of one operation, with a cotangent of the output's shape if that is no single number."""
    inputs = {key: _rounded(array) for key, array in inputs.items()}
    shape = operation(*inputs.values(), **options).shape
    if shape:
        inputs["cotangent"] = _rounded(_Draws(called + "/cotangent").standard_normal(shape))
    return VectorCase(called, sentence, options, inputs, _differentiated(operation, constants, **options))


# ---- formulas


def _nonlinearities():
    edges = np.array([0.0, -0.0, 1e-30, -1e-30, 1e-4, -1e-4, 0.5, -0.5, 1, -1, 3, -3, 5.5, 6.5, -8, 12, -12, 40, -40,
                      80, -80, 0.7, -0.3, 2.1])
    for name, gamma in GAMMA.items():
        x = np.concatenate([edges, _Draws(name).standard_normal(40)]).reshape(4, 16)
        yield _case(f"activation_{name}", f"gamma·g(x), g = {name}; over the last axis for glu and log_softmax",
                    ops.scaled_nonlinearity, {"x": x}, name=name, scale=gamma)


def _standardizations():
    def weight(name, shape, scale=1.0, offset=0.2):
        random = _Draws(name)
        return {"weight": scale * (random.standard_normal(shape) / np.sqrt(np.prod(shape[:-1])) + offset),
                "gain": 1 + 0.3 * random.standard_normal(shape[-1])}

    mixed = weight("standardize_floor", (3, 3, 2, 6))
    mixed["weight"] = mixed["weight"] * np.array([1.0, 1e-2, 3e-3, 1e-3, 1e-5, 0.0])
    sentence = "gain·(W - mean)/sqrt(max(N·variance, 1e-4)) for each output unit, the last axis of HWIO"
    for name, arrays in (("standardize_plain", weight("standardize_plain", (3, 3, 4, 8))),
                         ("standardize_floor", mixed), ("standardize_linear", weight("standardize_linear", (12, 5))),
                         ("standardize_large_mean", weight("standardize_large_mean", (1, 1, 16, 6), offset=30.0))):
        yield _case(name, sentence, ops.standardize_weight, arrays)


def _convolutions():
    sentence = "2-d convolution of x (N, H, W, in) with an HWIO weight, SAME padding as TensorFlow's, plus bias"
    for name, size, kernel, fan, out, options in (
            ("conv_1x1", (4, 5), 1, 3, 4, {}), ("conv_3x3", (5, 4), 3, 2, 3, {}),
            ("conv_3x3_stride_2_even", (6, 8), 3, 2, 3, {"stride": 2}),
            ("conv_3x3_stride_2_odd", (7, 5), 3, 2, 3, {"stride": 2}),
            ("conv_3x3_grouped", (5, 5), 3, 2, 6, {"groups": 3}), ("conv_depthwise", (5, 6), 3, 1, 4, {"groups": 4}),
            ("conv_7x7_stride_2", (9, 8), 7, 3, 2, {"stride": 2}), ("conv_dilated", (7, 7), 3, 2, 2, {"dilation": 2}),
            ("conv_1x1_stride_2", (5, 6), 1, 3, 4, {"stride": 2})):
        random, groups = _Draws(name), options.get("groups", 1)
        yield _case(name, sentence, ops.conv2d, {
            "x": random.standard_normal((2, *size, fan * groups)),
            "weight": random.standard_normal((kernel, kernel, fan, out)), "bias": random.standard_normal(out)},
            **options)


def _poolings():
    for name, size, options in (("2x2", (4, 6), {"window": 2}), ("2x2_odd", (5, 3), {"window": 2}),
                                ("3x3_stride_2", (6, 7), {"window": 3, "stride": 2})):
        x = _Draws(name).permutation(2 * size[0] * size[1] * 3).reshape(2, *size, 3) / 8.0
        yield _case(f"avg_pool_{name}", "mean of the real pixels under each window, SAME padding", ops.avg_pool,
                    {"x": x}, **options)
        yield _case(f"max_pool_{name}", "greatest value under each window, SAME padding", ops.max_pool, {"x": x},
                    **options)


def _layers():
    random = _Draws("layers")
    yield _case("squeeze_excite", "x·2·sigmoid(fc1(relu(fc0(mean over the image)))), weights (in, out)",
                ops.squeeze_excite, {key: random.standard_normal(shape) for key, shape in (
                    ("x", (2, 3, 4, 6)), ("weight0", (6, 3)), ("bias0", 3), ("weight1", (3, 6)), ("bias1", 6))})
    yield _case("skip_init", "shortcut + alpha·skip_gain·residual", ops.skip_init,
                {"shortcut": random.standard_normal((2, 3, 3, 4)), "residual": random.standard_normal((2, 3, 3, 4)),
                 "skip_gain": np.array(0.625)}, alpha=0.2)
    for rescale in (False, True):
        yield _case("stochastic_depth" + "_rescaled" * rescale, "x times a mask of one number an example"
                    + ", divided by 1 - rate" * rescale, ops.stochastic_depth,
                    {"x": random.standard_normal((4, 2, 2, 3)), "mask": np.array([1.0, 0, 1, 1]).reshape(4, 1, 1, 1)},
                    constants=("mask",), rate=0.25, rescale=rescale)
    yield _case("linear", "x·weight + bias, weight (in, out)", ops.linear,
                {"x": random.standard_normal((3, 5)), "weight": random.standard_normal((5, 4)),
                 "bias": random.standard_normal(4)})
    for smoothing in (0.0, 0.1):
        yield _case(f"softmax_cross_entropy_{smoothing:g}", "mean over the batch; (1 - s)·label + s/classes",
                    ops.softmax_cross_entropy, {"logits": 3 * random.standard_normal((5, 7)),
                                                "labels": np.array([0, 6, 3, 3, 1])}, label_smoothing=smoothing)


# ---- optimizers


def _clippings():
    shapes = {"conv": (3, 3, 2, 6), "depthwise": (3, 3, 1, 4), "linear": (5, 4), "bias": (6,), "scalar": (),
              "one_by_one": (1, 1, 8, 3), "column": (7, 1), "row": (1, 7)}
    for name, shape in shapes.items():
        random = _Draws("agc" + name)
        param, grad = random.standard_normal(shape), random.standard_normal(shape) * 0.05
        if shape:
            param[..., 0] *= 1e-5  # under the floor on the norm of a weight
            grad[..., -1] *= 0.0
        inputs = {"grad": _rounded(grad), "param": _rounded(param)}

        def compute(inputs, dtype):
            grad, param = (inputs[key].astype(dtype) for key in ("grad", "param"))
            return {"norms": optim.unitwise_norm(param), "clipped": optim.adaptive_gradient_clip(grad, param, 0.02,
                                                                                                 1e-3)}
        yield VectorCase(f"agc_{name}", "adaptive gradient clipping, one unit for each place of the last axis, or one "
                         "in all where at most one axis is longer than 1", {"clipping": 0.02, "eps": 1e-3}, inputs,
                         compute)


class _Bowl:
    """A loss of two tensors whose gradients are easy to write in any framework: Σ sin(3·w)·t + |w|⁴/4."""

    def __init__(self, inputs, dtype):
        self.parameters = {key: Tensor(inputs[key].astype(dtype), requires_grad=True) for key in ("a.weight", "b.bias")}
        self.targets = {key: inputs[f"target.{key}"].astype(dtype) for key in self.parameters}

    def backward(self) -> float:
        """Leave gradients; d/dw = 3·cos(3·w)·t + w³."""
        for key, parameter in self.parameters.items():
            w = parameter.data
            parameter.grad = 3 * np.cos(3 * w) * self.targets[key] + w * w * w
        return 0.0


def _optimizers():
    random = _Draws("optimizers")
    inputs = {key: _rounded(random.standard_normal(shape)) for key, shape in (
        ("a.weight", (4, 3)), ("b.bias", (5,)), ("target.a.weight", (4, 3)), ("target.b.bias", (5,)))}
    sentence = ("five steps on the gradient 3·cos(3·w)·target + w³ of both tensors; ‘b.bias’ is not decayed; clip (if "
                "clipping is given), then decay, then v = momentum·v + g, then w -= lr·(g + momentum·v), or lr·v")
    for name, options in (("sgd", {"nesterov": False, "momentum": 0.9, "weight_decay": 0.0, "clipping": None}),
                          ("nesterov_decay", {"nesterov": True, "momentum": 0.9, "weight_decay": 0.1,
                                              "clipping": None}),
                          ("agc_nesterov_decay", {"nesterov": True, "momentum": 0.9, "weight_decay": 0.1,
                                                  "clipping": 0.05}),
                          ("sam", {"nesterov": True, "momentum": 0.9, "weight_decay": 0.1, "clipping": 0.05,
                                   "rho": 0.3})):
        def compute(inputs, dtype, options=options):
            settings = {key: value for key, value in options.items() if key != "rho"}
            problem = _Bowl(inputs, dtype)
            optimizer = optim.SGD(problem.parameters, lr=0.1, clipped=lambda name: True, **settings)
            sam, states = optim.SAM(optimizer, options["rho"]) if "rho" in options else None, {}
            for step in range(1, 6):
                if sam:
                    sam.step(problem.backward)
                else:
                    problem.backward()
                    optimizer.step()
                states.update({f"step {step}.{key}": parameter.data for key, parameter in problem.parameters.items()})
            return states
        with_sam = "; each gradient is taken at w + rho·g/‖g‖ (norm over both tensors) and applied at w"
        yield VectorCase(f"optimizer_{name}", sentence + with_sam * ("rho" in options),
                         {"lr": 0.1, "eps": 1e-3, **options}, inputs, compute)

    def average(inputs, dtype):
        tensor = Tensor(inputs["values"][0].astype(dtype))
        ema, states = optim.ExponentialMovingAverage({"w": tensor}, 0.9), {}
        for step, value in enumerate(inputs["values"][1:].astype(dtype)):
            tensor.data = value
            ema.update()
            states[f"update {step}"] = ema.average["w"]
        return states
    yield VectorCase("ema", "starts as values[0]; after values[t + 1]: d·average + (1 - d)·value, d = min(decay, "
               "(1 + t)/(10 + t)), t = 0, 1, …", {"decay": 0.9}, {"values": _rounded(random.standard_normal((8, 3)))},
               average)

    def rates(inputs, dtype):
        schedule = optim.warmup_cosine(0.4, 5, 40)
        return {"rates": np.array([schedule(int(step)) for step in inputs["steps"]], dtype=dtype)}
    yield VectorCase("schedule", "warm-up in a line from 0, then half a cosine to 0", {"peak": 0.4, "warmup_steps": 5,
               "total_steps": 40}, {"steps": np.arange(0, 43)}, rates)


# ---- networks

NETWORKS = {
    "nfnet": models.NFNetConfig(widths=(8, 12), depths=(1, 2), strides=(1, 2), group_size=2, stem_widths=(3, 4, 4, 8),
                                num_classes=5),
    "nf_resnet": models.NFResNetConfig(widths=(8, 16), depths=(1, 2), strides=(1, 2), use_se=True, num_classes=5),
    "nf_regnet": models.NFRegNetConfig(widths=(16, 24), depths=(1, 2), strides=(2, 2), num_classes=5),
}


def _network_values(config, name):
    """Values that hide nothing: no gain is 1, no bias or skip gain 0."""
    random, values = _Draws(name), {}
    for key, parameter in models.from_config(config, shapes_only=True).parameters().items():
        kind, noise = key.rpartition(".")[2], random.standard_normal(parameter.shape)
        fan_in = max(1, int(np.prod(parameter.shape[:-1])))
        values[f"parameter.{key}"] = {"weight": noise / np.sqrt(fan_in), "gain": 1 + 0.3 * noise, "bias": 0.2 * noise,
                                      "skip_gain": 1 + noise / 2}[kind]
    return values


def _networks():
    for name, config in NETWORKS.items():
        random = _Draws("images of " + name)
        inputs = {key: _rounded(array) for key, array in {
            "images": random.standard_normal((2, 21, 18, 3)), "labels": np.array([3, 1]),
            **_network_values(config, name)}.items()}

        def compute(inputs, dtype, config=config):
            model = models.from_config(config, dtype=np.dtype(dtype).name)
            state = {key.removeprefix("parameter."): array for key, array in inputs.items()
                     if key.startswith("parameter.")}
            model.load_state_dict(state, cast=True)
            x, found = model.stem(Tensor(inputs["images"].astype(dtype))), {}
            found["stem"] = x.data
            for k, block in enumerate(model.blocks):
                x = block(x)
                found[f"block {k}"] = x.data
            logits = model.linear(ops.global_mean(model.head(x)))
            loss = ops.softmax_cross_entropy(logits, inputs["labels"])
            loss.backward()
            return {**found, "logits": logits.data, "loss": loss.data,
                    **{f"gradient.{key}": parameter.grad for key, parameter in model.parameters().items()}}
        options = {key: list(value) if isinstance(value, tuple) else value
                   for key, value in dataclasses.asdict(config).items()}
        yield VectorCase(f"network_{name}", "a whole network: stem, every block's output, logits, cross-entropy, and "
                         "the gradient of every parameter", options, inputs, compute)


def all_cases() -> Iterator[VectorCase]:
    """Every case, in the order of the index."""
    for group in (_nonlinearities, _standardizations, _convolutions, _poolings, _layers, _clippings, _optimizers,
                  _networks):
        yield from group()
