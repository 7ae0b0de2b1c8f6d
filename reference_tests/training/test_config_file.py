"""--config: TOML in and out, flags over the file, and one line for every file that cannot be used."""

import dataclasses
import math
import os
import tomllib

import pytest
from hypothesis import given, settings, strategies as st

from nfnumpy import train
from nfnumpy.training import TrainingOptions
from nfnumpy.training.config_file import read_config, write_config
from reference_tests.helpers.command_line import expect_one_line, run_command


@pytest.fixture
def command(capsys, monkeypatch):
    """The training command: arguments -> (status, standard output, error stream)."""
    return lambda *arguments: run_command(train.main, capsys, monkeypatch, *arguments)


def optional(values):
    return st.one_of(st.none(), values)


SHARES = st.floats(0.0, 1.0, exclude_max=True)
OPTIONS = st.fixed_dictionaries({}, optional={
    "data": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
    "model": optional(st.sampled_from(["nfnet_f0", "nfnet_f0+", "nf_resnet50"])), "epochs": st.integers(1, 10**6),
    "lr": st.floats(0.0, 1e300), "momentum": SHARES, "dropout": optional(SHARES),
    "agc": optional(st.floats(1e-300, 10.0)), "ema": optional(SHARES), "seed": st.integers(-2**63, 2**63 - 1),
    "precision": st.sampled_from([None, "bf16"]), "checkpoint_every": optional(st.integers(1, 10**9)),
    "keep": st.sampled_from([None, "best:3", "last:5", "all"]), "time_limit": optional(st.floats(0.1, 1e9)),
    "tf32": st.sampled_from(["on", "off"])})


@settings(max_examples=40)
@given(options=OPTIONS)
def test_what_is_written_is_what_is_read(scratch, options):
    """All options but `out`, bit for bit; and the file is TOML for any reader."""
    options = TrainingOptions(**options, out="somewhere")
    write_config(scratch / "config.toml", options)
    read = read_config(str(scratch / "config.toml"))
    assert TrainingOptions(**read) == dataclasses.replace(options, out=None)
    assert read.keys() == {field.name for field in dataclasses.fields(TrainingOptions)} - {"out"}
    assert tomllib.loads((scratch / "config.toml").read_text(encoding="utf-8")).keys() == read.keys()


def test_a_folder_name_that_is_not_unicode_survives(tmp_path):
    data = os.fsdecode(b"folder:\xff\xfe")
    write_config(tmp_path / "config.toml", TrainingOptions(data=data))
    assert read_config(str(tmp_path / "config.toml"))["data"] == data


def test_off_is_the_word_for_what_is_not_used(tmp_path):
    file = tmp_path / "config.toml"
    names = ("agc", "ema", "precision", "checkpoint_every", "keep", "tf32")
    file.write_text("".join(f'{name} = "off"\n' for name in names))
    read = read_config(str(file))
    assert read.pop("tf32") == "off" and set(read.values()) == {None} and len(read) == 5


@pytest.mark.parametrize("text, seconds", [('"2h30m"', 9000), ("5400", 5400), ('"off"', None), ("0.5", 0.5)])
def test_time_limits_are_durations_or_seconds(tmp_path, text, seconds):
    (tmp_path / "config.toml").write_text(f"time_limit = {text}\n")
    assert read_config(str(tmp_path / "config.toml")) == {"time_limit": seconds}


def test_flags_overrule_the_file_and_the_run_can_be_repeated_from_its_own(command, few_digits, tmp_path):
    """The second run takes the first one's config.toml and ends with the same options and metrics."""
    file = tmp_path / "mine.toml"
    file.write_text(f'data = "idx:{few_digits}"\nepochs = 7\nbatch_size = 12\nlr = 0.1\nsam = 0.05\n')
    assert command("--config", file, "--epochs", 1, "--sam", "off", "--out", tmp_path / "one")[0] == 0
    own = tomllib.loads((tmp_path / "one" / "config.toml").read_text())
    assert (own["epochs"], own["lr"], own["sam"], own["model"], own["image_size"]) == (1, 0.1, "off", "nfnet_8px", 8)
    assert command("--config", tmp_path / "one" / "config.toml", "--out", tmp_path / "two")[0] == 0
    one, two = ((tmp_path / name / "config.toml").read_bytes() for name in ("one", "two"))
    assert one == two


