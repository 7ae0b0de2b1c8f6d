"""The pictures of an evaluation can be drawn for any number of classes, with any names, and show what they should."""

import io

import numpy as np
import pytest
from PIL import Image

from nfnumpy.analysis import calibration
from nfnumpy.evaluation.confusion_picture import draw_confusion
from nfnumpy.evaluation.figures import drawn_name
from nfnumpy.evaluation.pictures import draw_mistakes, draw_reliability

HOSTILE = ("$x$ \\frac{", "\x1b[2J\n", "ü字", "\udcff", "", "a" * 300)


def opened(png):
    picture = Image.open(io.BytesIO(png))
    picture.load()
    return picture


def has_color(picture, wanted):
    """Whether some pixel has nearly that color, red, green and blue."""
    pixels = np.asarray(picture.convert("RGB"))[::4, ::4].astype(np.int16)
    return bool((np.abs(pixels - wanted).max(axis=2) <= 8).any())


@pytest.mark.parametrize("count", [1, 2, 10, 26, 121])
def test_a_confusion_picture_has_a_size_that_can_be_read(count):
    """Of at most 26 classes each cell has 20 pixels or more; of more, the picture stays below 4000 pixels."""
    confusion = np.diag(np.full(count, 9)) + np.eye(count, k=1, dtype=np.int64)
    width, height = opened(draw_confusion(confusion, [f"class {k}" for k in range(count)], "title")).size
    assert max(500, 20 * min(count, 26)) <= width < 4000 and max(380, 20 * min(count, 26)) <= height < 4000


def test_classes_that_do_not_occur_are_not_drawn():
    """Two of a thousand classes look as if there were two."""
    names = [f"class {k}" for k in range(1000)]
    confusion = np.zeros((1000, 1000), np.int64)
    confusion[10, 10], confusion[10, 20] = 5, 2
    alone = draw_confusion(np.array([[5, 2], [0, 0]]), ["class 10", "class 20"], "title")
    assert draw_confusion(confusion, names, "title") == alone


@pytest.mark.filterwarnings("ignore:Glyph")  # shown as a box
def test_any_names_can_be_drawn():
    count = len(HOSTILE)
    for copies in (1, 5):  # with numbers, and with a list of confusions
        confusion = np.ones((count * copies, count * copies), np.int64)
        opened(draw_confusion(confusion, HOSTILE * copies, HOSTILE[0]))
    mistakes = [{"class": name, "predicted": name, "probability": 1.0, "probability_of_class": 0.0}
                for name in HOSTILE]
    opened(draw_mistakes(np.zeros((count, 8, 8, 3), np.uint8), mistakes, HOSTILE[0]))
    assert all(drawn_name(name).isprintable() and len(drawn_name(name)) <= 24 for name in HOSTILE)


@pytest.mark.parametrize("count", [0, 1, 8])
def test_the_sheet_shows_every_mistake_and_may_be_empty(count):
    colors = [(30 * k, 255 - 30 * k, 200) for k in range(count)]
    images = np.broadcast_to(np.array(colors, np.uint8).reshape(count, 1, 1, 3), (count, 16, 16, 3))
    mistakes = [{"class": "cat", "predicted": "dog", "probability": 0.9, "probability_of_class": 0.1}] * count
    sheet = opened(draw_mistakes(images, mistakes, "title"))
    assert all(has_color(sheet, color) for color in colors)


def test_a_reliability_diagram_shows_the_bins_that_have_examples():
    picture = opened(draw_reliability(calibration([0.9, 0.95, 0.3], [True, False, True]), "title"))
    assert has_color(picture, (0x1f, 0x6f, 0x8b)) and has_color(picture, (0xd1, 0x60, 0x3d))
