"""Training and evaluation as CUDA graphs: the same bits as launches one by one, in every kind of step.

Without a GPU a stand-in captures (helpers/cupy_stand_in/cupy/_capture.py): nothing runs while it does, new arrays are
poisoned, cuBLAS refuses through CuPy, and the host may neither wait nor copy.
"""

import gc

import cupy
import numpy as np
import pytest

import nfnumpy as nf
from nfnumpy import InputError, datasets, ops
from nfnumpy.autograd import Tensor, no_grad, trust_saved_arrays
from nfnumpy.backend import CounterRNG, cublas, cublas_library, cuda_graph, drawn_array, get
from nfnumpy.functional.fast_cupy import implicit_convolution
from nfnumpy.training import TrainingOptions
from nfnumpy.training.captured import CapturedInference, CapturedTraining
from nfnumpy.training.examples import training_examples
from nfnumpy.training.trainer import Trainer
from reference_tests.conftest import GPU
from reference_tests.helpers.batch_normalized import RESNET

CONFIG = nf.models.NFNetConfig(widths=(8,), depths=(1,), strides=(2,), group_size=4, stem_widths=(4, 4),
                               stem_strides=(1, 2), num_classes=10, train_size=4, test_size=4, drop_rate=0.3,
                               stochdepth_rate=0.4)
STEPS, BATCH = 3, 3  # launched one by one, captured, replayed


@pytest.fixture(autouse=True)
def library(monkeypatch):
    if not GPU:
        monkeypatch.setattr(cublas_library, "load", lambda: cupy.cuda.cublas.Library())


def random_dataset():
    random = np.random.default_rng(0)
    splits = [datasets.ArraySplit(random.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8),
                                  random.integers(0, 10, count)) for count in (STEPS * BATCH, 6)]
    return datasets.Dataset("random images", tuple("0123456789"), 4, *splits)


def trained(cuda_graph, config=CONFIG, **options):
    """(values of every step, state with averages, evaluation) of a short run."""
    dataset = random_dataset()
    given = {"backend": "cupy", "batch_size": BATCH, "lr": 0.1, "ema": 0.9, "epochs": 5, **options}
    trainer = Trainer(TrainingOptions(cuda_graph=cuda_graph, **given), config, dataset)
    for name, parameter in trainer.model.parameters().items():
        if name.endswith("skip_gain"):
            parameter.data.fill(1.0)
    examples = training_examples(trainer, is_keyed=False)
    with datasets.Loader(examples, BATCH) as loader:
        batches = trainer.backend.prefetch_to_device(loader.batches(examples.numbers(0, 0, STEPS)))
        values = [trainer.train_step(*batch).read() for batch in batches]
    with datasets.Loader(dataset.test, 2) as loader:
        scores = trainer.evaluate(loader.batches(range(6)))
    state = {**trainer.model.state_dict(), **{f"ema.{name}": array for name, array in trainer.ema.average.items()}}
    return values, {name: array.get() for name, array in state.items()}, scores


@pytest.mark.parametrize("options", [
    {}, {"sam": 0.05, "sam_fraction": 0.5, "precision": "bf16", "mixup": 0.2},
    {"sam": 0.05, "precision": "fp16", "freeze": "stem*,blocks.0.conv0.*", "lr_scale": "blocks.*=0.1"},
    {"precision": "fp16", "mixup": 0.2, "cutmix": 1.0}],
    ids=["sgd", "sam on a part in bf16, mixed", "sam in fp16, a part frozen", "mixed in fp16"])
def test_a_captured_run_gives_the_bits_of_an_uncaptured_one(options):
    expect_the_same_bits(trained("on", **options), trained("off", **options))


def expect_the_same_bits(captured, uncaptured):
    assert captured[0] == uncaptured[0] and captured[2] == uncaptured[2]
    for name, array in captured[1].items():
        assert np.array_equal(array, uncaptured[1][name]), name


@pytest.mark.parametrize("options", [{}, {"sam": 0.05, "sam_fraction": 0.5, "precision": "bf16"},
                                     {"sam": 0.05, "precision": "fp16"}], ids=["sgd", "sam on a part", "sam in fp16"])
