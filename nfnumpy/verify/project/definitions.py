"""The classes and functions of a source, and what can be said of each without running it."""

import ast
import dataclasses
import re
import warnings
from collections.abc import Callable, Iterable, Iterator

from .contents import DEFINING, FUNCTIONS, Contents, contents_of, last_name

WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
CALLED = ("forward", "call", "__call__", "apply")
FRAMEWORKS = {"torch": "torch", "timm": "torch", "torchvision": "torch", "pytorch_lightning": "torch",
              "lightning": "torch", "tensorflow": "tensorflow", "tf_keras": "tensorflow", "keras": "tensorflow",
              "jax": "jax", "flax": "jax", "haiku": "jax", "optax": "jax", "equinox": "jax", "chex": "jax",
              "numpy": "numpy"}
ORDER = ("torch", "tensorflow", "jax", "numpy")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Definition(Contents):
    """A class, function or method, or a function in a dictionary, called table['key'].

    qualified: its name with those around it; is_local: whether it is inside a function; bases: their last names;
    parameters: of a function, or of a class's constructor with its fields; inputs: of what a class's instances are
    called with; methods: their names; copied: a number that copies of the same code share; framework: torch,
    tensorflow, jax or numpy. Parameters are in lower case.
    """

    name: str
    qualified: str
    line: int
    is_class: bool
    is_local: bool
    bases: tuple[str, ...]
    parameters: tuple[str, ...]
    inputs: tuple[str, ...]
    methods: frozenset[str]
    copied: int
    framework: str

    @property
    def words(self) -> frozenset[str]:
        """The words of its name and of those around it, in lower case."""
        return frozenset(word.lower() for word in WORD.findall(self.qualified))

    def calls_any(self, functions: Iterable[str], like: Callable[[str], bool] | None = None) -> str | None:
        """The first of `functions` that is called with an argument `like` that, or with any; None for no such call."""
        wanted = frozenset(functions)
        return next((call.name for call in self.calls
                     if call.name in wanted and (like is None or any(map(like, call.of)))), None)


def definitions(text: str) -> Iterator[Definition]:
    """Every definition of a source, those inside others after them; SyntaxError for whatever cannot be parsed."""
    tree, lines = parsed(text), text.splitlines()
    imported = _imported(tree)
    known: dict[int, Contents] = {}
    for table, key, function in _tables(tree):
        yield _described(function, (f"{table}[{key!r}]",), False, imported, lines, known)
    waiting: list[tuple[ast.AST, tuple[str, ...], bool]] = [(tree, (), False)]
    while waiting:
        node, path, is_local = waiting.pop()
        for child in _definitions_in(node):
            inside = (*path, child.name)
            yield _described(child, inside, is_local, imported, lines, known)
            waiting.append((child, inside, is_local or not isinstance(child, ast.ClassDef)))


def parsed(text: str) -> ast.Module:
    """The syntax tree; SyntaxError for whatever Python cannot parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes and literals in foreign strings
            return ast.parse(text)
    except (ValueError, MemoryError, RecursionError, OverflowError) as error:
        raise SyntaxError(f"it cannot be parsed: {type(error).__name__}") from None


def _tables(tree):
    """(name, key, function) of the functions without a name that dictionaries of the file have under names."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and isinstance(node.targets[0], ast.Name):
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str) and key.value.isidentifier() \
                        and isinstance(value, ast.Lambda):
                    yield node.targets[0].id, key.value, value


def _definitions_in(node):
    """The definitions directly in a body, also under its conditions and loops."""
    waiting = list(reversed(getattr(node, "body", [])))
    while waiting:
        child = waiting.pop()
        if isinstance(child, DEFINING):
            yield child
        elif isinstance(child, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
            inner = [*child.body, *getattr(child, "orelse", []), *getattr(child, "finalbody", [])]
            for handler in getattr(child, "handlers", []):
                inner += handler.body
            waiting.extend(reversed(inner))


def _imported(tree):
    """{name in the file: the package that it comes from}."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[(alias.asname or alias.name).partition(".")[0]] = alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                found[alias.asname or alias.name] = (node.module or "").partition(".")[0]
    return found


def _described(node, path, is_local, imported, lines, known):
    is_class = isinstance(node, ast.ClassDef)
    functions = {child.name: child for child in node.body if isinstance(child, FUNCTIONS)} if is_class else {}
    maker = functions.get("__init__") if is_class else node
    called = next((functions[name] for name in CALLED if name in functions), None)
    fields = [child.target.id.lower() for child in node.body if isinstance(child, ast.AnnAssign)
              and isinstance(child.target, ast.Name)] if is_class else []
    bases = tuple(filter(None, map(last_name, node.bases))) if is_class else ()
    contents = contents_of(node, known)
    return Definition(
        name=path[-1], qualified=".".join(path), line=node.lineno, is_class=is_class, is_local=is_local, bases=bases,
        parameters=(*_parameters(maker), *fields), inputs=_parameters(called), methods=frozenset(functions),
        copied=_copied(node, lines), framework=_framework(contents.used, imported), **vars(contents))


def _parameters(function):
    if function is None:
        return ()
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    return tuple(argument.arg.lower() for argument in every if argument.arg not in ("self", "cls"))


def _copied(node, lines):
    """A number that copies of the same code share, whatever its name, indentation and decorators."""
    text = [line.strip() for line in lines[node.lineno - 1:node.end_lineno]]
    if isinstance(node, DEFINING):
        text[0] = text[0].replace(node.name, "", 1)
    return hash(tuple(line for line in text if line and not line.startswith("#")))


def _framework(used, imported):
    """By the packages whose names it uses, else by those of the file."""
    for names in (used, imported):
        found = {FRAMEWORKS.get(imported.get(name, "")) for name in names}
        framework = next((name for name in ORDER if name in found), None)
        if framework:
            return framework
    return "numpy"
