"""Conformance vectors: inputs and results in files, for implementations that Python cannot import.

`index.json` names the cases; each has a safetensors file with its inputs ("input.NAME") and the reference's results in
float64 ("expected.NAME"). A program in any language reads the inputs and writes its results, under the results' names,
to a file of the case's name in a folder of its own; `check_results` compares them with the reference's.
"""

import json
import os
from collections.abc import Iterable

import numpy as np

from ... import weights
from ...datasets.embedded import embedded_directory
from ...errors import InputError
from ...files import atomic_write
from .. import tolerance
from ..verdict import CONFORMS, DIVERGES, Difference, Verdict
from .cases import all_cases

FORMAT = 1
INDEX = "index.json"
PRECISIONS = ("float32", "float64")
MOST_NOTES = 10


def write_vectors(folder: str | os.PathLike[str], again: Iterable[str] = ()) -> list[str]:
    """Write the cases that `folder` lacks and those named in `again`, and the index; returns the names written.

    Other files stay as they are: on another processor the last bits of a result can differ. A file of a case that no
    longer exists is deleted. InputError where `again` names no case.
    """
    os.makedirs(folder, exist_ok=True)
    again, known = set(again), _entries(folder)
    cases = {case.name: case for case in all_cases()}
    if not again <= cases.keys():
        raise InputError(f"vectors: no case {', '.join(sorted(again - cases.keys()))}; there are {', '.join(cases)}")
    written = [name for name in cases if name in again or name not in known]
    entries = [_write_case(folder, cases[name]) if name in written else known[name] for name in cases]
    for name in known.keys() - cases.keys():
        os.unlink(os.path.join(folder, f"{name}.safetensors"))
    text = json.dumps({"format": FORMAT, "cases": entries}, indent=1, ensure_ascii=False) + "\n"
    atomic_write(os.path.join(folder, INDEX), text.encode())
    return written


def _entries(folder):
    """name -> entry of the index in `folder`, of the cases that have a file there."""
    path = os.path.join(folder, INDEX)
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        entries = json.load(file)["cases"]
    return {entry["name"]: entry for entry in entries
            if os.path.exists(os.path.join(folder, f"{entry['name']}.safetensors"))}


def _write_case(folder, case):
    """Write the file of a case; returns its entry in the index."""
    with np.errstate(all="ignore"):
        in_float32 = case.compute(case.inputs, np.float32)
        expected = {name: np.asarray(array) for name, array in case.compute(case.inputs, np.float64).items()}
    arrays = {f"input.{name}": array for name, array in case.inputs.items()}
    arrays |= {f"expected.{name}": array for name, array in expected.items()}
    weights.save(os.path.join(folder, f"{case.name}.safetensors"), arrays)
    allowed = {precision: tolerance.allowed(expected, in_float32, {}, precision) for precision in PRECISIONS}
    facts = {name: {"shape": list(array.shape), "allowed": {
        precision: float(f"{allowed[precision][name]:.3g}") for precision in PRECISIONS}}
        for name, array in expected.items()}
    inputs = {name: list(array.shape) for name, array in case.inputs.items()}
    return {"name": case.name, "operation": case.operation, "options": case.options, "inputs": inputs,
            "expected": facts}


def check_results(folder: str | os.PathLike[str]) -> Verdict:
    """The Verdict on the results in `folder`: NAME.safetensors with those of case NAME; InputError if unusable.

    Cases without a file are left out and counted in the notes; a file must have all results of its case.
    """
    if not os.path.isdir(folder):
        raise InputError(f"vectors: there is no folder {folder}")
    vectors = embedded_directory("vectors", "the conformance vectors")
    with open(os.path.join(vectors, INDEX)) as file:
        cases = json.load(file)["cases"]
    differences, missing, precisions = [], [], set()
    for case in cases:
        path = os.path.join(folder, f"{case['name']}.safetensors")
        if not os.path.exists(path):
            missing.append(case["name"])
            continue
        for precision, difference in _differences(case, path, vectors):
            precisions.add(precision)
            differences.append(difference)
    if not differences:
        raise InputError(f"vectors: {folder} has no results; expected files such as {cases[0]['name']}.safetensors")
    operations = {case["name"]: case["operation"] for case in cases}
    wrong = dict.fromkeys(difference.tensor.partition(":")[0] for difference in differences if not difference.agrees)
    notes = [f"no results for {len(missing)} of {len(cases)} cases, such as {missing[0]}"] if missing else []
    notes += [f"{name} is: {operations[name]}" for name in list(wrong)[:MOST_NOTES]]
    return Verdict(kind="vectors", target=str(folder), framework="files", outcome=DIVERGES if wrong else CONFORMS,
                   precision=" and ".join(sorted(precisions)), examples=len(cases) - len(missing),
                   differences=tuple(differences), notes=tuple(notes))


def _differences(case, path, vectors):
    """(precision, Difference) of every result of a case in the file at `path`."""
    got, _ = weights.read(path)
    known, _ = weights.read(os.path.join(vectors, f"{case['name']}.safetensors"))
    for name, facts in case["expected"].items():
        if name not in got:
            raise InputError(f"{path}: expected a tensor {name!r}, it has {', '.join(sorted(got)[:8])}")
        precision = "float64" if got[name].dtype == np.float64 else "float32"
        error, epsilon = tolerance.distance(got[name], known[f"expected.{name}"]), tolerance.epsilon(precision)
        allowed = facts["allowed"][precision]
        yield precision, Difference(f"{case['name']}: {name}", error / epsilon, allowed / epsilon, error)
