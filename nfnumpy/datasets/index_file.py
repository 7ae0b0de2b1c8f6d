"""The index file of a folder: what was listed once, so that a million files are not listed again for every run.

It is a safetensors file in the user's cache folder, `$NFNUMPY_CACHE`, else `$XDG_CACHE_HOME/nfnumpy`, else
`~/.cache/nfnumpy`: data sets are often read-only or shared. One that cannot be used counts as none.

Used by: folder.py. Test: reference_tests/datasets/test_listing.py.
"""

import dataclasses
import hashlib
import json
import os
import zlib
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from ..errors import InputError
from ..files import atomic_write
from .file_tree import FileTree, Folder
from .listing import list_images

FORMAT = 1
LEAST_FILES = 20_000  # of a tree that is worth an index; fewer are listed in less than a second
ARRAYS = {"names": np.uint8, "lengths": np.uint16, "sizes": np.int64, "times": np.int64}


def indexed_images(root: str | os.PathLike[str]) -> FileTree:
    """The tree of the image files below `root`, as `list_images` has it, with the help of its index file.

    The index is written where there are many files, and again when the folder changed.
    """
    path = index_path(root)
    known = read_index(path, os.fspath(root))
    tree = list_images(root, known)
    if len(tree) >= LEAST_FILES and tree is not known:
        write_index(path, tree)
    return tree


def cache_folder() -> str:
    """The folder in which nfnumpy keeps what can be made again."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.environ.get("NFNUMPY_CACHE") or os.path.join(base, "nfnumpy")


def index_path(root: str | os.PathLike[str]) -> str:
    """The path of the index file of the folder `root`."""
    digest = hashlib.blake2b(os.fsencode(os.path.realpath(root)), digest_size=16).hexdigest()
    return os.path.join(cache_folder(), f"folder-{digest}.safetensors")


def write_index(path: str, tree: FileTree) -> None:
    """Write the index file of a tree. A cache that cannot be written is no error: the folder is listed again."""
    facts = {"format": FORMAT, "root": os.path.realpath(tree.root),
             "folders": [dataclasses.astuple(folder) for folder in tree.folders]}
    arrays = {name: getattr(tree, name) for name in ARRAYS} | {"names": np.frombuffer(tree.names, np.uint8)}
    text = json.dumps(facts)
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        atomic_write(path, safetensors.numpy.save(arrays, {"index": text, "checksum": _checksum(text, arrays)}))
    except (OSError, InputError):
        pass


def read_index(path: str, root: str) -> FileTree | None:
    """The tree in the index file of the folder `root`; None if there is none that can be used."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata()
            arrays = {name: file.get_tensor(name) for name in ARRAYS}
        facts = json.loads(metadata["index"])
        is_whole = metadata["checksum"] == _checksum(metadata["index"], arrays)
        if not is_whole or facts["format"] != FORMAT or facts["root"] != os.path.realpath(root):
            return None
        folders = [_folder(*entry) for entry in facts["folders"]]
        _check(folders, arrays)
    # A file from anywhere may have any wrong type at any place.
    except (OSError, safetensors.SafetensorError, AttributeError, KeyError, OverflowError, RecursionError, TypeError,
            ValueError):
        return None
    return FileTree(root, folders, arrays["names"].tobytes(), arrays["lengths"], arrays["sizes"], arrays["times"])


def _checksum(text: str, arrays: dict[str, np.ndarray]) -> str:
    """The CRC-32 of all that the file holds."""
    checksum = zlib.crc32(text.encode())
    for name in ARRAYS:
        checksum = zlib.crc32(arrays[name].tobytes(), checksum)
    return str(checksum)


def _folder(path: Any, stamp: Any, files: Any, folders: Any, others: Any) -> Folder:
    """A folder of the file, checked; ValueError for one that cannot be."""
    if [type(part) for part in (path, stamp, folders, others)] != [str, list, list, dict]:
        raise ValueError("a folder of the index has fields of other types")
    numbers = [*stamp, files, *others.values()]
    texts = [path, *folders, *others]
    is_inside = all(part not in ("", ".", "..") and "\0" not in part
                    for part in [*(path.split("/") if path else []), *folders])
    if not is_inside or any("/" in name for name in folders) or len(stamp) != 3 \
            or not all(type(number) is int and number >= 0 for number in numbers) \
            or not all(type(text) is str for text in texts):
        raise ValueError("a folder of the index cannot be")
    return Folder(path, tuple(stamp), files, tuple(folders), dict(others))


def _check(folders: list[Folder], arrays: dict[str, np.ndarray]) -> None:
    """ValueError unless counts, lengths and types of the arrays agree, and names are names of files."""
    count = len(arrays["lengths"])
    fits = all(array.ndim == 1 and array.dtype == ARRAYS[name] for name, array in arrays.items()) \
        and len(arrays["sizes"]) == len(arrays["times"]) == count == sum(folder.files for folder in folders) \
        and int(arrays["lengths"].sum(dtype=np.int64)) == len(arrays["names"])
    if not fits or np.isin(arrays["names"], np.frombuffer(b"/\0", np.uint8)).any() or (arrays["lengths"] == 0).any() \
            or (count and arrays["sizes"].min() < 0):
        raise ValueError("the arrays of the index do not fit together")
