"""Time decoding and augmentation of a folder of JPEGs beside timm's loader, in turns, on two workers each.

`python reference_tests/tools/time_augmentation.py FOLDER [ROUNDS]`, where FOLDER has the files `*.jpg` at any depth;
needs timm, installed as docs/weights.md describes. Both make uint8 batches of 224 pixels: ours with two threads, here
and in one process, timm's with two processes of torch's DataLoader, its transforms for the prefetcher and its
collation. For each: pictures a
second by the clock, and milliseconds of processor time a picture, of all threads and processes; the median of the
rounds. On a busy machine the second number is the fairer one.
"""

import glob
import multiprocessing
import resource
import sys
import time

import torch

for operator in ("nms", "qnms"):  # torchvision's Python needs them; its compiled part does not load beside CPU torch
    torch.library.define(f"torchvision::{operator}", "(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor")

import numpy as np  # noqa: E402
from PIL import Image, ImageOps  # noqa: E402
from timm.data import create_transform, loader as timm_loader  # noqa: E402

from nfnumpy.augment import TrainingExamples, augmentation_of  # noqa: E402
from nfnumpy.backend import blas_threads  # noqa: E402
from nfnumpy.datasets import FolderSplit, Loader  # noqa: E402

SIZE, BATCH, WORKERS = 224, 50, 2
PAIRS = [("flip-crop", None), ("timm", None), ("nfnet", "rand-m9-mstd0.5-inc1"),
         ("timm:rand-m9-mstd0.5-inc1", "rand-m9-mstd0.5-inc1")]  # ours, timm's auto_augment

_posterize = ImageOps.posterize
# The newest Pillow refuses 0 bits, which timm draws.
ImageOps.posterize = lambda image, bits: _posterize(image, max(1, bits))


class Pictures(torch.utils.data.Dataset):
    """The files, transformed by timm."""

    def __init__(self, paths, auto_augment):
        self.paths = paths
        self.transform = create_transform(SIZE, is_training=True, color_jitter=None, use_prefetcher=True,
                                          auto_augment=auto_augment)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return self.transform(Image.open(self.paths[index]).convert("RGB")), 0


def timms(paths, auto_augment):
    """A function that reads all pictures by timm."""
    batches = torch.utils.data.DataLoader(Pictures(paths, auto_augment), BATCH, shuffle=True, num_workers=WORKERS,
                                          collate_fn=timm_loader.fast_collate, persistent_workers=True)
    return lambda: sum(len(images) for images, _ in batches)


def ours(paths, kind, loader):
    """A function that reads all pictures by our loader of this kind."""
    split = FolderSplit(paths, np.zeros(len(paths)), SIZE)
    examples = TrainingExamples(split, 1, BATCH, 1000, 0, augmentation_of(kind, "nfnet_f0", SIZE))
    reader = Loader(examples, BATCH, WORKERS, kind=loader)
    epochs = iter(range(1000))

    def read():
        order = examples.numbers(next(epochs), 0, len(paths) // BATCH)
        with blas_threads.single_threaded_blas():
            return sum(len(images) for images, _ in reader.batches(order))
    return read


def measured(read):
    """(pictures a second, milliseconds of processor time a picture) of one reading of all."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    before = [sum(resource.getrusage(kind)[:2]) for kind in kinds]
    workers = multiprocessing.active_children()
    started, used = time.perf_counter(), sum(processor_seconds(process.pid) for process in workers)
    count = read()
    seconds = time.perf_counter() - started
    workers = multiprocessing.active_children()
    used = sum(processor_seconds(process.pid) for process in workers) - used
    used += sum(sum(resource.getrusage(kind)[:2]) for kind in kinds) - sum(before)
    return count / seconds, used / count * 1e3


def processor_seconds(pid):
    """That a process has used so far (Linux)."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main():
    """Measure all pairs, in turns."""
    torch.set_num_threads(1)
    paths = sorted(glob.glob(f"{sys.argv[1]}/**/*.jpg", recursive=True))
    paths = paths[:len(paths) // BATCH * BATCH]
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    for kind, auto_augment in PAIRS:
        readers = [ours(paths, kind, "threads"), ours(paths, kind, "process"), timms(paths, auto_augment)]
        for _ in range(2):
            for read in readers:
                read()
        results = np.median([[measured(read) for read in readers] for _ in range(rounds)], axis=0)
        for name, (speed, used) in zip(("threads", "process", "timm"), results, strict=True):
            print(f"{kind:27} {name:8} {speed:5.0f}/s {used:5.2f} ms   {speed / results[-1][0]:.2f} of timm's speed, "
                  f"{results[-1][1] / used:.2f} by processor time", flush=True)


if __name__ == "__main__":
    main()
