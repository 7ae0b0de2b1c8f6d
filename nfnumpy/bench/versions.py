"""Installed versions of the packages that matter."""

import importlib.metadata
import platform

PACKAGES = ("nfnumpy", "numpy", "torch", "timm", "jax")


def facts() -> dict[str, str | None]:
    """A dict from the names of packages, "python" and "system" to their versions; None for what is not installed."""
    return {**{package: version(package) for package in PACKAGES}, "python": platform.python_version(),
            "system": platform.platform()}


def version(package: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