def test_running_statistics_of_a_captured_run_are_those_of_an_uncaptured_one(options):
    """Averages and evaluations, which read them, too."""
    captured, uncaptured = trained("on", RESNET, **options), trained("off", RESNET, **options)
    expect_the_same_bits(captured, uncaptured)
    statistics = [name for name in captured[1] if "running" in name]
    assert len(statistics) == 2 * 2 * 6 and all(captured[1][name].dtype == np.float32 for name in statistics)
    assert all(np.any(captured[1][name] != (1.0 if name.endswith("variance") else 0.0)) for name in statistics)


def test_steps_are_replayed_from_the_second_on(monkeypatch):
    made = []

    class Counted(cuda_graph.CudaGraph):
        def __init__(self, function):
            super().__init__(function)
            made.append(0)

        def replay(self):
            made[0] += 1
            super().replay()

    monkeypatch.setattr(cuda_graph, "CudaGraph", Counted)
    monkeypatch.setattr(Trainer, "evaluate", lambda *_: None)
    trained("on")
    assert made == [STEPS - 1]


def test_nothing_is_captured_with_fast_paths_off_or_on_numpy():
    assert cuda_graph.is_available(get("cupy")) and not cuda_graph.is_available(get("numpy"))
    with nf.reference():
        assert not cuda_graph.is_available(get("cupy"))


def test_without_cublas_at_hand_nothing_is_captured(monkeypatch):
    monkeypatch.setattr(cublas_library, "load", lambda: None)
    assert not cuda_graph.is_available(get("cupy"))


class Scale(nf.nn.Module):
    """x·weight."""

    def __init__(self):
        self.randomness = CounterRNG(1)
        self.weight = Tensor(cupy.ones((3,), dtype=cupy.float32), requires_grad=True)

    def loss(self, x):
        with trust_saved_arrays():  # to check that they are unchanged, the host would have to wait
            loss = ops.sum(ops.multiply(Tensor(x), self.weight))
            loss.backward()
        return (loss.data,)


def array(*values):
    return cupy.asarray(np.array(values, np.float32))


def test_replays_follow_weights_and_inputs():
    model = Scale()
    captured = CapturedTraining(model.loss, model)
    for weight, x in zip(([1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 1, 0]), ([1, 1, 1], [1, 2, 3], [3, 2, 1], [5, 5, 5]),
                         strict=True):
        model.weight.data, model.weight.grad = array(*weight), None
        (loss,) = captured(array(*x))
        assert float(loss) == np.dot(weight, x)
        assert model.weight.data.get().tolist() == weight and model.weight.grad.get().tolist() == x


def test_a_result_outlives_the_next_replay():
    model = Scale()
    captured = CapturedTraining(model.loss, model)
    results = []
    for x in (1, 2, 3, 4):
        model.weight.grad = None
        results.append(captured(array(x, x, x))[0])
    assert [float(result) for result in results] == [3, 6, 9, 12]


def test_other_shapes_have_graphs_of_their_own():
    model = Scale()
    captured = CapturedTraining(model.loss, model)
    for count in (3, 3, 1, 3, 1, 1):
        model.weight.grad = None
        assert float(captured(array(*[2] * count))[0]) == 6


def test_other_kernels_and_other_roundings_have_graphs_of_their_own(monkeypatch):
    graphs = []
    monkeypatch.setattr(cuda_graph, "CudaGraph", type("Counted", (cuda_graph.CudaGraph,), {
        "__init__": lambda self, function: graphs.append(self) or super(type(self), self).__init__(function)}))
    model = Scale()
    captured = CapturedTraining(model.loss, model)
    for switches in [(False, False), (True, False), (True, True)] * 3:
        with implicit_convolution.switched(switches[0]), cublas.tf32(switches[1]):
            model.weight.grad = None
            assert float(captured(array(2, 2, 2))[0]) == 6
    assert len(graphs) == 3


