"""Adaptive gradient clipping: units, limits, and what is left alone.

The reference: optim/agc.py (2102.06171, eq. 3 and section 3; the units are those of the authors' released code).
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ...errors import InputError
from ...optim.agc import SMALLEST_GRADIENT_NORM, adaptive_gradient_clip, is_single_unit
from ..adapters import title_of
from ..adapters.agc import clipping_adapter
from ..compare import Check, InputCase, compare
from ..variants import KnownVariant
from ..verdict import Verdict

Axes = tuple[int, ...] | None  # None: all
Norm = np.ndarray
GRADIENT_OF = "gradient of "

# Norms along axes that stay with size 1: functions of (array, axes).


def l2_norm(array: np.ndarray, axes: Axes) -> Norm:
    """The root of the sum of squares."""
    return np.sqrt(_sum_of_squares(array, axes))


def _sum_of_squares(array, axes):
    return np.sum(array * array, axis=axes, keepdims=True)


def _root_mean_square(array, axes):
    squares = _sum_of_squares(array, axes)
    return np.sqrt(squares / array.dtype.type(max(1, array.size // squares.size)))


def _l1_norm(array, axes):
    return np.sum(np.abs(array), axis=axes, keepdims=True)


def _largest_magnitude(array, axes):
    magnitude = np.abs(array)
    return magnitude if axes == () else np.max(magnitude, axis=axes, keepdims=True)


# What the rules' functions get: g = ‖G‖, w = ‖W‖, c = lambda (clipping), e = eps, limit.


def limit_with_floor(w: Norm, c: float, e: float) -> Norm:
    """lambda·max(‖W‖, eps)."""
    return np.maximum(w, e) * c


def divisor_with_floor(g: Norm, e: float) -> Norm:
    """max(‖G‖, 1e-6)."""
    return np.maximum(g, SMALLEST_GRADIENT_NORM)


def above_the_limit(g: Norm, limit: Norm, divisor: Norm, c: float) -> np.ndarray:
    """‖G‖ > limit."""
    return g > limit


def _by_the_quotient(g, limit, divisor, c):
    return limit / divisor < 1.0


def the_limit(limit: Norm, c: float) -> Norm:
    """What is clipped gets the length of the limit."""
    return limit


def _is_last_weight(name, shape):
    return name == "final weight"


def decay_after_clipping(clip: Callable, grads: Mapping, params: Mapping, rate: float) -> dict[str, np.ndarray]:
    """Weight decay is added to the clipped gradients."""
    return _decayed(clip(grads), params, rate)


def _decay_before_clipping(clip, grads, params, rate):
    return clip(_decayed(grads, params, rate))


def _no_decay(clip, grads, params, rate):
    return clip(grads)


def _decayed(grads, params, rate):
    return {name: grad + rate * params[name] for name, grad in grads.items()}


@dataclasses.dataclass(frozen=True)
class ClippingRules:
    """G ← G·lambda·max(‖W‖, eps)/‖G‖ where ‖G‖ is more than lambda·max(‖W‖, eps).

    Axes are those of a unit's norm, of (kh, kw, in, out) and (in, out); is_vector(shape): whether the vector's axes
    apply; together: one norm over all parameters; exchanged: clipping and eps change places; chosen(g, limit, divisor,
    c): what is clipped; length(limit, c): that it gets; is_left_alone(name, shape): what is never clipped.
    """

    conv_axes: Axes = (0, 1, 2)
    linear_axes: Axes = (0,)
    vector_axes: Axes = None
    is_vector: Callable[[tuple[int, ...]], bool] = is_single_unit
    together: bool = False
    norm: Callable[[np.ndarray, Axes], Norm] = l2_norm
    limit: Callable[[Norm, float, float], Norm] = limit_with_floor
    divisor: Callable[[Norm, float], Norm] = divisor_with_floor
    exchanged: bool = False
    chosen: Callable[[Norm, Norm, Norm, float], np.ndarray] = above_the_limit
    length: Callable[[Norm, float], Norm] = the_limit
    is_left_alone: Callable[[str, tuple[int, ...]], bool] = _is_last_weight
    decay: Callable[[Callable, Mapping, Mapping, float], dict[str, np.ndarray]] = decay_after_clipping


def _clipped(grad, param, everything, options, rules):
    """One tensor's gradient by the rules; everything: (all gradients, all parameters), flat."""
    if dataclasses.replace(rules, is_left_alone=_is_last_weight, decay=decay_after_clipping) == ClippingRules():
        return adaptive_gradient_clip(grad, param, clipping=options["clipping"], eps=options["eps"])
    clipping, eps = options["clipping"], options["eps"]
    if rules.exchanged:
        clipping, eps = eps, clipping
    if rules.together:
        g, w = (rules.norm(flat, (0,)).reshape((1,) * grad.ndim) for flat in everything)
    else:
        axes = _axes(grad.shape, rules)
        g, w = rules.norm(grad, axes), rules.norm(param, axes)
    limit, divisor = rules.limit(w, clipping, eps), rules.divisor(g, eps)
    shortened = grad * (rules.length(limit, clipping) / divisor)
    return np.where(rules.chosen(g, limit, divisor, clipping), shortened, grad)


