"""Bad input and odd folders, over all commands: one line that says what is wrong, status 2, and nothing changed."""

import os
import shutil

import pytest
from PIL import Image

from nfnumpy import data, evaluate, predict, summary, train
from nfnumpy.augment import __main__ as augment
from nfnumpy.weights import __main__ as weights
from reference_tests.helpers.command_line import expect_one_line, run_command

COMMANDS = {"train": train.main, "data": data.main, "evaluate": evaluate.main, "predict": predict.main,
            "summary": summary.main, "augment": augment.main, "weights": weights.main}
CHECKPOINT = "run/checkpoint.safetensors"
EVALUATE = f"evaluate {CHECKPOINT} --data"
TRAIN = "train --epochs 1 --batch-size 1 --out new"

# The command, and words of its line.
ODD = [
    (f"{TRAIN} --data ok", ["'ok'", "did you mean folder:ok"]),
    (f"{TRAIN} --data folder:", ["folder:DIR"]),
    (f"{TRAIN} --data folder:nowhere", ["nowhere", "No such file"]),
    (f"{TRAIN} --data folder:notes.txt", ["notes.txt", "folder"]),
    (f"{TRAIN} --data folder:empty", ["empty", "sub-folders"]),
    (f"{TRAIN} --data folder:flat", ["flat", "sub-folders"]),
    (f"{TRAIN} --data folder:untested", ["untested", "--test-share 0.1"]),
    (f"{TRAIN} --data folder:phone --test-share 0.1", ["train/cat", "but 2 .heic"]),
    (f"{TRAIN} --data folder:broken --image-size 8", ["blank.jpg", "file is empty", "--on-bad-image skip", "--resume"]),
    (f"{TRAIN} --data folder:broken --image-size 8 --loader process", ["blank.jpg", "--on-bad-image skip"]),
    (f"{TRAIN} --data folder:renamed", ["1.jpg", "HEIC", "converted to JPEG"]),
    (f"{TRAIN} --data folder:ok --test-share 1", ["--test-share 1", "up to, not including, 1"]),
    (f"{TRAIN} --data folder:ok --test-share 10%", ["--test-share", "10%"]),
    (f"{TRAIN} --data folder:ok --test-share nan", ["--test-share nan"]),
    (f"{TRAIN} --data digits --test-share 0.1", ["--test-share 0.1", "digits"]),
    (f"{TRAIN} --data folder:ok --on-bad-image ignore", ["--on-bad-image ignore", "error or skip"]),
    (f"{TRAIN} --data folder:ok --loader gpu", ["--loader gpu", "threads or process"]),
    (f"{TRAIN} --data folder:ok --decoder opencv", ["--decoder opencv", "draft"]),
    (f"{TRAIN} --data folder:ok --keep best:0", ["--keep best:0", "best:N"]),
    (f"{TRAIN} --data folder:ok --time-limit soon", ["--time-limit", "soon", "2h30m"]),
    (f"{TRAIN} --config nowhere.toml", ["nowhere.toml", "--config list"]),
    (f"{TRAIN} --config notes.txt", ["notes.txt", "TOML"]),
    (f"{TRAIN} --config empty", ["empty"]),
    (f"{TRAIN} --config recipe:small", ["recipe:small_folder"]),
    (f"{TRAIN} --data folder:ok --init-from nowhere", ["nowhere"]),
    (f"{TRAIN} --data folder:ok --init-from notes.txt", ["notes.txt", "weight file"]),
    (f"{TRAIN} --data folder:ok --init-from ok", ["ok", "not a regular file"]),
    (f"{TRAIN} --data folder:ok --init-from {CHECKPOINT} --model nfnet_16px", ["nfnet_8px", "nfnet_16px"]),
    (f"{TRAIN} --data folder:ok --freeze nothing*", ["--freeze nothing*"]),
    (f"{TRAIN} --data folder:ok --freeze *", ["nothing to train"]),
    (f"{TRAIN} --data folder:ok --lr-scale linear.*", ["PATTERN=FACTOR"]),
    (f"{TRAIN} --data folder:ok --find-lr --resume", ["--find-lr", "--resume"]),
    (f"{TRAIN} --data folder:broken --find-lr", ["blank.jpg", "--on-bad-image skip"]),
    ("train --data folder:ok --out notes.txt", ["--out notes.txt"]),
    ("train --data folder:ok --out run", ["--out run", "--resume"]),
    ("train --resume --out nowhere", ["--out nowhere", "no run to resume"]),
    (f"{TRAIN} --data shards:nowhere", ["nowhere"]),
    (f"{TRAIN} --data shards:ok", ["ok", "no tar files"]),
    (f"{TRAIN} --data shards:ok/train-{{0..", ["brace"]),
    ("data check nowhere", ["nowhere"]),
    ("data check ok --json nowhere/found.json", ["--json", "nowhere"]),
    ("data check ok --picture ok", ["--picture ok"]),
    ("data shards ok notes.txt", ["notes.txt"]),
    ("data shards ok new --count 0", ["--count 0"]),
    ("data folder ok ok", ["ok/train", "already"]),
    (f"{EVALUATE} folder:nowhere", ["nowhere"]),
    (f"{EVALUATE} folder:ok", ["cat"]),
    (f"{EVALUATE} folder:ok --batch-size 0", ["--batch-size 0"]),
    ("evaluate notes.txt --data digits", ["notes.txt", "weight file"]),
    (f"evaluate {CHECKPOINT}", ["--data"]),
    (f"predict {CHECKPOINT}", ["IMAGE"]),
    (f"predict {CHECKPOINT} ok --top 0", ["--top 0"]),
    ("predict notes.txt ok", ["notes.txt"]),
    ("augment show folder:nowhere", ["nowhere"]),
    ("augment show folder:broken --augment none --out new.png", ["blank.jpg"]),
    ("augment show folder:ok --augment blur", ["blur", "flip-crop"]),
    ("augment show ok", ["did you mean folder:ok"]),
    ("summary nfnet_f9", ["nfnet_f9", "did you mean"]),
    ("summary nowhere.safetensors", ["nowhere.safetensors", "no such file"]),
    (f"weights export {CHECKPOINT} new.pth", ["new.onnx"]),
    ("weights export nowhere new.onnx", ["nowhere"]),
    (f"weights export {CHECKPOINT} nowhere/new.onnx", ["nowhere"]),
    (f"weights export {CHECKPOINT} new.onnx --opset 3", ["opset 3"]),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory, finished_run):
    """A folder with a finished run, folders of pictures, and a text file."""
    root = tmp_path_factory.mktemp("home")
    names = [f"ok/{split}/{name}/{n}.png" for split in ("train", "test") for name in ("cat", "dog") for n in range(3)]
    names += [name.replace("ok", folder, 1) for name in names for folder in ("broken", "renamed")]
    names += ["flat/1.png", "untested/train/cat/1.png", "untested/train/dog/1.png"]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (len(name) * 5,) * 3).save(root / name)
    (root / "empty").mkdir()
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    for name, content in {"notes.txt": b"seen in May\n", "broken/train/cat/blank.jpg": b"",
                          "renamed/train/cat/1.jpg": heic, "phone/train/cat/1.heic": heic,
                          "phone/train/cat/2.HEIC": heic, "phone/train/dog/1.heic": heic}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    os.symlink(finished_run, root / "run")
    return root


def contents(root):
    """Path -> bytes of the files below `root`, without the folder `new` of a run that failed."""
    found = {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    found |= {path: path.read_bytes() for path in (root / "run").iterdir()}
    return {path: content for path, content in found.items() if path.parts[0] != "new"}


@pytest.mark.parametrize("line, words", ODD)
def test_it_is_one_line_and_status_2_and_changes_no_file(home, capsys, monkeypatch, line, words):
    monkeypatch.chdir(home)
    shutil.rmtree("new", ignore_errors=True)
    before = contents(home)
    command, *arguments = line.split()
    status, _, error = run_command(COMMANDS[command], capsys, monkeypatch, *arguments)
    expect_one_line(status, error, *words)
    assert contents(home) == before
