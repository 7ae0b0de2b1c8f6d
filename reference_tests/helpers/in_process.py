"""Stands in for bench.processes.Process without starting one: a process that imports PyTorch costs seconds.

What goes in and comes out is pickled, as on the way to a process.
"""

import importlib
import pickle

from nfnumpy.bench import memory, processes, timing

MEASURED = "nfnumpy_network:"  # whose memory is asserted


class InProcess:
    """The object of a maker, here; an error is timing.OneLine, as of a process."""

    def __init__(self, maker, *arguments):
        module, _, name = maker.partition(":")
        self.object = getattr(importlib.import_module(module), name)(*pickle.loads(pickle.dumps(arguments)))

    def call(self, method, *arguments):
        try:
            result = getattr(self.object, method)(*pickle.loads(pickle.dumps(arguments)))
        except Exception as error:
            raise timing.OneLine(timing.one_line(error)) from None
        return pickle.loads(pickle.dumps(result))

    def sample(self, least, method, *arguments):
        memory.forget_peak()
        return timing.steady_milliseconds(lambda: self.call(method, *arguments), least), memory.peak()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


def process_or_not(maker, *arguments):
    """A Process where its memory is asserted, that is on the fast paths, else an InProcess."""
    is_real = MEASURED in maker and arguments[-1] is not True
    return (processes.Process if is_real else InProcess)(maker, *arguments)