def _axes(shape, rules):
    if rules.is_vector(shape):
        return rules.vector_axes
    return rules.conv_axes if len(shape) == 4 else rules.linear_axes


def reference(case: InputCase, rules: ClippingRules) -> Mapping[str, np.ndarray]:
    """Every tensor's clipped gradient, and the same with weight decay."""
    params = {name: array for name, array in case.arrays.items() if not name.startswith(GRADIENT_OF)}
    grads = {name: case.arrays[f"{GRADIENT_OF}{name}"] for name in params}

    def clip(grads):
        everything = [np.concatenate([np.ravel(array) for array in arrays.values()]) for arrays in (grads, params)]
        return {name: np.asarray(grad if rules.is_left_alone(name, grad.shape) else
                                 _clipped(grad, params[name], everything, case.options, rules))
                for name, grad in grads.items()}

    decayed = rules.decay(clip, grads, params, case.options["weight_decay"])
    return {**{f"clipped gradient of {name}": grad for name, grad in clip(grads).items()},
            **{f"clipped gradient of {name} with weight decay": grad for name, grad in decayed.items()}}


def _is_vector_or_last_weight(name, shape):
    return is_single_unit(shape) or _is_last_weight(name, shape)


def _is_linear(name, shape):
    return _is_last_weight(name, shape) or (len(shape) == 2 and not is_single_unit(shape))


