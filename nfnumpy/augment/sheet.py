"""A sheet of training pictures: each as it is, and as the network sees it in some epochs.

Used by: __main__.py. Test: reference_tests/augment/test_sheet.py.
"""

import numpy
from PIL import Image, ImageDraw, ImageFont

from .examples import TrainingExamples

LEAST_SIDE = 96  # pixels of a picture on the sheet; smaller ones are enlarged by a whole number
GAP, HEADING = 6, 18  # pixels between pictures, and for the line above them
PAPER, INK = 255, 0


def draw_sheet(examples: TrainingExamples, indices: list[int]) -> Image.Image:
    """The pictures at `indices` of a split, one a row: as read without augmentation, then in each epoch.

    Where examples are mixed, those whose first picture it is.
    """
    split = examples.split
    headings = ["picture", *(f"epoch {epoch + 1}" for epoch in range(examples.epochs))]
    rows = [[split.read(index), *examples.take([examples.number(epoch, index) for epoch in range(examples.epochs)])]
            for index in indices]
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
