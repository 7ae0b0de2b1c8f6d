"""What an evaluation reports is the mean over all test images, for the weights and for their moving average."""

import numpy as np
import pytest

from nfnumpy import datasets, models
from nfnumpy.datasets.preprocessing import to_input
from nfnumpy.training import TrainingOptions
from nfnumpy.training.trainer import Trainer

CONFIG = models.NFNetConfig(widths=(8, 16), depths=(1, 1), strides=(1, 2), group_size=4, stem_widths=(3, 8),
                            stem_strides=(1, 2), num_classes=10)


def scores_by_hand(trainer, images, labels):
    """The mean cross-entropy, the shares of correct classes and of those in the top five, of all images at once."""
    logits = np.float64(trainer.model(to_input(images, trainer.backend, trainer.input_dtype)).numpy())
    largest = logits.max(axis=1)
    log_sum = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
    losses = log_sum - logits[np.arange(len(labels)), labels]
    in_top = [label in np.argsort(-row)[:5] for row, label in zip(logits, labels, strict=True)]
    return losses.mean(), (logits.argmax(axis=1) == labels).mean(), np.mean(in_top)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_scores_are_means_over_all_images(ema):
    options = TrainingOptions(dtype="float64", batch_size=8, lr=0.1, epochs=1, warmup_epochs=0.0, ema=ema)
    digits = datasets.open_dataset("digits")
    trainer = Trainer(options, CONFIG, digits)
    batch = np.arange(8)
    trainer.train_step(digits.train.take(batch), digits.train.labels[batch])
    parts = (np.arange(7), np.arange(7, 19), np.arange(19, 20))  # of different sizes
    scores = trainer.evaluate([(digits.test.take(part), digits.test.labels[part]) for part in parts])
    images, labels = digits.test.take(np.arange(20)), digits.test.labels[:20]
    names = "test_loss", "test_accuracy", "test_top5_accuracy"
    expected = dict(zip(names, scores_by_hand(trainer, images, labels), strict=True))
    if ema is not None:
        with trainer.ema.applied():
            averaged = scores_by_hand(trainer, images, labels)
        expected.update(zip([f"ema_{name}" for name in names], averaged, strict=True))
    assert scores.keys() == expected.keys()
    for name, value in expected.items():
        assert scores[name] == pytest.approx(value, rel=1e-12)  # sums of 20 losses: some 20 roundings of 1e-16
