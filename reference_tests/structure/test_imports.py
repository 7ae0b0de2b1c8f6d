"""The package's import graph: no cycle, and every area imports only from areas below it.

Imports inside functions count like those at the top of a file: a cycle that is broken by importing late is still one.
"""

import ast
import functools
from collections import deque
from pathlib import Path

import nfnumpy

PACKAGE = Path(nfnumpy.__file__).parent
AREAS = (  # from the ground up
    "errors", "validation", "files", "cli", "backend", "functional", "autograd", "ops", "nn", "models", "optim",
    "datasets", "augment", "weights", "training", "analysis", "evaluation", "ports", "verify", "bench", "data", "train",
    "evaluate", "summary", "predict", "__main__")


def module_of(path):
    """The dotted name of the module in a file of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(module):
    """The package's modules that a module imports, anywhere in its file.

    `from x import y` imports x.y if that is a module, and x otherwise.
    """
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                found = f"{source}.{alias.name}" if f"{source}.{alias.name}" in MODULES else source
                if found in MODULES:
                    yield found


@functools.cache
def graph():
    """Module -> the modules that it imports; read when a test needs it."""
    return {module: sorted({other for other in imports_of(module) if other != module}) for module in MODULES}


def area_of(module):
    """The area, a file or folder directly in the package, that a module lies in; "" for the package itself.

    A command (`python -m nfnumpy.AREA`) is above all areas, wherever its file is: it may use any of them.
    """
    if module.endswith(".__main__"):
        return "__main__"
    return module.split(".")[1] if "." in module else ""


def cycle_through(module):
    """The shortest chain of imports from a module back to itself, or None."""
    queue = deque([[module]])
    seen = set()
    while queue:
        chain = queue.popleft()
        for other in graph()[chain[-1]]:
            if other == module:
                return [*chain, other]
            if other not in seen:
                seen.add(other)
                queue.append([*chain, other])
    return None


def test_the_graph_is_read_whole():
    assert len(MODULES) > 150
    assert {area_of(module) for module in MODULES} == {"", *AREAS}
    assert "nfnumpy.functional" in graph()["nfnumpy.ops"]


def test_no_module_imports_itself_through_others():
    cycles = [" -> ".join(cycle) for module in MODULES if (cycle := cycle_through(module))]
    assert not cycles, "\n".join(cycles)


def test_areas_import_only_from_below():
    level = {area: number for number, area in enumerate(AREAS)}
    upward = [f"{module} imports {other}" for module, others in graph().items() for other in others
              if area_of(module) and area_of(other) and level[area_of(other)] > level[area_of(module)]]
    assert not upward, "\n".join(upward)


def test_nothing_of_the_reference_imports_the_ports():
    users = {area_of(module) for module, others in graph().items() for other in others if area_of(other) == "ports"}
    assert users <= {"ports", "verify", "bench"}
