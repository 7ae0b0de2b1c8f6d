"""Where the data files that come with the project are."""

from importlib.resources import files
from pathlib import Path

from ..errors import InputError


def embedded_directory(name: str, what: str) -> Path:
    """The directory `name` of the embedded data; InputError, saying that `what` are missing, when it is not there."""
    # A wheel carries the files inside the package; a checkout, installed as editable or not, beside it. Inside, the
    # name data/ would be that of the command's module, nfnumpy/data.py.
    inside = Path(str(files("nfnumpy"))) / "embedded" / name
    beside = Path(__file__).resolve().parents[2] / "data" / name
    for directory in (inside, beside):
        if directory.is_dir():
            return directory
    raise InputError(f"{what} are in neither {inside} nor {beside}; install nfnumpy again")
