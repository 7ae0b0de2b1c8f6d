"""Training on mixed images: the loss compares with shares, the accuracy counts first labels, resuming is exact."""

import numpy as np
import pytest

import nfnumpy as nf
from nfnumpy import datasets, weights
from nfnumpy.functional.losses import softmax_cross_entropy
from nfnumpy.training import TrainingOptions, report, train
from nfnumpy.training.examples import mixing_of
from nfnumpy.training.trainer import Trainer

CONFIG = nf.models.NFNetConfig(widths=(8,), depths=(1,), strides=(2,), group_size=4, stem_widths=(4, 4),
                               stem_strides=(1, 2), num_classes=4, train_size=4, test_size=4)


def trainer_of(**options):
    images = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 3), dtype=np.uint8)
    split = datasets.ArraySplit(images, np.arange(10) % 4)
    dataset = datasets.Dataset("random images", tuple("abcd"), 4, split, split)
    return Trainer(TrainingOptions(batch_size=10, dtype="float64", **options), CONFIG, dataset), split


@pytest.mark.parametrize("options", [{}, {"sam": 0.05}, {"sam": 0.05, "sam_fraction": 0.3}])
def test_shares_of_one_class_train_like_its_label(options):
    """The same sums, of zeros and ones: the bits are the same."""
    states = []
    for with_shares in (False, True):
        trainer, split = trainer_of(**options)
        shares = [np.eye(4)[split.labels]] * with_shares
        for _ in range(3):
            trainer.train_step(split.images, split.labels, *shares)
        states.append(trainer.model.state_dict())
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])


def test_the_loss_compares_with_smoothed_shares_and_the_accuracy_with_labels():
    trainer, split = trainer_of(label_smoothing=0.2)
    shares = np.random.default_rng(1).dirichlet(np.ones(4), 10)
    logits = trainer._logits(split.images).data
    values = trainer.train_step(split.images, split.labels, shares).read()
    expected = softmax_cross_entropy(logits, 0.8 * shares + 0.05)
    assert values.loss == pytest.approx(float(expected), rel=1e-12)
    assert values.correct == np.sum(logits.argmax(axis=1) == split.labels)


@pytest.mark.parametrize("mixing", ["released", "timm"])
def test_a_run_that_is_killed_inside_an_epoch_goes_on_with_the_same_bits(few_digits, tmp_path, monkeypatch, mixing):
    """24 pictures, 3 steps an epoch, the last epoch without mixing."""
    given = {"data": f"idx:{few_digits}", "epochs": 3, "batch_size": 8, "model": "nfnet_8px", "ema": None,
             "augment": "flip-crop", "mixup": 0.2, "cutmix": 1.0, "mixup_off_epoch": 2, "mixing": mixing,
             "checkpoint_every": 1}
    monkeypatch.setattr(report, "draw_curves", lambda *arguments, **more: False)
    train({**given, "out": str(tmp_path / "whole")})
    expected = weights.load(str(tmp_path / "whole" / "checkpoint.safetensors"))
    original = Trainer.train_step
    for kill_at in (2, 7):
        out = str(tmp_path / f"killed-{kill_at}")

        def killed(self, *batch, at=kill_at):
            if self.step == at:
                raise KeyboardInterrupt
            return original(self, *batch)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Trainer, "train_step", killed)
            train({**given, "out": out})
        train({"out": out, "workers": 1}, resume=True)
        found = weights.load(f"{out}/checkpoint.safetensors")
        assert all(np.array_equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("options, expected", [
    ({}, None), ({"augment_before_mix": "on"}, None), ({"mixup": 0.2}, ("released", False)),
    ({"cutmix": 1.0, "mixing": "timm"}, ("timm", True)),
    ({"mixup": 0.2, "augment_before_mix": "on"}, ("released", True)),
    ({"mixup": 0.2, "mixing": "timm", "augment_before_mix": "off"}, ("timm", False))])
def test_the_options_choose_form_and_order(options, expected):
    mixing = mixing_of(TrainingOptions(**options))
    assert (mixing and (mixing.form, mixing.augment_first)) == expected
