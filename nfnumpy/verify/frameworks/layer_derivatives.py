"""Derivatives of Keras's layers with PyTorch or JAX below them; `tape.py` has them for TensorFlow."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np

from .base import Host
from .torch import watched_convolutions


class OfTorch:
    """By PyTorch's autograd."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch

    def run(self, call: Callable[[Any], tuple[Any, dict]], x: Host, parameters: Sequence[Any], buffers: Sequence[Any],
            with_gradients: bool) -> tuple[Any, dict]:
        """call(x) for a host array, remembered for `gradients`."""
        self.x = self.torch.from_numpy(np.array(x)).requires_grad_(with_gradients)
        self.parameters = [variable.value for variable in parameters]
        with self.torch.set_grad_enabled(with_gradients):
            return call(self.x)

    def gradients(self, output: Any, cotangent: Host) -> list[Any | None]:
        """By x and by all parameters, of the last run; None where there is none."""
        if not output.requires_grad:
            return [None] * (1 + len(self.parameters))
        given = self.torch.from_numpy(np.array(cotangent)).to(output.dtype)
        return list(self.torch.autograd.grad(output, [self.x, *self.parameters], given, allow_unused=True))

    @contextlib.contextmanager
    def watched_convolutions(self) -> Iterator[list[Any]]:
        """The weights (kh, kw, in, out) of the convolutions that are called inside, in order."""
        weights: list[Any] = []
        with watched_convolutions(self.torch) as found:
            yield weights
        weights += [weight.permute(*range(2, weight.ndim), 1, 0) for weight in found]


class OfJax:
    """By jax.vjp of a call without side effects: in Keras's stateless scope variables are given and taken back."""

    def __init__(self, jax: Any, keras: Any) -> None:
        self.jax, self.keras = jax, keras

    def run(self, call: Callable[[Any], tuple[Any, dict]], x: Host, parameters: Sequence[Any], buffers: Sequence[Any],
            with_gradients: bool) -> tuple[Any, dict]:
        """call(x) for a host array, remembered for `gradients`."""
        def stateless(x, values):
            with self.keras.StatelessScope(zip(parameters, values, strict=True)) as scope:
                output, seen = call(x)
            return output, (seen, [scope.get_current_value(variable) for variable in (*parameters, *buffers)])

        given = self.jax.numpy.asarray(x), [variable.value for variable in parameters]
        output, self.vjp, (seen, changed) = self.jax.vjp(self.jax.jit(stateless), *given, has_aux=True)
        for variable, value in zip((*parameters, *buffers), changed, strict=True):
            if value is not None:
                variable.assign(value)
        return output, seen

    def gradients(self, output: Any, cotangent: Host) -> list[Any | None]:
        """By x and by all parameters, of the last run."""
        x, parameters = self.vjp(self.jax.numpy.asarray(cotangent).astype(output.dtype))
        return [x, *parameters]

    @contextlib.contextmanager
    def watched_convolutions(self) -> Iterator[list[Any]]:
        """The weights of the convolutions that are called inside, in order."""
        weights: list[Any] = []
        convolve = self.jax.lax.conv_general_dilated

        def watched(lhs, rhs, *arguments, **options):
            weights.append(rhs)
            return convolve(lhs, rhs, *arguments, **options)

        with mock.patch.object(self.jax.lax, "conv_general_dilated", watched):
            yield weights
