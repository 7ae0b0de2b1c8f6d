"""Every recipe that comes with the package can be read, makes a model, and says what the papers say."""

import dataclasses
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nfnumpy
from nfnumpy import models, train
from nfnumpy.augment import augmentation_of
from nfnumpy.datasets import ReadingOptions
from nfnumpy.training import TrainingOptions, recipes
from nfnumpy.training.classifier import eval_transform
from nfnumpy.training.config_file import read_config
from nfnumpy.training.examples import mixing_of
from nfnumpy.training.model_options import changes_of, options_of
from nfnumpy.training.parameter_patterns import learning_rate_factor
from reference_tests.helpers.command_line import run_command

PUBLISHED = [name for name in models.names()
             if isinstance(models.config_of(name), models.NORMALIZER_FREE) and not name.endswith("px")]
BASELINES = [name for name in models.names() if name not in PUBLISHED and not name.endswith("px")]
SMALL = ["digits", "small_folder"]  # what a test trains with


def test_every_published_variant_has_a_recipe():
    assert set(PUBLISHED) <= set(recipes.names()) and len(PUBLISHED) == 16 + 6 + 9
    assert set(BASELINES) <= set(recipes.names())


def test_recipes_are_inside_the_package():
    """So that a wheel has them, which has everything in that folder."""
    folder = Path(nfnumpy.__file__).parent / "recipes"
    assert sorted(path.stem for path in folder.glob("*.toml")) == recipes.names()


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_makes_options_a_model_and_an_augmentation(name):
    options = TrainingOptions(**read_config(f"recipe:{name}"))
    if name == "finetune":  # its model is that of the weights in --init-from
        options = dataclasses.replace(options, model="nfnet_8px")
    changes = changes_of(options, options.model, models.config_of(options.model))
    config = models.config_of(options.model, **changes)
    model = models.from_config(config, shapes_only=True)
    assert len(model.parameters()) > 20
    augmentation_of(options.augment, options.model, options.image_size or 8)
    mixing_of(options)
    first = recipes.text_of(name).splitlines()[0]
    assert first.startswith("# ") and len(first) < 100


# family: epochs, learning rate for 256 images, weight decay, label smoothing, schedule with its rate, optimizer
AS_PUBLISHED = {
    "resnet": (90, 0.1, 1e-4, 0.0, ("step", 0.1), "sgd"), "resnetv2": (90, 0.1, 5e-5, 0.1, ("cosine", None), "sgd"),
    "fixup": (90, 0.1, 1e-4, 0.0, ("step", 0.1), "sgd"), "skipinit": (90, 0.1, 5e-5, 0.1, ("cosine", None), "sgd"),
    "resnext": (90, 0.1, 1e-4, 0.0, ("step", 0.1), "sgd"), "seresnext": (100, 0.15, 1e-4, 0.0, ("step", 0.1), "sgd"),
    "d": (120, 0.1, 1e-4, 0.1, ("cosine", None), "sgd"), "densenet": (90, 0.1, 1e-4, 0.0, ("step", 0.1), "sgd"),
    "inception": (100, 0.36, 4e-5, 0.1, ("exponential", 0.94), "rmsprop"),
    "efficientnet": (350, 0.016, 1e-5, 0.1, ("exponential", 0.97), "rmsprop"),
    "mobilenetv1": (100, 0.18, 4e-5, 0.0, ("exponential", 0.94), "rmsprop"),
    "mobilenetv2": (300, 0.12, 4e-5, 0.0, ("exponential", 0.98), "rmsprop")}


def family_of(name):
    """The entry of AS_PUBLISHED of a network."""
    is_d = name.partition("_")[0].endswith("d")
    return "d" if is_d else max((family for family in AS_PUBLISHED if name.startswith(family)), key=len)


@pytest.mark.parametrize("name", BASELINES)
def test_a_recipe_of_a_baseline_agrees_with_the_variant_and_the_papers(name):
    """Without AGC, which NFNets brought, and, but for Fixup, without mixing."""
    options, config = TrainingOptions(**read_config(f"recipe:{name}")), models.config_of(name)
    assert (options.model, options.image_size) == (name, config.train_size)
    reading = ReadingOptions(test_size=options.test_size, eval_resize=options.eval_resize,
                             eval_margin=options.eval_margin)
    assert reading.test_reader(config.train_size).transform == eval_transform(config)
    own = options_of(config)
    assert (own["dropout"], own["stochdepth_rate"]) == (options.dropout, options.stochdepth_rate)
    mixup = 0.7 if name == "fixup_resnet50" else None
    assert (options.agc, options.mixup, options.cutmix, options.momentum) == (None, mixup, None, 0.9)
    epochs, rate, decay, smoothing, schedule, optimizer = AS_PUBLISHED[family_of(name)]
    if name == "densenet161":
        epochs, rate = 100, 0.2
    assert options.lr == pytest.approx(rate * options.batch_size / 256)
    assert (options.epochs, options.weight_decay, options.label_smoothing) == (epochs, decay, smoothing)
    assert ((options.schedule, options.decay_rate), options.optimizer) == (schedule, optimizer)
    assert options.ema == (0.9999 if name.startswith(("efficientnet", "inception")) else None)
    assert f"{config.train_size} px" in recipes.text_of(name).splitlines()[0]


