"""A sheet of sample pictures, a row for each class.

Used by: data.py. Test: reference_tests/datasets/test_check.py.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ...errors import InputError
from .findings import Findings

CELL, GAP, MARGIN = 112, 8, 16  # pixels of a picture's place, between places, around the sheet
LABELS, HEADING = 200, 44  # pixels of the column of names, and of the lines above
COLUMNS, MOST_ROWS = 8, 40
PAPER, PLACE, INK, GREY, RED = "white", (236, 236, 236), (20, 20, 20), (110, 110, 110), (190, 30, 30)


def draw_samples(findings: Findings) -> Image.Image:
    """The sheet: training pictures of every class, evenly spaced in their order, whole and in their proportions.

    Small pictures are enlarged by a whole number. Of more than MOST_ROWS classes, that many, evenly spaced.
    """
    labels = _evenly(np.arange(len(findings.dataset.classes)), MOST_ROWS)
    step = CELL + GAP
    sheet = Image.new("RGB", (2 * MARGIN + LABELS + step * COLUMNS - GAP, 2 * MARGIN + HEADING + step * len(labels)),
                      PAPER)
    draw = ImageDraw.Draw(sheet)
    _draw_heading(draw, findings, len(labels))
    members = np.argsort(findings.dataset.train.labels, kind="stable")
    starts = np.searchsorted(findings.dataset.train.labels[members], labels)
    ends = np.searchsorted(findings.dataset.train.labels[members], labels, side="right")
    for row, (label, start, end) in enumerate(zip(labels, starts, ends, strict=True)):
        top = MARGIN + HEADING + step * row
        _draw_name(draw, findings, int(label), top)
        for column, index in enumerate(_evenly(members[start:end], COLUMNS)):
            _draw_picture(sheet, draw, findings, int(index), MARGIN + LABELS + step * column, top)
    return sheet


def _evenly(values: np.ndarray, most: int) -> Sequence[int]:
    """At most `most` of the values, from the first to the last at even distances."""
    positions = np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(np.int64)
    return values[positions].tolist()


def _draw_heading(draw: ImageDraw.ImageDraw, findings: Findings, rows: int) -> None:
    data = findings.dataset
    classes = f"{len(data.classes)} classes" if rows == len(data.classes) else f"{rows} of {len(data.classes)} classes"
    draw.text((MARGIN, MARGIN), _fitting(draw, data.name, draw.im.size[0] - 2 * MARGIN, 16), fill=INK, font=_font(16))
    draw.text((MARGIN, MARGIN + 21), f"{classes}, {len(data.train)} training and {len(data.test)} test images; "
              f"samples of the training images", fill=GREY, font=_font(12))


def _draw_name(draw: ImageDraw.ImageDraw, findings: Findings, label: int, top: int) -> None:
    """The name of a class, and how many images it has."""
    train, test = (findings.counts[split][label] for split in ("train", "test"))
    name = _fitting(draw, findings.dataset.classes[label], LABELS - GAP, 14)
    draw.text((MARGIN, top + CELL // 2 - 30), name, fill=INK, font=_font(14))
    # The number too: the font lacks the letters of many languages.
    for line, text in enumerate((f"label {label}", f"{train} training, {test} test")):
        draw.text((MARGIN, top + CELL // 2 - 8 + 17 * line), text, fill=GREY, font=_font(12))


def _draw_picture(sheet: Image.Image, draw: ImageDraw.ImageDraw, findings: Findings, index: int, left: int,
                  top: int) -> None:
    """One picture in its place, or a mark where it cannot be read."""
    draw.rectangle((left, top, left + CELL - 1, top + CELL - 1), fill=PLACE)
    try:
        picture = _scaled(Image.fromarray(findings.dataset.train.read_whole(index)))
    except InputError:
        draw.line((left + 30, top + 26, left + CELL - 30, top + CELL - 34), fill=RED, width=3)
        draw.line((left + 30, top + CELL - 34, left + CELL - 30, top + 26), fill=RED, width=3)
        draw.text((left + CELL // 2, top + CELL - 16), "cannot be read", fill=RED, font=_font(12), anchor="mm")
        return
    sheet.paste(picture, (left + (CELL - picture.width) // 2, top + (CELL - picture.height) // 2))


def _scaled(picture: Image.Image) -> Image.Image:
    """The picture as large as its place allows: small ones enlarged by a whole number, so that pixels stay sharp."""
    factor = CELL // max(picture.size)
    if factor >= 2:
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    if factor == 0:
        picture.thumbnail((CELL, CELL), Image.Resampling.BICUBIC)
    return picture


def _fitting(draw: ImageDraw.ImageDraw, text: str, width: int, size: int) -> str:
    """The text, or its beginning and an ellipsis where it is wider than `width` pixels."""
    text = "".join(character if character.isprintable() else "\ufffd" for character in text)
    if draw.textlength(text, font=_font(size)) <= width:
        return text
    while text and draw.textlength(f"{text}…", font=_font(size)) > width:
        text = text[:-1]
    return f"{text}…"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
