"""Tar shards in WebDataset's format: labelled images in a few large files, read by index, and written."""

from .export import SPLITS, write_dataset
from .opening import open_shards
from .split import ShardSplit
from .writer import ShardSize

__all__ = ["SPLITS", "ShardSize", "ShardSplit", "open_shards", "write_dataset"]
