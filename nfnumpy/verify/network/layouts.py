"""Bringing our arrays into a target's layout and its gradients back, told by shapes."""

import dataclasses

import numpy as np

OUTPUTS_FIRST, OURS = "outputs first", "as ours"


@dataclasses.dataclass(frozen=True)
class Layout:
    """How one parameter lies: `axes` permute ours, `shape` is the target's."""

    axes: tuple
    shape: tuple

    def there(self, array):
        """Our array as the target has it."""
        return np.ascontiguousarray(array.transpose(self.axes)).reshape(self.shape)

    def back(self, array, shape):
        """The target's array as ours, of our `shape`."""
        turned = tuple(shape[axis] for axis in self.axes)
        return np.ascontiguousarray(np.asarray(array).reshape(turned).transpose(np.argsort(self.axes))).reshape(shape)


def layout_of(theirs, ours, order):
    """The Layout of a parameter of shape `theirs` that holds ours of shape `ours`, or None where it cannot.

    order: OUTPUTS_FIRST for OIHW and (out, in), OURS for HWIO and (in, out); axes of length 1 may come or go.
    """
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(ours), tuple(range(len(ours)))) if order == OUTPUTS_FIRST \
        else tuple(range(len(ours)))
    turned = tuple(ours[axis] for axis in axes)
    return Layout(axes, tuple(theirs)) if _squeezed(turned) == _squeezed(theirs) else None


def _squeezed(shape):
    return tuple(size for size in shape if size != 1)
