"""Programs that take steps with a sharpness-aware optimizer of torch's."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..adapters.layer_sam import FIRST, SECOND
from ..adapters.sam import BASE, ROLES
from ..adapters.signatures import first_named, parameters_of, takes_any_keyword
from .code import Program

LOSS = ("def loss():", "    for parameter in parameters:", "        parameter.grad = None",
        "    w = torch.cat([parameter.reshape(-1) for parameter in parameters])",
        "    value = torch.nn.functional.softplus(M @ w - t).sum() + 0.25 * (w @ w) ** 2", "    value.backward()",
        "    return value", "")
KEPT = "    yours = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])"


def sam_forms(program: Program, target: Any, options: Mapping[str, Any]) -> Iterator[Program]:
    """Two steps on Σ log(1 + exp(M·w - t)) + (w·w)²/4, by first_step and second_step or by step(closure)."""
    steps = list(_steps(target, program.tensor == "weights after the ascent"))
    if program.name != "torch" or not steps:
        return
    arrays = {name.replace(".", "_"): array for name, array in program.arrays.items()
              if name not in ("mixing", "offset")}
    lines = [*(f"{name} = torch.nn.Parameter({program.literal(array)})" for name, array in arrays.items()),
             f"parameters = [{', '.join(arrays)}]", f"M = {program.literal(program.arrays['mixing'])}",
             f"t = {program.literal(program.arrays['offset'])}", "", *LOSS]
    count = 2 if program.tensor.endswith("step 2") else 1
    for made in _makers(program, target, options):
        yield program.with_lines(*lines, f"optimizer = {made}", f"for step in range({count}):", *steps)


def _makers(program, target, options):
    """The calls that may make the optimizer: of parameters, around a class of optimizers, or around an optimizer."""
    parameters, given, call = parameters_of(target) or {}, program.options, program.place.attribute
    rho, base = first_named(parameters, ROLES["rho"].names), first_named(parameters, BASE)
    settings = {rho or "rho": given["rho"]} if rho or takes_any_keyword(parameters) else {}
    keywords = program.keywords({**settings, **options})
    own = program.keywords({key: given[key] for key in ("lr", "momentum", "nesterov") if key in given})
    if base is None:
        return [f"{call}(parameters{keywords}{own})"]
    return [f"{call}(parameters, {base}=torch.optim.SGD{keywords}{own})",
            f"{call}(parameters, {base}=torch.optim.SGD(parameters{own}){keywords})",
            f"{call}({base}=torch.optim.SGD(parameters{own}){keywords})"]


def _steps(target, ascends):
    """The lines of a step that keep the weights after the ascent, or after the step; none where they are not seen."""
    first, second = (next((name for name in names if hasattr(target, name)), None) for names in (FIRST, SECOND))
    if first and second:
        yield from ("    loss()", f"    optimizer.{first}()", *([KEPT] if ascends else []), "    loss()",
                    f"    optimizer.{second}()", *([] if ascends else [KEPT]))
    elif not ascends:
        yield from ("    loss()", "    optimizer.step(loss)", KEPT)
