"""The list of all targets of the audit, each with what verify should say of it.

Modules of this package register targets: @planted(kind, framework, *names of the causes) for a mistake,
@right(kind, framework) for an implementation without one. The targets of reference_tests/verify come in by of_tests.py.
"""

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

FRAMEWORKS = ("numpy", "torch", "tensorflow", "jax")  # Keras's layers and optimizers are counted as TensorFlow's
TESTS = "of_tests"
MODULES = ("numpy_layers", "numpy_training", "jax_layers", "jax_training", "array_networks", "tensorflow_layers",
           "tensorflow_training", "keras_layers", "keras_networks", "torch_layers", "torch_training", "torch_networks",
           TESTS)


@dataclasses.dataclass(frozen=True)
class Case:
    """One target: make() -> (the target, options of the check); title: unique among those of its kind and framework.

    causes: the names of the known variants that are planted; forms: those benign ones that a right target has;
    module: that registered it; is_quick: whether the suite runs it; the tests run their own.
    """

    kind: str
    framework: str
    title: str
    make: Callable[[], tuple[Any, dict[str, Any]]]
    causes: frozenset[str]
    forms: frozenset[str]
    module: str
    is_quick: bool = True

    @property
    def is_planted(self) -> bool:
        """Whether there is a mistake in it."""
        return bool(self.causes)

    @property
    def key(self) -> str:
        """Kind, framework and title."""
        return f"{self.kind}/{self.framework}/{self.title}"


_CASES: dict[str, Case] = {}
_LOADING: list[str] = []  # the module that is being imported


def add(case: Case) -> None:
    """Register a case; a second one of the same title is numbered."""
    number, title = 2, case.title
    while case.key in _CASES:
        case = dataclasses.replace(case, title=f"{title} ({number})")
        number += 1
    _CASES[case.key] = case


def planted(kind: str, framework: str, /, *causes: str, is_quick: bool = True, **options: Any) -> Callable[[Any], Any]:
    """A decorator for a target with these mistakes; options of the check."""
    assert causes
    return _registering(kind, framework, causes, (), is_quick, options)


def right(kind: str, framework: str, /, *forms: str, is_quick: bool = True, **options: Any) -> Callable[[Any], Any]:
    """A decorator for a target without a mistake; forms: the benign variants that it is."""
    return _registering(kind, framework, (), forms, is_quick, options)


def _registering(kind, framework, causes, forms, is_quick, options):
    def register(target):
        name = getattr(target, "__qualname__", type(target).__name__).replace(".<locals>", "")
        title = ", ".join((name, *causes)) if causes else name
        add(Case(kind, framework, title, lambda: (target, options), frozenset(causes), frozenset(forms),
                 _LOADING[-1] if _LOADING else "", is_quick))
        return target
    return register


def cases(framework: str | None = None) -> tuple[Case, ...]:
    """All cases, of one framework if it is given; imports the modules that register them."""
    for name in MODULES:
        _LOADING.append(name)
        importlib.import_module(f"{__package__}.{name}")
        _LOADING.pop()
    return tuple(case for case in _CASES.values() if framework in (None, case.framework))
