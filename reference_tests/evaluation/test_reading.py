"""An evaluation reads images as the run of its checkpoint did, unless it is told otherwise."""

import json

import numpy as np
import pytest
from PIL import Image

from nfnumpy import InputError, evaluate
from nfnumpy.datasets import ReadingOptions
from nfnumpy.evaluation.reading import reading_options
from nfnumpy.training import train
from nfnumpy.training.classifier import RunFacts

STORED = {"data": "folder:pictures", "decoder": "draft", "on_bad_image": "skip", "test_share": 0.25,
          "eval_resize": "squash", "eval_margin": 7, "epochs": 3}


@pytest.mark.parametrize("spec, given, expected", [
    ("folder:pictures", {}, {"decoder": "draft", "on_bad_image": "skip", "test_share": 0.25, "eval_resize": "squash",
                             "eval_margin": 7}),
    ("folder:others", {}, {"decoder": "draft", "on_bad_image": "skip", "eval_resize": "squash", "eval_margin": 7}),
    ("digits", {}, {"decoder": "draft", "on_bad_image": "skip"}),
    ("folder:pictures", {"decoder": "pillow", "on_bad_image": "error", "test_share": 0.5, "max_pixels": None},
     {"on_bad_image": "error", "test_share": 0.5, "eval_resize": "squash", "eval_margin": 7})])
def test_what_is_not_given_is_as_the_run_had_it(spec, given, expected):
    assert reading_options(RunFacts(True, 8, 32, STORED), spec, given) == ReadingOptions(
        **expected, needs_training=False)


def test_weights_alone_and_old_checkpoints_have_the_defaults():
    for run in (None, RunFacts(True, 8, 32, {})):
        assert reading_options(run, "folder:pictures", {"max_pixels": 7}) == ReadingOptions(
            max_pixels=7, needs_training=False)


@pytest.mark.parametrize("stored", [{"decoder": "magic"}, {"on_bad_image": ["skip"]}, {"eval_resize": 3},
                                    {"eval_margin": 3}])
def test_hostile_options_of_a_checkpoint_are_refused(stored):
    with pytest.raises(InputError):
        reading_options(RunFacts(True, 8, 32, stored), "folder:pictures", {})


@pytest.fixture(scope="module")
def trained_on_pictures(tmp_path_factory):
    """(folder of the run, spec of its data): 24 pictures without a folder of test pictures, two of them broken."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir()
        for k in range(12):
            Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(folder / name / f"{k}.png")
        (folder / name / "3.png").write_bytes(b"broken")
    train({"data": f"folder:{folder}", "test_share": 0.5, "on_bad_image": "skip", "epochs": 1, "batch_size": 6,
           "image_size": 8, "model": "nfnet_8px", "out": str(folder / ".run")})
    return folder / ".run", f"folder:{folder}"


def test_a_run_on_drawn_pictures_with_bad_ones_is_evaluated_to_the_same_bits(trained_on_pictures, tmp_path, capsys):
    """Nothing has to be said again; the pictures that are left out are in the report."""
    run, data = trained_on_pictures
    evaluate.main([str(run / "checkpoint.safetensors"), "--data", data, "--raw", "--out", str(tmp_path)])
    report = json.loads((tmp_path / "report.json").read_text())
    reported = json.loads((run / "metrics.jsonl").read_text())
    assert (report["accuracy"], report["loss"]) == (reported["test_accuracy"], reported["test_loss"])
    bad = report["bad_images"]
    assert report["images"] + len(bad) == 12 and all("3.png" in line for line in bad)
    assert ("left out" in capsys.readouterr().out) == bool(bad)


def test_a_bad_image_is_an_error_on_request_and_none_that_is_good_is_too(trained_on_pictures, tmp_path):
    run, data = trained_on_pictures
    arguments = [str(run / "checkpoint.safetensors"), "--data", data, "--split", "train"]
    with pytest.raises(InputError, match=r"3\.png"):
        for split in ("train", "test"):
            evaluate.main([*arguments, "--split", split, "--on-bad-image", "error"])
    for name in ("cat", "dog"):
        for split in ("train", "test"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "1.png").write_bytes(b"broken")
    with pytest.raises(InputError, match="none of the other images can be read"):
        evaluate.main([*arguments[:1], "--data", f"folder:{tmp_path}"])
