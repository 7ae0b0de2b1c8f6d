"""Adaptive gradient clipping: units, limits, and what is left alone.

The reference: optim/agc.py (2102.06171, eq. 3 and section 3; the units are those of the authors' released code).
"""

import dataclasses
import functools

import numpy as np

from ...optim.agc import SMALLEST_GRADIENT_NORM, adaptive_gradient_clip, is_single_unit
from ..compare import Kind, Problem, judge
from ..variants import Entry
from ..adapters.clippings import clipping_subject

ALL = "all"  # axes


@dataclasses.dataclass(frozen=True)
class Rules:
    """G ← G·lambda·max(‖W‖, eps)/‖G‖ where ‖G‖ is more than lambda·max(‖W‖, eps), and what else it has been taken for.

    Axes are those that a norm is taken over, of (kh, kw, in, out) and (in, out).
    """

    conv_axes: tuple | str = (0, 1, 2)
    linear_axes: tuple | str = (0,)
    vector_axes: tuple | str = ALL
    rank: str = "squeezed"
    together: bool = False
    norm: str = "L2"
    eps_form: str = "floor of ‖W‖"
    swapped: bool = False
    clipped_if: str = "above the limit"
    brought_to: str = "the limit"
    smallest_gradient_norm: str = "a floor of 1e-6"
    left_alone: str = "the last layer's weight"
    decay: str = "after clipping"


def _axes(shape, rules):
    """The axes of a unit's norm."""
    if is_single_unit(shape) if rules.rank == "squeezed" else len(shape) <= 1:
        axes = rules.vector_axes
    else:
        axes = rules.conv_axes if len(shape) == 4 else rules.linear_axes
    return tuple(range(len(shape))) if axes == ALL else axes


