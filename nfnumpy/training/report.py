"""What a run says in words: its lines at the start, after an epoch and at the end, and advice when it diverges."""

import math

from ..backend import blas_threads, openblas
from .curves import draw_curves
from .divergence import more_clipping, remedies
from .keep import Entry, ranked, score
from .options import TrainingOptions
from .parameter_patterns import frozen_share
from .progress import log
from .run_folder import BEST, CHECKPOINT, CURVES, RunFolder, short_name
from .trainer import Trainer

LONG_EPOCH = 10.0  # seconds; in a shorter one it does not matter what is waited for


def log_start(trainer: Trainer) -> None:
    """Log data, model and step, and remarks that matter before a run of many hours."""
    log_data_and_model(trainer)
    if trainer.warmup_steps < trainer.wanted_warmup_steps:
        log(f"--warmup-epochs {trainer.options.warmup_epochs:g}: the warm-up takes at most half of the run, here "
            f"{trainer.warmup_steps} of {trainer.total_steps} steps")
    if trainer.batch_size == 1 and trainer.model.buffers():
        log("--batch-size 1: each step normalizes by the statistics of a single image, which differ from the running "
            "ones that a test uses; batch normalization wants larger batches")
    remark = openblas.remark(blas_threads.thread_count())
    if remark and trainer.options.backend == "numpy":
        log(remark)


def log_data_and_model(trainer: Trainer) -> None:
    """Log which images train which model."""
    data, options = trainer.dataset, trainer.options
    parameters = sum(math.prod(parameter.shape) for parameter in trainer.model.parameters().values())
    position = f"; resuming at step {trainer.step} of {trainer.total_steps}" if trainer.step else ""
    for line in data.remarks:
        log(line)
    other_size = f" ({data.test.image_size} px to test)" if data.test.image_size != data.image_size else ""
    log(f"{options.data}: {len(data.train)} training and {len(data.test)} test images of "
        f"{data.image_size} px{other_size}, {len(data.classes)} classes; "
        f"{options.model}: {parameters:,} parameters{position}")
    frozen = frozen_share(trainer.model.parameters())
    if frozen is not None:
        log(frozen)


def log_other_threads(before: object, now: int) -> None:
    """Log that a resumed run began with another number of threads, if it did."""
    if before != now:
        log(f"resuming with {now} threads a run that began with {before}: the last bits will differ")


def log_astray(sign: str | None, options: TrainingOptions) -> None:
    """Log a sign that the training goes astray, if there is one, and what usually helps."""
    if sign is not None:
        log(f"{sign}; {remedies(options.lr, options.agc)}")


def log_waiting(waited: float, seconds: float, options: TrainingOptions) -> None:
    """Log that an epoch of `seconds` was for the most part `waited` for images, if it was, and what helps."""
    if waited > 0.5 * seconds and seconds > LONG_EPOCH:
        faster = "--decoder draft, " if options.decoder == "pillow" else ""
        log(f"{waited:.0f} s of {seconds:.0f} s of training were spent waiting for images to be read; what helps: "
            f"{faster}more --workers if there are more cores, smaller pictures")


def log_epoch(entry: Entry, epochs: int) -> None:
    """Log the line that shows an evaluation."""
    averaged = ""
    if "ema_test_accuracy" in entry:
        averaged = f" (averaged weights {100 * entry['ema_test_accuracy']:.2f} %)"
    log(f"epoch {entry['epoch']}/{epochs}  loss {entry['train_loss']:.4f}  test loss {entry['test_loss']:.4f}  "
        f"test accuracy {100 * entry['test_accuracy']:.2f} %{averaged}  {entry['images_per_second']:.0f} images/s  "
        f"lr {entry['learning_rate']:.3g}  clipped {100 * entry['clipped_fraction']:.0f} %")


def log_end(trainer: Trainer, folder: RunFolder, entries: list[Entry], seconds: float) -> None:
    """Draw the curves of the evaluations `entries`, at least one, and log the last line. seconds: of training."""
    options, last = trainer.options, entries[-1]
    curves = folder.file(CURVES)
    drawn = draw_curves(entries, curves, f"{options.model} on {short_name(options.data)}",
                        smoothed=options.label_smoothing > 0.0)
    hint = f"see {curves}" if drawn else "for a picture of the curves: pip install 'nfnumpy[plots]'"
    log(f"test accuracy {100 * last['test_accuracy']:.2f} % after {last['epoch']} epochs, {seconds:.1f} s of "
        f"training; {hint}")


def log_best(entry: Entry) -> None:
    """Log that the checkpoint of the epoch of `entry` has become best.safetensors."""
    log(f"{BEST}: epoch {entry['epoch']}, test accuracy {100 * score(entry):.2f} %")


def log_early_stop(limit: int, entries: list[Entry]) -> None:
    """Log that --early-stop ends the run after the evaluations `entries`."""
    best = ranked(entries)[0]
    log(f"--early-stop {limit}: no epoch since epoch {best['epoch']} is better than its test accuracy of "
        f"{100 * score(best):.2f} %")


def log_more_epochs(before: int, trainer: Trainer) -> None:
    """Log what another number of epochs than the one `before` does to the learning rate."""
    now = trainer.options.epochs
    rate = trainer.schedule(trainer.step)
    log(f"--epochs {now} instead of {before}: from step {trainer.step} on the learning rate is that of a run of {now} "
        f"epochs, now {rate:.3g}")


def advice(agc: float | None, folder: RunFolder) -> str:
    """What an error about a loss or a weight that is not finite recommends."""
    kept = "no checkpoint was written yet"
    if folder.has(CHECKPOINT):
        kept = f"the last good checkpoint is kept in {folder.file(CHECKPOINT)}"
    return f"{kept}; a lower --lr may help, or {more_clipping(agc)}"
