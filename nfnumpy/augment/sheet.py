"""A sheet of training pictures: each as it is, and as the network sees it in some epochs.

Used by: __main__.py. Test: reference_tests/augment/test_sheet.py.
"""

import numpy
from PIL import Image, ImageDraw, ImageFont

from ..backend import CounterRNG
from ..datasets import Split
from .pipeline import AnyAugmentation

LEAST_SIDE = 96  # pixels of a picture on the sheet; smaller ones are enlarged by a whole number
GAP, HEADING = 6, 18  # pixels between pictures, and for the line above them
PAPER, INK = 255, 0


def draw_sheet(split: Split, augmentation: AnyAugmentation | None, indices: list[int], epochs: int,
               seed: int) -> Image.Image:
    """The pictures at `indices` of a split, one a row: as read without augmentation, then in epoch 1 … `epochs`.

    The examples are those that a run with that seed trains on. augmentation: None for the same picture every time.
    """
    headings = ["picture", *(f"epoch {epoch + 1}" for epoch in range(epochs))]
    rows = [[split.read(index), *_examples(split, augmentation, index, epochs, seed)] for index in indices]
    factor = -(-LEAST_SIDE // split.image_size)
    step = split.image_size * factor + GAP
    sheet = Image.new("RGB", (GAP + step * len(headings), HEADING + step * len(rows)), (PAPER,) * 3)
    draw = ImageDraw.Draw(sheet)
    for column, heading in enumerate(headings):
        draw.text((GAP + step * column, 3), heading, fill=(INK,) * 3, font=ImageFont.load_default(11))
        for row, images in enumerate(rows):
            enlarged = numpy.repeat(numpy.repeat(images[column], factor, axis=0), factor, axis=1)
            sheet.paste(Image.fromarray(enlarged), (GAP + step * column, HEADING + step * row))
    return sheet


def _examples(split, augmentation, index, epochs, seed):
    """The picture in each epoch, uint8 (size, size, 3)."""
    if augmentation is None:
        return [split.read(index)] * epochs
    picture = split.read_whole(index)
    return [augmentation(picture, CounterRNG(seed, epoch), index) for epoch in range(epochs)]
