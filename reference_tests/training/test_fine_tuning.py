"""Fine-tuning: a run that starts from weights in a file, with a part of the network frozen or trained more slowly."""

import json
import re
import shutil

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image

from nfnumpy import InputError, Tensor, datasets, evaluate, models, train as command, weights
from nfnumpy.autograd.backward import reverse_topological_order
from nfnumpy.datasets import ArraySplit, Dataset
from nfnumpy.training import Trainer, TrainingOptions, checkpoint, load_classifier, parameter_patterns, train
from nfnumpy.training.initial_weights import read_initial_weights
from reference_tests.helpers.command_line import expect_one_line, run_command

DIGITS = tuple("0123456789")
HEAD = ("linear.weight", "linear.bias")


@pytest.fixture(scope="session")
def file(finished_run):
    """The checkpoint of a trained nfnet_8px, whose last weights and averaged weights differ."""
    return str(finished_run / "checkpoint.safetensors")


def stored(path, group):
    """name -> array of a group of a checkpoint."""
    return checkpoint.load(path).groups[group]


def started(path, classes=DIGITS, image_size=8, **options):
    """A Trainer that starts from the file at `path`, on noise in these classes."""
    options = TrainingOptions(init_from=path, batch_size=4, **options)
    initial = read_initial_weights(options)
    noise = np.random.default_rng(0).integers(0, 256, (8, image_size, image_size, 3), dtype=np.uint8)
    split = ArraySplit(noise, np.arange(8) % len(classes))
    config = models.config_of(initial.model, num_classes=len(classes))
    return Trainer(initial.completed(options), config, Dataset("noise", tuple(classes), image_size, split, split),
                   initial)


def steps(trainer, count):
    """Take some training steps."""
    for _ in range(count):
        trainer.train_step(trainer.dataset.train.take(range(4)), trainer.dataset.train.labels[:4]).read()


def state_of(trainer):
    """name -> a copy of each parameter."""
    return {name: array.copy() for name, array in trainer.model.state_dict().items()}


# ---- where a run starts


@pytest.mark.parametrize("variant", ["resnet_8px", "efficientnet_8px"])
def test_a_run_starts_from_running_statistics_too_also_under_timms_names(tmp_path, variant):
    model = models.create(variant, num_classes=10, seed=3)
    state = {name: array + 0.25 if "running" in name else array for name, array in model.state_dict().items()}
    weights.save(tmp_path / "weights", weights.to_timm(state))
    trainer = started(str(tmp_path / "weights"))
    assert all(np.array_equal(array, state[name]) for name, array in trainer.model.state_dict().items())


@given(classes=st.permutations(DIGITS))
def test_the_head_of_the_same_classes_is_kept_in_the_order_of_the_data(file, classes):
    model, expected = models.create("nfnet_8px", shapes_only=True), stored(file, "ema")
    read_initial_weights(TrainingOptions(init_from=file)).load_into(model, tuple(classes))
    columns = [DIGITS.index(name) for name in classes]
    expected.update({name: expected[name][..., columns] for name in HEAD})
    assert all(np.array_equal(array, expected[name]) for name, array in model.state_dict().items())


@pytest.mark.parametrize("classes", [("cat", "dog"), tuple("012"), tuple("012345678") + ("ten",)], ids=len)
def test_other_classes_have_a_new_head(file, classes):
    """As the variant initializes it for that seed; all else is the file's."""
    state = state_of(started(file, classes, seed=5))
    fresh = models.create("nfnet_8px", num_classes=len(classes), seed=5).state_dict()
    expected = stored(file, "ema") | {name: fresh[name] for name in HEAD}
    assert state.keys() == expected.keys()
    assert all(np.array_equal(state[name], expected[name]) for name in state)


def test_the_last_weights_are_taken_where_they_are_wanted(file):
    state, expected, averaged = state_of(started(file, init_weights="last")), stored(file, "model"), stored(file, "ema")
    assert all(np.array_equal(state[name], expected[name]) for name in state)
    assert not all(np.array_equal(expected[name], averaged[name]) for name in state)


