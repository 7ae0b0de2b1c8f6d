"""The number of threads, and settings of the whole process that contexts of several threads change and restore."""

import sys
import threading
import types

import pytest
import threadpoolctl

from nfnumpy import InputError
from nfnumpy.backend import blas_threads
from nfnumpy.backend.blas_threads import cpu_quota

# ---- overlapping contexts


CONTROLLERS = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers


@pytest.fixture
def settings():
    """Two BLAS threads and a switch interval of 0.25 s; settings() reads both, the first through threadpoolctl."""
    libraries = blas_threads._blas_libraries()
    interval = sys.getswitchinterval()
    before = [library.read() for library in libraries]
    for library in libraries:
        library.change(2)
    sys.setswitchinterval(0.25)
    yield lambda: ({controller.num_threads for controller in CONTROLLERS}, sys.getswitchinterval())
    sys.setswitchinterval(interval)
    for library, count in zip(libraries, before, strict=True):
        library.change(count)


OUTSIDE, INSIDE = ({2}, 0.25), ({1}, pytest.approx(blas_threads.SWITCH_INTERVAL))


class Visitor(threading.Thread):
    """A thread that enters both contexts, and leaves them in leave()."""

    def __init__(self):
        super().__init__(daemon=True)
        self.is_inside, self.may_leave = threading.Event(), threading.Event()
        self.start()
        self.is_inside.wait()

    def run(self):
        with blas_threads.single_threaded_blas(), blas_threads.short_switch_interval():
            self.is_inside.set()
            self.may_leave.wait()

    def leave(self):
        self.may_leave.set()
        self.join()


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_the_last_of_overlapping_threads_restores(settings, order):
    visitors = [Visitor() for _ in order]
    for number in order:
        assert settings() == INSIDE
        visitors[number].leave()
    assert settings() == OUTSIDE


def test_nested_contexts_restore_at_the_outermost(settings):
    with blas_threads.single_threaded_blas(), blas_threads.short_switch_interval():
        with blas_threads.single_threaded_blas(), blas_threads.short_switch_interval():
            assert settings() == INSIDE
        assert settings() == INSIDE
    assert settings() == OUTSIDE


def test_an_error_inside_restores(settings):
    with pytest.raises(KeyError), blas_threads.single_threaded_blas(), blas_threads.short_switch_interval():
        raise KeyError
    assert settings() == OUTSIDE


def test_a_shorter_switch_interval_stays(settings):
    sys.setswitchinterval(1e-5)
    with blas_threads.short_switch_interval():
        assert sys.getswitchinterval() == pytest.approx(1e-5)


@pytest.mark.parametrize("api, layer", [("mkl", "intel"), ("openblas", "openmp"), ("openblas", "pthreads")])
def test_other_blas_libraries_are_set_through_threadpoolctl(api, layer):
    """The third is an OpenBLAS whose functions have other names."""
    counts = [4]
    library = blas_threads._blas_library(types.SimpleNamespace(
        internal_api=api, threading_layer=layer, dynlib=object(), get_num_threads=lambda: counts[-1],
        set_num_threads=counts.append))
    library.change(3)
    assert library.read() == 3 and counts == [4, 3]


# ---- the number of threads


@pytest.fixture
def environment(monkeypatch):
    """environment(value): NFNUMPY_THREADS has this value."""
    blas_threads.thread_count.cache_clear()
    yield lambda value: monkeypatch.setenv("NFNUMPY_THREADS", value)
    blas_threads.thread_count.cache_clear()


@pytest.mark.parametrize("value", ["1", "3", "256"])
def test_the_environment_sets_the_number_of_threads(environment, value):
    environment(value)
    assert blas_threads.thread_count() == int(value)


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "two", " 2", "257", "1000", "1" + 20 * "0", "9" * 5000, "٣", "²",
                                   "1_0"])
def test_other_numbers_of_threads_are_input_errors(environment, value):
    environment(value)
    with pytest.raises(InputError, match=r"NFNUMPY_THREADS=.*expected a whole number from 1 to 256") as raised:
        blas_threads.thread_count()
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 250


@pytest.mark.parametrize("quota, count", [(None, 8), (0.1, 1), (1.0, 1), (1.5, 2), (100.0, 8)])
def test_a_cpu_quota_limits_the_number_of_threads(environment, monkeypatch, quota, count):
    environment("")
    monkeypatch.setattr(blas_threads.os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(blas_threads, "cpu_quota", lambda: quota)
    assert blas_threads.thread_count() == count


def control_groups(folder, membership, files):
    """The arguments of cpu_quota for a system with these files."""
    for name, content in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (folder / "membership").write_text(membership)
    return str(folder / "membership"), str(folder / "cgroup")


@pytest.mark.parametrize("membership, files, quota", [
    ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
    ("0::/\n", {"cpu.max": "max 100000\n"}, None),
    ("0::/\n", {}, None),
    ("0::/a/b\n", {"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "200000 100000\n", "cpu.max": "max 100000\n"}, 2.0),
    ("0::/host/name\n", {"cpu.max": "300000 100000\n"}, 3.0),  # a container that sees its own folder only
    ("0::/../../x\n", {"cpu.max": "50000 100000\n"}, 0.5),
    ("5:cpu,cpuacct:/docker/1\n3:memory:/docker/1\n",
     {"cpu,cpuacct/docker/1/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/docker/1/cpu.cfs_period_us": "100000\n"}, 2.5),
    ("5:cpu:/\n0::/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
    ("5:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
    ("0::/\n", {"cpu.max": "nonsense\n"}, None),
    ("0::/\n", {"cpu.max": "0 0\n"}, None),
    ("nonsense\n", {"cpu.max": "100000 100000\n"}, None),
])
def test_the_cpu_quota_is_read_from_control_groups(tmp_path, membership, files, quota):
    assert cpu_quota(*control_groups(tmp_path, membership, files)) == quota


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert cpu_quota(str(tmp_path / "missing"), str(tmp_path)) is None
