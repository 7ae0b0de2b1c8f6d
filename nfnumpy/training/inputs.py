"""From bytes to what a network sees."""

# Means and standard deviations of red, green and blue over ImageNet, on the scale 0 … 1.
MEAN = (0.485, 0.456, 0.406)
STANDARD_DEVIATION = (0.229, 0.224, 0.225)


def to_input(images, backend, dtype):
    """uint8 images (N, H, W, 3) on the host as (images/255 - mean)/std in `dtype` on `backend`."""
    xp, values = backend.xp, backend.asarray(images).astype(dtype)
    mean, deviation = (xp.asarray(constant, dtype=dtype) for constant in (MEAN, STANDARD_DEVIATION))
    return (values * (1.0 / 255.0) - mean) / deviation
