"""metrics.csv and TensorBoard's event files hold the numbers of metrics.jsonl, also after a resumption."""

import csv
import io
import json
import shutil
import sys

import numpy as np
import pytest
from hypothesis import given, strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nfnumpy import InputError
from nfnumpy.training import train
from nfnumpy.training.metrics_tables import EventFile, csv_of, flat

NUMBERS = st.integers(-2**53, 2**53) | st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text("abc_.", min_size=1, max_size=3)
MORE = st.dictionaries(NAMES, NUMBERS | st.dictionaries(NAMES, NUMBERS, max_size=3), max_size=5)


@given(entries=st.lists(MORE.map(lambda more: {"step": 1, **more}), min_size=1, max_size=4))
def test_a_csv_file_has_every_number_under_its_name(entries):
    rows = csv.DictReader(io.StringIO(csv_of(entries), newline=""))
    read = [{name: float(text) for name, text in row.items() if text != ""} for row in rows]
    assert read == [dict(flat(entry)) for entry in entries]


def scalars(folder):
    """tag -> [(step, value)] of a folder of event files, as TensorBoard reads them."""
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return {tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
            for tag in accumulator.Tags()["scalars"]}


def expect_tables(folder):
    """Both forms in the folder of a run have the numbers of metrics.jsonl; TensorBoard's are of float32."""
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    with open(folder / "metrics.csv", newline="") as file:
        rows = [{name: float(text) for name, text in row.items()} for row in csv.DictReader(file)]
    assert rows == [dict(flat(entry)) for entry in entries]
    assert "clipped_by_parameter/blocks.0.skip_gain" in rows[0]
    expected = {name: [(entry["step"], np.float32(dict(flat(entry))[name])) for entry in entries]
                for name, _ in flat(entries[0]) if name != "step"}
    assert scalars(folder / "tensorboard") == expected
    assert len(list((folder / "tensorboard").iterdir())) == 1


def test_tables_of_a_resumed_run_are_complete(finished_run, tmp_path, capsys):
    """A run without them goes on with them, and then without a file that was lost."""
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    train({"out": str(folder), "epochs": 3, "csv": "on", "tensorboard": "on"}, resume=True)
    expect_tables(folder)
    (folder / "metrics.csv").unlink()
    train({"out": str(folder), "epochs": 4}, resume=True)
    expect_tables(folder)
    assert len((folder / "metrics.csv").read_text().splitlines()) == 1 + 4


def test_an_event_file_replaces_its_own_kind_only(tmp_path):
    others = tmp_path / "events.out.tfevents.1.other"
    others.write_bytes(b"")
    EventFile(str(tmp_path), [{"step": 1, "loss": 2.0}])
    events = EventFile(str(tmp_path), [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5}])
    events.append({"step": 3, "loss": 1.0, "clipped": {"a": 0.5}})
    assert len(list(tmp_path.iterdir())) == 2 and others.exists()
    assert scalars(tmp_path) == {"loss": [(1, 2.0), (2, 1.5), (3, 1.0)], "clipped/a": [(3, 0.5)]}


def test_without_tensorboard_a_run_does_not_start(few_digits, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", None)
    with pytest.raises(InputError, match=r"pip install 'nfnumpy\[tensorboard\]'"):
        train({"data": f"idx:{few_digits}", "tensorboard": "on", "out": str(tmp_path / "run")})
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "tensorboard").write_text("a file")
    with pytest.raises(InputError, match="cannot write .*tensorboard"):
        EventFile(str(tmp_path / "tensorboard"), [])
