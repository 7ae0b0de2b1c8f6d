"""A model's parameters in parts, to be changed one after the other."""

from ..backend import backend_name_of

PART_BYTES = 1 << 26  # enough work for threads to share out evenly; a small part of what a large network holds


def parts(parameters):
    """A dict name -> Tensor as a list of dicts of some PART_BYTES each, in the same order.

    In main memory, what one part's new arrays replace is freed for those of the next: fresh memory costs a page fault
    every 4096 bytes, which for NFNet-F0 took as long as the update itself. Elsewhere all are one part, as a GPU is
    faster on everything at once.
    """
    if any(backend_name_of(parameter.data) != "numpy" for parameter in parameters.values()):
        return [parameters]
    found, room = [], 0
    for name, parameter in parameters.items():
        if room < parameter.data.nbytes or not found:
            found.append({})
            room = PART_BYTES
        found[-1][name] = parameter
        room -= parameter.data.nbytes
    return found
