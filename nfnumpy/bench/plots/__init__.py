"""Pictures of a CPU run; matplotlib is imported when one is drawn."""

from .draw import draw_all

__all__ = ["draw_all"]