def test_a_graphs_pool_raises_memory_error_and_frees_nothing_first(monkeypatch):
    """At CuPy's own error the pool would free what captured launches use, and ask again."""
    class OutOfMemory(RuntimeError):
        status = cuda_graph.OUT_OF_MEMORY

    def refuse(size):
        raise OutOfMemory("cudaErrorMemoryAllocation: out of memory")

    monkeypatch.setattr(cupy.cuda, "Memory", refuse, raising=False)
    monkeypatch.setattr(cupy.cuda, "MemoryPointer", lambda memory, offset: memory, raising=False)
    monkeypatch.setattr(cupy.cuda.runtime, "CUDARuntimeError", OutOfMemory)
    with pytest.raises(MemoryError, match="out of memory: 4096 bytes"):
        cuda_graph._allocate(4096)
    monkeypatch.setattr(OutOfMemory, "status", 999)
    with pytest.raises(OutOfMemory):
        cuda_graph._allocate(4096)


def test_no_garbage_is_collected_while_capturing():
    enabled = []
    model = Scale()

    def compute(x):
        enabled.append(gc.isenabled())
        return (x.copy(),)

    captured = CapturedTraining(compute, model)
    for _ in range(3):
        captured(array(1))
    assert enabled == [True, False] and gc.isenabled()


def test_every_replay_draws_anew():
    model = Scale()

    def masked():
        randomness = model.randomness.next_step()
        mask = drawn_array(lambda drawing: drawing.uniform("here", (3,)).astype(np.float32), randomness, get("cupy"))
        return (mask * model.weight.data,)

    captured = CapturedTraining(lambda x: masked(), model)
    found = [captured(array(0))[0].get() for _ in range(4)]
    expected = [CounterRNG(1, step).uniform("here", (3,)).astype(np.float32) for step in range(4)]
    assert np.array_equal(found, expected) and model.randomness.step == 4


def test_inference_is_captured_again_for_other_weights():
    model = Scale()
    captured = CapturedInference(lambda x: x * model.weight.data, model)
    with no_grad():
        for weight in (2, 3):
            model.weight.data = array(*[weight] * 3)
            for x in (1, 5, 6, 7):
                assert captured(array(x, x, x)).get().tolist() == [weight * x] * 3


class Counting(Scale):
    """Adds what it sees to a buffer, and counts in another one, unless it is told not to."""

    def __init__(self):
        super().__init__()
        self.register_buffer("total", cupy.zeros((3,), dtype=cupy.float32))
        self.register_buffer("count", cupy.zeros((), dtype=cupy.int64))

    def loss(self, x, update_statistics=True):
        if update_statistics:
            self.total, self.count = self.total + x, self.count + 1
        return super().loss(x)


def test_buffers_are_updated_by_replays_where_the_options_say_so():
    """Also when they were replaced in between; arrays that were read before stay as they were."""
    model = Counting()
    captured = CapturedTraining(model.loss, model)
    seen = []
    for k, updates in enumerate([True, True, False, True, False, False, True]):
        model.weight.grad = None
        captured(array(1, 2, k), update_statistics=updates)
        seen.append((model.total, model.count))
        if k == 4:
            model.assign_buffers({"total": array(10, 10, 10)})
    assert [total.get().tolist() for total, _ in seen] == [[1, 2, 0], [2, 4, 1], [2, 4, 1], [3, 6, 4], [3, 6, 4],
                                                           [10, 10, 10], [11, 12, 16]]
    assert [int(count) for _, count in seen] == [1, 2, 2, 3, 3, 3, 4]


def test_inference_is_captured_again_for_other_buffers():
    model = Counting()
    captured = CapturedInference(lambda x: x + model.total, model)
    with no_grad():
        for total in (2, 3):
            model.total = array(*[total] * 3)
            for x in (1, 5, 6, 7):
                assert captured(array(x, x, x)).get().tolist() == [total + x] * 3


def test_what_cuda_refuses_is_a_line_with_the_way_out():
    model = Scale()
    captured = CapturedTraining(lambda x: (x * float(x[0]),), model)  # the host waits for a value
    captured(array(1, 2, 3))
    with pytest.raises(InputError, match=r"CUDA graph .*--cuda-graph off"):
        captured(array(1, 2, 3))
