"""A model's parameters, and parts of them that are changed in sequence. Test: reference_tests/optim/test_sgd.py."""

from ..autograd import Tensor
from ..backend import backend_name_of
from ..errors import InputError
from ..nn import Module

PART_BYTES = 1 << 26  # enough work for all threads; a small part of what a large network holds


def parts(parameters: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """A dict name -> Tensor as a list of dicts of some PART_BYTES each, in the same order.

    In main memory, the arrays that one part's new arrays replace are freed for those of the next: fresh memory costs a
    page fault every 4096 bytes, which for NFNet-F0 took as long as the update itself. Elsewhere all are one part,
    because a GPU is faster on everything at once.
    """
    if any(backend_name_of(parameter.data) != "numpy" for parameter in parameters.values()):
        return [parameters]
    found: list[dict[str, Tensor]] = []
    left = 0  # bytes that still fit into the last part
    for name, parameter in parameters.items():
        if left < parameter.data.nbytes or not found:
            found.append({})
            left = PART_BYTES
        found[-1][name] = parameter
        left -= parameter.data.nbytes
    return found


def parameters_of(model: Module | dict[str, Tensor], caller: str) -> dict[str, Tensor]:
    """The parameters, name -> Tensor, of a model or a dict of them; InputError, naming `caller`, for anything else."""
    parameters: object = model
    if not isinstance(model, dict) and hasattr(model, "parameters"):
        parameters = model.parameters()
    if not isinstance(parameters, dict) or not all(isinstance(value, Tensor) for value in parameters.values()):
        raise InputError(f"{caller}: expected a model or a dict of name -> Tensor, got {type(model).__name__}")
    return dict(parameters)
