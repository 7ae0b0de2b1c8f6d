"""What a person watching sees: a bar on a terminal, plain lines elsewhere."""

import sys

import tqdm


class Progress:
    """One epoch's bar of `total` steps, of which `done` are behind; lines go to standard output, the bar to the error stream."""

    def __init__(self, epoch, epochs, total, done):
        self._bar = tqdm.tqdm(total=total, initial=done, desc=f"epoch {epoch}/{epochs}", unit="step", leave=False,
                              disable=not sys.stderr.isatty(), file=sys.stderr)

    def step(self, loss, accuracy, images_per_second, lr, clipped_fraction):
        """Show the figures after one more step."""
        if not self._bar.disable:
            self._bar.set_postfix_str(f"loss {loss:.3f}, accuracy {100 * accuracy:.1f} %, {images_per_second:.0f} "
                                      f"images/s, lr {lr:.3g}, clipped {100 * clipped_fraction:.0f} %", refresh=False)
        self._bar.update()

    def close(self):
        """Clear the bar."""
        self._bar.close()


def line(text):
    """Print one line, at once, clear of any bar."""
    tqdm.tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()
