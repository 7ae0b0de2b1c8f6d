"""What a person watching sees: a bar on a terminal, plain lines elsewhere."""

import sys
import time

import tqdm

SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """One epoch's bar of `total` steps, of which `done` are behind; without a terminal, a line now and then."""

    def __init__(self, epoch, epochs, total, done):
        self._title = f"epoch {epoch}/{epochs}"
        on_terminal = sys.stderr is not None and sys.stderr.isatty()
        self._bar = tqdm.tqdm(total=total, initial=done, desc=self._title, leave=False, disable=not on_terminal,
                              bar_format="{desc} |{bar:6}| {n_fmt}/{total_fmt}{postfix}", file=sys.stderr)
        self._step, self._total, self._said = done, total, time.monotonic()

    def step(self, loss, accuracy, images_per_second, lr, clipped_fraction):
        """Show the figures after one more step."""
        self._step += 1
        rest = f"{images_per_second:.0f} images/s, lr {lr:.2g}"
        if not self._bar.disable:  # in 80 columns
            self._bar.set_postfix_str(f"loss {loss:.3f}, {100 * accuracy:.1f} %, {rest}, "
                                      f"AGC {100 * clipped_fraction:.0f} %", refresh=False)
            self._bar.update()
        elif time.monotonic() - self._said > SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            line(f"{self._title}, step {self._step}/{self._total}: loss {loss:.4f}  accuracy {100 * accuracy:.2f} %  "
                 f"{rest}  clipped {100 * clipped_fraction:.0f} %")

    def close(self):
        """Clear the bar."""
        self._bar.close()


def line(text):
    """Print one line, at once, clear of any bar."""
    if sys.stdout is not None:
        tqdm.tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()
