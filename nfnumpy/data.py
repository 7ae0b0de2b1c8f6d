"""`python -m nfnumpy.data`: check a data set, and write it as tar shards or as a folder of pictures."""

import argparse
import io
import json
import os

from .backend import blas_threads
from .cli import BAD_INPUT, ImageProgress, Parser, printable, run
from .datasets import FORMS, Dataset, ReadingOptions, open_dataset
from .datasets.check import Findings, draw_samples, examine_dataset, to_json, to_text
from .datasets.folder_writer import write_folder
from .datasets.shards import SPLITS, ShardSize, write_dataset
from .errors import InputError
from .files import atomic_write, check_writable

EXAMPLE = """examples:
  python -m nfnumpy.data check folder:pictures --picture sheet.png
  python -m nfnumpy.data folder digits pictures
  python -m nfnumpy.data shards folder:pictures pictures-shards
  python -m nfnumpy.train --data shards:pictures-shards"""
MEGABYTE = 10**6


def parser() -> Parser:
    """The flags."""
    p = Parser(prog="python -m nfnumpy.data", epilog=EXAMPLE, description="Look after a data set of labelled images.")
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_check(commands)
    _add_shards(commands)
    _add_folder(commands)
    return p


def _add_data(p: argparse.ArgumentParser) -> None:
    """The arguments of every command that say which data are meant."""
    p.add_argument("data", metavar="DATA", help=f"a folder, or {FORMS}")
    p.add_argument("--test-share", type=float, metavar="SHARE",
                   help="draw this share of every class's images for testing, as nfnumpy.train does")


def _add_check(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser("check", help="read all of a data set once and report what is in it",
                            description="Read and decode every image once; report sizes, formats, classes, broken "
                            "files and duplicates. The status is 0 if every image can be read, otherwise 2.")
    _add_data(p)
    p.add_argument("--json", metavar="FILE", help="write everything that was found to this file")
    p.add_argument("--picture", metavar="FILE", help="draw samples of every class into this PNG")


def _add_shards(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser("shards", help="write a data set as tar shards that WebDataset reads too")
    _add_data(p)
    p.add_argument("out", metavar="OUT", help="the folder to write to: train-000000.tar, …, classes.txt")
    p.add_argument("--split", choices=[*SPLITS, "both"], default="both", help="what to write (default: both)")
    size = p.add_mutually_exclusive_group()
    size.add_argument("--size-mb", type=int, default=256, metavar="MB",
                      help="the most that a shard has, in millions of bytes (default: 256)")
    size.add_argument("--count", type=int, metavar="N", help="images in a shard, instead of a size")
    p.add_argument("--shuffle", type=int, metavar="SEED",
                   help="write the training images in a random order, for programs that read shards as a stream")
    p.add_argument("--overwrite", action="store_true", help="replace the shards that are in OUT")


def _add_folder(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser("folder", help="write a data set as a folder of pictures, one sub-folder a class")
    _add_data(p)
    p.add_argument("out", metavar="OUT", help="the folder to write to: train/CLASS/NUMBER.png, test/…")


def main(arguments: list[str]) -> int:
    """Run one of the commands."""
    given = parser().parse_args(arguments)
    return {"check": _check, "shards": _write_shards, "folder": _write_folder}[given.command](given)


def _check(given: argparse.Namespace) -> int:
    """Print the report and write what was asked for; the status says whether every image can be read."""
    for flag, path in (("--json", given.json), ("--picture", given.picture)):
        check_writable(flag, path)
    dataset = _open(given.data, given.test_share)
    with ImageProgress("check", len(dataset.train) + len(dataset.test)) as bar:
        findings = examine_dataset(dataset, blas_threads.thread_count(), progress=bar.update)
    for line in to_text(findings).splitlines():
        print(printable(line))
    _write_findings(findings, given.json, given.picture)
    return 0 if findings.is_usable else BAD_INPUT


def _write_findings(findings: Findings, json_file: str | None, picture_file: str | None) -> None:
    """Write the JSON and the sheet to the files that are given."""
    if json_file is not None:
        atomic_write(json_file, json.dumps(to_json(findings), indent=1).encode() + b"\n")
    if picture_file is not None:
        encoded = io.BytesIO()
        draw_samples(findings).save(encoded, "PNG")
        atomic_write(picture_file, encoded.getvalue())
        print(f"samples: {picture_file}")


def _write_shards(given: argparse.Namespace) -> int:
    """Write the shards; print where they are."""
    for flag, value in (("--size-mb", given.size_mb), ("--count", given.count)):
        if value is not None and value < 1:
            raise InputError(f"{flag} {value}: expected a whole number from 1 up")
    size = ShardSize(images=given.count) if given.count else ShardSize(bytes_=given.size_mb * MEGABYTE)
    splits = SPLITS if given.split == "both" else (given.split,)
    dataset = _open(given.data, given.test_share)
    with ImageProgress("shards", sum(len(getattr(dataset, name)) for name in splits)) as bar:
        counts = write_dataset(dataset, given.out, size, splits, given.overwrite, given.shuffle, bar.update)
    for name, count in counts.items():
        print(f"{os.path.join(given.out, name)}-*.tar: {len(getattr(dataset, name))} images in {count} "
              f"{'shard' if count == 1 else 'shards'}")
    return 0


def _write_folder(given: argparse.Namespace) -> int:
    """Write the folder of pictures; print how many there are."""
    dataset = _open(given.data, given.test_share)
    with ImageProgress("folder", len(dataset.train) + len(dataset.test)) as bar:
        counts = write_folder(dataset, given.out, bar.update)
    for name, count in counts.items():
        print(f"{os.path.join(given.out, name)}: {count} images in {len(dataset.classes)} classes")
    return 0


def _open(data: str, test_share: float | None) -> Dataset:
    """The data set that DATA names; a folder's name alone is enough."""
    spec = f"folder:{data}" if os.path.isdir(data) and data != "digits" else data
    # Images are not resized here, and none has to be read for its size.
    return open_dataset(spec, image_size=1, reading=ReadingOptions(test_share=test_share))


if __name__ == "__main__":
    run(main)
