"""An evaluation has the numbers of training's, to the last bit, and each of its fields is what it says."""

import json

import numpy as np
import pytest
from PIL import Image

from nfnumpy import InputError, models, weights
from nfnumpy.datasets import ArraySplit, FolderSplit, open_dataset
from nfnumpy.evaluation import ClassifierInputs, evaluate
from nfnumpy.training import load_classifier, train
from nfnumpy.training.classifier import Classifier, EvalTransform
from reference_tests.helpers.dataset_files import write_few_digits


@pytest.fixture(scope="module")
def digits():
    return open_dataset("digits").test


@pytest.fixture(scope="module")
def untrained():
    """A classifier of digits with random weights."""
    model = models.create("nfnet_8px", num_classes=10, seed=5)
    return Classifier(model, tuple("0123456789"), EvalTransform(8))


def outcome_of(classifier, split, batch_size=64, outputs=None):
    """The outcome of a classifier on a split."""
    return evaluate(classifier, ClassifierInputs(split, classifier.transform, outputs), batch_size)


@pytest.mark.parametrize("averaged, prefix", [(False, "test_"), (True, "ema_test_")])
def test_a_run_and_the_evaluation_of_its_checkpoint_report_the_same_bits(tmp_path, averaged, prefix):
    """An epoch on some digits; its batches of 20 do not divide the 90 test images."""
    folder = write_few_digits(tmp_path / "data", training=60, test=90)
    train({"data": f"idx:{folder}", "epochs": 1, "batch_size": 20, "warmup_epochs": 0.3, "out": str(tmp_path / "run")})
    reported = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    classifier = load_classifier(tmp_path / "run" / "checkpoint.safetensors", averaged=averaged)
    assert (classifier.run.averaged, classifier.run.batch_size) == (averaged, 20)
    outcome = outcome_of(classifier, open_dataset(f"idx:{folder}").test, classifier.run.batch_size)
    assert outcome.accuracy == reported[f"{prefix}accuracy"] and outcome.loss == reported[f"{prefix}loss"]
    assert outcome.top5_accuracy == reported[f"{prefix}top5_accuracy"]


def test_every_field_is_what_the_logits_say(untrained, digits):
    split = ArraySplit(digits.images[:50], digits.labels[:50])
    outcome = outcome_of(untrained, split, 50)
    logits = np.asarray(untrained.logits(split.take(range(50))))
    shares = untrained.probabilities(split.take(range(50)))
    for k, label in enumerate(split.labels):
        ranked = sorted(range(10), key=lambda number: (-logits[k, number], number))
        assert outcome.labels[k] == label and outcome.predictions[k] == ranked[0]
        assert outcome.is_in_top5[k] == (label in ranked[:5])
        assert outcome.confidences[k] == shares[k, ranked[0]]
        assert outcome.label_probabilities[k] == shares[k, label]
    assert outcome.top5_accuracy == np.mean(outcome.is_in_top5) and 0.0 <= outcome.waited_seconds <= outcome.seconds


def test_equal_logits_rank_by_their_number(digits):
    model = models.create("nfnet_8px", num_classes=10, seed=5)
    model.load_state_dict({name: np.zeros_like(array) if name.startswith("linear") else array
                           for name, array in model.state_dict().items()})
    outcome = outcome_of(Classifier(model, tuple("0123456789"), EvalTransform(8)), digits)
    assert not outcome.predictions.any() and np.array_equal(outcome.is_in_top5, digits.labels < 5)


def test_another_order_of_the_datas_classes_changes_nothing(untrained, digits):
    order = np.random.default_rng(0).permutation(10)
    other = ArraySplit(digits.images, np.argsort(order)[digits.labels])
    one, two = outcome_of(untrained, digits), outcome_of(untrained, other, outputs=order)
    assert np.array_equal(one.labels, two.labels) and one.accuracy == two.accuracy and one.loss == two.loss


def test_images_are_resized_and_cut_as_predict_does(untrained, tmp_path):
    """Also where a margin is cut off and the proportions change."""
    rng = np.random.default_rng(1)
    paths = [str(tmp_path / f"{k}.png") for k in range(6)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (30, 20, 3), dtype=np.uint8)).save(path)
    for transform in (EvalTransform(8), EvalTransform(8, 4, False), EvalTransform(12, 3, True)):
        classifier = Classifier(untrained.model, untrained.classes, transform)
        outcome = outcome_of(classifier, FolderSplit(paths, np.arange(6), transform.image_size), 6)
        images = np.concatenate([classifier.read(path) for path in paths])
        assert np.array_equal(outcome.confidences, classifier.probabilities(images).max(axis=1))


def test_images_of_another_size_are_refused(untrained, digits):
    with pytest.raises(InputError, match="8 px.*9 px"):
        outcome_of(untrained.with_image_size(9), digits)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named(untrained, digits, tmp_path, value):
    state = {name: np.array(array) for name, array in untrained.model.state_dict().items()}
    state["linear.weight"][3, 4] = value
    weights.save(tmp_path / "w", state)
    with pytest.raises(InputError, match=r"linear\.weight is not finite"):
        outcome_of(load_classifier(tmp_path / "w"), digits)


def test_a_loss_that_is_not_finite_is_refused(untrained, digits):
    """All logits are finite: those of one class are the largest of float32, the others the smallest."""
    model = models.create("nfnet_8px", num_classes=10, seed=5)
    bias = np.where(np.arange(10) == 3, 1, -1).astype(np.float32) * np.finfo(np.float32).max
    model.load_state_dict(model.state_dict() | {"linear.bias": bias})
    with pytest.raises(InputError, match="loss is not finite.*float32"):
        outcome_of(Classifier(model, untrained.classes, EvalTransform(8)), digits)


def test_an_image_whose_logits_overflow_is_named(untrained, digits):
    """Its weights are finite: the largest of float32."""
    model = models.create("nfnet_8px", num_classes=10, seed=5)
    state = model.state_dict()
    state["linear.weight"] = np.full_like(state["linear.weight"], np.finfo(np.float32).max)
    model.load_state_dict(state)
    with pytest.raises(InputError, match="image 0: the model's logits are not finite"):
        outcome_of(Classifier(model, untrained.classes, EvalTransform(8)), digits)
