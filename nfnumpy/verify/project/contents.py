"""What a definition's body has: its calls, names and numbers, from the syntax tree alone."""

import ast
import dataclasses
import re
from collections.abc import Iterator

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINING = (*FUNCTIONS, ast.ClassDef)
ROOTS = ("sqrt", "sqrt_", "norm", "vector_norm", "rsqrt", "hypot")
DIVISIONS = ("div", "div_", "divide", "true_divide", "rsqrt")
DATA = frozenset(("x", "input", "inputs", "images", "out"))
WEIGHTS = re.compile(r"weight|kernel(?!_size|_shape)|^w$")
WHOLE_RANK = 9  # ones in (1,) * n
LARGEST = 1e30  # of the numbers that are kept


@dataclasses.dataclass(frozen=True)
class Call:
    """A call: the function's last name, and all names in its receiver and arguments, in lower case."""

    name: str
    of: frozenset[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contents:
    """calls, names, numbers: everything in the body, names in lower case, strings that are names too; used: variables
    as written; divides: whether there is a division; complements: what is subtracted from 1; measures: functions inside
    it that take a root or a norm; ones: the largest count of ones in a tuple.

    A power is a call of "**". A variable made of a weight alone counts as "weight" where it is an argument.
    """

    calls: tuple[Call, ...]
    names: frozenset[str]
    used: frozenset[str]
    numbers: frozenset[float]
    divides: bool
    complements: frozenset[str]
    measures: frozenset[str]
    ones: int


def contents_of(node: ast.AST, known: dict[int, Contents]) -> Contents:
    """The Contents of a definition; those of a class are its methods' and what else it has.

    known: {id of a node: its Contents}, to which those of the node and of its methods are added.
    """
    if id(node) not in known:
        if isinstance(node, ast.ClassDef):
            children = list(ast.iter_child_nodes(node))
            inner = [contents_of(child, known) for child in children if isinstance(child, DEFINING)]
            parts = [part for child in children if not isinstance(child, DEFINING) for part in ast.walk(child)]
            known[id(node)] = _joined([*inner, _of_parts(node, parts)])
        else:
            known[id(node)] = _of_parts(node, list(ast.walk(node)))
    return known[id(node)]


def _joined(several):
    """The Contents of all together."""
    united = {field: frozenset().union(*(getattr(each, field) for each in several))
              for field in ("names", "used", "numbers", "complements", "measures")}
    return Contents(calls=tuple(call for each in several for call in each.calls), **united,
                    ones=max(each.ones for each in several), divides=any(each.divides for each in several))


def _of_parts(node, parts):
    operations = [part for part in parts if isinstance(part, ast.BinOp)]
    calls = _with_aliases(parts, list(_calls(parts)))
    used = frozenset(part.id for part in parts if isinstance(part, ast.Name))
    return Contents(
        calls=tuple(calls), names=frozenset(_mentioned(parts)) | {name.lower() for name in used}, used=used,
        numbers=frozenset(_numbers(parts)), complements=frozenset(_complements(operations)),
        divides=any(isinstance(part, (ast.BinOp, ast.AugAssign)) and isinstance(part.op, ast.Div) for part in parts)
        or any(call.name in DIVISIONS for call in calls),
        measures=frozenset(_measures(node, parts)), ones=max(_ones(parts), default=0))


def last_name(node: ast.AST) -> str | None:
    """The last part of a dotted name, also of one that is subscripted or called; None for anything else."""
    while True:
        if isinstance(node, ast.Attribute):
            return node.attr
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Subscript):
            node = node.value
        elif isinstance(node, ast.Call):
            node = node.func
        else:
            return None


def _calls(parts):
    for part in parts:
        if isinstance(part, ast.Call):
            name = last_name(part.func)
            if name:
                yield Call(name.lower(), frozenset(_names_in(part)))
        elif isinstance(part, ast.BinOp) and isinstance(part.op, ast.Pow):
            yield Call("**", frozenset(_names_in(part.left)))
        elif isinstance(part, ast.BinOp) and isinstance(part.op, ast.MatMult):
            yield Call("@", frozenset(_names_in(part)))


def _mentioned(parts):
    """Attributes, parameters, keywords, and strings such as those of activation="sigmoid"."""
    for part in parts:
        if isinstance(part, ast.Attribute):
            yield part.attr.lower()
        elif isinstance(part, (ast.arg, ast.keyword)) and part.arg:
            yield part.arg.lower()
        elif isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value.isidentifier():
            yield part.value.lower()


def _numbers(parts):
    for part in parts:
        if isinstance(part, ast.Constant) and type(part.value) in (int, float) and abs(part.value) < LARGEST:
            yield float(part.value)


def _complements(operations):
    for part in operations:
        if isinstance(part.op, ast.Sub) and isinstance(part.left, ast.Constant) and part.left.value == 1:
            yield from _names_in(part.right)


def _ones(parts):
    for part in parts:
        if isinstance(part, (ast.Tuple, ast.List)):
            yield _ones_in(part)
        elif isinstance(part, ast.BinOp) and isinstance(part.op, ast.Mult):
            if isinstance(part.left, (ast.Tuple, ast.List)) and _ones_in(part.left):
                yield WHOLE_RANK


def _ones_in(node):
    return sum(isinstance(item, ast.Constant) and item.value == 1 and type(item.value) is int for item in node.elts)


def _names_in(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield part.id.lower()
        elif isinstance(part, ast.Attribute):
            yield part.attr.lower()


def _measures(node, parts):
    """The names of functions inside a definition that take a root or a norm."""
    for part in parts:
        if isinstance(part, ast.Assign) and isinstance(part.value, ast.Lambda):
            names, body = [target.id for target in part.targets if isinstance(target, ast.Name)], part.value
        elif isinstance(part, FUNCTIONS) and part is not node:
            names, body = [part.name], part
        else:
            continue
        if any(isinstance(inner, ast.Call) and (last_name(inner.func) or "").lower() in ROOTS
               for inner in ast.walk(body)):
            yield from (name.lower() for name in names)


def _with_aliases(parts, calls):
    """The calls, in which a variable that was made of a weight alone also counts as "weight"."""
    aliases: set[str] = set()
    for part in parts:
        if isinstance(part, ast.Assign):
            of = frozenset(_names_in(part.value))
            if not of & DATA and any(name in aliases or WEIGHTS.search(name) for name in of):
                aliases.update(target.id.lower() for target in part.targets if isinstance(target, ast.Name))
    return [Call(call.name, call.of | {"weight"}) if call.of & aliases and not call.of & DATA else call
            for call in calls]
