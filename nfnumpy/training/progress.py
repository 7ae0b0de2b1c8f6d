"""The display of a run: a bar on a terminal, plain lines elsewhere."""

import sys
import time

import tqdm

from ..cli import printable, progress_bar

SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """The bar of one epoch of `total` steps, `done` of them already taken; without a terminal, a line every 30 seconds.

    A context manager: the bar is removed at the end, also after an exception.
    """

    def __init__(self, epoch: int, epochs: int, total: int, done: int) -> None:
        self._title = f"epoch {epoch}/{epochs}"
        self._bar = progress_bar(total=total, initial=done, desc=self._title,
                                 bar_format="{desc} |{bar:6}| {n_fmt}/{total_fmt}{postfix}")
        self._step = done
        self._total = total
        self._last_line = time.monotonic()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def step(self, loss: float, accuracy: float, images_per_second: float, lr: float, clipped_fraction: float) -> None:
        """Show the values after one more step."""
        self._step += 1
        rest = f"{images_per_second:.0f} images/s, lr {lr:.2g}"
        if not self._bar.disable:  # in 80 columns
            self._bar.set_postfix_str(f"loss {loss:.3f}, {100 * accuracy:.1f} %, {rest}, "
                                      f"AGC {100 * clipped_fraction:.0f} %", refresh=False)
            self._bar.update()
        elif time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            log(f"{self._title}, step {self._step}/{self._total}: loss {loss:.4f}  accuracy {100 * accuracy:.2f} %  "
                f"{rest}  clipped {100 * clipped_fraction:.0f} %")


def log(text: str) -> None:
    """Print one line and flush; a progress bar is moved out of its way."""
    if sys.stdout is not None:
        # Text and line end in one write, so that an interruption cannot come between them.
        tqdm.tqdm.write(printable(text) + "\n", file=sys.stdout, end="")
        sys.stdout.flush()
