"""File endings that say what a file holds: what is written has to agree with the ending of its name.

Reading goes by content. Used by: conversion.py, onnx_export/. Test: reference_tests/weights/test_endings.py.
"""

import os

from ..errors import InputError

ENDINGS = {  # what is written: the endings that say so, the first one preferred
    "safetensors": (".safetensors",),
    "pickle": (".pickle", ".pkl"),
    "onnx": (".onnx",),
}
OTHERS = (".pth", ".pt", ".bin", ".ckpt", ".npz", ".npy", ".h5", ".hdf5", ".msgpack", ".zip", ".gguf", ".tflite", ".pb")


def check_ending(path: str | os.PathLike[str], kind: str) -> None:
    """InputError when the ending of `path` says that it holds something else than `kind`, a key of ENDINGS.

    A name without an ending, or with an unknown one, says nothing.
    """
    name = os.fspath(path)
    ending = os.path.splitext(name)[1].lower()
    known = {one for endings in ENDINGS.values() for one in endings} | set(OTHERS)
    if ending in known and ending not in ENDINGS[kind]:
        right = os.path.splitext(name)[0] + ENDINGS[kind][0]
        raise InputError(f"{name}: the ending {ending} is not that of the {kind} file to be written; name it {right}")
