"""Finding what is to be checked: `package.module:attribute`, `file.py:attribute`, or `timm:NAME` for models."""

import importlib
import importlib.util
import sys
from pathlib import Path

from ..errors import InputError, first_line


def load_target(text):
    """The object that `text` names; InputError, one line, when it cannot be imported or is not there."""
    place, colon, attribute = text.rpartition(":")
    if not colon or not place or not attribute:
        raise InputError(f"target {text!r}: expected package.module:attribute or file.py:attribute")
    found = _module(place, text)
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            public = ", ".join(sorted(known for known in dir(found) if not known.startswith("_"))[:12])
            raise InputError(f"target {text!r}: {place} has no {name!r}; it has {public}") from None
    return found


def _module(place, text):
    try:
        if place.endswith(".py"):
            return _from_file(Path(place))
        return importlib.import_module(place)
    except InputError:
        raise
    except ModuleNotFoundError as error:
        raise InputError(f"target {text!r}: no module named {error.name!r}; install it, or give a path that ends in "
                         f".py") from None
    except Exception as error:  # whatever a stranger's module raises while it is imported
        raise InputError(f"target {text!r}: importing {place} failed: {type(error).__name__}: "
                         f"{first_line(error)}") from None


def _from_file(path):
    if not path.is_file():
        raise InputError(f"target: there is no file {path}")
    sys.path.insert(0, str(path.parent))
    try:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(path.parent))
