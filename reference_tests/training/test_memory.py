"""The memory of a training step is predicted from shapes; what cannot fit is refused before the first step."""

from types import SimpleNamespace

import numpy as np
import pytest

from nfnumpy import InputError, backend as backends, models, ops
from nfnumpy.autograd import reverse_topological_order
from nfnumpy.autograd.tape import Node
from nfnumpy.training import TrainingOptions, memory_check, step_memory, train
from nfnumpy.training.memory import Recording, peak_of_passes
from nfnumpy.training.parameter_patterns import freeze
from nfnumpy.training.step_memory import MemoryPrediction
from reference_tests.helpers.batch_normalized import RESNET
from reference_tests.helpers.port_pairs import SMALL

CONFIG = models.NFNetConfig(widths=(32, 64), depths=(1, 2), strides=(1, 2), group_size=16, stem_widths=(16, 32),
                            stem_strides=(1, 2), num_classes=10, stochdepth_rate=0.25, drop_rate=0.5)


def saved_by_the_tape(model, images):
    """Bytes of all arrays that a training pass has saved for the backward pass, parameters left out."""
    logits = model(images, training=True)
    parameters = {id(parameter.data) for parameter in model.parameters().values()}
    arrays = {id(value): value for node in reverse_topological_order(logits.node) if isinstance(node, Node)
              for value in node.saved.values() if backends.is_array(value) and id(value) not in parameters}
    return sum(array.nbytes for array in arrays.values())


@pytest.mark.parametrize("config", [CONFIG, *SMALL.values(), RESNET], ids=["with masks", *SMALL, "batch norm"])
@pytest.mark.parametrize("batch, frozen", [(1, None), (3, None), (3, "blocks.0.*,blocks.1.*"), (3, "*.weight")])
def test_what_a_pass_saves_is_predicted_to_the_byte(config, batch, frozen):
    """Of the whole tape, from an empty batch."""
    model = models.from_config(config, dtype="float64")
    freeze(model.parameters(), frozen)
    recording = Recording(model, 20, 20)
    assert model.randomness.step == 0
    sizes = recording.sizes(batch, int)
    saved = {number for one in recording.operations for number in one.saved} - recording.parameters
    images = np.zeros((batch, 20, 20, config.in_channels))
    assert sum(sizes[number] for number in saved) == saved_by_the_tape(model, images)


def most_lent(model, images):
    """The most bytes that the pool had lent at a time during a training pass and its backward pass."""
    pool = backends.buffer_pool.BufferPool()
    backends.buffer_pool.pool, before = pool, backends.buffer_pool.pool
    try:
        ops.softmax_cross_entropy(model(images, training=True), np.zeros(len(images), np.int64)).backward()
    finally:
        backends.buffer_pool.pool = before
    return pool.most_lent_bytes


@pytest.mark.parametrize("frozen", [None, "stem*"])
def test_the_peak_of_both_passes_is_that_of_the_pool(frozen):
    """Within a tenth: the pool rounds pieces up to 64 KB, lends larger ones, and knows no arrays below that size."""
    model = models.from_config(CONFIG, dtype="float32")
    freeze(model.parameters(), frozen)
    images = np.random.default_rng(0).standard_normal((64, 48, 48, 3), dtype=np.float32)
    predicted = peak_of_passes(Recording(model, 48, 48), 64)
    assert most_lent(model, images) + images.nbytes == pytest.approx(predicted, rel=0.1)


def test_memory_grows_with_batch_dtype_and_options():
    total = MemoryPrediction(CONFIG, 32).of_batch(64).total
    assert MemoryPrediction(CONFIG, 32).of_batch(128).total > total
    assert MemoryPrediction(CONFIG, 32, "float64").of_batch(64).total > total
    assert MemoryPrediction(CONFIG, 32, sam=True).of_batch(64).total > total
    assert MemoryPrediction(CONFIG, 32, ema=False).of_batch(64).total < total
    assert MemoryPrediction(CONFIG, 32, freeze="stem*,blocks.*").of_batch(64).total < total
    on_gpu = MemoryPrediction(CONFIG, 32, is_on_host=False).of_batch(64)
    half = MemoryPrediction(CONFIG, 32, is_on_host=False, half_precision=True).of_batch(64)
    assert 0.45 * on_gpu.passes < half.passes < 0.6 * on_gpu.passes and half.state == on_gpu.state
    assert on_gpu.total == on_gpu.state + on_gpu.passes + step_memory.PATCH_BYTES  # checkpoints are in main memory


@pytest.fixture
def run(few_digits, tmp_path, monkeypatch, capsys):
    """A run on few_digits with so many bytes available: its options -> its output."""
    def run(available, **options):
        monkeypatch.setattr(backends.get("numpy"), "available_memory", lambda: available)
        train({"data": f"idx:{few_digits}", "epochs": 1, "batch_size": 24, "out": str(tmp_path / "run"), **options})
        return capsys.readouterr().out
    return run


def needed(batch_size):
    """The bytes that the default network of few_digits takes."""
    return MemoryPrediction(models.config_of("nfnet_8px", num_classes=10), 8).of_batch(batch_size).total


def test_what_cannot_fit_is_refused_before_anything_is_written(run, tmp_path):
    message = (r"training nfnet_8px with 24 images of 8 px a step takes about 0\.0\d+ GB, but 0\.0\d+ GB of memory are "
               r"available: .*; --memory-check off starts all the same")
    with pytest.raises(InputError, match=message):
        run(int(0.79 * needed(24)))
    assert not (tmp_path / "run").exists()
    assert "epoch 1/1" in run(int(0.79 * needed(24)), memory_check="off")


@pytest.mark.parametrize("share, is_said", [(0.81, True), (1.19, True), (1.21, False)])
def test_what_may_not_fit_is_said(run, share, is_said):
    assert ("of memory are available" in run(int(share * needed(24)))) == is_said


def test_a_frozen_run_that_fits_is_not_refused(monkeypatch):
    """It is where all is trained."""
    dataset = SimpleNamespace(image_size=32, train=range(180))
    config = models.config_of("nfnet_32px", num_classes=10)
    monkeypatch.setattr(backends.get("numpy"), "available_memory", lambda: 400_000_000)
    options = TrainingOptions(batch_size=180, freeze="stem*,blocks.*,final*")
    memory_check.check_memory(options, "nfnet_32px", config, dataset)
    with pytest.raises(InputError, match=r"0\.4 GB of memory are available"):
        memory_check.check_memory(TrainingOptions(batch_size=180), "nfnet_32px", config, dataset)


def test_a_system_that_tells_nothing_is_not_checked(run):
    assert "available" not in run(None)


@pytest.mark.parametrize("fits", [1, 4, 32])
def test_the_batch_size_that_is_named_fits_and_twice_as_much_does_not(fits):
    prediction = MemoryPrediction(CONFIG, 64)
    available = int(1.2 * prediction.of_batch(fits).total) + 1
    words = memory_check._change(prediction, 128, available)
    named = int(words.split()[1])
    assert named >= fits and prediction.of_batch(named).total * 1.2 <= available
    assert prediction.of_batch(2 * named).total * 1.2 > available
    assert memory_check._change(prediction, 128, 1) == "a smaller --model or --image-size takes less"


def test_numbers_of_bytes_in_words():
    assert [memory_check.gigabytes(size) for size in (3 * 10**8, 5_120_000_000, 13_700_000_000)] == \
        ["0.3 GB", "5.1 GB", "14 GB"]
