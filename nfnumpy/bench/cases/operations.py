"""Single operations at the shapes that networks give them."""

import dataclasses
import math
from typing import Any

FORWARD, DERIVATIVE = "forward", "derivative"
DIRECTIONS = (FORWARD, DERIVATIVE)
# How many values are read and written at least, in sizes of the first input: (forward, derivative). The derivative of a
# residual update does not read the shortcut, and the shortcut's cotangent is the incoming one, which is not copied.
MOVED = {"scaled_nonlinearity": (2, 3), "standardize_weight": (2, 3), "squeeze_excite": (2, 3), "skip_init": (3, 3),
         "avg_pool": (1.25, 1.25), "max_pool": (1.25, 2.25), "global_mean": (1, 1)}


@dataclasses.dataclass(frozen=True)
class OperationCase:
    """One operation of `nfnumpy.ops`. shapes: of its inputs, NHWC and HWIO; wanted: which of them get a cotangent."""

    title: str
    operation: str
    shapes: tuple
    options: dict
    wanted: tuple

    def output_shape(self) -> tuple[int, ...]:
        """The shape of the result."""
        images, *image, channels = self.shapes[0]
        options = self.options
        if self.operation == "conv2d":
            return images, *(-(-side // options["stride"]) for side in image), self.shapes[1][3]
        if self.operation in ("avg_pool", "max_pool"):
            return images, *(-(-side // options["stride"]) for side in image), channels
        return (images, channels) if self.operation == "global_mean" else self.shapes[0]

    def operations(self, direction: str) -> int | None:
        """Multiplications and additions of a convolution; None for the others, which memory bounds."""
        if self.operation != "conv2d":
            return None
        products = sum(self.wanted[:2]) if direction == DERIVATIVE else 1
        return 2 * products * math.prod(self.output_shape()) * math.prod(self.shapes[1][:3])

    def bytes(self, direction: str) -> float:
        """Bytes that have to be moved at least: every float32 input read once, every result written once."""
        sizes = [math.prod(shape) for shape in self.shapes]
        if self.operation != "conv2d":
            return 4 * MOVED[self.operation][DIRECTIONS.index(direction)] * sizes[0]
        written = 0
        if direction == DERIVATIVE:
            written = sum(size for size, wanted in zip(sizes, self.wanted, strict=True) if wanted)
        return 4 * (sum(sizes) + math.prod(self.output_shape()) + written)


def convolution(title: str, images: int, side: int, channels: int, out: int, kernel: int, stride: int = 1,
                groups: int = 1) -> OperationCase:
    """A convolution with a bias. With three channels its input are images, whose cotangent is not computed."""
    shapes = (images, side, side, channels), (kernel, kernel, channels // groups, out), (out,)
    return OperationCase(title, "conv2d", shapes,
                         {"stride": stride, "groups": groups}, (channels > 3, True, True))


def other(title: str, operation: str, *shapes: tuple[int, ...], **options: Any) -> OperationCase:
    """Another operation on inputs of these shapes."""
    return OperationCase(title, operation, shapes, options, (True,) * len(shapes))


def cases(shrunk: int = 1) -> list[OperationCase]:
    """All cases, their batches divided by `shrunk`."""
    few = max(1, 8 // shrunk)
    many = max(1, 128 // shrunk)
    return [
        convolution("F0 stem: 3×3 /2, 3→16, 192 px", few, 192, 3, 16, 3, stride=2),
        convolution("F0 stem: 3×3, 32→64, 96 px", few, 96, 32, 64, 3),
        convolution("F0: 3×3, 128→128, 48 px", few, 48, 128, 128, 3),
        convolution("F0: 3×3 /2, 6 groups of 128, 24 px", few, 24, 768, 768, 3, stride=2, groups=6),
        convolution("F0: 3×3, 6 groups of 128, 12 px", few, 12, 768, 768, 3, groups=6),
        convolution("F0: 1×1, 768→1536, 12 px", few, 12, 768, 1536, 1),
        convolution("F0: 1×1, 1536→768, 6 px", few, 6, 1536, 768, 1),
        convolution("ResNet-50 stem: 7×7 /2, 3→64, 224 px", few, 224, 3, 64, 7, stride=2),
        convolution("ResNet-50: 3×3, 64→64, 56 px", few, 56, 64, 64, 3),
        convolution("ResNet-50: 3×3, 512→512, 7 px", few, 7, 512, 512, 3),
        convolution("RegNet-B0: 3×3, 43 groups of 8, 12 px", few, 12, 344, 344, 3, groups=43),
        convolution("EfficientNet-B0: depthwise 3×3, 32, 112 px", few, 112, 32, 32, 3, groups=32),
        convolution("EfficientNet-B0: depthwise 3×3 /2, 96, 112 px", few, 112, 96, 96, 3, stride=2, groups=96),
        convolution("EfficientNet-B0: depthwise 5×5 /2, 144, 56 px", few, 56, 144, 144, 5, stride=2, groups=144),
        convolution("EfficientNet-B0: depthwise 3×3, 480, 14 px", few, 14, 480, 480, 3, groups=480),
        convolution("EfficientNet-B0: depthwise 5×5, 672, 14 px", few, 14, 672, 672, 5, groups=672),
        convolution("ResNet 32 px: 3×3, 16→16, 32 px", many, 32, 16, 16, 3),
        convolution("NFNet 32 px: 3×3, 2 groups of 16, 16 px", many, 16, 32, 32, 3, groups=2),
        convolution("RegNet 32 px: 3×3, 6 groups of 8, 16 px", many, 16, 48, 48, 3, groups=6),
        other("F0: gelu, 256, 48 px", "scaled_nonlinearity", (few, 48, 48, 256), name="gelu", scale=1.7),
        other("ResNet-50: relu, 256, 56 px", "scaled_nonlinearity", (few, 56, 56, 256), name="relu", scale=1.7),
        other("RegNet-B0: silu, 81, 96 px", "scaled_nonlinearity", (few, 96, 96, 81), name="silu", scale=1.8),
        other("F0: standardize 3×3×128×768", "standardize_weight", (3, 3, 128, 768), (768,)),
        other("F0: squeeze-excite, 1536, 12 px", "squeeze_excite", (few, 12, 12, 1536), (1536, 768), (768,),
              (768, 1536), (1536,)),
        other("F0: residual update, 1536, 12 px", "skip_init", (few, 12, 12, 1536), (few, 12, 12, 1536), (),
              alpha=0.2),
        other("F0: mean of 2×2, 256, 48 px", "avg_pool", (few, 48, 48, 256), window=2, stride=2),
        other("ResNet-50 stem: max of 3×3, 64, 112 px", "max_pool", (few, 112, 112, 64), window=3, stride=2),
        other("F0: mean over the image, 3072, 6 px", "global_mean", (few, 6, 6, 3072))]
