"""Fast paths carry the names of their formulas and can be switched off; threads behave as their caller expects."""

import threading

import numpy as np
import pytest

from nfnumpy import InputError, backend, datasets, models, reference
from nfnumpy.backend import blas_threads, dispatch, thread_pool
from nfnumpy.functional import activations, convolution
from nfnumpy.training import TrainingOptions
from nfnumpy.training.trainer import Trainer
from reference_tests.helpers.fast_paths import with_threads


def test_within_reference_no_fast_path_runs(monkeypatch):
    x = np.ones((2, 4, 4, 3))
    calls = []

    def counted(name, fast):
        return lambda *arrays, **options: calls.append(name) or fast(*arrays, **options)

    for formula in backend.formulas():
        if "numpy" in formula.fast_paths:
            fast = counted(formula.__name__, formula.fast_paths["numpy"])
            monkeypatch.setitem(formula.fast_paths, "numpy", fast)
    with reference():
        activations.scaled_nonlinearity(x, name="gelu", scale=1.0)
        convolution.conv2d(x, np.ones((1, 1, 3, 2)), None)
    assert calls == []
    activations.scaled_nonlinearity(x, name="gelu", scale=1.0)
    convolution.conv2d(x, np.ones((1, 1, 3, 2)), None)
    assert calls == ["scaled_nonlinearity", "conv2d"]


def test_a_training_step_takes_every_fast_path_it_comes_by(monkeypatch):
    """The backward pass alone stays sequential: for this small a graph threads would not pay."""
    taken, refused = set(), set()

    def watched(formula, fast):
        def path(*arrays, **options):
            result = fast(*arrays, **options)
            (refused if result is NotImplemented else taken).add(formula.__name__)
            return result
        return path

    for formula in backend.formulas():
        if "numpy" in formula.fast_paths:
            monkeypatch.setitem(formula.fast_paths, "numpy", watched(formula, formula.fast_paths["numpy"]))
    random = np.random.default_rng(0)
    config = models.config_of("nfnet_8px", stochdepth_rate=0.5)
    split = datasets.ArraySplit(random.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8), random.integers(0, 10, 4))
    trainer = Trainer(TrainingOptions(batch_size=4, sam=0.05), config,
                      datasets.Dataset("random images", tuple("0123456789"), 8, split, split))
    with_threads(2, trainer.train_step, split.images, split.labels)
    assert refused - taken == {"backward_pass"} and len(taken) >= 25


def test_every_fast_path_has_the_name_of_its_formula():
    paths = [(formula, path) for formula in backend.formulas() for path in formula.fast_paths.values()]
    assert len(paths) > 40
    for formula, path in paths:
        assert path is not formula.plain and path.__name__ == formula.__name__


def test_blas_is_single_threaded_on_threads_and_restored():
    before = [library.read() for library in blas_threads._blas_libraries()]
    seen = with_threads(2, lambda: thread_pool.parallel_map(
        lambda piece: [library.read() for library in blas_threads._blas_libraries()], range(4)))
    assert before and all(count == 1 for counts in seen for count in counts)
    assert [library.read() for library in blas_threads._blas_libraries()] == before


def test_an_error_on_a_thread_reaches_the_caller():
    def fail(piece):
        raise InputError(f"piece {piece} on {threading.current_thread().name}")
    with pytest.raises(InputError, match="piece 0"):
        with_threads(2, lambda: thread_pool.parallel_map(fail, range(3)))


def test_threads_have_the_contexts_of_their_caller():
    with reference(), np.errstate(over="raise"):
        seen = with_threads(2, lambda: thread_pool.parallel_map(
            lambda piece: (dispatch._reference.get(), np.geterr()["over"]), range(3)))
    assert seen == [(True, "raise")] * 3