CATALOGUE = (
    KnownVariant("gradient norm without its floor", {"divisor": lambda g, e: g}, "‖G‖ is not kept above 1e-6 before "
                 "dividing by it. It matters only where lambda·eps is below 1e-6.", benign=True),
    KnownVariant("1e-6 added to the gradient norm", {"divisor": lambda g, e: g + 1e-6}, "1e-6 is added to ‖G‖ where "
                 "the released code has a floor of 1e-6: clipped gradients are shorter by 1e-6/‖G‖ of "
                 "themselves.", benign=True),
    KnownVariant("1e-8 added to the gradient norm", {"divisor": lambda g, e: g + 1e-8}, "1e-8 is added to ‖G‖ where "
                 "the released code has a floor of 1e-6.", benign=True),
    KnownVariant("decides by the quotient", {"chosen": _by_the_quotient, "divisor": lambda g, e: g + 1e-6}, "The "
                 "gradient is multiplied by min(1, limit/(‖G‖ + 1e-6)), as in torch's clip_grad_norm_.", benign=True),
    KnownVariant("decides by the quotient with its floor", {"chosen": _by_the_quotient}, "The gradient is multiplied "
                 "by min(1, limit/max(‖G‖, 1e-6)). Where the limit lambda·max(‖W‖, eps) is below 1e-6, gradients "
                 "within it are shortened too; with the usual lambda = 0.01 and eps = 1e-3 no limit is so "
                 "small.", benign=True),
    KnownVariant("units by the stored rank", {"is_vector": lambda shape: len(shape) <= 1}, "The stored rank decides "
                 "whether a tensor is a single unit: a gain of shape (C, 1, 1, 1) or a weight with one input becomes C "
                 "units of one number each. The released code squeezes first, and has one unit. Where gains are stored "
                 "as vectors nothing changes."),
    KnownVariant("norms over the input axis of linear layers", {"linear_axes": (1,)}, "A linear layer's norms are "
                 "taken per input and not per output: the axis of the released code's (in, out) used on (out, in), or "
                 "the reverse."),
    KnownVariant("linear layers as a whole", {"linear_axes": None}, "A linear layer's weight is one unit; it should be "
                 "one for each output."),
    KnownVariant("linear layers number by number", {"linear_axes": ()}, "Every number of a linear layer's weight is a "
                 "unit."),
    KnownVariant("one norm for a whole tensor", {"conv_axes": None, "linear_axes": None}, "Each tensor is one unit; "
                 "weights should have one for each output. Units with small weights then get gradients that are far "
                 "too long."),
    KnownVariant("convolutions as a whole", {"conv_axes": None}, "A convolution's weight is one unit; it should be one "
                 "for each output channel."),
    KnownVariant("convolutions by input channel", {"conv_axes": (0, 1, 3)}, "A convolution's norms are taken per input "
                 "channel and not per output channel."),
    KnownVariant("convolutions by kernel", {"conv_axes": (0, 1)}, "A convolution's norms are taken over the kernel's "
                 "pixels only: a unit for each pair of channels."),
    KnownVariant("convolutions by kernel row", {"conv_axes": (1, 2, 3)}, "A convolution's norms run over all axes but "
                 "the kernel's rows: the axes of OIHW used on HWIO."),
    KnownVariant("convolutions by kernel column", {"conv_axes": (0, 2, 3)}, "A convolution's norms run over all axes "
                 "but the kernel's columns: the axes of HWIO used on OIHW."),
    KnownVariant("convolutions along the output axis", {"conv_axes": (3,)}, "A convolution's norms run along the "
                 "output channels only, a unit for each input channel and pixel."),
    KnownVariant("convolutions along the kernel's rows", {"conv_axes": (0,)}, "A convolution's norms run along the "
                 "first axis of HWIO only."),
    KnownVariant("norms along the output axis", {"conv_axes": (3,), "linear_axes": (1,)}, "Norms run along the output "
                 "axis only, in convolutions and linear layers: axis 0 of torch's weights."),
    KnownVariant("number by number", {"conv_axes": (), "linear_axes": (), "vector_axes": ()}, "Every number is a "
                 "unit."),
    KnownVariant("biases and gains number by number", {"vector_axes": ()}, "Every number of a bias or gain is a unit; "
                 "the released code has one unit for the whole vector."),
    KnownVariant("one norm for all parameters", {"together": True}, "One norm for all parameters together decides: "
                 "that is clipping by the global norm, relative to the weights."),
    KnownVariant("root left out", {"norm": _sum_of_squares}, "Sums of squares are compared, and their quotient "
                 "multiplies the gradient: the root is missing."),
    KnownVariant("L1 norm", {"norm": _l1_norm}, "Sums of magnitudes in place of L2 norms."),
    KnownVariant("largest magnitude", {"norm": _largest_magnitude}, "The largest magnitude in place of the L2 norm."),
    KnownVariant("root mean square", {"norm": _root_mean_square}, "Root mean squares in place of norms: the same until "
                 "eps is reached, which then is far too large a floor: small weights are hardly clipped."),
    KnownVariant("comparison reversed", {"chosen": lambda g, limit, divisor, c: g < limit}, "Gradients below the limit "
                 "are stretched to it, those above it left as they are."),
    KnownVariant("always brought to the limit", {"chosen": lambda g, limit, divisor, c: np.ones_like(g, bool)},
                 "Gradients below the limit are stretched to it."),
    KnownVariant("compared with lambda", {"chosen": lambda g, limit, divisor, c: g > c}, "‖G‖ is compared with lambda "
                 "itself and not with lambda·‖W‖."),
    KnownVariant("brought to ‖W‖", {"length": lambda limit, c: limit / c}, "What is clipped gets the length ‖W‖; "
                 "lambda is missing there."),
    KnownVariant("brought to 1", {"length": lambda limit, c: np.ones_like(limit)}, "What is clipped gets the length "
                 "1."),
    KnownVariant("brought to lambda", {"length": lambda limit, c: np.full_like(limit, c)}, "What is clipped gets the "
                 "length lambda, without ‖W‖."),
    KnownVariant("set to zero", {"length": lambda limit, c: np.zeros_like(limit)}, "What is clipped is set to zero."),
    KnownVariant("eps added to the weight norm", {"limit": lambda w, c, e: (w + e) * c}, "eps is added to ‖W‖; the "
                 "paper's is a floor, max(‖W‖, eps). Every limit is longer by eps·lambda."),
    KnownVariant("eps inside the root", {"limit": lambda w, c, e: np.sqrt(w * w + e) * c}, "‖W‖ is √(Σw² + eps); the "
                 "paper's is max(‖W‖, eps). With eps = 1e-3 that is a floor of about 0.03."),
    KnownVariant("eps a floor under the sum of squares", {"limit": lambda w, c, e: np.maximum(w, e**0.5) * c}, "‖W‖ is "
                 "√max(Σw², eps); the paper's is max(‖W‖, eps)."),
    KnownVariant("eps left out", {"limit": lambda w, c, e: w * c}, "‖W‖ has no floor: weights that start at zero (skip "
                 "gains, biases) have a limit of zero and never move."),
    KnownVariant("eps a floor under the limit", {"limit": lambda w, c, e: np.maximum(w * c, e)}, "The limit is "
                 "max(lambda·‖W‖, eps); it is lambda·max(‖W‖, eps). Small weights are clipped 1/lambda times less."),
    KnownVariant("eps in place of the weight norm", {"limit": lambda w, c, e: np.full_like(w, e) * c}, "The limit is "
                 "lambda·eps for all."),
    KnownVariant("eps under the gradient norm",
                 {"limit": lambda w, c, e: w * c, "divisor": lambda g, e: np.maximum(g, e)}, "eps is a floor under ‖G‖ "
                 "and not under ‖W‖."),
    KnownVariant("eps added to the gradient norm", {"limit": lambda w, c, e: w * c, "divisor": lambda g, e: g + e},
                 "eps is added to ‖G‖; it belongs under ‖W‖."),
    KnownVariant("eps a floor under both norms", {"divisor": lambda g, e: np.maximum(g, e)}, "‖G‖ is divided by only "
                 "down to eps, where the released code has 1e-6: shorter gradients come out too short."),
    KnownVariant("clipping and eps exchanged", {"exchanged": True}, "lambda is used as eps, and eps as lambda."),
    KnownVariant("last layer clipped", {"is_left_alone": lambda name, shape: False}, "The last layer's weight is "
                 "clipped; the paper leaves it alone."),
    KnownVariant("last layer's bias not clipped", {"is_left_alone": lambda name, shape: name.startswith("final ")},
                 "The last layer's bias is left alone with its weight. The released code clips it; little depends on "
                 "it.", benign=True),
    KnownVariant("biases and gains not clipped", {"is_left_alone": _is_vector_or_last_weight}, "Only weights are "
                 "clipped; the paper clips biases and gains too."),
    KnownVariant("scalars not clipped",
                 {"is_left_alone": lambda name, shape: shape == () or _is_last_weight(name, shape)}, "Scalars, the "
                 "skip gains, are not clipped; the paper clips them too."),
    KnownVariant("linear layers not clipped", {"is_left_alone": _is_linear}, "No linear layer is clipped; the paper "
                 "leaves only the last one alone (squeeze-and-excite has others)."),
    KnownVariant("decay added before clipping", {"decay": _decay_before_clipping}, "Weight decay is added to the "
                 "gradient before it is clipped: where clipping is at work, the decay is lost with the rest."),
    KnownVariant("weight decay ignored", {"decay": _no_decay}, "weight_decay has no effect."),
)


