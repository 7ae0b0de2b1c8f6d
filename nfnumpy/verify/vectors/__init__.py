"""Conformance vectors: questions and answers in files, for implementations that Python cannot import.

`index.json` names the cases; each has a safetensors file with its inputs ("input.NAME") and the reference's answers in
float64 ("expected.NAME"). A program in any language reads the inputs and writes its answers, under the answers' names,
to a file of the case's name in a folder of its own; `check_results` holds them against the reference.
"""

import json
import os

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


def write_vectors(folder):
    """Write all cases to `folder`; returns the index. Equal versions write equal files."""
    os.makedirs(folder, exist_ok=True)
    entries = []
    for case in all_cases():
        with np.errstate(all="ignore"):
            expected, in_float32 = ({name: np.asarray(array) for name, array in case.answer(case.inputs, dtype).items()}
                                    for dtype in (np.float64, np.float32))
        weights.save(os.path.join(folder, f"{case.name}.safetensors"), {
            **{f"input.{name}": array for name, array in case.inputs.items()},
            **{f"expected.{name}": array for name, array in expected.items()}})
        allowed = {precision: tolerance.allowed(expected, in_float32, {}, precision) for precision in ("float32",
                                                                                                       "float64")}
        entries.append({
            "name": case.name, "operation": case.operation, "options": case.options,
            "inputs": {name: list(array.shape) for name, array in case.inputs.items()},
            "expected": {name: {"shape": list(array.shape), "allowed": {
                precision: float(f"{allowed[precision][name]:.3g}") for precision in allowed}}
                for name, array in expected.items()}})
    index = {"format": FORMAT, "cases": entries}
    content = json.dumps(index, indent=1, ensure_ascii=False) + "\n"
    atomic_write(os.path.join(folder, INDEX), content.encode())
    return index


def check_results(folder):
    """The Verdict on the results in `folder`: NAME.safetensors with the answers of case NAME; InputError if unusable.

    Cases without a file are left out and named in the notes; a file must have all of its case's answers.
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
        got, _ = weights.read(path)
        known, _ = weights.read(os.path.join(vectors, f"{case['name']}.safetensors"))
        for name, facts in case["expected"].items():
            if name not in got:
                raise InputError(f"{path}: expected a tensor {name!r}, it has {', '.join(sorted(got)[:8])}")
            precision = "float64" if got[name].dtype == np.float64 else "float32"
            precisions.add(precision)
            apart, epsilon = tolerance.distance(got[name], known[f"expected.{name}"]), tolerance.epsilon(precision)
            differences.append(Difference(f"{case['name']}: {name}", apart / epsilon,
                                          facts["allowed"][precision] / epsilon, apart))
    if not differences:
        raise InputError(f"vectors: {folder} has no results; expected files such as {cases[0]['name']}.safetensors")
    explanations = {case["name"]: case["operation"] for case in cases}
    wrong = list(dict.fromkeys(difference.tensor.partition(":")[0] for difference in differences
                               if not difference.agrees))
    notes = [f"no results for {len(missing)} of {len(cases)} cases, such as {missing[0]}"] if missing else []
    notes += [f"{name} is: {explanations[name]}" for name in wrong[:10]]
    return Verdict(kind="vectors", target=str(folder), framework="files", outcome=DIVERGES if wrong else CONFORMS,
                   precision=" and ".join(sorted(precisions)), examples=len(cases) - len(missing),
                   differences=tuple(differences), notes=tuple(notes))
