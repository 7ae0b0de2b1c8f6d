"""The layout of a target's parameters, from their shapes, and the conversion of arrays in both directions."""

import dataclasses

import numpy as np

OUTPUTS_FIRST, OURS = "outputs first", "as ours"


@dataclasses.dataclass(frozen=True)
class Layout:
    """How one parameter lies in memory: `axes` permute ours, `shape` is the target's."""

    axes: tuple[int, ...]
    shape: tuple[int, ...]

    def to_target(self, array: np.ndarray) -> np.ndarray:
        """Our array in the target's layout."""
        return np.ascontiguousarray(array.transpose(self.axes)).reshape(self.shape)

    def from_target(self, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The target's array in our layout, of our `shape`."""
        permuted = tuple(shape[axis] for axis in self.axes)
        array = np.asarray(array).reshape(permuted).transpose(np.argsort(self.axes))
        return np.ascontiguousarray(array).reshape(shape)


def layout_of(theirs: tuple[int, ...], ours: tuple[int, ...], order: str) -> Layout | None:
    """The Layout of a target's parameter of shape `theirs` for ours of shape `ours`; None where the sizes differ.

    order: OUTPUTS_FIRST for OIHW and (out, in), OURS for HWIO and (in, out); axes of length 1 may come or go.
    """
    axes = tuple(range(len(ours)))
    if order == OUTPUTS_FIRST:
        axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(ours), axes)
    permuted = tuple(ours[axis] for axis in axes)
    return Layout(axes, tuple(theirs)) if _squeezed(permuted) == _squeezed(theirs) else None


def _squeezed(shape):
    return tuple(size for size in shape if size != 1)