def test_averaged_weights_start_from_the_files(file):
    """After a step the average is 1/10 of the file's weights and 9/10 of the new ones.

    3 roundings of numbers below 8.
    """
    trainer, before = started(file, warmup_epochs=0.0), stored(file, "ema")
    assert all(np.array_equal(trainer.ema.average[name], before[name]) for name in before)
    steps(trainer, 1)
    for name, array in state_of(trainer).items():
        np.testing.assert_allclose(trainer.ema.average[name], 0.1 * before[name] + 0.9 * array, rtol=0,
                                   atol=3 * 8 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("scheme", ["nfnumpy", "timm", "haiku"])
def test_files_of_every_scheme_give_the_same_start(file, tmp_path, scheme):
    """The files do not name classes: as many classes keep the head."""
    path = str(tmp_path / "weights")
    weights.convert(file, path, scheme)
    state, expected = state_of(started(path, [f"class {k}" for k in range(10)])), stored(file, "ema")
    assert all(np.array_equal(state[name], expected[name]) for name in expected)
    assert np.array_equal(state_of(started(path, "abc"))["linear.bias"], np.zeros(3))


def test_another_size_of_images_trains(file):
    trainer = started(file, image_size=12, warmup_epochs=0.0)
    before = state_of(trainer)
    steps(trainer, 1)
    assert not np.array_equal(before["stem_convs.0.weight"], state_of(trainer)["stem_convs.0.weight"])


def test_what_the_options_leave_open_is_the_files(file, tmp_path):
    """Model, image size and rates; what is given stays."""
    groups, facts = checkpoint.load(file)
    changed = tmp_path / "checkpoint"
    checkpoint.save(changed, groups, facts | {"config": facts["config"] | {"drop_rate": 0.25, "stochdepth_rate": 0.5}})
    options = TrainingOptions(init_from=str(changed))
    found = read_initial_weights(options).completed(options)
    assert (found.model, found.image_size, found.dropout, found.stochdepth_rate) == ("nfnet_8px", 8, 0.25, 0.5)
    options = TrainingOptions(init_from=str(changed), model="nfnet_8px", image_size=16, dropout=0.0,
                              stochdepth_rate=0.1)
    assert read_initial_weights(options).completed(options) == options


def test_the_size_is_that_of_the_training_images_not_of_the_test(file, tmp_path):
    groups, facts = checkpoint.load(file)
    changed = tmp_path / "checkpoint"
    checkpoint.save(changed, groups, facts | {"image_size": 32, "evaluation": [40, 0, False]})
    options = TrainingOptions(init_from=str(changed))
    initial = read_initial_weights(options)
    assert initial.image_size == initial.completed(options).image_size == 32
    assert "trained on images of 32 px" in initial.summary(options, DIGITS)


@pytest.mark.parametrize("classes, words", [
    (DIGITS, ["its head for the same 10 classes"]), (DIGITS[::-1], ["same 10 classes, in the order of the data"]),
    (tuple("012"), ["new head for 3 classes in place of 10"]), ((*DIGITS[1:], "cat"), ["new head", "'cat'"])])
def test_a_line_says_what_is_taken(file, classes, words):
    options = TrainingOptions(init_from=file)
    line = read_initial_weights(options).summary(options, classes)
    assert "\n" not in line and all(word in line for word in [file, "nfnet_8px", "8 px", *words]), line


# ---- what is trained


FROZEN = "stem*,blocks.0.*,blocks.2.squeeze_excite.*"


def is_frozen(name):
    """What FROZEN says, in other words."""
    return bool(re.match(r"stem|blocks\.0\.|blocks\.2\.squeeze_excite\.", name))


@pytest.mark.parametrize("options", [{}, {"sam": 0.05, "sam_fraction": 0.5}, {"dtype": "float64", "agc": None}],
                         ids=str)
def test_frozen_parameters_keep_their_bits_and_others_change(file, options):
    """The averaged weights' too, with weight decay that would move them."""
    trainer = started(file, freeze=FROZEN, lr=1.0, weight_decay=0.1, warmup_epochs=0.0, **options)
    before = state_of(trainer)
    steps(trainer, 3)
    for state in (state_of(trainer), trainer.ema.average):
        changed = {name for name in before if before[name].tobytes() != state[name].tobytes()}
        assert changed == {name for name in before if not is_frozen(name)}


def test_frozen_parameters_have_no_gradient_and_a_frozen_beginning_is_not_recorded(file):
    trainer = started(file, freeze="stem*,blocks.0.*")
    parameters, model = trainer.model.parameters(), trainer.model
    x = model.stem(Tensor(np.zeros((2, 8, 8, 3), np.float32)))
    assert x.node is None and model.blocks[0](x).node is None
    trainer._backward(trainer.dataset.train.take(range(4)), trainer.dataset.train.labels[:4])
    assert {name for name, parameter in parameters.items() if parameter.grad is None} == \
        {name for name in parameters if re.match(r"stem|blocks\.0\.", name)}


def test_freezing_the_beginning_shortens_the_backward_pass(file):
    """Of three blocks and a stem, one block is left: fewer than half of the operations are recorded."""
    images = np.zeros((2, 8, 8, 3), np.float32)
    whole, part = (len(list(reverse_topological_order(started(file, freeze=freeze).model(images).node)))
                   for freeze in (None, "stem*,blocks.0.*,blocks.1.*"))
    assert part < whole / 2


def test_a_scaled_learning_rate_scales_the_change(file):
    """Of the first step, whose momentum is its gradient: 4 roundings of numbers below 8."""
    options = {"lr": 0.05, "warmup_epochs": 0.0, "seed": 3}
    plain = started(file, **options)
    scaled = started(file, lr_scale="blocks.*=0.25, *.bias=4, linear.bias=2", **options)
    before = state_of(plain)
    for trainer in (plain, scaled):
        steps(trainer, 1)
    after, found = state_of(plain), state_of(scaled)
    for name, start in before.items():
        factor = 2 if name == "linear.bias" else 4 if name.endswith(".bias") else 0.25 if "blocks" in name else 1
        np.testing.assert_allclose(found[name], start + factor * (after[name] - start), rtol=0,
                                   atol=4 * 8 * np.finfo(np.float32).eps)


# ---- a whole run


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of 8 training and 4 test pictures of the digits 1 and 7, called one and seven."""
    folder, digits = tmp_path_factory.mktemp("pictures"), datasets.open_dataset("digits").train
    for name, label in (("one", 1), ("seven", 7)):
        for number, index in enumerate(np.flatnonzero(digits.labels == label)[:6]):
            path = folder / ("train" if number < 4 else "test") / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(digits.read(index)).save(path)
    return folder


OPTIONS = {"epochs": 2, "batch_size": 4, "sam": 0.05, "freeze": "stem*", "lr_scale": "blocks.*=0.1"}


def interrupt(*arguments):
    raise KeyboardInterrupt


def test_a_run_resumes_without_the_file_bit_for_bit(file, pictures, tmp_path, capsys, monkeypatch):
    """Interrupted after its first epoch's steps, and with the file gone. What it leaves is what evaluate reads."""
    copy = shutil.copy(file, tmp_path / "start.safetensors")
    options = {**OPTIONS, "data": f"folder:{pictures}", "init_from": str(copy), "checkpoint_every": 1}
    train({**options, "out": str(tmp_path / "whole")})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "evaluate", interrupt)
        train({**options, "out": str(tmp_path / "part")})
    copy.unlink()
    train({"out": str(tmp_path / "part")}, resume=True)
    found, expected = (weights.load(tmp_path / name / "checkpoint.safetensors") for name in ("part", "whole"))
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in found)
    checkpoint_file = tmp_path / "part" / "checkpoint.safetensors"
    assert load_classifier(checkpoint_file).classes == ("one", "seven")
    status, printed, _ = run_command(evaluate.main, capsys, monkeypatch, checkpoint_file, "--data",
                                     f"folder:{pictures}")
    assert status == 0 and "4 images of 8 px, 2 classes" in printed


