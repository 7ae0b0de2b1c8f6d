"""The conformance vectors are current, small, and distinguish right results from wrong ones."""

import json
from pathlib import Path

import numpy as np
import pytest

from nfnumpy import weights
from nfnumpy.errors import InputError
from nfnumpy.verify import vectors
from nfnumpy.verify.tolerance import distance
from nfnumpy.verify.vectors.cases import all_cases

DIRECTORY = Path(__file__).parents[2] / "data" / "vectors"
CASES = {case.name: case for case in all_cases()}


def stored(name):
    """(inputs in the case's order, expected) of a case as its file has them."""
    arrays, _ = weights.read(DIRECTORY / f"{name}.safetensors")
    inputs, expected = ({key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
                        for prefix in ("input.", "expected."))
    return dict(sorted(inputs.items(), key=lambda item: list(CASES[name].inputs).index(item[0]))), expected


def test_index_and_files_are_complete_and_below_5_megabytes():
    index = json.loads((DIRECTORY / "index.json").read_text())
    missing = [name for name in CASES if not (DIRECTORY / f"{name}.safetensors").exists()]
    assert not missing, f"cases without a file: {missing}; `python data/make_vectors.py` writes them"
    assert [entry["name"] for entry in index["cases"]] == list(CASES) and index["format"] == vectors.FORMAT
    assert {file.name for file in DIRECTORY.iterdir()} == {"index.json", *(f"{name}.safetensors" for name in CASES)}
    assert sum(file.stat().st_size for file in DIRECTORY.iterdir()) < 5e6
    for entry in index["cases"]:
        inputs, expected = stored(entry["name"])
        assert entry["options"] == json.loads(json.dumps(CASES[entry["name"]].options))
        assert entry["operation"] == CASES[entry["name"]].operation
        assert {name: list(array.shape) for name, array in inputs.items()} == entry["inputs"]
        assert {name: list(array.shape) for name, array in expected.items()} == {
            name: facts["shape"] for name, facts in entry["expected"].items()}


@pytest.mark.parametrize("name", CASES)
def test_stored_results_are_those_of_the_reference(name):
    """Inputs may differ by the last bit of float32: a logarithm and a cosine may, between processors. The results are
    computed from the stored inputs, in float64, to within what the index allows a float64 implementation."""
    inputs, expected = stored(name)
    assert inputs.keys() == CASES[name].inputs.keys()
    for key, array in CASES[name].inputs.items():
        assert inputs[key].dtype == array.dtype and np.allclose(inputs[key], array, rtol=2.0**-22, atol=1e-30)
    with np.errstate(all="ignore"):
        results = CASES[name].compute(inputs, np.float64)
    (entry,) = (entry for entry in json.loads((DIRECTORY / "index.json").read_text())["cases"] if entry["name"] == name)
    assert list(results) == list(entry["expected"])
    for key, array in results.items():
        assert distance(array, expected[key]) <= entry["expected"][key]["allowed"]["float64"]


def test_only_missing_and_named_cases_are_written(tmp_path, monkeypatch):
    """Files that are there keep their bytes, and those of cases that no longer exist are deleted."""
    schedule, ema = CASES["schedule"], CASES["ema"]
    monkeypatch.setattr(vectors, "all_cases", lambda: [schedule])
    assert vectors.write_vectors(tmp_path) == ["schedule"]
    (tmp_path / "schedule.safetensors").write_bytes(b"as it was")
    monkeypatch.setattr(vectors, "all_cases", lambda: [schedule, ema])
    assert vectors.write_vectors(tmp_path) == ["ema"]
    assert (tmp_path / "schedule.safetensors").read_bytes() == b"as it was"
    index = json.loads((tmp_path / "index.json").read_text())
    assert [entry["name"] for entry in index["cases"]] == ["schedule", "ema"]
    assert vectors.write_vectors(tmp_path, again=["schedule"]) == ["schedule"]
    assert "rates" in "".join(weights.load(tmp_path / "schedule.safetensors"))
    monkeypatch.setattr(vectors, "all_cases", lambda: [ema])
    assert vectors.write_vectors(tmp_path) == []
    assert {file.name for file in tmp_path.iterdir()} == {"index.json", "ema.safetensors"}
    with pytest.raises(InputError, match="no case nonsense; there are ema"):
        vectors.write_vectors(tmp_path, again=["nonsense"])


def write_results(folder, dtype, names=CASES, spoil=lambda name, key, array: array):
    """The results of a right implementation in `dtype`, changed by `spoil`."""
    folder.mkdir()
    for name in names:
        with np.errstate(all="ignore"):
            results = CASES[name].compute(stored(name)[0], dtype)
        weights.save(folder / f"{name}.safetensors",
                     {key: np.asarray(spoil(name, key, array), dtype=dtype) for key, array in results.items()})
    return folder


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_right_results_conform(tmp_path, dtype):
    verdict = vectors.check_results(write_results(tmp_path / "results", dtype))
    assert verdict.outcome == "conforms" and verdict.examples == len(CASES), str(verdict)


def test_a_wrong_result_is_named_with_its_tensor(tmp_path):
    def spoil(name, key, array):
        return array * 1.001 if (name, key) == ("agc_linear", "clipped") else array

    verdict = vectors.check_results(write_results(tmp_path / "results", np.float32, ["agc_conv", "agc_linear"], spoil))
    assert verdict.outcome == "diverges" and verdict.first_difference.tensor == "agc_linear: clipped"
    assert any("no results for" in note for note in verdict.notes)
    assert any(note.startswith("agc_linear is: adaptive gradient clipping") for note in verdict.notes)


def test_nothing_to_compare_and_missing_tensors_are_one_line(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        vectors.check_results(tmp_path / "nowhere")
    with pytest.raises(InputError, match="has no results; expected files such as"):
        vectors.check_results(tmp_path)
    weights.save(tmp_path / "ema.safetensors", {"update 0": np.zeros(3)})
    with pytest.raises(InputError, match="expected a tensor 'update 1'"):
        vectors.check_results(tmp_path)
