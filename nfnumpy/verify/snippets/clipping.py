"""Programs that call a gradient clipping: on one pair, on parameters, as an optimizer, as a transformation."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..adapters.agc import CLIPPING, EPS, MODEL, OPTIMIZER, PARAMETERS
from ..adapters.signatures import first_named, parameters_of, required
from .code import Program

STARTS = "clipped gradient of "


def forms(program: Program, target: Any, options: Mapping[str, Any]) -> Iterator[Program]:
    """The ways in which `target` may be called."""
    parameters = parameters_of(target) or {}
    name = program.tensor.removeprefix(STARTS).removesuffix(" with weight decay")
    decay = program.options["weight_decay"] if program.tensor.endswith(" with weight decay") else 0.0
    settings = {key: program.options[role] for role, known in (("clipping", CLIPPING), ("eps", EPS))
                if (key := program.means.get(role) or first_named(parameters, known))}
    settings |= {key: value for key, value in options.items() if key in parameters}
    keywords, call = program.keywords(settings), program.place.attribute
    arrays = [f"W = {program.literal(program.weight(program.arrays[name]))}",
              f"G = {program.literal(program.weight(program.arrays[f'gradient of {name}']))}"]
    wanted = [key for key in required(parameters) if key not in settings]
    if len(wanted) == 2 and not isinstance(target, type):
        for first, second in (wanted, wanted[::-1]):
            yield program.with_lines(*arrays, f"yours = {call}({first}=G, {second}=W{keywords})",
                                     "yours = G if yours is None else yours")
            yield program.with_lines(*arrays, f"yours = list({call}({first}=[G], {second}=[W]{keywords}))[0]")
    if program.name == "torch":
        yield from _of_parameters(program, name, parameters, settings, decay)
    if program.name == "jax":
        made = call if hasattr(target, "update") else f"{call}({keywords.removeprefix(', ')})"
        yield program.with_lines(*arrays, f"transformation = {made}",
                                 "yours, _ = transformation.update(G, transformation.init(W), W)")


def _of_parameters(program, name, parameters, settings, decay):
    """In place: every parameter of the counterexample with its gradient."""
    names = [key for key in program.arrays if not key.startswith("gradient of ")]
    lines, variables = [], {}
    for key in names:
        variables[key] = "W" if len(names) == 1 else key.replace(" ", "_")
        lines += [f"{variables[key]} = torch.nn.Parameter("
                  f"{program.literal(program.weight(program.arrays[key]))})",
                  f"{variables[key]}.grad = {program.literal(program.weight(program.arrays[f'gradient of {key}']))}"]
    given, mine, call = ", ".join(variables.values()), variables[name], program.place.attribute
    keywords = program.keywords(settings)
    model = [*lines, "model = torch.nn.Module()", *(f"model.{key} = {key}" for key in variables.values())]
    pairs = ", ".join(f'("{key}", {key})' for key in variables.values())
    for arguments, before in ((f"[{given}]", lines), (f"[{pairs}]", lines), ("model", model)):
        yield program.with_lines(*before, f"{call}({arguments}{keywords})", f"yours = {mine}.grad")
    base, first, net = (first_named(parameters, known) for known in (OPTIMIZER, PARAMETERS, MODEL))
    settings = {**settings, **({"lr": 1.0} if base is None else {}),
                **({"weight_decay": decay} if decay and base is None else {})}
    optimizer = f"torch.optim.SGD([{given}], lr=1.0, weight_decay={decay})"
    given = [f"{key}={value}" for key, value in ((first, f"[{given}]"), (base, optimizer), (net, "model")) if key]
    text = ", ".join([*given, *(f"{key}={value!r}" for key, value in settings.items())])
    yield program.with_lines(*(model if net else lines), f"before = {mine}.detach().clone()",
                             f"optimizer = {call}({text})", "optimizer.step()",
                             f"yours = before - {mine}.detach()  # what the step took away")
