"""JPEG files to train on."""

import os

import numpy
from PIL import Image

FILES = 64


def write_pictures(folder: str, pixels: int) -> list[str]:
    """Paths of FILES pictures of 4:3, `pixels` wide, in `folder`: smooth colours under some noise, as photographs."""
    random = numpy.random.default_rng(0)
    paths = []
    for k in range(FILES):
        size = pixels, max(1, pixels * 3 // 4)
        few_pixels = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=numpy.uint8))
        colours = few_pixels.resize(size, Image.Resampling.BICUBIC)
        noisy = numpy.asarray(colours) + random.normal(0.0, 8.0, (size[1], size[0], 3))
        paths.append(os.path.join(folder, f"{pixels}-{k}.jpg"))
        Image.fromarray(numpy.clip(noisy, 0, 255).astype(numpy.uint8)).save(paths[-1], quality=90)
    return paths
