"""`--freeze`, `--lr-scale` and `--agc-except`: parts of a network chosen by patterns of parameter names.

A pattern is compared with whole names, as shells compare patterns with file names: `*` stands for any text, dots too,
`?` for one character, `[ab]` for one of these. Several are separated by commas.

Used by: options.py (syntax), trainer.py. Test: reference_tests/training/test_fine_tuning.py.
"""

import fnmatch
import math
from collections.abc import Callable, Iterable

from ..autograd import Tensor
from ..errors import InputError
from ..nn import Module
from ..optim import clipped_by_default

Parameters = dict[str, Tensor]


def parsed_patterns(text: str | None, flag: str) -> list[str]:
    """The patterns in the value of `flag`, as --freeze and --agc-except have it; InputError if one is empty."""
    patterns = [] if text is None else [part.strip() for part in text.split(",")]
    if not all(patterns):
        raise InputError(f"{flag} {text}: expected patterns of parameter names, separated by commas, such as "
                         f"'stem*,blocks.0.*'")
    return patterns


def parsed_factors(text: str | None) -> list[tuple[str, float]]:
    """(pattern, factor) pairs in the value of --lr-scale; InputError unless each is PATTERN=NUMBER, the number above 0.
    """
    pairs = []
    for part in [] if text is None else text.split(","):
        pattern, _, number = part.strip().rpartition("=")
        factor = _number(number)
        if not pattern or not (math.isfinite(factor) and factor > 0.0):
            zero = "; --freeze keeps parameters as they are" if factor == 0.0 else ""
            raise InputError(f"--lr-scale {part.strip()}: expected PATTERN=FACTOR with a number above 0, such as "
                             f"'blocks.*=0.1'{zero}")
        pairs.append((pattern, factor))
    return pairs


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def freeze(parameters: Parameters, text: str | None) -> None:
    """Let the `parameters` that the value of --freeze matches have no gradient.

    InputError for a pattern that matches none, and if all are matched.
    """
    frozen: set[str] = set()
    for pattern in parsed_patterns(text, "--freeze"):
        frozen.update(_matching(pattern, parameters, "--freeze"))
    if frozen and len(frozen) == len(parameters):
        raise InputError(f"--freeze {text}: it matches all parameters, so there is nothing to train")
    for name in frozen:
        parameters[name].requires_grad = False


def frozen_share(parameters: Parameters) -> str | None:
    """A line about how much of the `parameters` is frozen; None if nothing is."""
    frozen = [parameter for parameter in parameters.values() if not parameter.requires_grad]
    if not frozen:
        return None
    return (f"frozen: {len(frozen)} of {len(parameters)} parameter arrays, {_values(frozen):,} of "
            f"{_values(parameters.values()):,} values")


def _values(parameters: Iterable[Tensor]) -> int:
    """How many numbers they hold."""
    return sum(math.prod(parameter.shape) for parameter in parameters)


def learning_rate_factor(parameters: Parameters, text: str | None) -> Callable[[str], float] | None:
    """What the value of --lr-scale makes of a parameter's name, as SGD takes it; None if there is none.

    Of several patterns that match a name, the last counts. InputError for a pattern that matches no parameter that is
    trained.
    """
    if text is None:
        return None
    factors = dict.fromkeys(parameters, 1.0)
    for pattern, factor in parsed_factors(text):
        names = _matching(pattern, parameters, "--lr-scale")
        if not any(parameters[name].requires_grad for name in names):
            raise InputError(f"--lr-scale {pattern}={factor:g}: --freeze keeps all parameters of such names as they "
                             f"are")
        factors.update(dict.fromkeys(names, factor))
    return factors.__getitem__


def clipped_parameters(model: Module, text: str | None) -> Callable[[str], bool]:
    """Which parameters AGC clips, as SGD takes it: the default ones without those that --agc-except matches.

    InputError for a pattern that matches no parameter.
    """
    names = dict(model.parameters())
    exempt = {name for pattern in parsed_patterns(text, "--agc-except")
              for name in _matching(pattern, names, "--agc-except")}
    is_clipped = clipped_by_default(model)
    return lambda name: is_clipped(name) and name not in exempt


def _matching(pattern: str, parameters: Parameters, flag: str) -> list[str]:
    """The names that `pattern` matches; InputError, with a name of each part of the network, if there is none."""
    names = [name for name in parameters if fnmatch.fnmatchcase(name, pattern)]
    if not names:
        examples: dict[str, str] = {}
        for name in parameters:
            examples.setdefault(name.partition(".")[0], name)
        raise InputError(f"{flag} {pattern}: no parameter has such a name; there are {', '.join(examples.values())} "
                         f"and others; 'blocks.0.*' matches a whole block")
    return names
