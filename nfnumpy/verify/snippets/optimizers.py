"""Programs that take steps with a sharpness-aware optimizer of torch's."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..adapters.sam import BASE, FIRST, ROLES, SECOND
from ..adapters.signatures import parameters_of
from .code import Program, named


def sam_forms(program: Program, target: Any, options: Mapping[str, Any]) -> Iterator[Program]:
    """Two steps on Σ log(1 + exp(M·w - t)) + (w·w)²/4, by first_step and second_step or by step(closure)."""
    if program.name != "torch" or program.options["use"] != "plain":
        return
    parameters, given = parameters_of(target) or {}, program.options
    arrays = {name.replace(".", "_"): array for name, array in program.arrays.items()
              if name not in ("mixing", "offset")}
    names = list(arrays)
    rho = named(parameters, ROLES["rho"].names)
    settings = {**({rho or "rho": given["rho"]} if rho or _takes_anything(parameters) else {}),
                **{key: value for key, value in options.items() if key != "rho"}}
    own = {key: given[key] for key in ("lr", "momentum", "nesterov") if key in given}
    base = named(parameters, BASE)
    listed = f"[{', '.join(names)}]"
    lines = [*(f"{name} = torch.nn.Parameter({program.literal(arrays[name])})" for name in names),
             f"M = {program.literal(program.arrays['mixing'])}", f"t = {program.literal(program.arrays['offset'])}", "",
             "def loss():", f"    for parameter in {listed}:", "        parameter.grad = None",
             f"    w = torch.cat([parameter.reshape(-1) for parameter in {listed}])",
             "    value = torch.nn.functional.softplus(M @ w - t).sum() + 0.25 * (w @ w) ** 2", "    value.backward()",
             "    return value", ""]
    call, keywords = program.place.attribute, program.keywords(settings)
    first = next((name for name in FIRST if hasattr(target, name)), None)
    second = next((name for name in SECOND if hasattr(target, name)), None)
    count = 2 if program.tensor.endswith("step 2") else 1
    ascends = program.tensor == "weights after the ascent"
    kept = f"    yours = torch.cat([parameter.detach().reshape(-1) for parameter in {listed}])"
    makers = [f"{call}({listed}{keywords}{program.keywords(own)})"]
    if base is not None:
        makers = [f"{call}({listed}, {base}=torch.optim.SGD{keywords}{program.keywords(own)})",
                  f"{call}({listed}, {base}=torch.optim.SGD({listed}{program.keywords(own)}){keywords})",
                  f"{call}({base}=torch.optim.SGD({listed}{program.keywords(own)}){keywords})"]
    for made in makers:
        if first and second:
            steps = ["    loss()", f"    optimizer.{first}()", *([kept] if ascends else []), "    loss()",
                     f"    optimizer.{second}()", *([] if ascends else [kept])]
        elif ascends:
            return
        else:
            steps = ["    loss()", "    optimizer.step(loss)", kept]
        yield program.with_lines(*lines, f"optimizer = {made}", f"for step in range({count}):", *steps)


def _takes_anything(parameters):
    return any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters.values())
