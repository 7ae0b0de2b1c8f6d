"""Which versions of the packages that matter are installed."""

import importlib.metadata
import platform

PACKAGES = ("nfnumpy", "numpy", "torch", "timm", "jax")


def facts():
    """A dict from the names of packages, "python" and "system" to their versions; None for what is not there."""
    return {**{package: version(package) for package in PACKAGES}, "python": platform.python_version(),
            "system": platform.platform()}


def version(package):
    """The installed version of a package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
