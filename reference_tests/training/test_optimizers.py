"""--optimizer and --schedule: what a run makes of them, in steps, checkpoints and predicted memory."""

import dataclasses

import numpy as np
import pytest

from nfnumpy import InputError, datasets, models, optim
from nfnumpy.training import TrainingOptions, checkpoint
from nfnumpy.training.optimizers import schedule_of
from nfnumpy.training.resumption import resumed_options
from nfnumpy.training.step_memory import MemoryPrediction
from nfnumpy.training.trainer import Trainer
from reference_tests.helpers.named_parameters import equal

CONFIG = models.NFNetConfig(widths=(8,), depths=(1,), strides=(2,), group_size=4, stem_widths=(2, 4),
                            stem_strides=(2, 2), num_classes=10)
RMSPROP = {"optimizer": "rmsprop", "rmsprop_decay": 0.8, "rmsprop_epsilon": 0.01, "momentum": 0.7}


def trainer_of(**options):
    """A Trainer on the embedded digits, with 4 of them a step."""
    options = TrainingOptions(**{"batch_size": 4, "lr": 0.1, "warmup_epochs": 0.0, "epochs": 1, **options})
    return Trainer(options, CONFIG, datasets.open_dataset("digits"))


def take_steps(trainer, count, start=0):
    """Steps on the digits from number `start` on."""
    split = trainer.dataset.train
    for step in range(start, start + count):
        chosen = np.arange(4 * step, 4 * step + 4)
        trainer.train_step(split.take(chosen), split.labels[chosen])


def test_the_options_choose_the_optimizer():
    sgd, rmsprop = trainer_of().optimizer, trainer_of(**RMSPROP, agc=0.02, weight_decay=1e-5).optimizer
    assert isinstance(sgd, optim.SGD) and sgd.nesterov and list(sgd.state) == ["velocity"]
    assert isinstance(rmsprop, optim.RMSProp)
    assert (rmsprop.decay, rmsprop.epsilon, rmsprop.momentum) == (0.8, 0.01, 0.7)
    assert (rmsprop.clipping, rmsprop.weight_decay) == (0.02, 1e-5)


@pytest.mark.parametrize("more", [{}, {"sam": 0.05, "sam_fraction": 0.5}], ids=["plain", "sam"])
def test_a_run_with_rmsprop_that_is_resumed_ends_with_the_same_bits(more, tmp_path):
    whole, first, second = (trainer_of(**RMSPROP, **more) for _ in range(3))
    take_steps(whole, 4)
    take_steps(first, 2)
    first.save(tmp_path / "checkpoint.safetensors", {})
    second.restore(*checkpoint.load(tmp_path / "checkpoint.safetensors"))
    take_steps(second, 2, start=2)
    assert equal(whole.model.state_dict(), second.model.state_dict())
    assert all(equal(whole.optimizer.state[kind], second.optimizer.state[kind]) for kind in whole.optimizer.state)
    assert whole.state_bytes == 4 * sum(array.nbytes for array in whole.model.state_dict().values())


def test_the_state_of_another_optimizer_is_refused(tmp_path):
    trainer = trainer_of()
    trainer.save(tmp_path / "checkpoint.safetensors", {})
    groups, facts = checkpoint.load(tmp_path / "checkpoint.safetensors")
    with pytest.raises(InputError, match="its mean square does not fit"):
        trainer_of(**RMSPROP).restore(groups, facts)
    with pytest.raises(InputError, match="--optimizer rmsprop: the run to resume was started with sgd"):
        resumed_options(facts, {"optimizer": "rmsprop"})


def test_a_checkpoint_from_before_there_was_a_choice_is_one_of_sgd_and_cosine():
    new = {"optimizer", "rmsprop_decay", "rmsprop_epsilon", "schedule", "decay_rate", "decay_epochs",
           "decay_milestones"}
    stored = {name: value for name, value in dataclasses.asdict(TrainingOptions()).items() if name not in new}
    assert resumed_options({"options": stored}, {}) == TrainingOptions()


def rates(steps, **options):
    """The learning rates at `steps` of a run of 10 steps an epoch, 20 of them to warm up."""
    schedule = schedule_of(TrainingOptions(lr=1.0, **options), 10, 20)
    return [schedule(step) for step in steps]


def test_the_options_choose_the_schedule():
    assert rates([10, 20, 300], epochs=30) == [0.5, 1.0, 0.0]
    exponential = rates([10, 23, 24, 47, 48], schedule="exponential", epochs=30)
    assert exponential == pytest.approx([0.5, 1.0, 0.97, 0.97, 0.97**2])
    assert rates([30, 59], schedule="exponential", decay_epochs=3, decay_rate=0.5) == [0.5, 0.5]
    thirds = rates([299, 300, 599, 600, 799, 800, 899], schedule="step", epochs=90)
    assert thirds == pytest.approx([1.0, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert rates([39, 40, 75], schedule="step", decay_milestones="4,7.5", decay_rate=0.5) == [1.0, 0.5, 0.25]


@pytest.mark.parametrize("options, message", [
    ({"optimizer": "adam"}, "--optimizer adam"), ({"schedule": "linear"}, "--schedule linear"),
    ({"rmsprop_decay": 0.8}, "--rmsprop-decay 0.8: it needs --optimizer rmsprop"),
    ({"rmsprop_epsilon": 0.1}, "--rmsprop-epsilon 0.1: it needs --optimizer rmsprop"),
    ({"optimizer": "rmsprop", "rmsprop_decay": 1.0}, "--rmsprop-decay 1.0"),
    ({"optimizer": "rmsprop", "rmsprop_epsilon": 0.0}, "--rmsprop-epsilon 0.0"),
    ({"decay_rate": 0.5}, "--decay-rate 0.5: it needs --schedule exponential or step, not cosine"),
    ({"schedule": "step", "decay_rate": 1.5}, "--decay-rate 1.5"),
    ({"schedule": "step", "decay_epochs": 3.0}, "--decay-epochs 3.0: it needs --schedule exponential"),
    ({"schedule": "exponential", "decay_milestones": "3"}, "--decay-milestones 3: it needs --schedule step"),
    *(({"schedule": "step", "decay_milestones": text}, "--decay-milestones") for text in
      ("", "3,", "a", "60,30", "30,30", "0,1", "-1", "nan", "inf", "1,inf"))], ids=str)
def test_options_that_do_not_fit_are_refused_in_one_line(options, message):
    with pytest.raises(InputError) as error:
        TrainingOptions(**options)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_rmsprop_keeps_one_array_more_for_each_weight():
    sgd, rmsprop = (MemoryPrediction(CONFIG, 8, optimizer=name).of_batch(4) for name in ("sgd", "rmsprop"))
    assert rmsprop.state / sgd.state == pytest.approx(4 / 3, rel=1e-3)