def test_flags_given_several_times_add_up(file, pictures, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "run"
    status, printed, _ = run_command(
        command.main, capsys, monkeypatch, "--data", f"folder:{pictures}", "--init-from", file, "--epochs", 1,
        "--freeze", "stem*", "--freeze", "blocks.0.*,blocks.1.*", "--lr-scale", "blocks.*=0.1", "--lr-scale",
        "linear.*=2", "--out", folder)
    assert status == 0 and "new head for 2 classes in place of 10" in printed and "frozen: " in printed
    options = json.loads(weights.read(folder / "checkpoint.safetensors")[1]["nfnumpy"])["options"]
    assert options["freeze"] == "stem*,blocks.0.*,blocks.1.*" and options["lr_scale"] == "blocks.*=0.1,linear.*=2"


def test_agc_leaves_out_what_agc_except_matches_and_the_last_weight(file):
    names = set(started(file).optimizer.parameters)
    for text, exempt in ((None, set()), ("*.skip_gain", {name for name in names if name.endswith("skip_gain")}),
                         ("stem*,linear.bias", {name for name in names if re.match(r"stem|linear\.bias", name)})):
        assert started(file, agc_except=text).optimizer.clipped == names - exempt - {"linear.weight"}


def test_without_clipping_skip_gains_leave_zero_at_once(file):
    """AGC lets a scalar at 0 move by lr·(1 + momentum)·lambda·eps in its first step: here 0.19 thousandths of lr."""
    clipped, free = (started(file, agc=0.1, agc_except=text, lr=1.0, warmup_epochs=0.0)
                     for text in (None, "*.skip_gain"))
    moved = []
    for trainer in (clipped, free):
        gains = [parameter for name, parameter in trainer.model.parameters().items() if name.endswith("skip_gain")]
        for gain in gains:
            gain.data = np.zeros_like(gain.data)
        steps(trainer, 1)
        moved.append([abs(float(gain.data)) for gain in gains])
    assert max(moved[0]) <= 1.9e-4 * (1 + 1e-5) < min(moved[1])


# ---- what is refused


@pytest.mark.parametrize("flags, words", [
    (["--freeze", "steam*"], ["--freeze steam*", "stem_convs.0.weight", "linear.weight", "blocks.0.*"]),
    (["--freeze", "stem*,,linear.*"], ["--freeze stem*,,linear.*", "separated by commas"]),
    (["--freeze", ""], ["--freeze"]), (["--freeze", "*"], ["--freeze *", "nothing to train"]),
    (["--freeze", "Stem*"], ["--freeze Stem*"]),
    (["--lr-scale", "linear"], ["--lr-scale linear", "PATTERN=FACTOR"]), (["--lr-scale", "=2"], ["--lr-scale =2"]),
    (["--lr-scale", "linear.*=-1"], ["linear.*=-1", "above 0"]), (["--lr-scale", "linear.*=nan"], ["linear.*=nan"]),
    (["--lr-scale", "linear.*=inf"], ["linear.*=inf"]), (["--lr-scale", "linear.*=fast"], ["linear.*=fast"]),
    (["--lr-scale", "linear.*=0"], ["linear.*=0", "--freeze"]), (["--lr-scale", "head=2"], ["--lr-scale head"]),
    (["--freeze", "stem*", "--lr-scale", "stem_convs.0.*=2"], ["stem_convs.0.*=2", "--freeze"]),
    (["--agc-except", "skip"], ["--agc-except skip", "linear.weight"]), (["--agc-except", ""], ["--agc-except"]),
    (["--agc-except", "*.skip_gain", "--agc", "off"], ["--agc-except *.skip_gain", "--agc LAMBDA"]),
    (["--init-weights", "last"], ["--init-weights last", "--init-from"]),
    (["--init-weights", "best", "--init-from", "x"], ["--init-weights best", "averaged or last"]),
    (["--init-from", ""], ["--init-from"]), (["--init-from", "/nowhere"], ["/nowhere"]),
    (["--init-from", "/"], ["/ is not a regular file"])])
def test_bad_flags_are_one_line(flags, words, few_digits, tmp_path, capsys, monkeypatch):
    status, _, error = run_command(command.main, capsys, monkeypatch, "--data", f"idx:{few_digits}", "--out",
                                   tmp_path / "run", *flags)
    expect_one_line(status, error, *words)
    assert not (tmp_path / "run").exists()


def without_its_stem(state):
    del state["model.stem_convs.0.weight"], state["ema.stem_convs.0.weight"]


def with_infinity(state):
    state["ema.blocks.0.conv0.gain"][0] = np.inf


def of_another_shape(state):
    state["ema.final_conv.gain"] = np.ones(7, np.float32)


@pytest.mark.parametrize("spoil, words", [(without_its_stem, ["stem_convs.0.weight"]),
                                          (with_infinity, ["blocks.0.conv0.gain", "not finite"]),
                                          (of_another_shape, ["final_conv.gain", "(7,)"])])
def test_spoiled_weights_are_refused_by_name(file, tmp_path, spoil, words):
    state, metadata = weights.read(file)
    spoil(state)
    weights.save(tmp_path / "spoiled", state, metadata)
    with pytest.raises(InputError) as refusal:
        read_initial_weights(TrainingOptions(init_from=str(tmp_path / "spoiled")))
    assert "\n" not in str(refusal.value) and all(word in str(refusal.value) for word in words)


def test_a_network_of_no_named_variant_is_refused(file, tmp_path):
    """Its shapes are those of nfnet_8px, but it computes something else."""
    groups, facts = checkpoint.load(file)
    checkpoint.save(tmp_path / "other", groups, facts | {"config": facts["config"] | {"alpha": 0.3}})
    with pytest.raises(InputError, match="nfnet_8px but for its alpha"):
        read_initial_weights(TrainingOptions(init_from=str(tmp_path / "other")))


@pytest.mark.parametrize("model, words", [("nfnet_16px", "weights of nfnet_8px"), ("nfnet_8x", "did you mean")])
def test_another_model_is_refused(file, model, words):
    options = TrainingOptions(init_from=file, model=model)
    with pytest.raises(InputError, match=words):
        read_initial_weights(options).completed(options)


@given(pattern=st.text(alphabet="abkcslo.*?[]!019\\{}()^$|=,", max_size=12))
def test_any_text_is_a_pattern_or_one_line(pattern):
    parameters = models.create("nfnet_8px", shapes_only=True).parameters()
    for use in (parameter_patterns.freeze, parameter_patterns.learning_rate_factor):
        try:
            use(parameters, pattern)
        except InputError as refusal:
            assert "\n" not in str(refusal)
