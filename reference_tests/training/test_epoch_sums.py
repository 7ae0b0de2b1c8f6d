"""The metrics of an epoch are means over its steps, whichever process took them."""

import json

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy import InputError, backend, datasets
from nfnumpy.training import Trainer, TrainingOptions
from nfnumpy.training.epoch_sums import EpochSums, restored
from nfnumpy.training.step_metrics import StepValues
from nfnumpy.training.trainer import NORM_INTERVAL
from reference_tests.training.test_training_on_cupy import SMALL

UNITS = {"conv.weight": 8, "linear.weight": 0, "linear.bias": 1}
STEPS = st.builds(StepValues, st.floats(0, 1e3), st.integers(0, 4), st.floats(0, 1),
                  st.tuples(st.integers(0, 8), st.just(0), st.integers(0, 1)).map(list),
                  st.none() | st.floats(0, 1e6) | st.just(float("inf")))


@given(steps=st.lists(STEPS, min_size=1, max_size=6), data=st.data())
def test_means_are_over_steps_and_survive_a_checkpoint_bit_for_bit(steps, data):
    killed_after = data.draw(st.integers(0, len(steps)))
    sums, resumed = EpochSums(), EpochSums()
    for number, values in enumerate(steps):
        if number == killed_after:
            resumed = restored(json.loads(json.dumps(resumed.as_progress())))
        sums.add(values)
        resumed.add(values)
    entry = sums.means(len(steps), 4, UNITS)
    assert resumed.means(len(steps), 4, UNITS) == entry
    shares = np.mean([values.clipped_counts for values in steps], axis=0) / [8, 1, 1]
    assert entry["clipped_by_parameter"] == pytest.approx({"conv.weight": shares[0], "linear.bias": shares[2]})
    norms = [values.gradient_norm for values in steps if values.gradient_norm not in (None, float("inf"))]
    assert entry.get("gradient_norm") == (pytest.approx(np.mean(norms)) if norms else None)


def test_a_checkpoint_older_than_some_sums_has_the_others():
    sums = restored({"loss": 3.0, "correct": 2, "clipped": 0.5, "threads": 2})
    sums.add(StepValues(1.0, 2, 0.5, [4, 0, 1], 2.0))
    assert sums.means(2, 2, UNITS) == {
        "train_loss": 2.0, "train_accuracy": 1.0, "clipped_fraction": 0.5, "gradient_norm": 2.0,
        "clipped_by_parameter": {"conv.weight": 0.5, "linear.bias": 1.0}}


@pytest.mark.parametrize("wrong", [{"loss": "3"}, {"clipped_counts": 3}, {"clipped_counts": [1.5]}, {"correct": None},
                                   {"measured": True}], ids=str)
def test_sums_that_are_no_numbers_are_refused(wrong):
    with pytest.raises(InputError, match=f"no usable '{next(iter(wrong))}'"):
        restored({**EpochSums().as_progress(), **wrong})


@pytest.mark.parametrize("options", [{}, {"sam": 0.05}, {"agc": None}], ids=str)
def test_a_steps_norms_and_counts_are_those_of_its_gradient(options):
    """Recorded where the optimizer reads the gradients. Norms of float64 numbers: a few hundred roundings."""
    digits = datasets.open_dataset("digits")
    trainer = Trainer(TrainingOptions(dtype="float64", batch_size=1, **options), SMALL, digits)
    gradients = []
    step = trainer.optimizer.step

    def recording_step():
        gradients.append({name: backend.to_host(parameter.grad).copy()
                          for name, parameter in trainer.optimizer.parameters.items()})
        step()

    trainer.optimizer.step = recording_step
    for number in range(NORM_INTERVAL + 1):
        batch = np.arange(number, number + 1)
        values = trainer.train_step(digits.train.take(batch), digits.train.labels[batch]).read()
        norm = np.sqrt(sum(np.sum(gradient**2) for gradient in gradients[-1].values()))
        is_measured = number in (0, NORM_INTERVAL)
        assert values.gradient_norm == (pytest.approx(norm, rel=1e-10) if is_measured else None)
        assert sum(values.clipped_counts) == round(values.clipped * max(1, trainer.optimizer.units))
        for (name, units), count in zip(trainer.optimizer.units_of.items(), values.clipped_counts, strict=True):
            assert count <= units, name
    weights = [backend.to_host(array) for array in trainer.model.state_dict().values()]
    assert trainer.weight_norm() == pytest.approx(np.sqrt(sum(np.sum(array**2) for array in weights)), rel=1e-10)
