"""Decoders that decode large JPEGs smaller: enough pixels are left, of the same picture; errors are the same."""

import io
import sys

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from nfnumpy.datasets import ImageReader, ReadingOptions, read_image
from nfnumpy.errors import InputError
from reference_tests.helpers.dataset_files import encoded, one_line, plain

SMALLER = ("draft", "simplejpeg")


def smooth(width, height, mode="RGB"):
    """A picture that hardly changes from pixel to pixel: every way of making it smaller gives nearly the same."""
    rows, columns = np.mgrid[:height, :width]
    channels = [rows * 200 / height + 20, columns * 200 / width + 20, (rows + columns) * 200 / (height + width)]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8)).convert(mode)


@settings(max_examples=25)
@given(width=st.integers(20, 700), height=st.integers(20, 700), size=st.integers(16, 250), margin=st.integers(0, 32),
       decoder=st.sampled_from(SMALLER), keep_aspect=st.booleans(), mode=st.sampled_from(["RGB", "L"]))
def test_a_picture_decoded_smaller_looks_the_same(width, height, size, margin, decoder, keep_aspect, mode):
    """It has at least `size` pixels a side, so that a slope of 200 makes steps of up to 200/size.

    The pixels of the two differ by one step for the other places of the samples, by another one at the edges, where
    JPEG fills up its last block, and by the rounding of JPEG's coefficients at this quality, at most 8.
    """
    content = encoded(smooth(width, height, mode), "JPEG", quality=95, subsampling=0)
    images = [read_image(io.BytesIO(content), size, margin, keep_aspect, decoder=name).astype(int)
              for name in ("pillow", decoder)]
    assert images[1].shape == (size, size, 3)
    assert np.abs(images[0] - images[1]).max() <= 2 * 200 / size + 8


@settings(max_examples=25)
@given(width=st.integers(1, 700), height=st.integers(1, 700), least=st.integers(1, 900),
       decoder=st.sampled_from(SMALLER))
def test_the_shorter_side_keeps_the_pixels_that_are_needed(width, height, least, decoder):
    content = encoded(smooth(width, height), "JPEG")
    found = min(read_image(io.BytesIO(content), decoder=decoder, least=least).shape[:2])
    assert min(least, width, height) <= found <= min(width, height)
    if min(width, height) >= 8 * least:
        assert found <= -(-min(width, height) // 8)


@pytest.mark.parametrize("decoder", SMALLER)
def test_crops_are_cut_from_pictures_of_at_least_twice_the_size(decoder):
    content = encoded(smooth(1600, 1200), "JPEG")
    reader = ImageReader(64, decoder=decoder)
    assert reader.whole(io.BytesIO(content)).shape == (150, 200, 3)
    assert reader.square(io.BytesIO(content)).shape == (64, 64, 3)


@pytest.mark.parametrize("decoder", SMALLER)
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_smaller_pictures_are_upright_too(decoder, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = plain((0, 0, 0), (400, 200))
    picture.paste((255, 255, 255), (0, 0, 200, 100))
    content = encoded(picture, "JPEG", exif=exif)
    whole, smaller = (read_image(io.BytesIO(content), decoder=name, least=50) for name in ("pillow", decoder))
    assert smaller.shape == (whole.shape[0] // 4, whole.shape[1] // 4, 3)
    assert np.abs(whole[::4, ::4].astype(int) - smaller).mean() < 8


@pytest.mark.parametrize("decoder", SMALLER)
@pytest.mark.parametrize("picture, form", [(smooth(300, 200), "PNG"), (smooth(300, 200, "CMYK"), "JPEG"),
                                           (smooth(300, 200), "WEBP")])
def test_other_pictures_are_pillows(decoder, picture, form):
    content = encoded(picture, form)
    assert np.array_equal(read_image(io.BytesIO(content), 20, decoder=decoder), read_image(io.BytesIO(content), 20))


@pytest.mark.parametrize("decoder", SMALLER)
def test_a_truncated_file_is_one_line(decoder, tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(encoded(smooth(600, 400), "JPEG", quality=95)[:-4000])
    with pytest.raises(InputError) as caught:
        ImageReader(20, decoder=decoder).square(path)
    one_line(caught, path, "expected a whole image")


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    with pytest.raises(InputError) as caught:
        ReadingOptions(decoder="simplejpeg")
    one_line(caught, "--decoder simplejpeg", "pip install 'nfnumpy[simplejpeg]'")
