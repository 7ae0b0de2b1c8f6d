"""Learning-rate schedules: functions of the step, what makes them, and torch's schedulers."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import InputError
from ..frameworks import framework_of
from .asking import answering, first_named, needs, parameters_of, required, takes_any_keyword

PEAK = ("peak", "peak_value", "peak_lr", "base_lr", "lr", "max_lr", "learning_rate", "base_value", "lr_max", "value",
        "init_lr", "lr_peak", "base_learning_rate", "initial_lr")
WARMUP = ("warmup_steps", "num_warmup_steps", "warmup", "warmup_t", "warmup_iters", "warmup_epochs", "n_warmup",
          "warmup_iterations", "warm_up", "warmup_length", "warmup_period", "num_warmup", "linear_warmup_steps", "warm")
TOTAL = ("total_steps", "num_training_steps", "decay_steps", "total", "t_initial", "t_max", "total_iters", "epochs",
         "total_epochs", "num_epochs", "max_steps", "num_steps", "n_steps", "steps", "max_iters", "training_steps",
         "total_iterations", "max_epochs", "n_total", "end")
PER_EPOCH = ("steps_per_epoch", "iters_per_epoch", "n_iter_per_epoch", "batches_per_epoch", "niter_per_ep")
STEP = ("step", "t", "count", "iteration", "current_step", "global_step", "it", "i", "step_num", "epoch", "num_updates",
        "n", "now", "cur_step")
OPTIMIZER = ("optimizer", "optim", "opt")
FROM = ("init_value", "warmup_init", "warmup_lr_init", "warmup_start_lr", "start_lr", "init")
WHAT = ("a function step -> learning rate, what makes one of (peak, warmup_steps, total_steps), a function (step, "
        "peak, warmup_steps, total_steps) -> learning rate, or what makes a torch scheduler of an optimizer")


@dataclasses.dataclass(frozen=True)
class Asked:
    """How a target is asked; peak, warmup_steps, total_steps: the only value it will do, or None where it takes any."""

    subject: Callable
    framework: Any
    peak: float | None
    warmup_steps: int | None
    total_steps: int | None
    notes: tuple


BEYOND = 4  # steps


def parts(rates, warmup_steps, total_steps):
    """A rate for every step from 0, by name: during the warm-up, after it, and after the last step."""
    return {name: part for name, part in (("rate during warm-up", rates[:warmup_steps]), ("rate after warm-up",
            rates[warmup_steps:total_steps]), ("rate after the last step", rates[total_steps:])) if len(part)}


def schedule_subject(target, wish, options):
    """An `Asked`; InputError for something that is no schedule.

    options: peak, warmup_steps, total_steps (by any name) say what it should be; they and all others go to the target,
    if it takes them.
    """
    framework = framework_of(target, wish)
    if not callable(target):
        raise needs("schedule", target, WHAT)
    parameters = parameters_of(target) or {}
    names = {kind: first_named(parameters, known) for kind, known in (
        ("peak", PEAK), ("warmup_steps", WARMUP), ("total_steps", TOTAL), ("steps_per_epoch", PER_EPOCH),
        ("start", FROM), ("step", STEP), ("optimizer", OPTIMIZER))}
    if names["optimizer"]:
        names["peak"] = None
    elif not names["peak"] and not names["warmup_steps"]:  # then what it starts from is the peak
        names["peak"], names["start"] = names["start"], None
    fixed, passed = {}, dict(options)
    for kind, known in (("peak", PEAK), ("warmup_steps", WARMUP), ("total_steps", TOTAL)):
        given = first_named(options, known)
        fixed[kind] = options[given] if given else None
        if given and not (given in parameters or takes_any_keyword(parameters)):
            del passed[given]
    told = {kind for kind in fixed if names[kind]} | ({"peak"} if names["optimizer"] else set())
    alone = required(parameters) == [names["step"]] or not told
    if alone and isinstance(target, type):
        raise needs("schedule", target, WHAT)
    notes = []
    if alone:
        missing = [kind for kind in fixed if fixed[kind] is None]
        if missing:
            raise InputError("schedule: a function of the step alone: say what it should be with "
                             + " ".join(f"--option {kind}=…" for kind in missing))
    elif "total_steps" not in told and fixed["total_steps"] is None:
        raise InputError("schedule: the target takes no number of steps in all; say what it is with --option "
                         "total_steps=…")
    if not alone and "warmup_steps" not in told and fixed["warmup_steps"] is None:
        fixed["warmup_steps"] = 0
        notes.append("it knows no warm-up: compared with the cosine alone")
    if not alone and "peak" not in told and fixed["peak"] is None:
        fixed["peak"] = 1.0
        notes.append("it takes no peak: compared with a peak of 1")
    for kind, name in names.items():
        if name and "epoch" in name and kind in ("warmup_steps", "total_steps") and not names["steps_per_epoch"]:
            notes.append(f"its {name} are taken to be steps")
    ask = _way_of_asking(target, parameters, framework, names, alone, passed)
    return Asked(answering("schedule", ask), framework, fixed["peak"], fixed["warmup_steps"], fixed["total_steps"],
                 tuple(notes))


def _settings(names, problem, passed):
    """The keywords that the target is made with."""
    options = problem.options
    per_epoch = options["steps_per_epoch"] if names["steps_per_epoch"] else 1
    peak = float(problem.arrays["peak"])
    said = {names["peak"]: peak, names["start"]: 0.0, names["steps_per_epoch"]: per_epoch}
    for kind in ("warmup_steps", "total_steps"):
        name = names[kind]
        said[name] = options[kind] // per_epoch if name and "epoch" in name else options[kind]
    return {**{name: value for name, value in said.items() if name}, **passed}


def _way_of_asking(target, parameters, framework, names, alone, passed):
    def rates_of(problem, rate_of):
        rates = []
        for step in range(problem.options["total_steps"] + BEYOND):
            try:
                rates.append(float(rate_of(step)))
            except Exception:
                if step < problem.options["total_steps"]:
                    raise
                break  # some schedules end with an error
        return parts(np.array(rates), problem.options["warmup_steps"], problem.options["total_steps"])

    def at(rate):
        return framework.host(rate) if hasattr(rate, "dtype") else rate

    if alone:
        return lambda problem: rates_of(problem, lambda step: at(target(step, **passed)))
    if names["optimizer"]:
        return lambda problem: rates_of(problem, _scheduled(target, parameters, framework, names, problem, passed))
    if names["step"] in required(parameters):
        return lambda problem: rates_of(problem, lambda step: at(target(
            **{names["step"]: step}, **_settings(names, problem, passed))))

    def subject(problem):
        schedule = target(**_settings(names, problem, passed))
        if not callable(schedule):
            raise needs("schedule", target, WHAT)
        return rates_of(problem, lambda step: at(schedule(step)))
    return subject


def _scheduled(target, parameters, framework, names, problem, passed):
    """The rate that an optimizer takes step after step under a torch scheduler, or timm's."""
    torch = framework.torch
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=float(problem.arrays["peak"]))
    given = _settings(names, problem, passed)
    if "t_in_epochs" in parameters and "t_in_epochs" not in given:
        given["t_in_epochs"] = False
    scheduler = target(**{names["optimizer"]: optimizer}, **given)

    def rate_of(step):
        if hasattr(scheduler, "step_update"):
            scheduler.step_update(step)
        elif step:
            optimizer.step()
            scheduler.step()
        return optimizer.param_groups[0]["lr"]
    return rate_of
