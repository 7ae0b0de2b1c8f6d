"""Programs that call normalizations: modules of torch, and functions of any framework."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..adapters.norm_runs import EVALUATION, GROUPS, ROLE_OF, ROLES, TRAINING
from ..adapters.signatures import first_named, parameters_of
from .code import Program
from .modules import loading, shapes_of

SHOWN = ("output", "output in evaluation", "running mean", "running variance")


def norm_forms(program: Program, target: Any, options: Mapping[str, Any]) -> Iterator[Program]:
    """A class or factory of torch, or a function of x, gamma, beta and running statistics."""
    parameters = parameters_of(target) or {}
    settings = {name: value for name, value in options.items() if name in parameters}
    if program.tensor not in SHOWN:
        return
    if not isinstance(target, type) and first_named(parameters, ROLES["x"]):
        yield from _of_a_function(program, parameters, settings)
    elif program.name == "torch":
        yield from _of_a_module(program, target, parameters, settings)


def _x(program):
    return f"x = {program.literal(program.images(program.arrays['x']))}"


def _trains(program):
    return "evaluation" not in program.tensor


def _of_a_function(program, parameters, settings):
    """The statistics are returned after the output, or written into the arrays that are given."""
    tensor, trains = program.tensor, _trains(program)
    roles = {role: first_named(parameters, names) for role, names in ROLES.items() if role != "x"}
    given = {name: role for role, name in roles.items() if name and role in program.arrays}
    flags = {first_named(parameters, TRAINING): trains, first_named(parameters, EVALUATION): not trains,
             first_named(parameters, GROUPS): program.options["groups"]}
    settings = {**settings, **{name: value for name, value in flags.items() if name}}
    arrays = "".join(f", {name}={role}" for name, role in given.items())
    lines = [_x(program), *(f"{role} = {program.literal(program.arrays[role])}" for role in given.values()),
             f"result = {program.place.attribute}(x{arrays}{program.keywords(settings)})"]
    if tensor.startswith("output"):
        yield program.with_lines(*lines, "yours = result[0] if isinstance(result, tuple) else result")
        return
    yield program.with_lines(*lines, f"yours = result[{1 if tensor == 'running mean' else 2}]")
    yield program.with_lines(*lines, f"yours = {tensor.replace(' ', '_')}")


def _of_a_module(program, target, parameters, settings):
    """Of (channels), or of (groups, channels)."""
    arrays, tensor = program.arrays, program.tensor
    groups = first_named(parameters, GROUPS)
    channels = next((name for name in parameters if name not in settings and name != groups), None)
    sizes = {groups: program.options["groups"], channels: program.options["channels"]}
    given = {**{name: size for name, size in sizes.items() if name}, **settings}
    leaves = _leaves(shapes_of(target, **given), arrays)
    values = {path: (role, None if arrays[role].shape == shape else shape) for role, (path, shape) in leaves.items()}
    made = f"{program.place.attribute}({program.keywords(given).removeprefix(', ')}).to(torch.{program.dtype})"
    lines = [_x(program), *(f"{role} = {program.literal(arrays[role])}" for role in leaves),
             f"module = {made}{'' if _trains(program) else '.eval()'}", *loading("module", values)]
    if tensor.startswith("output"):
        yield program.with_lines(*lines, "yours = module(x).detach()")
    else:
        role = "running_mean" if tensor == "running mean" else "running_variance"
        yield program.with_lines(*lines, "module(x)", f"yours = module.{leaves[role][0]}")


def _leaves(shapes, arrays):
    """{role: (path, shape)} of the parameters and buffers, by their names."""
    found = {}
    for path, shape in shapes.items():
        last = path.rpartition(".")[2].lower()
        role = next((role for role, pattern, has_three in ROLE_OF
                     if not has_three and role in arrays and re.search(pattern, last)), None)
        if role:
            found.setdefault(role, (path, shape))
    return found
