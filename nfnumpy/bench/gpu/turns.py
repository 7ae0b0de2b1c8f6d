"""Networks that take turns on one device."""

import functools
import gc
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..timing import Timing, is_out_of_memory, take_turns, without_collector
from .opponent import release_all

Result = TypeVar("Result")


class Turns:
    """Turns of networks, by name, whose memory stays allocated in between as long as all of them fit the device.

    So no sample allocates memory of the device, which takes milliseconds. `together` becomes False when memory runs
    out; unused memory is then given back before every turn, and the warm-up of a turn allocates it again.
    """

    def __init__(self, networks: Mapping[str, Any]) -> None:
        self.networks = networks
        self.together = True

    def turn(self, work: Callable[[], Result]) -> Result:
        """work(), a second time with the memory that the others do not use if it runs out."""
        if not self.together:
            release_all()
        try:
            return work()
        except Exception as error:
            if not self.together or not is_out_of_memory(error):
                gc.collect()
                raise
        self.together = False  # out of the handler, whose exception keeps arrays alive
        release_all()
        return work()

    def take(self, work: str, names: list[str], plan: Any,
             has_time: Callable[[], bool]) -> tuple[dict[str, Timing], dict[str, str]]:
        """(timings, failures) as timing.take_turns has them, of the method `work` of the networks `names`."""
        samplers = {name: functools.partial(self._sample, name, work, plan.steps) for name in names}
        return take_turns(samplers, plan.repeats, has_time)

    def _sample(self, name: str, work: str, steps: int) -> float:
        """Milliseconds a step, of several in a row after one that does not count."""
        network = self.networks[name]
        step = getattr(network, work)

        def several():
            for _ in range(steps):
                step()

        def sample():
            with without_collector():
                step()
                return network.milliseconds(several) / steps

        return self.turn(sample)