SHAPES = {"conv weight": (3, 3, 4, 6), "pointwise weight": (1, 1, 5, 4), "depthwise weight": (3, 3, 1, 5),
          "linear weight": (5, 4), "one input weight": (1, 4), "bias": (6,), "gain": (5,), "stored gain": (1, 1, 1, 6),
          "scalar": ()}
DRAWN_SHAPES = (  # few, because JAX compiles for each
    {"conv weight": (3, 1, 2, 3), "linear weight": (3, 2), "bias": (4,), "scalar": ()},
    {"conv weight": (1, 3, 3, 2), "linear weight": (2, 5), "bias": (1,), "stored gain": (1, 1, 1, 3)})
SMALL_MODEL = {"conv weight": (3, 3, 3, 4), "conv bias": (4,), "hidden weight": (4, 5), "hidden bias": (5,),
               "final weight": (5, 3), "final bias": (3,)}


def _norms(array):
    """One norm for each last index, to size gradients by."""
    return np.sqrt(np.sum(np.square(array.reshape(-1, array.shape[-1])), axis=0)) if array.ndim else np.abs(array)


def _case(seed, clipping, eps, *, shapes=SHAPES, scale=None, gradient=None, model=False):
    """Gradients from a tenth of their limit to ten times it, unit by unit.

    scale: of the weights, else as a network starts; gradient: all gradients' size, else as written here.
    """
    random = np.random.default_rng([5, seed])
    arrays = {}
    for name, shape in shapes.items():
        own = 1.0 / np.sqrt(max(1, np.prod(shape[:-1]))) if scale is None else scale
        param, grad = own * random.standard_normal(shape), random.standard_normal(shape)
        limit = clipping * np.maximum(_norms(param), eps) * 10.0 ** random.uniform(-1.0, 1.0, shape[-1:])
        sized = limit / np.maximum(_norms(grad), 1e-9) if gradient is None else gradient
        arrays |= {name: param, f"{GRADIENT_OF}{name}": grad * sized}
    return InputCase({name: np.asarray(array).astype(np.float32).astype(np.float64) for name, array in arrays.items()},
                   {"clipping": clipping, "eps": eps, "weight_decay": 0.25, "model": model})


