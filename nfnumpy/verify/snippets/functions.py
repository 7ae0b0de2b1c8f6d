"""Programs that call nonlinearities, schedules and averages."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..adapters.ema import AVERAGE, DECAY, ONE_MINUS_DECAY
from ..adapters.ema_classes import STEP as UPDATE, UPDATES
from ..adapters.schedule import FROM, OPTIMIZER, ROLES, STEP
from ..adapters.signatures import first_named, parameters_of, required
from .code import Program

HELD = ("module.weight", "ema.weight", "ema_model.weight", "shadow['weight']", "model.weight", "average['weight']")


def activation_forms(program: Program, target: Any, options: Mapping[str, Any]) -> Iterator[Program]:
    """A function of an array, or what makes one."""
    call, keywords = program.place.attribute, program.keywords(options)
    if program.tensor != "output":
        return
    lines = [f"x = {program.literal(program.arrays['x'])}"]
    made = f"{call}({keywords.removeprefix(', ')})"
    if not isinstance(target, type):
        yield program.with_lines(*lines, f"yours = {call}(x{keywords})")
    yield program.with_lines(*lines, f"yours = {made}(x)")
    yield program.with_lines(*lines, f"yours = {made}()(x)")


def schedule_forms(program: Program, target: Any, options: Mapping[str, Any]) -> Iterator[Program]:
    """A function of the step, what makes one, and a scheduler of torch's."""
    parameters, call = parameters_of(target) or {}, program.place.attribute
    peak, known = float(program.arrays["peak"]), program.options
    warmup, total = known["warmup_steps"], known["total_steps"]
    steps = {"rate during warm-up": f"range({warmup})", "rate after warm-up": f"range({warmup}, {total})"}.get(
        program.tensor)
    if steps is None:
        return
    settings: dict[str, Any] = {}
    for role, value in (("peak", peak), ("warmup_steps", warmup), ("total_steps", total)):
        name = first_named(parameters, ROLES[role].names)
        settings |= {name: value} if name else {}
    start, step, optimizer = (first_named(parameters, names) for names in (FROM, STEP, OPTIMIZER))
    settings |= {start: 0.0} if start else {}
    settings |= {name: value for name, value in options.items() if name in parameters}
    keywords = program.keywords(settings)
    if step in required(parameters):
        yield _rates(program, [], f"{call}({step}=step{keywords})", steps)
    if optimizer and program.name == "torch":
        settings.pop(first_named(parameters, ROLES["peak"].names) or "", None)
        yield from _of_a_scheduler(program, f"{call}({optimizer}=optimizer", parameters, settings)
    yield _rates(program, [f"schedule = {call}({keywords.removeprefix(', ')})"], "schedule(step)", steps)


def _rates(program, lines, rate, steps):
    array = {"torch": "torch.tensor({})", "numpy": "np.array({})", "jax": "jnp.array({})",
             "tensorflow": "tf.constant({})"}[program.name]
    return program.with_lines(*lines, f"yours = {array.format(f'[float({rate}) for step in {steps}]')}")


def _of_a_scheduler(program, call, parameters, settings):
    """Whose step is called after each step, or whose step_update with the number of each."""
    warmup, total = program.options["warmup_steps"], program.options["total_steps"]
    in_steps = program.keywords({"t_in_epochs": False} if "t_in_epochs" in parameters else {})
    part = f"rates[{warmup}:]" if "after" in program.tensor else f"rates[:{warmup}]"
    lines = [f"optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr={float(program.arrays['peak'])!r})",
             f"scheduler = {call}{program.keywords(settings)}{in_steps})", "rates = []", f"for step in range({total}):"]
    rate = '    rates.append(optimizer.param_groups[0]["lr"])'
    for body in ([rate, "    optimizer.step()", "    scheduler.step()"], ["    scheduler.step_update(step)", rate]):
        yield program.with_lines(*lines, *body, f"yours = torch.tensor({part})")


def average_forms(program: Program, target: Any, options: Mapping[str, Any]) -> Iterator[Program]:
    """A function of one update, or a class around a model of torch's."""
    parameters, call = parameters_of(target) or {}, program.place.attribute
    if not program.tensor.startswith("average after update "):
        return
    count, decay = int(program.tensor.rpartition(" ")[2]), program.options["decay"]
    settings, name = {key: value for key, value in options.items() if key in parameters}, first_named(parameters, DECAY)
    complement = first_named(parameters, ONE_MINUS_DECAY)
    if name and name not in settings:
        settings[name] = decay
    elif complement and complement not in settings:
        settings[complement] = 1.0 - decay
    lines = [f"initial = {program.literal(program.arrays['initial'])}",
             f"weights = {program.literal(program.arrays['weights'])}"]
    average, step = first_named(parameters, AVERAGE), first_named(parameters, UPDATE)
    value = next((key for key in required(parameters) if key not in (average, step, *settings)), None)
    if average and value and not isinstance(target, type):
        others = program.keywords({key: each for key, each in settings.items() if key != name})
        warmed_up = [f", {name}=min({decay}, (1 + t) / (10 + t))"] if name and not step else []
        for given in (*warmed_up, program.keywords({name: settings[name]} if name else {})):
            for counted in (f", {step}=t", f", {step}=t + 1") if step else ("",):
                yield program.with_lines(*lines, "yours = initial", f"for t, weight in enumerate(weights[:{count}]):",
                                         f"    yours = {call}({average}=yours, {value}=weight{given}{counted}{others})")
    if program.name == "torch" and isinstance(target, type):
        update = next((each for each in UPDATES if hasattr(target, each)), UPDATES[0])
        yield from _of_a_class(program, lines, count, update, settings)


def _of_a_class(program, lines, count, update, settings):
    keywords, call = program.keywords(settings), program.place.attribute
    lines = [*lines, "model = torch.nn.Module()", "model.weight = torch.nn.Parameter(initial.clone())",
             f"keeper = {call}(model{keywords})"]
    plain, counted = f"for weight in weights[:{count}]:", f"for t, weight in enumerate(weights[:{count}]):"
    for loop, argument in ((plain, "model"), (plain, ""), (counted, "model, step=t + 1")):
        body = [loop, "    model.weight.data.copy_(weight)", f"    keeper.{update}({argument})"]
        for result in HELD:
            yield program.with_lines(*lines, *body, f"yours = keeper.{result}.detach()")