BAD_FILES = {  # name of the case: (content, words of the error)
    "no TOML": ("lr 0.1", ["not valid TOML", "line 1"]),
    "YAML": ("lr: 0.1\n", ["not valid TOML"]),
    "JSON": ('{"lr": 0.1}', ["not valid TOML"]),
    "binary": (b"\x80\x04\x95\x00", ["not valid TOML"]),
    "UTF-16": ("lr = 0.1".encode("utf-16"), ["not valid TOML"]),
    "a key twice": ("lr = 0.1\nlr = 0.2\n", ["not valid TOML"]),
    "brackets without end": ("lr = " + "[" * 5000, ["not valid TOML"]),
    "a number without end": ("seed = " + "1" * 5000, ["--config"]),
    "a key without end": ("a." * 40_000 + "a = 1", ["more than 16,000 characters"]),
    "an unknown option": ("learning_rate = 0.1", ["'learning_rate'", " lr, "]),
    "a near miss": ("epoch = 3", ["'epoch'", "did you mean 'epochs'"]),
    "a flag's spelling": ("batch-size = 3", ["'batch-size'", "did you mean 'batch_size'"]),
    "an empty name": ('"" = 3', ["unknown option ''"]),
    "resume": ("resume = true", ["unknown option 'resume'"]),
    "a table": ("[training]\nlr = 0.1\n", ["'training'"]),
    "a dotted option": ("lr.peak = 0.1", ["lr is a table"]),
    "text for a number": ('lr = "fast"', ["lr = 'fast'", "float"]),
    "a number in quotes": ('epochs = "3"', ["epochs = '3'", "int"]),
    "a fraction for a whole number": ("epochs = 3.5", ["epochs = 3.5", "int"]),
    "a truth value for a number": ("agc = true", ["agc = True", "float"]),
    "a date": ("seed = 2021-02-11", ["seed", "int"]),
    "a list": ("lr = [0.1, 0.2]", ["lr", "float"]),
    "a number for text": ("model = 50", ["model = 50", "str"]),
    "not a number": ("lr = nan", ["lr = nan", "number"]),
    "infinity": ("lr = inf", ["lr = inf", "number"]),
    "out of range": ("momentum = 1.0", ["momentum = 1.0", "not including"]),
    "nothing of something": ("batch_size = 0", ["batch_size = 0", "above 0"]),
    "off where it cannot be": ('epochs = "off"', ["epochs = 'off'", "int"]),
    "a choice that is none": ('tf32 = "maybe"', ["tf32 = 'maybe'", "on or off"]),
    "an odd duration": ('time_limit = "2 hours"', ["'2 hours'", "2h30m"]),
    "no time": ("time_limit = 0", ["time_limit = 0", "above 0"]),
    "an odd rule": ('keep = "worst:2"', ["--keep worst:2", "best:N"]),
    "an unknown model": ('model = "nfnet_f9"', ["nfnet_f9", "did you mean"]),
}


@pytest.mark.parametrize("content, words", BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_one_line_and_starts_nothing(command, tmp_path, content, words):
    file = tmp_path / "bad.toml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    status, _, error = command("--config", file, "--out", tmp_path / "run")
    expect_one_line(status, error, *words)
    assert len(error) < 1500 and not (tmp_path / "run").exists()


@pytest.mark.parametrize("source, words", [
    ("nowhere.toml", ["nowhere.toml", "No such file", "recipe:NAME"]), ("", ["--config"]), (".", ["Is a directory"]),
    ("recipe:nfnet_f9", ["recipe:nfnet_f9", "did you mean recipe:nfnet_f"]), ("recipe:", ["no such recipe"]),
    ("recipe:../recipes/digits", ["no such recipe", "recipe:digits"]), ("nfnet_f0", ["nfnet_f0", "recipe:NAME"]),
    ("recipe:digits.toml", ["did you mean recipe:digits"]), ("/dev/zero", ["more than 16,000"]),
    ("a\0b", ["--config", "null"])])
def test_a_source_that_is_no_file_is_one_line(command, tmp_path, monkeypatch, source, words):
    monkeypatch.chdir(tmp_path)
    status, _, error = command("--config", source)
    expect_one_line(status, error, *words)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("flags, words", [
    (["--time-limit", "soon"], ["--time-limit", "2h30m"]), (["--time-limit", "0"], ["--time-limit 0", "above 0"]),
    (["--time-limit", "-5m"], ["--time-limit"]), (["--keep", "best:0"], ["--keep best:0", "best:N"]),
    (["--keep", "best:-1"], ["best:-1"]), (["--keep", "3"], ["--keep 3"]), (["--keep", "best:many"], ["best:many"]),
    (["--keep", "all:3"], ["all:3"]), (["--keep", ""], ["--keep"]), (["--early-stop", "0"], ["--early-stop 0"]),
    (["--early-stop", "1.5"], ["--early-stop", "whole number"]), (["--checkpoint-every", "x"], ["--checkpoint-every"]),
    (["--config"], ["--config"])])
def test_bad_flags_are_one_line(command, tmp_path, flags, words):
    status, _, error = command(*flags, *([] if flags == ["--config"] else ["--out", tmp_path / "run"]))
    expect_one_line(status, error, *words)
    assert not (tmp_path / "run").exists()


def test_numbers_in_files_keep_their_types(tmp_path):
    (tmp_path / "config.toml").write_text("lr = 1\nepochs = 3\n")
    read = read_config(str(tmp_path / "config.toml"))
    assert math.isclose(TrainingOptions(**read).lr, 1.0) and type(read["epochs"]) is int
