"""The report of a check: as text to read, and complete as JSON.

Used by: data.py. Test: reference_tests/datasets/test_check.py.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .findings import SPLITS, Duplicates, Findings, Place
from .statistics import statistics

MOST_CLASSES = 20  # that the text lists; of more, the largest and the smallest
MOST_LISTED = 10  # broken images, and groups of equal images
BAR = 30  # characters of the longest bar
MODES = {"1": "black and white", "L": "grey", "LA": "grey with transparency", "P": "palette", "RGB": "colour",
         "RGBA": "colour with transparency", "CMYK": "CMYK", "I;16": "16-bit grey", "I;16B": "16-bit grey",
         "I": "32-bit grey", "F": "floating-point grey"}


def to_text(findings: Findings) -> str:
    """The report as lines: what is there, then what is wrong, then whether the data can be trained on."""
    sections = (_heading(findings), _classes(findings), _images(findings), _broken(findings), _duplicates(findings),
                _remarks(findings))
    return "\n".join(line for section in sections for line in section)


def to_json(findings: Findings) -> dict[str, Any]:
    """Everything that was found, as an object of JSON."""
    data = findings.dataset
    return {
        "data": data.name,
        "usable": findings.is_usable,
        "classes": [{"name": name, **{split: int(findings.counts[split][label]) for split in SPLITS}}
                    for label, name in enumerate(data.classes)],
        **{split: statistics(findings.facts[split]) for split in SPLITS},
        "broken": [{**_as_object(place, data.classes), "reason": reason} for place, reason in findings.broken],
        "duplicates": [{"in_training_and_test": group.is_leak, "of_different_classes": group.is_contradiction,
                        "images": [_as_object(place, data.classes) for place in group.places]}
                       for group in findings.duplicates],
        "remarks": list(data.remarks),
        "training_size": findings.training_size,
        "leaked_test_images": findings.leaked,
        "ignored_fields": {split: getattr(getattr(data, split), "ignored", {}) for split in SPLITS},
    }


def _as_object(place: Place, classes: Sequence[str]) -> dict[str, Any]:
    return {"split": place.split, "index": place.index, "name": place.name, "class": classes[place.label]}


def _heading(findings: Findings) -> Iterator[str]:
    data = findings.dataset
    yield (f"{data.name}: {len(data.train)} training and {len(data.test)} test images of {len(data.classes)} "
           f"{'class' if len(data.classes) == 1 else 'classes'}")


def _classes(findings: Findings) -> Iterator[str]:
    """Images by class, and how far they are from balance."""
    train, test = (findings.counts[split] for split in SPLITS)
    names = findings.dataset.classes
    order = np.argsort(-train, kind="stable")
    listed = np.arange(len(names))
    if len(names) > MOST_CLASSES:
        half = MOST_CLASSES // 2
        listed = np.concatenate([order[:half], order[-half:]])
    width = min(30, max(len(names[label]) for label in listed))
    yield ""
    yield f"{'class':<{width}}  {'train':>8}  {'test':>7}"
    for row, label in enumerate(listed):
        if len(names) > MOST_CLASSES and row == MOST_CLASSES // 2:
            yield f"{'…':<{width}}  ({len(names) - MOST_CLASSES} more classes, in between)"
        bar = "█" * round(BAR * train[label] / max(1, train.max()))
        yield f"{_cut(names[label], width):<{width}}  {train[label]:>8}  {test[label]:>7}  {bar}".rstrip()
    without = int(np.count_nonzero(train == 0))
    if without:
        yield f"{without} of the classes have no training image: a network cannot learn them"
    elif train.max() != train.min():
        yield f"the largest class has {train.max() / train.min():.1f} times the training images of the smallest"


def _images(findings: Findings) -> Iterator[str]:
    """Sizes, formats and modes of the images of each split."""
    for split in SPLITS:
        numbers = statistics(findings.facts[split])
        if numbers["shorter_side"] is None:
            continue
        yield ""
        yield f"{'training' if split == 'train' else 'test'} images: {_sizes(numbers)}; {_bytes(numbers['bytes'])}"
        bars = numbers["shorter_side_histogram"]
        if len(bars) > 1:
            most = max(bar["images"] for bar in bars)
            for bar in bars:
                length = "█" * round(BAR * bar["images"] / most)
                yield f"  {bar['from']:>5} to {bar['below'] - 1:<5}  {bar['images']:>8}  {length}".rstrip()
        yield f"  formats: {_counts(numbers['formats'])}"
        yield f"  modes: {_counts({MODES.get(mode, mode): n for mode, n in numbers['modes'].items()})}"
        if numbers["elongated"]:
            yield (f"  {_images_are(numbers['elongated'])} more than twice as long as wide: a square cut from the "
                   "centre keeps less than half")
        if numbers["animated"]:
            yield f"  {_images_are(numbers['animated'])} animated; the first frame is read"


def _sizes(numbers: dict[str, Any]) -> str:
    """From which size to which the images of a split are."""
    width, height, side = (numbers[name] for name in ("width", "height", "shorter_side"))
    if width["min"] == width["max"] and height["min"] == height["max"]:
        return f"all {width['min']}×{height['min']} pixels"
    return f"shorter side {side['min']} to {side['max']} pixels, half of them up to {side['median']}"


def _broken(findings: Findings) -> Iterator[str]:
    if findings.broken:
        yield ""
        yield f"{_images_are(len(findings.broken))} broken:"
        yield from (f"  {reason}" for _, reason in findings.broken[:MOST_LISTED])
        yield from _more(len(findings.broken))


def _duplicates(findings: Findings) -> Iterator[str]:
    groups = findings.duplicates
    if not groups:
        return
    copies = sum(len(group.places) - 1 for group in groups)
    yield ""
    yield f"{_images_are(copies)} a copy of another one, byte for byte:"
    yield from (f"  {_of_group(group, findings.dataset.classes)}" for group in groups[:MOST_LISTED])
    yield from _more(len(groups))
    if findings.leaked:
        yield (f"leak: {_images_are(findings.leaked, 'test image')} among the training images too, which makes the "
               "test accuracy too high")
    contradictions = sum(group.is_contradiction for group in groups)
    if contradictions:
        yield f"{contradictions} of the {len(groups)} groups of equal images have different labels"


def _of_group(group: Duplicates, classes: Sequence[str]) -> str:
    """The images of a group, and what is wrong with it."""
    marks = [text for text, holds in (("training and test", group.is_leak),
                                      ("different classes", group.is_contradiction)) if holds]
    names = " = ".join(place.name for place in group.places[:4])
    more = f" and {len(group.places) - 4} more" if len(group.places) > 4 else ""
    kinds = f" ({', '.join(marks)})" if marks else ""
    return f"{names}{more}{kinds}"


def _remarks(findings: Findings) -> Iterator[str]:
    """What is not read, the size that training would choose, and the verdict."""
    yield ""
    yield from findings.dataset.remarks
    if findings.training_size:
        yield findings.training_size
    for split in SPLITS:
        ignored = getattr(getattr(findings.dataset, split), "ignored", {})
        if ignored:
            yield f"{split}: members that are not read: {_counts(ignored)}"
    yield "usable: every image can be read" if findings.is_usable else (
        f"not usable as it is: {_images_are(len(findings.broken))} broken; --on-bad-image skip trains without them")


def _more(count: int) -> Iterator[str]:
    if count > MOST_LISTED:
        yield f"  … and {count - MOST_LISTED} more, all of them in the file that --json writes"


def _images_are(count: int, noun: str = "image") -> str:
    return f"{count} {noun} is" if count == 1 else f"{count} {noun}s are"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[:width - 1] + "…"


def _bytes(count: int) -> str:
    """A number of bytes in a unit that leaves one to three digits before the point."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"