def _at_the_limit(clipping, eps):
    """Norms of weights are 5, of gradients clipping times that."""
    arrays = {}
    for name, shape in {"conv weight": (1, 2, 1, 3), "linear weight": (2, 3), "bias": (2,)}.items():
        weight = np.broadcast_to(np.array([3.0, 4.0]).reshape((2, 1) if len(shape) > 1 else (2,)),
                                 (2, *shape[-1:]) if len(shape) > 1 else shape).reshape(shape)
        arrays |= {name: weight.copy(), f"{GRADIENT_OF}{name}": np.float64(np.float32(clipping)) * weight}
    return InputCase(arrays, {"clipping": clipping, "eps": eps, "weight_decay": 0.25, "model": False})


@functools.cache
def check_for(clipping: float | None = None, eps: float | None = None, model: bool = False) -> Check:
    """The Check with input cases for a target that takes any clipping and eps (None), or has only one of them.

    model: whether its cases include a model's last layer.
    """
    def settings(usual_clipping, usual_eps):
        return (usual_clipping if clipping is None else clipping), (usual_eps if eps is None else eps)

    usual = settings(0.01, 1e-3)
    edges = [_case(3, *usual, scale=1e-5), _case(4, *usual, scale=0.0), _case(5, *usual, gradient=0.0),
             _case(6, *usual, scale=0.0, gradient=0.0), _case(7, *settings(0.16, 1e-2), scale=0.02),
             _case(8, *settings(0.04, 0.3)), _case(9, *usual, gradient=1e-7, scale=1e-5),
             _case(10, *settings(1e-4, 1e-3), gradient=2e-7, scale=1e-4),
             _case(11, *usual, gradient=1e4), _at_the_limit(*settings(2.0**-6, 1e-3)),
             _case(13, *usual, scale=2e-3)]
    if model:
        edges += [_case(20, *usual, shapes=SMALL_MODEL, model=True),
                  _case(21, *settings(0.08, 1e-2), shapes=SMALL_MODEL, model=True)]

    @functools.lru_cache(maxsize=64)
    def drawn(seed):
        random = np.random.default_rng([6, seed])
        given = settings(float(random.choice([0.01, 0.02, 0.04, 0.08, 0.16])),
                         float(random.choice([1e-4, 1e-3, 1e-2])))
        return _case(1000 + seed, *given, shapes=DRAWN_SHAPES[seed % 2], scale=float(random.choice([1e-4, 1e-2, 1.0])))

    typical = (_case(1, *usual), _case(2, *settings(0.02, 1e-3)))
    return Check("agc", reference, ClippingRules(), CATALOGUE, typical, tuple(edges), drawn, smaller)


