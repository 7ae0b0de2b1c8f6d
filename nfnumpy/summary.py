"""`python -m nfnumpy.summary`: the parts of a network, their shapes and costs, and the memory that it takes."""

import json
import os
from typing import Any

from . import models
from .analysis.summary import Summary, summarize
from .cli import Parser, printable, run
from .errors import InputError
from .training import load_classifier

EXAMPLE = """example:
  python -m nfnumpy.summary nfnet_f0 --image-size 192 --batch-size 64
  python -m nfnumpy.summary runs/digits/checkpoint.safetensors --json"""


def parser() -> Parser:
    """The flags."""
    p = Parser(prog="python -m nfnumpy.summary", epilog=EXAMPLE,
               description="The blocks of a network with their shapes, parameters and multiply-adds, and its memory.")
    p.add_argument("model", metavar="MODEL", help=f"a variant, such as {', '.join(models.names()[-4:])}, or a file: a "
                                                  "checkpoint or the weights of a variant")
    p.add_argument("--image-size", type=int, metavar="PX", help="side of the images in pixels; default: what the model "
                                                                "is trained with")
    p.add_argument("--batch-size", type=int, default=32, metavar="B", help="images at a time, for the memory "
                                                                           "(default: 32)")
    p.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    return p


def main(arguments: list[str]) -> int:
    """Print the summary of a variant or a file."""
    given = parser().parse_args(arguments)
    for flag, value in (("--image-size", given.image_size), ("--batch-size", given.batch_size)):
        if value is not None and not 1 <= value <= 2**20:
            raise InputError(f"{flag} {value}: expected a whole number from 1 to {2**20}")
    config, image_size = _described(given.model)
    summary = summarize(config, given.image_size or image_size, given.batch_size)
    print(json.dumps(as_json(given.model, summary)) if given.json else table(given.model, summary))
    return 0


def _described(model: str) -> tuple[Any, int]:
    """(configuration, image size) of a variant or of the network in a file."""
    if not os.path.exists(model) and os.path.splitext(model)[1]:
        raise InputError(f"{model}: there is no such file; expected a variant, or a file with weights")
    if model in models.names() or not os.path.exists(model):
        config = models.config_of(model)
        return config, config.train_size
    classifier = load_classifier(model)
    return classifier.model.config, classifier.transform.image_size


def as_json(model: str, summary: Summary) -> dict[str, Any]:
    """The summary in JSON's types; memory in bytes."""
    step = summary.training
    return {"model": model, "image_size": summary.image_size, "parameters": summary.parameters,
            "buffers": summary.buffers, "multiply_adds": summary.multiply_adds,
            "blocks": [part._asdict() for part in summary.parts],
            "memory": {"batch_size": summary.batch_size, "inference": summary.inference, "training": step.total,
                       "state": step.state, "passes": step.passes, "scratch": step.scratch, "spare": step.spare,
                       "checkpoint": step.checkpoint}}


def table(model: str, summary: Summary) -> str:
    """The summary as lines of text."""
    rows = [("", "output", "parameters", "multiply-adds")]
    rows += [(part.name, "×".join(map(str, part.output_shape)), f"{part.parameters:,}", f"{part.multiply_adds:,}")
             for part in summary.parts]
    rows.append(("in all", "", f"{summary.parameters:,}", f"{summary.multiply_adds:,}"))
    widths = [max(len(row[k]) for row in rows) for k in range(4)]
    lines = [f"{model}, images of {summary.image_size} px"]
    lines += [f"  {row[0]:<{widths[0]}}" + "".join(f"  {row[k]:>{widths[k]}}" for k in (1, 2, 3)) for row in rows]
    if summary.buffers:
        lines.append(f"running statistics: {summary.buffers:,} values, which are no parameters")
    step = summary.training
    lines.append(f"memory, {summary.batch_size} images at a time: inference {_megabytes(summary.inference)}, training "
                 f"{_megabytes(step.total)}")
    lines.append(f"  (weights, momentum and averages {_megabytes(step.state)}, both passes {_megabytes(step.passes)}, "
                 f"working memory {_megabytes(step.scratch + step.spare)}, saving {_megabytes(step.checkpoint)})")
    return "\n".join(map(printable, lines))  # a file's name could control the terminal


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e7 else f"{size / 1e6:.1f} MB"


if __name__ == "__main__":
    run(main)
