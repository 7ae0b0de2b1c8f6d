"""The checkpoint files of a run beside checkpoint.safetensors: what --keep keeps, and what an evaluation may undo."""

import os

from ..files import link_or_copy
from .keep import Entry, Keep
from .run_folder import BEST, CHECKPOINT, PREVIOUS, RunFolder


def file_of(epoch: int) -> str:
    """The name of the checkpoint of an epoch, counted from 1."""
    return f"epoch-{epoch:04}.safetensors"


def keep_checkpoint(folder: RunFolder, rule: Keep, entries: list[Entry]) -> bool:
    """Keep checkpoint.safetensors, of the last of the evaluations `entries`, if `rule` wants it; remove what it drops.

    Removed is only what the rule drops with this epoch, nothing of epochs that it would have dropped before, when the
    run had another rule. Returns whether best.safetensors has become that checkpoint. Doing it twice changes nothing.
    """
    newest = entries[-1]["epoch"]
    kept = rule.epochs(entries)
    if newest in kept:
        link_or_copy(folder.file(CHECKPOINT), folder.file(file_of(newest)))
    is_best = rule.kind == "best" and kept[0] == newest
    if is_best:
        link_or_copy(folder.file(CHECKPOINT), folder.file(BEST))
    for epoch in set(rule.epochs(entries[:-1])) - set(kept):
        folder.remove(file_of(epoch))
    return is_best


def set_aside(folder: RunFolder) -> None:
    """Keep the checkpoint, if there is one, as previous.safetensors before it is replaced by one not yet evaluated."""
    if folder.has(CHECKPOINT):
        link_or_copy(folder.file(CHECKPOINT), folder.file(PREVIOUS))


def take_back(folder: RunFolder) -> None:
    """Make previous.safetensors the checkpoint again: the one after it has weights that cannot be evaluated."""
    if folder.has(PREVIOUS):
        os.replace(folder.file(PREVIOUS), folder.file(CHECKPOINT))
    else:
        folder.remove(CHECKPOINT)
