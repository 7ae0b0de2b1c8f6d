"""Image files in batches: the order and the probabilities of one by one, and no more in memory than two batches."""

import threading

import numpy as np
import pytest
from PIL import Image

from nfnumpy import InputError, models
from nfnumpy.datasets import open_dataset
from nfnumpy.evaluation import Prediction, classify_files, default_batch_size
from nfnumpy.training.classifier import Classifier, EvalTransform


@pytest.fixture(scope="module")
def classifier():
    """Random weights in float64."""
    model = models.create("nfnet_8px", num_classes=10, seed=5, dtype="float64")
    return Classifier(model, tuple("0123456789"), EvalTransform(8))


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Files of 20 digits."""
    folder, test = tmp_path_factory.mktemp("digits"), open_dataset("digits").test
    for k in range(20):
        Image.fromarray(test.read(k)).save(folder / f"{k:02}.png")
    return sorted(map(str, folder.iterdir()))


@pytest.mark.parametrize("batch_size, workers", [(1, 1), (7, 1), (7, 3), (64, 2)])
def test_batches_give_what_the_images_give_one_by_one(classifier, paths, batch_size, workers):
    alone = [classifier.probabilities(classifier.read(path))[0] for path in paths]
    together = list(classify_files(classifier, paths, batch_size, workers))
    assert [prediction.path for prediction in together] == paths
    for one, other in zip(alone, together, strict=True):
        # Rounding of a float64 network of a dozen layers; probabilities of different digits differ by 1e-3.
        assert np.abs(one - other.probabilities).max() <= (0 if batch_size == 1 else 1e-12)


def test_errors_stand_where_their_files_were_named(classifier, paths, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG")
    folder = Prediction("folder", InputError("folder: empty"))
    given = [str(bad), paths[0], folder, paths[1], str(tmp_path / "missing"), "a\0b.png", *paths[2:4]]
    results = list(classify_files(classifier, given, batch_size=3))
    assert [result.path for result in results] == [item if isinstance(item, str) else item.path for item in given]
    failed = [isinstance(result.probabilities, InputError) for result in results]
    assert failed == [True, False, True, False, True, True, False, False]
    good = [result.probabilities for result in results if not isinstance(result.probabilities, InputError)]
    for path, probabilities in zip(paths, good, strict=False):
        assert np.abs(classifier.probabilities(classifier.read(path))[0] - probabilities).max() <= 1e-12


@pytest.mark.parametrize("batch_size, most_ahead", [(1, 0), (3, 3)])
def test_no_more_than_two_batches_are_read_ahead(classifier, paths, batch_size, most_ahead):
    """One by one, an answer comes before the next path is asked for."""
    asked = []

    def watched():
        for path in paths:
            asked.append(path)
            yield path

    for answered, _ in enumerate(classify_files(classifier, watched(), batch_size), start=1):
        in_batch = -answered % batch_size
        assert len(asked) <= answered + in_batch + most_ahead


def test_closing_early_stops_the_threads(classifier, paths):
    before = threading.active_count()
    predictions = classify_files(classifier, paths, batch_size=2)
    next(predictions)
    assert threading.active_count() > before
    predictions.close()
    assert threading.active_count() == before


def test_weights_that_are_not_finite_end_the_predictions_and_logits_that_are_not_are_errors_of_their_images(paths):
    model = models.create("nfnet_8px", num_classes=10, seed=5)
    broken = Classifier(model, tuple("0123456789"), EvalTransform(8))
    broken.check_weights()
    state = model.state_dict()
    state["linear.weight"] = np.full_like(state["linear.weight"], np.nan)
    model.load_state_dict(state)
    with pytest.raises(InputError, match=r"linear\.weight is not finite"):
        list(classify_files(broken, paths, batch_size=4))
    state["linear.weight"] = np.zeros_like(state["linear.weight"])
    state["linear.weight"][:, 3] = -np.finfo(np.float32).max  # one logit of -infinity: its softmax would be finite
    model.load_state_dict(state)
    for prediction in classify_files(broken, paths, batch_size=4):
        assert isinstance(prediction.probabilities, InputError) and prediction.path in str(prediction.probabilities)


def test_batches_shrink_as_images_grow():
    assert [default_batch_size(size) for size in (8, 128, 256, 608, 4000)] == [64, 64, 16, 2, 1]
