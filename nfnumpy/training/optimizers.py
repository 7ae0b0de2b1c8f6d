"""The optimizer and the schedule of a run, as its options choose them.

Used by: trainer.py, options.py (syntax), step_memory.py. Test: reference_tests/training/test_optimizers.py.
"""

from typing import Any

from .. import optim
from ..nn import Module
from ..optim.schedules import Schedule
from .options import TrainingOptions
from .parameter_patterns import clipped_parameters, learning_rate_factor
from .schedule_options import FACTORS, parsed_milestones

CLASSES: dict[str, type[optim.Optimizer]] = {"sgd": optim.SGD, "rmsprop": optim.RMSProp}
KEPT = {"velocity": "momentum", "square_average": "mean square"}  # what an optimizer's state is, in words
DEFAULT_MILESTONES = (30 / 90, 60 / 90, 80 / 90)  # of a run, in the form of step: the ResNets' epochs


def optimizer_of(options: TrainingOptions, model: Module, loss_scale: optim.LossScale | None) -> optim.Optimizer:
    """The optimizer of `model`'s parameters, at learning rate 0; InputError for a pattern that matches no parameter."""
    more: dict[str, Any] = {}
    if options.optimizer == "rmsprop":
        more = {"decay": options.rmsprop_decay, "epsilon": options.rmsprop_epsilon}
    return CLASSES[options.optimizer](
        model, lr=0.0, momentum=options.momentum, weight_decay=options.weight_decay, clipping=options.agc,
        clipped=clipped_parameters(model, options.agc_except), loss_scale=loss_scale,
        lr_factor=learning_rate_factor(model.parameters(), options.lr_scale), **more)


def schedule_of(options: TrainingOptions, steps_per_epoch: int, warmup_steps: int) -> Schedule:
    """The learning rate at each step of a run with so many steps an epoch, the first of them to warm up."""
    if options.schedule == "cosine":
        return optim.warmup_cosine(options.lr, warmup_steps, options.epochs * steps_per_epoch)
    factor = FACTORS[options.schedule] if options.decay_rate is None else options.decay_rate
    if options.schedule == "exponential":
        return optim.exponential_decay(options.lr, warmup_steps, factor, options.decay_epochs * steps_per_epoch)
    epochs = parsed_milestones(options.decay_milestones)
    if epochs is None:
        epochs = [share * options.epochs for share in DEFAULT_MILESTONES]
    return optim.step_decay(options.lr, warmup_steps, factor, [epoch * steps_per_epoch for epoch in epochs])
