"""Child processes compute the same bits as one process alone, and do not disturb their parent."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORK = ["fork_before_first_use", "fork_after_first_use", "fork_from_a_thread", "fork_of_a_fork",
        "fork_while_a_thread_computes", "train_while_a_fork_predicts", "pooled_memory_is_private",
        "inherited_arrays_leave_no_trace_in_the_pool", "locks_of_other_threads_are_free",
        "settings_of_other_threads_end", "settings_of_the_forking_thread_stay", "scratch_in_use_is_not_overwritten",
        "fork_inside_a_parallel_map_is_an_error"]
POOLS = ["multiprocessing_fork", "multiprocessing_spawn", "multiprocessing_forkserver", "process_pool_executor"]
LOADER = ["torch_data_loader"]


@functools.cache
def errors_of(*scenarios):
    """The error of each scenario (or None), all run by one fresh process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NFNUMPY_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    ended = subprocess.run([sys.executable, "-m", "reference_tests.helpers.child_processes", *scenarios],
                           capture_output=True, text=True, timeout=300, env=environment)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize("scenario", FORK)
def test_after_os_fork(scenario):
    error = errors_of(*FORK)[scenario]
    assert error is None, error


@pytest.mark.parametrize("scenario", POOLS)
def test_in_pools_of_processes(scenario):
    error = errors_of(*POOLS)[scenario]
    assert error is None, error


@pytest.mark.parametrize("scenario", LOADER)
def test_in_workers_of_a_torch_data_loader(scenario):
    error = errors_of(*LOADER)[scenario]
    assert error is None, error
