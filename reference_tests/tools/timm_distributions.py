"""Compare what timm's own code draws with what ours draws: crops, RandAugment, erasing, mixing, color jitter.

`python reference_tests/tools/timm_distributions.py [COUNT]` needs timm, installed as docs/weights.md describes, and
scipy. Each line is a quantity with the p-value of the test of Kolmogorov and Smirnov, or of chi-square for counts: if
the distributions are the same, p is uniform from 0 to 1. `--freeze FILE` also writes the quantiles and counts of timm's
draws, with which reference_tests/augment/test_distributions.py compares.
"""

import random
import sys
from collections import Counter

import numpy as np
import torch
from scipy import stats

for operator in ("nms", "qnms"):  # torchvision's Python needs them; its compiled part does not load beside CPU torch
    torch.library.define(f"torchvision::{operator}", "(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor")

from PIL import Image  # noqa: E402
from timm.data import auto_augment  # noqa: E402
from timm.data.mixup import Mixup, cutmix_bbox_and_lam  # noqa: E402
from timm.data.random_erasing import RandomErasing  # noqa: E402
from timm.data.transforms import RandomResizedCropAndInterpolation  # noqa: E402
from torchvision.transforms import ColorJitter  # noqa: E402

from reference_tests.augment import test_distributions as ours  # noqa: E402

QUANTILES = 1000


def crops(count):
    """Area, shape and place of random resized crops."""
    picture = Image.new("RGB", ours.PICTURE[::-1])
    drawn = [RandomResizedCropAndInterpolation.get_params(picture, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(count)]
    return ours.features(np.array(drawn, float), "crop")


def boxes(count):
    """Area, shape and place of erased rectangles."""
    erase, size, found = RandomErasing(1.0, device="cpu"), ours.IMAGE, []
    for _ in range(count // 4):  # of images that are slow to make
        image = torch.ones(1, size, size)
        erase(image)
        rows, columns = np.nonzero(image[0].numpy() == 0)
        if len(rows):
            found.append((rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1))
    return ours.features(np.array(found, float), "box")


def layers(count):
    """(levels, counts of operations, of layers for an image) of timm's RandAugment."""
    augment = auto_augment.rand_augment_transform(ours.STRING, {"translate_const": 100, "img_mean": (124, 116, 104)})
    names, levels, applied = Counter(), [], Counter()
    for op in augment.ops:
        def recorded(level, hparams, name=op.name):
            names[name] += 1
            levels.append(level)
            return (level,)
        op.level_fn, op.aug_fn = recorded, lambda image, *rest, **more: image
    for _ in range(count):
        before = len(levels)
        augment("no picture is needed")
        applied[len(levels) - before] += 1
    order = ours.operation_names()
    return ({"level": np.array(levels)}, np.array([names[name] for name in order]),
            np.array([applied[number] for number in range(3)]))


def mixing(count):
    """Ratios of MixUp and of CutMix after the correction, and how often each is chosen."""
    mixup = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0)
    drawn = [mixup._params_per_batch() for _ in range(count)]
    shape = (3, ours.IMAGE, ours.IMAGE)
    corrected = [cutmix_bbox_and_lam(shape, ratio)[1] for ratio, is_cutmix in drawn if is_cutmix]
    return ({"MixUp ratio": np.array([ratio for ratio, is_cutmix in drawn if not is_cutmix]),
             "CutMix ratio": np.array(corrected, float)}, np.array([len(drawn) - len(corrected), len(corrected)]))


def jitter(count):
    """The three factors of color jitter."""
    bounds = ColorJitter(0.4, 0.4, 0.4)
    drawn = [ColorJitter.get_params(bounds.brightness, bounds.contrast, bounds.saturation, None)
             for _ in range(count // 4)]
    return {f"{name} factor": np.array([float(factors[at]) for factors in drawn])
            for at, name in enumerate(("brightness", "contrast", "saturation"), start=1)}


def timms(count):
    """(values by name, counts by name) that timm's code draws."""
    levels, operations, applied = layers(count)
    ratios, methods = mixing(count)
    values = {**crops(count), **boxes(count), **levels, **ratios, **jitter(count)}
    return values, {"operations": operations, "layers of an image": applied, "methods of mixing": methods}


def main():
    """Print p-values; freeze timm's draws."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--freeze"]
    target = arguments.pop() if "--freeze" in sys.argv else None
    count = int(arguments[0]) if arguments else 20000
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    values, counts = timms(count)
    our_values, our_counts = ours.drawn(count)
    for name, sample in values.items():
        p = stats.ks_2samp(our_values[name], sample).pvalue
        print(f"{name:22} {len(sample):6} draws   p = {p:.3f}")
    for name, table in counts.items():
        p = stats.chi2_contingency(np.stack([table, our_counts[name]])).pvalue
        print(f"{name:22} {table.sum():6} draws   p = {p:.3f}")
    if target is not None:
        shares = (np.arange(QUANTILES) + 0.5) / QUANTILES
        quantiles = {name: np.quantile(sample, shares, method="inverted_cdf").astype(np.float32)
                     for name, sample in values.items()}
        np.savez_compressed(target, sizes=np.array([len(sample) for sample in values.values()]), **quantiles, **counts)


if __name__ == "__main__":
    main()
