"""Training from tar shards gives the bits of training from what they were made of, also when it is interrupted."""

import numpy as np
import pytest

from nfnumpy import weights
from nfnumpy.datasets import open_dataset
from nfnumpy.datasets.shards import ShardSize, write_dataset
from nfnumpy.training import train
from nfnumpy.training.trainer import Trainer


def test_a_run_from_shards_that_is_interrupted_inside_an_epoch_ends_with_the_bits_of_one_from_arrays(
        few_digits, tmp_path, monkeypatch):
    write_dataset(open_dataset(f"idx:{few_digits}"), tmp_path / "shards", ShardSize(images=5))
    options = {"epochs": 2, "batch_size": 12, "checkpoint_every": 1, "augment": "nfnet", "seed": 3, "workers": 3}
    train({**options, "data": f"idx:{few_digits}", "out": str(tmp_path / "arrays")})
    from_shards = {**options, "data": f"shards:{tmp_path}/shards", "out": str(tmp_path / "run")}
    step = Trainer.train_step

    def interrupted(trainer, *batch):
        if trainer.step == 3:  # the last step of the second epoch
            raise KeyboardInterrupt
        return step(trainer, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(from_shards)
    train(from_shards, resume=True)
    expected, found = (weights.load(tmp_path / name / "checkpoint.safetensors") for name in ("arrays", "run"))
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        assert np.array_equal(found[name], array), name
