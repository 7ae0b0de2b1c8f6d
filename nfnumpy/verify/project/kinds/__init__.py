"""What each kind of check looks for: three questions about a definition, two of which must be answered with yes.

A Rule asks for its name, for its signature or bases, and for what its source does; each answer is a phrase of evidence.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable

from ..definitions import Definition

Question = Callable[[Definition], str]  # a phrase of evidence, or "" for no

SHARES = {"name": 0.3, "signature": 0.3, "source": 0.4}  # of the confidence
ENOUGH = 0.6  # two of three


@dataclasses.dataclass(frozen=True)
class Rule:
    """kind: of the check; excluded: what it is not, whatever the questions say; needs: questions that must hold."""

    kind: str
    name: Question
    signature: Question
    source: Question
    excluded: Callable[[Definition], bool] = lambda definition: False
    needs: tuple[str, ...] = ()

    def evidence(self, definition: Definition) -> tuple[float, str]:
        """(confidence, the strongest phrase); (0, "") where it is not of this kind."""
        answers = {"source": "", "signature": self.signature(definition), "name": self.name(definition)}
        if any(answers.values()) and not self.excluded(definition):
            answers["source"] = self.source(definition)
        confidence = sum(SHARES[question] for question, answer in answers.items() if answer)
        if confidence < ENOUGH or not all(answers[question] for question in self.needs) or self.excluded(definition):
            return 0.0, ""
        return round(confidence, 2), next(answer for answer in answers.values() if answer)


def called(pattern: str) -> Question:
    """Whether the name, with _ between its words, fits the pattern."""
    compiled = re.compile(pattern)

    def question(definition: Definition) -> str:
        return f"it is called {definition.name}" if compiled.search(spelled(definition.name)) else ""
    return question


@functools.lru_cache(maxsize=10_000)
def spelled(name: str) -> str:
    """A name as small words with _ between them: ScaledStdConv2d is scaled_std_conv_2_d."""
    words = re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+", name)
    return "_".join(word.lower() for word in words)


def words_of(*excluded: str) -> Callable[[Definition], bool]:
    """Whether one of these words is in the name."""
    wanted = frozenset(excluded)
    return lambda definition: bool(definition.words & wanted)


def first_in(names: Iterable[str], wanted: Iterable[str]) -> str | None:
    """The first of `names` that is one of `wanted`."""
    wanted = frozenset(wanted)
    return next((name for name in names if name in wanted), None)


def like(pattern: str) -> Callable[[str], bool]:
    """Whether a name has the pattern in it."""
    compiled = re.compile(pattern)
    return functools.lru_cache(maxsize=10_000)(lambda name: compiled.search(name) is not None)
