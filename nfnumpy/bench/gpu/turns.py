"""Networks that take turns on one device."""

import functools
import gc
from collections.abc import Callable
from typing import Any, TypeVar

from ...backend.collector import without_collector
from ..implementations import GRAPH
from ..timing import OneLine, Timing, is_out_of_memory, take_turns
from .opponent import release_all

Result = TypeVar("Result")
WARM_UP = 3  # steps before the first sample; a CUDA graph is captured in the second


class Turns:
    """Turns of networks, by name, whose memory stays allocated in between as long as all of them fit the device.

    So no sample allocates memory of the device, which takes milliseconds. `together` becomes False when memory runs
    out; unused memory is then given back before every turn, and the warm-up of a turn allocates it again.
    """

    def __init__(self, networks: dict[str, Any]) -> None:
        self.networks = networks
        self.together = True
        self._warm: set[tuple[str, str]] = set()

    def turn(self, work: Callable[[], Result]) -> Result:
        """work(), again with the memory that the others do not use if it runs out, and again without a CUDA graph."""
        if not self.together:
            release_all()
        for give_way in (self._release_between_turns, self._drop_graph):
            try:
                return work()
            except Exception as error:
                if not is_out_of_memory(error):
                    gc.collect()
                    raise
            if not give_way():  # out of the handler, whose exception keeps arrays alive
                break
        return work()

    def _release_between_turns(self) -> bool:
        """From now on give unused memory back before every turn."""
        self.together = False
        release_all()
        return True

    def _drop_graph(self) -> bool:
        """Drop the network whose CUDA graph keeps its memory; whether there was one."""
        dropped = self.networks.pop(GRAPH, None)
        found = dropped is not None
        del dropped
        release_all()
        return found

    def take(self, work: str, names: list[str], plan: Any,
             has_time: Callable[[], bool]) -> tuple[dict[str, Timing], dict[str, str]]:
        """(timings, failures) as timing.take_turns has them, of the method `work` of the networks `names`."""
        samplers = {name: functools.partial(self._sample, name, work, plan.steps) for name in names}
        gc.collect()
        gc.freeze()  # the collector does not look at what is there now, so that it is fast between samples
        try:
            return take_turns(samplers, plan.repeats, has_time)
        finally:
            gc.unfreeze()

    def _sample(self, name: str, work: str, steps: int) -> float:
        """Milliseconds a step, of several in a row after one, or at first WARM_UP, that do not count."""
        if name not in self.networks:
            raise OneLine("the memory of its graph was given to the other networks")
        network = self.networks[name]
        step = getattr(network, work)

        def several():
            for _ in range(steps):
                step()

        def sample():
            with without_collector():
                for _ in range(1 if (name, work) in self._warm else WARM_UP):
                    step()
                self._warm.add((name, work))
                return network.milliseconds(several) / steps

        return self.turn(sample)
