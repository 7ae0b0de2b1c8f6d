"""Adaptive gradient clipping: units, limits, and what is left alone.

The reference: optim/agc.py (2102.06171, eq. 3 and section 3; the units are those of the authors' released code).
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..adapters import RECORDED, asked_uses, refusal, title_of
from ..adapters.agc import clipping_adapter
from ..adapters.agc_functions import AFTER, FROZEN, SUFFIXES, clipped
from ..adapters.agc_optimizers import A_LOSS, CALLS, CHANGE_OF_FROZEN, LOSS
from ..adapters.agc_target import GRADIENT_OF, weights_of
from ..compare import Check, InputCase, compare
from ..frameworks import tries_frameworks
from ..tolerance import UNKNOWN
from ..variants.agc import ClippingRules, clip_by_rules
from ..variants.agc_catalogue import CATALOGUE, USES
from ..verdict import Verdict


def reference(case: InputCase, rules: ClippingRules) -> Mapping[str, np.ndarray]:
    """Every tensor's clipped gradient, the same with decay, and the parameters after the call; or those of a use."""
    use = case.options["use"]
    factor = weights_of(use) if rules.measures_new_weights else 1.0
    params = {name: factor * array for name, array in case.arrays.items() if not name.startswith(GRADIENT_OF)}
    grads = {name: case.arrays[f"{GRADIENT_OF}{name}"] for name in params}

    def clip(grads):
        everything = [np.concatenate([np.ravel(array) for array in arrays.values()])
                      for arrays in (grads, {name: params[name] for name in grads})]
        return {name: np.asarray(grad if rules.is_left_alone(name, grad.shape) else
                                 clip_by_rules(grad, params[name], everything, case.options, rules))
                for name, grad in grads.items()}

    if use != "plain":
        return _used(use, grads, clip, rules)
    def first(grads):
        return rules.first(clip, grads)

    decayed = rules.decay(first, grads, params, case.options["weight_decay"])
    return {**{clipped(name): grad for name, grad in first(grads).items()},
            **{clipped(name, " with weight decay"): grad for name, grad in decayed.items()},
            **{f"{name}{AFTER}": param if rules.keeps_parameters else UNKNOWN for name, param in params.items()}}


def _used(use, grads, clip, rules):
    """The results of one use of an optimizer or of a function over parameters."""
    if use != "frozen":
        found = {clipped(name, SUFFIXES[use]): grad for name, grad in getattr(rules, use)(clip, grads).items()}
        return found if use != "closure" else {
            CALLS: np.asarray(rules.closure_calls), RECORDED: np.asarray(float(rules.closure_records)),
            LOSS: np.asarray(A_LOSS) if rules.returns_loss else UNKNOWN, **found}
    moving = {name: grad for name, grad in grads.items() if name != FROZEN}
    return {CHANGE_OF_FROZEN: np.zeros_like(grads[FROZEN]),
            **{clipped(name, SUFFIXES[use]): grad for name, grad in rules.frozen(clip, moving).items()}}


SHAPES = {"conv weight": (3, 3, 4, 6), "pointwise weight": (1, 1, 5, 4), "depthwise weight": (3, 3, 1, 5),
          "linear weight": (5, 4), "one input weight": (1, 4), "one output weight": (4, 1),
          "one output convolution": (3, 3, 2, 1), "bias": (6,), "gain": (5,), "stored gain": (1, 1, 1, 6), "scalar": (),
          "stored scalar": (1,), "stored scalar of four axes": (1, 1, 1, 1)}
DRAWN_SHAPES = (  # few, because JAX compiles for each
    {"conv weight": (3, 1, 2, 3), "linear weight": (3, 2), "bias": (4,), "scalar": ()},
    {"conv weight": (1, 3, 3, 2), "linear weight": (2, 5), "bias": (1,), "stored gain": (1, 1, 1, 3)})
USED = {"conv weight": (3, 3, 3, 4), "conv gain": (4,), FROZEN: (4,), "norm scale": (4,), "skip gain": (),
        "linear weight": (4, 5), "linear bias": (5,)}  # a small network, for the uses
SMALL_MODEL = {"conv weight": (3, 3, 3, 4), "conv bias": (4,), "hidden weight": (4, 5), "hidden bias": (5,),
               "final weight": (5, 3), "final bias": (3,)}


def _norms(array):
    """One norm for each last index, to size gradients by."""
    return np.sqrt(np.sum(np.square(array.reshape(-1, array.shape[-1])), axis=0)) if array.ndim else np.abs(array)


def _case(seed, clipping, eps, *, shapes=SHAPES, scale=None, gradient=None, model=False, use="plain"):
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
                   {"clipping": clipping, "eps": eps, "weight_decay": 0.25, "model": model, "use": use})


def _at_the_limit(clipping, eps):
    """Norms of weights are 5, of gradients clipping times that."""
    arrays = {}
    for name, shape in {"conv weight": (1, 2, 1, 3), "linear weight": (2, 3), "bias": (2,)}.items():
        weight = np.broadcast_to(np.array([3.0, 4.0]).reshape((2, 1) if len(shape) > 1 else (2,)),
                                 (2, *shape[-1:]) if len(shape) > 1 else shape).reshape(shape)
        arrays |= {name: weight.copy(), f"{GRADIENT_OF}{name}": np.float64(np.float32(clipping)) * weight}
    return InputCase(arrays, {"clipping": clipping, "eps": eps, "weight_decay": 0.25, "model": False,
                                "use": "plain"})


@functools.cache
def check_for(clipping: float | None = None, eps: float | None = None, model: bool = False,
              uses: tuple[str, ...] = ()) -> Check:
    """The Check with input cases for a target that takes any clipping and eps (None), or has only one of them.

    model: whether its cases include a model's last layer; uses: how else than once the target is used.
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
    edges += [_case(30 + k, *usual, shapes=USED, use=use) for k, use in enumerate(uses)]
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
    catalogue = (*CATALOGUE, *USES) if uses else CATALOGUE
    return Check("agc", reference, ClippingRules(), catalogue, typical, tuple(edges), drawn, smaller)


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


@tries_frameworks
def check_agc(target: Any, *, framework: str = "auto", examples: int = 20, name: str | None = None,
              **options: Any) -> Verdict:
    """The Verdict on adaptive gradient clipping.

    target: see adapters/agc.py. options go to the target; clipping and eps are the reference's too, layout (OIHW or
    HWIO) is that of the weights, final the name of a model's last layer. InputError when it cannot be used.
    """
    adapter = clipping_adapter(target, framework, options)
    with_model, notes = False, adapter.notes
    if adapter.takes_model:
        refused = refusal(adapter, check_for(**adapter.fixed, model=True).edges[-1])
        with_model = refused is None
        notes += () if with_model else (f"a model's last layer could not be checked: {refused}",)
    uses, refusals = asked_uses(adapter, SUFFIXES, lambda use: check_for(**adapter.fixed, uses=(use,)).edges[-1])
    check = check_for(**adapter.fixed, model=with_model, uses=uses)
    return compare(check, adapter.run, target=name or title_of(target), framework=adapter.framework, examples=examples,
                   notes=(*notes, *refusals))
