"""`python -m nfnumpy.data`: check a data set, and write it as tar shards."""

import argparse
import os

from .cli import Parser, progress_bar, run
from .datasets import FORMS, Dataset, open_dataset
from .datasets.shards import SPLITS, ShardSize, write_dataset
from .errors import InputError

EXAMPLE = """examples:
  python -m nfnumpy.data check folder:pictures --picture sheet.png
  python -m nfnumpy.data shards folder:pictures pictures-shards
  python -m nfnumpy.train --data shards:pictures-shards"""
MEGABYTE = 10**6


def parser() -> Parser:
    """The flags."""
    p = Parser(prog="python -m nfnumpy.data", epilog=EXAMPLE, description="Look after a data set of labelled images.")
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_shards(commands)
    return p


def _add_shards(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser("shards", help="write a data set as tar shards that WebDataset reads too")
    p.add_argument("data", metavar="DATA", help=f"a folder, or {FORMS}")
    p.add_argument("out", metavar="OUT", help="the folder to write to: train-000000.tar, …, classes.txt")
    p.add_argument("--split", choices=[*SPLITS, "both"], default="both", help="what to write (default: both)")
    size = p.add_mutually_exclusive_group()
    size.add_argument("--size-mb", type=int, default=256, metavar="MB",
                      help="the most that a shard has, in millions of bytes (default: 256)")
    size.add_argument("--count", type=int, metavar="N", help="images in a shard, instead of a size")
    p.add_argument("--overwrite", action="store_true", help="replace the shards that are in OUT")


def main(arguments: list[str]) -> int:
    """Run one of the commands."""
    given = parser().parse_args(arguments)
    return _write_shards(given)


def _write_shards(given: argparse.Namespace) -> int:
    """Write the shards; print where they are."""
    for flag, value in (("--size-mb", given.size_mb), ("--count", given.count)):
        if value is not None and value < 1:
            raise InputError(f"{flag} {value}: expected a whole number from 1 up")
    size = ShardSize(images=given.count) if given.count else ShardSize(bytes_=given.size_mb * MEGABYTE)
    splits = SPLITS if given.split == "both" else (given.split,)
    dataset = _open(given.data)
    with progress_bar(total=sum(len(getattr(dataset, name)) for name in splits), desc="shards", unit="image") as bar:
        counts = write_dataset(dataset, given.out, size, splits, given.overwrite, bar.update)
    for name, count in counts.items():
        print(f"{os.path.join(given.out, name)}-*.tar: {len(getattr(dataset, name))} images in {count} shards")
    return 0


def _open(data: str) -> Dataset:
    """The data set that DATA names; a folder's name alone is enough."""
    spec = f"folder:{data}" if os.path.isdir(data) else data
    return open_dataset(spec, image_size=1)  # images are not resized here, and none has to be read for its size


if __name__ == "__main__":
    run(main)