def smaller(case: InputCase) -> Iterator[InputCase]:
    """One tensor alone, fewer of its numbers, rounder ones."""
    arrays, options = case.arrays, case.options
    names = [name for name in arrays if not name.startswith(GRADIENT_OF)]
    for name in names if len(names) > 1 else ():
        yield InputCase({key: arrays[key] for key in (name, f"{GRADIENT_OF}{name}")}, options)
    for name in names:
        param, grad = arrays[name], arrays[f"{GRADIENT_OF}{name}"]
        for axis, size in enumerate(param.shape):
            for left in range(1, min(size, 3)):
                kept = tuple(slice(0, left) if axis == other else slice(None) for other in range(param.ndim))
                yield InputCase({**arrays, name: param[kept], f"{GRADIENT_OF}{name}": grad[kept]}, options)
        for key in (name, f"{GRADIENT_OF}{name}"):
            with np.errstate(all="ignore"):
                digits = np.where(arrays[key] == 0.0, 1.0, 10.0 ** np.floor(np.log10(np.abs(arrays[key]))))
            rounder = np.round(arrays[key] / digits) * digits
            if not np.allclose(rounder, arrays[key], rtol=1e-9, atol=0.0):
                yield InputCase({**arrays, key: rounder}, options)


def check_agc(target: Any, *, framework: str = "auto", examples: int = 20, name: str | None = None,
              **options: Any) -> Verdict:
    """The Verdict on adaptive gradient clipping.

    target: see adapters/agc.py. options go to the target; clipping and eps are the reference's too, layout (OIHW or
    HWIO) is that of the weights, final the name of a model's last layer. InputError when it cannot be used.
    """
    adapter = clipping_adapter(target, framework, options)
    check, notes = check_for(**adapter.fixed), adapter.notes
    if adapter.takes_model:
        with_model = check_for(**adapter.fixed, model=True)
        try:
            adapter.run(with_model.edges[-1])
            check = with_model
        except InputError as error:
            notes += (f"a model's last layer could not be checked: {error}",)
    return compare(check, adapter.run, target=name or title_of(target), framework=adapter.framework, examples=examples,
                   notes=notes)
