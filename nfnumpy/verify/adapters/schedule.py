"""Learning-rate schedules: functions of the step, what makes them, and schedulers of optimizers."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...errors import InputError
from ..frameworks import Framework, framework_of
from . import Adapter
from .guarded_call import guarding
from .schedulers import Scheduled
from .signatures import Parameters, Role, bind, first_named, parameters_of, required, unusable

ROLES = {  # what a schedule should be
    "peak": Role(("peak", "peak_value", "peak_lr", "base_lr", "lr", "max_lr", "learning_rate", "base_value", "lr_max",
                  "value", "init_lr", "lr_peak", "base_learning_rate", "initial_lr", "initial_learning_rate",
                  "warmup_target"),
                 default=1.0, note="it takes no peak: compared with a peak of 1"),
    "warmup_steps": Role(("warmup_steps", "num_warmup_steps", "warmup", "warmup_t", "warmup_iters", "warmup_epochs",
                          "n_warmup", "warmup_iterations", "warm_up", "warmup_length", "warmup_period", "num_warmup",
                          "linear_warmup_steps", "warm"), default=0,
                         note="it has no warm-up: compared with the cosine alone"),
    "total_steps": Role(("total_steps", "num_training_steps", "decay_steps", "total", "t_initial", "t_max",
                         "total_iters", "t_total", "epochs", "total_epochs", "num_epochs", "max_steps", "num_steps",
                         "n_steps",
                         "steps", "max_iters", "training_steps", "total_iterations", "max_epochs", "n_total", "end"))}
BESIDE_AN_OPTIMIZER = ("peak", "peak_value", "peak_lr", "base_lr", "max_lr", "lr_max", "lr_peak", "lr",
                       "base_learning_rate", "learning_rate")  # names of the peak there; others mean the optimizer's
WARMUP_TARGET = "warmup_target"  # of Keras: then the rate starts from the first one, and decay_steps follow the warm-up
ENDS = ("final_value", "end_value", "min_lr", "eta_min", "lr_min", "final_lr", "end_lr", "min_value")
PER_EPOCH = ("steps_per_epoch", "iters_per_epoch", "n_iter_per_epoch", "batches_per_epoch", "niter_per_ep")
STEP = ("step", "t", "count", "iteration", "current_step", "global_step", "it", "i", "step_num", "epoch", "num_updates",
        "n", "now", "cur_step")
OPTIMIZER = ("optimizer", "optim", "opt")
FROM = ("init_value", "warmup_init", "warmup_lr_init", "warmup_start_lr", "start_lr", "init",
        "start_warmup_value", "warmup_init_lr")
BEYOND = 4  # steps after the last one
EXPECTED = ("a function step -> learning rate, what makes one of (peak, warmup_steps, total_steps), a function (step, "
            "peak, warmup_steps, total_steps) -> learning rate, or what makes a scheduler of an optimizer")


def parts(rates: np.ndarray, warmup_steps: int, total_steps: int) -> dict[str, np.ndarray]:
    """A rate for every step from 0, by name: during the warm-up, after it, and after the last step."""
    named = {"rate during warm-up": rates[:warmup_steps], "rate after warm-up": rates[warmup_steps:total_steps],
             "rate after the last step": rates[total_steps:]}
    return {name: part for name, part in named.items() if len(part)}


def schedule_adapter(target: Any, wish: str, options: Mapping[str, Any]) -> Adapter:
    """The Adapter, with peak, warmup_steps and total_steps fixed where the target has only one value.

    options: these three (by any name) are the reference's too, and go to the target if it takes them; all others go to
    the target. InputError for something that is no schedule.
    """
    framework = framework_of(target, wish).without_modules
    if not callable(target):
        raise unusable("schedule", target, EXPECTED)
    signature = _Signature.of(target, options)
    if signature.is_alone and isinstance(target, type):
        raise unusable("schedule", target, EXPECTED)
    if signature.is_alone:
        missing = [role for role in ROLES if signature.fixed[role] is None]
        if missing:
            flags = " ".join(f"--option {role}=…" for role in missing)
            raise InputError(f"schedule: a function of the step alone: give what it should be with {flags}")
    elif signature.names["total_steps"] is None and signature.fixed["total_steps"] is None:
        raise InputError("schedule: the target takes no total number of steps; give it with --option total_steps=…")
    run = _Schedule(target, framework, signature).run
    return Adapter(guarding("schedule", run), framework, signature.fixed, notes=signature.notes)


@dataclasses.dataclass(frozen=True)
class _Signature:
    """names: role -> the target's parameter, or None; is_alone: whether it is a function of the step alone; fixed,
    passed, notes: see Binding; after_warmup: whether its total counts the steps after the warm-up.
    """

    parameters: Parameters
    names: Mapping[str, str | None]
    is_alone: bool
    fixed: Mapping[str, Any]
    passed: Mapping[str, Any]
    notes: tuple[str, ...]
    after_warmup: bool = False

    @classmethod
    def of(cls, target: Callable, options: Mapping[str, Any]) -> "_Signature":
        """The signature of a target."""
        parameters = parameters_of(target) or {}
        others = {"steps_per_epoch": PER_EPOCH, "start": FROM, "step": STEP, "optimizer": OPTIMIZER, "end": ENDS}
        names = {role: first_named(parameters, known) for role, known in others.items()}
        roles = dict(ROLES)
        after_warmup = WARMUP_TARGET in parameters
        if names["optimizer"]:  # the peak is the optimizer's
            roles["peak"] = dataclasses.replace(ROLES["peak"], names=BESIDE_AN_OPTIMIZER, default=None, note="")
        elif after_warmup:
            roles["peak"] = dataclasses.replace(ROLES["peak"], names=(WARMUP_TARGET,))
            names["start"] = first_named(parameters, ROLES["peak"].names)
        elif not any(first_named(parameters, ROLES[role].names) for role in ("peak", "warmup_steps")):
            roles["peak"] = dataclasses.replace(ROLES["peak"], names=ROLES["peak"].names + FROM)
            names["start"] = None  # what it starts from is the peak
        binding = bind(parameters, roles, options)
        names |= binding.names
        takes_a_role = any(binding.names[role] for role in ROLES) or names["optimizer"]
        is_alone = not takes_a_role
        if is_alone:
            given = {role: first_named(options, ROLES[role].names) for role in ROLES}
            fixed = {role: None if name is None else options[name] for role, name in given.items()}
            return cls(parameters, names, True, fixed, binding.passed, ())
        lengths = [names["warmup_steps"] or "", names["total_steps"] or ""]
        in_epochs = [name for name in lengths if "epoch" in name and not names["steps_per_epoch"]]
        notes = (*binding.notes, *(f"its {name} are used as steps" for name in in_epochs))
        if after_warmup:
            notes += (f"its {names['total_steps']} are those after the warm-up: total_steps - warmup_steps",)
        return cls(parameters, names, False, binding.fixed, binding.passed, notes, after_warmup)

    def settings(self, case: Any) -> dict[str, Any]:
        """The keywords that the target is called with."""
        names, options = self.names, case.options
        per_epoch = options["steps_per_epoch"] if names["steps_per_epoch"] else 1
        known = {names["peak"]: float(case.arrays["peak"]), names["start"]: 0.0, names["steps_per_epoch"]: per_epoch}
        if names["end"] in required(self.parameters):
            known[names["end"]] = 0.0
        for role in ("warmup_steps", "total_steps"):
            name = names[role]
            known[name] = options[role] // per_epoch if name and "epoch" in name else options[role]
        if self.after_warmup:
            known[names["total_steps"]] -= options["warmup_steps"]
        return {**{name: value for name, value in known.items() if name}, **self.passed}


@dataclasses.dataclass(frozen=True)
class _Schedule:
    """A target that can be called."""

    target: Callable
    framework: Framework
    signature: _Signature

    def run(self, case: Any) -> dict[str, np.ndarray]:
        """The rate at every step, in parts."""
        rate_of, rates, total = self._rate_of(case), [], case.options["total_steps"]
        for step in range(total + BEYOND):
            try:
                rates.append(float(rate_of(step)))
            except (Exception, SystemExit):
                if step < total:
                    raise
                break  # some schedules end with an error
        found = parts(np.array(rates), case.options["warmup_steps"], total)
        if self.signature.names["optimizer"] is None or self.signature.is_alone:
            return found
        return found | self._scheduled(case).further(float(case.arrays["peak"]), total)

    def _rate_of(self, case):
        """The function step -> learning rate."""
        names, target = self.signature.names, self.target
        if self.signature.is_alone:
            return lambda step: self._number(target(step, **self.signature.passed))
        if names["optimizer"]:
            return self._scheduled(case).rate_of(float(case.arrays["peak"]))
        settings = self.signature.settings(case)
        if names["step"] in required(self.signature.parameters):
            return lambda step: self._number(target(**{names["step"]: step}, **settings))
        schedule = target(**settings)
        if hasattr(schedule, "__getitem__") and hasattr(schedule, "__len__"):
            return lambda step: self._number(schedule[step])
        if not callable(schedule):
            raise unusable("schedule", target, EXPECTED)
        return lambda step: self._number(schedule(step))

    def _number(self, rate):
        return self.framework.host(rate) if hasattr(rate, "dtype") else rate

    def _scheduled(self, case):
        """The target around an optimizer."""
        names, settings = self.signature.names, self.signature.settings(case)
        if "t_in_epochs" in self.signature.parameters:
            settings.setdefault("t_in_epochs", False)
        step = names["step"] if names["step"] in required(self.signature.parameters) else None
        return Scheduled(self.target, self.framework, names["optimizer"], step, settings, names["peak"] is not None)