def _norm(array, axes, rules):
    """The norm along the axes, kept as axes of size 1."""
    magnitude = np.abs(array)
    if rules.norm == "L1":
        return np.sum(magnitude, axis=axes, keepdims=True)
    if rules.norm == "largest magnitude":
        return np.max(magnitude, axis=axes, keepdims=True) if axes else magnitude
    squares = np.sum(array * array, axis=axes, keepdims=True)
    if rules.norm == "root mean square":
        squares = squares / array.dtype.type(max(1, array.size // squares.size))
    return squares if rules.norm == "sum of squares" else np.sqrt(squares)


def _untouched(name, shape, problem, rules):
    """Whether a parameter is not clipped at all."""
    vector = is_single_unit(shape)
    return {"the last layer's weight": name == "final weight",
            "the whole last layer": name.startswith("final "),
            "nothing": False,
            "biases, gains and scalars": vector or name == "final weight",
            "linear layers": name == "final weight" or len(shape) == 2 and not vector,
            "scalars": len(shape) == 0 or name == "final weight"}[rules.left_alone]


def _clipped(grad, param, everything, options, rules):
    """One tensor's gradient by the rules; everything: (all gradients, all parameters), flat."""
    if rules == dataclasses.replace(Rules(), left_alone=rules.left_alone, decay=rules.decay):
        return adaptive_gradient_clip(grad, param, clipping=options["clipping"], eps=options["eps"])
    clipping, eps = (options[name] for name in (("eps", "clipping") if rules.swapped else ("clipping", "eps")))
    axes = _axes(grad.shape, rules)
    own, weight = ((_norm(flat, (0,), rules) for flat in everything) if rules.together else
                   (_norm(array, axes, rules) for array in (grad, param)))
    if rules.together:
        own, weight = (norm.reshape((1,) * grad.ndim) for norm in (own, weight))
    weight = {"floor of ‖W‖": lambda: np.maximum(weight, eps), "added to ‖W‖": lambda: weight + eps,
              "left out": lambda: weight, "floor of ‖G‖": lambda: weight, "added to ‖G‖": lambda: weight,
              "floor of lambda·‖W‖": lambda: np.maximum(weight, eps / clipping),
              "in place of ‖W‖": lambda: np.full_like(weight, eps),
              "root of the sum of squares and eps": lambda: np.sqrt(weight * weight + eps),
              "floor of the sum of squares": lambda: np.maximum(weight, eps**0.5)}[rules.eps_form]()
    limit = weight * clipping
    divisor = {"floor of ‖G‖": lambda: np.maximum(own, eps), "added to ‖G‖": lambda: own + eps}.get(
        rules.eps_form, lambda: {"a floor of 1e-6": lambda: np.maximum(own, SMALLEST_GRADIENT_NORM),
                                 "added, 1e-6": lambda: own + 1e-6, "added, 1e-8": lambda: own + 1e-8,
                                 "nothing": lambda: own, "eps": lambda: np.maximum(own, eps)}[
                                     rules.smallest_gradient_norm]())()
    length = {"the limit": limit, "‖W‖": weight, "1": np.ones_like(limit), "lambda": np.full_like(limit, clipping),
              "zero": np.zeros_like(limit)}[rules.brought_to]
    shortened = grad * (length / divisor)
    chosen = {"above the limit": own > limit, "below the limit": own < limit, "always": np.ones_like(own, bool),
              "above lambda": own > clipping, "quotient": limit / divisor < 1.0}[rules.clipped_if]
    return np.where(chosen, shortened, grad)


def reference(problem, rules):
    """Every tensor's clipped gradient, and what becomes of it with weight decay."""
    names = [name for name in problem.arrays if not name.startswith("gradient of ")]
    decay = problem.options["weight_decay"]

    def clip(grads):
        flat = tuple(np.concatenate([np.ravel(array) for array in arrays])
                     for arrays in (grads.values(), (problem.arrays[name] for name in names)))
        return {name: np.asarray(grads[name] if _untouched(name, grads[name].shape, problem, rules) else
                                 _clipped(grads[name], problem.arrays[name], flat, problem.options, rules))
                for name in names}

    grads = {name: problem.arrays[f"gradient of {name}"] for name in names}
    clipped = clip(grads)
    if rules.decay == "after clipping":
        decayed = {name: clipped[name] + decay * problem.arrays[name] for name in names}
    else:
        decayed = clip({name: grads[name] + decay * problem.arrays[name] for name in names})
    if rules.decay == "not at all":
        decayed = clipped
    return {**{f"clipped gradient of {name}": clipped[name] for name in names},
            **{f"clipped gradient of {name} with weight decay": decayed[name] for name in names}}


CATALOGUE = (
    Entry("gradient norm without its floor", {"smallest_gradient_norm": "nothing"}, "‖G‖ is not kept above 1e-6 before "
          "dividing by it. It matters only where lambda·eps is below 1e-6.", harmless=True),
    Entry("1e-6 added to the gradient norm", {"smallest_gradient_norm": "added, 1e-6"}, "1e-6 is added to ‖G‖ where "
          "the released code has a floor of 1e-6: clipped gradients are shorter by 1e-6/‖G‖ of themselves.",
          harmless=True),
    Entry("1e-8 added to the gradient norm", {"smallest_gradient_norm": "added, 1e-8"}, "1e-8 is added to ‖G‖ where "
          "the released code has a floor of 1e-6.", harmless=True),
    Entry("decides by the quotient", {"clipped_if": "quotient", "smallest_gradient_norm": "added, 1e-6"}, "The "
          "gradient is multiplied by min(1, limit/(‖G‖ + 1e-6)), as in torch's clip_grad_norm_.", harmless=True),
    Entry("units by the stored rank", {"rank": "as stored"}, "Whether a tensor is a single unit is told by its stored "
          "rank: a gain of shape (C, 1, 1, 1) or a weight with one input becomes C units of one number each. The "
          "released code squeezes first, and has one unit. Where gains are stored as vectors nothing changes."),
    Entry("norms over the input axis of linear layers", {"linear_axes": (1,)}, "A linear layer's norms are taken per "
          "input and not per output: the axis of the released code's (in, out) used on (out, in), or the reverse."),
    Entry("linear layers as a whole", {"linear_axes": ALL}, "A linear layer's weight is one unit; it should be one for "
          "each output."),
    Entry("linear layers number by number", {"linear_axes": ()}, "Every number of a linear layer's weight is a unit."),
    Entry("one norm for a whole tensor", {"conv_axes": ALL, "linear_axes": ALL}, "Each tensor is one unit; weights "
          "should have one for each output. Units with small weights then get gradients that are far too long."),
    Entry("convolutions as a whole", {"conv_axes": ALL}, "A convolution's weight is one unit; it should be one for "
          "each output channel."),
    Entry("convolutions by input channel", {"conv_axes": (0, 1, 3)}, "A convolution's norms are taken per input "
          "channel and not per output channel."),
    Entry("convolutions by kernel", {"conv_axes": (0, 1)}, "A convolution's norms are taken over the kernel's pixels "
          "only: a unit for each pair of channels."),
    Entry("convolutions by kernel row", {"conv_axes": (1, 2, 3)}, "A convolution's norms run over all axes but the "
          "kernel's rows: the axes of OIHW used on HWIO."),
    Entry("convolutions by kernel column", {"conv_axes": (0, 2, 3)}, "A convolution's norms run over all axes but the "
          "kernel's columns: the axes of HWIO used on OIHW."),
    Entry("convolutions along the output axis", {"conv_axes": (3,)}, "A convolution's norms run along the output "
          "channels only, a unit for each input channel and pixel."),
    Entry("convolutions along the kernel's rows", {"conv_axes": (0,)}, "A convolution's norms run along the first axis "
          "of HWIO only."),
    Entry("norms along the output axis", {"conv_axes": (3,), "linear_axes": (1,)}, "Norms run along the output axis "
          "only, in convolutions and linear layers: axis 0 of torch's weights."),
    Entry("number by number", {"conv_axes": (), "linear_axes": (), "vector_axes": ()}, "Every number is a unit."),
    Entry("biases and gains number by number", {"vector_axes": ()}, "Every number of a bias or gain is a unit; the "
          "released code has one unit for the whole vector."),
    Entry("one norm for all parameters", {"together": True}, "One norm for all parameters together decides: that is "
          "clipping by the global norm, relative to the weights."),
    Entry("root left out", {"norm": "sum of squares"}, "Sums of squares are compared, and their quotient multiplies "
          "the gradient: the root is missing."),
    Entry("L1 norm", {"norm": "L1"}, "Sums of magnitudes in place of L2 norms."),
    Entry("largest magnitude", {"norm": "largest magnitude"}, "The largest magnitude in place of the L2 norm."),
    Entry("root mean square", {"norm": "root mean square"}, "Root mean squares in place of norms: the same until eps "
          "is reached, which then is far too large a floor: small weights are hardly clipped."),
    Entry("comparison reversed", {"clipped_if": "below the limit"}, "Gradients below the limit are stretched to it, "
          "those above it left as they are."),
    Entry("always brought to the limit", {"clipped_if": "always"}, "Gradients below the limit are stretched to it."),
    Entry("compared with lambda", {"clipped_if": "above lambda"}, "‖G‖ is compared with lambda itself and not with "
          "lambda·‖W‖."),
    Entry("brought to ‖W‖", {"brought_to": "‖W‖"}, "What is clipped gets the length ‖W‖; lambda is missing there."),
    Entry("brought to 1", {"brought_to": "1"}, "What is clipped gets the length 1."),
    Entry("brought to lambda", {"brought_to": "lambda"}, "What is clipped gets the length lambda, without ‖W‖."),
    Entry("set to zero", {"brought_to": "zero"}, "What is clipped is set to zero."),
    Entry("eps added to the weight norm", {"eps_form": "added to ‖W‖"}, "eps is added to ‖W‖; the paper's is a floor, "
          "max(‖W‖, eps). Every limit is longer by eps·lambda."),
    Entry("eps inside the root", {"eps_form": "root of the sum of squares and eps"}, "‖W‖ is √(Σw² + eps); the paper's "
          "is max(‖W‖, eps). With eps = 1e-3 that is a floor of about 0.03."),
    Entry("eps a floor under the sum of squares", {"eps_form": "floor of the sum of squares"}, "‖W‖ is √max(Σw², eps); "
          "the paper's is max(‖W‖, eps)."),
    Entry("eps left out", {"eps_form": "left out"}, "‖W‖ has no floor: weights that start at zero (skip gains, biases) "
          "have a limit of zero and never move."),
    Entry("eps a floor under the limit", {"eps_form": "floor of lambda·‖W‖"}, "The limit is max(lambda·‖W‖, eps); it "
          "is lambda·max(‖W‖, eps). Small weights are clipped 1/lambda times less."),
    Entry("eps in place of the weight norm", {"eps_form": "in place of ‖W‖"}, "The limit is lambda·eps for all."),
    Entry("eps under the gradient norm", {"eps_form": "floor of ‖G‖"}, "eps is a floor under ‖G‖ and not under ‖W‖."),
    Entry("eps added to the gradient norm", {"eps_form": "added to ‖G‖"}, "eps is added to ‖G‖; it belongs under ‖W‖."),
    Entry("eps a floor under both norms", {"smallest_gradient_norm": "eps"}, "‖G‖ is divided by only down to eps, "
          "where the released code has 1e-6: shorter gradients come out too short."),
    Entry("clipping and eps exchanged", {"swapped": True}, "lambda is used as eps, and eps as lambda."),
    Entry("last layer clipped", {"left_alone": "nothing"}, "The last layer's weight is clipped; the paper leaves it "
          "alone."),
    Entry("last layer's bias not clipped", {"left_alone": "the whole last layer"}, "The last layer's bias is left "
          "alone with its weight. The released code clips it; little depends on it.", harmless=True),
    Entry("biases and gains not clipped", {"left_alone": "biases, gains and scalars"}, "Only weights are clipped; the "
          "paper clips biases and gains too."),
    Entry("scalars not clipped", {"left_alone": "scalars"}, "Scalars, the skip gains, are not clipped; the paper clips "
          "them too."),
    Entry("linear layers not clipped", {"left_alone": "linear layers"}, "No linear layer is clipped; the paper leaves "
          "only the last one alone (squeeze-and-excite has others)."),
    Entry("decay added before clipping", {"decay": "before clipping"}, "Weight decay is added to the gradient before "
          "it is clipped: where clipping is at work, the decay is lost with the rest."),
    Entry("weight decay ignored", {"decay": "not at all"}, "weight_decay has no effect."),
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


def _problem(seed, clipping, eps, *, shapes=SHAPES, scale=None, gradient=None, model=False):
    """Gradients from a tenth of their limit to ten times it, unit by unit.

    scale: of the weights, else as a network starts; gradient: all gradients' size, else as said.
    """
    random = np.random.default_rng([5, seed])
    arrays = {}
    for name, shape in shapes.items():
        own = 1.0 / np.sqrt(max(1, np.prod(shape[:-1]))) if scale is None else scale
        param, grad = own * random.standard_normal(shape), random.standard_normal(shape)
        limit = clipping * np.maximum(_norms(param), eps) * 10.0 ** random.uniform(-1.0, 1.0, shape[-1:])
        sized = limit / np.maximum(_norms(grad), 1e-9) if gradient is None else gradient
        arrays |= {name: param, f"gradient of {name}": grad * sized}
    return Problem({name: np.asarray(array).astype(np.float32).astype(np.float64) for name, array in arrays.items()},
                   {"clipping": clipping, "eps": eps, "weight_decay": 0.25, "model": model})


def _at_the_limit(clipping, eps):
    """Norms of weights are 5, of gradients clipping times that."""
    arrays = {}
    for name, shape in {"conv weight": (1, 2, 1, 3), "linear weight": (2, 3), "bias": (2,)}.items():
        weight = np.broadcast_to(np.array([3.0, 4.0]).reshape((2, 1) if len(shape) > 1 else (2,)),
                                 (2, *shape[-1:]) if len(shape) > 1 else shape).reshape(shape)
        arrays |= {name: weight.copy(), f"gradient of {name}": np.float64(np.float32(clipping)) * weight}
    return Problem(arrays, {"clipping": clipping, "eps": eps, "weight_decay": 0.25, "model": False})


@functools.cache
def kind_for(clipping=None, eps=None, model=False):
    """The Kind with problems for a target that can be told clipping and eps (None), or does only one of them.

    model: whether it is also asked about a model's last layer.
    """
    def with_settings(usual_clipping, usual_eps):
        return (usual_clipping if clipping is None else clipping), (usual_eps if eps is None else eps)

    usual = with_settings(0.01, 1e-3)
    edges = [_problem(3, *usual, scale=1e-5), _problem(4, *usual, scale=0.0), _problem(5, *usual, gradient=0.0),
             _problem(6, *usual, scale=0.0, gradient=0.0), _problem(7, *with_settings(0.16, 1e-2), scale=0.02),
             _problem(8, *with_settings(0.04, 0.3)), _problem(9, *usual, gradient=1e-7, scale=1e-5),
             _problem(10, *with_settings(1e-4, 1e-3), gradient=2e-7, scale=1e-4),
             _problem(11, *usual, gradient=1e4), _at_the_limit(*with_settings(2.0**-6, 1e-3)),
             _problem(13, *usual, scale=2e-3)]
    if model:
        edges += [_problem(20, *usual, shapes=SMALL_MODEL, model=True),
                  _problem(21, *with_settings(0.08, 1e-2), shapes=SMALL_MODEL, model=True)]

    def drawn(seed):
        random = np.random.default_rng([6, seed])
        settings = with_settings(float(random.choice([0.01, 0.02, 0.04, 0.08, 0.16])),
                                 float(random.choice([1e-4, 1e-3, 1e-2])))
        return _problem(1000 + seed, *settings, shapes=DRAWN_SHAPES[seed % 2],
                        scale=float(random.choice([1e-4, 1e-2, 1.0])))

    return Kind("agc", reference, Rules(), CATALOGUE, (_problem(1, *usual), _problem(2, *with_settings(0.02, 1e-3))),
                tuple(edges), drawn, smaller)


def smaller(problem):
    """One tensor alone, fewer of its numbers, rounder ones."""
    arrays, options = problem.arrays, problem.options
    names = [name for name in arrays if not name.startswith("gradient of ")]
    for name in names if len(names) > 1 else ():
        yield Problem({key: arrays[key] for key in (name, f"gradient of {name}")}, options)
    for name in names:
        param, grad = arrays[name], arrays[f"gradient of {name}"]
        for axis, size in enumerate(param.shape):
            for left in range(1, min(size, 3)):
                kept = tuple(slice(0, left) if axis == other else slice(None) for other in range(param.ndim))
                yield Problem({**arrays, name: param[kept], f"gradient of {name}": grad[kept]}, options)
        for key in (name, f"gradient of {name}"):
            with np.errstate(all="ignore"):
                digits = np.where(arrays[key] == 0.0, 1.0, 10.0 ** np.floor(np.log10(np.abs(arrays[key]))))
            rounder = np.round(arrays[key] / digits) * digits
            if not np.allclose(rounder, arrays[key], rtol=1e-9, atol=0.0):
                yield Problem({**arrays, key: rounder}, options)


def check_agc(target, *, framework="auto", examples=20, name=None, **options):
    """The Verdict on adaptive gradient clipping.

    target: see subjects/clippings.py. options go to the target; clipping and eps are told to the reference too, layout
    (OIHW or HWIO) says how weights are stored, final what a model's last layer is called. InputError when it cannot be
    used.
    """
    asked = clipping_subject(target, framework, options)
    kind, notes = kind_for(asked.clipping, asked.eps, False), list(asked.notes)
    if asked.model:
        whole = kind_for(asked.clipping, asked.eps, True)
        try:
            asked.subject(whole.edges[-1])
            kind = whole
        except ValueError as error:
            notes.append(f"it could not be asked about a model's last layer: {error}")
    return judge(kind, asked.subject, target=name or getattr(target, "__qualname__", repr(target)),
                 framework=asked.framework, examples=examples, notes=tuple(notes))
