"""Public functions have type hints and a docstring; a formula's file names its users, fast paths, kernel and test."""

import ast
from pathlib import Path

import pytest

import nfnumpy

PACKAGE = Path(nfnumpy.__file__).parent
FILES = {str(path.relative_to(PACKAGE)): ast.parse(path.read_text(encoding="utf-8"))
         for path in sorted(PACKAGE.rglob("*.py"))}


def public_functions(tree, of_subclasses=True):
    """Every public function and method of a file's top level and of its public classes.

    of_subclasses: also methods of classes with a base, which has the docstring of what it declares.
    """
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and (of_subclasses or not node.bases):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and (not method.name.startswith("_")
                                                            or method.name in ("__init__", "__call__")):
                    yield f"{node.name}.{method.name}", method


def lacks_hints(function):
    """Whether an argument other than self, or the return value, has no annotation."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    arguments += [argument for argument in (function.args.vararg, function.args.kwarg) if argument]
    named = [argument for argument in arguments if argument.arg not in ("self", "cls")]
    returns = function.returns is not None or function.name == "__init__"
    return not returns or any(argument.annotation is None for argument in named)


@pytest.mark.parametrize("area", sorted({name.partition("/")[0] for name in FILES}))
def test_public_functions_have_type_hints(area):
    bare = [f"{name}:{function.lineno} {called}" for name, tree in FILES.items() if name.partition("/")[0] == area
            for called, function in public_functions(tree) if lacks_hints(function)]
    assert not bare, "\n".join(bare)


@pytest.mark.parametrize("area", sorted({name.partition("/")[0] for name in FILES}))
def test_files_and_public_functions_have_docstrings(area):
    def is_documented(node):
        is_setter = any(isinstance(decorator, ast.Attribute) and decorator.attr == "setter"
                        for decorator in getattr(node, "decorator_list", ()))
        return is_setter or bool(ast.get_docstring(node))

    bare = [name for name, tree in FILES.items() if name.partition("/")[0] == area and not is_documented(tree)]
    bare += [f"{name}:{function.lineno} {called}" for name, tree in FILES.items() if name.partition("/")[0] == area
             for called, function in public_functions(tree, of_subclasses=False)
             if not is_documented(function) and not function.name.startswith("__") and not called.endswith("_vjp")]
    assert not bare, "\n".join(bare)


FORMULAS = [name for name in FILES if name.partition("/")[0] in ("functional", "optim") and name.count("/") == 1
            and not name.endswith("__init__.py") and any(
                isinstance(decorator, ast.Name) and decorator.id == "formula" for _, function
                in public_functions(FILES[name]) for decorator in function.decorator_list)]


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formulas_file_names_users_fast_paths_and_test(name):
    docstring = ast.get_docstring(FILES[name])
    assert all(word in docstring for word in ("Used by", "Fast path", "Test")), docstring
