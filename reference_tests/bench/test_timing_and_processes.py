"""Times, processes and their memory: each sample is what it says, and each failure is one line."""

import contextlib
import os
import signal

import pytest

from nfnumpy.bench import memory, processes, report, rounds, timing


def test_rounds_alternate_and_a_failing_sampler_drops_out():
    calls = []

    def sampler(name, failing_at=None):
        def sample():
            calls.append(name)
            if calls.count(name) == failing_at:
                raise MemoryError("no space")
            return float(len(calls))
        return sample

    timings, failures = timing.take_turns({"b": sampler("b"), "a": sampler("a", failing_at=3)}, 4)
    assert calls == ["b", "a", "a", "b", "b", "a", "b"]
    assert timings == {"b": timing.Timing((1.0, 4.0, 5.0, 7.0))}
    assert failures == {"a": "out of memory: no space"}


@pytest.mark.parametrize("rounds_with_time, taken", [(0, 2), (3, 3), (9, 5)])
def test_rounds_end_early_when_time_is_up(rounds_with_time, taken):
    """But not before there is one in each order."""
    calls = []
    timings, _ = timing.take_turns({"a": lambda: calls.append(1) or 1.0}, 5, lambda: len(calls) < rounds_with_time)
    assert len(timings["a"].samples) == len(calls) == taken


def test_a_timing_has_median_and_spread_and_ratios_are_of_pairs():
    fast, slow = timing.Timing((1.0, 4.0, 2.0)), timing.Timing((2.0, 2.0, 4.0))
    assert fast.facts("ms") == {"ms": 2.0, "ms_low": 1.0, "ms_high": 4.0}
    assert timing.ratio(fast, slow).samples == (0.5, 2.0, 0.5)


@pytest.mark.parametrize("error, line", [
    (RuntimeError("CUDA out of memory. Tried\nto allocate"), "out of memory: CUDA out of memory. Tried to allocate"),
    (MemoryError(), "out of memory: MemoryError"), (ValueError("two\nlines"), "ValueError: two lines"),
    (ValueError("x" * 999), "ValueError: " + "x" * 148)])
def test_an_error_becomes_one_line(error, line):
    assert timing.one_line(error) == line


@pytest.mark.parametrize("least, counted", [(0.0, 1), (7.0, 1), (70.0, 7), (75.0, 8)])
def test_a_turn_lasts_as_long_as_wanted_after_a_warm_up(monkeypatch, least, counted):
    """On a clock that advances by 10 ms a call, but by 30 in the first of those that count."""
    clock, calls = [0.0], []

    def work():
        calls.append(clock[0])
        clock[0] += 0.03 if len(calls) == 2 else 0.01

    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    assert timing.steady_milliseconds(work, least) == pytest.approx((10 * counted + 20) / counted)
    assert len(calls) == 1 + counted


def test_a_process_calls_methods_and_errors_are_one_line():
    with processes.Process("collections:Counter", "abba") as process:
        assert process.call("most_common", 1) == [("a", 2)]
        with pytest.raises(timing.OneLine, match=r"^AttributeError: .*nonsense"):
            process.call("nonsense")
        milliseconds, peak = process.sample(0.0, "update", "b")
        assert milliseconds > 0.0 and peak > 0 and process.call("total") == 6  # one is not counted
    assert not process._process.is_alive()


def test_what_cannot_be_made_is_a_note():
    with report.Report(None).section("x", "x") as section, contextlib.ExitStack() as stack:
        found = rounds.open_processes(stack, section, {
            "good": ("builtins:list",), "no module": ("nowhere:Thing",), "no name": ("builtins:nothing",)})
        assert list(found) == ["good"]
    assert [note.partition(":")[0] for note in section.notes] == ["no module is left out", "no name is left out"]
    assert "ModuleNotFoundError" in section.notes[0] and "AttributeError" in section.notes[1]


def test_a_process_that_ends_is_a_line():
    with processes.Process("importlib:import_module", "os") as process:
        with pytest.raises(timing.OneLine, match=r"^its process ended with status 3$"):
            process.call("_exit", 3)
    with processes.Process("importlib:import_module", "os") as process:
        os.kill(process.call("getpid"), signal.SIGKILL)
        with pytest.raises(timing.OneLine, match=r"status -9; out of memory[?]"):
            process.call("getpid")


def test_a_peak_of_memory_is_that_of_the_call_alone():
    size = 1 << 26
    with processes.Process("numpy.random:default_rng", 0) as process:
        small = process.sample(0.0, "random", 1)[1]
        large = process.sample(0.0, "random", size // 8)[1]
        again = process.sample(0.0, "random", 1)[1]
    assert large - small >= 0.9 * size and large - again >= 0.9 * size


def test_without_proc_a_peak_is_that_of_the_whole_life(monkeypatch):
    assert memory.forget_peak() and 0 < memory.resident() <= memory.peak()
    monkeypatch.setattr(memory, "STATUS", "/nowhere/status")
    monkeypatch.setattr(memory, "CLEAR", "/nowhere/clear_refs")
    assert not memory.forget_peak() and memory.peak() == memory.resident() > 1 << 20
