"""Stochastic depth: functions of (x, rate, training) and modules made for a rate, told apart by their names."""

import functools

import numpy as np

from ...errors import InputError
from ..frameworks import framework_of
from .asking import parameter_names
from .calling import asked

RATES = ("rate", "drop_rate", "drop_prob", "drop_path_rate", "drop_path", "drop", "prob", "p", "dropout_rate",
         "stochdepth_rate", "stochastic_depth_rate", "stochastic_depth_prob", "probability")
KEEPS = ("keep_prob", "keep", "keep_rate", "survival_prob", "survival_rate", "survival_probability", "keep_probability")
TRAININGS = ("training", "train", "is_training")
DETERMINISTICS = ("deterministic", "eval", "inference", "test")
RANDOMS = ("rng", "key", "rng_key", "prng_key", "generator", "random", "seed", "random_state")


def stochastic_depth_subject(target, wish, options):
    """(subject, framework): subject(x, rate, training, draw) -> (output, gradient of its sum weighed by x, or None).

    x: a host array (N, H, W, C); draw: a whole number that random targets without a state of their own are seeded with.
    """
    framework = framework_of(target, wish)
    if not callable(target):
        raise InputError(f"stochastic_depth: expected something to call, got {target!r}")
    names = [name for name in parameter_names(target) if name not in options]
    takes_x = bool(names) and not isinstance(target, type) and names[0] not in (*RATES, *KEEPS)
    if isinstance(target, type) or not takes_x:
        if not set(names) & {*RATES, *KEEPS}:
            raise InputError("stochastic_depth: expected a function of (x, rate, training) or a module of (rate), got "
                             f"parameters ({', '.join(names) or 'none'})")

    def called(x, rate, training, draw):
        if takes_x:
            return target(x, **options, **_arguments(names[1:], rate, training, draw, framework))
        made = target(**options, **_arguments(names, rate, training, draw, framework))
        if hasattr(made, "train") and hasattr(made, "eval"):
            (made.train if training else made.eval)()
        inner = made.__call__ if framework.name != "torch" else made.forward
        return made(x, **_arguments(parameter_names(inner)[1:], rate, training, draw, framework))

    def subject(x, rate, training, draw):
        value, grads = framework.value_and_vjp(lambda x: called(x, rate, training, draw), [framework.array(x)], x)
        return value, None if grads is None or grads[0] is None else grads[0]

    return functools.partial(asked, "stochastic_depth", subject), framework


def _arguments(names, rate, training, draw, framework):
    """What the parameters called `names` are given, as far as their names say."""
    given = {}
    for name in names:
        if name in RATES or name in KEEPS:
            given[name] = rate if name in RATES else 1.0 - rate
        elif name in TRAININGS or name in DETERMINISTICS:
            given[name] = training if name in TRAININGS else not training
        elif name in RANDOMS:
            given[name] = draw if name == "seed" else framework.jax.random.PRNGKey(draw) \
                if framework.name == "jax" else framework.torch.Generator().manual_seed(draw) \
                if framework.name == "torch" else np.random.default_rng(draw)
    return given