def test_the_recipe_of_fixup_gives_its_biases_and_multipliers_a_tenth_of_the_learning_rate():
    """The classifier's bias too, as in the released code."""
    parameters = models.create("fixup_resnet50", shapes_only=True).parameters()
    factor = learning_rate_factor(parameters, TrainingOptions(**read_config("recipe:fixup_resnet50")).lr_scale)
    slower = {name for name in parameters if factor(name) == 0.1}
    assert slower == {name for name in parameters if parameters[name].shape == ()} | {"linear.bias"}
    assert all(factor(name) == 1.0 for name in parameters.keys() - slower)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_of_a_published_variant_agrees_with_the_variant_and_the_papers(name):
    """Learning rate 0.1·batch/256, five epochs of warm-up, and pixels and rates as the registry has them."""
    options, config = TrainingOptions(**read_config(f"recipe:{name}")), models.config_of(name)
    assert (options.model, options.image_size) == (name, config.train_size)
    reading = ReadingOptions(test_size=options.test_size, eval_resize=options.eval_resize)
    assert reading.test_reader(config.train_size).transform == eval_transform(config)
    assert (options.dropout, options.stochdepth_rate) == (config.drop_rate, config.stochdepth_rate)
    assert options.lr == 0.1 * options.batch_size / 256 and options.warmup_epochs == 5.0
    assert options.momentum == 0.9 and options.label_smoothing == 0.1
    is_nfnet, is_resnet = name.startswith("nfnet"), name.startswith("nf_resnet")
    assert options.agc == (0.01 if is_nfnet else None)
    assert options.augment == ("nfnet" if is_nfnet else "flip-crop")
    assert (options.mixup, options.cutmix) == ((None, None) if is_resnet else (0.2, 1.0))
    assert options.ema == (None if is_resnet else 0.99999)
    assert (options.epochs, options.batch_size) == ((90 if is_resnet else 360), (4096 if is_nfnet else 1024))
    text = recipes.text_of(name)
    assert f"{config.train_size} px" in text and f"{config.test_size} px" in text


def test_recipes_name_only_options_and_leave_machine_and_folder_to_the_user():
    """A recipe that set the backend or the folder of the run would surprise."""
    for name in recipes.names():
        given = tomllib.loads(recipes.text_of(name))
        assert not given.keys() & {"backend", "out", "workers", "seed", "resume", "max_pixels"}, name


@pytest.fixture
def pictures(tmp_path):
    """A folder of two classes of striped pictures, eight to train on and four to test."""
    random = np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 2)):
        for label in ("across", "along"):
            folder = tmp_path / "pictures" / split / label
            folder.mkdir(parents=True)
            for k in range(count):
                pixels = np.broadcast_to(random.integers(0, 256, (80, 1, 3)), (80, 80, 3)).astype(np.uint8)
                Image.fromarray(pixels if label == "across" else pixels.swapaxes(0, 1)).save(folder / f"{k}.png")
    return tmp_path / "pictures"


@pytest.mark.parametrize("name", SMALL)
def test_a_small_recipe_trains(name, few_digits, pictures, tmp_path, capsys, monkeypatch):
    data = f"idx:{few_digits}" if name == "digits" else f"folder:{pictures}"
    status, printed, error = run_command(train.main, capsys, monkeypatch, "--config", f"recipe:{name}", "--data", data,
                                         "--epochs", 1, "--batch-size", 8, "--out", tmp_path / "run")
    assert status == 0 and "test accuracy" in printed, error
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_the_list_names_every_recipe(capsys, monkeypatch):
    status, printed, _ = run_command(train.main, capsys, monkeypatch, "--config", "list")
    assert status == 0
    assert [line.split()[0] for line in printed.splitlines()] == [f"recipe:{name}" for name in recipes.names()]
