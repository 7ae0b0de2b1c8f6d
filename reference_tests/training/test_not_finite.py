"""A gradient that is not finite ends the training with NotFinite: no step makes it 0, and no run goes on forever."""

import numpy as np
import pytest

from nfnumpy import backend, datasets
from nfnumpy.training import NotFinite, Trainer, TrainingOptions
from reference_tests.training.test_training_on_cupy import SMALL, values_of

CASES = [  # the backend, the parameter whose gradient it is, the value, SAM's rho
    ("numpy", "stem_convs.0.weight", np.nan, None), ("numpy", "stem_convs.0.weight", -np.inf, 0.05),
    ("numpy", "stem_convs.1.gain", np.inf, None), ("numpy", "blocks.0.squeeze_excite.fc1.bias", np.nan, None),
    ("numpy", "linear.weight", np.inf, 0.05), ("numpy", "linear.bias", -np.inf, None),
    ("cupy", "stem_convs.0.weight", np.inf, None), ("cupy", "linear.weight", np.nan, 0.05)]


@pytest.fixture(scope="module")
def digits():
    return datasets.open_dataset("digits")


def spoil_first_gradient(trainer, name, value):
    """Make the optimizer's first step find `value` as the first entry of the parameter's gradient."""
    optimizer = trainer.optimizer
    step = optimizer.step

    def spoiled_step():
        parameter = optimizer.parameters[name]
        grad = backend.to_host(parameter.grad).copy()
        grad.reshape(-1)[0] = value
        parameter.grad = trainer.backend.asarray(grad)
        optimizer.step = step
        step()

    optimizer.step = spoiled_step


@pytest.mark.parametrize("backend_name, name, value, sam", CASES)
def test_a_gradient_that_is_not_finite_ends_the_run(digits, tmp_path, backend_name, name, value, sam):
    """The weight is then not finite either, nor is the next loss, and the checkpoint is not written."""
    options = TrainingOptions(backend=backend_name, batch_size=1, lr=0.1, warmup_epochs=0.0, sam=sam)
    trainer = Trainer(options, SMALL, digits)
    spoil_first_gradient(trainer, name, value)
    with pytest.raises(NotFinite, match=r"the loss became (nan|inf) at step 2"):
        values_of(trainer, 2)
    weight = backend.to_host(trainer.model.parameters()[name].data)
    assert not np.isfinite(weight.reshape(-1)[0])
    with pytest.raises(NotFinite, match="no longer finite"):
        trainer.save(tmp_path / "checkpoint", {})
    assert not list(tmp_path.iterdir())
