"""DelayedMetrics reads the values of a step after the next step has been started, or at once where that is needed."""

from hypothesis import given, strategies as st

from nfnumpy.training.step_metrics import DelayedMetrics


class Recorded:
    """The metrics of a step that record when they are read."""

    def __init__(self, step, events):
        self.step = step
        self.events = events
        events.append(("start", step))

    def read(self):
        self.events.append(("read", self.step))
        return self.step


@given(count=st.integers(0, 8), at_once=st.sets(st.integers(1, 8)))
def test_values_are_read_one_step_late_or_at_once(count, at_once):
    """Every step is read once and in order; nothing else is started between an early reading and its consumer."""
    events = []
    steps = (Recorded(step, events) for step in range(1, count + 1))
    for step in DelayedMetrics(steps, at_once.__contains__):
        events.append(("use", step))
    expected = []
    for step in range(1, count + 1):
        expected.append(("start", step))
        if step > 1 and step - 1 not in at_once:
            expected += [("read", step - 1), ("use", step - 1)]
        if step in at_once or step == count:
            expected += [("read", step), ("use", step)]
    assert events == expected
